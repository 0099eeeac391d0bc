"""The lab's sockets: a query is answered by `Responder`, when and whether is up to `Traffic`.

The UDP socket is drained in small batches: what is due later goes out in its millisecond under full load too.
"""

import asyncio
import contextlib
import errno
import os
import signal
import socket
import ssl
import threading
from collections.abc import Callable, Iterable
from functools import partial

import msgspec

from .responder import Responder
from .script import How, PlannedReply
from .settings import Address, Counts, LabReport, Settings, endpoint
from .streams import Streams
from .traffic import DelayQueue, Traffic

# Datagrams answered before the loop looks at what else is due: less than a millisecond's work.
_BATCH = 64
# Octets of a query that are read.
_RECEIVE = 1232
# Octets that the kernel is asked for the UDP socket: it grants less in silence (Linux) or refuses (macOS).
_BUFFERS = tuple(size << 20 for size in (8, 4, 2, 1))
_BIND_TRIES = 20

# The source of a datagram, as the socket module gives it for either family.
_Peer = tuple[str, int] | tuple[str, int, int, int]


def serve(settings: Settings, ready: Callable[[Address], None], *, control: int | None = None) -> None:
    """Serve in the foreground until SIGINT or SIGTERM.

    Args:
        settings: The lab's.
        ready: Called once, with the address, when queries are answered.
        control: A descriptor whose end of file ends the serving too. Each octet read from it is answered with a
            `LabReport` of the counts on standard output.

    Raises:
        ValueError: Settings, a zone file or a certificate cannot be used.
        OSError: The address cannot be had.
    """
    # Only the main thread may have handlers; elsewhere the end of `control` is the way to stop.
    numbers = (signal.SIGINT, signal.SIGTERM) if threading.current_thread() is threading.main_thread() else ()
    before = {number: signal.getsignal(number) for number in numbers}
    try:
        asyncio.run(LabServer(settings).serve(ready, control, numbers))
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def report(message: LabReport) -> None:
    """Write one line to standard output, for the parent that reads it; where there is none any more, nothing."""
    with contextlib.suppress(BrokenPipeError):
        os.write(1, msgspec.json.encode(message) + b"\n")


class LabServer:
    """The sockets of one lab."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._responder = Responder(settings)
        self._traffic = Traffic(settings)
        self._counts = Counts(0, 0, 0)  # since the start

    async def serve(self, ready: Callable[[Address], None], control: int | None, numbers: Iterable[int]) -> None:
        """Serve until one of these signals comes, or the end of `control`."""
        loop, ended = asyncio.get_running_loop(), asyncio.Event()
        host, port = endpoint(self._settings.listen)
        tls = _tls_context(*self._settings.tls) if self._settings.tls else None
        self._queue = DelayQueue()
        with contextlib.ExitStack() as opened:
            streams = Streams(self._stream_query)
            opened.callback(streams.close)
            udp, tcp = _bind(host, port)
            self._udp = opened.enter_context(udp)
            await streams.listen(tcp)
            self._other = opened.enter_context(socket.socket(udp.family, socket.SOCK_DGRAM))
            self._other.setblocking(False)
            self._other.bind((host, 0))
            secure = None
            if tls:
                listener = _listener(udp.family, (host, 0))
                secure = _text(listener)
                await streams.listen(listener, tls)
            loop.add_reader(udp, self._drain)
            opened.callback(loop.remove_reader, udp)
            for number in numbers:
                loop.add_signal_handler(number, ended.set)
            if control is not None:
                loop.add_reader(control, self._command, control, ended)
            ready(Address(_text(udp), secure))
            await ended.wait()

    def _command(self, control: int, ended: asyncio.Event) -> None:
        octets = os.read(control, 64)
        if not octets:
            ended.set()
        for _ in octets:
            report(LabReport(counts=self._counts))

    def _drain(self) -> None:
        """Answer what waits at the UDP socket, a batch at most."""
        udp, recvfrom, sendto = self._udp, self._udp.recvfrom, self._udp.sendto
        quick, traffic = self._responder.quick, self._traffic
        drops, delays = traffic.drops, traffic.delays
        received = answered = dropped = 0
        with contextlib.suppress(BlockingIOError):
            for _ in range(_BATCH):
                data, peer = recvfrom(_RECEIVE)
                received += 1
                if drops and (traffic.lost() or traffic.overloaded()):
                    dropped += 1
                    continue
                reply = quick(data)
                if reply is None:
                    self._plan(self._responder.replies(data), partial(self._send_reply, peer))
                elif delays:
                    dropped += not self._queue.later(traffic.delay(), partial(self._send, udp, reply, peer))
                else:
                    # As `_send` does it; a call saved here is a fiftieth of the whole.
                    try:
                        sendto(reply, peer)
                        answered += 1
                    except OSError:
                        dropped += 1
        self._counts.received += received
        self._counts.answered += answered
        self._counts.dropped += dropped

    def _stream_query(self, data: bytes, send: Callable[[PlannedReply], None]) -> int:
        self._counts.received += 1
        if self._traffic.overloaded():
            self._counts.dropped += 1
            return 0
        reply = self._responder.quick(data)
        replies = self._responder.replies(data, stream=True) if reply is None else [PlannedReply(reply)]
        return self._plan(replies, partial(self._send_stream, send))

    def _plan(self, replies: list[PlannedReply], send: Callable[[PlannedReply], None]) -> int:
        """Send each reply when it is due, and return how many will be."""
        latency, planned = self._traffic.delay(), 0
        for reply in replies:
            delay = latency + reply.delay
            if not delay:
                send(reply)
            elif not self._queue.later(delay, partial(send, reply)):
                continue
            planned += 1
        self._counts.dropped += not planned
        return planned

    def _send_stream(self, send: Callable[[PlannedReply], None], reply: PlannedReply) -> None:
        self._counts.answered += 1
        send(reply)

    def _send_reply(self, peer: _Peer, reply: PlannedReply) -> None:
        self._send(self._other if reply.how is How.OTHER_PORT else self._udp, reply.octets, peer)

    def _send(self, udp: socket.socket, octets: bytes, peer: _Peer) -> None:
        try:
            udp.sendto(octets, peer)
            self._counts.answered += 1
        except OSError:
            # No room, or a peer that cannot be reached: a datagram is lost, as it would be on a network.
            self._counts.dropped += 1


def _bind(host: str, port: int) -> tuple[socket.socket, socket.socket]:
    """Open a UDP socket and a TCP listener on the same port. Raises `OSError`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    tries = 0
    while True:
        udp = socket.socket(family, socket.SOCK_DGRAM)
        tries += 1
        try:
            udp.setblocking(False)
            for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
                _ask_for_buffer(udp, option)
            udp.bind((host, port))
            return udp, _listener(family, (host, udp.getsockname()[1]))
        except OSError as error:
            udp.close()
            # A free UDP port may be taken for TCP; where the port is not ours to choose, that is final.
            if port or error.errno != errno.EADDRINUSE or tries == _BIND_TRIES:
                raise OSError(error.errno, f"cannot listen on {host} port {port}: {error.strerror}") from error


def _ask_for_buffer(udp: socket.socket, option: int) -> None:
    for size in _BUFFERS:
        with contextlib.suppress(OSError):
            udp.setsockopt(socket.SOL_SOCKET, option, size)
            return


def _listener(family: socket.AddressFamily, address: tuple[str, int]) -> socket.socket:
    return socket.create_server(address, family=family, backlog=512, dualstack_ipv6=family == socket.AF_INET6)


def _tls_context(certificate: str, key: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(certificate, key)
    except OSError as error:
        raise ValueError(f"cannot use the TLS certificate {certificate} with the key {key}: {error}") from error
    context.set_alpn_protocols(["dot"])
    return context


def _text(bound: socket.socket) -> str:
    host, port = bound.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

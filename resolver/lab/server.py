"""The lab's sockets: what comes in is answered by `Responder`, when and whether is up to `Traffic`.

The UDP socket is drained in small batches, so that what is due later goes out in its millisecond under full load too.
"""

import contextlib
import errno
import os
import signal
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from functools import partial

import msgspec

from .loop import READ, Loop
from .responder import Responder
from .script import How, Step
from .settings import Address, Counts, Report, Settings, endpoint
from .streams import Streams
from .traffic import Traffic

# Datagrams answered before the loop looks at what else is due: less than a millisecond's work.
_BATCH = 64
# Octets of a query that are read.
_RECEIVE = 1232
# What is asked of the kernel for the UDP socket, in octets; it grants what it likes.
_BUFFER = 8 << 20
_BIND_TRIES = 20

# Where a datagram came from, as the socket module gives it for either family.
_Peer = tuple[str, int] | tuple[str, int, int, int]


def serve(settings: Settings, ready: Callable[[Address], None], *, control: int | None = None) -> None:
    """Serve in the foreground until SIGINT or SIGTERM; `ready` is called once, when queries are answered.

    `control`: a descriptor whose end of file ends the serving too; each octet read from it is answered with a `Report`
    of the counts on standard output. Raises `ValueError` for settings or a zone file that cannot be used, `OSError`
    where the address cannot be had.
    """
    server = Server(settings)
    with server, _signals(server.loop):
        if control is not None:
            server.loop.watch(control, READ, lambda mask: _command(server, control))
        ready(server.address)
        server.loop.run()


class Server:
    """The sockets of one lab, open from the start; a context manager that closes them."""

    def __init__(self, settings: Settings) -> None:
        self._responder = Responder(settings)
        self._traffic = Traffic(settings)
        self._received = self._answered = self._dropped = 0
        with contextlib.ExitStack() as opened:
            self.loop = Loop()
            opened.callback(self.loop.close)
            streams = Streams(self.loop, self._stream_query)
            opened.callback(streams.close)
            self._udp, tcp = _bind(*endpoint(settings.listen))
            opened.enter_context(self._udp)
            streams.listen(opened.enter_context(tcp))
            self._other = opened.enter_context(_other_port(self._udp))
            self.loop.watch(self._udp, READ, self._drain)
            secure = None
            if settings.tls:
                listener = opened.enter_context(_listener(self._udp.family, (self._udp.getsockname()[0], 0)))
                streams.listen(listener, _tls_context(*settings.tls))
                secure = _text(listener)
            self.address = Address(_text(self._udp), secure)
            self._opened = opened.pop_all()

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *details: object) -> None:
        self._opened.close()

    def counts(self) -> Counts:
        """What happened so far."""
        return Counts(self._received, self._answered, self._dropped)

    def _drain(self, mask: int) -> None:
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
                    self._plan(self._responder.steps(data), partial(self._send_step, peer))
                elif delays:
                    dropped += not self.loop.later(traffic.delay(), partial(self._send, udp, reply, peer))
                else:
                    # As `_send` does it; a call saved here is a fiftieth of the whole.
                    try:
                        sendto(reply, peer)
                        answered += 1
                    except OSError:
                        dropped += 1
        self._received += received
        self._answered += answered
        self._dropped += dropped

    def _stream_query(self, data: bytes, send: Callable[[Step], None]) -> int:
        self._received += 1
        if self._traffic.overloaded():
            self._dropped += 1
            return 0
        reply = self._responder.quick(data)
        steps = self._responder.steps(data, stream=True) if reply is None else [Step(reply)]
        return self._plan(steps, partial(self._send_stream, send))

    def _plan(self, steps: list[Step], send: Callable[[Step], None]) -> int:
        """Send each step when it is due; how many will be."""
        latency, planned = self._traffic.delay(), 0
        for step in steps:
            delay = latency + step.delay
            if not delay:
                send(step)
            elif not self.loop.later(delay, partial(send, step)):
                continue
            planned += 1
        self._dropped += not planned
        return planned

    def _send_stream(self, send: Callable[[Step], None], step: Step) -> None:
        self._answered += 1
        send(step)

    def _send_step(self, peer: _Peer, step: Step) -> None:
        self._send(self._other if step.how is How.OTHER_PORT else self._udp, step.octets, peer)

    def _send(self, udp: socket.socket, octets: bytes, peer: _Peer) -> None:
        try:
            udp.sendto(octets, peer)
            self._answered += 1
        except OSError:
            # No room, or a peer that cannot be reached: a datagram is lost, as it would be on a network.
            self._dropped += 1


def _bind(host: str, port: int) -> tuple[socket.socket, socket.socket]:
    """A UDP socket and a TCP listener on the same port. Raises `OSError`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for attempt in range(_BIND_TRIES):
        udp = socket.socket(family, socket.SOCK_DGRAM)
        try:
            udp.setblocking(False)
            for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
                _ask_for_buffer(udp, option)
            udp.bind((host, port))
            return udp, _listener(family, (host, udp.getsockname()[1]))
        except OSError as error:
            udp.close()
            # A free UDP port may be taken for TCP; where the port is not ours to choose, that is final.
            if port or error.errno != errno.EADDRINUSE or attempt == _BIND_TRIES - 1:
                raise OSError(error.errno, f"cannot listen on {host} port {port}: {error.strerror}") from error
    raise AssertionError("unreachable")


def _ask_for_buffer(udp: socket.socket, option: int) -> None:
    size = _BUFFER
    while size > 1 << 16:
        # Linux grants less in silence, macOS refuses what is too much.
        with contextlib.suppress(OSError):
            udp.setsockopt(socket.SOL_SOCKET, option, size)
            return
        size //= 2


def _listener(family: socket.AddressFamily, address: tuple[str, int]) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setblocking(False)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(512)
    except OSError:
        listener.close()
        raise
    return listener


def _other_port(udp: socket.socket) -> socket.socket:
    other = socket.socket(udp.family, socket.SOCK_DGRAM)
    other.setblocking(False)
    other.bind((udp.getsockname()[0], 0))
    return other


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


def _command(server: Server, control: int) -> None:
    octets = os.read(control, 64)
    if not octets:
        server.loop.stop()
    for _ in octets:
        report(Report(counts=server.counts()))


def report(message: Report) -> None:
    """Write one line to standard output, for the parent that reads it; where there is none any more, nothing."""
    with contextlib.suppress(BrokenPipeError):
        os.write(1, msgspec.json.encode(message) + b"\n")


@contextlib.contextmanager
def _signals(loop: Loop) -> Iterator[None]:
    """SIGINT and SIGTERM stop the loop, and are what they were before afterwards."""
    if threading.current_thread() is not threading.main_thread():
        # Only the main thread may have handlers; elsewhere the end of `control` is the way to stop.
        yield
        return
    waker, sleeper = socket.socketpair()
    with waker, sleeper:
        waker.setblocking(False)
        loop.watch(sleeper, READ, lambda mask: loop.stop())
        before = {number: signal.signal(number, _nothing) for number in (signal.SIGINT, signal.SIGTERM)}
        wakeup = signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(wakeup)
            for number, handler in before.items():
                signal.signal(number, handler)


def _nothing(number: int, frame: object) -> None:
    """Only the wake-up octet counts."""

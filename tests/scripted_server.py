"""The process of a scripted nameserver (scripted.py): one epoll loop with a heap of timers.

It needs the standard library only, so that it is there at once. Settings and commands come as lines of JSON on standard
input, each of which is answered by a line; after `end` it is the next nameserver, and it ends when that input does.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import heapq
import itertools
import json
import random
import resource
import select
import socket
import ssl
import struct
import sys
import time
import zlib
from collections import Counter
from typing import TYPE_CHECKING, Any

from scripted import FATES, HOST, Counts, Stream, Udp

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from scripted_http import Http

SO_RCVBUFFORCE = 33  # asm-generic/socket.h
IP_PKTINFO = 8  # linux/in.h; the module socket has it from Python 3.14 on
PKTINFO = struct.Struct("=I4s4s")


def reply_to(query: bytes, rcode: int = 0, truncated: bool = False, last: int = 1) -> bytes:
    """The reply to a query for A: 192.0.2.1 or another `last` octet, or none with an rcode or TC."""
    question = query[12 : query.index(b"\0", 12) + 5]
    empty = truncated or rcode != 0
    answer = b"" if empty else b"\xc0\x0c\0\1\0\1\0\0\1\x2c\0\4\xc0\0\2%c" % last
    flags = bytes((0x81 | 2 * truncated, 0x80 | rcode))
    return query[:2] + flags + bytes((0, 1, 0, not empty, 0, 0, 0, 0)) + question + answer


@functools.cache
def chance(address: bytes) -> float:
    """Return a number from 0 to 1 as if by chance, and the same for an address in every run."""
    return random.Random(address).random()


class Loop:
    """An epoll loop with a heap of timers."""

    def __init__(self) -> None:
        self._poll = select.epoll()
        self._handlers: dict[int, Callable[[], None]] = {}
        self._timers: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._numbers = itertools.count()
        self.ended = False

    def add(self, fd: int, handler: Callable[[], None]) -> None:
        self._handlers[fd] = handler
        self._poll.register(fd, select.EPOLLIN)

    def writable(self, fd: int, wanted: bool) -> None:
        """Call the handler also when it can be written to."""
        self._poll.modify(fd, select.EPOLLIN | (select.EPOLLOUT if wanted else 0))

    def remove(self, fd: int) -> None:
        if self._handlers.pop(fd, None):
            self._poll.unregister(fd)

    def later(self, seconds: float, call: Callable[..., None], *arguments: Any) -> None:
        """Call it after so many seconds; at once where there are none."""
        if seconds <= 0.0:
            call(*arguments)
        else:
            heapq.heappush(self._timers, (time.monotonic() + seconds, next(self._numbers), call, arguments))

    def run(self) -> None:
        while not self.ended:
            wait = max(0.0, self._timers[0][0] - time.monotonic()) if self._timers else -1
            for fd, _ in self._poll.poll(wait):
                if handler := self._handlers.get(fd):
                    handler()
            now = time.monotonic()
            while self._timers and self._timers[0][0] <= now:
                _, _, call, arguments = heapq.heappop(self._timers)
                call(*arguments)


class Datagrams:
    """The UDP side."""

    def __init__(self, settings: Udp, loop: Loop, counts: Counts) -> None:
        self._settings, self._loop, self._counts = settings, loop, counts
        self._random = random.Random(7)
        self._replies: Counter[int] = Counter()  # by source port, in the order in which they were first seen
        self._dead: set[int] = set()
        self._second = 0
        self._whole = 0  # in that second
        self._free = 0.0  # when all that waits will have been served
        self._recent: Counter[bytes] = Counter()  # queries of this second, by the address that was asked

    def open(self, port: int) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 24)
        if self._settings.everywhere:
            # Each of many nameservers has a buffer of its own; as root this one may have as much as all of them.
            with contextlib.suppress(PermissionError):
                self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 1 << 26)
        self._socket.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, self._settings.everywhere)
        self._socket.bind(("0.0.0.0" if self._settings.everywhere else HOST, port))
        self._socket.setblocking(False)
        self._loop.add(self._socket.fileno(), self._read)

    def close(self) -> None:
        self._loop.remove(self._socket.fileno())
        self._socket.close()

    def _read(self) -> None:
        with contextlib.suppress(BlockingIOError):
            for _ in range(256):
                if self._settings.everywhere:
                    query, control, _, peer = self._socket.recvmsg(2048, 64)
                    to = PKTINFO.unpack(control[0][2])[2]
                else:
                    (query, peer), to = self._socket.recvfrom(2048), b""
                self._counts.udp += 1
                wait = self._serve()
                reply = None if wait is None else self._reply(query, peer[1], to)
                if wait is not None and reply is not None:
                    self._loop.later(wait, self._send, reply, peer, to)

    def _serve(self) -> float | None:
        """Seconds until the reply to a query that has just come is there; None: the queue is full."""
        settings, now = self._settings, time.monotonic()
        if self._free - now > settings.queue * settings.service:
            return None
        self._free = max(now, self._free) + settings.service
        return self._free - now + settings.latency + self._random.uniform(-settings.jitter, settings.jitter)

    def _reply(self, query: bytes, port: int, to: bytes) -> bytes | None:
        settings = self._settings
        if to:
            return self._reply_of(to, query)
        if port not in self._replies:
            self._see(port)
        if port in self._dead or settings.reply == "none" or self._random.random() < settings.lost:
            return None
        if settings.replies_a_port is not None and self._replies[port] >= settings.replies_a_port:
            return None
        self._replies[port] += 1
        truncated = settings.reply == "truncated" or not self._may_be_whole()
        return reply_to(query, truncated=truncated)

    def _reply_of(self, address: bytes, query: bytes) -> bytes | None:
        settings, number = self._settings, chance(address)
        if number < (share := settings.silent):
            return None
        if number < (share := share + settings.refused):
            return reply_to(query, 5)
        if number < (share := share + settings.lying):
            return reply_to(query, last=66)
        if number < share + settings.limited:
            if (second := int(time.monotonic())) != self._second:
                self._second = second
                self._recent.clear()
            self._recent[address] += 1
            if self._recent[address] > settings.most:
                return None
        missing = settings.exist < 1 and zlib.crc32(query[12 : query.index(b"\0", 12)]) >= settings.exist * 2**32
        return reply_to(query, 3 if missing else 0)

    def _see(self, port: int) -> None:
        number = len(self._replies)
        self._replies[port] = 0
        self._counts.ports += 1
        dead = {
            "first": number == 0,
            "fourth": number % 4 == 0,
            "hashed": (port * 2654435761 >> 16) % 4 == 0,
            None: False,
        }
        if dead[self._settings.dead]:
            self._dead.add(port)

    def _may_be_whole(self) -> bool:
        if self._settings.whole_a_second is None:
            return True
        second = int(time.monotonic())
        if second != self._second:
            self._second, self._whole = second, 0
        self._whole += 1
        return self._whole <= self._settings.whole_a_second

    def _send(self, reply: bytes, peer: Any, to: bytes) -> None:
        control = [(socket.IPPROTO_IP, IP_PKTINFO, PKTINFO.pack(0, to, b"\0\0\0\0"))] if to else []
        with contextlib.suppress(OSError):  # closed meanwhile, or a port that is gone
            self._socket.sendmsg([reply], control, 0, peer)


class Streams:
    """The TCP side: what listens."""

    def __init__(self, settings: Stream, loop: Loop, counts: Counts) -> None:
        self.settings, self.loop, self.counts = settings, loop, counts
        self.random = random.Random(8)
        self.connections: set[Connection] = set()
        self._context = None
        if settings.certificate is not None:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.load_cert_chain(settings.certificate)
            if settings.http:
                self._context.set_alpn_protocols(["h2"])

    def open(self, port: int) -> int:
        self._socket = socket.create_server((HOST, port), backlog=4096)
        self._socket.setblocking(False)
        self.loop.add(self._socket.fileno(), self._accept)
        number: int = self._socket.getsockname()[1]
        return number

    def close(self) -> None:
        self.loop.remove(self._socket.fileno())
        self._socket.close()
        for connection in [*self.connections]:
            connection.close(reset=True)

    def _accept(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                accepted, _ = self._socket.accept()
                accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                accepted.setblocking(False)
                self.counts.connections += 1
                if self._context is not None and not self.settings.unread:
                    accepted = self._context.wrap_socket(accepted, server_side=True, do_handshake_on_connect=False)
                self.connections.add(Connection(accepted, self))


def http(settings: Stream) -> Http | None:
    """The HTTP/2 of a connection; the library is loaded only where there is some."""
    if not settings.http:
        return None
    from scripted_http import Http

    return Http(settings)


class Connection:
    """One connection."""

    def __init__(self, accepted: socket.socket, owner: Streams) -> None:
        self._socket, self._owner, self._settings = accepted, owner, owner.settings
        self._fd = accepted.fileno()
        self._shaken = not isinstance(accepted, ssl.SSLSocket)
        self._in = b""
        self._out = b""
        self._http = http(owner.settings)
        self._queries = 0
        self._replies = 0
        self._free = 0.0  # when the query before is done
        self._mute = self._closed = False
        self._answers = self._own(self._settings.answers)
        self._most = self._own(self._settings.queries)
        if not self._settings.unread:
            owner.loop.add(self._fd, self._ready)

    def _own(self, numbers: tuple[int, ...]) -> int | None:
        """Return what this connection has of numbers of which the last is that of all that follow."""
        return numbers[min(self._owner.counts.connections, len(numbers)) - 1] if numbers else None

    def close(self, reset: bool = False) -> None:
        if self._closed:
            return
        self._closed = True
        self._owner.loop.remove(self._fd)
        self._owner.connections.discard(self)
        if reset:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()

    def _ready(self) -> None:
        try:
            if not self._shaken:
                self._socket.do_handshake()  # type: ignore[attr-defined]  # of TLS where this is so
                self._shaken = True
                self._owner.counts.resumed += self._socket.session_reused is True  # type: ignore[attr-defined]
            self._flush()
            while not self._closed:
                octets = self._socket.recv(1 << 16)
                if not octets:
                    self.close()
                    return
                self._take(octets)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            pass
        except OSError:
            self.close()

    def _take(self, octets: bytes) -> None:
        first = True
        for stream, query in self._http.take(octets) if self._http else self._split(octets):
            self._owner.counts.stream += 1
            self._queries += 1
            self._owner.counts.most = max(self._owner.counts.most, self._queries)
            if first or not self._settings.first_of_read:
                self._answer(query, stream)
            first = False
            if self._http and self._settings.goaway and self._queries == self._most:
                self._http.leave(stream)
            if self._closed:
                return
        if self._http:
            self._flush()

    def _split(self, octets: bytes) -> Iterator[tuple[int, bytes]]:
        self._in += octets
        while len(self._in) >= 2 and len(self._in) >= (end := 2 + int.from_bytes(self._in[:2])):
            query, self._in = self._in[2:end], self._in[end:]
            yield 0, query

    def _answer(self, query: bytes, stream: int) -> None:
        settings, draw = self._settings, self._owner.random
        if self._mute or (self._answers is not None and self._queries > self._answers):
            return
        if self._most is not None and self._queries > self._most:
            return  # it is about to be closed
        reply: bytes | None = reply_to(query)
        fate = query[13 : 13 + query[12]].decode().partition("-")[0] if settings.by_name else "ok"
        if settings.mixed:
            fate = draw.choice(FATES)
        if draw.random() < settings.lost or fate == "silent":
            reply = None
        elif fate == "mute":
            self._mute = True
            return
        elif fate in ("close", "reset"):
            self.close(reset=fate == "reset")
            return
        elif fate == "broken":
            reply = query[:2] + draw.randbytes(30)
        elif fate == "short":
            reply = query[:2]
        now = time.monotonic()
        self._free = max(now, self._free) + settings.service
        self._owner.loop.later(self._free - now + settings.latency, self._done, reply, stream, fate)

    def _done(self, reply: bytes | None, stream: int, fate: str) -> None:
        if self._closed:
            return
        self._replies += 1
        if reply is not None:
            if self._http:
                self._http.answer(stream, reply, fate)
            else:
                self._out += len(reply).to_bytes(2) + reply
            try:
                self._flush()
            except OSError:
                self.close()
        if self._replies == self._most:
            self.close(reset=self._settings.reset)

    def _flush(self) -> None:
        if self._http:
            self._out += self._http.out()
        if not self._out or not self._shaken:
            return
        try:
            self._out = self._out[self._socket.send(self._out) :]
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            pass
        self._owner.loop.writable(self._fd, bool(self._out))


class Program:
    """One nameserver: it is told what to do on standard input."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self._loop, self._counts = Loop(), Counts()
        self._streams = Streams(Stream(**settings["stream"]), self._loop, self._counts)
        self._datagrams = Datagrams(Udp(**settings["udp"]), self._loop, self._counts)
        while True:  # until one number is free for both
            self._port = self._streams.open(0)
            try:
                self._datagrams.open(self._port)
                break
            except OSError:
                self._streams.close()
        self._loop.add(sys.stdin.fileno(), self._told)
        self._say({"port": self._port})

    def run(self) -> None:
        self._loop.run()

    def _told(self) -> None:
        line = sys.stdin.readline()
        what = json.loads(line or '"end"')
        self._loop.ended = what == "end"
        if what in ("close", "end"):
            self._datagrams.close()
            self._streams.close()
        elif what == "open":
            self._streams.open(self._port)
            self._datagrams.open(self._port)
        self._say(dataclasses.asdict(self._counts))

    def _say(self, what: object) -> None:
        with contextlib.suppress(BrokenPipeError):
            print(json.dumps(what), flush=True)


if __name__ == "__main__":
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    while line := sys.stdin.readline():
        Program(json.loads(line)).run()

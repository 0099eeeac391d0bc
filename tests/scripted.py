"""A nameserver that misbehaves as it is told, in a process of its own, and a plain client to compare with.

    with Scripted(Udp(reply="truncated"), Stream(answers=50)) as server:
        resolve(hosts, nameservers=[server.tcp])

`Udp` and `Stream` say what becomes of datagrams and of connections; each field is one fault, and they combine. What is
answered is 192.0.2.1 for every name. The process shares no interpreter lock with the engine that it is asked by: one
epoll loop with a heap of timers. Run as a program, this module is that process, and needs the standard library only:
settings and commands come as lines of JSON on standard input, at whose end it ends; each is answered by a line.

`Stream(by_name=True)`: the first label says what becomes of a query. `close` and `reset` end the connection, `silent`
is never answered, `mute` silences the whole connection from then on, `broken` and `short` get octets that are no reply.
`Stream(mixed=True)`: chance says so, of FATES.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import heapq
import itertools
import json
import os
import random
import select
import socket
import ssl
import struct
import subprocess
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HOST = "127.0.0.1"
FATES = ("ok", "close", "silent", "broken")
IP_PKTINFO = 8  # linux/in.h; the module socket has it from Python 3.14 on
PKTINFO = struct.Struct("=I4s4s")


@dataclasses.dataclass(frozen=True)
class Udp:
    """What becomes of datagrams.

    reply: `whole`, `truncated` (empty, with TC), `none`. latency: seconds. lost: share of queries never answered.
    whole_a_second: replies in a second that are whole; the rest are truncated.
    dead: the flows that are never answered: `first` (the first source port that is seen), `fourth` (the first, the
    fifth, the ninth, ... that is seen), `hashed` (a quarter of all ports). replies_a_port: then it falls silent.
    everywhere: listens on all of 127.0.0.0/8. silent, refused: shares of those addresses, by their number.
    """

    reply: str = "whole"
    latency: float = 0.0
    lost: float = 0.0
    whole_a_second: int | None = None
    dead: str | None = None
    replies_a_port: int | None = None
    everywhere: bool = False
    silent: float = 0.0
    refused: float = 0.0


@dataclasses.dataclass(frozen=True)
class Stream:
    """What becomes of connections.

    certificate: PEM file of a certificate and its key, for TLS. latency: seconds. lost: share of queries never
    answered. answers: queries of a connection that are answered; the next are read in silence. queries: after so many
    it is closed. Both are taken in turn by the connections; without any there is no end. service: seconds that each
    query takes, one after the other. first_of_read: of the messages that one read brings only the first is answered.
    unread: accepted and never read, so that no handshake of TLS ends either. by_name, mixed: see the module.
    """

    certificate: str | None = None
    latency: float = 0.0
    lost: float = 0.0
    answers: tuple[int, ...] = ()
    queries: tuple[int, ...] = ()
    service: float = 0.0
    first_of_read: bool = False
    unread: bool = False
    by_name: bool = False
    mixed: bool = False


@dataclasses.dataclass
class Counts:
    """What the nameserver saw: queries over UDP, their source ports, connections, and the queries over those."""

    udp: int = 0
    ports: int = 0
    connections: int = 0
    stream: int = 0
    most: int = 0  # queries of one connection


class Scripted:
    """The nameserver, as a context manager. `udp`, `tcp` and `tls` are its address as `nameservers` takes it."""

    def __init__(self, udp: Udp | None = None, stream: Stream | None = None) -> None:
        self._settings = {"udp": dataclasses.asdict(udp or Udp()), "stream": dataclasses.asdict(stream or Stream())}
        self.port = 0

    def __enter__(self) -> Scripted:
        self._child = subprocess.Popen(
            [sys.executable, "-I", __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        self.port = self._tell(self._settings)["port"]
        return self

    def __exit__(self, *_: object) -> None:
        assert self._child.stdin is not None
        with self._child, contextlib.suppress(BrokenPipeError):
            self._child.stdin.close()

    @property
    def udp(self) -> str:
        return f"{HOST}:{self.port}"

    @property
    def tcp(self) -> str:
        return f"tcp://{self.udp}"

    @property
    def tls(self) -> str:
        return f"tls://{self.udp}"

    def over(self, transport: str) -> str:
        """Its address for `tcp`, `tls`, or `udp`."""
        return self.udp if transport == "udp" else f"{transport}://{self.udp}"

    def addresses(self, number: int) -> list[str]:
        """So many of the addresses of one that is `everywhere`."""
        return [f"127.{each >> 16}.{each >> 8 & 255}.{each & 255}:{self.port}" for each in range(1, number + 1)]

    def close(self) -> None:
        """Close its port: the kernel refuses what is sent there; connections are reset."""
        self._tell("close")

    def open(self) -> None:
        """Listen again, on the same port."""
        self._tell("open")

    def counts(self) -> Counts:
        """Return what it has seen so far."""
        return Counts(**self._tell("counts"))

    def _tell(self, what: object) -> Any:
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._child.stdin.write(json.dumps(what) + "\n")
        return json.loads(self._child.stdout.readline())


def names(number: int, *labels: str) -> list[str]:
    """So many names; their first labels begin with these words in turn."""
    return [f"{label}-{each}.example" for each, label in zip(range(number), itertools.cycle(labels or ("ok",)))]


def plain_client(hosts: list[str], port: int, seconds: float, at_once: int = 100) -> tuple[Counter[str], float]:
    """Ask over TCP, a connection for each question and so many at once; what they ended as, and the seconds it took."""
    return asyncio.run(_plain_client(iter(hosts), port, seconds, at_once))


async def _plain_client(hosts: Iterator[str], port: int, seconds: float, at_once: int) -> tuple[Counter[str], float]:
    ended: Counter[str] = Counter()
    began = time.monotonic()

    async def work() -> None:
        for host in hosts:
            try:
                async with asyncio.timeout(seconds):
                    ended[await _ask_plainly(host, port)] += 1
            except TimeoutError:
                ended["TIMEOUT"] += 1
            except (OSError, asyncio.IncompleteReadError):
                ended["ERROR"] += 1

    await asyncio.gather(*(work() for _ in range(at_once)))
    return ended, time.monotonic() - began


async def _ask_plainly(host: str, port: int) -> str:
    labels = b"".join(bytes((len(label),)) + label.encode() for label in host.split("."))
    query = os.urandom(2) + b"\1\0\0\1\0\0\0\0\0\0" + labels + b"\0\0\1\0\1"
    reader, writer = await asyncio.open_connection(HOST, port)
    try:
        writer.write(len(query).to_bytes(2) + query)
        while True:
            reply = await reader.readexactly(int.from_bytes(await reader.readexactly(2)))
            if reply[:2] == query[:2] and reply[12 : len(query)] == query[12:]:
                return "NOERROR"
    finally:
        writer.close()


# --- The process.


def reply_to(query: bytes, rcode: int = 0, truncated: bool = False) -> bytes:
    """The reply to a query for A: 192.0.2.1, or none with an rcode or TC."""
    question = query[12 : query.index(b"\0", 12) + 5]
    empty = truncated or rcode != 0
    answer = b"" if empty else b"\xc0\x0c\0\1\0\1\0\0\1\x2c\0\4\xc0\0\2\1"
    flags = bytes((0x81 | 2 * truncated, 0x80 | rcode))
    return query[:2] + flags + bytes((0, 1, 0, not empty, 0, 0, 0, 0)) + question + answer


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

    def open(self, port: int) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 24)
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
                reply = self._reply(query, peer[1], to)
                if reply is not None:
                    self._loop.later(self._settings.latency, self._send, reply, peer, to)

    def _reply(self, query: bytes, port: int, to: bytes) -> bytes | None:
        settings = self._settings
        if to:
            number = int.from_bytes(to[1:]) * 7 % 10 / 10  # each share spread evenly
            if number < settings.silent:
                return None
            return reply_to(query, 5 if number < settings.silent + settings.refused - 1e-9 else 0)
        if port not in self._replies:
            self._see(port)
        if port in self._dead or settings.reply == "none" or self._random.random() < settings.lost:
            return None
        if settings.replies_a_port is not None and self._replies[port] >= settings.replies_a_port:
            return None
        self._replies[port] += 1
        truncated = settings.reply == "truncated" or not self._may_be_whole()
        return reply_to(query, truncated=truncated)

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


class Connection:
    """One connection."""

    def __init__(self, accepted: socket.socket, owner: Streams) -> None:
        self._socket, self._owner, self._settings = accepted, owner, owner.settings
        self._fd = accepted.fileno()
        self._shaken = not isinstance(accepted, ssl.SSLSocket)
        self._in = b""
        self._out = b""
        self._queries = 0
        self._replies = 0
        self._free = 0.0  # when the query before is done
        self._mute = self._closed = False
        turn = owner.counts.connections - 1
        self._answers, self._most = (
            each[turn % len(each)] if each else None for each in (self._settings.answers, self._settings.queries)
        )
        if not self._settings.unread:
            owner.loop.add(self._fd, self._ready)

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
        self._in += octets
        first = True
        while len(self._in) >= 2 and len(self._in) >= (end := 2 + int.from_bytes(self._in[:2])):
            query, self._in = self._in[2:end], self._in[end:]
            self._owner.counts.stream += 1
            self._queries += 1
            self._owner.counts.most = max(self._owner.counts.most, self._queries)
            if first or not self._settings.first_of_read:
                self._answer(query)
            first = False
            if self._closed:
                return

    def _answer(self, query: bytes) -> None:
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
        self._owner.loop.later(self._free - now + settings.latency, self._done, reply)

    def _done(self, reply: bytes | None) -> None:
        if self._closed:
            return
        self._replies += 1
        if reply is not None:
            self._out += len(reply).to_bytes(2) + reply
            try:
                self._flush()
            except OSError:
                self.close()
        if self._replies == self._most:
            self.close()

    def _flush(self) -> None:
        if not self._out or not self._shaken:
            return
        try:
            self._out = self._out[self._socket.send(self._out) :]
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            pass
        self._owner.loop.writable(self._fd, bool(self._out))


class Program:
    """The process: it is told what to do on standard input."""

    def __init__(self) -> None:
        settings = json.loads(sys.stdin.readline())
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
        if not line:
            self._loop.ended = True
            return
        what = json.loads(line)
        if what == "close":
            self._datagrams.close()
            self._streams.close()
        elif what == "open":
            self._streams.open(self._port)
            self._datagrams.open(self._port)
        self._say(dataclasses.asdict(self._counts))

    def _say(self, what: object) -> None:
        print(json.dumps(what), flush=True)


if __name__ == "__main__":
    import resource

    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    Program().run()

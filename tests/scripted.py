"""A nameserver that misbehaves as it is told, in a process of its own.

    with Scripted(Udp(reply="truncated"), Stream(answers=50)) as server:
        resolve(hosts, nameservers=[server.tcp])

`Udp` and `Stream` say what becomes of datagrams and of connections; each field is one fault, and they combine. What is
answered is 192.0.2.1 for every name. The process, scripted_server.py, shares no interpreter lock with the engine that
it is asked by; it is kept for the next one, and ends when its standard input does.

`Stream(by_name=True)`: the first label says what becomes of a query. `close` and `reset` end the connection, `silent`
is never answered, `mute` silences the whole connection from then on, `broken` and `short` get octets that are no reply.
Over HTTP/2 there are those of scripted_http.py as well.
`Stream(mixed=True)`: chance says so, of FATES.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import subprocess
import sys
import threading
import zlib
from pathlib import Path
from typing import Any

# No client's port is of this address: one that is closed for a while is still free when it is opened again.
HOST = "127.53.0.53" if sys.platform == "linux" else "127.0.0.1"
FATES = ("ok", "close", "silent", "broken")
SERVER = Path(__file__).with_name("scripted_server.py")


@dataclasses.dataclass(frozen=True)
class Udp:
    """Fates of datagrams.

    reply: `whole`, `truncated` (empty, with TC), `none`. latency: seconds, and up to `jitter` more or fewer.
    lost: share of queries never answered. service: seconds that each query takes, one after the other; where `queue`
    wait already, a further one is dropped.
    whole_a_second: replies in a second that are whole; the rest are truncated.
    dead: the flows that are never answered: `first` (the first source port that is seen), `fourth` (the first, the
    fifth, the ninth, ... that is seen), `hashed` (a quarter of all ports). replies_a_port: then it falls silent.
    everywhere: listens on all of 127.0.0.0/8. silent, refused, lying, limited: shares of those addresses. One that lies
    has 192.0.2.66 for every name; one that is limited answers `most` queries in a second and drops the rest.
    exist: with `everywhere`, the share of names that exist; the others are NXDOMAIN.
    """

    reply: str = "whole"
    latency: float = 0.0
    jitter: float = 0.0
    lost: float = 0.0
    service: float = 0.0
    queue: int = 100
    whole_a_second: int | None = None
    dead: str | None = None
    replies_a_port: int | None = None
    everywhere: bool = False
    silent: float = 0.0
    refused: float = 0.0
    lying: float = 0.0
    limited: float = 0.0
    most: int = 200
    exist: float = 1.0


@dataclasses.dataclass(frozen=True)
class Stream:
    """Fates of connections.

    certificate: PEM file of a certificate and its key, for TLS. latency: seconds. lost: share of queries never
    answered. answers: queries of a connection that are answered; the next are read in silence. queries: after so many
    it is closed, or reset with `reset`. The first number is the first connection's, the last that of all that follow;
    none is no end. service: seconds that each query takes, one after the other. first_of_read: of the messages that
    one read brings only the first is answered. unread: accepted and never read, so that no handshake of TLS ends
    either. by_name, mixed: see the module.

    http: HTTP/2 (scripted_http.py), with so many `streams` at a time, so many octets of `window` on a new one, and
    octets of `padding` in each response. goaway: what takes no more than `queries` says so, and answers those.
    """

    certificate: str | None = None
    latency: float = 0.0
    lost: float = 0.0
    answers: tuple[int, ...] = ()
    queries: tuple[int, ...] = ()
    service: float = 0.0
    first_of_read: bool = False
    reset: bool = False
    unread: bool = False
    by_name: bool = False
    mixed: bool = False
    http: bool = False
    streams: int | None = None
    window: int | None = None
    padding: int | None = None
    goaway: bool = False


@dataclasses.dataclass
class Counts:
    """Record of what the nameserver saw: queries over UDP, their source ports, connections, and the queries over those.

    resumed: connections that went on with a TLS session.
    """

    udp: int = 0
    ports: int = 0
    connections: int = 0
    resumed: int = 0
    stream: int = 0
    most: int = 0  # queries of one connection


_idle: list[subprocess.Popen[str]] = []


class Scripted:
    """The nameserver, as a context manager. `udp`, `tcp` and `tls` are its address as `nameservers` takes it."""

    def __init__(self, udp: Udp | None = None, stream: Stream | None = None) -> None:
        self._settings = {"udp": dataclasses.asdict(udp or Udp()), "stream": dataclasses.asdict(stream or Stream())}
        self.port = 0

    def __enter__(self) -> Scripted:
        self._child = (
            _idle.pop()
            if _idle
            else subprocess.Popen(
                [sys.executable, "-E", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
            )
        )
        self.pid = self._child.pid
        self.port = self._tell(self._settings)["port"]
        return self

    def __exit__(self, *_: object) -> None:
        self._tell("end")
        _idle.append(self._child)

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
        """Its address for `tcp`, `tls`, `https`, or `udp`."""
        path = "/dns-query" if transport == "https" else ""
        return self.udp if transport == "udp" else f"{transport}://{self.udp}{path}"

    def addresses(self, number: int) -> list[str]:
        """Return so many of the addresses of one that is `everywhere`."""
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


class Restart(threading.Thread):
    """Closes the port of a nameserver after so many queries, and opens it again after some seconds, or never."""

    def __init__(self, server: Scripted, away: float | None, queries: int = 200) -> None:
        super().__init__()
        self._server, self._away, self._queries = server, away, queries
        self._ended = threading.Event()

    def run(self) -> None:
        """Wait until it has been asked; then close."""
        while not self._ended.wait(0.01):
            counts = self._server.counts()
            if counts.udp + counts.stream >= self._queries:
                self._server.close()
                if self._away is not None:
                    self._ended.wait(self._away)
                    self._server.open()
                return

    def __enter__(self) -> Restart:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self.join()


def exists(name: str, share: float) -> bool:
    """Tell whether a name, in lower case and without its last dot, is one of those that exist."""
    octets = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return zlib.crc32(octets) < share * 2**32


def names(number: int, *labels: str) -> list[str]:
    """Return so many names; their first labels begin with these words in turn."""
    return [f"{label}-{each}.example" for each, label in zip(range(number), itertools.cycle(labels or ("ok",)))]

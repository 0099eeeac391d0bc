"""Replies as nameservers give them: broken ones, refusals, explanations; on every engine and backend that can tell.

And what swallows the queries from one port, which no backend can see, and each must survive by asking from another.
"""

import contextlib
import resource
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from command import environment
from conftest import Ask, fresh

from resolver.engines import pairs
from resolver.lab import Lab

A, ADDRESS = 1, b"\xc0\0\2\7"
OPT = b"\0\0\x29\x04\xd0\0\0\0\0\0\0"

Reply = Callable[[bytes, int], bytes | None]  # to a query, from a port


class Server:
    """A nameserver over UDP and TCP on one port of loopback, in threads."""

    def __init__(self, reply: Reply) -> None:
        self._reply = reply
        self.queries: list[tuple[bytes, int]] = []
        while True:
            self._udp, self._tcp = socket.socket(type=socket.SOCK_DGRAM), socket.socket()
            self._udp.bind(("127.0.0.1", 0))
            try:
                self._tcp.bind(self._udp.getsockname())
                break
            except OSError:  # the port is free over UDP only
                self._udp.close()
                self._tcp.close()
        self._tcp.listen()
        self.where = "{}:{}".format(*self._udp.getsockname())

    def __enter__(self) -> "Server":
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._datagrams, self._connections)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._udp.sendto(b"", self._udp.getsockname())
        socket.create_connection(self._tcp.getsockname()).close()
        for thread in self._threads:
            thread.join()
        self._udp.close()
        self._tcp.close()

    def _answer(self, query: bytes, port: int) -> bytes | None:
        self.queries.append((query, port))
        return self._reply(query, port)

    def _datagrams(self) -> None:
        while True:
            query, peer = self._udp.recvfrom(2048)
            if not query:
                return
            if (message := self._answer(query, peer[1])) is not None:
                self._udp.sendto(message, peer)

    def _connections(self) -> None:
        while True:
            connection, peer = self._tcp.accept()
            first = connection.recv(2)
            if not first:
                connection.close()
                return
            threading.Thread(target=self._serve, args=(connection, first, peer[1]), daemon=True).start()

    def _serve(self, connection: socket.socket, size: bytes, port: int) -> None:
        with contextlib.suppress(OSError), connection, connection.makefile("rb") as octets:
            while len(size) == 2:
                message = self._answer(octets.read(int.from_bytes(size, "big")), port)
                if message is not None:
                    connection.sendall(len(message).to_bytes(2, "big") + message)
                size = octets.read(2)


def message(query: bytes, *records: bytes, rcode: int = 0, extra: bytes = OPT, qr: int = 0x81) -> bytes:
    """A reply of these records in the answer section and, in `extra`, one in the additional section."""
    end = query.index(b"\0", 12) + 5
    counts = struct.pack("!HHHH", 1, len(records), 0, 1 if extra else 0)
    return query[:2] + bytes([qr, 0x80 | rcode]) + counts + query[12:end] + b"".join(records) + extra


def record(number: int, rdata: bytes) -> bytes:
    return b"\xc0\x0c" + struct.pack("!HHIH", number, 1, 60, len(rdata)) + rdata


def answer(query: bytes) -> bytes:
    return message(query, record(A, ADDRESS))


def opt(upper: int = 0, options: bytes = b"") -> bytes:
    return b"\0\0\x29\x04\xd0" + bytes([upper, 0, 0, 0]) + len(options).to_bytes(2, "big") + options


def has_edns(query: bytes) -> bool:
    return query[11] == 1


def label(query: bytes) -> str:
    """The first label of the name that is asked."""
    return query[13 : 13 + query[12]].decode()


TRANSPORTS = pytest.mark.parametrize("transport", ["udp", "tcp"])
JUNK = {"one": b"\0", "four": b"\0\0\0\0", "text": b"trailing octets"}


@TRANSPORTS
@pytest.mark.needs("matching")
def test_octets_behind_the_last_record(ask: Ask, transport: str) -> None:
    """The answer before them counts, at the first try, however many they are."""
    with Server(lambda query, _: answer(query) + JUNK[label(query)]) as server:
        run = ask([fresh(each) for each in JUNK], nameservers=f"{transport}://{server.where}", query_timeout=2)
    assert [("NOERROR", ["192.0.2.7"], 1)] * len(JUNK) == [(each.status, each.addresses, each.attempts) for each in run]


UNREADABLE = {
    "HTTPS": (65, b"\0\0\1t\0\0\1\0\3\2h2"),
    "LOC": (29, b"\1" + bytes(15)),
    "CAA": (257, b"\0"),
    "MX": (15, b"\0"),
    "A": (1, b"\1\2\3"),
}


@TRANSPORTS
@pytest.mark.needs("types", "details")
def test_a_record_that_cannot_be_read(ask: Ask, transport: str) -> None:
    """It is written as RFC 3597 has it; beside it, in a reply to ANY, an address is told as ever."""
    by_number = dict(UNREADABLE.values())

    def reply(query: bytes, _: int) -> bytes:
        number = int.from_bytes(query[query.index(b"\0", 12) + 1 :][:2], "big")
        if number == 255:
            return message(query, record(A, ADDRESS), *(record(each, by_number[each]) for each in by_number))
        return message(query, record(number, by_number[number]))

    with Server(reply) as server:
        types = [*UNREADABLE, "ANY"]
        run = ask([fresh("www")], nameservers=f"{transport}://{server.where}", types=types, query_timeout=2)
    generic = [f"\\# {len(rdata)} {rdata.hex()}" for rdata in by_number.values()]
    expected = [*([each] for each in generic), ["192.0.2.7", *generic]]
    assert expected == [[each.data for each in result.answers] for result in run]
    assert [("NOERROR", 1)] * len(types) == [(result.status, result.attempts) for result in run]
    assert ["192.0.2.7"] == [address for result in run for address in result.addresses]


RCODES = {"formerr": 1, "notimp": 4, "badvers": 16}


@TRANSPORTS
def test_edns_that_is_refused(ask: Ask, transport: str) -> None:
    """FORMERR, NOTIMP or BADVERS, with an OPT record or without: asked again without EDNS, at the cost of no try."""

    def reply(query: bytes, _: int) -> bytes:
        if not has_edns(query):
            return answer(query)
        rcode = RCODES[label(query)]
        return message(query, rcode=rcode & 15, extra=opt(1) if rcode == 16 else b"")

    for each in RCODES:
        with Server(reply) as server:
            [result] = ask([fresh(each)], nameservers=f"{transport}://{server.where}", tries=1, query_timeout=2)
        assert ("NOERROR", ["192.0.2.7"]) == (result.status, result.addresses)
        assert [True, False] == [has_edns(query) for query, _ in server.queries]


CUT = "replies came that could not be read: the message ends too early"
BROKEN: dict[str, tuple[Callable[[bytes], bytes | None], str]] = {
    "cut": (lambda query: message(query, record(A, ADDRESS))[:-12], CUT),
    "count": (lambda query: query[:2] + b"\x81\x80" + struct.pack("!HHHH", 1, 9, 0, 0) + query[12:-11], CUT),
    "owner": (
        lambda query: message(query, b"\xc0\xff" + record(A, ADDRESS)[2:]),
        "replies came that could not be read: a compression pointer does not point backward",
    ),
    "chain": (
        lambda query: message(query, record(5, b"\x80")),
        "replies came that could not be read: a label has a type that is not in use",
    ),
    "other": (lambda query: message(query.replace(b"\5other", b"\5OTHE?")), "what came was no reply to this question"),
    "echo": (lambda query: query, "what came was a query, and no reply"),
    "mute": (lambda query: None, ""),
}


@TRANSPORTS
@pytest.mark.needs("matching")
def test_replies_that_cannot_be_read(ask: Ask, transport: str) -> None:
    """The TIMEOUT's error says that something came, and what was wrong with it; of silence there is nothing to say."""
    with Server(lambda query, _: BROKEN[label(query)][0](query)) as server:
        hosts = [fresh(each) for each in BROKEN]
        run = ask(hosts, nameservers=f"{transport}://{server.where}", tries=2, query_timeout=0.4)
    expected = [
        f"no valid reply in 2 tries; {said}" if said else "no valid reply in 2 tries" for _, said in BROKEN.values()
    ]
    assert [("TIMEOUT", said) for said in expected] == [(each.status, each.error) for each in run]


FAILURES = {"servfail": 2, "refused": 5, "notauth": 9}


@TRANSPORTS
@pytest.mark.needs("matching")
def test_extended_errors(ask: Ask, transport: str) -> None:
    """What a nameserver says of its SERVFAIL or REFUSED stands in the error; where it says nothing, there is none."""
    explained = opt(options=b"\0\x0f\0\x09\0\6expired")

    def reply(query: bytes, port: int) -> bytes:
        failure, hyphen, _ = label(query).partition("-")
        return message(query, rcode=FAILURES[failure], extra=OPT if hyphen else explained)

    with Server(reply) as server:
        hosts = [fresh(f"{each}{plain}") for each in FAILURES for plain in ("", "-plain")]
        run = ask(hosts, nameservers=f"{transport}://{server.where}", query_timeout=1)
    said = "extended DNS error 6 (DNSSEC Bogus): expired"
    assert [(each.upper(), error) for each in FAILURES for error in (said, None)] == [
        (each.status, each.error) for each in run
    ]


# --- Another port for another try.


def swallowing() -> Iterator[tuple[str, Reply]]:
    first: dict[bytes, int] = {}
    by_port: dict[int, int] = {}
    once: list[int] = []

    def first_of_each_name(query: bytes, port: int) -> bytes | None:
        return None if first.setdefault(query[12 : query.index(b"\0", 12)], port) == port else answer(query)

    def first_of_all(query: bytes, port: int) -> bytes | None:
        once.append(port)
        return None if port == once[0] else answer(query)

    def after_twenty(query: bytes, port: int) -> bytes | None:
        by_port[port] = by_port.get(port, 0) + 1
        return answer(query) if by_port[port] <= 20 else None

    yield "the first port of each name", first_of_each_name
    yield "the first port of all", first_of_all
    yield "each port after 20 replies", after_twenty


@pytest.mark.needs("library")
@pytest.mark.parametrize("which", range(3))
def test_a_port_that_is_swallowed(ask: Ask, which: int) -> None:
    """Whatever swallows the queries from one port, the next try gets through."""
    _, reply = list(swallowing())[which]
    with Server(reply) as server:
        run = ask([fresh("www") for _ in range(60)], nameservers=server.where, query_timeout=0.8, concurrency=20)
    assert {"NOERROR": 60} == run.summary.statuses


# --- Descriptors.

FEW = """
import resource, sys
if sys.argv[1] == "gevent":
    from gevent import monkey
    monkey.patch_all()
from resolver import engines, resolve
engines.find(*sys.argv[1:3])
resource.setrlimit(resource.RLIMIT_NOFILE, (60, 60))
options = dict(engine=sys.argv[1], backend=sys.argv[2], nameservers=sys.argv[3], concurrency=150, query_timeout=8)
for label in ("slow-100", "servfail-1", "truncated"):
    print(resolve([f"{label}.n{n}.example" for n in range(160)], **options).summary.statuses)
"""


@pytest.mark.parametrize(
    "pair",
    [each for each in pairs() if each.backend not in ("wire", "system") and each.style in ("call", "await")],
    ids=lambda pair: f"{pair.engine}-{pair.backend}",
)
def test_more_at_once_than_descriptors(lab: Lab, pair: Any) -> None:
    """150 lookups at once in a process of 60 descriptors: each waits for one, and is answered."""
    if not pair.installed:
        pytest.skip(f"needs the extra {pair.extra}")
    done = subprocess.run(
        [sys.executable, "-c", FEW, pair.engine, pair.backend, lab.nameserver],
        capture_output=True,
        text=True,
        timeout=60,
        env=environment(),
    )
    assert ("{'NOERROR': 160}\n" * 3, "") == (done.stdout, done.stderr)


def test_the_command_raises_its_limit(tmp_path: Path) -> None:
    """The command's soft limit of descriptors is raised; importing the library changes nothing."""
    (tmp_path / "sitecustomize.py").write_text(
        "import atexit, pathlib, resource\n"
        "told = lambda: pathlib.Path(__file__).with_name('limit').write_text(str(resource.getrlimit(7)[0]))\n"
        "atexit.register(told)\n"
    )
    assert 7 == resource.RLIMIT_NOFILE
    limits = []
    for command in (["-c", "import resolver, resolver.descriptors"], ["-m", "resolver", "engines"]):
        subprocess.run(
            ["sh", "-c", 'ulimit -Sn 100; exec "$@"', "sh", sys.executable, *command],
            check=True,
            capture_output=True,
            env=environment(PYTHONPATH=str(tmp_path)),
        )
        limits.append(int((tmp_path / "limit").read_text()))
    assert limits[0] == 100 < limits[1]


# --- An address with a zone.


def test_an_address_with_a_zone(ask: Ask, lab6: Lab) -> None:
    """It is asked, over UDP and TCP, or refused with a sentence; an interface that is not there is no such device."""
    loopback = next((name for _, name in socket.if_nameindex() if name in ("lo", "lo0")), None)
    port = lab6.nameserver.rpartition(":")[2]
    if ask.pair.backend in ("aiodns", "twisted"):
        with pytest.raises(ValueError, match=r"cannot ask an address with a zone .*; backends that can: wire, dns"):
            ask([fresh("www")], nameservers=f"[::1%{loopback}]:{port}")
        return
    there, gone = f"[::1%{loopback}]:{port}", f"[fe80::1%nothere0]:{port}"
    for transport in ("udp", "tcp"):
        [found] = ask([fresh("www")], nameservers=f"{transport}://{there}")
        [lost] = ask([fresh("www")], nameservers=f"{transport}://{gone}", query_timeout=0.4)
        assert ("NOERROR", there) == (found.status, found.nameserver)
        assert ("ERROR", f"{transport} to {gone} failed: no such device") == (lost.status, lost.error)

"""`--source`: the local addresses that queries leave from, as the nameserver sees them. All of 127.0.0.0/8 is ours."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import ssl
import struct
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dns.message
import dns.rrset
import pytest
from command import inside as command
from command import wait_for
from conftest import lacking, row

from resolver import Result, resolve, stream
from resolver.engines import BACKENDS, Pair, pairs
from resolver.model import Detail

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only on Linux is all of 127.0.0.0/8 this machine's")
SOURCES = ["127.0.0.2", "127.0.0.3"]
NAMES = [f"h{number}.example" for number in range(40)]


class Seen:
    """A nameserver that notes whom it was asked by: `udp`, `tcp` and `tls` are its addresses."""

    def __init__(self, host: str, secure: Path | None = None) -> None:
        self.peers: set[str] = set()
        self._v6 = ":" in host
        context = None
        if secure is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(secure)
        with contextlib.ExitStack() as opened:
            self._servers = [
                opened.enter_context(self._server(host, kind, wrapped))
                for kind, wrapped in (
                    (socket.SOCK_DGRAM, None),
                    (socket.SOCK_STREAM, None),
                    (socket.SOCK_STREAM, context),
                )
            ]
            self._opened = opened.pop_all()
        shown = f"[{host}]" if self._v6 else host
        ports = [server.server_address[1] for server in self._servers]
        self.udp, self.tcp, self.tls = (
            f"{scheme}://{shown}:{port}" for scheme, port in zip(("udp", "tcp", "tls"), ports, strict=True)
        )

    def __enter__(self) -> Seen:
        for server in self._servers:
            threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for server in self._servers:
            server.shutdown()
        self._opened.close()

    def _server(self, host: str, kind: int, context: ssl.SSLContext | None) -> Any:
        seen = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                seen.peers.add(self.client_address[0])
                if kind == socket.SOCK_DGRAM:
                    octets, answering = self.request
                    answering.sendto(reply(octets), self.client_address)
                    return
                with contextlib.suppress(OSError):
                    connection = context.wrap_socket(self.request, server_side=True) if context else self.request
                    with connection, connection.makefile("rb") as reading:
                        while head := reading.read(2):
                            said = reply(reading.read(*struct.unpack("!H", head)))
                            connection.sendall(struct.pack("!H", len(said)) + said)

        base = socketserver.ThreadingUDPServer if kind == socket.SOCK_DGRAM else socketserver.ThreadingTCPServer
        family = socket.AF_INET6 if self._v6 else socket.AF_INET
        made = type("Server", (base,), {"address_family": family, "daemon_threads": True, "block_on_close": False})
        server = made((host, 0), Handler)
        return server


def reply(octets: bytes) -> bytes:
    message = dns.message.make_response(dns.message.from_wire(octets))
    message.answer.append(dns.rrset.from_text(message.question[0].name, 300, "IN", "A", "192.0.2.1"))
    return message.to_wire()


@pytest.fixture
def nameserver(secure: tuple[Path, Path]) -> Iterator[Seen]:
    with Seen("127.0.0.1", secure[0]) as seen:
        yield seen


PAIRS = [each for each in pairs() if "source" in BACKENDS[each.backend].honours and not lacking(each, "in-process")]


@pytest.mark.parametrize(
    ("pair", "transport"),
    [(pair, way) for pair in PAIRS for way in ("udp", "tcp", "tls") if way != "tls" or not lacking(pair, "tls")],
    ids=lambda each: each if isinstance(each, str) else row(each),
    indirect=["pair"],
)
def test_on_every_pair(
    pair: Pair, transport: str, nameserver: Seen, secure: tuple[Path, Path], request: pytest.FixtureRequest
) -> None:
    """The nameserver sees the addresses that were given and no others: over UDP each of them, by whatever engine."""
    more = {"redis": request.getfixturevalue("broker")} if pair.engine == "redis" else {}
    run = resolve(
        NAMES, engine=pair.engine, backend=pair.backend, nameservers=getattr(nameserver, transport), source=SOURCES,
        tls_ca=str(secure[1]), **more,
    )  # fmt: skip
    assert {"NOERROR": len(NAMES)} == run.summary.statuses
    if transport == "udp" and pair.backend != "aiodns":  # c-ares asks from one address for each nameserver
        assert set(SOURCES) == nameserver.peers
    else:
        assert set() < nameserver.peers <= set(SOURCES)


@pytest.mark.parametrize(
    ("engine", "backend"), [("asyncio", "dnspython"), ("threads", "dnspython"), ("gevent", "wire")]
)
def test_over_https(engine: str, backend: str, secure: tuple[Path, Path]) -> None:
    """Clients of HTTPS connect from there too, and tell how the reply looked."""
    https = pytest.importorskip("test_await_https")
    peers: set[str] = set()

    class Noting(https.Http2):  # type: ignore[misc,name-defined]  # imported where it can be
        def verify_request(self, request: object, client_address: tuple[str, int]) -> bool:
            peers.add(client_address[0])
            return True

    with Noting(secure[0]) as server:
        (result,) = resolve(
            ["a.example"], engine=engine, backend=backend, nameservers=f"https://{server.where}/dns-query",
            tls_ca=str(secure[1]), source=SOURCES[1], detail=True,
        )  # fmt: skip
    assert ("NOERROR", {SOURCES[1]}) == (result.status, peers)
    assert isinstance(result.detail, Detail)
    assert ["qr", "rd"] == result.detail.flags


def test_of_its_own_family(nameserver: Seen) -> None:
    """Nameservers of IPv4 and IPv6 side by side: each is asked from addresses of its own family."""
    with Seen("::1") as other:
        run = resolve(NAMES, nameservers=[nameserver.udp, other.udp], source=["::1", *SOURCES])
    assert ({"NOERROR": len(NAMES)}, set(SOURCES), {"::1"}) == (run.summary.statuses, nameserver.peers, other.peers)


def test_without_waiting(nameserver: Seen) -> None:
    """What is sent once and not awaited leaves from there too."""
    done = command(*NAMES, "-n", nameserver.udp, "--source", SOURCES[0], "--no-wait")
    wait_for(lambda: nameserver.peers, "a query")
    assert (0, {SOURCES[0]}) == (done.status, nameserver.peers)


REFUSED = [
    (["192.0.2.1"], "192.0.2.1 is no address of this machine"),
    (["2001:db8::1"], "2001:db8::1 is no address of this machine"),
    (["example"], "'example' does not appear to be an IPv4 or IPv6 address"),
    (["::1"], "127.0.0.1:9 cannot be asked: no IPv4 address to ask from is given"),
]


@pytest.mark.parametrize(("sources", "sentence"), REFUSED)
def test_what_is_refused_at_the_start(sources: list[str], sentence: str) -> None:
    """An address that is not ours, or cannot reach a nameserver: exit status 2, and ValueError in the library."""
    done = command("a.example", "-n", "127.0.0.1:9", *(word for each in sources for word in ("--source", each)))
    assert (2, True) == (done.status, sentence in done.err)
    with pytest.raises(ValueError, match=r"source|address"):
        stream(["a.example"], nameservers="127.0.0.1:9", source=sources)


def test_who_can() -> None:
    """The C library cannot, and says who can."""
    with pytest.raises(ValueError, match="cannot honour source; backends that can: wire, dnspython, aiodns, twisted"):
        resolve(["a.example"], engine="threads", backend="system", source=["127.0.0.1"])


def test_a_worker_has_its_own(nameserver: Seen, broker: str) -> None:
    """A run may name addresses that are its workers' and not its own; a worker that has none of them says so."""
    (result,) = resolve(["a.example"], engine="redis", redis=broker, nameservers=nameserver.udp, source=["192.0.2.1"])
    assert isinstance(result, Result)
    assert ("ERROR", True) == (result.status, "192.0.2.1 is no address of this machine" in (result.error or ""))

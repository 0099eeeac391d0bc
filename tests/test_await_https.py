"""The awaited side of the backend `dnspython` over HTTPS (RFC 8484), against servers of its own on loopback.

One speaks HTTP/2, on one connection for all; one is that of the blocking side and speaks HTTP/1.1; one accepts and says
nothing. What concerns the messages stands in test_call_backends.py.
"""

import asyncio
import contextlib
import socket
import socketserver
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dns.message
import dns.rrset
import pytest
from test_call_backends import Doh

from resolver import Policy, Result, Run, astream, resolve

connection = pytest.importorskip("h2.connection", reason="needs the extra doh")
configuration = pytest.importorskip("h2.config")
events = pytest.importorskip("h2.events")


class Http2(socketserver.ThreadingTCPServer):
    """A nameserver over HTTP/2 that answers NOERROR with one address at /dns-query. `connections`: how many it had."""

    daemon_threads = True

    def __init__(self, certificate: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.context.load_cert_chain(certificate)
        self.context.set_alpn_protocols(["h2"])
        self.where = f"127.0.0.1:{self.server_address[1]}"
        self.connections = self.late = 0

    def __enter__(self) -> "Http2":
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    def handle_error(self, *_: object) -> None:
        """A client that waits no longer is part of the test."""


class _Connection(socketserver.BaseRequestHandler):
    server: Http2

    def handle(self) -> None:
        self.server.connections += 1
        with contextlib.suppress(OSError), self.server.context.wrap_socket(self.request, server_side=True) as link:
            assert link.selected_alpn_protocol() == "h2"
            speaker = connection.H2Connection(configuration.H2Configuration(client_side=False))
            speaker.initiate_connection()
            paths: dict[int, str] = {}
            bodies: dict[int, bytes] = {}
            link.sendall(speaker.data_to_send())
            while data := link.recv(65535):
                for event in speaker.receive_data(data):
                    if isinstance(event, events.RequestReceived):
                        paths[event.stream_id] = dict(event.headers)[b":path"].decode()
                    elif isinstance(event, events.DataReceived):
                        bodies[event.stream_id] = bodies.get(event.stream_id, b"") + event.data
                        speaker.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                    elif isinstance(event, events.StreamEnded):
                        self._answer(speaker, event.stream_id, paths[event.stream_id], bodies[event.stream_id])
                link.sendall(speaker.data_to_send())

    def _answer(self, speaker: Any, stream: int, path: str, body: bytes) -> None:
        query = dns.message.from_wire(body)
        name = query.question[0].name
        if path == "/hang" or name.labels[0] == b"hang":
            return
        if name.labels[0] == b"late":
            # The first query is answered after the second one has come, which is not.
            self.server.late += 1
            if self.server.late > 1:
                return
            while self.server.late < 2:
                time.sleep(0.01)
        code, page = 200, b"garbage"
        if path == "/missing":
            code, page = 404, b"<html>\nnothing here\n</html>"
        elif path == "/dns-query":
            reply = dns.message.make_response(query)
            reply.answer.append(dns.rrset.from_text(name, 60, "IN", "A", "192.0.2.7"))
            page = reply.to_wire()
        elif path == "/other":
            page = dns.message.make_response(dns.message.make_query("other.example", "A")).to_wire()
        kind = "application/dns-message" if code == 200 else "text/html"
        speaker.send_headers(stream, [(":status", str(code)), ("content-type", kind)])
        speaker.send_data(stream, page, end_stream=True)


@pytest.fixture
def http2(secure: tuple[Path, Path]) -> Iterator[Http2]:
    """A server that speaks HTTP/2."""
    with Http2(secure[0]) as server:
        yield server


def policy(url: str, secure: tuple[Path, Path] | None, **options: Any) -> Policy:
    """Ask this nameserver, and trust that authority."""
    nameservers: Any = [url]
    return Policy(nameservers=nameservers, tls_ca=str(secure[1]) if secure else None, **options)


def ask(url: str, secure: tuple[Path, Path] | None, *hosts: str, **options: Any) -> Run:
    """The run of these hosts on asyncio."""
    return resolve(hosts, engine="asyncio", backend="dnspython", policy=policy(url, secure, **options))


def test_one_connection_for_all(http2: Http2, secure: tuple[Path, Path]) -> None:
    """Lookups share a connection over HTTP/2; each names its nameserver and https, and took one query."""
    run = ask(
        f"https://{http2.where}/dns-query", secure, *(f"h{n}.example" for n in range(40)), query_timeout=20, tries=1
    )
    assert {("NOERROR", "https", http2.where, 1)} == {(r.status, r.transport, r.nameserver, r.attempts) for r in run}
    assert {("192.0.2.7",)} == {tuple(result.addresses) for result in run}
    assert 1 == http2.connections


@pytest.mark.parametrize("version", ["HTTP/1.1", "HTTP/2"])
@pytest.mark.parametrize(
    ("path", "status", "error"),
    [
        ("/missing", "ERROR", "responded with status code 404"),
        ("/garbage", "TIMEOUT", "no valid reply in 1 try"),
        ("/hang", "TIMEOUT", "no valid reply in 1 try"),
    ],
)
def test_what_is_no_reply(
    http2: Http2, secure: tuple[Path, Path], version: str, path: str, status: str, error: str
) -> None:
    """A page that is none of DNS, or none at all, ends in one status with a sentence of one line."""
    with Doh(secure[0]) as http1:
        where = http2.where if version == "HTTP/2" else http1.where
        [result] = ask(f"https://{where}{path}", secure, "www.example", query_timeout=0.4, tries=1)
    assert (status, None, None) == (result.status, result.transport, result.nameserver)
    assert error in (result.error or "")
    assert "\n" not in (result.error or "")


def test_a_reply_to_another_question(http2: Http2, secure: tuple[Path, Path]) -> None:
    """What does not match its query is silence."""
    [result] = ask(f"https://{http2.where}/other", secure, "www.example", query_timeout=0.4, tries=1)
    assert ("TIMEOUT", []) == (result.status, result.answers)


@pytest.mark.parametrize("tries", [1, 2])
def test_a_server_that_says_nothing(secure: tuple[Path, Path], tries: int) -> None:
    """A server that accepts and never speaks is silent: the time is that of the tries, not of each step of HTTP."""
    with socket.create_server(("127.0.0.1", 0)) as mute:
        url = f"https://127.0.0.1:{mute.getsockname()[1]}/dns-query"
        run = ask(url, secure, *(f"h{n}.example" for n in range(5)), query_timeout=0.4, tries=tries)
    assert {("TIMEOUT", tries)} == {(result.status, result.attempts) for result in run}
    assert 0.4 <= run.summary.seconds


def test_silence_takes_no_other_down(http2: Http2, secure: tuple[Path, Path]) -> None:
    """Names that are not answered time out on a shared connection; those beside them, and after them, are answered."""
    hosts = [f"{'hang' if n % 4 == 0 else 'www'}.n{n}.example" for n in range(24)]
    run = ask(f"https://{http2.where}/dns-query", secure, *hosts, query_timeout=0.8, concurrency=6)
    assert {"NOERROR": 18, "TIMEOUT": 6} == run.summary.statuses


def test_more_silence_than_a_connection_takes(http2: Http2, secure: tuple[Path, Path]) -> None:
    """Requests that hang on fill no connection up: a server allows a hundred of them, and 150 break nothing."""
    hosts = [f"{'hang' if n < 150 else 'www'}.n{n}.example" for n in range(200)]
    run = ask(f"https://{http2.where}/dns-query", secure, *hosts, query_timeout=0.5, tries=1, concurrency=50)
    assert {"NOERROR", "TIMEOUT"} >= set(run.summary.statuses)
    assert run.summary.statuses["TIMEOUT"] >= 150


def test_a_late_reply_counts(http2: Http2, secure: tuple[Path, Path]) -> None:
    """What comes in answer to an earlier try ends the lookup, as it does over UDP."""
    [result] = ask(f"https://{http2.where}/dns-query", secure, "late.example", query_timeout=2, tries=2)
    assert ("NOERROR", 2) == (result.status, result.attempts)


def test_certificate(http2: Http2) -> None:
    """A certificate whose authority is not known is an ERROR that says so."""
    [result] = ask(f"https://{http2.where}/dns-query", None, "www.example", tries=1)
    assert "ERROR" == result.status
    assert "certificate" in (result.error or "").lower()


def test_a_closed_port(secure: tuple[Path, Path]) -> None:
    """Where nobody listens, the lookup is an ERROR with a sentence."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    [result] = ask(f"https://127.0.0.1:{port}/dns-query", secure, "www.example", tries=1)
    assert "ERROR" == result.status
    assert f"https to https://127.0.0.1:{port}/dns-query failed" in (result.error or "")


def test_a_stream_that_is_left(http2: Http2, secure: tuple[Path, Path]) -> None:
    """In the caller's loop, a stream that is left leaves no task behind, and no warning of a connection."""

    async def main() -> tuple[Result, int]:
        url = f"https://{http2.where}/dns-query"
        hosts = ["www.example", *(f"hang.n{n}.example" for n in range(20))]
        results = astream(hosts, backend="dnspython", policy=policy(url, secure, query_timeout=20))
        async with contextlib.aclosing(results):
            first = await anext(results)
        return first, len(asyncio.all_tasks())

    first, tasks = asyncio.run(main())
    assert ("NOERROR", 1) == (first.status, tasks)

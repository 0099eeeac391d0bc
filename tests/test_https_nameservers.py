"""Nameservers over https://, as they are and as they misbehave, through the backend wire."""

import contextlib
import socket
import ssl
import threading
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from authoritative import unbound
from conftest import Ask, row
from scripted import HOST, Scripted, Stream, names

from resolver import Policy, Run, Status, resolve, wire
from resolver.engines import pairs

pytest.importorskip("h2", reason="needs the extra doh")

WIRE = [each for each in pairs() if each.backend == "wire"]


class Https:
    """How such nameservers are made and asked."""

    def __init__(self, secure: tuple[Path, Path]) -> None:
        self.certificate, self.authority = map(str, secure)

    def server(self, **faults: Any) -> Scripted:
        """A nameserver whose connections have these faults."""
        return Scripted(None, Stream(certificate=self.certificate, **{"http": True, **faults}))

    def policy(self, server: Scripted, template: str = "", **fields: Any) -> Policy:
        """What asks it."""
        return Policy(**{"nameservers": (server.over("https") + template,), "tls_ca": self.authority, **fields})


@pytest.fixture
def https(secure: tuple[Path, Path]) -> Https:
    """Those with the tests' certificate."""
    return Https(secure)


@pytest.mark.parametrize("pair", WIRE, ids=row, indirect=True)
def test_every_engine(ask: Ask, https: Https) -> None:
    """Each engine asks over HTTPS, and each result says so."""
    with https.server() as server:
        run = ask(names(60), policy=https.policy(server, query_timeout=10))
    assert {("NOERROR", "https", f"{HOST}:{server.port}", 1)} == {
        (each.status, each.transport, each.nameserver, each.attempts) for each in run
    }


@pytest.mark.parametrize(
    "faults",
    [
        {"streams": 1},
        {"window": 1},
        {"padding": 200},
        {"queries": (20,)},
        {"queries": (20,), "goaway": True},
        {"queries": (1, 30), "goaway": True, "reset": True},
        {"answers": (50,)},
    ],
    ids=lambda faults: "-".join(faults),
)
@pytest.mark.parametrize("template", ["", "{?dns}"], ids=["post", "get"])
def test_limits_and_faults_of_connections(https: Https, faults: dict[str, Any], template: str) -> None:
    """What a connection does not take or answer is answered on others."""
    with https.server(**faults) as server:
        run = resolve(names(150), policy=https.policy(server, template, query_timeout=4))
        counts = server.counts()
    assert {"NOERROR": 150} == run.summary.statuses
    assert counts.stream <= 3 * 150


def test_each_query_has_its_own_fate(https: Https) -> None:
    """What becomes of one request is its own, and is told in a sentence."""
    expected = {
        "ok": (Status.NOERROR, None),
        "busy": (Status.ERROR, "answered with HTTP status 503"),
        "page": (Status.ERROR, "answered with content type text/html, not application/dns-message"),
        "bare": (Status.ERROR, "answered with no content type, not application/dns-message"),
        "abort": (Status.ERROR, "ended the request (INTERNAL_ERROR)"),
        "refuse": (Status.ERROR, "takes no more queries on this connection"),
        "close": (Status.ERROR, "closed the connection"),
        "short": (Status.TIMEOUT, None),
        "silent": (Status.TIMEOUT, None),
    }
    hosts = names(90, *expected)
    with https.server(by_name=True) as server:
        run = resolve(hosts, policy=https.policy(server, query_timeout=2, tries=1))
    told = {host: expected[host.partition("-")[0]] for host in hosts}
    assert {host: status for host, (status, _) in told.items()} == {each.input: each.status for each in run}
    assert {host: f"{HOST}:{server.port} {error}" for host, (_, error) in told.items() if error} == {
        each.input: each.error for each in run if each.status is Status.ERROR
    }
    [short] = {each.error for each in run if each.input.startswith("short")}
    assert "replies came that could not be read" in (short or "")


def test_a_status_is_tried_again(https: Https) -> None:
    """HTTP errors use up tries, as other failures do."""
    with https.server(by_name=True) as server:
        [result] = resolve(["busy.example"], policy=https.policy(server))
    assert ("ERROR", 3) == (result.status, result.attempts)


@pytest.mark.parametrize("http", [True, False], ids=["https", "tls"])
def test_sessions_are_gone_on_with(https: Https, http: bool) -> None:
    """Further connections go on with the TLS session of an earlier one."""
    with https.server(http=http, queries=(20,)) as server:
        nameservers = [server.over("https" if http else "tls")]
        run = resolve(names(100), policy=https.policy(server, nameservers=nameservers, query_timeout=4))
        counts = server.counts()
    assert {"NOERROR": 100} == run.summary.statuses
    assert 0 < counts.resumed < counts.connections


@pytest.fixture
def looked_up(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names that the system was asked for. It knows https.example, at a closed port and where scripted ones are."""
    asked: list[str] = []

    def getaddrinfo(name: str, port: object, **how: object) -> list[tuple[object, ...]]:
        asked.append(name)
        if name != "https.example":
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, how["type"], 6, "", (address, 0)) for address in ("127.53.0.54", HOST)]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return asked


@pytest.mark.parametrize("engine", ["gevent", "asyncio", "threads", "processes"])
def test_a_name_is_looked_up_once(https: Https, looked_up: list[str], engine: Any) -> None:
    """The system is asked once for the name of a nameserver, and its addresses are tried in turn."""
    with https.server(queries=(20,)) as server:
        policy = https.policy(server, nameservers=[f"https://https.example:{server.port}/dns-query"], query_timeout=8)
        run = resolve(names(100), engine=engine, policy=policy)
    assert {("NOERROR", f"https.example:{server.port}")} == {(each.status, each.nameserver) for each in run}
    assert ["https.example"] == looked_up


def test_a_name_that_is_not_known(looked_up: list[str]) -> None:
    """A nameserver whose name has no address is an error before the run."""
    with pytest.raises(LookupError, match=r"no address of the nameserver other\.example: Name or service not known"):
        resolve(["www.example"], nameservers=["https://https.example/", "https://other.example/"])
    assert "other.example" in looked_up


def failure(run: Run) -> str:
    """The error of a run's one result."""
    [result] = run
    assert "ERROR" == result.status
    return result.error or ""


@pytest.mark.parametrize("protocols", [[], ["http/1.1"]], ids=["none", "another"])
def test_no_http2(https: Https, protocols: list[str]) -> None:
    """A server that does not agree on HTTP/2 is an ERROR that says so."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(https.certificate)
    if protocols:
        context.set_alpn_protocols(protocols)

    def shake_hands() -> None:
        with listening.accept()[0] as accepted, contextlib.suppress(OSError):
            context.wrap_socket(accepted, server_side=True)

    with socket.create_server((HOST, 0)) as listening:
        where = f"{HOST}:{listening.getsockname()[1]}"
        thread = threading.Thread(target=shake_hands)
        thread.start()
        run = resolve(["www.example"], nameservers=f"https://{where}/", tls_ca=https.authority, tries=1)
        thread.join()
    assert f"https to {where} failed: it does not speak HTTP/2" == failure(run)


def test_a_certificate_that_is_not_trusted(https: Https) -> None:
    """A certificate whose authority is not known is an ERROR that says so."""
    with https.server() as server:
        error = failure(resolve(["www.example"], policy=https.policy(server, tls_ca=None, tries=1)))
    assert f"{HOST}:{server.port} showed a certificate that does not fit" in error


def test_a_library_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra, a nameserver over HTTPS is an error that names it."""
    monkeypatch.setattr(wire, "find_spec", lambda name: None if name == "hpack" else find_spec(name))
    with pytest.raises(LookupError, match=r"https://192.0.2.1/ needs hpack .* pip install '.+\[doh\]'"):
        resolve(["www.example"], nameservers="https://192.0.2.1/")


@pytest.mark.parametrize("template", ["", "{?dns}"], ids=["post", "get"])
def test_unbound(https: Https, secure: tuple[Path, Path], tmp_path: Path, template: str) -> None:
    """A real resolver with HTTPS answers everything, each with one query, over a few connections."""
    with unbound(tmp_path, secure[0], "test.example") as at:
        policy = Policy(nameservers=(f"https://{at}/dns-query{template}",), tls_ca=https.authority, query_timeout=10)
        run = resolve([f"n{number}.test.example" for number in range(1000)], policy=policy)
    assert {("NOERROR", ("192.0.2.1",), "https", 1)} == {
        (each.status, tuple(each.addresses), each.transport, each.attempts) for each in run
    }

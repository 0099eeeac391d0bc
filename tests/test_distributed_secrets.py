"""What is secret stays so: passwords in addresses of a Redis, and the way there over TLS."""

import contextlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
import psutil
import pytest
import redis
import trustme
from cluster import Server, Worker, free_port, wait_for_workers
from command import environment, inside, run, start, wait_for
from mirakuru.exceptions import ProcessExitedWithError

from resolver import Policy, Status, resolve
from resolver.distributed.broker import Broker
from resolver.distributed.payload import MAX_CERTIFICATES
from resolver.engines import find
from resolver.lab import Lab
from resolver.nameserver import PEM

SECRET = "s3;c/r?e#t@+%&ä"
QUOTED = quote(SECRET, safe="")
FORMS = "redis://[USER:PASSWORD@]HOST[:PORT][/DB]"
OPTIONS = ("--slots", "1", "--engine", "threads")


@pytest.mark.parametrize(
    "address",
    [
        "",
        "secret",
        "127.0.0.1:6379",
        "unix:///tmp/secret.sock",
        "http://user:secret@127.0.0.1",
        "redis://",
        "redis://user:secret@",
        "redis://user:secret@:6379",
        "redis://user:secret@127.0.0.1:port",
        "redis://user:secret@127.0.0.1:65536",
        "redis://user:secret@[::1",
        "redis://user:secret@127.0.0.1/secret",
        "redis://user:secret@127.0.0.1/\N{SUPERSCRIPT TWO}",
        "redis://user:6379/secret@127.0.0.1/0",
        "redis://user:6379?secret@127.0.0.1/0",
        "redis://user:6379#secret@127.0.0.1/0",
        "redis://user:a/secret@127.0.0.1/0",
        "redis://user:secret@127.0.0.1/0#x",
        "redis://user:secret@127.0.0.1?ssl_ca_certs=x",
        "rediss://user:secret@127.0.0.1?password=secret",
        "rediss://user:secret@127.0.0.1?secret",
    ],
)
def test_what_is_no_address(address: str) -> None:
    """The sentence lists the valid forms, and repeats nothing that may be a part of a password."""
    with pytest.raises(ValueError) as raised:
        Broker.parse(address)
    assert FORMS in str(raised.value)
    assert "secret" not in str(raised.value)


def test_how_a_certificate_may_be_checked() -> None:
    """Another word is refused, with the valid ones."""
    with pytest.raises(ValueError, match="ssl_cert_reqs is required or none, not 'perhaps'"):
        Broker.parse("rediss://127.0.0.1?ssl_cert_reqs=perhaps")


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("redis://127.0.0.1", "redis://127.0.0.1:6379"),
        (" redis://user:secret@redis.example:7000/3\n", "redis://redis.example:7000/3"),
        ("REDISS://:secret@[2001:db8::1]/0?ssl_cert_reqs=none", "rediss://[2001:db8::1]:6379/0"),
    ],
)
def test_what_may_be_shown(address: str, shown: str) -> None:
    """The address without user and password."""
    assert shown == Broker.parse(address).shown


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A Redis with a password of all that means something in an address; its `url` holds it."""
    with Server(tmp_path_factory.mktemp("locked")) as server:
        with server.client() as client:
            client.acl_setuser(
                "ann", enabled=True, passwords=[f"+{SECRET}"], keys=["*"], channels=["*"], categories=["+@all"]
            )
            client.config_set("requirepass", SECRET)
        server.url = f"redis://ann:{QUOTED}@127.0.0.1:{server.port}/2"
        yield server


def family(pid: int) -> list[psutil.Process]:
    """A process with all that it started."""
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


def words(processes: list[psutil.Process]) -> str:
    """What `ps` shows of these."""
    found = []
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            found.append(" ".join(process.cmdline()))
    return "\n".join(found)


def test_a_password_is_in_no_list_of_processes(locked: Server, lab: Lab, tmp_path: Path) -> None:
    """Neither of the worker nor of what it starts, nor in what they and the run print; nor do children inherit it."""
    log = tmp_path / "log"
    with Worker(locked.url, *OPTIONS, log=log) as worker:
        with redis.Redis.from_url(locked.url) as client:
            wait_for(lambda: client.keys("resolve:worker:*"), "a worker")
        done = inside(
            "-e", "redis", "-n", lab.nameserver, "-f", "jsonl", "www.example", env=environment(RESOLVE_REDIS=locked.url)
        )
        processes = family(worker.pid)
        assert (0, ["NOERROR"]) == (done.status, [result["status"] for result in done.results])
        assert 2 <= len(processes)
        seen = words(processes) + done.out + done.err + worker.said()
        inherited = "".join(process.environ().get("RESOLVE_REDIS", "") for process in processes[1:])
        assert 0 == worker.end()
    seen += log.read_text()
    assert [] == [each for each in (SECRET, QUOTED, "s3%3B", "ann") if each in seen]
    assert "" == inherited


@pytest.mark.parametrize("option", ["--redis", "RESOLVE_REDIS"])
@pytest.mark.parametrize("command", ["run", "worker"])
def test_a_wrong_password(locked: Server, command: str, option: str) -> None:
    """Status 2 and a sentence without it."""
    url = f"redis://ann:wr0ng@127.0.0.1:{locked.port}/0"
    given = ["--redis", url] if option == "--redis" else []
    env = environment() if given else environment(RESOLVE_REDIS=url)
    done = inside(command, *given, *(["-e", "redis", "www.example"] if command == "run" else []), env=env)
    assert 2 == done.status
    assert f"redis://127.0.0.1:{locked.port}/0 cannot be used: it refuses the user or password" in done.err
    assert ("", False) == (done.out, "wr0ng" in done.err)


@pytest.mark.parametrize("command", ["run", "worker"])
def test_nobody_there(command: str) -> None:
    """Status 2 and a sentence without the password."""
    url = f"redis://ann:wr0ng@127.0.0.1:{free_port()}/0"
    done = inside(command, "--redis", url, *(["-e", "redis", "www.example"] if command == "run" else []))
    assert 2 == done.status
    assert "cannot be used: Error 111 connecting to 127.0.0.1" in done.err
    assert "wr0ng" not in done.err


@pytest.mark.parametrize("rights", ["+@all resetchannels", "+@read +@connection allchannels"])
def test_a_user_of_few_rights(tmp_path: Path, rights: str) -> None:
    """A worker whose user may not do what it has to ends with a sentence, status 2."""
    with Server(tmp_path / "redis") as server, server.client() as client:
        client.execute_command("ACL", "SETUSER", "ann", "on", f">{SECRET}", "~*", *rights.split())
        done = run("worker", "--redis", f"redis://ann:{QUOTED}@127.0.0.1:{server.port}/0", "-e", "threads")
    assert [2, "", False] == [done.status, done.out, "Traceback" in done.err or SECRET in done.err]
    assert "the Redis cannot be used: this user has no permissions to" in done.err


# A worker that says everything: the password is changed under it, and changed back.
LOUD = """
import logging, os, sys
from resolver.distributed.broker import Broker
from resolver.distributed.worker import work
from resolver.policy import Policy
logging.basicConfig(level=logging.DEBUG)
sys.exit(work(Broker.parse(os.environ["RESOLVE_REDIS"]), "threads", 1, Policy()))
"""


def test_debugging_tells_no_password(tmp_path: Path) -> None:
    """Neither Celery, kombu nor redis-py print it at their most talkative, also while they are let in no more."""
    log = tmp_path / "log"
    with Server(tmp_path / "redis") as server, server.client() as client, open(log, "wb") as said:
        client.config_set("requirepass", SECRET)
        url = f"redis://:{QUOTED}@127.0.0.1:{server.port}/0"
        loud = subprocess.Popen([sys.executable, "-c", LOUD], env=environment(RESOLVE_REDIS=url), stderr=said)
        try:
            wait_for(lambda: client.keys("resolve:worker:*"), "a worker")
            client.config_set("requirepass", "another")
            client.client_kill_filter(_type="normal", skipme=True)
            client.client_kill_filter(_type="pubsub", skipme=True)
            wait_for(lambda: "it refuses the user or password" in log.read_text(), "a refusal")
            client.config_set("requirepass", SECRET)
            client.delete("resolve:workers")
            wait_for(lambda: client.exists("resolve:workers"), "the worker to be back")
        finally:
            loud.terminate()
            loud.wait(15)
    seen = log.read_text()
    assert "DEBUG" in seen
    assert [] == [each for each in (SECRET, QUOTED, "s3%3B") if each in seen]


def test_a_redis_of_the_runs_own(tmp_path: Path) -> None:
    """Its password is in no list of processes; it listens on loopback only, and lets nobody in without it."""
    with start("-e", "redis", "--lab", "-f", "jsonl", "-", env=environment(TMPDIR=str(tmp_path))) as running:
        try:
            url = wait_for(lambda: _inherited(running.pid), "the run's own worker")
            processes = family(running.pid)
            port, password = Broker.parse(url).client().connection_pool.connection_kwargs["port"], url.split("@")[0][9:]
            assert 20 <= len(password)
            listening = [each for process in processes for each in process.net_connections() if each.status == "LISTEN"]
            held = "".join(file.read_text(errors="replace") for file in tmp_path.rglob("*") if file.is_file())
            assert {"127.0.0.1"} == {each.laddr.ip for each in listening}
            assert port in {each.laddr.port for each in listening}
            assert (False, False) == (password in words(processes), password in held)
            with redis.Redis(port=port) as stranger, pytest.raises(redis.exceptions.AuthenticationError):
                stranger.ping()
            out, err = running.communicate(b"www.example\n", timeout=30)
        finally:
            running.kill()
    assert (0, 1) == (running.returncode, out.count(b"NOERROR"))
    assert password.encode() not in out + err


def _inherited(pid: int) -> str:
    """The address that a run's own worker was started with; empty while it is not there."""
    with contextlib.suppress(psutil.Error):
        for process in psutil.Process(pid).children():
            if "resolver.distributed.local" in process.cmdline():
                return str(process.environ().get("RESOLVE_REDIS", ""))
    return ""


class Tls(Server):
    """A Redis that speaks TLS only."""

    def __init__(self, directory: Path, secure: tuple[Path, Path]) -> None:
        port, both, authority = free_port(), str(secure[0]), str(secure[1])
        settings: Any = ["--port", "0", "--tls-port", str(port), "--tls-auth-clients", "no"]
        settings += ["--tls-cert-file", both, "--tls-key-file", both, "--tls-ca-cert-file", authority]
        super().__init__(directory, *settings, port=port)
        self.url = f"rediss://127.0.0.1:{port}/0"


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory, secure: tuple[Path, Path]) -> Iterator[Server]:
    """Such a Redis; skipped where the server was built without."""
    try:
        server = Tls(tmp_path_factory.mktemp("rediss"), secure).start()
    except ProcessExitedWithError:
        pytest.skip("this server speaks no TLS")
    yield server
    server.kill()


def test_a_redis_over_tls(tls: Server, secure: tuple[Path, Path], lab: Lab, tmp_path: Path) -> None:
    """With its authority named in the address, a run and a worker meet there."""
    url = f"{tls.url}?ssl_ca_certs={quote(str(secure[1]))}"
    log = tmp_path / "log"
    with Worker(url, *OPTIONS, log=log) as worker:
        with Broker.parse(url).client() as client:
            wait_for(lambda: client.keys("resolve:worker:*"), "a worker")
        found = resolve(["www.example"], engine="redis", redis=url, nameservers=lab.nameserver)
        assert [Status.NOERROR] == [result.status for result in found]
        assert 0 == worker.end()
    assert "Traceback" not in log.read_text()


@pytest.mark.parametrize("command", ["run", "worker"])
def test_a_certificate_of_an_unknown_authority(tls: Server, command: str) -> None:
    """Status 2 and a sentence."""
    done = inside(command, "--redis", tls.url, *(["-e", "redis", "www.example"] if command == "run" else []))
    assert 2 == done.status
    assert f"{tls.url} cannot be used: " in done.err
    assert "certificate verify failed" in done.err
    assert "Traceback" not in done.err


def test_an_authority_that_is_no_file(tls: Server) -> None:
    """Status 2 and a sentence."""
    done = inside("-e", "redis", "--redis", f"{tls.url}?ssl_ca_certs=/none/such.pem", "www.example")
    assert 2 == done.status
    assert f"{tls.url} cannot be used: " in done.err
    assert "Traceback" not in done.err


def trusted(text: str) -> str:
    """The same certificate as OpenSSL writes one with its uses."""
    return text.replace(" CERTIFICATE-", " TRUSTED CERTIFICATE-")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (trusted, "holds certificates that workers cannot be sent: only BEGIN CERTIFICATE is read everywhere"),
        (
            lambda text: text + trusted(trustme.CA().cert_pem.bytes().decode()),
            "holds certificates that workers cannot be sent",
        ),
        (
            lambda text: text + "#" * MAX_CERTIFICATES,
            "is too long to be sent to workers, who take 1,048,576 characters",
        ),
        (lambda text: "", "holds no certificate that can be used"),
    ],
    ids=["trusted", "mixed", "long", "none"],
)
def test_an_authority_that_cannot_travel(
    secure: tuple[Path, Path], tmp_path: Path, change: Callable[[str], str], sentence: str
) -> None:
    """Status 2 and a sentence that names the file, where a worker would read less than the run does from it."""
    path = tmp_path / "authority.pem"
    path.write_text(change(secure[1].read_text()))
    done = inside("-e", "redis", "--tls-ca", path, "-n", "tls://127.0.0.1", "www.example")
    assert 2 == done.status
    assert f"{path} {sentence}" in " ".join(done.err.split())


@pytest.mark.parametrize("backend", ["wire", "dnspython"])
def test_certificates_stand_in_no_error(backend: str) -> None:
    """A text that holds none is named, and not repeated."""
    _, asker = find("threads", backend)
    with pytest.raises(ValueError, match=r"^the run's tls_ca(?: holds |: )no certificate") as raised:
        asker.prepare(Policy(nameservers=("tls://127.0.0.1",), tls_ca=f"{PEM}CERTIFICATE-----\nsecret"))
    assert "secret" not in str(raised.value)


def test_a_worker_s_own_authority_is_gone(secure: tuple[Path, Path], tmp_path: Path) -> None:
    """Its file is named in the error of what it could not look up."""
    path = tmp_path / "authority.pem"
    path.write_text(secure[1].read_text())
    with Server(tmp_path / "redis") as server, Worker(server.url, *OPTIONS, "--tls-ca", str(path)):
        wait_for_workers(server)
        path.unlink()
        (result,) = resolve(["www.example"], engine="redis", redis=server.url, nameservers="tls://127.0.0.1:9")
    assert f"{path}: No such file or directory" in (result.error or "")


def test_the_authority_of_a_run_travels(secure: tuple[Path, Path], tmp_path: Path) -> None:
    """A worker that knows no such file checks a nameserver by the run's certificates, and leaves nothing behind."""
    files = tmp_path / "files"
    files.mkdir()
    with (
        Server(tmp_path / "redis") as server,
        Lab(tls=(secure[0], secure[0])) as own,
        Worker(server.url, *OPTIONS, env=environment(TMPDIR=str(files)), log=tmp_path / "log") as worker,
    ):
        wait_for_workers(server)
        unchecked = Policy(nameservers=(f"tls://{own.tls_nameserver}",), tries=1)
        checked = msgspec.structs.replace(unchecked, tls_ca=str(secure[1]))
        known = resolve(["www.example"], engine="redis", redis=server.url, policy=checked)
        unknown = resolve(["www.example"], engine="redis", redis=server.url, policy=unchecked)
        assert 0 == worker.end()
    assert [Status.NOERROR] == [result.status for result in known]
    assert [Status.ERROR] == [result.status for result in unknown]
    assert [] == list(files.iterdir())

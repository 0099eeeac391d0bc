"""The backends that block, `system` and `dnspython`, on the engines that wait for them in threads, green and other.

What concerns a whole program (monkey-patching, and whether the interpreter can exit) is shown in child processes. The C
library cannot be told to ask a nameserver of ours: what it would take long for is played by a slow stand-in for
`_socket.getaddrinfo`, below everything that gevent patches; names that are really looked up stand in /etc/hosts or
under .invalid.
"""

import asyncio
import http.server
import json
import os
import queue
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dns.message
import dns.query
import dns.rcode
import dns.rrset
import pytest

from resolver import Policy, Query, Result, Status, engines, resolve, stream
from resolver.attempts import Reply, at_once
from resolver.backends import system as system_module
from resolver.backends.dnspython import backend as dnspython
from resolver.backends.stream import KeptStream
from resolver.backends.system import backend as system
from resolver.daemons import Daemons
from resolver.lab import Lab

# As _socket.getaddrinfo, after `SECONDS` in C, with the interpreter lock released and nothing that gevent could turn.
SLOW = """
import _socket, threading, time
sleep, together = time.sleep, threading.Barrier(100).wait
def slow(*arguments, **keywords):
    {wait}
    return [(2, 1, 6, "", ("192.0.2.7", 0))]
_socket.getaddrinfo = slow
if {patched}:
    from gevent import monkey
    monkey.patch_all()
else:
    import socket
    socket.getaddrinfo = slow
"""
RUN = """
import json, time
from resolver import resolve
began = time.monotonic()
run = resolve([f"h{{i}}.example" for i in range(100)], engine={engine!r}, backend="system", timeout={timeout})
print(json.dumps([run.summary.statuses, time.monotonic() - began, time.time()]))
"""
# First labels of names that the lab plays a part for.
TROUBLES = """
www nx nodata empty servfail refused formerr notimp rcode-9 rcode-20 emptyfail noquestion noedns noopt options
hang spoof spoof-only otherport otherport-only echo bare case garbage badptr badrdata trailing
cname-3 cname-nx cname-open cname-binary loop dname referral upward foreign otherclass duprr ttl-4294967295
truncated big-100
"""
# As sitecustomize.py, for every process that is begun with it on its path: a getaddrinfo that leaves a sign and hangs.
HANGING = """
import _socket, pathlib, time
real = _socket.getaddrinfo
def hang(host, *rest, sleep=time.sleep):
    if "h.example" not in str(host):  # a broker's address
        return real(host, *rest)
    pathlib.Path(__file__).with_name("asked").touch()
    sleep(50)
_socket.getaddrinfo = hang
"""
SYSTEM = [name for name, engine in engines.ENGINES.items() if "system" in engine.styles]
THREADED = [name for name in SYSTEM if engines.ENGINES[name].styles["system"] in ("call", "threads")]


def child(code: str) -> tuple[Any, float]:
    """What a program printed as JSON, and when it had ended (seconds on the wall clock)."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
    )
    ended = time.time()
    assert "" == done.stderr
    assert 0 == done.returncode
    return json.loads(done.stdout), ended


def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, "it never came to it"
        time.sleep(0.01)


def daemons_alive() -> int:
    return sum(thread.name.startswith("resolve-daemon") for thread in threading.enumerate())


class TestDaemons:
    def test_outcomes(self) -> None:
        """What a call returns comes back, and so does what it raises."""
        outcomes: list[object] = []
        with Daemons(2) as daemons:
            daemons.submit(lambda: 7, outcomes.append)
            until(lambda: len(outcomes) == 1)
            daemons.submit(lambda: 1 // 0, outcomes.append)
            until(lambda: len(outcomes) == 2)
        assert 7 == outcomes[0]
        assert isinstance(outcomes[1], ZeroDivisionError)

    def test_started_as_needed(self) -> None:
        """As many threads as calls at once, never more than the limit; the other calls wait their turn."""
        until(lambda: not daemons_alive())
        opened = threading.Event()
        outcomes: list[object] = []
        with Daemons(3) as daemons:
            assert 0 == daemons_alive()
            daemons.submit(opened.wait, outcomes.append)
            assert 1 == daemons_alive()
            for _ in range(9):
                daemons.submit(opened.wait, outcomes.append)
            assert 3 == daemons_alive()
            opened.set()
            until(lambda: len(outcomes) == 10)
        until(lambda: not daemons_alive())

    def test_close_abandons(self) -> None:
        """Closing waits for no call; what comes back later is told to nobody, and what waited is never called."""
        opened = threading.Event()
        outcomes: list[object] = []
        called: list[int] = []
        daemons = Daemons(1)
        daemons.submit(opened.wait, outcomes.append)
        daemons.submit(lambda: called.append(1), outcomes.append)
        daemons.close()
        opened.set()
        until(lambda: not daemons_alive())
        assert ([], []) == (outcomes, called)

    def test_too_few_threads(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where the system gives fewer threads than wanted, those that there are do the work."""
        start = threading.Thread.start
        given: list[threading.Thread] = []

        def scarce(thread: threading.Thread) -> None:
            if given:
                raise RuntimeError("can't start new thread")
            given.append(thread)
            start(thread)

        monkeypatch.setattr(threading.Thread, "start", scarce)
        outcomes: list[object] = []
        with Daemons(10) as daemons:
            for _ in range(5):
                daemons.submit(lambda: 7, outcomes.append)
            until(lambda: len(outcomes) == 5)
        assert [7] * 5 == outcomes


class TestWaiting:
    @pytest.mark.parametrize("engine", THREADED)
    def test_at_once(self, engine: str) -> None:
        """The engine waits for 100 calls at the same time: none returns before the last of them is made."""
        run = RUN.format(engine=engine, timeout=None)
        (statuses, *_), _ = child(SLOW.format(wait="together(20)", patched=engine == "gevent") + run)
        assert {"NOERROR": 100} == statuses

    @pytest.mark.parametrize("engine", THREADED)
    def test_hanging_calls_are_left_behind(self, engine: str) -> None:
        """At the deadline the run ends with a result each, and so can the program, whatever still hangs."""
        run = RUN.format(engine=engine, timeout=0.5)
        (statuses, seconds, returned), ended = child(SLOW.format(wait="sleep(50)", patched=engine == "gevent") + run)
        assert {"DEADLINE": 100} == statuses
        # A busy machine is allowed for; the calls would take 50 seconds.
        assert 0.5 <= seconds < 25.0
        assert ended - returned < 25.0

    # A deadline is no other thing there than in a program, where test_hanging_calls_are_left_behind looks at most.
    @pytest.mark.parametrize(
        ("engine", "end"),
        [(each, "Ctrl-C") for each in SYSTEM] + [(each, "deadline") for each in ("threads", "processes", "redis")],
    )
    def test_the_command_ends_though_calls_hang(self, tmp_path: Path, engine: str, end: str) -> None:
        """On every engine the command ends, with a result each, soon after its deadline or Ctrl-C."""
        (tmp_path / "sitecustomize.py").write_text(HANGING)
        (tmp_path / "hosts").write_text("h.example\n" * 100)
        options = ["-e", engine, "-b", "system", "--summary", str(tmp_path / "summary"), "-f", "jsonl"]
        options += ["--timeout", "0.3"] if end == "deadline" else []
        command = [sys.executable, "-m", "resolver", "run", str(tmp_path / "hosts"), *options]
        path = os.pathsep.join([str(tmp_path), str(Path(__file__).parents[1])])
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": path}) as running:
            until((tmp_path / "asked").exists)
            began = time.monotonic()
            if end == "Ctrl-C":
                running.send_signal(signal.SIGINT)
            status = running.wait(40)
        # Some 0.1 s, and 0.3 to the deadline; a busy machine is allowed for. The calls would take 50.
        assert time.monotonic() - began < 25.0
        name, expected = ("DEADLINE", 3) if end == "deadline" else ("CANCELLED", 130)
        assert (expected, {name: 100}) == (status, json.loads((tmp_path / "summary").read_text())["statuses"])

    @pytest.mark.parametrize("engine", SYSTEM)
    def test_a_call_that_is_not_back_in_time(self, tmp_path: Path, engine: str) -> None:
        """On every engine a call that hangs costs the time of the tries, and counts as a query."""
        (tmp_path / "sitecustomize.py").write_text(HANGING)
        # More than a pool of 10 threads takes, and few enough to be begun at once.
        (tmp_path / "hosts").write_text("h.example\n" * 20)
        command = [sys.executable, "-m", "resolver", "run", str(tmp_path / "hosts"), "-e", engine, "-b", "system"]
        command += ["-f", "jsonl", "--query-timeout", "0.8", "--tries", "2", "-q"]
        path = os.pathsep.join([str(tmp_path), str(Path(__file__).parents[1])])
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=40, env={**os.environ, "PYTHONPATH": path}
        )
        results = [json.loads(line) for line in done.stdout.splitlines()]
        assert [("TIMEOUT", 2, "no valid reply in 2 tries")] * 20 == [
            (each["status"], each["attempts"], each["error"]) for each in results
        ]
        # 0.4 and 0.8 seconds; a busy machine is allowed for. The calls would take 50 each.
        assert 1.2 <= max(each["elapsed"] for each in results) < 25.0

    def test_the_time_of_a_try_is_that_of_its_call(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A call that gets its thread after 1.5 of 2 s still has 2 s; one that gets none was never asked."""
        now, late = 0.0, True
        waits: list[float] = []
        submitted: list[Callable[[], Reply]] = []
        calls = system.open(Policy())
        answer = Reply(Status.NODATA, [])
        monkeypatch.setattr(system_module, "time", SimpleNamespace(monotonic=lambda: now))
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_: [])
        monkeypatch.setattr(calls._daemons, "submit", lambda call, _: submitted.append(call))

        class Outcomes:
            """Nothing comes of the first wait, in which the call may begin."""

            def put(self, outcome: object) -> None:
                """Where the thread of a call puts what came of it."""

            def get(self, timeout: float) -> Reply:
                nonlocal now
                waits.append(timeout)
                if len(waits) > 1:
                    return answer
                if late:
                    now = 1.5
                    submitted.pop()()
                now = timeout
                raise queue.Empty

        calls._outcomes[0] = Outcomes()  # type: ignore[assignment]  # as much of a queue as is needed
        lookup = Query(0, "h.example", "h.example.", "A")
        assert (answer, [2.0, 1.5]) == (at_once(calls.ask(lookup, None, 2.0)), waits)
        now, late = 0.0, False
        waits.clear()
        assert (Reply(Status.TIMEOUT, [], queries=0), [2.0]) == (at_once(calls.ask(lookup, None, 2.0)), waits)
        assert 0 == submitted.pop()().queries, "it is not asked afterwards either"

    def test_what_an_earlier_call_brings_counts(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A call that comes back in the time of a later try ends the lookup."""
        second, over = threading.Event(), threading.Event()
        calls: list[int] = []

        def slow(*_: object) -> list[Any]:
            calls.append(1)
            if len(calls) > 1:
                second.set()
                over.wait(20)
            second.wait(20)
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.7", 0))]

        monkeypatch.setattr(socket, "getaddrinfo", slow)
        result = only(resolve(["h.example"], engine="threads", backend="system", query_timeout=8, tries=5))
        over.set()
        assert ("NOERROR", ["192.0.2.7"], 2) == (result.status, result.addresses, result.attempts)

    def test_threads_that_are_left_are_bounded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """However many calls hang, no more threads than those in flight and `LEFT` are begun; each lookup ends."""
        held = threading.Event()
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_: held.wait(20))
        monkeypatch.setattr("resolver.backends.system.LEFT", 5)
        before = daemons_alive()
        most = 0
        for result in stream(["h.example"] * 60, engine="asyncio", backend="system", concurrency=5, query_timeout=0.05):
            most = max(most, daemons_alive() - before)
            assert Status.TIMEOUT == result.status
        held.set()
        assert 10 < most <= 5 + 10, "those that wait, and those that call"

    def test_left_early(self) -> None:
        """A stream that is left early waits for no call that hangs."""
        code = """
import json, time
from resolver import stream
results = stream(["localhost"] + ["h.example"] * 99, engine="threads", backend="system")
real = _socket.getaddrinfo
socket.getaddrinfo = lambda host, *rest: [(2, 1, 6, "", ("127.0.0.1", 0))] if host == b"localhost" else real(host)
next(results)
began = time.monotonic()
results.close()
print(json.dumps(time.monotonic() - began))
"""
        seconds, _ = child(SLOW.format(wait="sleep(50)", patched=False) + code)
        assert seconds < 25.0

    def test_bounded(self, lab: Lab) -> None:
        """No more hosts are read than are being asked and may be delivered: a slow reader of results slows reading."""
        read = 0

        def hosts() -> Iterator[str]:
            nonlocal read
            for number in range(100_000):
                read += 1
                yield f"h{number}.example"

        results = stream(hosts(), engine="threads", backend="dnspython", nameservers=lab.nameserver, concurrency=4)
        for _ in range(10):
            next(results)
        before = 0
        while before < min(read, 2000):  # until the reading rests
            before = read
            time.sleep(0.1)
        assert read < 2000
        results.close()

    def test_rate(self, lab: Lab) -> None:
        """The rate holds for all threads together."""
        began = time.monotonic()
        run = resolve(
            [f"h{number}.example" for number in range(40)],
            engine="threads",
            backend="dnspython",
            nameservers=lab.nameserver,
            rate=100,
        )
        assert {"NOERROR": 40} == run.summary.statuses
        assert 0.35 < time.monotonic() - began

    def test_rate_counts_repeats(self, lab: Lab) -> None:
        """A repeat over TCP is a query, and what is asked after it waits for it."""
        hosts = [f"truncated.h{number}.example" for number in range(20)]
        run = resolve(hosts, engine="threads", backend="dnspython", nameservers=lab.nameserver, rate=100)
        assert ({"NOERROR": 20}, 40) == (run.summary.statuses, run.summary.queries_sent)
        # All but the last one's, and what goes out at once; 0.19 if they did not count.
        assert 0.34 < run.summary.seconds

    def test_nothing_is_asked_after_the_end(self) -> None:
        """What was abandoned in a try begins no other."""
        with Lab() as own:
            run = resolve(
                ["hang.example"] * 5,
                engine="threads",
                backend="dnspython",
                nameservers=own.nameserver,
                timeout=0.1,
                query_timeout=0.4,
                tries=2,
            )
            assert {"DEADLINE": 5} == run.summary.statuses
            assert [1] * 5 == [result.attempts for result in run]
            time.sleep(0.3)  # past the end of the first try
            assert 5 == own.counts().received


class TestGevent:
    def test_unpatched(self) -> None:
        """A backend that blocks would stop every green thread: an error that says how to patch, before the run."""
        code = """
import json
from resolver import resolve
said = []
for backend in ("system", "dnspython"):
    try:
        resolve(["localhost"], engine="gevent", backend=backend)
    except ValueError as error:
        said.append(str(error))
print(json.dumps(said))
"""
        said, _ = child(code)
        assert 2 == len(said)
        assert all("call gevent.monkey.patch_all() first" in each for each in said)

    def test_wire_unpatched(self, lab: Lab) -> None:
        """The wire backend needs no patching."""
        code = f"""
import json
from resolver import resolve
run = resolve(["www.example"], engine="gevent", nameservers={lab.nameserver!r})
print(json.dumps(run.summary.statuses))
"""
        assert {"NOERROR": 1} == child(code)[0]

    def test_dnspython_is_cooperative(self, lab: Lab) -> None:
        """Patched, 100 lookups of 300 ms through dnspython take far less than 30 s, over UDP and over TCP."""
        code = f"""
from gevent import monkey
monkey.patch_all()
import json, time
from resolver import resolve
found = []
for nameserver in ({lab.nameserver!r}, "tcp://" + {lab.nameserver!r}):
    began = time.monotonic()
    run = resolve(["slow-300.example"] * 100, engine="gevent", backend="dnspython", nameservers=nameserver)
    found.append([run.summary.statuses, time.monotonic() - began])
print(json.dumps(found))
"""
        for statuses, seconds in child(code)[0]:
            assert {"NOERROR": 100} == statuses
            assert 0.3 <= seconds < 15.0

    def test_stream_left_early(self, lab: Lab) -> None:
        """Patched, a stream is read as it comes, holds up the reading of hosts, and can be left."""
        code = f"""
from gevent import monkey
monkey.patch_all()
import json, time
from resolver import stream
read = 0
def hosts():
    global read
    while True:
        read += 1
        yield f"h{{read}}.example"
results = stream(hosts(), engine="gevent", backend="dnspython", nameservers={lab.nameserver!r})
first = [next(results).status for _ in range(100)]
held = 0
while held < min(read, 30_000):
    held = read
    time.sleep(0.3)
began = time.monotonic()
results.close()
print(json.dumps([sorted(set(first)), held, time.monotonic() - began]))
"""
        (statuses, held, seconds), _ = child(code)
        assert ["NOERROR"] == statuses
        assert held < 10_000
        assert seconds < 20.0

    def test_twice(self, lab: Lab) -> None:
        """A deadline leaves nothing behind that the program's next run would meet."""
        code = f"""
from gevent import monkey
monkey.patch_all()
import json
from resolver import resolve
settings = dict(engine="gevent", backend="dnspython", nameservers={lab.nameserver!r})
first = resolve(["hang.example"] * 20, timeout=0.2, **settings)
second = resolve(["www.example"] * 20, **settings)
print(json.dumps([first.summary.statuses, second.summary.statuses]))
"""
        assert [{"DEADLINE": 20}, {"NOERROR": 20}] == child(code)[0]


def only(run: list[Result]) -> Result:
    (result,) = run
    return result


class TestSystem:
    def test_localhost(self) -> None:
        """A name of /etc/hosts has its address, without a TTL, and without a nameserver who would have said so."""
        result = only(resolve(["LocalHost"], engine="threads", backend="system"))
        assert (Status.NOERROR, ["127.0.0.1"]) == (result.status, result.addresses)
        assert [("localhost.", "A", None)] == [(each.name, each.type, each.ttl) for each in result.answers]
        assert (None, None, 1, None) == (result.nameserver, result.transport, result.attempts, result.error)

    def test_address(self) -> None:
        """An address of /etc/hosts has a name, which is absolute."""
        result = only(resolve(["127.0.0.1"], engine="threads", backend="system"))
        assert ("PTR", Status.NOERROR) == (result.type, result.status)
        assert result.answers[0].data.startswith("localhost")
        assert result.answers[0].data.endswith(".")

    def test_invalid_domain(self) -> None:
        """A name that cannot exist has no address; a machine without a network has no nameserver to say NXDOMAIN."""
        result = only(resolve(["no-such-host.invalid"], engine="threads", backend="system", tries=1))
        assert result.status in (Status.NXDOMAIN, Status.SERVFAIL, Status.TIMEOUT)
        assert [] == result.answers

    def test_pointer_of_a_name(self) -> None:
        """getnameinfo takes addresses only; nothing is asked for anything else."""
        result = only(resolve(["www.example"], engine="threads", backend="system", types=["PTR"]))
        assert (Status.ERROR, 0) == (result.status, result.attempts)
        assert "backend system looks up PTR of addresses only" == result.error

    @pytest.mark.parametrize(
        ("code", "other", "late", "expected"),
        [
            ("EAI_NONAME", "EAI_NONAME", False, Status.NXDOMAIN),
            ("EAI_NONAME", "EAI_NODATA", False, Status.NODATA),
            ("EAI_NONAME", None, False, Status.NODATA),
            ("EAI_NODATA", "EAI_NONAME", False, Status.NODATA),
            ("EAI_AGAIN", "EAI_AGAIN", False, Status.SERVFAIL),
            ("EAI_AGAIN", "EAI_AGAIN", True, Status.TIMEOUT),
            ("EAI_FAIL", "EAI_FAIL", False, Status.SERVFAIL),
            ("EAI_MEMORY", "EAI_MEMORY", False, Status.ERROR),
            ("EAI_SYSTEM", "EAI_SYSTEM", False, Status.ERROR),
        ],
    )
    def test_errors(
        self, monkeypatch: pytest.MonkeyPatch, code: str, other: str | None, late: bool, expected: Status
    ) -> None:
        """Each error of the C library is one status; `other` is what it says of the other family."""
        wait = 0.05

        def failing(host: bytes, port: None, family: socket.AddressFamily, *_: object) -> object:
            if late:
                time.sleep(wait)
            said = code if family is socket.AF_INET else other
            if said is None:
                return [(family, socket.SOCK_STREAM, 6, "", ("2001:db8::7", 0, 0, 0))]
            raise socket.gaierror(getattr(socket, said), "What It Says")

        if not hasattr(socket, code) or (other and not hasattr(socket, other)):
            pytest.skip(f"this platform has no {code} or no {other}")
        monkeypatch.setattr(socket, "getaddrinfo", failing)
        reply = system.ask(Query(0, "www.example", "www.example.", "A"), None, wait)
        assert expected == reply.status
        assert (None if expected.answered else "the C library says: what it says") == reply.error

    @pytest.mark.parametrize(
        ("text", "expected"), [("www.example", b"www.example"), ("www.example.", b"www.example."), (".", b".")]
    )
    def test_trailing_dot(self, monkeypatch: pytest.MonkeyPatch, text: str, expected: bytes) -> None:
        """A name goes to the C library as it was written: a trailing dot means there what it means to the user."""
        asked: list[bytes] = []

        def listening(host: bytes, *_: object) -> list[object]:
            asked.append(host)
            return []

        monkeypatch.setattr(socket, "getaddrinfo", listening)
        assert Status.NODATA == system.ask(Query(0, text, text.rstrip(".") + ".", "A"), None, 1.0).status
        assert [expected] == asked

    def test_duplicates_and_zones(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """An address counts once, and without the zone that /etc/hosts may give it."""
        found = [(socket.AF_INET6, 1, 6, "", (text, 0, 0, 0)) for text in ("fe80::1%eth0", "fe80::1", "2001:db8::1")]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_: found)
        reply = system.ask(Query(0, "www.example", "www.example.", "AAAA"), None, 1.0)
        assert ["fe80::1", "2001:db8::1"] == [record.data for record in reply.answers]

    @pytest.mark.parametrize(
        ("options", "said"),
        [
            ({"types": "MX"}, "cannot look up MX; valid: A, AAAA, PTR"),
            ({"nameservers": "192.0.2.1"}, "a nameserver, a lab too, means nothing with backend system"),
            ({"nameservers": "192.0.2.1"}, "backends that take one: wire, dnspython, aiodns, twisted"),
            ({"lab": True}, "a nameserver, a lab too, means nothing with backend system"),
            ({"policy": Policy(tls_ca="authority.pem")}, "certificates mean nothing with backend system"),
        ],
    )
    def test_options_that_mean_nothing(self, options: dict[str, Any], said: str) -> None:
        """What the C library has no place for is refused before anything is asked."""
        with pytest.raises(ValueError, match=said):
            resolve(["localhost"], engine="threads", backend="system", **options)


class TestDnspython:
    def test_as_wire(self, lab: Lab) -> None:
        """Whatever a nameserver does over UDP, the result is that of the wire backend."""
        hosts = [*(f"{label}.example" for label in TROUBLES.split()), "192.0.2.1"]
        found = []
        for backend in ("wire", "dnspython"):
            run = resolve(
                hosts, engine="threads", backend=backend, nameservers=lab.nameserver, query_timeout=0.6, tries=2
            )
            found.append([(each.input, each.status, each.answers, each.transport, each.error) for each in run])
        assert found[0] == found[1]

    def test_attempts(self, lab: Lab) -> None:
        """Repeats over TCP and without EDNS are queries, and no tries."""
        hosts = ["www.example", "truncated.example", "noedns.example", "hang.example"]
        run = resolve(
            hosts, engine="threads", backend="dnspython", nameservers=lab.nameserver, query_timeout=0.2, tries=2
        )
        assert [1, 2, 2, 2] == [each.attempts for each in run]
        assert ["udp", "tcp", "udp", None] == [each.transport for each in run]

    @pytest.mark.parametrize("engine", ["threads", "asyncio"])
    def test_a_repeat_that_never_went_out(self, lab: Lab, monkeypatch: pytest.MonkeyPatch, engine: str) -> None:
        """A repeat over TCP that gets no connection in time is no query: only the one over UDP is counted."""

        async def connect(stream: KeptStream, *_: object) -> None:
            stream.close()
            raise TimeoutError

        monkeypatch.setattr(KeptStream, "connect", connect)
        run = resolve(["truncated.example"], engine=engine, backend="dnspython", nameservers=lab.nameserver, tries=2)
        [tally] = run.summary.nameservers or []
        assert ("TIMEOUT", 1, 1, 1) == (run[0].status, run[0].attempts, run.summary.queries_sent, tally.queries)

    def test_an_rcode_that_comes_late(self) -> None:
        """What a nameserver said too late outranks the silence of the next one, and names who said it."""
        with Late(0.15) as slow, Late(None) as mute:
            run = resolve(
                ["www.example", "www.example"],
                engine="threads",
                backend="dnspython",
                nameservers=[slow.where, mute.where],
                query_timeout=0.2,
                tries=2,
            )
        assert [("SERVFAIL", slow.where, 2)] * 2 == [(each.status, each.nameserver, each.attempts) for each in run]

    def test_late_replies_from_one_of_three(self) -> None:
        """However many are being waited for, the first answer ends the lookup; a port that is closed is no obstacle."""
        with Late(0.35, rcode=0) as slow, Late(None) as mute, socket.socket(type=socket.SOCK_DGRAM) as free:
            free.bind(("127.0.0.1", 0))
            free.connect(free.getsockname())  # nobody's datagrams but its own
            nameservers = [slow.where, f"127.0.0.1:{free.getsockname()[1]}", mute.where]
            result = only(
                resolve(["www.example"], engine="threads", backend="dnspython", nameservers=nameservers, tries=4)
            )
        assert ("NODATA", slow.where, 3) == (result.status, result.nameserver, result.attempts)
        assert 0.35 <= (result.elapsed or 0) < 1.2, "the try that it came in would have lasted to 1.25"

    def test_descriptors_are_given_back(self, lab: Lab) -> None:
        """A lookup's sockets are closed when it has its result, not when the run ends."""
        hosts = [f"{('www', 'truncated')[number % 2]}.h{number}.example" for number in range(200)]
        before = len(os.listdir("/proc/self/fd"))
        most = 0
        for _ in stream(hosts, engine="threads", backend="dnspython", nameservers=lab.nameserver, concurrency=4):
            most = max(most, len(os.listdir("/proc/self/fd")))
        # Each of the four may have a socket, a connection and what waits for it.
        assert most - before < 30

    def test_closed_port(self) -> None:
        """A port that nobody listens on is a failure of the local side, said in a sentence."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
            free.bind(("127.0.0.1", 0))
            where = f"127.0.0.1:{free.getsockname()[1]}"
        result = only(resolve(["www.example"], engine="threads", backend="dnspython", nameservers=where))
        assert (Status.ERROR, 3, None) == (result.status, result.attempts, result.nameserver)
        assert f"udp to {where} failed: connection refused" == result.error

    def test_tls(self, secure: tuple[Path, Path]) -> None:
        """Over TLS the certificate is checked: with the authority it is an answer, without it an error that says so."""
        with Lab(tls=(secure[0], secure[0])) as own:
            nameservers: Any = [f"tls://{own.tls_nameserver}"]
            good = Policy(nameservers=nameservers, tls_ca=str(secure[1]))
            run = resolve(["www.example"] * 20, engine="threads", backend="dnspython", policy=good)
            assert {"NOERROR": 20} == run.summary.statuses
            assert {("tls", own.tls_nameserver)} == {(each.transport, each.nameserver) for each in run}
            other: Any = [f"tls://{own.tls_nameserver}#dns.example"]
            for bad in (Policy(nameservers=nameservers), Policy(nameservers=other, tls_ca=str(secure[1]))):
                result = only(resolve(["www.example"], engine="threads", backend="dnspython", policy=bad))
                assert Status.ERROR == result.status
                assert "showed a certificate that does not fit" in (result.error or "")

    def test_unreadable_certificates(self, tmp_path: Path) -> None:
        """A file of certificates that is none is an error before the run."""
        (tmp_path / "empty.pem").write_text("")
        for name in ("empty.pem", "missing.pem"):
            policy = Policy(nameservers=("tls://127.0.0.1",), tls_ca=str(tmp_path / name))
            with pytest.raises(ValueError, match=f"{name}: no certificates can be read"):
                resolve(["www.example"], engine="threads", backend="dnspython", policy=policy)

    @pytest.mark.parametrize("waits", ["blocking", "awaited"])
    def test_connections_are_kept(self, waits: str) -> None:
        """Over TCP one connection serves one lookup after the other; one that the server closed is opened again."""

        async def ask(policy: Policy) -> list[Reply]:
            session = dnspython.open(policy) if waits == "blocking" else dnspython.open_async(policy)
            lookup, (nameserver,) = Query(0, "www.example", "www.example.", "A"), policy.nameservers
            replies = [await session.ask(lookup, nameserver, 5.0) for _ in range(6)]
            await session.close()
            return replies

        with Listener(answers_each=3) as listener:
            asked = ask(Policy(nameservers=(f"tcp://{listener.where}",)))
            replies = at_once(asked) if waits == "blocking" else asyncio.run(asked)
        assert [Status.NODATA] * 6 == [each.status for each in replies]
        assert [1, 1, 1, 2, 1, 1] == [each.queries for each in replies]
        assert 2 == listener.connections

    def test_https(self, secure: tuple[Path, Path]) -> None:
        """Over HTTPS (RFC 8484) the transport is https, and what is wrong with the page is a sentence."""
        with Doh(secure[0]) as served:
            for path, status, error in (
                ("/dns-query", Status.NOERROR, None),
                ("/missing", Status.ERROR, "responded with status code 404"),
                ("/garbage", Status.TIMEOUT, "no valid reply in 1 try"),
                ("/hang", Status.TIMEOUT, "no valid reply in 1 try"),
            ):
                nameservers: Any = [f"https://{served.where}{path}"]
                policy = Policy(nameservers=nameservers, tls_ca=str(secure[1]), query_timeout=0.5, tries=1)
                result = only(resolve(["www.example"], engine="threads", backend="dnspython", policy=policy))
                assert status == result.status
                assert (error or "None") in str(result.error)
                assert (("https", served.where) if error is None else (None, None)) == (
                    result.transport,
                    result.nameserver,
                )

    def test_https_not_installed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without the extra, a nameserver over HTTPS is an error that names it."""
        monkeypatch.setattr(dns.query, "have_doh", False)
        with pytest.raises(LookupError, match=r"pip install '.+\[doh\]'"):
            resolve(["www.example"], engine="threads", backend="dnspython", nameservers="https://192.0.2.1/dns-query")


class Listener:
    """A nameserver over TCP that closes a connection after so many answers (NODATA)."""

    def __init__(self, answers_each: int) -> None:
        self._answers = answers_each
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.where = f"127.0.0.1:{self._socket.getsockname()[1]}"
        self.connections = 0

    def __enter__(self) -> "Listener":
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self.connections += 1
            with connection, connection.makefile("rb") as lines:
                for _ in range(self._answers):
                    size = lines.read(2)
                    if not size:
                        break
                    query = dns.message.from_wire(lines.read(int.from_bytes(size, "big")))
                    connection.sendall(dns.message.make_response(query).to_wire(prepend_length=True))


class Late:
    """A nameserver over UDP that answers with an rcode after so many seconds, or not at all."""

    def __init__(self, seconds: float | None, rcode: int = 2) -> None:
        self._seconds = seconds
        self._rcode = rcode
        self._socket = socket.socket(type=socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.where = f"127.0.0.1:{self._socket.getsockname()[1]}"

    def __enter__(self) -> "Late":
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.sendto(b"", self._socket.getsockname())

    def _serve(self) -> None:
        with self._socket:
            while (received := self._socket.recvfrom(2048))[0]:
                if self._seconds is not None:
                    threading.Timer(self._seconds, self._answer, received).start()

    def _answer(self, octets: bytes, peer: Any) -> None:
        reply = dns.message.make_response(dns.message.from_wire(octets))
        reply.set_rcode(dns.rcode.Rcode(self._rcode))
        try:
            self._socket.sendto(reply.to_wire(), peer)
        except OSError:
            pass  # the test is over


class Doh:
    """A nameserver over HTTPS that answers NOERROR with one address, at /dns-query."""

    def __init__(self, certificate: Path) -> None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate)
        self._server = _Server(("127.0.0.1", 0), _Pages)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.where = f"127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> "Doh":
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.socket.close()


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """A client that waits no longer is part of the test."""


class _Pages(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        query = dns.message.from_wire(self.rfile.read(int(self.headers["content-length"])))
        if self.path == "/hang":
            self.rfile.read(1)  # until the client gives up
            self.close_connection = True
            return
        code, page = 200, b"garbage"
        if self.path == "/missing":
            code, page = 404, b"<html>\nnothing here\n</html>"
        elif self.path == "/dns-query":
            reply = dns.message.make_response(query)
            reply.answer.append(dns.rrset.from_text(query.question[0].name, 60, "IN", "A", "192.0.2.7"))
            page = reply.to_wire()
        self.send_response(code)
        self.send_header("content-type", "application/dns-message")
        self.send_header("content-length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)

    def log_message(self, format: str, *arguments: object) -> None:
        """Standard error is the tests'."""

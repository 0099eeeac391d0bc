"""The backends of the style `await`: aiodns and dnspython on asyncio, twisted.names on twisted; and system in threads.

What the contract asks of every pair stands in test_contract.py. Here stands what is particular to awaiting: workers,
what they leave behind, what a library has of its own, and what it cannot tell.
"""

import asyncio
import contextlib
import gc
import os
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from command import environment, second_look
from conftest import fresh

from resolver import Policy, Result, Run, Status, astream, resolve, stream
from resolver.batch import Batch
from resolver.engines import Pair, pairs
from resolver.lab import Lab
from resolver.model import Query
from resolver.nameserver import Nameserver

AWAITED = [pair for pair in pairs() if pair.style == "await"]
TYPES = ["A", "AAAA", "CAA", "CNAME", "HTTPS", "MX", "NAPTR", "NS", "PTR", "SOA", "SRV", "TLSA", "TXT", "URI"]
ZONE = r"""
$ORIGIN zone.example.
$TTL 600
@    IN SOA   ns hostmaster.a\.b 7 7200 3600 1209600 60
     IN NS    ns
     IN MX    10 www
     IN TXT   "v=spf1 -all"
     IN A     192.0.2.1
     IN AAAA  2001:db8::1
     IN AAAA  ::ffff:192.0.2.9
     IN CAA   128 issue "ca.example; account=1"
     IN HTTPS 1 . alpn="h2,h3" ipv4hint=192.0.2.7 port=8443
     IN NAPTR 100 50 "s" "SIP+D2U" "!^.*$!sip:a@b.example!" _sip._udp
     IN PTR   www
     IN SRV   1 2 443 www
     IN TLSA  3 1 0 0123456789abcdef
     IN URI   10 1 "https://www.example/a b"
ns   IN A     192.0.2.1
www  IN CNAME a\.b
a\.b IN CNAME @
"""


@pytest.fixture(params=AWAITED, ids=lambda pair: f"{pair.engine}-{pair.backend}")
def pair(request: pytest.FixtureRequest) -> Pair:
    """An engine and a backend that it awaits."""
    pair: Pair = request.param
    if not pair.installed:
        pytest.skip(f"needs the extra {pair.extra}")
    return pair


def ask(pair: Pair, lab: Lab, *labels: str, transport: str = "udp", **options: Any) -> Run:
    """The run of these labels, each in a zone of its own."""
    options.setdefault("nameservers", [f"{transport}://{lab.nameserver}"])
    return resolve([fresh(label) for label in labels], engine=pair.engine, backend=pair.backend, **options)


@pytest.fixture(autouse=True)
def nothing_left(recwarn: pytest.WarningsRecorder) -> Iterator[None]:
    """Each test leaves no socket unclosed and no coroutine or task unfinished: Python would warn of them."""
    gc.freeze()  # what other tests have left in memory is not looked through each time
    yield
    gc.collect()
    assert [] == [str(each.message) for each in recwarn if issubclass(each.category, ResourceWarning | RuntimeWarning)]


# --- The tries.


STATUSES = {
    "www": "NOERROR",
    "nx": "NXDOMAIN",
    "nodata": "NODATA",
    "cname-nodata": "NODATA",
    "servfail": "SERVFAIL",
    "refused": "REFUSED",
    "notimp": "NOTIMP",
    "formerr": "FORMERR",
    "noedns": "NOERROR",
    "truncated": "NOERROR",
    "hang": "TIMEOUT",
}


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_status(pair: Pair, lab: Lab, transport: str) -> None:
    """What a nameserver does leads to one status, over UDP and TCP."""
    run = ask(pair, lab, *STATUSES, query_timeout=0.8, transport=transport)
    assert STATUSES == {label: str(each.status) for label, each in zip(STATUSES, run, strict=True)}


@pytest.mark.parametrize(
    ("label", "attempts"),
    [("www", 1), ("nx", 1), ("flaky-1", 2), ("flaky-2", 3), ("servfail-1", 2), ("servfail", 3), ("hang", 3)],
)
def test_attempts(pair: Pair, lab: Lab, label: str, attempts: int) -> None:
    """The retry rule is the policy's: the library asks once for each try."""
    [result] = ask(pair, lab, label, query_timeout=0.6)
    assert attempts == result.attempts


def test_a_closed_port_is_an_error(pair: Pair) -> None:
    """Where nobody listens, each lookup ends at once in ERROR with a sentence, and the engine goes on."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        closed.connect(("127.0.0.1", port))  # it takes from nobody else, and no lookup is given the port to ask from
        hosts = [f"h{n}.example" for n in range(40)]
        run = resolve(hosts, engine=pair.engine, backend=pair.backend, nameservers=f"127.0.0.1:{port}")
    expected = {("ERROR", 3, f"udp to 127.0.0.1:{port} failed: connection refused")}
    assert expected == {(each.status, each.attempts, each.error) for each in run}
    assert run.summary.seconds < 3.5, "the time of the tries"


def test_lookups_wait_together(pair: Pair, lab: Lab) -> None:
    """100 lookups of 300 ms take far less than 30 s."""
    run = ask(pair, lab, *["slow-300"] * 100, concurrency=100)
    assert {"NOERROR": 100} == run.summary.statuses
    assert 0.3 <= run.summary.seconds < 15


def test_concurrency_is_a_bound(pair: Pair, lab: Lab) -> None:
    """With two in flight, 10 lookups of 100 ms take 500 ms."""
    run = second_look(lambda: ask(pair, lab, *["slow-100"] * 10, concurrency=2), lambda run: run.summary.seconds < 1.0)
    assert 0.5 <= run.summary.seconds < 1.0


@pytest.mark.parametrize(("engine", "backend"), [("asyncio", "dnspython"), ("twisted", "twisted")])
def test_a_late_reply_ends_the_try_of_another(lab: Lab, engine: str, backend: str) -> None:
    """A reply of the first nameserver, while the second one is being waited for, ends the lookup then and there."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mute:
        mute.bind(("127.0.0.1", 0))
        nameservers = [lab.nameserver, f"127.0.0.1:{mute.getsockname()[1]}"]

        def look() -> Result:
            hosts = [fresh("slow-350")]
            [result] = resolve(hosts, engine=engine, backend=backend, nameservers=nameservers, query_timeout=1.2)
            return result

        result = second_look(look, lambda result: (result.elapsed or 9) < 0.75)
    assert ("NOERROR", lab.nameserver, 2) == (result.status, result.nameserver, result.attempts)
    assert 0.35 <= (result.elapsed or 0) < 0.75, "the second try lasts from 0.3 to 0.9 s"


# --- The end.


def test_deadline(pair: Pair, lab: Lab) -> None:
    """A deadline of half a second ends a run of silent names there; what was answered is kept."""
    run = second_look(
        lambda: ask(pair, lab, *["www"] * 5, *["hang"] * 400, timeout=0.5), lambda run: run.summary.seconds < 0.7
    )
    assert {"NOERROR": 5, "DEADLINE": 400} == run.summary.statuses
    assert 0.5 <= run.summary.seconds < 0.7
    asked = Counter(each.attempts for each in run if each.status is Status.DEADLINE)
    assert 0 < asked[0] < 400, "some were never asked, others were"


def test_a_stream_that_is_left(pair: Pair, lab: Lab) -> None:
    """Leaving early stops what runs, without waiting for silent names."""
    hosts = [fresh("www"), *(fresh("hang") for _ in range(50))]
    results = stream(hosts, engine=pair.engine, backend=pair.backend, nameservers=lab.nameserver, query_timeout=20)
    next(results)
    began = time.monotonic()
    results.close()
    assert time.monotonic() - began < 4, "the first try waits 5 s"


@pytest.mark.parametrize("backend", ["aiodns", "dnspython"])
def test_astream_leaves_no_task(lab: Lab, backend: str) -> None:
    """In the caller's loop, a stream that is left leaves no task of ours behind."""

    async def main() -> int:
        hosts = [fresh("www"), *(fresh("hang") for _ in range(50))]
        results = astream(hosts, backend=backend, nameservers=lab.nameserver, query_timeout=20)
        async with contextlib.aclosing(results):
            async for _ in results:
                break
        return len(asyncio.all_tasks())

    assert 1 == asyncio.run(main())


def test_descriptors_are_given_back(pair: Pair, lab: Lab) -> None:
    """20 runs, all cut short, leave no more descriptors open than one; c-ares closes its own a little later."""
    ask(pair, lab, "www", "truncated")
    before = len(os.listdir("/dev/fd"))
    for turn in range(20):
        ask(pair, lab, "www", "truncated", "hang", timeout=0.05, transport=("udp", "tcp")[turn % 2])
    deadline = time.monotonic() + 5
    while len(os.listdir("/dev/fd")) > before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert before >= len(os.listdir("/dev/fd"))


def test_in_a_thread_and_in_a_running_loop(pair: Pair, lab: Lab) -> None:
    """It runs in a thread that is not the main one, and inside a running event loop."""
    runs: list[Run] = []

    async def main() -> None:
        runs.append(ask(pair, lab, "www"))

    thread = threading.Thread(target=lambda: runs.append(ask(pair, lab, "www")))
    thread.start()
    thread.join()
    asyncio.run(main())
    assert [{"NOERROR": 1}] * 2 == [run.summary.statuses for run in runs]


def test_nothing_is_printed(pair: Pair, lab: Lab) -> None:
    """A whole program in development mode, ended by its deadline, prints no warning and ends at once."""
    program = (
        # That a busy machine was slow, asyncio says below the level of errors.
        "import logging; logging.getLogger('asyncio').setLevel(logging.ERROR)\n"
        "from resolver import resolve\n"
        f"run = resolve(['www.example', 'truncated.example', *(f'hang.n{{n}}.example' for n in range(50))],"
        f" engine={pair.engine!r}, backend={pair.backend!r}, nameservers={lab.nameserver!r}, timeout=0.5)\n"
        "print(run.summary.statuses)\n"
    )
    done = subprocess.run([sys.executable, "-X", "dev", "-c", program], capture_output=True, text=True, timeout=30)
    assert ("{'DEADLINE': 50, 'NOERROR': 2}\n", "", 0) == (done.stdout, done.stderr, done.returncode)


# --- Records.


@pytest.fixture(scope="module")
def zone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A lab that serves a zone with a record of each type."""
    file = tmp_path_factory.mktemp("zone") / "zone.example"
    file.write_text(ZONE)
    with Lab(zone=file) as lab:
        yield lab


def test_records_are_those_of_the_wire_backend(pair: Pair, zone: Lab) -> None:
    """Every type, at the end of a CNAME chain with a dot in a label, reads as the wire backend reads it."""
    hosts = ["WWW.zone.example", "zone.example"]
    options: dict[str, Any] = {"types": TYPES, "nameservers": zone.nameserver}
    expected = resolve(hosts, engine=pair.engine, **options)
    actual = resolve(hosts, engine=pair.engine, backend=pair.backend, **options)
    assert {"NOERROR": 27, "NODATA": 1} == expected.summary.statuses, "the zone's top has no CNAME"
    for one, other in zip(expected, actual, strict=True):
        # A nameserver may turn the order of equal records.
        assert (one.type, sorted(map(repr, one.answers))) == (other.type, sorted(map(repr, other.answers)))


def test_aiodns_lists_its_types() -> None:
    """A type that pycares does not know is refused with the list of those that it does."""
    with pytest.raises(ValueError, match=r"cannot look up SVCB; valid: A, AAAA, ANY, CAA, .* URI"):
        resolve(["example"], engine="asyncio", backend="aiodns", types=["SVCB"], nameservers="127.0.0.1")


@pytest.mark.parametrize("nameserver", ["tls://192.0.2.1", "https://dns.example/dns-query"])
@pytest.mark.parametrize(("engine", "backend"), [("asyncio", "aiodns"), ("twisted", "twisted")])
def test_transports_that_are_refused(engine: str, backend: str, nameserver: str) -> None:
    """A transport that a backend does not speak is an error that lists those that it does."""
    with pytest.raises(ValueError, match=rf"backend {backend} does not speak (tls|https).*; valid: udp://, tcp://"):
        resolve(["example"], engine=engine, backend=backend, nameservers=nameserver)


# --- c-ares.


def test_aiodns_waits_longer_than_c_ares_would(lab: Lab) -> None:
    """After quick replies c-ares gives up on slow ones at 250 ms; they are answered all the same, with one try too."""
    hosts = [*(fresh("www") for _ in range(600)), *(fresh("slow-600") for _ in range(50))]
    for tries in (1, 3):
        run = resolve(hosts, engine="asyncio", backend="aiodns", nameservers=lab.nameserver, tries=tries)
        assert {"NOERROR": 650} == run.summary.statuses


def test_aiodns_and_a_reply_that_cannot_be_parsed(lab: Lab) -> None:
    """What fails with somebody else's broken reply is asked again, and answered."""
    hosts = [*(fresh("slow-100") for _ in range(50)), *(fresh("badptr") for _ in range(3))]
    run = resolve(hosts, engine="asyncio", backend="aiodns", nameservers=lab.nameserver, query_timeout=1.5)
    assert {"NOERROR": 50, "TIMEOUT": 3} == run.summary.statuses


def test_aiodns_tells_what_its_cache_gave(lab: Lab) -> None:
    """c-ares' cache cannot be turned off: what it gives took no query, and no nameserver gave it."""
    host = fresh("www")
    first, second = resolve([host, host], engine="asyncio", backend="aiodns", nameservers=lab.nameserver, concurrency=1)
    assert [("NOERROR", 1, "udp"), ("NOERROR", 0, None)] == [
        (each.status, each.attempts, each.transport) for each in (first, second)
    ]
    assert second.nameserver is None
    assert first.addresses == second.addresses


def test_aiodns_counts_the_repeat_over_tcp(lab: Lab) -> None:
    """A truncated reply and the whole one over TCP are two queries of one try."""
    [result] = resolve([fresh("truncated")], engine="asyncio", backend="aiodns", nameservers=lab.nameserver)
    assert ("NOERROR", "tcp", 2) == (result.status, result.transport, result.attempts)


def test_aiodns_and_connections_that_break(lab: Lab) -> None:
    """A connection that the nameserver closes or resets takes only the name down that made it do so."""
    labels = ["truncated"] * 30 + ["notcp", "resettcp", "resettcp"]
    hosts = [fresh(label) for label in labels]
    # How a connection ends is what counts, not whether a busy machine hears of it within a try.
    run = resolve(hosts, engine="asyncio", backend="aiodns", nameservers=lab.nameserver, query_timeout=8)
    assert {"NOERROR": 30, "ERROR": 3} == run.summary.statuses
    said = ("closed the connection", "the connection was refused or broken")  # it depends on what c-ares sees first
    assert all(any(sentence in (each.error or "") for sentence in said) for each in run[30:])


def test_aiodns_rests_while_it_waits(lab: Lab) -> None:
    """Waiting for a reply over TCP takes no time of the processor."""
    before = time.process_time()
    [result] = resolve(
        [fresh("slow-700")], engine="asyncio", backend="aiodns", nameservers=f"tcp://{lab.nameserver}", tries=1
    )
    assert ("NOERROR", "tcp") == (result.status, result.transport)
    assert time.process_time() - before < 0.35


def test_aiodns_asks_on_the_event_loop(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """c-ares calls back in the loop's own thread, and has none for which each reply would wait."""
    from resolver.backends import aiodns_channel

    threads: set[int] = set()
    genuine = aiodns_channel.CaresOutcome

    def told(*arguments: Any) -> Any:
        threads.add(threading.get_ident())
        return genuine(*arguments)

    monkeypatch.setattr(aiodns_channel, "CaresOutcome", told)
    run = resolve([fresh("www")], engine="asyncio", backend="aiodns", nameservers=lab.nameserver)
    assert ({"NOERROR": 1}, {threading.get_ident()}) == (run.summary.statuses, threads)


# --- The congestion window.


def test_one_nameserver_in_trouble_holds_up_no_other(pair: Pair, lab: Lab) -> None:
    """Queries for one that takes little at once wait; those that are for another one go."""
    with Lab(capacity=100) as narrow:
        hosts = [fresh("www") for _ in range(300)]
        nameservers = [narrow.nameserver, lab.nameserver]
        run = resolve(hosts, engine=pair.engine, backend=pair.backend, nameservers=nameservers)
    assert {"NOERROR": 300} == run.summary.statuses


# --- Green threads.


def test_asyncio_in_several_green_threads(lab: Lab) -> None:
    """All green threads of a program share the one event loop that a thread can have: an error, not results of it."""
    program = f"""
from gevent import monkey
monkey.patch_all()
import gevent
from resolver import resolve

def look_up(name):
    try:
        return resolve([name], engine="asyncio", nameservers={lab.nameserver!r}).summary.statuses
    except ValueError as error:
        return str(error)

jobs = [gevent.spawn(look_up, f"slow-300.n{{n}}.example") for n in range(2)]
gevent.joinall(jobs)
print(jobs[0].value, jobs[1].value, look_up("www.example"), sep="|")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30)
    first, second, later = done.stdout.strip().split("|")
    assert ("{'NOERROR': 1}", "{'NOERROR': 1}", "") == (first, later, done.stderr)
    assert "engine asyncio runs in one green thread of a program at a time" in second


# --- Blocking calls in threads.


@pytest.mark.parametrize("engine", ["asyncio", "twisted"])
def test_calls_that_hang_do_not_hold_the_run(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """getaddrinfo cannot be cancelled; the run ends at its deadline without it."""
    held = threading.Event()
    genuine = socket.getaddrinfo

    def slow(name: Any, *rest: Any, **options: Any) -> Any:
        if b"hang" in name:
            held.wait(5)
        return genuine("127.0.0.1", *rest, **options)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    hosts = ["hang.example", *["www.example"] * 20]
    run = second_look(
        lambda: resolve(hosts, engine=engine, backend="system", timeout=0.4), lambda run: run.summary.seconds < 0.7
    )
    held.set()
    assert {"NOERROR": 20, "DEADLINE": 1} == run.summary.statuses
    assert run.summary.seconds < 0.7


def test_workers_end_with_their_reason(lab: Lab) -> None:
    """A session that cannot be opened ends the run as an ERROR that says why, for every lookup."""
    from resolver.batch import Plan
    from resolver.engines.asyncio import engine
    from resolver.input.hosts import Hosts
    from resolver.input.sources import elements
    from resolver.policy import Deadline

    class Broken:
        name = "broken"
        concurrency = 2

        def prepare(self, policy: Policy) -> Policy:
            return policy

        def open_async(self, policy: Policy) -> "Broken":
            return self

        async def ask(self, query: Query, nameserver: Nameserver | None, timeout: float) -> Any:
            raise KeyError("no such thing")

        def done(self, query: Query) -> None:
            """Nothing."""

        async def close(self) -> None:
            """Nothing."""

    results: list[Any] = []
    hosts = Hosts([elements(["a.example", "b.example"])], ["A"], "asyncio", "broken")
    with Plan(engine, Broken(), Policy(tries=2), hosts, Deadline(), contextlib.ExitStack()) as plan:
        Batch(plan, results.extend).run()
    expected = [("ERROR", 2, "the backend broke: KeyError: 'no such thing'")] * 2
    assert expected == [(each.status, each.attempts, each.error) for each in results]


@pytest.mark.parametrize("backend", ["aiodns", "dnspython"])
@pytest.mark.parametrize("leave", ["return", "raise SystemExit(0)", "break"])
def test_a_stream_left_at_the_end_of_the_program(lab: Lab, backend: str, leave: str) -> None:
    """Leaving `async for` by the end of asyncio.run closes the session, and nothing is said on standard error."""
    code = f"""
import asyncio
from resolver import astream
from resolver.engines import asyncio as engine

opened = engine.open_session

def watched(*given):
    session = opened(*given)
    close = session.close
    async def told():
        await close()
        print("closed")
    session.close = told
    return session

engine.open_session = watched

async def main():
    async for _ in astream(["www.example", "slow-1000.example"], backend={backend!r}, nameservers={lab.nameserver!r}):
        {leave}
    await asyncio.sleep(0.1)

asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment())
    assert [0, "closed\n", ""] == [done.returncode, done.stdout, done.stderr]

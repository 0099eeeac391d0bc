"""The library: `resolve`, `stream` and `astream`, as programs use them."""

import asyncio
import contextlib
import inspect
import io
import ipaddress
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar, get_args

import psutil
import pytest
from command import environment, wait_for

import resolver
from resolver import (
    Nameserver,
    Policy,
    Query,
    Record,
    Result,
    Run,
    Status,
    Summary,
    api,
    astream,
    planning,
    resolve,
    stream,
)
from resolver.engines import BACKENDS, ENGINES

T = TypeVar("T")
ALL_OF_IT = {"NOERROR", "NXDOMAIN", "INVALID"}
engines = pytest.mark.parametrize("engine", ENGINES)


@pytest.fixture
def silent() -> Iterator[str]:
    """A nameserver that never answers."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
        bound.bind(("127.0.0.1", 0))
        yield "{}:{}".format(*bound.getsockname())


async def gathered(results: AsyncGenerator[Result, None]) -> list[Result]:
    """All of a stream."""
    return [result async for result in results]


def resolved(hosts: Any, **keywords: Any) -> list[Result]:
    """By `resolve`."""
    return resolve(hosts, **keywords)


def streamed(hosts: Any, **keywords: Any) -> list[Result]:
    """By `stream`."""
    return list(stream(hosts, **keywords))


def astreamed(hosts: Any, **keywords: Any) -> list[Result]:
    """By `astream`, in a loop of its own."""
    return asyncio.run(gathered(astream(hosts, **keywords)))


ways = pytest.mark.parametrize("way", [resolved, streamed, astreamed], ids=lambda way: way.__name__)
Way = Callable[..., list[Result]]


def told(results: list[Result]) -> list[tuple[str, str]]:
    """Host and status, in input order."""
    return [(result.input, str(result.status)) for result in sorted(results, key=lambda result: result.index)]


def in_a_thread(work: Callable[[], T]) -> T:
    """What this gives, done in a thread that is not the main one."""
    done: list[T] = []
    failed: list[BaseException] = []

    def body() -> None:
        try:
            done.append(work())
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=body)
    thread.start()
    thread.join(30)
    if failed:
        raise failed[0]
    return done[0]


def child(program: str, *words: str) -> str:
    """What a Python program of its own prints; it must end well and say nothing on standard error."""
    run = subprocess.run([sys.executable, "-c", program, *words], env=environment(), capture_output=True, text=True,
                         timeout=30, check=False)  # fmt: skip
    assert [0, ""] == [run.returncode, run.stderr]
    return run.stdout


# --- The examples.


@engines
def test_resolve_example(at: str, engine: str, elsewhere: dict[str, Any]) -> None:
    """`resolve` gives a Run: a list of Result in input order, with addresses."""
    run = resolve(["slow-50.example", "pypi.org"], engine=engine, **elsewhere, timeout=5, nameservers=[at])
    assert [("slow-50.example", 1), ("pypi.org", 1)] == [(result.input, len(result.addresses)) for result in run]
    assert [True, Run, {Result}] == [isinstance(run, list), type(run), set(map(type, run))]


@engines
def test_stream_example(at: str, tmp_path: Path, engine: str, elsewhere: dict[str, Any]) -> None:
    """`stream` gives the results of a list as they come."""
    path = tmp_path / "hosts.txt"
    path.write_text("# a list\nslow-200.example\nnx.example\ntwo words\n")
    results = list(stream(path, engine=engine, **elsewhere, nameservers=[at]))
    assert [("slow-200.example", "NOERROR"), ("nx.example", "NXDOMAIN"), ("two words", "INVALID")] == told(results)
    assert [ALL_OF_IT, "slow-200.example"] == [{str(result.status) for result in results}, results[-1].input]


def test_astream_example(at: str) -> None:
    """`astream` gives them in the caller's own loop, which goes on meanwhile."""

    async def show(hosts: list[str]) -> tuple[list[Result], int]:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                await asyncio.sleep(0.01)
                ticks += 1

        ticking = asyncio.create_task(tick())
        results = [result async for result in astream(hosts, nameservers=[at])]
        ticking.cancel()
        return results, ticks

    results, ticks = asyncio.run(show(["slow-200.example", "a.example"]))
    assert [["a.example", "slow-200.example"], True] == [[result.input for result in results], ticks >= 5]


def test_public_names() -> None:
    """What the package offers, and nothing else."""
    offered = ["Nameserver", "Policy", "Query", "Record", "Result", "Run", "Status", "Summary", "astream", "resolve"]
    offered.append("stream")
    assert [offered, []] == [resolver.__all__, [name for name in offered if name not in dir(resolver)]]
    assert [Nameserver, Policy, Query, Record, Result, Run, Status, Summary, astream, resolve, stream] == [
        getattr(resolver, name) for name in offered
    ]
    with pytest.raises(AttributeError, match="no attribute 'nope'"):
        resolver.nope  # noqa: B018  # looking it up is what is tested


def test_keywords_have_their_place(at: str) -> None:
    """Editors offer the names of the table; each keyword is explained; one that is unknown is refused."""
    offered = [get_args(get_args(kind)[0]) for kind in (planning.EngineName, planning.BackendName)]
    assert [tuple(ENGINES), tuple(BACKENDS)] == offered
    explained = re.findall(r"^    ([a-z_]+): ", inspect.getdoc(resolve) or "", re.M)
    assert sorted({"hosts", *api.Keywords.__optional_keys__}) == sorted(explained)
    for way in (resolve, stream, astream):
        with pytest.raises(TypeError, match=r"there is no keyword retries; valid: .*tries"):
            way(["a.example"], nameservers=[at], retries=2)  # type: ignore[call-arg]  # what is tested


def test_policy_of_keywords(at: str, tmp_path: Path) -> None:
    """A keyword is the field of a Policy of its name; both together are refused, and so is a bad file of `tls_ca`."""
    assert Policy(nameservers=[at, Nameserver.parse(at)]) == Policy(nameservers=at)
    assert Policy(tls_ca=tmp_path / "ca.pem") == Policy(tls_ca=str(tmp_path / "ca.pem"))
    with pytest.raises(ValueError, match="does not go with tries, tls_ca"):
        resolve(["a.example"], policy=Policy(), tries=2, tls_ca="ca.pem")
    missing = str(tmp_path / "ca.pem")
    with pytest.raises((ValueError, OSError), match=r"ca\.pem"):
        resolve(["a.example"], nameservers=[f"tls://{at}"], tls_ca=missing)


def test_answered(at: str) -> None:
    """A result tells whether a nameserver answered: NXDOMAIN is an answer, a line that is no name has none."""
    run = resolve(["a.example", "nx.example", "two words"], nameservers=[at])
    assert [True, True, False] == [result.answered for result in run]


def test_what_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A library that is missing is a LookupError, and an ImportError too, that says what installs it."""
    monkeypatch.setitem(sys.modules, "aiodns", None)
    for kind in (LookupError, ImportError):
        with pytest.raises(kind, match=r"backend aiodns needs aiodns, which is not installed: pip install"):
            resolve([], engine="asyncio", backend="aiodns")


# --- What hosts may be.


@ways
def test_kinds_of_hosts(at: str, tmp_path: Path, way: Way) -> None:
    """A path and an open text file are lists; of any other iterable each element is a host; a str is one host."""
    path = tmp_path / "hosts"
    path.write_text("a.example # a comment\n\n")
    expected = [("a.example", "NOERROR")]
    with path.open() as file:
        lists: list[Any] = [path, file, io.StringIO("a.example\n")]
        collections: list[Any] = ["a.example", ["a.example"], ("a.example",), {"a.example"}, {"a.example": 1}]
        kinds = [*lists, *collections, iter(["a.example"]), (host for host in ["a.example"])]
        assert [expected] * len(kinds) == [told(way(hosts, nameservers=[at])) for hosts in kinds]
        assert not file.closed


@ways
def test_elements_are_hosts_as_they_are(at: str, way: Way) -> None:
    """No element is a comment or a list; blank ones are INVALID; addresses may be objects; duplicates count."""
    address = ipaddress.ip_address("192.0.2.1")
    hosts: list[Any] = ["a.example", "", "  ", "#no", "a.example", address, ipaddress.ip_address("2001:db8::1")]
    results = sorted(way(hosts, nameservers=[at]), key=lambda result: result.index)
    assert [("a.example", "A"), ("", "A"), ("", "A"), ("#no", "A"), ("a.example", "A"), ("192.0.2.1", "PTR"),
            ("2001:db8::1", "PTR")] == [(result.input, result.type) for result in results]  # fmt: skip
    assert ["INVALID", "INVALID"] == [result.status for result in results[1:3]]


@ways
def test_empty(at: str, way: Way) -> None:
    """No hosts, no results."""
    assert [[], []] == [way([], nameservers=[at]), way(iter([]), nameservers=[at])]


@ways
def test_types(at: str, way: Way) -> None:
    """Each host and type is one lookup; one type may be a str."""
    results = way(["a.example", "x y"], nameservers=[at], types=["A", "mx"])
    assert [(0, "A"), (1, "MX"), (2, "A"), (3, "MX")] == sorted((result.index, result.type) for result in results)
    assert ["AAAA"] == [result.type for result in way(["a.example"], nameservers=at, types="AAAA")]


def test_file_from_where_it_stands(at: str, tmp_path: Path) -> None:
    """An open file is read from its position, and stays open."""
    (tmp_path / "list").write_text("header\na.example\nb.example\n")
    with (tmp_path / "list").open() as file:
        assert "header\n" == file.readline()
        assert [("a.example", "NOERROR"), ("b.example", "NOERROR")] == told(resolve(file, nameservers=[at]))


@engines
def test_input_order(at: str, engine: str, elsewhere: dict[str, Any]) -> None:
    """`resolve` gives the order of the input, however the replies come."""
    hosts = [f"slow-{milliseconds}.n{number}.example" for number, milliseconds in enumerate([150, 1, 90, 30] * 20)]
    run = resolve(hosts, engine=engine, **elsewhere, nameservers=[at])
    assert [hosts, list(range(80))] == [[result.input for result in run], [result.index for result in run]]


# --- Policy and keywords.


@ways
def test_policy(at: str, way: Way) -> None:
    """A Policy says who is asked and how often."""
    (result,) = way(["hang.example"], policy=Policy(nameservers=(at,), tries=2, query_timeout=0.1))
    assert [Status.TIMEOUT, 2] == [result.status, result.attempts]


@ways
def test_keywords(at: str, way: Way) -> None:
    """Its fields may be given one by one, a nameserver as text or object."""
    host, port = at.split(":")
    for nameservers in (at, [at], (Nameserver("udp", host, int(port)),)):
        (result,) = way(["hang.example"], nameservers=nameservers, tries=1, query_timeout=0.1, rate=50.0, concurrency=3)
        assert [Status.TIMEOUT, 1] == [result.status, result.attempts]


@ways
def test_lab_keyword(way: Way) -> None:
    """`lab=True` asks a nameserver of this run's own, which is gone afterwards."""
    before = psutil.Process().children()
    assert [("nx.example", "NXDOMAIN")] == told(way(["nx.example"], lab=True))
    assert before == psutil.Process().children()


BAD: list[tuple[type[Exception], str, Any, dict[str, Any]]] = [
    (ValueError, "valid: gevent, asyncio, threads", [], {"engine": "nope"}),
    (ValueError, "there is no backend 'nope'", [], {"backend": "nope"}),
    (ValueError, "'NOPE' is not a record type", [], {"types": ["NOPE"]}),
    (ValueError, "no record type", [], {"types": []}),
    (ValueError, "'nope' is not an IP address", [], {"nameservers": ["nope"]}),
    (TypeError, "a nameserver is a text", [], {"nameservers": [7]}),
    (ValueError, "timeout must be above 0", [], {"timeout": 0}),
    (ValueError, "query_timeout must be above 0", [], {"query_timeout": float("nan")}),
    (ValueError, "rate must be above 0", [], {"rate": float("inf")}),
    (ValueError, "tries must be above 0", [], {"tries": -1}),
    (TypeError, "tries must be a whole number", [], {"tries": 1.5}),
    (TypeError, "concurrency must be a whole number", [], {"concurrency": True}),
    (TypeError, "timeout must be a number", [], {"timeout": "5"}),
    (ValueError, "does not go with timeout, tries", [], {"policy": Policy(), "timeout": 1, "tries": 2}),
    (TypeError, "policy is a Policy, not dict", [], {"policy": {}}),
    (ValueError, "lab is a nameserver of this run's own", [], {"lab": True, "nameservers": ["127.0.0.1"]}),
    (TypeError, "not int", 7, {}),
    (TypeError, "not bytes", b"a.example", {}),
    (TypeError, "not NoneType", None, {}),
    (TypeError, "not int", ["a.example", 7], {}),
    (TypeError, "not bytes", [b"a.example"], {}),
    (OSError, "No such file", Path("/nonexistent/hosts"), {}),
    (OSError, "directory", Path("/"), {}),
]


@pytest.mark.parametrize("call", [resolve, stream, astream])
@pytest.mark.parametrize(("kind", "sentence", "hosts", "keywords"), BAD)
def test_bad_argument(
    call: Callable[..., object], kind: type[Exception], sentence: str, hosts: Any, keywords: dict[str, Any]
) -> None:
    """It raises at the call, not when the first result is wanted."""
    if not keywords.keys() & {"nameservers", "policy", "lab"}:
        keywords = {**keywords, "nameservers": ["127.0.0.1"]}
    if call is astream and "engine" in keywords:
        sentence = "valid: asyncio"
    with pytest.raises(kind, match=sentence):
        call(hosts, **keywords)


def test_closed_and_unreadable_files(tmp_path: Path) -> None:
    """A file that is closed, or open for writing, is a bad argument."""
    (tmp_path / "list").touch()
    with (tmp_path / "list").open() as file:
        pass
    with pytest.raises(ValueError, match="closed"):
        resolve(file, nameservers=["127.0.0.1"])
    with (tmp_path / "other").open("w") as file, pytest.raises(ValueError, match="not open for reading"):
        stream(file, nameservers=["127.0.0.1"])


@pytest.mark.parametrize("way", [resolved, streamed, astreamed], ids=lambda way: way.__name__)
def test_iterator_that_gives_what_is_no_host(at: str, way: Way) -> None:
    """Of an iterator an element can only be checked when it is met: TypeError then, not a result."""
    with pytest.raises(TypeError, match="a host is a str"):
        way(iter(["a.example", 7]), nameservers=[at])


@pytest.mark.parametrize("way", [resolved, streamed, astreamed], ids=lambda way: way.__name__)
def test_iterator_that_raises(at: str, way: Way) -> None:
    """What the caller's iterator raises comes through as it is."""

    def hosts() -> Iterator[str]:
        yield "a.example"
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        way(hosts(), nameservers=[at])


@ways
def test_a_host_never_raises(way: Way) -> None:
    """A closed port, an address without a route: each lookup has its result, an ERROR with a sentence."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as closed:
        closed.bind(("127.0.0.1", 0))
        where = "{}:{}".format(*closed.getsockname())
    (result,) = way(["a.example"], nameservers=[where], tries=1, query_timeout=0.2)
    assert [Status.ERROR, True] == [result.status, "refused" in (result.error or "")]


# --- Where it runs.


@engines
def test_inside_an_event_loop(at: str, engine: str, elsewhere: dict[str, Any]) -> None:
    """`resolve` and `stream` may be called where a loop runs, also `stream`'s engine asyncio."""

    async def main() -> list[list[tuple[str, str]]]:
        return [
            told(resolve(["a.example"], engine=engine, **elsewhere, nameservers=[at])),
            told(list(stream(["a.example"], engine=engine, **elsewhere, nameservers=[at]))),
        ]

    assert [[("a.example", "NOERROR")]] * 2 == asyncio.run(main())


@engines
def test_in_another_thread(at: str, engine: str, elsewhere: dict[str, Any]) -> None:
    """In a thread that is not the main one it does the same, and bad arguments raise there."""
    assert [("a.example", "NOERROR")] == told(
        in_a_thread(lambda: resolve(["a.example"], engine=engine, **elsewhere, nameservers=[at]))
    )
    assert [("nx.example", "NXDOMAIN")] == told(
        in_a_thread(lambda: list(stream(["nx.example"], engine=engine, **elsewhere, nameservers=[at])))
    )
    with pytest.raises(ValueError, match="no engine"):
        in_a_thread(lambda: resolve([], engine="nope", nameservers=[at]))


@engines
def test_several_at_once(at: str, engine: str, elsewhere: dict[str, Any]) -> None:
    """Runs in several threads at once do not meet."""
    found: dict[int, list[str]] = {}

    def work(number: int) -> None:
        hosts = [f"host-{number}-{each}.example" for each in range(200)]
        found[number] = [
            result.input for result in resolve(hosts, engine=engine, **elsewhere, nameservers=[at]) if result.addresses
        ]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert {number: [f"host-{number}-{each}.example" for each in range(200)] for number in range(4)} == found


def test_several_streams_in_one_loop(at: str) -> None:
    """Streams in one event loop take turns and do not meet."""

    async def main() -> list[list[Result]]:
        runs = (gathered(astream([f"{name}{n}.example" for n in range(50)], nameservers=[at])) for name in "abc")
        return await asyncio.gather(*runs)

    runs = asyncio.run(main())
    assert [{f"{name}{n}.example" for n in range(50)} for name in "abc"] == [{one.input for one in run} for run in runs]


@engines
def test_again_in_one_process(at: str, engine: str, elsewhere: dict[str, Any]) -> None:
    """A second run is like the first."""
    runs = [told(resolve(["a.example", "nx.example"], engine=engine, **elsewhere, nameservers=[at])) for _ in range(2)]
    assert [[("a.example", "NOERROR"), ("nx.example", "NXDOMAIN")]] * 2 == runs


@pytest.mark.parametrize(
    ("engine", "patched"), [("gevent", False), ("threads", False), *((each, True) for each in ENGINES)]
)
def test_in_a_gevent_program(at: str, engine: str, patched: bool, elsewhere: dict[str, Any]) -> None:
    """In a program with gevent, monkey-patched or not, other green threads go on, and every engine works."""
    program = (
        ("from gevent import monkey; monkey.patch_all()\n" if patched else "")
        + "import sys, gevent, gevent.monkey, gevent.pool\nfrom resolver import resolve, stream\n"
        "engine, at, *redis = sys.argv[1:]\nmore = {'redis': redis[0]} if redis else {}\n"
        "ticks = 0\n"
        "def tick():\n    global ticks\n    while True: gevent.sleep(0.01); ticks += 1\n"
        "ticking = gevent.spawn(tick)\n"
        "run = resolve(['slow-200.example'], engine=engine, nameservers=[at], **more)\n"
        "green = ticks\n"
        "ticking.kill()\n"
        "results = stream(['a.example'], engine=engine, nameservers=[at], **more)\n"
        "print(run[0].status, [r.status.value for r in results])\n"
        # asyncio knows one running loop a thread, and patched threads are green threads of one.
        "alone = engine == 'asyncio' and gevent.monkey.is_module_patched('threading')\n"
        "pool = gevent.pool.Pool(1 if alone else 3)\n"
        "ask = lambda name: resolve([name], engine=engine, nameservers=[at], **more)[0]\n"
        "found = pool.map(ask, ['h0.example', 'h1.example', 'h2.example'])\n"
        "print(*[f'{one.input} {one.status}' for one in found])\n"
        "print(green >= 2)\n"
    )
    status, names, green = child(program, engine, at, *elsewhere.values()).splitlines()
    assert ["NOERROR ['NOERROR']", " ".join(f"h{n}.example NOERROR" for n in range(3))] == [status, names]
    # The other engines wait in ways that gevent knows only where it has patched them.
    assert green == "True" or not (engine == "gevent" or patched)


# --- Deadline.


@engines
def test_deadline_of_a_list_and_of_a_generator(silent: str, engine: str, elsewhere: dict[str, Any]) -> None:
    """When the run ends early `resolve` still reads all hosts, of a list and of a generator: each has its result."""
    names = [f"host-{number}.example" for number in range(3000)]
    for hosts in (names, (name for name in names)):
        run = resolve(hosts, engine=engine, **elsewhere, nameservers=[silent], timeout=0.2)
        assert [[(name, "DEADLINE") for name in names], True] == [told(run), run.summary.seconds < 1.8]
        assert ["deadline", True, 3000, 3000] == [run.summary.ended, run.summary.input_complete,
                                                  run.summary.lookups, run.summary.results_written]  # fmt: skip


@pytest.mark.parametrize("way", [streamed, astreamed], ids=lambda way: way.__name__)
def test_deadline_of_a_stream(silent: str, way: Way) -> None:
    """A stream reads a list to its end, but an iterator, which may never end, no further."""

    def endless() -> Iterator[str]:
        while True:
            yield "a.example"

    results = way(endless(), nameservers=[silent], timeout=0.2)
    assert [{"DEADLINE"}, list(range(len(results)))] == [
        {str(result.status) for result in results}, sorted(result.index for result in results),
    ]  # fmt: skip
    assert 3000 == len(way(["a.example"] * 3000, nameservers=[silent], timeout=0.2))


@engines
def test_summary_of_a_run(at: str, engine: str, elsewhere: dict[str, Any]) -> None:
    """A Run has its figures, and they add up."""
    run = resolve(["a.example", "nx.example", "x y"], engine=engine, **elsewhere, nameservers=[at], types=["A", "MX"])
    summary = run.summary
    assert [engine, "wire", 3, 6, 6] == [
        summary.engine, summary.backend, summary.hosts_read, summary.lookups, summary.results_written,
    ]  # fmt: skip
    assert {"INVALID": 2, "NOERROR": 2, "NXDOMAIN": 2} == summary.statuses
    assert [4, "complete", True, None] == [summary.queries_sent, summary.ended, summary.input_complete, summary.note]
    assert summary.seconds > 0


# --- Leaving early.


def used() -> set[object]:
    """Threads, descriptors and children of this process."""
    process = psutil.Process()
    # Each look opens one for itself, of whatever number is free: two looks have it at the same one.
    descriptors = {f"descriptor {each}" for each in os.listdir("/dev/fd")}
    return {*threading.enumerate(), *descriptors, *process.children()}


def gone_since(before: set[object]) -> bool:
    """Wait until nothing is in use that was not before: a thread that reads ahead may need a moment."""
    return wait_for(lambda: used() <= before, "the end of what runs")


def endless() -> Iterator[str]:
    """Hosts without end, of which many get no reply."""
    while True:
        yield from ["a.example", "hang.example"]


@engines
def test_leaving_a_stream(at: str, engine: str, elsewhere: dict[str, Any]) -> None:
    """Closing it stops its thread and closes its sockets, also where the input has no end."""
    for _ in stream(["a.example"], engine=engine, **elsewhere, nameservers=[at]):
        pass  # what an engine's library keeps for good is there from now on
    before = used()
    results = stream(endless(), engine=engine, **elsewhere, nameservers=[at])
    assert [Status.NOERROR, True] == [next(results).status, not used() <= before]
    results.close()
    assert gone_since(before)


def test_leaving_a_stream_with_a_lab() -> None:
    """The lab that was started for a stream ends with it."""
    before = used()
    results = stream(endless(), engine="threads", lab=True)
    assert Status.NOERROR == next(results).status
    results.close()
    assert gone_since(before)


@engines
def test_consumer_that_raises(at: str, engine: str, elsewhere: dict[str, Any]) -> None:
    """An exception in the consumer's loop is the consumer's, and ends the run."""
    list(stream(["a.example"], engine=engine, **elsewhere, nameservers=[at]))
    before = used()

    def consume() -> None:
        for result in stream(endless(), engine=engine, **elsewhere, nameservers=[at]):
            raise ZeroDivisionError(result.input)

    with pytest.raises(ZeroDivisionError):
        consume()
    assert gone_since(before)


def test_leaving_an_astream(at: str) -> None:
    """Closing it closes its sockets at once; the loop goes on."""

    async def main() -> list[object]:
        seen: list[object] = []
        before = used()
        async with contextlib.aclosing(astream(endless(), nameservers=[at])) as results:
            async for result in results:
                seen += [result.status, not used() <= before]
                break
        return [*seen, gone_since(before)]

    assert [Status.NOERROR, True, True] == asyncio.run(main())


def test_cancelled_astream(at: str) -> None:
    """A task that is cancelled while it waits for a result ends at once, and its sockets are closed."""

    async def main() -> bool:
        before = used()
        task = asyncio.create_task(gathered(astream(["hang.example"], nameservers=[at])))
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return gone_since(before)

    assert asyncio.run(main())


def test_stream_that_is_never_begun(at: str, tmp_path: Path) -> None:
    """A stream that nobody reads leaves nothing open once it is forgotten."""
    (tmp_path / "list").write_text("a.example\n")
    before = used()
    for call in (stream, astream):
        results: Any = call(tmp_path / "list", nameservers=[at])
        del results
    assert gone_since(before)


@engines
def test_nothing_stays_open(at: str, engine: str, elsewhere: dict[str, Any]) -> None:
    """After a run there are as many threads and descriptors as before."""
    resolve(["a.example"], engine=engine, **elsewhere, nameservers=[at])
    before = used()
    for _ in range(3):
        resolve(["a.example", "truncated.example"], engine=engine, **elsewhere, nameservers=[at])
    assert gone_since(before)


def test_slow_consumer(at: str) -> None:
    """A consumer that is slow slows the reading of hosts: an iterator is not read far ahead."""
    taken = 0

    def hosts() -> Iterator[str]:
        nonlocal taken
        for number in range(1_000_000):
            taken += 1
            yield f"host-{number}.example"

    results = stream(hosts(), engine="threads", nameservers=[at])
    next(results)
    standing = -1
    while standing != taken:
        standing = taken
        time.sleep(0.3)
    results.close()
    assert taken < 50_000


# --- What importing does.


def test_import_changes_nothing() -> None:
    """Importing loads no engine's library, starts no thread, opens nothing, patches nothing, and takes no signal."""
    program = """
import os, select, signal, socket, sys, threading, time
def state():
    return (threading.active_count(), sorted(os.listdir("/dev/fd")),
            [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE)],
            [socket.socket, select.select, time.sleep, threading.Thread, socket.getaddrinfo], sys.getswitchinterval())
before = state()
from resolver import *
import resolver.api
assert before == state(), (before, state())
engines = {"gevent", "greenlet", "twisted", "redis", "aiodns", "pycares", "rich", "click"}
print(*sorted(engines & {name.split(".")[0] for name in sys.modules}))
"""
    assert "\n" == child(program)


@engines
def test_run_changes_nothing(at: str, engine: str) -> None:
    """A run patches nothing and leaves the signals as they were."""
    program = """
import signal, socket, select, sys, threading, time
def state():
    return ([signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE, signal.SIGCHLD)],
            [socket.socket, select.select, time.sleep, threading.Thread, socket.getaddrinfo])
before = state()
from resolver import resolve
print(resolve(["a.example"], engine=sys.argv[1], nameservers=[sys.argv[2]])[0].status)
assert before == state()
"""
    assert "NOERROR\n" == child(program, engine, at)

"""The engine `processes`, with real children, real signals, and the lab to ask.

Nothing here waits for a fixed time for something to happen: `until` looks again and again, and gives up late.
"""

import math
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest
from children import PATIENCE, POISON, Running, children_of, feed, gone, python, ready, until
from command import second_look

from resolver import Policy, Query, Result, Run, Status, engines, resolve, stream
from resolver.batch import Batch, send_all
from resolver.bits import bits_of
from resolver.blocks import ResultBlock
from resolver.congestion import window
from resolver.input.given import source
from resolver.lab import Lab
from resolver.planning import plan
from resolver.processes import child as child_process
from resolver.processes.child import ChildQueries, Pipe
from resolver.processes.protocol import (
    MESSAGE_OCTETS,
    Begin,
    FromChild,
    Stop,
    Stopped,
    ToChild,
    Unfinished,
    Work,
    decode_from_child,
    decode_to_child,
    frame,
)
from resolver.processes.work_queue import FIRST, shares
from resolver.subprocesses import FrameDecoder
from resolver.wire.oneway import SendCounts

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab() as running:
        yield running


@pytest.mark.parametrize("inner", ["threads", "asyncio", "gevent"])
def test_every_lookup_has_its_one_result_with_any_engine_inside(lab: Lab, inner: str) -> None:
    """Answers, errors, duplicates and lines that cannot be asked come back once each, under the engine's own name."""
    hosts = [f"h{number}.example" for number in range(500)]
    hosts += ["h1.example", "two words", "nx.example", "rcode-12.example", "multi-3.example", "truncated.example"]
    run = resolve(hosts, engine="processes", inner=inner, nameservers=lab.nameserver)
    assert hosts == [result.input for result in run]
    assert list(range(len(hosts))) == [result.index for result in run]
    assert [Status.NOERROR, Status.INVALID, Status.NXDOMAIN, Status("RCODE12"), Status.NOERROR, Status.NOERROR] == [
        result.status for result in run[500:]
    ]
    assert {("processes", "wire")} == {(result.engine, result.backend) for result in run}
    assert 3 == len(run[504].addresses)
    assert "tcp" == run[505].transport
    assert [] == children_of()


def test_inner_belongs_to_this_engine_alone(lab: Lab) -> None:
    """Another engine refuses it, and so does this one where the inner engine cannot ask by itself."""
    with pytest.raises(ValueError, match=r"engine asyncio has no inner engine; those that have one: .*processes"):
        resolve(["a.example"], engine="asyncio", inner="threads", nameservers=lab.nameserver)
    with pytest.raises(ValueError, match="'processes' cannot be the inner engine; valid with backend wire: gevent"):
        resolve(["a.example"], engine="processes", inner="processes", nameservers=lab.nameserver)
    with pytest.raises(ValueError, match="'green' cannot be the inner engine; valid with backend wire: gevent"):
        resolve(["a.example"], engine="processes", inner="green", nameservers=lab.nameserver)


def test_the_command_takes_the_inner_engine() -> None:
    """--inner reaches the children; a wrong one is a usage error."""
    command = [sys.executable, "cli.py", "--lab", "-e", "processes", "a.example"]
    good = subprocess.run([*command, "--inner", "asyncio"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (0, "") == (good.returncode, good.stderr)
    wrong = subprocess.run([*command, "--inner", "gevnt"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (2, "") == (wrong.returncode, wrong.stdout)


@pytest.mark.parametrize("backend", ["wire", "dnspython"])
def test_the_rate_is_shared(lab: Lab, backend: str) -> None:
    """Each child has a share of the rate, and no more of the list than it can send at that: none ends long after."""
    hosts = [f"h{number}.example" for number in range(120)]

    def seconds() -> float:
        with ready(lab, hosts, 4, rate=100) as prepared:
            _, asker = engines.find("processes", backend)
            summary = Batch(prepared._replace(backend=asker), lambda results: None).run()
        assert {"NOERROR": 120} == summary.statuses
        return summary.seconds

    # So long at that rate, and what starting the children takes; a child that has half of the list takes twice as long.
    assert 1.1 < second_look(seconds, lambda taken: taken < 2.2) < 2.2


@pytest.mark.parametrize(("hosts", "expected"), [(FIRST, 1), (FIRST * 2 + 1, 3), (FIRST * 20, 4)])
def test_no_more_children_than_chunks(lab: Lab, hosts: int, expected: int) -> None:
    """A short list starts a child for each of its first chunks, a long one as many as are allowed."""
    running = Running(ready(lab, [f"slow-300.x{number}.example" for number in range(hosts)], children=4))
    most = 0

    def finished() -> bool:
        nonlocal most
        most = max(most, len(children_of()))
        return len(running.results) == hosts

    until(finished)
    running.join()
    assert expected == most


def test_an_empty_list_ends_at_once(lab: Lab) -> None:
    """No host, no result, no child left."""
    run = resolve([], engine="processes", nameservers=lab.nameserver)
    assert ([], "complete") == (list(run), run.summary.ended)
    assert [] == children_of()


def test_a_killed_child_loses_nothing(lab: Lab) -> None:
    """What the child had open is asked again elsewhere; each lookup has one result, and it is NOERROR."""
    hosts = [f"slow-400.k{number}.example" for number in range(300)]
    before = lab.counts().received
    running = Running(ready(lab, hosts, query_timeout=8))
    until(lambda: lab.counts().received - before > 100)
    victim = children_of()[0]
    victim.kill()
    until(lambda: any(each != victim for each in children_of()) and not victim.is_running())
    running.join()
    assert list(range(300)) == sorted(index for index, *_ in running.results)
    assert Counter({Status.NOERROR: 300}) == running.statuses
    # How often the dead child had asked is not known.
    assert None in {attempts for _, _, attempts, _ in running.results}
    assert {"NOERROR": 300} == running.summary.statuses


def test_a_lookup_that_kills_three_children_is_given_up(lab: Lab) -> None:
    """It is an ERROR with a sentence, and everything else has its answer."""
    hosts = ["hang.poison.example", *(f"p{number}.example" for number in range(100))]
    before = lab.counts().received
    running = Running(ready(lab, hosts, children=1, query_timeout=60, tries=1))
    until(lambda: len(running.results) == 100)
    for asked in (101, 102, 103):
        while lab.counts().received - before < asked:
            time.sleep(0.01)
        children_of()[0].kill()
    running.join()
    assert Counter({Status.NOERROR: 100, Status.ERROR: 1}) == running.statuses
    error = "3 processes died while they looked this up, or another of the same chunk"
    assert [(0, Status.ERROR, None, error)] == [each for each in running.results if each[1] is Status.ERROR]


def test_children_that_cannot_start_end_the_run(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """After three, each lookup says so; there is no fourth."""
    monkeypatch.setattr(sys, "executable", "/bin/false")
    run = resolve(["a.example", "b.example"], engine="processes", nameservers=lab.nameserver)
    assert [Status.ERROR, Status.ERROR] == [result.status for result in run]
    assert "its children end before they can begin (exit status 1)" in (run[0].error or "")


def test_the_deadline_reaches_the_children(lab: Lab) -> None:
    """It ends the run in time, and each result tells how far its lookup came, also where it was never asked."""
    hosts = [f"hang.d{number}.example" for number in range(200)]

    def look() -> Run:
        # Of one child, which is ready before the time of the run begins.
        results: list[Result] = []
        with ready(lab, hosts, children=1, timeout=0.6, concurrency=40, tries=1) as prepared:
            return Run(results, Batch(prepared, results.extend).run())

    run = second_look(look, lambda run: run.summary.seconds < 0.6 + 0.15)
    assert {Status.DEADLINE} == {result.status for result in run}
    assert run.summary.seconds < 0.6 + 0.15
    assert Counter({0: 160, 1: 40}) == Counter(result.attempts for result in run)
    assert all(0 < (result.elapsed or 0) < 0.6 + 0.15 for result in run if result.attempts)
    assert [] == children_of()


def test_the_deadline_does_not_wait_for_a_child_that_is_stuck(lab: Lab) -> None:
    """A child that says nothing any more is killed, and how often it asked is unknown."""
    running = Running(ready(lab, ["hang.stuck.example"], timeout=0.4, tries=1))
    until(children_of)
    child = children_of()[0]
    before = lab.counts().received
    until(lambda: lab.counts().received > before or running.results)
    child.suspend()
    running.join()
    assert [(0, Status.DEADLINE, None)] == [each[:3] for each in running.results]
    assert gone([child])


def test_cancelling_reaches_the_children(lab: Lab) -> None:
    """Each lookup is CANCELLED, and tells that it was asked once."""
    before = lab.counts().received
    prepared = ready(lab, [f"hang.c{number}.example" for number in range(20)], tries=1)
    running = Running(prepared)
    until(lambda: lab.counts().received - before == 20)
    prepared.deadline.cancel()
    running.join()
    assert {(Status.CANCELLED, 1)} == {each[1:3] for each in running.results}
    assert [] == children_of()


def command(lab: Lab, tmp_path: Path, *options: str) -> subprocess.Popen[bytes]:
    """The command, with lookups that hang, in a process group of its own."""
    hosts = tmp_path / "hosts"
    hosts.write_text("".join(f"hang.g{number}.example\n" for number in range(50)))
    arguments = ["cli.py", str(hosts), "-e", "processes", "-n", lab.nameserver, "--query-timeout", "60", *options]
    before = lab.counts().received
    process = subprocess.Popen([sys.executable, *arguments], cwd=ROOT, start_new_session=True)
    until(lambda: lab.counts().received - before >= 50)
    return process


def test_ctrl_c_ends_in_order(lab: Lab, tmp_path: Path) -> None:
    """SIGINT to the whole process group, as a terminal sends it: every result is written, and no child stays."""
    process = command(lab, tmp_path, "-o", str(tmp_path / "results.jsonl"))
    children = children_of(process.pid)
    os.killpg(process.pid, signal.SIGINT)
    assert 130 == process.wait(PATIENCE)
    results = [msgspec.json.decode(line) for line in (tmp_path / "results.jsonl").read_bytes().splitlines()]
    assert [("CANCELLED", 1)] * 50 == [(result["status"], result["attempts"]) for result in results]
    assert children
    until(lambda: gone(children))


def test_no_orphan_is_left_when_the_parent_is_killed(lab: Lab, tmp_path: Path) -> None:
    """The children end by themselves, in the middle of lookups that hang."""
    process = command(lab, tmp_path)
    children = children_of(process.pid)
    process.kill()
    process.wait()
    assert children
    until(lambda: gone(children))


SCRIPT = """
import sys, threading
print("once")
{patch}
from resolver import resolve, stream
run = resolve(["a.example"], engine="processes", nameservers={nameserver!r})
print(*[result.status for result in run])
print(*[result.status for result in stream(["a.example", "b.example"], engine="processes", nameservers={nameserver!r})])
work = lambda: print(*[r.status for r in resolve(["nx.example"], engine="processes", nameservers={nameserver!r})])
thread = threading.Thread(target=work)
thread.start()
thread.join()
print(sys.stdin.read(), end="")
"""


@pytest.mark.parametrize("patch", ["", "from gevent import monkey; monkey.patch_all()"], ids=["plain", "gevent"])
def test_a_script_needs_no_guard(lab: Lab, tmp_path: Path, patch: str) -> None:
    """It runs once, its standard input and output stay its own; also with gevent's patches, in a thread, repeatedly."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(nameserver=lab.nameserver, patch=patch))
    ran = subprocess.run(
        [sys.executable, script],
        input="all of it\n",
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE * 2,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert ("once\nNOERROR\nNOERROR NOERROR\nNXDOMAIN\nall of it\n", "", 0) == (ran.stdout, ran.stderr, ran.returncode)


def test_a_slow_consumer_slows_the_reading(lab: Lab) -> None:
    """While nobody takes results, the hosts are not read on without end."""
    read = 0

    def hosts() -> Iterator[str]:
        nonlocal read
        for number in range(1_000_000):
            read += 1
            yield f"b{number}.example"

    results = stream(hosts(), engine="processes", nameservers=lab.nameserver)
    for _ in range(10):
        next(results)
    seen = -1
    while seen != read:
        seen = read
        time.sleep(0.4)
    results.close()
    assert read < 50_000
    assert [] == children_of()


def test_concurrency_and_rate_are_shared_out() -> None:
    """The shares add up to the run's, whatever the number of children."""
    policy = Policy(concurrency=10, rate=30.0, timeout=5.0)
    split = shares(policy, 4)
    assert [3, 3, 2, 2] == [share.concurrency for share in split]
    assert [7.5] * 4 == [share.rate for share in split]
    assert 1000 == sum(share.in_flight for share in shares(Policy(), 3))


def test_concurrency_below_the_number_of_children_is_kept(lab: Lab) -> None:
    """Two at once are two at once: eight lookups of 100 ms take at least 400 ms."""
    with ready(lab, [f"slow-100.two{number}.example" for number in range(8)], 4, concurrency=2) as prepared:
        summary = Batch(prepared, lambda results: None).run()
    assert {"NOERROR": 8} == summary.statuses
    assert summary.seconds >= 0.4


def test_fire_and_forget_goes_through_the_children(lab: Lab) -> None:
    """Every query goes out once, and is counted once."""
    hosts = [f"f{number}.example" for number in range(2000)]
    before = lab.counts().received
    policy = Policy(nameservers=(lab.nameserver,), rate=20_000.0)
    with plan([source(hosts)], "processes", "wire", ("A",), policy, one_way=True) as prepared:
        summary = send_all(prepared, SendCounts())
    assert (2000, 2000, "complete") == (summary.lookups, summary.queries_sent, summary.ended)
    until(lambda: lab.counts().received - before == 2000)
    assert [] == children_of()


def test_two_runs_at_once(lab: Lab) -> None:
    """Runs in two threads do not meet."""
    runs: dict[str, Run] = {}

    def work(name: str) -> None:
        hosts = [f"{name}{number}.example" for number in range(100)]
        runs[name] = resolve(hosts, engine="processes", nameservers=lab.nameserver)

    threads = [threading.Thread(target=work, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [f"a{number}.example" for number in range(100)] == [result.input for result in runs["a"]]
    assert [f"b{number}.example" for number in range(100)] == [result.input for result in runs["b"]]


def test_frames_come_through_in_any_pieces() -> None:
    """Messages are whole again, cut anywhere or several at once."""
    first = Work(float("inf"), [Query(3, "Bücher.example", "xn--bcher-kva.example.", "A")])
    octets = bytes(frame(first) + frame(Work(0.5, [])))
    one_by_one: FrameDecoder[ToChild] = FrameDecoder(decode_to_child)
    assert [first, Work(0.5, [])] == [message for octet in octets for message in feed(one_by_one, bytes([octet]))]
    at_once: FrameDecoder[FromChild] = FrameDecoder(decode_from_child)
    left = Stopped([Unfinished(1, None, None), Unfinished(2, 1, 0.25)])
    assert [left, left] == feed(at_once, bytes(frame(left) * 2))


class WatchedPipe(Pipe):
    """A child's end of a pipe that notes for how long it was waited for, and does something meanwhile."""

    def __init__(self, end: socket.socket) -> None:
        super().__init__(end)
        self.waits: list[float] = []
        self.meanwhile: Callable[[], object] = lambda: None

    def receive(self, seconds: float = 0.0) -> deque[ToChild]:
        if seconds:
            self.waits.append(seconds)
            self.meanwhile()
        return super().receive(seconds)


BEGIN = Begin(Policy(), "processes", 1, send_only=False)


@contextmanager
def piped() -> Iterator[tuple[ChildQueries, WatchedPipe, socket.socket]]:
    """The queries of a child, its pipe, and the parent's end of that."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        pipe = WatchedPipe(theirs)
        yield ChildQueries(pipe, BEGIN, "wire"), pipe, ours


def test_a_child_with_nothing_in_hand_waits_for_its_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes on as soon as there is something to ask; an engine waits less where more queries are likely to come."""
    query = Query(3, "", "a.example", "A")
    clock = SimpleNamespace(now=1000.0)
    clock.monotonic = lambda: clock.now
    monkeypatch.setattr(child_process, "time", clock)
    with piped() as (queries, pipe, parent):
        pipe.meanwhile = lambda: parent.sendall(frame(Work(math.inf, [query])))
        assert 0.0 == queries.max_wait()
        assert [query] == queries.take(5)
        soon = queries.max_wait()
        clock.now += 1.0
        assert 0.0 < soon < queries.max_wait() <= 0.1
        assert 1 == len(pipe.waits)


def test_a_child_that_was_stopped_waits_no_more() -> None:
    """Neither for queries nor for the end of a wait."""
    with piped() as (queries, pipe, parent):
        parent.sendall(frame(Stop()))
        queries.max_wait()
        assert queries.ended
        pipe.waits.clear()
        for _ in range(5):
            assert [] == queries.take(5)
            assert 0.0 == queries.max_wait()
        assert [] == pipe.waits


def test_a_child_that_left_at_the_deadline_is_stopped_once() -> None:
    """The word to stop may come after it left; it is not taken for the next run's, and what comes behind it is kept."""
    with piped() as (queries, pipe, parent):
        parent.sendall(frame(Work(0.0, [Query(3, "", "a.example", "A")])))
        until(lambda: queries.ended)
        parent.sendall(frame(Work(0.0, [])) + frame(Stop()) + frame(BEGIN) + frame(Work(1.0, [])))
        queries.finish()
        assert [BEGIN, Work(1.0, [])] == [pipe.first(), pipe.first()]
        frames = FrameDecoder(decode_from_child)
        assert [Stopped([Unfinished(3, 0, None)])] == feed(frames, parent.recv(1 << 16))


def failed(index: int, error: str = "x") -> Result:
    """A result of which only the index and the error matter."""
    return Query(index, "", "a.example", "A").unanswered(Status.ERROR, error, "e", "b")


def test_large_results_come_in_parts() -> None:
    """A report to the coordinator is bounded; so are the blocks that it is made of, unless one result is as large."""
    results = [failed(index, "x" * 5000) for index in range(600)]
    results[300].error = "x" * (2 * MESSAGE_OCTETS)
    messages: list[FromChild] = []

    def read(parent: socket.socket) -> None:
        frames = FrameDecoder(decode_from_child)
        while not (messages and isinstance(messages[-1], Stopped)):
            messages.extend(feed(frames, parent.recv(1 << 16)))

    with piped() as (queries, _, parent):
        reader = threading.Thread(target=read, args=[parent])
        reader.start()
        parent.sendall(frame(Work(math.inf, [Query(index, "", "a.example", "A") for index in range(600)])))
        until(lambda: queries.take(600))
        queries.deliver(results)
        parent.sendall(frame(Stop()))
        queries.finish()
        reader.join(PATIENCE)
    blocks = [message for message in messages if isinstance(message, ResultBlock)]
    assert results == [result for block in blocks for result in block.results()]
    assert len(blocks) > 5
    assert [bits_of([300])] == [block.bits for block in blocks if len(block.body) > MESSAGE_OCTETS]
    assert {"ERROR": 600} == sum((Counter(block.statuses) for block in blocks), Counter())


def test_poison_is_found(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lookup that kills every child is given up as an ERROR with its neighbours; all others have their answers."""
    python(tmp_path, monkeypatch, POISON)
    hosts = [f"p{number}.example" for number in range(300)]
    hosts[150] = "poison.example"
    with ready(lab, hosts) as prepared:
        results: list[Result] = []
        Batch(prepared, results.extend).run()
    assert list(range(300)) == sorted(result.index for result in results)
    broken = [result for result in results if result.status is not Status.NOERROR]
    assert 150 in {result.index for result in broken}
    assert len(broken) <= FIRST
    error = "3 processes died while they looked this up, or another of the same chunk"
    assert {(Status.ERROR, error)} == {(result.status, result.error) for result in broken}


def test_children_that_die_of_everything_end_the_run(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run does not go on for ever: after some deaths without a result between, each lookup says so."""
    python(tmp_path, monkeypatch, "child.ChildQueries.take = lambda self, n: os._exit(9)")
    with ready(lab, [f"v{number}.example" for number in range(5000)]) as prepared:
        results: list[Result] = []
        Batch(prepared, results.extend).run()
    assert list(range(5000)) == sorted(result.index for result in results)
    assert {Status.ERROR} == {result.status for result in results}
    assert "without a result (exit status 9)" in (results[-1].error or "")


def test_the_deadline_begins_when_a_child_is_up(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long children take to start, a lookup has the time that the run was given."""
    gate = tmp_path / "gate"
    python(tmp_path, monkeypatch, f'while not os.path.exists("{gate}"): time.sleep(0.01)')
    with ready(lab, ["a.example"], timeout=0.5) as prepared:
        opener = threading.Timer(0.6, gate.touch)  # when the run would be over, were its time to begin before
        opener.start()
        summary = Batch(prepared, lambda results: None).run()
    assert ({"NOERROR": 1}, "complete") == (summary.statuses, summary.ended)


@pytest.mark.parametrize(("parties", "each"), [(1, window.FIRST // 4), (16, window.FIRST // 16)])
def test_the_children_share_the_nameserver(lab: Lab, parties: int, each: int) -> None:
    """Together they have no more in flight at first than one process would, nor with others that are elsewhere."""
    before = lab.counts().received
    hosts = [f"hang.w{number}.example" for number in range(1000)]
    with ready(lab, hosts, 4, parties, timeout=0.8, query_timeout=30.0, tries=1) as prepared:
        summary = Batch(prepared, lambda results: None).run()
    assert {"DEADLINE": 1000} == summary.statuses
    # Those that are up by then: all of them, unless the machine is very busy.
    assert lab.counts().received - before in {each * children for children in (1, 2, 3, 4)}


def test_a_window_of_several_parties_is_a_part() -> None:
    """The first window and the largest on a short path are divided, and never less than the smallest there is."""
    assert window.FIRST == window.Window(1000, 1.0).size
    assert window.FIRST / 4 == window.Window(1000, 1.0, 4).size
    assert window.SMALLEST == window.Window(1000, 1.0, 1000).size


def test_the_environment_s_inner_engine_is_for_runs_that_have_one(lab: Lab) -> None:
    """RESOLVE_INNER disturbs no other engine; where it is meant, or given as an option, it is checked."""
    at = ["-n", lab.nameserver, "-f", "text", "a.example"]

    def status(*options: str, **environ: str) -> int:
        environment = {**os.environ, **environ}
        arguments = [sys.executable, "cli.py", *options, *at]
        return subprocess.run(arguments, cwd=ROOT, env=environment, capture_output=True, check=False).returncode

    assert [0, 0] == [status("-e", "threads", RESOLVE_INNER=inner) for inner in ("asyncio", "gevnt")]
    assert [0, 2] == [status("-e", "processes", RESOLVE_INNER=inner) for inner in ("asyncio", "gevnt")]
    assert 2 == status("-e", "threads", "--inner", "asyncio")

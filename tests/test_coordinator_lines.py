"""Chunks of lines by the coordinator's rules: results pass unopened where nobody else can have asked."""

import time
from collections import Counter, deque
from typing import Any

import pytest
from encoded import block_encoder
from play import Play

from resolver import Policy, Query, Result, Status
from resolver.batch import Batch
from resolver.bits import indices_of
from resolver.blocks import BlockSink, HostLines, LineFormat, ResultBlock
from resolver.distributed import engine
from resolver.distributed.connection import RunConnection, Snapshot
from resolver.distributed.outstanding import Order
from resolver.distributed.payload import MAX_OCTETS, ChunkReport, decode_chunk, decode_report, encode_report
from resolver.input.plain import lookups_of
from resolver.input.sources import LineSource
from resolver.planning import plan
from resolver.processes.protocol import Unfinished

WRITE = block_encoder(LineFormat("jsonl"))


class LinePlay(Play):
    """A play whose chunks are lines, of which each fifth cannot be asked."""

    def send(self, number: int) -> Order:
        """Send a chunk of so many lines."""
        names = ["a..b" if n % 5 == 4 else f"h{n}.example" for n in range(self.next, self.next + number)]
        lines = HostLines.of(self.next, "".join(f"{name}\n" for name in names).encode(), "A")
        self.next += number
        return self.coordinator.launch(lines, self.now)

    def results(self, order: Order, *numbers: int, attempts: int = 1) -> list[Result]:
        """What a worker finds for these lookups of an order, or for all."""
        if order.lines is None:
            queries = order.queries
            invalid: list[Result] = []
        else:
            queries, invalid = lookups_of(order.lines, "redis", "wire")
        found = [query.unanswered(Status.NXDOMAIN, "", "redis", "wire") for query in queries]
        for result in found:
            result.attempts = attempts
        return [each for each in [*found, *invalid] if not numbers or each.index in numbers]

    def report(self, order: Order, *numbers: int, worker: str = "a", **more: Any) -> list[Result]:
        """A worker reports of these lookups, as lines; returns the results that were opened and count."""
        block = [WRITE(self.results(order, *numbers))] if numbers else []
        counted = self.coordinator.on_report(
            ChunkReport(order.number, order.copy, worker, lines=block, **more), self.now
        )
        self.came += counted
        return counted

    @property
    def passed(self) -> list[int]:
        """The indices of what passed unopened so far."""
        return [index for block in self.coordinator.blocks for index in indices_of(block.bits)]

    @property
    def indices(self) -> list[int]:
        """The indices of all that counts so far, in order."""
        return sorted([*self.passed, *(result.index for result in self.came)])


def test_lines_pass_unopened() -> None:
    """Blocks of a chunk that one worker has are not looked at; with the last one it is done."""
    play = LinePlay(a=1)
    order = play.send(10)
    assert order.lines is not None
    assert ([], []) == (play.report(order, 0, 1, 4), play.report(order, 9, *range(5, 8)))
    assert [0, 1, 4, 5, 6, 7, 9] == sorted(play.passed)
    play.report(order, 2, 3, 8, over="done")
    assert list(range(10)) == play.indices
    assert play.coordinator.idle
    assert ([], []) == (play.came, play.put_back)


@pytest.mark.parametrize("odd", [[0, 1], [5, 5], [700]], ids=["once more", "twice", "not asked"])
def test_a_block_is_taken_whole_or_opened(odd: list[int]) -> None:
    """Of one that holds what is not awaited, the results that are count; the others do not, nor twice."""
    play = LinePlay(a=1)
    order = play.send(10)
    play.report(order, 0, 1)
    strange = [Query(n, "", f"h{n}.example.", "A").unanswered(Status.NXDOMAIN, "", "redis", "wire") for n in odd]
    block = WRITE([*strange, *play.results(order, 8)])
    play.came += play.coordinator.on_report(ChunkReport(order.number, order.copy, "a", lines=[block]), play.now)
    assert sorted({0, 1, 8, *odd} - {700}) == play.indices
    play.report(order, *range(10), over="done")
    play.wait(1.0)
    assert list(range(10)) == play.indices
    assert play.coordinator.idle


def test_a_dead_worker_s_lines() -> None:
    """What it left is read and sent again as queries, whose attempts are not known; what is no name has its result."""
    play = LinePlay(a=1, b=1)
    order = play.send(10)
    play.report(order, 0, 1, 2)
    play.die("a")
    (again,) = play.resends()
    assert (None, [3, 5, 6, 7, 8]) == (again.lines, [query.index for query in again.queries])
    assert [None] * 5 == [query.attempts for query in again.queries] == [query.attempts for query in play.put_back]
    play.wait(1.0)
    assert [(4, Status.INVALID), (9, Status.INVALID)] == [(each.index, each.status) for each in play.came]
    # It was not dead after all: what it says now may have been asked by the other one too.
    late = play.report(order, 3, 4, 5)
    assert [(3, None), (5, None)] == [(each.index, each.attempts) for each in late]
    play.report(again, 5, 6, 7, 8, worker="b", over="done")
    assert list(range(10)) == play.indices
    assert ["h3.example", "h5.example"] == [each.input for each in late]
    assert play.coordinator.idle


def test_lines_given_back() -> None:
    """A worker that leaves says how far each came; the rest is sent again as queries that know it."""
    play = LinePlay(a=1, b=1)
    order = play.send(10)
    play.report(order, 0, over="back", sentence="leaving", unfinished=[Unfinished(3, 1, 0.5)])
    (again,) = play.resends()
    assert [1, 2, 3, 5, 6, 7, 8] == [query.index for query in again.queries]
    assert {3: play.now - 0.5} == {query.index: query.asked for query in again.queries if query.asked is not None}


def test_lines_of_which_none_can_be_asked() -> None:
    """Where only such are left of a lost chunk, nothing is sent again, and they have their results."""
    play = LinePlay(a=1, b=1)
    order = play.send(10)
    play.report(order, *(n for n in range(10) if n % 5 != 4))
    play.die("a")
    assert [] == play.resends()
    play.wait(1.0)
    assert list(range(10)) == play.indices
    assert play.coordinator.idle


def test_lines_whose_run_ends() -> None:
    """Those that a worker has begun are read, so that each can say that it may have been asked."""
    play = LinePlay(a=1)
    begun, waiting = play.send(5), play.send(5)
    play.report(begun, 0)
    assert [1, 2, 3] == [query.index for query in play.coordinator.begun()]
    assert [1, 2, 3] == [query.index for query in play.put_back]
    assert waiting.lines is not None


class Exchange(RunConnection):
    """What a run has in place of its Redis: a worker that reports of its first chunk when another one has come."""

    def start(self) -> None:
        self.reports: list[ChunkReport] = []
        self.alone = True
        self.inbox.put(Snapshot({"a": 4}, 0, time.monotonic(), 0.0, {}, returned=False))

    def send(self, text: str, _: str) -> None:
        chunk, work = decode_chunk(text)
        assert isinstance(work, HostLines)
        queries, invalid = lookups_of(work, "redis", "wire")
        block = WRITE([*invalid, *(query.unanswered(Status.NXDOMAIN, "", "redis", "wire") for query in queries)])
        self.reports.append(ChunkReport(chunk.number, chunk.copy, "a", lines=[block], over="done"))
        if not self.alone:
            self.inbox.put(self.reports)
            self.reports = []
        self.alone = False

    def stop(self) -> bool:
        return False

    def close(self) -> None:
        pass


def test_lines_that_do_not_follow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a slow pipe, lines are held for more; what is read behind a line that is none keeps its own index."""
    monkeypatch.setattr(engine, "RunConnection", Exchange)
    monkeypatch.setattr(engine, "LINGER", 60.0)
    reads = deque([b"h0.example\n", b"h1.example\n", b"two words\n", b"h3.example\n", b"h4.example\n", b""])
    there = deque([reads.popleft()])

    def tick() -> None:
        """Have the next read give something, after one that gave nothing."""
        if not there and reads:
            there.append(reads.popleft())

    given = LineSource(lambda: there.popleft() if there else None)
    found: list[tuple[int, str, str]] = []

    def take(results: list[Result]) -> None:
        found.extend((each.index, each.input, str(each.status)) for each in results)

    asked = plan([given], "gevent", "wire", ("A",), Policy(nameservers=("127.0.0.1:9",)))
    lines = BlockSink(LineFormat("jsonl"), lambda block: take(block.results()))
    with asked._replace(engine=engine.RedisEngine("redis://127.0.0.1:9")) as ready:
        Batch(ready, take, tick=tick, lines=lines).run()
    names = [(n, f"h{n}.example", "NXDOMAIN") for n in (0, 1, 3, 4)]
    assert [*names[:2], (2, "two words", "INVALID"), *names[2:]] == sorted(found)


class CountingExchange(Exchange):
    """One whose worker takes queries too, and which counts the chunks."""

    chunks = 0

    def send(self, text: str, _: str) -> None:
        chunk, work = decode_chunk(text)
        queries, invalid = lookups_of(work, "redis", "wire") if isinstance(work, HostLines) else (work, [])
        block = WRITE([*invalid, *(query.unanswered(Status.NXDOMAIN, "", "redis", "wire") for query in queries)])
        self.inbox.put([ChunkReport(chunk.number, chunk.copy, "a", lines=[block], over="done")])
        CountingExchange.chunks += 1


def test_lines_between_queries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where some lines are no plain ones, those between are sent as queries beside them: chunks stay as large."""
    monkeypatch.setattr(engine, "RunConnection", CountingExchange)
    chunks = []
    for odd in ("plain.example", "bücher.example"):
        CountingExchange.chunks = 0
        reads = [f"h{n}.example\n" * 39 + f"{odd if n % 2 else 'a.example'}\n" for n in range(125)]
        given = LineSource(deque([*map(str.encode, reads), b""]).popleft)
        asked = plan([given], "gevent", "wire", ("A",), Policy(nameservers=("127.0.0.1:9",)))
        lines = BlockSink(LineFormat("jsonl"), lambda block: None)
        with asked._replace(engine=engine.RedisEngine("redis://127.0.0.1:9")) as ready:
            assert 5000 == Batch(ready, lambda results: None, lines=lines).run().results_written
        chunks.append(CountingExchange.chunks)
    plain, mixed = chunks
    assert mixed <= plain + 2, chunks


def test_lines_that_are_too_long_for_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    """They go in several: a worker would refuse what is larger than a message, and with it every name among them."""
    monkeypatch.setattr(engine, "RunConnection", Exchange)
    long = b"a" * 900_000 + b"\n"
    reads = deque([long] * (MAX_OCTETS // len(long) + 2) + [b""])
    statuses: Counter[str] = Counter()
    asked = plan([LineSource(reads.popleft)], "gevent", "wire", ("A",), Policy(nameservers=("127.0.0.1:9",)))
    lines = BlockSink(LineFormat("jsonl"), lambda block: statuses.update(block.statuses))
    with asked._replace(engine=engine.RedisEngine("redis://127.0.0.1:9")) as ready:
        Batch(ready, lambda results: None, lines=lines).run()
    assert {"INVALID": MAX_OCTETS // len(long) + 2} == statuses


def test_lines_are_joined_to_those_that_they_follow() -> None:
    """Other lines would have the indices of others: they are refused."""
    lines = HostLines.of(3, b"a\nb\n", "A")
    assert [3, 4, 5] == [*lines.then(HostLines.of(5, b"c\n", "A")).indices]
    for apart in (HostLines.of(6, b"c\n", "A"), HostLines.of(4, b"c\n", "A"), HostLines.of(5, b"c\n", "MX")):
        with pytest.raises(ValueError, match="do not follow"):
            lines.then(apart)


def test_results_beside_lines() -> None:
    """A worker writes some itself, as they are: these count at once, and nothing of the chunk is asked again."""
    play = LinePlay(a=1, b=1)
    order = play.send(10)
    killers = play.results(order, 3, 5)
    for result in killers:
        result.status, result.error = Status.ERROR, "3 processes died while they looked this up"
    beside = [*killers, *play.results(order, 4)]
    assert killers == play.report(order, *range(3), 6, 7, 8, results=[beside], over="done")
    assert [] == play.resends()
    play.wait(1.0)
    assert list(range(10)) == play.indices
    assert ["h3.example", "h5.example"] == [result.input for result in killers]
    assert ([], True) == (play.coordinator.recovered, play.coordinator.idle)


def test_lines_that_are_no_results() -> None:
    """Those that have to be opened, and say nothing but their index, are dropped; the run goes on."""
    play = LinePlay(a=1)
    order = play.send(5)
    block = ResultBlock(statuses={"NOERROR": 2}, count=2, queries=2, lines=True, body=b'{"index":7}\n{"index":0}\n')
    block.number([7, 0])
    lie = decode_report(encode_report(ChunkReport(order.number, 0, "a", lines=[block])))
    assert [] == play.coordinator.on_report(lie, play.now)
    assert ["lines of chunk 0 are dropped, since they are no results"] == play.coordinator.recovered
    play.report(order, *range(5), over="done")
    play.wait(1.0)
    assert list(range(5)) == play.indices
    assert play.coordinator.idle

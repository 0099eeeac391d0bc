"""Lines that pass through a process unopened: lists on their way to other processes, and results on their way back."""

import csv
import io
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from children import POISON, Running, children_of, feed, python, ready, until
from command import inside
from encoded import block_encoder
from hypothesis import given
from hypothesis import strategies as st

from resolver import Query, Result, Status, blocks
from resolver.batch import Batch
from resolver.bits import bits_of, bits_of_range, indices_of
from resolver.blocks import BlockSink, HostLines, LineFormat, OpenLookups, ResultBlock
from resolver.input.hosts import Hosts
from resolver.input.plain import lookups_of
from resolver.input.sources import LineSource
from resolver.lab import Lab
from resolver.output.blocks import BlockMaker, line_format
from resolver.output.selection import Differing, Selection
from resolver.processes.protocol import FromChild, block_frame, decode_from_child
from resolver.subprocesses import FrameDecoder

PAD = "a" * 60  # long names: a list of few hosts is read in several blocks
INVALID = f"empty..label.{PAD}"


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab() as running:
        yield running


def write(path: Path, names: list[str]) -> Path:
    """A list of these hosts."""
    path.write_text("".join(f"{name}.{PAD}.example\n" for name in names))
    return path


def hosts_of(octets: bytes, types: tuple[str, ...] = ("A",)) -> Hosts:
    """The lookups of this list, read 4 kB at a time."""
    stream = io.BytesIO(octets)
    return Hosts([LineSource(lambda: stream.read(4096), total=len(octets))], types, "e", "b")


def whole(hosts: Hosts, n: int, *, lines: bool) -> tuple[list[Any], int]:
    """All lookups in their order, `n` at a time, and how many of them were taken as lines."""
    found: list[Any] = []  # Query or Result
    by_line = 0
    while True:
        if lines and (taken := hosts.take_lines(n)) is not None:
            assert 0 < len(taken.indices) <= n
            queries, invalid = lookups_of(taken, "e", "b")
            assert sorted([*taken.indices]) == sorted(
                [query.index for query in queries] + [result.index for result in invalid]
            )
            by_line += len(taken.indices)
        elif (got := hosts.take(n)) is not None:
            queries, invalid = got
        else:
            return sorted(found, key=lambda each: each.index), by_line
        found += [*queries, *invalid]


PLAIN = st.text("abZ09._-", min_size=1, max_size=70)
OTHER = st.sampled_from(["", "# comment", "a.example # why", "two words", "bücher.example", "192.0.2.0/30", "\t"])


@given(st.lists(PLAIN | OTHER | PLAIN, max_size=200), st.integers(1, 400))
def test_lines_are_the_lookups_that_they_stand_for(texts: list[str], n: int) -> None:
    """A list gives the same lookups under the same indices, whether they are taken as lines or one by one."""
    octets = "".join(f"{text}\n" for text in texts).encode()
    expected, hosts = hosts_of(octets), hosts_of(octets)
    assert whole(expected, n, lines=False)[0] == whole(hosts, n, lines=True)[0]
    assert (expected.lookups, expected.hosts_read) == (hosts.lookups, hosts.hosts_read)
    assert expected.position() == hosts.position()


@given(st.lists(PLAIN, min_size=1, max_size=200), st.integers(1, 400))
def test_a_plain_list_is_taken_as_lines(texts: list[str], n: int) -> None:
    """All of it, where each line is one lookup of the type; none where there are several types."""
    octets = "".join(f"{text}\n" for text in texts).encode()
    assert len(texts) == whole(hosts_of(octets), n, lines=True)[1]
    assert 0 == whole(hosts_of(octets, ("A", "AAAA")), n, lines=True)[1]


@given(st.data())
def test_what_is_open_is_what_has_no_result(data: st.DataObject) -> None:
    """Lookups are taken out one by one, or by the block: all of one, each once, or none; lines stay while needed."""
    open_, expected = OpenLookups(), set[int]()
    given_ = 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "FORGET", 8)
        for size in data.draw(st.lists(st.integers(1, 9), max_size=12)):
            if data.draw(st.booleans()):
                open_.add_lines(HostLines.of(given_, b"x\n" * size, "A"))
            else:
                open_.queries.update({n: Query(n, "x", "x.", "A") for n in range(given_, given_ + size)})
            expected |= {*range(given_, given_ + size)}
            given_ += size
            some = data.draw(st.lists(st.integers(0, given_ + 1), max_size=12) | st.just(sorted(expected)[:-1]))
            right = len(set(some)) == len(some) and expected.issuperset(some)
            assert right == open_.remove_all(bits_of(some), len(some))
            expected -= set(some) if right else set()
            one = data.draw(st.integers(0, given_))
            assert (one in expected) == (one in open_) == open_.remove(one)
            expected.discard(one)
            assert (expected, len(expected)) == (open_.indices, len(open_))
        put = [Query(n, "x", "x.", "A") for n in data.draw(st.lists(st.integers(0, given_), unique=True))]
        open_.replace(put)
    in_lines = [index for lines, found in open_.lines for index in found if index in lines.indices]
    assert expected == {*open_.queries, *in_lines}
    assert not {query.index for query in put}.intersection(in_lines)
    few = OpenLookups([Query(n, "x", "x.", "A") for n in (1, 2, 3)])
    assert bool(expected & {1, 2, 3}) == open_.meets(few) == few.meets(open_)
    assert expected & {1, 2, 3} == {*indices_of(open_.remove_open(bits_of({1, 2, 3})))}
    assert expected - {1, 2, 3} == open_.indices


@given(st.sets(st.integers(0, 3000)), st.integers(0, 3000), st.integers(0, 3000))
def test_indices_as_bits(indices: set[int], first: int, count: int) -> None:
    """They are there and back the same, and those of a range are its indices'."""
    assert sorted(indices) == [*indices_of(bits_of(indices))]
    assert bits_of(range(first, first + count)) == bits_of_range(range(first, first + count))


def test_who_may_write_lines() -> None:
    """Formats in which no result depends on another, and the words that choose results; never where rows are kept."""
    formats = ("text", "jsonl", "csv", "hosts", "answers")
    assert [LineFormat(name) for name in formats] == [line_format(name) for name in formats]
    assert [None, None] == [line_format(name) for name in ("table", "auto")]
    assert LineFormat("csv", ("detail",), ("nxdomain",)) == line_format(
        "csv", selection=Selection(["nxdomain"]), more=["detail"]
    )
    assert LineFormat("text") == line_format("text", group=["A"])
    assert [None] * 3 == [
        line_format("csv", group=["A"]),
        line_format("jsonl", keep=True),
        line_format("jsonl", selection=Differing(2)),
    ]


def result(index: int, status: Status = Status.NOERROR, attempts: int | None = 1) -> Result:
    """A result of which these matter."""
    made = Query(index, f"h{index}", f"h{index}.", "A").unanswered(status, "x", "e", "b")
    made.attempts = attempts
    return made


@pytest.mark.parametrize("lines", [None, LineFormat("jsonl")], ids=["results", "lines"])
def test_a_block_says_what_is_in_it(lines: LineFormat | None) -> None:
    """Indices, statuses and queries stand beside the results, of the whole block and of a part of it."""
    results = [result(1), result(4, Status.NXDOMAIN, 3), result(2, attempts=None), result(9, Status("RCODE12"), 2)]
    block = block_encoder(lines)(results)
    assert ([1, 2, 4, 9], {"NOERROR": 2, "NXDOMAIN": 1, "RCODE12": 1}, 6) == (
        [*indices_of(block.bits)],
        block.statuses,
        block.queries,
    )
    assert results == block.results()
    part, other, none = block.divide([bits_of([9, 4]), bits_of([2]), {}])
    assert (bits_of([2]), [results[2]], {}) == (other.bits, other.results(), none.bits)
    assert ({"NXDOMAIN": 1, "RCODE12": 1}, 5, 2) == (part.statuses, part.queries, part.shown)
    assert [4, 9] == [*indices_of(part.bits)]
    assert ([results[1], results[3]], lines is not None) == (part.results(), part.lines)


@pytest.mark.parametrize(
    ("count", "lines"),
    [(count, lines) for count in (1, 20) for lines in (None, LineFormat("jsonl"), LineFormat("csv"))]
    + [(70_000, None)],
)
def test_a_block_is_sent_in_pieces(count: int, lines: LineFormat | None) -> None:
    """Results that were encoded as they came make the block that all of them make at once, however long it is."""
    results = [result(number) for number in range(count)]
    maker = BlockMaker(lines)
    for some in (results[:1], results[1:18], results[18:]):
        maker.add(some, maker.encode(some))
    assert count == len(maker)
    octets = b"".join(block_frame(*maker.take()))
    frames: FrameDecoder[FromChild] = FrameDecoder(decode_from_child, 100)
    whole = block_encoder(lines)(results)
    assert [whole, whole] == feed(frames, octets + octets[:9]) + feed(frames, octets[9:])
    assert (0, 100) == (len(maker), len(frames.room()))
    if lines is None:
        assert results == whole.results()


def test_a_block_of_some_results_shows_those() -> None:
    """All count, and those that --only names are written."""
    block = block_encoder(LineFormat("hosts", (), ("noerror",)))([result(1), result(4, Status.TIMEOUT), result(5)])
    assert (b"h1\nh5\n", 2, [1, 4, 5]) == (block.body, block.shown, [*indices_of(block.bits)])


NAMES = ["nx", "multi-3", "rcode-12", "h1", "h2", "txt", "nodata"]


@pytest.mark.parametrize(
    ("format", "only"),
    [(each, ()) for each in ("text", "jsonl", "csv", "hosts", "answers")] + [("csv", ("--only", "answered"))],
    ids=["text", "jsonl", "csv", "hosts", "answers", "only"],
)
def test_children_write_what_the_parent_would(lab: Lab, tmp_path: Path, format: str, only: tuple[str, ...]) -> None:
    """The same lines, header and counts as those of an engine that writes them itself, but for times."""
    listed = write(tmp_path / "hosts", NAMES * 100)
    with listed.open("a") as file:
        file.write(f"{INVALID}\n192.0.2.1\n" * 30)

    def written(*options: str) -> tuple[list[str], dict[str, object]]:
        summary = tmp_path / "summary"
        done = inside(listed, "-n", lab.nameserver, "-f", format, "--summary", summary, *only, *options)
        assert (1, "") == (done.status, done.err)
        figures = json.loads(summary.read_text())
        kept = ("lookups", "results_written", "results_shown", "statuses", "queries_sent")
        return sorted(map(timeless, read(done.out))), {name: figures[name] for name in kept}

    def read(text: str) -> list[dict[str, str]]:
        if format == "jsonl":
            return [json.loads(line) for line in text.splitlines()]
        return (
            list(csv.DictReader(io.StringIO(text))) if format == "csv" else [{"": line} for line in text.splitlines()]
        )

    def timeless(fields: dict[str, str]) -> str:
        return str({**fields, "elapsed": "", "engine": ""})

    assert written("-e", "threads") == written("-e", "processes")


def test_the_parent_opens_nothing(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the lines that go out nor those that come back."""
    listed = write(tmp_path / "hosts", [f"h{number}" for number in range(2000)])
    monkeypatch.setattr(ResultBlock, "results", None)
    taken = Counter[str]()

    def counted(name: str) -> None:
        original = getattr(Hosts, name)

        def take(self: Hosts, n: int) -> object:
            got = original(self, n)
            taken[name] += len(got.indices) if isinstance(got, HostLines) else len(got[0]) if got else 0
            return got

        monkeypatch.setattr(Hosts, name, take)

    counted("take")
    counted("take_lines")
    octets: list[bytes] = []
    lines = BlockSink(LineFormat("jsonl"), lambda block: octets.append(block.body))
    with ready(lab, listed) as prepared:
        summary = Batch(prepared, lambda results: None, lines=lines).run()
    assert (2000, {"NOERROR": 2000}) == (summary.results_written, summary.statuses)
    assert sorted(range(2000)) == sorted(json.loads(line)["index"] for line in b"".join(octets).splitlines())
    assert (2000, 0) == (taken["take_lines"], taken["take"])


@pytest.mark.parametrize("lines", [False, True], ids=["results", "lines"])
def test_killed_children_lose_nothing(lab: Lab, tmp_path: Path, lines: bool) -> None:
    """What they had open in lines is read and asked again; each line has one result, also the one that is no name."""
    listed = write(tmp_path / "hosts", [f"slow-200.k{number}" for number in range(1000)])
    with listed.open("a") as file:
        file.write(f"{INVALID}\n")
    before = lab.counts().received
    running = Running(ready(lab, listed, query_timeout=8), lines=lines)
    for asked in (150, 600):  # a lookup that is there a third time would be given up
        until(lambda asked=asked: lab.counts().received - before > asked)  # type: ignore[misc]  # its value of now
        children_of()[0].kill()
    running.join()
    assert list(range(1001)) == sorted(index for index, *_ in running.results)
    assert {"NOERROR": 1000, "INVALID": 1} == running.summary.statuses == running.statuses
    attempts = {attempts for _, status, attempts, _ in running.results if status is Status.NOERROR}
    assert {None, 1} == attempts & {None, 1}


@pytest.mark.parametrize("lines", [False, True], ids=["results", "lines"])
def test_poison_in_lines_is_found(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: bool) -> None:
    """The lookup that kills every child is given up with few others, and the rest has its answers."""
    python(tmp_path, monkeypatch, POISON)
    listed = write(tmp_path / "hosts", [f"p{number}" for number in range(600)])
    with listed.open("a") as file:
        file.write(f"{INVALID}\npoison.example\n")
    running = Running(ready(lab, listed), lines=lines)
    running.join()
    assert list(range(602)) == sorted(index for index, *_ in running.results)
    errors = [index for index, status, _, _ in running.results if status is Status.ERROR]
    assert 601 in errors
    assert len(errors) <= 16
    assert 1 == running.statuses[Status.INVALID]


@pytest.mark.parametrize("lines", [False, True], ids=["results", "lines"])
def test_a_deadline_ends_lines_too(lab: Lab, tmp_path: Path, lines: bool) -> None:
    """Each lookup says how far it came: those in flight, those that wait in a child, and those that were not read."""
    listed = write(tmp_path / "hosts", [f"hang.d{number}" for number in range(1500)])
    with listed.open("a") as file:
        file.write(f"{INVALID}\n")
    asked = ready(lab, listed, timeout=1.0, concurrency=300, tries=1, query_timeout=60)
    before = lab.counts().received
    running = Running(asked, lines=lines)
    running.join()
    sent = lab.counts().received - before
    assert list(range(1501)) == sorted(index for index, *_ in running.results)
    assert Counter({Status.DEADLINE: 1500, Status.INVALID: 1}) == running.statuses
    told = Counter(attempts for _, status, attempts, _ in running.results if status is Status.DEADLINE)
    assert Counter({0: 1500 - sent, 1: sent}) == told


def test_a_result_that_comes_twice_ends_the_run(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A block counts whole or not at all: what a child should not have sent is not written, and nothing is lost."""
    twice = "send = child.ChildQueries._send\n"
    twice += "child.ChildQueries._send = lambda self, *block: (send(self, *block), send(self, *block))"
    python(tmp_path, monkeypatch, twice)
    running = Running(ready(lab, write(tmp_path / "hosts", [f"t{number}" for number in range(600)])), lines=True)
    running.join()
    assert list(range(600)) == sorted(index for index, *_ in running.results)
    said = {error for _, status, _, error in running.results if status is Status.ERROR}
    assert {"the engine broke: RuntimeError: a child gave a result of a lookup that it did not have"} == said

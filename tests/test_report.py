"""What comes out: the four formats, the progress display, and the summary, on real files, pipes and terminals."""

import csv
import errno
import fcntl
import io
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import pytest

from resolver.model import Record, Result, Status
from resolver.output import progress
from resolver.output.formats import FORMATS, open_writer
from resolver.output.lines import visible
from resolver.output.progress import ProgressLine
from resolver.output.status import RunStatus
from resolver.output.summary import Summary, print_summary, summary_json, summary_lines
from resolver.output.table import Table, results_table

KEYS = ["index", "input", "name", "type", "status", "answers", "nameserver", "transport", "attempts", "elapsed"]
KEYS += ["engine", "backend", "error"]


def answered(index: int = 0, host: str = "python.org", data: str = "192.0.2.7", type: str = "A") -> Result:
    """A lookup that went well."""
    name = f"{host}."
    records = [Record(name, type, 300, data)]
    return Result(
        index, host, name, type, Status.NOERROR, records, "127.0.0.1:53", "udp", 1, 0.0123, "gevent", "wire", None
    )


def refused(index: int = 1, host: str = "two words", error: str = "a space") -> Result:
    """A line that DNS cannot be asked."""
    return Result(index, host, None, "A", Status.INVALID, [], None, None, 0, None, "gevent", "wire", error)


def with_chain() -> Result:
    """A name with an alias, two addresses and IPv6."""
    result = answered(2, "www.example.org", "2001:db8::7", "AAAA")
    result.answers = [
        Record("www.example.org.", "CNAME", 300, "example.org."),
        Record("example.org.", "AAAA", None, "2001:db8::7"),
        Record("example.org.", "AAAA", None, "2001:db8::8"),
    ]
    result.nameserver = "[2001:db8::1]:53"
    return result


def written(format: str, *batches: list[Result]) -> str:
    """What a report of these batches has written, as text."""
    stream = io.BytesIO()
    report = open_writer(format, stream)
    for batch in batches:
        report.write(batch)
    report.close()
    return stream.getvalue().decode("utf-8")


@pytest.fixture
def terminal() -> Iterator[tuple[int, BinaryIO]]:
    """A pseudo-terminal of 80 columns: the end that a person sees (a descriptor), and the end that is written to."""
    seen, inner = pty.openpty()
    fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    with open(inner, "wb", buffering=0) as stream:
        yield seen, stream
    os.close(seen)


def read_all(descriptor: int) -> str:
    """What has arrived at the person's end."""
    os.set_blocking(descriptor, False)
    octets = b""
    try:
        while piece := os.read(descriptor, 65536):
            octets += piece
    except OSError:
        pass
    return octets.decode("utf-8")


def plain(text: str) -> str:
    """The text without its colours."""
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


# Formats


def test_unknown_format_names_the_valid_ones() -> None:
    """A format that does not exist is a ValueError that lists those that do."""
    with pytest.raises(ValueError, match="'xml' is no format; valid: text, table, jsonl, csv"):
        open_writer("xml", io.BytesIO())


def test_jsonl_keys() -> None:
    """Each line is an object with the keys of the contract in their order, null where there is nothing."""
    lines = [json.loads(line) for line in written("jsonl", [answered(), refused()], [with_chain()]).splitlines()]
    assert [KEYS] * 3 == [list(line) for line in lines]
    assert [0, 1, 2] == [line["index"] for line in lines]
    assert [None] * 4 == [lines[1][key] for key in ("name", "nameserver", "transport", "elapsed")]


def test_jsonl_is_the_contract_to_the_letter() -> None:
    """The example of the contract comes out as it stands there."""
    expected = (
        '{"index":0,"input":"Bücher.example","name":"xn--bcher-kva.example.","type":"A","status":"NOERROR",'
        '"answers":[{"name":"xn--bcher-kva.example.","type":"A","ttl":300,"data":"192.0.2.7"}],'
        '"nameserver":"127.0.0.1:53","transport":"udp","attempts":1,"elapsed":0.0123,'
        '"engine":"gevent","backend":"wire","error":null}\n'
    )
    result = answered(0, "xn--bcher-kva.example")
    result.input = "Bücher.example"
    assert expected == written("jsonl", [result])


def test_csv_round_trip() -> None:
    """A csv reader gets back the columns of JSON Lines, whatever stands in them; null is empty."""
    odd = refused(3, 'say "hi", \r\n\tü ; 日本語', "line\nbreak")
    rows = list(csv.DictReader(io.StringIO(written("csv", [answered()], [refused(), with_chain(), odd]), newline="")))
    assert [KEYS] * 4 == [list(row) for row in rows]
    assert ["A 192.0.2.7", "", "CNAME example.org.; AAAA 2001:db8::7; AAAA 2001:db8::8", ""] == [
        row["answers"] for row in rows
    ]
    assert ["", "", "", ""] == [rows[1][key] for key in ("name", "nameserver", "transport", "elapsed")]
    assert ["NOERROR", "0.0123", "1"] == [rows[0][key] for key in ("status", "elapsed", "attempts")]
    assert [odd.input, odd.error] == [rows[3]["input"], rows[3]["error"]]


def test_csv_without_results_has_its_header() -> None:
    """A run without lookups makes a file that a reader takes as a table of no rows; lines end in CR LF."""
    assert ",".join(KEYS) + "\r\n" == written("csv")


def test_text() -> None:
    """A line a result: input, type, status, then the data of the answers or what is wrong."""
    loop = with_chain()
    loop.status, loop.error = Status.NODATA, "the chain is a loop"
    loop.answers = loop.answers[:1]
    expected = [
        "python.org\tA\tNOERROR\t192.0.2.7",
        "two words\tA\tINVALID\ta space",
        "www.example.org\tAAAA\tNOERROR\texample.org., 2001:db8::7, 2001:db8::8",
        "www.example.org\tAAAA\tNODATA\texample.org.; the chain is a loop",
    ]
    assert expected == written("text", [answered(), refused()], [with_chain(), loop]).split("\n")[:-1]


@pytest.mark.parametrize("format", ["text", "table"])
@pytest.mark.parametrize(
    ("raw", "seen"),
    [
        ("\x1b[31m", r"\x1b[31m"),
        ("\x9b2J", r"\x9b2J"),
        ("a\r\nb", r"a\r\nb"),
        ("a\tb", r"a\tb"),
        ("a\x00b\x7f", r"a\x00b\x7f"),
        ("a\x85b\u2028c\u2029d", r"a\x85b\u2028c\u2029d"),
        ("a\u202eb\u2066c", r"a\u202eb\u2066c"),
        ("\ud800", r"\ud800"),
        ("نامه\u200cای.example", "نامه\u200cای.example"),
        ("[bold]:smile:[/]", "[bold]:smile:[/]"),
    ],
)
def test_nothing_reaches_a_terminal_raw(format: str, raw: str, seen: str) -> None:
    """What could move the cursor, break a line or turn it around is written as an escape, wherever it stands."""
    assert seen == visible(raw)
    bad, good = refused(0, raw, f"bad {raw}"), answered(1, "x", raw)
    for result in (bad, good):
        text = written(format, [result])
        assert seen in text
        assert raw == seen or raw not in text


def test_table_at_80_columns() -> None:
    """No line is wider than 80 columns, wide characters included, and no part of a name or an address is lost."""
    from rich.cells import cell_len

    host = "a-name-that-is-much-too-long-for-its-column." * 3 + "日本語日本語日本語.jp"
    data = "2001:db8:1234:5678:9abc:def0:1234:5678"
    table = written("table", [answered(), refused(), with_chain(), answered(4, host, data, "AAAA")])
    lines = table.splitlines()
    assert max(map(cell_len, lines)) <= 80
    assert ["host", "type", "status", "answers", "ms", "nameserver"] == lines[0].split()
    first = next(line for line in lines if line.startswith("python.org"))
    assert ["python.org", "A", "NOERROR", "192.0.2.7", "12.3", "127.0.0.1:53"] == first.split()
    start = lines[0].index("answers")
    assert data in "".join(line[start : start + 40].split()[0] for line in lines if line[start : start + 40].split())
    assert all(piece in table for piece in ("a space", "2001:db8::8"))


def test_table_names_one_nameserver_once() -> None:
    """Where one nameserver gave every answer, it stands below the table instead of in each row."""
    lines = written("table", [answered(), answered(1, "pypi.org"), refused(2)]).splitlines()
    assert ["host", "type", "status", "answers", "ms"] == lines[0].split()
    assert "nameserver 127.0.0.1:53" == lines[-1].strip()


def test_table_shortens_a_line_that_is_no_name() -> None:
    """A line of a megabyte does not fill the screen."""
    table = written("table", [refused(0, "x" * 1_000_000)])
    assert "…" in table
    assert len(table) < 3000


def test_table_without_results_is_nothing() -> None:
    """No rows, no table."""
    assert "" == written("table")


def test_table_on_a_terminal(terminal: tuple[int, BinaryIO], monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal gets colours by status, and the whole of its own width and no more."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("COLUMNS", "200")  # what the shell that started us had, not what this terminal has
    seen, stream = terminal
    report = open_writer("table", stream)
    report.write([answered(), refused()])
    report.close()
    text = read_all(seen)
    assert "\x1b[32mNOERROR" in text
    assert "\x1b[31mINVALID" in text
    assert max(len(line) for line in plain(text).splitlines()) <= 80


def test_table_keeps_a_bounded_number_of_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a long run each page of rows is shown when it is full; none is lost, and none is held longer."""
    monkeypatch.setattr(Table, "PAGE", 100)
    with (tmp_path / "table").open("wb") as stream:
        report = Table(stream, results_table)
        for start in range(0, 250, 25):
            report.write([answered(index, f"h{index}") for index in range(start, start + 25)])
        shown = (tmp_path / "table").read_text(encoding="utf-8")
        assert 2 == shown.count("host ")
        report.close()
    shown = (tmp_path / "table").read_text(encoding="utf-8")
    assert [f"h{index}" for index in range(250)] == re.findall(r"^h\d+", shown, re.MULTILINE)


# Streams


@pytest.mark.parametrize("format", ["text", "jsonl", "csv"])
def test_results_are_visible_at_once(format: str, tmp_path: Path) -> None:
    """After `write` the batch is in the file, through a buffered stream too."""
    path = tmp_path / "out"
    with path.open("wb") as stream:
        report = open_writer(format, stream)
        report.write([answered()])
        assert b"python.org" in path.read_bytes()


@pytest.mark.parametrize("blocking", [True, False], ids=["blocking", "non-blocking"])
@pytest.mark.parametrize("buffering", [0, -1], ids=["raw", "buffered"])
def test_a_slow_pipe_gets_everything(blocking: bool, buffering: int) -> None:
    """A batch larger than the pipe arrives whole, also where the descriptor is shared with one that does not block."""
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, blocking)
    batch = [answered(index, f"h{index}") for index in range(5000)]
    got: list[bytes] = []

    def read_slowly() -> None:
        with open(read_end, "rb", buffering=0) as stream:
            while piece := stream.read(20_000):
                got.append(piece)
                time.sleep(0.001)

    reader = threading.Thread(target=read_slowly)
    reader.start()
    with open(write_end, "wb", buffering=buffering) as stream:
        report = open_writer("jsonl", stream)
        report.write(batch)
        report.close()
    reader.join()
    assert batch == msgspec.json.Decoder(Result).decode_lines(b"".join(got))


class TakesLittle(io.RawIOBase):
    """A raw stream that never takes more than 7 octets: what a write to a descriptor may do at any time."""

    def __init__(self) -> None:
        self.octets = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, octets: bytes) -> int:  # type: ignore[override]  # the report gives a memoryview, which has both
        self.octets += octets[:7]
        return min(7, len(octets))


@pytest.mark.parametrize("format", FORMATS)
def test_short_writes_lose_nothing(format: str) -> None:
    """What a stream does not take at once is written after."""
    stream = TakesLittle()
    report = open_writer(format, stream)  # type: ignore[arg-type]  # RawIOBase has all that is called
    report.write([answered(), refused()])
    report.close()
    assert written(format, [answered(), refused()]) == stream.octets.decode("utf-8")


@pytest.mark.parametrize("format", FORMATS)
def test_a_full_disk_is_told(format: str) -> None:
    """ENOSPC reaches the caller as it is, at the latest from `close`."""

    def run() -> None:
        with open("/dev/full", "wb", buffering=0) as stream:
            report = open_writer(format, stream)
            report.write([answered()])
            report.close()

    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)) as caught:
        run()
    assert errno.ENOSPC == caught.value.errno


@pytest.mark.parametrize("format", FORMATS)
def test_a_closed_pipe_is_told(format: str) -> None:
    """EPIPE reaches the caller as it is."""
    read_end, write_end = os.pipe()
    os.close(read_end)
    with open(write_end, "wb", buffering=0) as stream:
        report = open_writer(format, stream)
        # A table writes when it is closed, the others sooner.
        with pytest.raises(BrokenPipeError):  # noqa: PT012  # either of the two may raise
            report.write([answered()])
            report.close()


def test_what_is_not_needed_is_not_imported() -> None:
    """Neither module brings rich or csv along; each is loaded by the first run that shows it."""
    code = (
        "import sys, resolver.output.formats, resolver.output.progress; "
        "print([n for n in ('rich', 'csv') if n in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "[]\n" == run.stdout


# Progress


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """The display's clock, moved by hand: by so many seconds."""
    now = 1000.0

    def move(seconds: float) -> None:
        nonlocal now
        now += seconds

    monkeypatch.setattr(progress, "monotonic", lambda: now)
    return move


def after(seconds: int, total: int | None = 1000) -> RunStatus:
    """The status of a run of 100 lookups a second."""
    counts = {"NOERROR": 85 * seconds, "REFUSED": 15 * seconds}
    done, left = 100 * seconds, None if total is None else (total - 100 * seconds) / 100
    return RunStatus(done=done, total=total, rate=100.0, in_flight=0, statuses=counts, seconds_left=left)


def test_progress_line(
    terminal: tuple[int, BinaryIO], clock: Callable[[float], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The line tells the share, the time gone and left, the rate and the counts, in 80 columns, and goes at the end.

    Of a list that is still read the total is an estimate, which changes.
    """
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    seen, inner = terminal
    seconds, total = 0, 996
    with open(inner.fileno(), "w", encoding="utf-8", closefd=False) as stream:
        display = ProgressLine(lambda: after(seconds, total), stream)
        display.tick()
        assert "" == read_all(seen)
        for _ in range(5):
            clock(1)
            seconds += 1
            display.tick()
            total += 1
        *_, line = plain(read_all(seen)).split("\r\x1b[2K")
        assert "50% 00:05 (00:05 left)  100/s  425 answered 0 NXDOMAIN 75 failed" == line.lstrip("━╸╺ ")
        assert 10 < len(line) <= 80
        display.close()
        assert "\r\x1b[2K" == read_all(seen)
        clock(1)
        display.tick()
        assert "" == read_all(seen)


def test_progress_draws_ten_times_a_second(clock: Callable[[float], None]) -> None:
    """However often it is called, it draws ten times a second at most; what it draws again, it has taken off."""
    stream = io.StringIO()
    stream.isatty = lambda: True  # type: ignore[method-assign]  # a terminal without a terminal
    display = ProgressLine(lambda: after(1), stream)
    clock(progress.DELAY)
    for _ in range(2000):
        display.tick()
        clock(0.001)
    drawn = stream.getvalue().count("answered")
    assert 18 <= drawn <= 21
    display.clear()
    display.clear()
    assert drawn + 1 == stream.getvalue().count("\r\x1b[2K")


def test_progress_in_a_log(clock: Callable[[float], None]) -> None:
    """Where the stream is no terminal, a plain line now and then; without a known total no share and no time left."""
    stream = io.StringIO()
    seconds = 0
    display = ProgressLine(lambda: after(seconds, None), stream)
    for _ in range(20):
        clock(1)
        seconds += 1
        display.tick()
    display.close()
    expected = [
        "00:01  100/s  85 answered 0 NXDOMAIN 15 failed",
        "00:11  100/s  935 answered 0 NXDOMAIN 165 failed",
    ]
    assert expected == stream.getvalue().splitlines()


def test_progress_starts_no_thread_and_costs_nothing_idle(clock: Callable[[float], None]) -> None:
    """A display that has drawn has no thread of its own, and a tick that draws nothing takes far below 1 µs."""
    before = threading.active_count()
    stream = io.StringIO()
    display = ProgressLine(lambda: after(1), stream)
    clock(1.0)
    display.tick()
    assert before == threading.active_count()

    def seconds() -> float:
        began = time.perf_counter()
        for _ in range(10_000):
            display.tick()
        return time.perf_counter() - began

    # The best of many: other programs on the machine only ever add.
    assert min(seconds() for _ in range(20)) / 10_000 < 1e-6


def test_progress_never_ends_a_run(clock: Callable[[float], None]) -> None:
    """A standard error that is gone silences the display and raises nothing."""
    read_end, write_end = os.pipe()
    os.close(read_end)
    with open(write_end, "w", encoding="utf-8", buffering=1) as stream:
        display = ProgressLine(lambda: after(1), stream)
        clock(progress.DELAY)
        display.tick()
        display.close()
        # What the stream still holds would raise when it is closed.
        os.dup2(os.open(os.devnull, os.O_WRONLY), write_end)


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (0, "0"),
        (9999, "9,999"),
        (10_000, "10.0k"),
        (12_345, "12.3k"),
        (99_999, "100k"),
        (999_600, "1.00M"),
        (5e9, "5.00G"),
    ],
)
def test_large_numbers_are_short(number: float, expected: str) -> None:
    """No figure of the line is longer than six characters."""
    assert expected == progress.short(number)


# Summary


def figures(**changed: Any) -> Summary:
    """The summary of a run, with these figures changed."""
    usual: dict[str, Any] = {
        "engine": "gevent",
        "backend": "wire",
        "hosts_read": 1200,
        "lookups": 2400,
        "results_written": 2400,
        "statuses": {"TIMEOUT": 4, "NOERROR": 2391, "INVALID": 5},
        "queries_sent": 2408,
        "seconds": 1.5,
        "lookups_per_second": 1600.0,
        "input_complete": True,
        "ended": "complete",
    }
    return Summary(**{**usual, **changed})


def test_summary() -> None:
    """The figures in three lines, the most frequent status first."""
    expected = [
        "1,200 hosts, 2,400 lookups, 2,400 results in 1.50 s: 1,600 lookups a second (gevent, wire)",
        "NOERROR 2,391, INVALID 5, TIMEOUT 4",
        "2,408 queries sent, 1.00 a lookup",
    ]
    stream = io.StringIO()
    print_summary(figures(), stream)
    assert expected == stream.getvalue().splitlines()


def test_summary_of_nothing() -> None:
    """An empty list has a summary too."""
    none = figures(
        hosts_read=0, lookups=0, results_written=0, statuses={}, queries_sent=0, seconds=0, lookups_per_second=0
    )
    assert "0 hosts, 0 lookups, 0 results in 0.00 s: 0 lookups a second (gevent, wire)\n" == summary_lines(none)


@pytest.mark.parametrize(
    ("summary", "sentence"),
    [
        (figures(ended="deadline"), "The deadline (--timeout) ended the run"),
        (figures(ended="cancelled"), "The run was interrupted"),
        (figures(input_complete=False), "The input was not read to its end."),
        (figures(note="No nameserver answered at all."), "No nameserver answered at all."),
        (figures(results_written=2399), "BUG: 2,400 lookups, but 2,399 results written."),
    ],
)
def test_summary_says_what_is_not_as_it_should_be(summary: Summary, sentence: str) -> None:
    """Whatever a reader of the results must know stands on a line of its own at the end."""
    *_, last = summary_lines(summary).splitlines()
    assert last.startswith(sentence)


def test_summary_json() -> None:
    """One object on one line, with every field in its order."""
    octets = summary_json(figures())
    assert 1 == octets.count(b"\n")
    always = [name for name in Summary.__struct_fields__ if getattr(figures(), name) is not msgspec.UNSET]
    assert always == list(json.loads(octets))
    assert figures() == msgspec.json.decode(octets, type=Summary)


@pytest.mark.parametrize(
    "text", ["RCODE1\u0663", "RCODE\u0661", "RCODE0", "RCODE01", "RCODE12345", "RCODE", "rcode12", "RCODE12\n"]
)
def test_what_is_no_status(text: str) -> None:
    """A status is one of the closed set, or RCODE with a number in ASCII digits; nothing else becomes a member."""
    with pytest.raises(ValueError, match="is not a valid Status"):
        Status(text)

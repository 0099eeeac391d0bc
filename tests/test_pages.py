"""The page about a run (`--report`): what is counted for it, what stands on it, and how it looks in a real browser."""

import itertools
import random
import re
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from browser import MISSING, PROGRAM, Browser
from command import Done, end, environment, inside, run, start, wait_for
from elements import Elements
from encoded import block_encoder

from resolver import Policy, Record, Result, Status, Summary
from resolver.blocks import LineFormat, ResultBlock
from resolver.model import count_statuses
from resolver.output.colours import COLOURS
from resolver.output.tally import EXAMPLES, REASONS, RunTally
from resolver.output.timeline import MARKS, POINTS, Timeline
from resolver.pages import charts
from resolver.pages.render import count, duration, listed, share
from resolver.pages.run import Asked, RunReport, command_line
from resolver.tallies import NameserverFigures

HOSTILE = '"><script>document.title="hacked"</script><img src=x onerror="document.title=`hacked`">\u202e'
WIDE_TEXT = "m" * 500
browsed = pytest.mark.skipif(PROGRAM is None, reason=MISSING)


def result(index: int = 0, status: Status = Status.NOERROR, elapsed: float | None = 0.02, **fields: Any) -> Result:
    """A result, with these fields."""
    usual = {
        "input": "a.example", "name": "a.example.", "type": "A", "answers": [], "transport": "udp", "attempts": 1,
        "nameserver": "192.0.2.53:53", "engine": "gevent", "backend": "wire", "error": None,
    }  # fmt: skip
    return Result(index=index, status=status, elapsed=elapsed, **{**usual, **fields})


def count_in(tally: RunTally, results: list[Result]) -> None:
    """Count results as a run does, which knows their statuses."""
    tally.add(results, count_statuses([each.status for each in results]))


# --- What is counted.


def test_times() -> None:
    """Percentiles and curve of a sample are those of all times to a few per cent, whoever takes turns in them."""
    tally, chance = RunTally(), random.Random(1)
    every = []
    for number in range(1500):
        # Of four nameservers in turn, the last takes ten times as long as the others.
        times = [chance.lognormvariate(-4, 0.3) * (10 if n % 4 == 3 else 1) for n in range(100 + number % 90)]
        every += times
        count_in(tally, [result(elapsed=seconds) for seconds in times])
    every.sort()
    expected = [every[len(every) * share // 100] for share in (50, 95, 99, 20, 60, 90)]
    found = [next(seconds for seconds, part in tally.curve() if part >= share / 100) for share in (20, 60, 90)]
    assert expected == pytest.approx([*tally.percentiles().values(), *found], rel=0.05)
    assert [len(every), True, True] == [tally.seen, tally.measured < 30_000, len(tally.times) < 400]


def test_times_of_lines() -> None:
    """Where the times of all lines are told, all of them count."""
    tally = RunTally()
    for _ in range(1000):
        tally.add_block(ResultBlock(100, statuses={"NOERROR": 100}, lines=True, elapsed=[(0.02, 60), (0.5, 40)]))
    assert [100_000, 100_000] == [tally.measured, sum(tally.times.values())]
    assert {"p50": 0.02, "p95": 0.5, "p99": 0.5} == pytest.approx(tally.percentiles(), rel=0.04)


def test_a_short_run_is_measured_whole() -> None:
    """Of a few thousand results each answered one counts, however they come; silence is no answer."""
    tally = RunTally()
    for index in range(300):
        count_in(tally, [result(index), result(index, Status.TIMEOUT, 3.5), result(index, Status.NXDOMAIN)])
    count_in(tally, [result(), result(elapsed=None), result()])
    assert [903, 602, 602] == [tally.seen, tally.measured, sum(tally.times.values())]
    assert {} == RunTally().percentiles()


def test_failures() -> None:
    """They are counted by status and reason, whichever nameserver it was, with the first few of each."""
    tally = RunTally()
    failed = [result(n, Status.ERROR, input=f"h{n}", error=f"udp to 192.0.2.{n}:53 failed: refused") for n in range(9)]
    count_in(tally, [*failed, result(9, Status.SERVFAIL), result(10)])
    assert [("ERROR", "udp to a nameserver failed: refused", 9), ("SERVFAIL", "no reason was given", 1)] == [
        (each.status, each.reason, each.count) for each in tally.failures.values()
    ]
    assert ["h0", "h1", "h2"] == [each.input for each in next(iter(tally.failures.values())).examples]


def test_memory_is_bounded() -> None:
    """A nameserver that says something else each time, of names of any length, takes no more room than another."""
    tally = RunTally()
    for index in range(1000):
        failed = [result(index, Status.SERVFAIL, input=WIDE_TEXT, error=f"{index}{WIDE_TEXT}") for _ in range(5)]
        count_in(tally, failed)
    assert [REASONS + 1, 5000, EXAMPLES, 200, 200] == [
        len(tally.failures),
        sum(each.count for each in tally.failures.values()),
        max(len(each.examples) for each in tally.failures.values()),
        max(len(each.reason) for each in tally.failures.values()),
        max(len(one.input) for each in tally.failures.values() for one in each.examples),
    ]


def test_parts_of_a_run_add_up() -> None:
    """The counts of two parts are those of the whole."""
    results = [result(n, Status.NOERROR if n % 3 else Status.REFUSED, n / 1000) for n in range(100)]
    whole, part = RunTally(), RunTally()
    count_in(whole, results)
    count_in(part, results[:40])
    encode = block_encoder(LineFormat("csv", tallied=True))
    part.add_block(encode(results[40:70]))
    part.add_block(encode(results[70:]))
    assert [whole.measured, whole.times, whole.failures] == [part.measured, part.times, part.failures]


def test_lines_are_counted_like_results() -> None:
    """Lines that were not counted where they were made are read, as many as are measured, and all where one failed."""
    results = [result(n, elapsed=n / 100_000) for n in range(50_000)]
    results[40_007] = result(40_007, Status.TIMEOUT, 2.0)
    tally = RunTally()
    encode = block_encoder(LineFormat("jsonl"))
    for at in range(0, len(results), 900):
        tally.add_block(encode(results[at : at + 900]))
    assert [50_000, True] == [tally.seen, 10_000 < tally.measured < 20_000]
    assert {"p50": 0.25, "p95": 0.475, "p99": 0.495} == pytest.approx(tally.percentiles(), rel=0.04)
    assert [("TIMEOUT", 1)] == [(each.status, each.count) for each in tally.failures.values()]


def test_lines_that_are_no_results() -> None:
    """What a worker made up does not end the run, and no time is counted of it."""
    tally = RunTally()
    for status in (Status.NOERROR, Status.REFUSED):
        block = block_encoder(LineFormat("jsonl"))([result(0, status, 0.5)])
        tally.add_block(msgspec.structs.replace(block, body=block.body.replace(b"0.5", b"1e999")))
    for seconds in (b"-1e308", b"-1", b"1e308"):
        block = block_encoder(LineFormat("jsonl"))([result(0, Status.NOERROR, 0.5)])
        RunTally().add_block(msgspec.structs.replace(block, body=block.body.replace(b"0.5", seconds)))
    assert [0, {}, {}] == [tally.measured, tally.times, tally.failures]


def test_points() -> None:
    """However long a run is, its points are few, from the beginning to now; of very many marks the first are kept."""
    timeline = Timeline()
    for second in range(1, 10_001):
        timeline.note(float(second), {"NOERROR": second, "NODATA": 1, "TIMEOUT": 2, "DEADLINE": 9})
        timeline.mark("seen")
    assert [True, MARKS, (0.0, 0, 0, 0), True] == [
        POINTS // 2 <= len(timeline.points) <= POINTS,
        len(timeline.marks),
        timeline.points[0],
        timeline.points[-1].seconds > 9_900,
    ]
    assert {(each.seconds, each.seconds, 1, 2) for each in timeline.points[1:]} == set(timeline.points[1:])


def test_points_are_noted_at_intervals() -> None:
    """Between two points there is no look at the run, which costs more than the time."""
    timeline = Timeline()
    began = time.monotonic()
    looks: list[float] = []

    def look() -> tuple[float, dict[str, int]]:
        looks.append(time.monotonic() - began)
        return looks[-1], {}

    timeline.begin(look)
    while time.monotonic() - began < 0.1 or len(looks) < 2:
        timeline.tick()
    assert 2 <= len(looks) <= 6


def test_axes() -> None:
    """Labels are round numbers that lie on the axis; a line counts its height from below."""
    ticks = [tick.value for tick in charts.linear(8_700).ticks]
    assert [0, 2000, 4000, 6000, 8000] == ticks
    assert [0.02, 0.05, 0.1] == pytest.approx([tick.value for tick in charts.logarithmic(0.012, 0.19).ticks])
    assert [1e-5, 1e-4, 1e-3, 1e-2] == pytest.approx([tick.value for tick in charts.logarithmic(5e-6, 0.05).ticks])
    assert [50.0, 0.0, 100.0] == [charts.logarithmic(0.01, 1).place(each) for each in (0.1, 0.001, 1)]
    assert "M0 100L50 75L100 0" == charts.line([0, 50, 100], [0, 25, 100])
    assert ["M0 100L100 100L100 100L0 100Z"] == charts.stack([0, 1], [[0.0]]).paths


def test_words() -> None:
    """Numbers are written as people read them, and a share is all or nothing only where it is."""
    assert ["1 lookup", "1,200 lookups", "3 tries"] == [
        count(1, "lookup"), count(1200, "lookup"), count(3, "try", "tries"),
    ]  # fmt: skip
    assert ["-", "0 s", "0.45 ms", "12.3 ms", "1 s", "99.9 s", "1 min 40 s", "27 h 46 min"] == [
        duration(each) for each in (None, 0, 0.00045, 0.0123, 0.9999, 99.94, 99.96, 99999)
    ]
    assert ["100 %", "> 99.9 %", "< 0.1 %", "12.5 %", "1.2 %", "-"] == [
        share(4, 4), share(9999, 10000), share(1, 10000), share(1, 8), share(12, 1000), share(0, 0),
    ]  # fmt: skip
    assert "a, b and 2 more" == listed("abcd", 2)


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("redis://me:s3cret@host:6379/0", "redis://***@host:6379/0"),
        ("--redis=rediss://:s3cret@s3@cret@host", "--redis=rediss://***@host"),
        ("REDIS://:s3 c/r?e#t@host", "REDIS://***@host"),
        ("https://me:s3cret@doh.example/dns-query", "https://***@doh.example/dns-query"),
        ("https://host.example/@me", "https://host.example/@me"),
        ("hosts.txt", "hosts.txt"),
    ],
)
def test_passwords_are_masked(monkeypatch: pytest.MonkeyPatch, word: str, expected: str) -> None:
    """The command on the page, and its settings of the environment, have no password."""
    monkeypatch.setattr(sys, "argv", ["resolve", "--tries", "2", word])
    monkeypatch.setenv("RESOLVE_REDIS", word)
    said = command_line().replace("'", "")
    assert f"resolve --tries 2 {expected}" == said[said.index("resolve ") :]
    assert [True, False] == [f"RESOLVE_REDIS={expected}" in said, "s3" in said]


def test_text_on_colours_can_be_read() -> None:
    """Text on a colour has the contrast of WCAG AA, 4.5."""

    def luminance(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        red, green, blue = (part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    def contrast(one: str, two: str) -> float:
        dark, light = sorted((luminance(one), luminance(two)))
        return (light + 0.05) / (dark + 0.05)

    assert [] == [name for name, colour in COLOURS.items() if contrast(colour.fill, colour.text) < 4.5]


# --- The page.


def largest(path: Path) -> Path:
    """The page of a run of a million results in which there is as much as can be, all of it hostile."""
    policy = Policy(nameservers=[f"192.0.2.{n}" for n in range(200)], timeout=100.0, rate=5000, concurrency=9)
    report = RunReport(str(path), Asked([f"{HOSTILE}{n}" for n in range(300)], ["A", "TXT"], policy, False))
    report.open(())
    statuses = [each for each in Status if each not in (Status.NOERROR, Status.NODATA, Status.NXDOMAIN)]
    failed = [
        result(n, statuses[n % len(statuses)], input=f"{HOSTILE}{WIDE_TEXT}", error=f"{n} {HOSTILE}{WIDE_TEXT}")
        for n in range(100)
    ]
    record = Record("a.", "TXT", 1, HOSTILE)
    batch = [result(n, elapsed=0.001 * n, input=HOSTILE, answers=[record]) for n in range(900)]
    batch = batch * 11 + failed
    for number in range(1000):
        if number % 10 == 0:
            count_in(report.tally, batch)
        report.timeline.note(0.1 * number, {"NOERROR": 900 * number, "TIMEOUT": 50 * number, "NXDOMAIN": 50 * number})
        report.timeline.mark(f"{HOSTILE}{WIDE_TEXT}")
    counts = {"NOERROR": 900_000, **{each.value: 100_000 // len(statuses) for each in statuses}}
    figures = Summary("gevent", "wire", 10**6, 10**6, 10**6, counts, 10**6, 100.0, 1e4, False, "deadline", HOSTILE)
    figures.nameservers = [
        NameserverFigures(f"[2001:db8::{n:x}]:53", 1000, 990, 9, 1, {"NOERROR": 900, WIDE_TEXT[:32]: 90}, 0.01, 0.2)
        for n in range(1000)
    ]
    report.write(figures, [HOSTILE])
    return path


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The largest page."""
    return largest(tmp_path_factory.mktemp("page") / "page.html")


def test_size(page: Path) -> None:
    """A page of a million results, with all that it can hold, is below 300 kB."""
    assert page.stat().st_size < 300_000


def test_hostile_texts_are_text(page: Path) -> None:
    """No script, no picture from elsewhere and no handler comes of what a list or a nameserver says."""
    seen = Elements(page.read_text(encoding="utf-8"))
    assert [set(), True, False] == [
        seen.active,
        '"><script>document.title="hacked"</script>' in seen.text,
        "\u202e" in seen.text,
    ]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A browser for all of these."""
    with Browser() as browser:
        yield browser


@browsed
def test_shown(browser: Browser, page: Path) -> None:
    """In a browser nothing is said on the console, nothing runs, and the page is no wider than its window."""
    with browser.open(page.as_uri()) as shown:
        for width, dark in itertools.product((400, 1200), (False, True)):
            shown.show(width=width, dark=dark)
            assert [[], False] == [shown.problems(), "hacked" == shown.evaluate("document.title")]
            ground, text = (
                shown.evaluate(f"getComputedStyle(document.body).{name}.match(/\\d+/g).map(Number)[0]")
                for name in ("backgroundColor", "color")
            )
            assert dark is (ground < 100 < text)


@browsed
def test_injection_is_no_matter_of_the_policy(browser: Browser, page: Path, tmp_path: Path) -> None:
    """Without the policy that forbids scripts none runs either: everything is escaped."""
    bare = tmp_path / "bare.html"
    bare.write_text(re.sub("<meta http-equiv.*>", "", page.read_text(encoding="utf-8")), encoding="utf-8")
    with browser.open(bare.as_uri()) as shown:
        assert [[], True] == [shown.problems(), shown.evaluate("document.title").startswith("resolve: ")]


@browsed
def test_printed(browser: Browser, page: Path) -> None:
    """On paper it is two pages at most."""
    with browser.open(page.as_uri(), dark=True) as shown:
        assert 1 <= len(re.findall(rb"/Type /Page\b", shown.pdf())) <= 2


# --- The command.


def reported(tmp_path: Path, *words: str | Path, text: str | None = None, **ends: Any) -> tuple[Done, str]:
    """Run the command with --report; how it ended, and the text of the page."""
    done = inside(*words, "-q", "--report", tmp_path / "run.html", text=text, **ends)
    return done, Elements((tmp_path / "run.html").read_text(encoding="utf-8")).text


def test_run(at: str, tmp_path: Path) -> None:
    """The page says what was asked of whom, and what became of it."""
    hosts = "a.example\nnx.example\nservfail.example\ntwo words\n"
    done, text = reported(tmp_path, "-", "-n", at, "-t", "A", "-t", "MX", "--tries", "2", text=hosts)
    assert 1 == done.status
    for expected in (
        "8 lookups of 4 hosts", "Types A, MX", f"Nameservers {at}", "Queries 2 tries, the last waits 2 s",
        "standard input (4 hosts)", "Engine gevent, backend wire", "NOERROR 2 25 %", "NXDOMAIN 2 25 %",
        "SERVFAIL 2 no reason was given servfail.example A at 127", "a space", f"-n {at} -t A", "resolve-dns 0",
    ):  # fmt: skip
        assert expected in text


@pytest.mark.parametrize(("engine", "format"), [("threads", "text"), ("processes", "text"), ("redis", "jsonl")])
def test_engines(at: str, tmp_path: Path, engine: str, format: str) -> None:
    """Results that come from threads, children and workers are counted as well, also those that come as lines."""
    hosts = "".join(f"{n}.example\n" for n in range(300))
    done, text = reported(tmp_path, "-", "-n", at, "-e", engine, "-f", format, text=hosts)
    assert [0, True, True] == [done.status, "measured on 300 answers" in text, f"{at} 300 300" in text]
    assert 300 == len(done.out.splitlines())


def test_deadline(tmp_path: Path, at: str) -> None:
    """A run that its deadline ends has its page, and the deadline stands in the picture."""
    hosts = "".join(f"{n}.example\n" for n in range(1000))
    done, text = reported(tmp_path, "-", "-n", at, "--rate", "400", "--timeout", "0.5", text=hosts)
    assert [3, True, True, True] == [
        done.status, "after 500 ms: the deadline (--timeout)" in text,
        "The deadline (--timeout) ended the run" in text, "the run's timeout passed before this was asked" in text,
    ]  # fmt: skip


def test_interrupted(tmp_path: Path, at: str) -> None:
    """A run that Ctrl-C ends has its page."""
    where, out = tmp_path / "run.html", tmp_path / "out"
    process = start("-", "-n", at, "--rate", "100", "-q", "--report", where, "-o", out)
    assert process.stdin is not None
    process.stdin.write(b"".join(b"%d.example\n" % n for n in range(500)))
    wait_for(lambda: out.exists() and out.stat().st_size > 1000, "results")
    process.send_signal(signal.SIGINT)
    assert 130 == end(process).status
    text = Elements(where.read_text(encoding="utf-8")).text
    assert [True, True] == [": the run was interrupted" in text, "The input was not read to its end" in text]


def test_other_ends(tmp_path: Path, at: str) -> None:
    """What cannot be written, and a reader that is gone, stand on the page as well."""
    done, text = reported(tmp_path, "a.example", "-n", at, "-o", "/dev/full")
    assert [4, True] == [done.status, "writing the results failed: No space left on device" in text]
    process = start("-", "-n", at, "-q", "--report", tmp_path / "run.html")
    assert process.stdout is not None
    process.stdout.close()
    process.stdout = None
    assert 0 == end(process, b"a.example\n").status
    assert "the reader of the results is gone" in Elements((tmp_path / "run.html").read_text(encoding="utf-8")).text


def test_resumed(tmp_path: Path, at: str) -> None:
    """With --resume the page says which figures are those of the whole file."""
    out = tmp_path / "out.jsonl"
    inside("a.example", "-n", at, "-o", out)
    done, text = reported(tmp_path, "a.example", "b.example", "-n", at, "-o", out, "--resume")
    assert [0, True, True] == [done.status, "NOERROR 2 100 %" in text, "measured on 1 answer." in text]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--report", "none/run.html"], "none/run.html: No such file or directory"),
        (["--report", "hosts.txt"], "hosts.txt is another file of this run"),
        (["--report", "out", "-o", "out"], "out is another file of this run"),
        (["--report", "-"], "--report writes a page into a file"),
        (["--report", "run.html", "--no-wait"], "--report means nothing with --no-wait"),
    ],
)
def test_refused(tmp_path: Path, at: str, words: list[str], expected: str) -> None:
    """A page that cannot be written ends the command at its start, and the list stays as it is."""
    (tmp_path / "hosts.txt").write_text("a.example\n")
    done = inside("hosts.txt", "-n", at, *words, cwd=tmp_path)
    assert [2, "", True] == [done.status, done.out, expected in done.err]
    assert "a.example\n" == (tmp_path / "hosts.txt").read_text()


def test_without_jinja(tmp_path: Path) -> None:
    """Without the library the error names the extra, and nothing is asked."""
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['jinja2'] = None\n")
    done = run("a.example", "-n", "127.0.0.1:9", "--report", tmp_path / "x", env=environment(PYTHONPATH=str(tmp_path)))
    expected = "--report needs jinja2, which is not installed: pip install 'resolve-dns[report]'"
    assert [2, True, False] == [done.status, expected in done.err, (tmp_path / "x").exists()]

"""`resolve compare`: what it counts, whom it lets take part, what becomes of runs that fail, hang or are interrupted.

The runs are real: children of their own, and a lab. What is measured is checked by arithmetic on made-up results.
"""

import csv
import json
import re
import socket
import sys
import threading
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pexpect
import psutil
import pytest
from browser import MISSING, PROGRAM, Browser
from command import COMMAND, Done, complaint, environment, inside, run, wait_for
from elements import Elements

from resolver import Policy, Query, Record, Result, Status, engines
from resolver.compare import contest, curves, figures
from resolver.compare.agreement import Answers, Difference, Said
from resolver.compare.child import Spec
from resolver.compare.contest import Cell, Contestant
from resolver.compare.figures import Spread, Tally
from resolver.compare.page import page
from resolver.compare.report import ComparisonReport
from resolver.compare.watch import ChildFailed, Cost, WaitLimits, watch
from resolver.input.sources import elements
from resolver.lab import Lab
from resolver.nameserver import Nameserver
from resolver.pages import charts

FULL = "/dev/full"
QUICK = ["-e", "threads", "-e", "asyncio", "--repeat", "1"]
COST = Cost(seconds=2.0, startup_seconds=0.25, cpu_seconds=0.5, peak_memory=1000, threads=3, descriptors=9)


@pytest.fixture(scope="module")
def at(lab: Lab) -> list[str]:
    """The options that have the lab asked by two engines that start soon, once."""
    return ["compare", *QUICK, "-n", lab.nameserver]


@pytest.fixture(scope="module")
def found(at: list[str], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Done]:
    """One comparison with everything that it writes: two engines, two timeouts, two runs of each."""
    path = tmp_path_factory.mktemp("compare")
    (path / "hosts").write_text("".join(f"host-{number}.example\n" for number in range(40)) + "hang.example\nx y\n")
    words = [*at, "hosts", "--repeat", "2", "--timeout", "1.5", "--timeout", "0.3", "--query-timeout", "0.5", "-t", "a"]
    return path, inside(*words, "--tries", "2", "-o", "r.json", "--plot", "p.svg", "--report", "r.html", cwd=path)


@pytest.fixture(scope="module")
def document_of(found: tuple[Path, Done]) -> dict[str, Any]:
    """What that comparison wrote as JSON."""
    assert Done(0, "", "") == found[1]
    written: dict[str, Any] = json.loads((found[0] / "r.json").read_text())
    return written


def told(
    index: int, status: str = "NOERROR", *data: str, attempts: int | None = 1, elapsed: float | None = 0.1
) -> Result:
    """A result as a comparison reads it."""
    answers = [Record("a.example.", "A", 60, each) for each in data]
    return Query(index, "a.example", "a.example.", "A").result(
        Status(status), engine="e", backend="b", answers=answers, attempts=attempts, elapsed=elapsed, error=None
    )


# --- The numbers.


def test_figures_of_a_run() -> None:
    """Ten lookups: seven answered in latencies of 10 to 70 ms, one TIMEOUT, one DEADLINE, one SERVFAIL."""
    tally = Tally(10, COST, 1.75)
    tally.add(0.5, [told(n, "NOERROR", "192.0.2.1", elapsed=(n + 1) / 100) for n in range(5)])
    tally.add(1.5, [told(5, "NXDOMAIN", elapsed=0.06), told(6, "NODATA", elapsed=0.07, attempts=3)])
    tally.add(2.0, [told(7, "TIMEOUT", attempts=3, elapsed=1.9), told(8, "DEADLINE", attempts=0, elapsed=None)])
    tally.add(2.0, [told(9, "SERVFAIL", attempts=None, elapsed=1.0)])
    got = tally.figures()
    counts = ("answered", "timed_out", "deadline", "failed")
    assert [7, 1, 1, 1] == [got[name] for name in counts]
    measured = ("seconds", "lookups_per_second", "overrun", "seconds_to_90")
    assert [2.0, 3.5, 0.25, None] == [got[name] for name in measured]
    # Nearest rank of 7: the 4th for 50, the 7th for 95 and 99. Who was not asked, or does not tell, has no attempts.
    latencies = ("latency_p50", "latency_p95", "latency_p99", "latency_max")
    assert [[0.04, 0.07, 0.07, 0.07], 12 / 8] == [[got[name] for name in latencies], got["attempts"]]
    assert [0.5] * 5 + [1.5] * 2 + [None] * 3 == tally.curve()
    cost = ("startup_seconds", "cpu_seconds", "peak_memory", "threads", "descriptors")
    assert [10, 0.25, 0.5, 1000, 3, 9] == [tally.results, *(got[name] for name in cost)]
    assert sorted((*counts, *measured, *latencies, "attempts", *cost)) == sorted(got)


def test_ninety_percent() -> None:
    """The time until nine of ten were answered is that of the ninth; and a run without DEADLINE has passed none."""
    tally = Tally(10, COST, 1.0)
    for number in range(10):
        tally.add(number / 10, [told(number, "NOERROR", "192.0.2.1")])
    got = tally.figures()
    assert [0.8, None] == [got["seconds_to_90"], got["overrun"]]


@pytest.mark.parametrize(("share", "expected"), [(50, 50.0), (95, 95.0), (99, 99.0), (100, 100.0), (0.5, 1.0)])
def test_percentile(share: float, expected: float) -> None:
    """Of 1 to 100, the share is the value."""
    assert expected == figures.percentile([float(number) for number in range(1, 101)], share)


def test_percentile_of_nothing() -> None:
    """No values have no percentile."""
    assert figures.percentile([], 50) is None


def test_spreads() -> None:
    """Median and both ends; a run that never had nine tenths answered takes that figure from all."""
    runs = []
    for seconds in (1.0, 4.0, 2.0):
        tally = Tally(1, COST._replace(seconds=seconds))
        if seconds != 4.0:
            tally.add(seconds, [told(0, "NOERROR", "192.0.2.1", elapsed=seconds)])
        runs.append(tally.figures())
    got = figures.spreads(runs)
    assert [Spread(2.0, 1.0, 4.0), Spread(1.5, 1.0, 2.0)] == [got["seconds"], got["latency_p50"]]
    assert [None, None] == [got["seconds_to_90"], got["overrun"]]


def test_no_difference_inside_the_spread() -> None:
    """Whose spread meets that of the best is as good; whose does not is not, and no figure is never best."""
    rows = {"a": Spread(5, 4, 6), "b": Spread(3, 2, 4), "c": Spread(2, 1, 3), "d": None}
    assert [["a", "b"], ["c", "b"], []] == [
        figures.best(rows, True, 3), figures.best(rows, False, 3), figures.best({"d": None}, True, 3),
    ]  # fmt: skip


def test_two_runs_show_less_than_three() -> None:
    """The spread of two runs counts for as much again on either side: 3 to 4 may be as good as 1 to 2, 5 is not."""
    rows = {"a": Spread(1.5, 1, 2), "b": Spread(3.5, 3, 4), "c": Spread(5, 5, 5)}
    assert [["a", "b"], ["a"]] == [figures.best(rows, False, runs) for runs in (2, 3)]


def test_curve_over_runs() -> None:
    """The median of when each share was answered, the soonest, the latest; never is later than any time."""
    runs: list[list[float | None]] = [[0.1, 0.5, None], [0.2, 0.4, 3.0], [0.3, None, None]]
    assert figures.Curve([0.2, 0.5, None], [0.1, 0.4, 3.0], [0.3, None, None]) == figures.curve(runs)


def test_curve_as_text() -> None:
    """Each character ends with the share that was answered by then; the axis is logarithmic, deadlines are below."""
    scale = charts.logarithmic(0.01, 100.0)
    shares = curves.shares(scale, 40, [0.011, 0.11, 1.1, None])
    assert [0.25, 0.25, 0.5, 0.75, 0.75] == [shares[each] for each in (0, 9, 10, 20, 39)]
    assert "┴0.01─────┴0.1──────┴1────────┴10───────" == curves.ruler(scale, 40)
    assert "          ↑ 0.1 s   ↑ 1 s" == curves.marks(scale, 40, [1.0, 0.1])


def test_agreement() -> None:
    """Order and CNAMEs do not matter, nor who did not answer; other data, and other kinds of nothing, do."""
    answers = Answers(5)
    alias = told(0, "NOERROR", "192.0.2.2", "192.0.2.1")
    alias.answers.insert(0, Record("a.example.", "CNAME", 60, "b."))
    answers.add("x", [alias, told(1, "NXDOMAIN"), told(2, "NOERROR", "192.0.2.1"), told(3, "NODATA")])
    answers.add("y", [told(0, "NOERROR", "192.0.2.1", "192.0.2.2"), told(1, "NODATA"), told(2, "TIMEOUT")])
    answers.add("y", [told(3, "NODATA"), told(4, "NOERROR", "192.0.2.1")])
    answers.add("y", [told(4, "NOERROR", "192.0.2.2")])
    got = answers.agreement([(f"{number}.example", "A") for number in range(5)])
    assert [3, 1, 1] == [got.compared, got.differing, got.changing]
    assert [("1.example", False), ("4.example", True)] == [(each.host, each.changing) for each in got.differences]
    said = [(each.status, each.data, each.by) for difference in got.differences for each in difference.answers]
    assert [
        ("NXDOMAIN", [], ["x"]), ("NODATA", [], ["y"]),
        ("NOERROR", ["192.0.2.1"], ["y"]), ("NOERROR", ["192.0.2.2"], ["y"]),
    ] == said  # fmt: skip


def test_order() -> None:
    """A B, B A, A B, where each timeout makes contestants of its own."""
    a, b = Contestant("threads", "wire"), Contestant("asyncio", "wire")
    once = [Cell(*pair, timeout) for timeout in (1.0, None) for pair in (("threads", "wire"), ("asyncio", "wire"))]
    assert [*once, *once[::-1], *once] == contest.order([a, b], [1.0, None], 3)


# --- Who takes part.


def test_field_is_the_table() -> None:
    """Without a choice every installed pair takes part that can do what is asked, and the others are told of."""
    got = contest.choose([], [], ["A"], Policy(nameservers=(Nameserver.parse("192.0.2.1"),)))
    taking_part = {each.name for each in got.contestants}
    everybody = [*taking_part, *(each.name for each in got.left_out)]
    assert sorted(f"{each.engine}:{each.backend}" for each in engines.pairs()) == sorted(everybody)
    assert {f"{engine}:wire" for engine in ("gevent", "asyncio", "threads")} <= taking_part


def test_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not installed is left out with the cure, and an error where it is named."""
    missing = engines.ENGINES["asyncio"]._replace(needs="no_such_library", extra="imaginary")
    monkeypatch.setitem(engines.ENGINES, "asyncio", missing)
    policy = Policy(nameservers=(Nameserver.parse("192.0.2.1"),))
    left = [each.reason for each in contest.choose([], ["wire"], ["A"], policy).left_out if each.engine == "asyncio"]
    assert ["not installed: pip install 'resolve-dns[imaginary]'"] == left
    with pytest.raises(LookupError, match=r"pip install 'resolve-dns\[imaginary\]'"):
        contest.choose(["asyncio"], [], ["A"], policy)


def test_what_cannot_be_asked() -> None:
    """A backend that cannot do what is asked is left out with its reason, and an error where it is named."""
    policy = Policy(nameservers=(Nameserver.parse("https://192.0.2.1/dns-query"),))
    with pytest.raises(ValueError, match=r"asyncio:aiodns: backend aiodns does not speak https"):
        contest.choose(["asyncio"], ["aiodns"], ["A"], policy)
    with pytest.raises(ValueError, match=r"nothing to compare: backend aiodns does not speak https"):
        contest.choose([], ["aiodns"], ["A"], policy)


def test_hosts_are_read_once(tmp_path: Path) -> None:
    """Addresses are one lookup, names one for each type, what is no name none; a leading # stays a part of the name."""
    sources = [elements(["a.example", "x y", "192.0.2.1", "#b.example"])]
    got = contest.read(sources, ["A", "MX"], str(tmp_path / "hosts"))
    assert [4, 1, "a.example\n192.0.2.1\n\\035b.example\n"] == [got.hosts, got.invalid, Path(got.file).read_text()]
    assert [("a.example", "A"), ("a.example", "MX"), ("192.0.2.1", "PTR")] == got.of[:3]
    assert [("#b.example", "A"), ("#b.example", "MX")] == got.of[3:]


# --- A whole comparison.


def test_json(document_of: dict[str, Any]) -> None:
    """The document has everything that a reader needs to judge it, and the counts add up for each run."""
    assert list(ComparisonReport.__struct_fields__) == list(document_of)
    keys = ("complete", "runs_done", "runs_planned", "hosts", "lookups", "invalid", "left_out")
    assert [True, 8, 8, 42, 41, 1, []] == [document_of[key] for key in keys]
    settings = document_of["settings"]
    assert [["A"], [0.3, 1.5], 2, 0.5, 2, 128, True] == [settings[key] for key in list(settings)[:7]]
    assert [2, True] == [len(document_of["order"]) // 4, document_of["order"][:4] == document_of["order"][:3:-1]]
    for row in document_of["rows"]:
        assert [2, []] == [len(row["runs"]), row["errors"]]
        for each in row["runs"]:
            assert 41 == each["answered"] + each["timed_out"] + each["deadline"] + each["failed"]


def test_measured(document_of: dict[str, Any]) -> None:
    """One host of 41 gets no reply: a DEADLINE after 0.3 s, a TIMEOUT after 0.25 + 0.5 s; and costs were seen."""
    for row in document_of["rows"]:
        ended = row["timeout"] == 0.3
        for each in row["runs"]:
            expected = [40, 0, 1, 0] if ended else [40, 1, 0, 0]
            assert expected == [each[key] for key in ("answered", "timed_out", "deadline", "failed")]
            assert [ended, True] == [each["overrun"] is not None, 0 < each["seconds_to_90"] < each["seconds"]]
            assert (0.3 if ended else 0.75) <= each["seconds"]
            assert 0 < each["latency_p50"] <= each["latency_p95"] <= each["latency_p99"] <= each["latency_max"]
            # On a busy machine the deadline may come before the second try, and a late reply costs one more.
            assert (41 if ended else 42) <= round(41 * each["attempts"])
            # A Python with this package has more than 10 MB and 3 descriptors, and takes time to start.
            assert each["peak_memory"] > 10e6
            assert [True, True, True] == [each["threads"] >= 1, each["descriptors"] > 3, each["startup_seconds"] > 0.02]
            assert 0 <= each["cpu_seconds"] < 5


def test_agreement_of_real_engines(document_of: dict[str, Any]) -> None:
    """The lab gives everybody the same answers."""
    assert {"compared": 40, "differing": 0, "changing": 0, "differences": []} == document_of["agreement"]


def test_svg(found: tuple[Path, Done]) -> None:
    """The picture is well-formed, and as large as a picture is."""
    root = ElementTree.fromstring((found[0] / "p.svg").read_text())
    assert "{http://www.w3.org/2000/svg}svg" == root.tag
    assert len((found[0] / "p.svg").read_text()) > 10_000


def test_page(found: tuple[Path, Done], document_of: dict[str, Any]) -> None:
    """The page has a table for each timeout and a panel of curves, in one file that holds nothing active."""
    octets = (found[0] / "r.html").read_bytes()
    seen = Elements(octets.decode())
    assert [set(), 2, 1, 2] == [
        seen.active,
        seen.names["table"],
        octets.count(b'class="chart"'),
        seen.text.count("90% in s"),
    ]
    for expected in (
        "41 lookups through 2 pairs of engine and backend", "timeout 300 ms", "backend wire asyncio threads",
        "All gave the same answer to each of the 40 lookups", "--timeout 1.5 --timeout 0.3",
    ):  # fmt: skip
        assert expected in seen.text


@pytest.mark.skipif(PROGRAM is None, reason=MISSING)
def test_page_in_a_browser(found: tuple[Path, Done], tmp_path: Path) -> None:
    """What hosts, answers and errors say is text; the page fits its window, and two sheets of paper."""
    hostile = '"><script>document.title="hacked"</script><img src=x onerror="document.title=`hacked`">'
    report = msgspec.json.decode((found[0] / "r.json").read_bytes(), type=ComparisonReport)
    said = [Said("NOERROR", [hostile], [hostile]), Said("NXDOMAIN", [], [hostile])]
    report.agreement.differences.append(Difference(0, hostile, "A", False, said))
    report.rows[0].errors.append(hostile)
    report = msgspec.structs.replace(report, agreement=msgspec.structs.replace(report.agreement, differing=1))
    octets = page(report, [hostile])
    assert [set(), True] == [Elements(octets.decode()).active, len(octets) < 300_000]
    (tmp_path / "page.html").write_bytes(octets)
    with Browser() as browser, browser.open((tmp_path / "page.html").as_uri()) as shown:
        for width, dark in ((400, False), (1200, True)):
            shown.show(width=width, dark=dark)
            assert [[], False] == [shown.problems(), "hacked" == shown.evaluate("document.title")]
        assert 1 <= len(re.findall(rb"/Type /Page\b", shown.pdf())) <= 2


def test_csv_and_png(at: list[str], tmp_path: Path) -> None:
    """A row for each contestant, in columns that have names; and the picture as PNG. Both replace what was there."""
    (tmp_path / "r.csv").write_text("old " * 10_000)
    done = inside(*at, "a.example", "b.example", "-o", "r.csv", "--plot", "p.png", cwd=tmp_path)
    header, *rows = csv.reader((tmp_path / "r.csv").read_text().splitlines())
    figures_ = [f"{name}{end}" for name in figures.FIGURES for end in ("", "_min", "_max")]
    assert [Done(0, "", ""), ["engine", "backend", "timeout", "runs", "errors", *figures_, "best"]] == [done, header]
    known = [dict(zip(header, row, strict=True)) for row in rows]
    assert [("threads", "wire", "", "1", "2"), ("asyncio", "wire", "", "1", "2")] == [
        (row["engine"], row["backend"], row["timeout"], row["runs"], row["answered"]) for row in known
    ]
    assert all(float(row["seconds_min"]) <= float(row["seconds"]) <= float(row["seconds_max"]) for row in known)
    octets = (tmp_path / "p.png").read_bytes()
    assert [b"\x89PNG\r\n\x1a\n", b"IEND\xaeB`\x82", True] == [octets[:8], octets[-8:], len(octets) > 10_000]


def test_terminal() -> None:
    """At 80 columns nothing is cut off or wrapped inside a table; the curves and a verdict are there."""
    words = ["compare", *QUICK, "--lab", "--latency", "5ms", "--timeout", "5", "a.example", "nx.example"]
    terminal = pexpect.spawn(
        COMMAND[0], [*COMMAND[1:], *words], env=environment(TERM="xterm-256color"), dimensions=(60, 80),
        encoding="utf-8", timeout=100,
    )  # fmt: skip
    terminal.expect(pexpect.EOF)
    terminal.close()
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", terminal.before.rpartition("\x1b[2K")[2]).replace("\r", "")
    lines = shown.splitlines()
    assert [0, True, False] == [terminal.exitstatus, max(map(len, lines)) <= 80, "…" in shown]
    names = [line.split()[0] for line in lines if line.startswith(("threads:wire", "asyncio:wire"))]
    # In each table, and with its curve.
    assert [True, True] == [names.count("threads:wire") == names.count("asyncio:wire") >= 3, "█ 100%" in shown]
    headings = ("answered", "lookups/s", "90% in s", "p95", "tries", "CPU s", "threads", "start s", "↑ 5 s")
    assert [] == [each for each in headings if each not in shown]
    said = " ".join(shown.split())
    assert "latency 5 ms, loss 0%" in said
    assert "All gave the same answer to each of the 2 lookups that more than one answered." in said


def test_output_that_is_no_file(at: list[str]) -> None:
    """A device takes the report as a file does; where it takes nothing, the status says so."""
    assert [Done(0, "", ""), 4] == [
        inside(*at, "a.example", "-o", "/dev/null"),
        inside(*at, "a.example", "-o", FULL).status,
    ]


# --- What goes wrong.


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["-e", "nope"], "there is no engine 'nope'; valid: gevent, "),
        (["-e", "threads:nope"], "there is no backend 'nope'; valid: wire"),
        (["-b", "nope"], "there is no backend 'nope'; valid: wire"),
        (["-e", "threads:"], "there is no backend ''; valid: wire"),
        (["-t", "NOPE"], "'NOPE' is not a record type"),
        (["-f", "jsonl"], "'jsonl' is not one of 'table', 'json', 'csv'"),
        (["--timeout", "0"], "'0' is not a number above 0"),
        (["--repeat", "0"], "'0' is not a whole number above 0"),
        (["--plot", "p.gif"], "'p.gif' tells no format of pictures; valid: .png, .svg"),
        (["--plot", "/nonexistent/p.png"], "/nonexistent/p.png: No such file or directory"),
        (["--report", "/nonexistent/r.html"], "/nonexistent/r.html: No such file or directory"),
        (["-o", "/nonexistent/r"], "/nonexistent/r: No such file or directory"),
        (["-o", "/"], "/: Is a directory"),
        (["-o", "results.jsonl"], "results.jsonl: a comparison is not JSON Lines; valid: .json, .csv"),
        (["--latency", "20ms"], "--latency says how the lab behaves: it needs --lab"),
        (["--lab", "--loss", "2"], "not a percentage from 0 to 100%: '2'"),
        (["--lab"], "--lab is a nameserver of the comparison's own; it does not go with --nameserver"),
        (["no/such/list"], "no/such/list: there is no such file"),
    ],
    ids=" ".join,
)
def test_arguments(options: list[str], sentence: str) -> None:
    """What is wrong is named before anything runs."""
    assert sentence in complaint(inside("compare", "-n", "127.0.0.1", *options, "a.example"))


def test_nothing_to_look_up() -> None:
    """A list without a name that can be asked is nothing to compare."""
    assert "Error: there is no host to look up" in complaint(
        inside("compare", "-n", "127.0.0.1", "-", text="# none\nx y\n")
    )


def test_one_file_for_two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The list, the report and the picture are different files, and none is lost by a mistake."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "list.svg").write_text("a.example\n")
    for option in ("--plot", "-o", "--report"):
        done = inside("compare", "-n", "127.0.0.1", "list.svg", option, "list.svg")
        assert "list.svg is another file of this run, and would be overwritten" in complaint(done)
    assert "a.example\n" == (tmp_path / "list.svg").read_text()


def test_mistake_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is wrong with the engines is found before a file is opened."""
    monkeypatch.chdir(tmp_path)
    done = inside("compare", "-n", "127.0.0.1", "-e", "nope", "a.example", "-o", "r.json", "--plot", "p.svg")
    assert ["Error: there is no engine 'nope'", []] == [complaint(done).partition(";")[0], [*tmp_path.iterdir()]]


@pytest.mark.parametrize(
    ("library", "sentence"),
    [
        ("jinja2", "--report needs jinja2, which is not installed: pip install 'resolve-dns[report]'"),
        ("matplotlib", "--plot needs matplotlib, which is not installed: pip install 'resolve-dns[plot]'"),
        ("psutil", "compare needs psutil, which is not installed: pip install 'resolve-dns[compare]'"),
    ],
)
def test_without_the_extra(library: str, sentence: str) -> None:
    """Without matplotlib, jinja2 or psutil the error names the extra: of a picture, a page, any comparison."""
    code = f"import sys; sys.modules[{library!r}] = None; from resolver.__main__ import main; main()"
    done = run(
        "compare", "--lab", "--plot", "p.png", "--report", "r", "a.example", command=[sys.executable, "-c", code]
    )
    assert sentence in complaint(done)


def test_environment_of_run(lab: Lab) -> None:
    """What the environment sets for `run` alone does not narrow the comparison, what makes sense for it is heeded."""
    env = environment(RESOLVE_ENGINE="gevent", RESOLVE_FORMAT="jsonl", RESOLVE_LATENCY="20ms",
                      RESOLVE_NAMESERVER=lab.nameserver, RESOLVE_TIMEOUT="5", RESOLVE_REPEAT="1",
                      RESOLVE_CONCURRENCY="7", RESOLVE_BACKEND="wire wire")  # fmt: skip
    done = inside("compare", "a.example", "-b", "wire", "-f", "json", env=env)
    got = json.loads(done.out)
    waiting = [name for name, entry in engines.ENGINES.items() if "wire" in entry.styles]
    assert waiting == [row["engine"] for row in got["rows"]]
    assert [[5], 7, False] == [got["settings"][key] for key in ("timeouts", "concurrency", "concurrency_chosen")]


def test_engine_that_fails(at: list[str], tmp_path: Path) -> None:
    """An engine whose library is broken is a row with its error; the others are compared, and the status is 1."""
    (tmp_path / "gevent").mkdir()
    (tmp_path / "gevent" / "__init__.py").write_text("raise RuntimeError('half installed')\n")
    env = environment(PYTHONPATH=str(tmp_path))
    done = run(*at, "-e", "gevent", "a.example", "-f", "json", env=env)
    rows = {row["engine"]: row for row in json.loads(done.out)["rows"]}
    assert [1, "", ["threads", "asyncio", "gevent"]] == [done.status, done.err, list(rows)]
    assert [1, 1, 0] == [len(row["runs"]) for row in rows.values()]
    (error,) = rows["gevent"]["errors"]
    assert "half installed" in error
    nobody = run("compare", "--lab", "-e", "gevent", "--plot", "p.png", "a.example", env=env, cwd=tmp_path)
    assert [1, True] == [nobody.status, "gevent:wire: 2 of 2 runs failed: " in nobody.out]
    assert not (tmp_path / "p.png").exists()


def test_engine_that_breaks_midway(lab: Lab, tmp_path: Path) -> None:
    """What an engine raises while it runs is its error, though the joinall gives every lookup a result."""
    (tmp_path / "sitecustomize.py").write_text(
        "import select, resolver.subprocesses\n"
        "class Broken:\n"
        "    def register(self, *_): raise RuntimeError('no more descriptors')\n"
        "    modify = unregister = register\n"
        "select.poll = Broken\n"
    )
    with pytest.raises(ChildFailed, match="the engine broke: RuntimeError: no more descriptors"):
        watched(lab, tmp_path, command=["-m", "resolver.compare"], path=tmp_path)


CHILDREN = {
    "mute": ("import signal; signal.pause()", "it did not begin in time, and was killed"),
    "dead": ("import sys; print('Oh dear', file=sys.stderr); sys.exit(3)", "its process ended with status 3: Oh dear"),
    "killed": ("import os; os.kill(os.getpid(), 9)", "its process was killed by signal 9"),
    "late": (
        """print('{"seconds":0.1}', flush=True); import signal; signal.pause()""",
        "it did not end in time",
    ),
    "silent": (
        """print('{"seconds":0.1}', flush=True); import signal; signal.pause()""",
        "no result for 0 sec",
    ),
    "failed": ("""print('{"error":"no luck"}', flush=True); input(); input()""", "no luck"),
}


@pytest.mark.parametrize("how", CHILDREN)
def test_child_that_fails(lab: Lab, tmp_path: Path, how: str) -> None:
    """A child that hangs, dies or gives up is an error that says which, and none is left behind."""
    program, sentence = CHILDREN[how]
    timeout = None if how == "silent" else 0.1
    limits = WaitLimits(start=5, late=0.1, silent=0.2)._replace(**({"start": 0.3} if how == "mute" else {}))
    with pytest.raises(ChildFailed, match=sentence):
        watched(lab, tmp_path, command=["-c", program], limits=limits, timeout=timeout)
    assert [] == [each for each in psutil.Process().children() if program in words_of(each)]


def words_of(process: psutil.Process) -> list[str]:
    """Return the command line of a process; empty: it has ended."""
    try:
        words: list[str] = process.cmdline()
    except psutil.Error:
        return []
    return words


def watched(
    lab: Lab,
    directory: Path,
    *,
    command: list[str],
    limits: WaitLimits = WaitLimits(),  # noqa: B008  # an immutable tuple
    timeout: float | None = None,
    path: Path | None = None,
) -> Cost:
    """A run of one host on the engine threads, in this child; `path` is where it looks for modules first."""
    (directory / "hosts").write_text("a.example\n")
    policy = Policy(nameservers=(Nameserver.parse(lab.nameserver),), timeout=timeout)
    spec = Spec("threads", "wire", ["A"], policy, str(directory / "hosts"), str(directory / "spool"))
    before = sys.path.copy()
    try:
        if path is not None:
            sys.path.insert(0, str(path))
        return watch(spec, limits, lambda: None, command)
    finally:
        sys.path[:] = before


def test_child_ends_with_its_parent(tmp_path: Path) -> None:
    """A comparison that is killed leaves no child running."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        where = "{}:{}".format(*silent.getsockname())
        process = psutil.Popen([*COMMAND, "compare", *QUICK, "-n", where, "--query-timeout", "60", "a.example"],
                               env=environment(TMPDIR=str(tmp_path)))  # fmt: skip
        silent.settimeout(20)
        silent.recv(512)
        (child,) = process.children()
        process.kill()
        process.wait(5)
    wait_for(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, "the child's end")


def test_ctrl_c(lab: Lab) -> None:
    """Ctrl-C keeps what is finished: its report is written, the status is 130, and the running child is gone."""
    words = ["compare", *QUICK, "-n", lab.nameserver, "--timeout", "0.3", "--timeout", "60", "--query-timeout", "60"]
    terminal = pexpect.spawn(
        COMMAND[0], [*COMMAND[1:], *words, "a.example", "hang.example"], env=environment(TERM="xterm-256color"),
        dimensions=(60, 100), encoding="utf-8", timeout=30,
    )  # fmt: skip
    terminal.expect("2/4 runs")
    children = wait_for(lambda: psutil.Process(terminal.pid).children(), "the third child")
    time.sleep(0.3)  # it is looking the second host up, or starting: both must end
    terminal.sendintr()
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert [130, []] == [terminal.exitstatus, [each for each in children if each.is_running()]]
    for words_ in ("INTERRUPTED after 2 of 4", "timeout 0.3 s", "All gave the same answer to the lookup that"):
        assert words_ in terminal.before
    assert "timeout 60 s ─" not in terminal.before


# --- Nameservers that do not say the same to everybody.


@pytest.fixture
def fickle() -> Iterator[Callable[[], str]]:
    """A nameserver that answers each query with another address."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(0.1)
        ended = threading.Event()

        def serve() -> None:
            number = 0
            while not ended.is_set():
                try:
                    query, sender = server.recvfrom(512)
                except TimeoutError:
                    continue
                question = query[12 : query.index(b"\0", 12) + 5]
                number += 1
                record = b"\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04" + bytes([192, 0, 2, number])
                server.sendto(query[:2] + b"\x81\x80\0\x01\0\x01\0\0\0\0" + question + record, sender)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield lambda: "{}:{}".format(*server.getsockname())
        finally:
            ended.set()
            thread.join()


@pytest.mark.parametrize(("repeat", "kind"), [(1, "were answered differently"), (2, "change from run to run")])
def test_disagreement(fickle: Callable[[], str], repeat: int, kind: str) -> None:
    """Other answers are named with who gave them; those that one engine changes by itself are told apart."""
    done = inside("compare", *QUICK, "--repeat", str(repeat), "-n", fickle(), "a.example")
    assert [0, True] == [done.status, kind in done.out]
    told_by = re.findall(r"^    (192\.0\.2\.\d+): (\w+):wire$", done.out, re.M)
    assert [2 * repeat, {"threads", "asyncio"}] == [len({data for data, _ in told_by}), {who for _, who in told_by}]

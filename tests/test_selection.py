"""Choice of what is written: --only, the formats of one column, and a row a host."""

import csv
import io
import json
import random
from pathlib import Path

import pytest
from command import Done, environment, inside

from resolver.lab import Lab
from resolver.model import Record, Result, Status
from resolver.output.formats import FORMATS, open_writer
from resolver.output.selection import Selection

HOSTS = ["a.example", "nx.example", "nodata.example", "servfail.example", "x y"]
STATUSES = ["NOERROR", "NXDOMAIN", "NODATA", "SERVFAIL", "INVALID"]


@pytest.fixture(scope="module")
def at(lab: Lab) -> list[str]:
    """The options that have a nameserver asked that answers for every name, on the engine that starts soonest."""
    return ["-e", "threads", "-n", lab.nameserver, "--tries", "1", "--order", "input"]


def result(index: int, host: str, type: str, *data: str, status: Status = Status.NOERROR) -> Result:
    """A result with this data, under an alias."""
    records = [Record(f"{host}.", "CNAME", 1, "to.example."), *[Record("to.example.", type, 1, each) for each in data]]
    return Result(
        index, host, f"{host}.", type, status, records if data else [], None, None, 1, 0.1, "gevent", "wire", None
    )


def written(format: str, results: list[Result], **choice: object) -> str:
    """What is written of them, in batches of two."""
    stream = io.BytesIO()
    writer = open_writer(format, stream, **choice)  # type: ignore[arg-type]
    for at in range(0, len(results), 2):
        writer.write(results[at : at + 2])
    writer.close()
    return stream.getvalue().decode()


# --- --only


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["NXDOMAIN"], ["nx.example"]),
        (["nxdomain", "Invalid"], ["nx.example", "x y"]),
        (["answered"], ["a.example", "nx.example", "nodata.example"]),
        (["unanswered"], ["servfail.example", "x y"]),
        (["unanswered", "NODATA"], ["nodata.example", "servfail.example", "x y"]),
        (["answered", "unanswered"], HOSTS),
        (["REFUSED"], []),
    ],
)
def test_selection(words: list[str], expected: list[str]) -> None:
    """Statuses in any case, those of answered and unanswered, and any union of these; what passed is counted."""
    selection = Selection(words)
    every = [result(0, host, "A", status=Status(status)) for host, status in zip(HOSTS, STATUSES, strict=True)]
    chosen = [one.input for one in selection.of(every)]
    assert [expected, len(expected)] == [chosen, selection.shown]


@pytest.mark.parametrize("format", FORMATS)
def test_the_same_filter_for_every_format(at: list[str], tmp_path: Path, format: str) -> None:
    """What --only leaves is the same in each format, and figures and exit status are those of all lookups."""
    figures = tmp_path / "figures"
    done = inside(*at, "-f", format, "--only", "unanswered", "--only", "NXDOMAIN", "--summary", figures, *HOSTS)
    expected = [] if format == "answers" else ["nx.example", "servfail.example", "x y"]
    assert [1, expected, ""] == [done.status, [host for host in HOSTS if host in done.out], done.err]
    said = json.loads(figures.read_text())
    assert [5, 5, 3, sorted(STATUSES)] == [
        *(said[key] for key in ("lookups", "results_written", "results_shown")), sorted(said["statuses"]),
    ]  # fmt: skip


def test_nothing_left(at: list[str]) -> None:
    """Where no result is chosen there is no line, and the exit status is that of the lookups."""
    assert Done(0, "", "") == inside(*at, "--only", "REFUSED", *HOSTS[:2])
    assert Done(1, "", "") == inside(*at, "--only", "REFUSED", *HOSTS[3:])


def test_the_summary_says_what_was_shown(at: list[str]) -> None:
    """The summary for people counts all, and says how many are shown."""
    done = inside(*at, "--progress", "--only", "NODATA", *HOSTS)
    assert [["5 hosts, 5 lookups, 5 results"], True] == [
        [line.partition(" in ")[0] for line in done.err.splitlines() if " hosts, " in line],
        "1 result shown (--only)" in done.err,
    ]


def test_a_run_longer_than_a_table_is_text() -> None:
    """The length of the run chooses the format on a terminal, not that of what is shown."""
    many = [result(number, f"h{number}.example", "A") for number in range(101)]
    many[7].status = Status.SERVFAIL
    for results, expected in ((many, "h7.example\tA\tSERVFAIL\t\n"), (many[:100], "h7.example  A     SERVFAIL")):
        text = written("auto", results, selection=Selection(["unanswered"]))
        assert [True, False] == [expected in text, "h8" in text]


def test_no_status(at: list[str]) -> None:
    """A word that is no status is an error that lists the valid ones."""
    done = inside(*at, "--only", "nonsense", "a.example")
    assert [2, True] == [done.status, "'nonsense' is no status; valid: answered, unanswered, NOERROR," in done.err]


def test_only_does_not_go_with_resume(tmp_path: Path) -> None:
    """A file that was thinned cannot be resumed: the two are refused, and the file stays as it was."""
    (tmp_path / "r.jsonl").write_text("as it was")
    done = inside("--only", "NOERROR", "--resume", "-o", tmp_path / "r.jsonl", "a.example")
    assert [2, True] == [done.status, "--only" in done.err]
    assert "as it was" == (tmp_path / "r.jsonl").read_text()


# --- Formats of one column, --json, -o -


def test_hosts_and_answers(at: list[str]) -> None:
    """The host of each result, as it was written; the data of the type that was asked, without CNAMEs."""
    words = [*at, "-t", "A", "-t", "CNAME", "cname-2.example", "nx.example"]
    assert ["cname-2.example"] * 2 + ["nx.example"] * 2 == inside(*words, "-f", "hosts").out.splitlines()
    address, alias = inside(*words, "-f", "answers").out.splitlines()
    assert [4, "example."] == [len(address.split(".")), alias[-8:]]


def test_what_was_not_answered_is_looked_up_again(at: list[str]) -> None:
    """What one run writes with -f hosts another reads: the same hosts, those with letters that are not ASCII too."""
    hosts = ["Bücher.example", "servfail.example", "SERVFAIL.ü.example.", "a.example"]
    thinned = inside(*at, "--only", "unanswered", "-f", "hosts", *hosts)
    assert hosts[1:3] == thinned.out.splitlines()
    assert hosts[1:3] == [one["input"] for one in inside(*at, "--json", "-", text=thinned.out).results]


def test_json_is_short_for_jsonl(at: list[str], tmp_path: Path) -> None:
    """--json is -f jsonl, also for a file whose name says otherwise; with another format it is an error."""
    assert ["a.example"] == [one["input"] for one in inside(*at, "--json", "a.example").results]
    inside(*at, "--json", "-o", tmp_path / "r.csv", "a.example")
    assert "{" == (tmp_path / "r.csv").read_text()[0]
    assert "a.example\tA" == inside(*at, "-f", "text", "a.example", env=environment(RESOLVE_JSON="1")).out[:11]
    done = inside(*at, "--json", "-f", "csv", "a.example")
    assert [2, True] == [done.status, "--json is short for -f jsonl; it does not go with -f csv" in done.err]
    assert inside("engines", "-f", "jsonl") == inside("engines", "--json")


def test_output_to_standard_output(at: list[str], tmp_path: Path) -> None:
    """`-o -` is standard output, whatever the environment names; there is no file called so."""
    env = environment(RESOLVE_OUTPUT=str(tmp_path / "r.csv"))
    done = inside(*at, "-o", "-", "a.example", env=env, cwd=tmp_path)
    assert [0, "a.example\tA", []] == [done.status, done.out[:11], list(tmp_path.iterdir())]


# --- --group


def test_group_as_csv(at: list[str]) -> None:
    """A row a host, a column a type, and PTR for addresses; a cell without data has the status."""
    hosts = [*HOSTS, "192.0.2.1"]
    rows = list(csv.reader(inside(*at, "-t", "A", "-t", "AAAA", "--group", "-f", "csv", *hosts).out.splitlines()))
    assert [["input", "A", "AAAA", "PTR"], hosts] == [rows[0], [row[0] for row in rows[1:]]]
    assert [["NXDOMAIN"] * 2, ["NODATA"] * 2, ["SERVFAIL"] * 2, ["INVALID"] * 2] == [row[1:3] for row in rows[2:6]]
    assert [True, True, ""] == ["." in rows[1][1], ":" in rows[1][2], rows[1][3]]
    assert [["", ""], "."] == [rows[6][1:3], rows[6][3][-1]]


@pytest.mark.parametrize("options", [[], ["-f", "table"]])
def test_group_as_table(at: list[str], options: list[str]) -> None:
    """The table has a column for each type that some host has a result of; without -f it is a table."""
    words = ["-t", "A", "-t", "AAAA", "--group", *options]
    lines = [line.split() for line in inside(*at, *words, "a.example", "nx.example").out.splitlines()]
    assert [["host", "A", "AAAA"], ["nx.example", "NXDOMAIN", "NXDOMAIN"]] == [lines[0], lines[3]]
    assert ["host", "A", "AAAA", "PTR"] == inside(*at, *words, "a.example", "192.0.2.1").out.split("\n")[0].split()


@pytest.mark.parametrize("format", ["jsonl", "text", "hosts", "answers"])
def test_group_goes_with_table_and_csv(at: list[str], tmp_path: Path, format: str) -> None:
    """JSON Lines stays a lookup a line, text and the columns too: the error names what --group goes with."""
    (tmp_path / "r").write_text("as it was")
    done = inside(*at, "--group", "-f", format, "-o", tmp_path / "r", "a.example")
    assert [2, True, "as it was"] == [
        done.status, f"it goes with -f table and -f csv, not with {format}" in done.err, (tmp_path / "r").read_text(),
    ]  # fmt: skip
    env = environment(RESOLVE_GROUP="1")
    assert 0 == inside(*at, "-f", format, "a.example", env=env).status, "the environment speaks to every run"


def test_group_with_only(at: list[str]) -> None:
    """What --only leaves out is an empty cell; a host with nothing left has no row."""
    words = ["-t", "A", "-t", "NS", "--group", "-f", "csv", "--only", "NOERROR"]
    rows = list(csv.reader(inside(*at, *words, "nx.example", "ns.example").out.splitlines()))
    assert [1, "ns.example"] == [len(rows[1:]), rows[1][0]]
    mixed = [result(0, "a", "A", "192.0.2.1"), result(1, "a", "AAAA", status=Status.NODATA)]
    text = written("csv", mixed, group=["A", "AAAA"], selection=Selection(["NOERROR"]))
    assert "a,192.0.2.1,,\r\n" == text.splitlines(keepends=True)[1]


@pytest.mark.parametrize("types", [["A"], ["A", "AAAA", "PTR"], ["PTR", "A"], ["PTR"]])
def test_group_in_any_order_of_results(types: list[str]) -> None:
    """Whatever the order of results, each host has one row, addresses with their one lookup too, and none is held."""
    results: list[Result] = []
    for number in range(200):
        if number % 3:
            host = f"h{number}.example" if number % 2 else f"{number}.2.0.192.in-addr.arpa"
            results += [
                result(len(results) + place, host, type_, f"{type_}.{number}") for place, type_ in enumerate(types)
            ]
        else:
            one = result(len(results), f"192.0.2.{number}", "PTR", f"PTR.{number}")
            one.name = f"{number}.2.0.192.in-addr.arpa."
            results.append(one)
    random.Random(1).shuffle(results)
    rows = list(csv.DictReader(io.StringIO(written("csv", results, group=types), newline="")))
    assert 200 == len({row["input"] for row in rows}) == len(rows)
    for row in rows:
        at = row["input"].strip("h").split(".")[3 if row["input"].startswith("192.") else 0]
        filled = {"PTR"} if row["input"].startswith("192.") else set(types)
        assert {type_: f"{type_}.{at}" for type_ in filled} == {
            type_: data for type_, data in row.items() if data and type_ != "input"
        }


def test_group_holds_the_hosts_in_flight() -> None:
    """A row is written when the last of its results is there, and nothing of it is kept."""
    stream = io.BytesIO()
    writer = open_writer("csv", stream, group=["A", "AAAA"])
    for number in range(0, 20_000, 2):
        writer.write([result(number + 1, "a.example", "AAAA", "2001:db8::1")])
        writer.write([result(number, "a.example", "A", "192.0.2.1")])
        assert (number // 2 + 2) == stream.getvalue().count(b"\n") or number % 1000

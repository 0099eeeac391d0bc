"""Lists that are CSV: where the host stands, what is kept of the row, and that a line stays a line."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING, Any

import pytest
from command import Done, inside
from hypothesis import given, settings
from hypothesis import strategies as st

from resolver import resolve, stream
from resolver.engines import ENGINES
from resolver.input.columns import HostColumn
from resolver.input.hosts import Hosts
from resolver.input.sources import path
from resolver.input.textfile import text_file
from resolver.lab import Lab
from resolver.model import KEYS

if TYPE_CHECKING:
    from pathlib import Path

ASSETS = (
    "owner,host,asset\r\n"
    '"Ann, IT",a.example,"{""x"": [1, ""#2""]}"\r\n'
    "Bob,https://b.example:8443/x,#2\r\n"
    "\r\n"
    "Cy,192.0.2.6/31,3\r\n"
)
ROWS = [
    {"owner": "Ann, IT", "host": "a.example", "asset": '{"x": [1, "#2"]}'},
    {"owner": "Bob", "host": "https://b.example:8443/x", "asset": "#2"},
    *[{"owner": "Cy", "host": "192.0.2.6/31", "asset": "3"}] * 2,
]
INPUTS = ["a.example", "https://b.example:8443/x", "192.0.2.6", "192.0.2.7"]


@pytest.fixture(scope="module")
def at(lab: Lab) -> list[str]:
    """Options that ask a nameserver that answers for every name."""
    return ["-n", lab.nameserver, "-q"]


@pytest.fixture
def assets(tmp_path: Path) -> Path:
    """A spreadsheet that was exported."""
    file = tmp_path / "assets.csv"
    file.write_text(ASSETS, newline="")
    return file


def read(text: str, column: int | str, *, keep: bool = True, n: int = 3) -> list[tuple[str, str | None, Any]]:
    """Input, error and row of each lookup of a list in memory."""
    place = HostColumn.of(column, keep=keep)
    hosts = Hosts([text_file(io.StringIO(text))] if place is None else [text_file(io.StringIO(text), place)], ["A"],
                  "e", "b", keep=keep)  # fmt: skip
    found: list[tuple[int, str, str | None]] = []
    while (got := hosts.take(n)) is not None:
        found += [(each.index, each.input, None) for each in got[0]]
        found += [(each.index, each.input, each.error) for each in got[1]]
    rows = hosts.rows or {}
    return [(text, error, rows.get(index)) for index, text, error in sorted(found)]


def complaint(done: Done) -> str:
    assert [2, ""] == [done.status, done.out]
    return done.err.splitlines()[-1]


# --- What a row is.


def test_rows_by_the_names_of_the_header() -> None:
    """A name of the header's skips that line; the host is the cell; the row has the values as they were."""
    assert list(zip(INPUTS, [None] * 4, ROWS, strict=True)) == read(ASSETS, "host")


def test_rows_by_a_number() -> None:
    """Of a number the first line is a row as well, and rows are lists."""
    expected = [["owner", "host", "asset"], *[list(row.values()) for row in ROWS]]
    assert ["host", *INPUTS] == [text for text, _, _ in read(ASSETS, 2)]
    assert expected == [row for _, _, row in read(ASSETS, "2")]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a;b,c;d\nx,y;host.example\n", [["a", "b,c", "d"], ["x,y", "host.example"]]),
        ("a;b,c\n", [["a;b", "c"]]),
        ('"a;b;c",d\n1,e\n', [["a;b;c", "d"], ["1", "e"]]),
        ("one\n", [["one"]]),
        ('x, b.example ,"say ""hi"""\n', [["x", " b.example ", 'say "hi"']]),
        ("\n \nx,y\n", [["x", "y"]]),
    ],
)
def test_the_first_row_tells_comma_or_semicolon(text: str, expected: list[list[str]]) -> None:
    """Whichever of the two is more often outside of quotes separates the cells of all rows."""
    found = read(text, 2)
    assert expected == [row for _, _, row in found]
    assert [row[1].strip() if len(row) > 1 else "" for row in expected] == [text for text, _, _ in found]


@pytest.mark.parametrize(
    ("line", "text", "error", "row"),
    [
        ("one", "", "no column 2", {"n": "one", "h": None, "": None}),
        ("1,,", "", "empty", {"n": "1", "h": "", "": ""}),
        ('1,"b.example', '1,"b.example', "does not end", None),
        ("1,b\rx,2", "1,b\rx,2", "no row of CSV", None),
        ('1,"b,c",2', "b,c", "comma", {"n": "1", "h": "b,c", "": "2"}),
        ("1,two words,2", "two words", "two words", {"n": "1", "h": "two words", "": "2"}),
        ("1," + "x" * 200_000, "1," + "x" * 200_000, "no row of CSV", None),
    ],
)
def test_a_bad_row_spoils_no_other(line: str, text: str, error: str, row: dict[str, str] | None) -> None:
    """A row that cannot be read, or has no host, is INVALID in its place; a quoted cell holds no line break."""
    before, bad, after = read(f"n,h,\n0,a.example,\n{line}\n2,c.example,\n", "h")
    assert ["a.example", "c.example"] == [before[0], after[0]]
    assert (text, True) == (bad[0], error in str(bad[1]))
    assert (row and dict(zip(["n", "h", "3"], row.values(), strict=True))) == bad[2]


def test_no_cell_is_lost() -> None:
    """Names that are empty or there twice, and cells past the header, are named by their place."""
    (_, _, row), *_ = read("h,,h,6\na,b,c,d,e,f\n", "h")
    assert {"h": "a", "2": "b", "h 3": "c", "6": "d", "5": "e", "6 6": "f"} == row


CELL = st.text(st.characters(exclude_characters="\n\r", exclude_categories=["Cs"]), max_size=12)


@settings(deadline=None)
@given(st.lists(st.lists(CELL, min_size=2, max_size=4), min_size=1, max_size=8), st.sampled_from(",;"))
def test_any_row_comes_out_as_it_went_in(rows: list[list[str]], delimiter: str) -> None:
    """Whatever the csv module writes is read, a result a row, with every value as it was."""
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, lineterminator="\n").writerows([["n", "h"], *rows])
    text.seek(0)
    found = read(text.getvalue(), 2)
    marks = str.maketrans("", "", "\ufeff")
    assert [cell.translate(marks) for row in rows for cell in row] == [
        str(cell).translate(marks) for _, _, row in found[1:] for cell in row
    ]


@settings(deadline=None)
@given(st.text(st.sampled_from('a,;"\n\r\t #./1:@\ufeff\x00'), max_size=80), st.sampled_from([1, 2]))
def test_any_line_has_one_result(text: str, column: int) -> None:
    """Whatever a CSV holds, each line that is not blank has its result and its row, or None in its place."""
    lines = [line for line in text.replace("\r\n", "\n").split("\n") if line.strip("\ufeff") and not line.isspace()]
    lines = [line for line in lines if not line.strip("\ufeff").isspace()]
    assert len(lines) == len(read(text, column))


# --- From end to end.


@pytest.mark.parametrize("engine", ENGINES)
def test_kept_rows_on_every_engine(at: list[str], assets: Path, engine: str, env: dict[str, str]) -> None:
    """`row` is the last key of each JSON object, for each type, whatever looks up."""
    done = inside(*at, "-e", engine, assets, "--column", "host", "--keep", "--json", "-t", "A", "-t", "AAAA", env=env)
    assert 0 == done.status
    assert [ROWS[0]] * 2 + [ROWS[1]] * 2 + ROWS[2:] == [result["row"] for result in done.results]
    assert {(*KEYS, "row")} == {tuple(result) for result in done.results}


def test_kept_columns_of_csv(at: list[str], assets: Path) -> None:
    """In CSV the list's columns come first; with --group too."""
    words: list[str | Path] = [*at, assets, "--column", "host", "--keep", "-f", "csv", "--order", "input"]
    header, *rows = csv.reader(io.StringIO(inside(*words).out))
    assert ["owner", "host", "asset", *KEYS] == header
    assert [[*row.values(), text] for row, text in zip(ROWS, INPUTS, strict=True)] == [
        [*row[:3], row[4]] for row in rows
    ]
    header, *rows = csv.reader(io.StringIO(inside(*words, "--group", "-t", "A", "-t", "MX").out))
    assert ["owner", "host", "asset", "input", "A", "MX", "PTR"] == header
    assert [[*row.values(), text] for row, text in zip(ROWS, INPUTS, strict=True)] == [row[:4] for row in rows]


def test_kept_columns_without_a_result(at: list[str]) -> None:
    """A list without rows gives the header of results; hosts that are words have no row."""
    assert ",".join(KEYS) == inside(*at, "-", "--column", "1", "--keep", "-f", "csv", text="").out.strip()
    done = inside(*at, "b.example", "-", "--column", "h", "--keep", "-f", "csv", text="n,h\n1,a.example\n", env=None)
    rows = [each[:2] for each in csv.reader(io.StringIO(done.out))]
    assert [["n", "h"], [["", ""], ["1", "a.example"]]] == [rows[0], sorted(rows[1:])]


def test_resume_with_kept_rows(at: list[str], assets: Path, tmp_path: Path) -> None:
    """What a resumed run adds has its row, and what the file holds keeps it."""
    output = tmp_path / "results.jsonl"
    words: list[str | Path] = [*at, assets, "--column", "host", "--keep", "-o", output]
    assert 0 == inside(*words, "--order", "input").status
    lines = output.read_text().splitlines(keepends=True)
    output.write_text("".join(lines[1:3]))
    assert 0 == inside(*words, "--resume").status
    found = sorted(map(json.loads, output.read_text().splitlines()), key=lambda result: int(result["index"]))
    assert ROWS == [result["row"] for result in found]


def test_column_that_is_not_there(at: list[str], assets: Path, tmp_path: Path) -> None:
    """A header without the name is told before the output is opened; in a pipe as it is read. No row is lost."""
    output = tmp_path / "kept"
    output.write_text("precious")
    sentence = "there is no column 'Host'; the first row has: owner, host, asset; did you mean host?"
    assert f"Error: {assets}: {sentence}" == complaint(inside(*at, assets, "--column", "Host", "-o", output))
    assert "precious" == output.read_text()
    assert f"standard input: {sentence}" in complaint(inside(*at, "--column", "Host", text=ASSETS))


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_header_in_another_encoding(encoding: str, tmp_path: Path) -> None:
    """A header is read as the rows are, whatever the encoding of the list, and looked at before the run begins."""
    listed = tmp_path / "hosts.csv"
    listed.write_text("h\u00f4te;n\na.example;1\n", encoding=encoding)
    with listed.open(encoding=encoding) as file:
        batches = Hosts([text_file(file, HostColumn("h\u00f4te"))], ["A"], "e", "b").batches()
        assert ["a.example"] == [query.input for queries, _ in batches for query in queries]
    with (
        listed.open(encoding=encoding) as file,
        pytest.raises(ValueError, match="no column 'hote'; the first row has: h\u00f4te, n"),
    ):
        text_file(file, HostColumn("hote"))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--keep"], "it needs column"),
        (["--column", "0"], "a number from 1"),
        (["--column", ""], "a number from 1"),
        (["--column", "1", "--keep", "--no-wait"], "--keep means nothing with --no-wait"),
    ],
    ids=" ".join,
)
def test_refused(at: list[str], assets: Path, options: list[str], sentence: str) -> None:
    """What does not go together is told."""
    assert sentence in complaint(inside(*at, assets, *options))


def test_library(at: list[str], assets: Path) -> None:
    """`column` and `keep` are keywords; other iterables than lists have no columns."""
    found = resolve(assets, column="host", keep=True, nameservers=at[1])
    assert ROWS == [result.row for result in found]
    with assets.open() as file:
        assert {"host", *INPUTS} == {each.input for each in stream(file, column=2, nameservers=at[1])}
    with pytest.raises(ValueError, match="column is for lists"):
        resolve(["a,b"], column=1)
    with pytest.raises(ValueError, match="needs column"):
        resolve(assets, keep=True)
    with pytest.raises(TypeError, match="column is a number"):
        resolve(assets, column=1.5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no column 'nope'"):
        resolve(assets, column="nope")


def test_rows_are_let_go(tmp_path: Path, at: list[str]) -> None:
    """A row is held only while its lookup is open."""
    (tmp_path / "long.csv").write_text("".join(f"{n},h{n}.example\n" for n in range(3000)))
    hosts = Hosts([path(tmp_path / "long.csv", HostColumn(1, True))], ["A"], "e", "b", keep=True)
    hosts.take(100)
    assert 100 == len(hosts.rows or ())
    results = stream(tmp_path / "long.csv", column=2, keep=True, concurrency=10, nameservers=at[1])
    assert 3000 == sum(result.row == [result.input[1:-8], result.input] for result in results)


def test_rows_of_each_nameserver(at: list[str], assets: Path) -> None:
    """Where each nameserver is asked, each of the results has the row."""
    found = resolve(assets, column="host", keep=True, nameservers=[at[1], at[1]], each_nameserver=True)
    many = len(found) // len(ROWS)
    assert [row for row in ROWS for _ in range(many)] == [result.row for result in found]


# --- Labels before each name.


def test_prefix(at: list[str]) -> None:
    """The labels stand before each name that is asked; `input` stays the line."""
    hosts = ["example.org", "https://www.example/x", "192.0.2.7", "Bücher.example"]
    done = inside(*at, "--json", "--prefix", "_dmarc", "-t", "TXT", *hosts)
    names = ["_dmarc.example.org.", "_dmarc.www.example.", "_dmarc.7.2.0.192.in-addr.arpa.",
             "_dmarc.xn--bcher-kva.example."]  # fmt: skip
    assert [hosts, names] == [[each["input"] for each in done.results], [each["name"] for each in done.results]]


@pytest.mark.parametrize("prefix", ["", ".", "a..b", "two words", "a,b", "x" * 64])
def test_prefix_that_is_none(prefix: str) -> None:
    """What is no label is refused."""
    with pytest.raises(ValueError, match="prefix"):
        resolve(["a.example"], prefix=prefix, lab=True)


def test_prefix_that_makes_a_name_too_long(at: list[str]) -> None:
    """A name that is too long with the prefix is INVALID in its place; octets count, not what they are written as."""
    longest = ".".join(["a" * 63] * 3 + ["b" * 54])
    hosts = [longest, longest + "b", r"\001" * 63 + ".a", "."]
    found = resolve(hosts, prefix="_dmarc.", nameservers=at[1])
    assert [["NOERROR", "INVALID", "NOERROR"], f"_dmarc.{longest}.", "_dmarc."] == [
        [str(result.status) for result in found[:3]], found[0].name, found[3].name,
    ]  # fmt: skip
    assert "255 octets" in str(found[1].error)

"""A run in a notebook: rows for data frames, the table that it shows, and the page about both."""

import ast
import asyncio
import re
import types
from pathlib import Path
from typing import Any

import pytest
from elements import Elements

from resolver import Record, Result, Run, Status, Summary, resolve
from resolver.model import KEYS, First

PAGE = (Path(__file__).parents[1] / "docs" / "notebook.md").read_text(encoding="utf-8")
ANSWERS = [Record("a.example.", "CNAME", 60, "b.example."), Record("b.example.", "A", None, "192.0.2.1")]
HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(2)>'


def result(index: int = 0, **fields: Any) -> Result:
    """A result that was answered, but for these fields."""
    usual = {
        "index": index, "input": "a.example", "name": "a.example.", "type": "A", "status": Status.NOERROR,
        "answers": ANSWERS, "nameserver": "192.0.2.53:53", "transport": "udp", "attempts": 1, "elapsed": 0.25,
        "engine": "gevent", "backend": "wire", "error": None,
    }  # fmt: skip
    return Result(**{**usual, **fields})


def of(*results: Result) -> Run:
    """A run with these results."""
    figures = Summary("gevent", "wire", 1, len(results), len(results), {"NOERROR": len(results)}, 1, 1.0, 1.0, True, "")
    return Run(results, figures)


SILENT = result(1, status=Status.TIMEOUT, answers=[], nameserver=None, transport=None, error="no reply")


def test_rows_per_result() -> None:
    """A row has the keys of JSON Lines, with texts as answers, and plain values."""
    first, second = of(result(), SILENT).rows()
    assert [list(KEYS), ["b.example.", "192.0.2.1"], []] == [list(first), first["answers"], second["answers"]]
    assert [str, "NOERROR", None] == [type(first["status"]), first["status"], first["error"]]


def test_rows_per_answer() -> None:
    """A row a record; a result without one has one row with nulls, in the same place."""
    rows = of(result(), SILENT).rows(per="answer")
    assert [("b.example.", 60, "CNAME"), ("192.0.2.1", None, "A"), (None, None, None)] == [
        (row["data"], row["ttl"], row["rtype"]) for row in rows
    ]
    at = KEYS.index("answers")
    assert [[*KEYS[:at], "data", "ttl", "rtype", *KEYS[at + 1 :]]] * 3 == [list(row) for row in rows]


def test_rows_have_the_same_keys() -> None:
    """A key that only some results have is there for all, behind `error`, and is as plain as the rest."""
    first = First("192.0.2.9:53", Status.NXDOMAIN, ANSWERS[1:])
    rows = of(result(row={"owner": "me"}, wildcard=False, first=first), result(1)).rows()
    assert [[*KEYS, "wildcard", "first", "row"]] * 2 == [list(row) for row in rows]
    plain = {"nameserver": "192.0.2.9:53", "status": "NXDOMAIN", "answers": ["192.0.2.1"]}
    assert [[False, plain, {"owner": "me"}], [None] * 3] == [list(row.values())[-3:] for row in rows]


def test_rows_per_something_else() -> None:
    """Another word is an error that names the two."""
    with pytest.raises(ValueError, match="per 'result' or per 'answer', not per 'host'"):
        of(result()).rows(per="host")  # type: ignore[arg-type]


def test_shown_as_a_table() -> None:
    """The first hundred results are rows, what is left out is counted, and the figures stand below."""
    seen = Elements(of(*map(result, range(1234)))._repr_html_())
    assert [101, True, True] == [
        seen.names["tr"], "… and 1,134 more" in seen.text, "1,234 results in 1.00 s" in seen.text,
    ]  # fmt: skip


def test_names_are_escaped() -> None:
    """Whatever the list, a nameserver or an error says is text, without directions and formulas."""
    hostile = result(input=HOSTILE, answers=[Record("a.", "TXT", 1, HOSTILE), *ANSWERS * 20], error=f"\u202e{HOSTILE}")
    page = of(hostile)._repr_html_()
    seen = Elements(page)
    assert [{"div", "table", "thead", "tbody", "tr", "th", "td", "span", "br", "p"}, 3, True, True] == [
        set(seen.names), seen.text.count(HOSTILE), r"\u202e" in seen.text, "mathjax_ignore" in page,
    ]  # fmt: skip


def blocks() -> list[str]:
    """The cells of the page."""
    return re.findall(r"^```python\n(.*?)^```$", PAGE, re.M | re.S)


def test_page(capsys: pytest.CaptureFixture[str]) -> None:
    """The cells of the page run one after the other, in a running event loop, and each shows something."""
    pandas, polars = pytest.importorskip("pandas"), pytest.importorskip("polars")
    shown = asyncio.run(_cells(blocks()))
    assert [Run, pandas.Series, polars.DataFrame, pandas.DataFrame, type(None)] == [type(each) for each in shown]
    run, counts, results, owned, _ = shown
    assert [6, True, {"NOERROR", "NXDOMAIN"}, ["web team", "mail team"]] == [
        len(run), counts.sum() >= 2, set(results["status"]), list(owned["row.owner"]),
    ]  # fmt: skip
    assert {"python.org", "pypi.org"} == {line.split()[0] for line in capsys.readouterr().out.splitlines()}


async def _cells(cells: list[str]) -> list[Any]:
    """Run the cells as a notebook does: in one namespace, each may await; return the value of each one's last line."""
    space: dict[str, Any] = {}
    shown = []
    for cell in cells:
        tree = ast.parse(cell)
        last = tree.body[-1]
        if isinstance(last, ast.Expr):
            tree.body[-1] = ast.copy_location(ast.Assign([ast.Name("_", ast.Store())], last.value), last)
        space["_"] = None
        code = compile(ast.fix_missing_locations(tree), "cell", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        running = types.FunctionType(code, space)()
        if running is not None:
            await running
        shown.append(space["_"])
    return shown


def test_data_frames_of_a_long_run() -> None:
    """A column that is null for hundreds of rows, and has values of several kinds then, is taken by both."""
    pandas, polars = pytest.importorskip("pandas"), pytest.importorskip("polars")
    late = resolve(["a.example"] * 300 + ["two words", "txt.example"], lab=True, wildcards=True)
    for rows in (late.rows(), late.rows(per="answer")):
        frames = [pandas.DataFrame(rows), polars.DataFrame(rows, infer_schema_length=None)]
        assert [302, 302] == [len(frame) for frame in frames]
        assert ["a.example", "two words"] == [frames[1]["input"][0], frames[1]["input"][300]]

"""Results of a run as a program holds them: a list, rows for a data frame, and a table in a notebook."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from resolver.model import KEYS, Result
from resolver.output.colours import COLOURS, kind
from resolver.output.lines import visible
from resolver.output.summary import summary_lines

if TYPE_CHECKING:
    from collections.abc import Iterable

    from resolver.output.summary import Summary

SHOWN = 100  # results that a notebook shows
_LONGEST = 300  # characters of a cell
_MOST = 20  # answers of a result

_PLACE = KEYS.index("answers")
_FURTHER = Result.__struct_fields__[len(KEYS) :]


class Run(list[Result]):
    """Results of a run in input order, a list; `summary` has its figures. A notebook shows it as a table."""

    def __init__(self, results: Iterable[Result], summary: Summary) -> None:
        super().__init__(results)
        self.summary = summary

    def rows(self, per: Literal["result", "answer"] = "result") -> list[dict[str, Any]]:
        """Return the results as plain dictionaries, for a data frame: of pandas, of polars, or for a database.

        All rows have the same keys in the same order: those of JSON Lines, those behind `error` where some result of
        the run has them.

        Args:
            per: "result": a row a result, `answers` a list of texts. "answer": a row a record, with `data`, `ttl`
                (seconds) and `rtype` (the record's own type) in place of `answers`; a result without a record has one
                row, with None in these three.

        Raises:
            ValueError: `per` is something else.
        """
        if per not in ("result", "answer"):
            raise ValueError(f"rows are per 'result' or per 'answer', not per {per!r}")
        further = [name for name in _FURTHER if any(getattr(one, name) is not msgspec.UNSET for one in self)]
        rows = [_row(one, further) for one in self]
        if per == "result":
            return rows
        return [
            {**dict(items[:_PLACE]), **answer, **dict(items[_PLACE + 1 :])}
            for one, row in zip(self, rows, strict=True)
            for items in [list(row.items())]
            for answer in _answers(one)
        ]

    def _repr_html_(self) -> str:
        """Return the table that a notebook shows: the first results, and the figures below."""
        head = "".join(f'<th style="{_LEFT}">{name}</th>' for name in ("host", "type", "status", "answers", "ms"))
        body = "".join(map(_shown, self[:SHOWN]))
        more = f"<p>… and {len(self) - SHOWN:,} more</p>" if len(self) > SHOWN else ""
        figures = escape(summary_lines(self.summary).strip()).replace("\n", "<br>")
        # A notebook would set what stands between dollar signs as a formula, whoever wrote it there.
        return (
            f'<div class="tex2jax_ignore mathjax_ignore"><table><thead><tr>{head}</tr></thead>'
            f"<tbody>{body}</tbody></table>{more}<p>{figures}</p></div>"
        )


def _row(result: Result, further: Iterable[str]) -> dict[str, Any]:
    row: dict[str, Any] = {**dict.fromkeys((*KEYS, *further)), **msgspec.to_builtins(result)}
    for told in (row, row.get("first") or {"answers": ()}):
        told["answers"] = [record["data"] for record in told["answers"]]
    return row


def _answers(result: Result) -> list[dict[str, Any]]:
    found = [{"data": record.data, "ttl": record.ttl, "rtype": record.type} for record in result.answers]
    return found or [{"data": None, "ttl": None, "rtype": None}]


_LEFT = "text-align:left;vertical-align:top"
_PILL = "padding:0 .5em;border-radius:1em;white-space:nowrap"


def _shown(result: Result) -> str:
    colour = COLOURS[kind(result.status)]
    said = [record.data for record in result.answers[:_MOST]]
    if len(result.answers) > _MOST:
        said.append(f"… and {len(result.answers) - _MOST:,} more")
    if result.error:
        said.append(result.error)
    elapsed = "" if result.elapsed is None else f"{result.elapsed * 1000:.1f}"
    cells = [_cell(result.input), _cell(result.type)]
    cells.append(f'<span style="{_PILL};background:{colour.fill};color:{colour.text}">{_cell(result.status)}</span>')
    cells += ["<br>".join(map(_cell, said)), elapsed]
    return "<tr>{}</tr>".format("".join(f'<td style="{_LEFT}">{cell}</td>' for cell in cells))


def _cell(text: str) -> str:
    return escape(visible(text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"))

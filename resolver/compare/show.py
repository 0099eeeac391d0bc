"""The report for people: tables as wide as the terminal allows, curves drawn with characters, and their meaning.

rich draws the tables, and would wrap or cut off a table that is too wide. Columns stand in the order of their worth;
those that do not fit on a line begin a further table.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import NamedTuple

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from resolver.compare import words
from resolver.compare.curves import curves
from resolver.compare.figures import FIGURES, Spread
from resolver.compare.report import ComparisonReport, RowReport
from resolver.output.lines import visible

COLUMNS = (
    *("answered", "timed_out", "deadline", "failed", "seconds_to_90", "seconds", "lookups_per_second", "overrun"),
    *("latency_p50", "latency_p95", "latency_p99", "latency_max", "attempts"),
    *("cpu_seconds", "peak_memory", "threads", "descriptors", "startup_seconds"),
)
_GAP = 2  # characters between two columns


class TimeoutTable(NamedTuple):
    """Runs with one timeout: rows; columns, each a heading and cells; what is said of failed runs, and of the best."""

    timeout: float | None
    rows: list[RowReport]
    columns: list[list[str]]
    failures: list[str]
    verdicts: list[str]


def tables(report: ComparisonReport) -> list[TimeoutTable]:
    """Return a table for each timeout that has runs: the comparison may have been interrupted before."""
    found = []
    for timeout in report.settings.timeouts:
        rows = report.at(timeout)
        if any(row.runs or row.errors for row in rows):
            columns = [cells for name in COLUMNS if (cells := column(name, rows))]
            failures = [failure for row in rows for failure in row.failures()]
            found.append(TimeoutTable(timeout, rows, columns, failures, words.verdicts(rows)))
    return found


def text(report: ComparisonReport, width: int | None, terminal: bool) -> str:
    """Return the whole report; with colours for a terminal. `width` in columns; None: rich finds it out."""
    file = io.StringIO()
    console = Console(file=file, force_terminal=terminal or None, width=width, highlight=False, soft_wrap=False)
    grid = Table.grid(padding=(0, 2, 0, 0))
    for name, said in words.heading(report):
        grid.add_row(Text(name, "dim"), Text(said))
    console.print(grid)
    for table in tables(report):
        console.print()
        title = "no timeout" if table.timeout is None else f"timeout {table.timeout:g} s"
        console.rule(title, align="left", style="dim", characters="─")
        for columns in _pages(table, console.width):
            console.print(_table(table.rows, columns))
        for failure in table.failures:
            console.print(visible(failure), style="red", markup=False)
        for line in table.verdicts:
            console.print(line, markup=False)
    if drawn := curves(report, console.width):
        console.print("", *drawn, sep="\n", markup=False, no_wrap=True, crop=False)
    for lines in (words.agreement(report), words.left_out(report), *([note] for note in report.notes)):
        if lines:
            console.print("", *lines, sep="\n", markup=False)
    shown = file.getvalue()
    # rich fills lines up; a file or a pipe has no use for that.
    return shown if terminal else "".join(f"{line.rstrip()}\n" for line in shown.splitlines())


def _table(rows: Sequence[RowReport], columns: Sequence[Sequence[str]]) -> Table:
    table = Table("", box=box.SIMPLE_HEAD, padding=(0, _GAP - 1, 0, 0), pad_edge=False, show_edge=False)
    table.columns[0].no_wrap = True
    for heading, *_ in columns:
        table.add_column(heading, justify="right", no_wrap=True)
    for number, row in enumerate(rows, 1):
        style = "" if row.runs else "red"
        cells = [column[number] for column in columns]
        table.add_row(Text(row.name, style), *(Text(cell, "green" if "*" in cell else style) for cell in cells))
    return table


def _pages(table: TimeoutTable, width: int) -> list[list[list[str]]]:
    """Return the columns in as many tables as it takes, evenly filled."""
    widest = max(map(_width, table.columns), default=0)
    room = max(width - max(len(row.name) for row in table.rows), widest)
    fewest = len(_filled(table.columns, room))
    return next(pages for each in range(widest, room + 1) if len(pages := _filled(table.columns, each)) == fewest)


def _filled(columns: Sequence[list[str]], room: int) -> list[list[list[str]]]:
    """Return the columns in tables of so many characters, one after the other."""
    pages: list[list[list[str]]] = []
    left = 0
    for column in columns:
        if _width(column) > left:
            pages.append([])
            left = room
        pages[-1].append(column)
        left -= _width(column)
    return pages


def _width(column: list[str]) -> int:
    return _GAP + max(map(len, column))


def column(name: str, rows: Sequence[RowReport]) -> list[str]:
    """Return a heading and cells: a star for the best, where some are not; the median; how far off other runs were.

    Empty where there is nothing to tell.
    """
    figure = FIGURES[name]
    spreads = [row.figures[name] for row in rows]
    known = [spread for spread in spreads if spread]
    if not known or (figure.rare and not any(spread.max for spread in known)):
        return []
    starred = figure.compared and 0 < sum(name in row.best for row in rows) < sum(bool(row.runs) for row in rows)
    apart = figure.compared and any(spread.min != spread.max for spread in known)
    cells = [figure.heading]
    for row, spread in zip(rows, spreads, strict=True):
        cell = "-" if spread is None else figure.text(spread.median)
        star = "*" if starred and spread and name in row.best else ""
        off = "" if not apart else f" ±{_off(spread):<4}" if spread else " " * 6
        cells.append(f"{star}{cell}{off}")
    return cells


def _off(spread: Spread) -> str:
    if not spread.median:
        return ""
    return f"{max(spread.max - spread.median, spread.median - spread.min) / spread.median:.0%}"

"""The report for people: tables as wide as the terminal allows, curves drawn with characters, and their meaning.

rich draws the tables, and would wrap or cut off a table that is too wide. Columns stand in the order of their worth;
those that do not fit on a line begin a further table.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import NamedTuple

from rich.console import Console

from resolver.compare.curves import curves
from resolver.compare.figures import Spread
from resolver.compare.report import ComparisonReport, LabSettings, RowReport
from resolver.output.lines import visible

_NAMED = 10  # hosts that are named where answers differ
_NONE = "-"


def text(report: ComparisonReport, width: int | None, terminal: bool) -> str:
    """Return the whole report; with colours for a terminal. `width` in columns; None: rich finds it out."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    file = io.StringIO()
    console = Console(file=file, force_terminal=terminal or None, width=width, highlight=False, soft_wrap=False)
    grid = Table.grid(padding=(0, 2, 0, 0))
    for name, words in _heading(report):
        grid.add_row(Text(name, "dim"), Text(words))
    console.print(grid)
    for timeout in report.settings.timeouts:
        rows = report.at(timeout)
        if not any(row.runs or row.errors for row in rows):
            # Interrupted before.
            continue
        console.print()
        title = "no timeout" if timeout is None else f"timeout {timeout:g} s"
        console.rule(f"{title}", align="left", style="dim", characters="─")
        if any(row.runs for row in rows):
            _tables(console, rows)
        _errors(console, rows)
        for line in _verdicts(rows):
            console.print(line, markup=False)
    if drawn := curves(report, console.width):
        console.print("", *drawn, sep="\n", markup=False, no_wrap=True, crop=False)
    for lines in (_agreement(report), _left_out(report), *([note] for note in report.notes)):
        if lines:
            console.print("", *lines, sep="\n", markup=False)
    shown = file.getvalue()
    # rich fills lines up; a file or a pipe has no use for that.
    return shown if terminal else "".join(f"{line.rstrip()}\n" for line in shown.splitlines())


# --- The tables.


class Column(NamedTuple):
    """A figure: how a number of it is written, whether the spread stands beside it, whether the best are marked."""

    heading: str
    name: str
    form: Callable[[float], str]
    spread: bool = False
    marked: bool = False
    dropped: bool = False  # where it is 0 for all


def _whole(value: float) -> str:
    return f"{value:,.0f}"


def _seconds(value: float) -> str:
    return f"{value:.3f}" if value < 1 else f"{value:.2f}"


def _milliseconds(value: float) -> str:
    return f"{1000 * value:,.1f}" if value < 0.01 else f"{1000 * value:,.0f}"


COLUMNS = (
    Column("answered", "answered", _whole),
    Column("TIMEOUT", "timed_out", _whole, dropped=True),
    Column("DEADLINE", "deadline", _whole, dropped=True),
    Column("failed", "failed", _whole, dropped=True),
    Column("90% in s", "seconds_to_90", _seconds, spread=True, marked=True),
    Column("all in s", "seconds", _seconds),
    Column("lookups/s", "lookups_per_second", _whole, spread=True, marked=True),
    Column("late ms", "overrun", _milliseconds),
    Column("p50 ms", "latency_p50", _milliseconds),
    Column("p95", "latency_p95", _milliseconds),
    Column("p99", "latency_p99", _milliseconds),
    Column("max", "latency_max", _milliseconds),
    Column("tries", "attempts", lambda value: f"{value:.2f}"),
    Column("CPU s", "cpu_seconds", lambda value: f"{value:.2f}", spread=True, marked=True),
    Column("MB", "peak_memory", lambda value: f"{value / 1e6:,.0f}"),
    Column("threads", "threads", _whole),
    Column("files", "descriptors", _whole),
    Column("start s", "startup_seconds", lambda value: f"{value:.2f}"),
)
_GAP = 2


def _tables(console: Console, rows: Sequence[RowReport]) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    for page in _pages(rows, console.width):
        table = Table("", box=box.SIMPLE_HEAD, padding=(0, _GAP - 1, 0, 0), pad_edge=False, show_edge=False)
        table.columns[0].no_wrap = True
        for filled in page:
            table.add_column(filled.heading, justify="right", no_wrap=True)
        for row, *cells in zip(rows, *(filled.cells for filled in page), strict=True):
            style = "" if row.runs else "red"
            table.add_row(Text(row.name, style), *(Text(cell, "green" if "*" in cell else style) for cell in cells))
        console.print(table)


class FilledColumn(NamedTuple):
    """A column with its cells, and the characters that it needs."""

    heading: str
    cells: list[str]
    width: int


def _pages(rows: Sequence[RowReport], width: int) -> list[list[FilledColumn]]:
    """Return the columns that have anything to tell, in as many tables as it takes, evenly filled."""
    columns = []
    for column in COLUMNS:
        spreads = [spread for row in rows if (spread := row.figures[column.name])]
        if spreads and (not column.dropped or any(spread.max for spread in spreads)):
            cells = _cells(column, rows)
            columns.append(FilledColumn(column.heading, cells, _GAP + max(map(len, (column.heading, *cells)))))
    widest = max(column.width for column in columns)
    room = max(width - max(len(row.name) for row in rows), widest)
    fewest = len(_filled(columns, room))
    return next(pages for each in range(widest, room + 1) if len(pages := _filled(columns, each)) == fewest)


def _filled(columns: Sequence[FilledColumn], room: int) -> list[list[FilledColumn]]:
    """Return the columns in tables of so much room, one after the other."""
    pages: list[list[FilledColumn]] = []
    left = 0
    for column in columns:
        if column.width > left:
            pages.append([])
            left = room
        pages[-1].append(column)
        left -= column.width
    return pages


def _cells(column: Column, rows: Sequence[RowReport]) -> list[str]:
    """Return a column's cells: a star for the best, where some are not; the median; how far off other runs were."""
    good = [column.name in row.best for row in rows]
    starred = column.marked and any(good) and not all(good[number] for number, row in enumerate(rows) if row.runs)
    some = any(spread and spread.min != spread.max for row in rows if (spread := row.figures[column.name]))
    cells = []
    for row, is_good in zip(rows, good, strict=True):
        spread = row.figures[column.name]
        cell = _NONE if spread is None else column.form(spread.median)
        if spread is not None and starred and is_good:
            cell = f"*{cell}"
        if column.spread and some:
            cell += f" ±{_off(spread):<4}" if spread is not None else " " * 6
        cells.append(cell)
    return cells


def _off(spread: Spread) -> str:
    if not spread.median:
        return ""
    return f"{max(spread.max - spread.median, spread.median - spread.min) / spread.median:.0%}"


def _errors(console: Console, rows: Sequence[RowReport]) -> None:
    for row in rows:
        for error in dict.fromkeys(row.errors):
            times = row.errors.count(error)
            whole = len(row.runs) + len(row.errors)
            console.print(f"{row.name}: {times} of {whole} runs failed: {visible(error)}", style="red", markup=False)


def _verdicts(rows: Sequence[RowReport]) -> list[str]:
    """Return in words the best of two figures, and the rows that are no different from it."""
    said = []
    for name, words, first in (
        ("lookups_per_second", "Most lookups a second", max),
        ("seconds_to_90", "First with 90% answered", min),
    ):
        known = {row.name: spread.median for row in rows if row.runs and (spread := row.figures[name])}
        good = [row.name for row in rows if row.runs and name in row.best]
        if sum(bool(row.runs) for row in rows) < 2 or not good:
            continue
        if len(good) == len(known):
            said.append(f"{words}: no difference between any two that reaches beyond their spreads.")
            continue
        winner = first(good, key=lambda each: known[each])
        others = [each for each in good if each != winner]
        also = f"; no difference (the spreads meet): {', '.join(others)}" if others else ""
        said.append(f"{words}: {winner}{also}.")
    return said


# --- The words.


def _heading(report: ComparisonReport) -> list[tuple[str, str]]:
    settings, machine = report.settings, report.machine
    what = f"{report.hosts:,}; {_lookups(report.lookups)} ({' '.join(settings.types)})"
    if report.invalid:
        what += f", {report.invalid:,} that are no names left out"
    rate = f", {settings.rate:g} queries a second at most" if settings.rate else ""
    runs = f"{settings.repeat} of each, in alternating order; {report.seconds:,.0f} s"
    if not report.complete:
        runs = f"INTERRUPTED after {report.runs_done} of {report.runs_planned}; {report.seconds:,.0f} s"
    legend = "of one run"
    if settings.repeat > 1:
        legend = "medians; ± how far off the farthest run was; * the best, and what is no different from it"
    return [
        ("hosts", what),
        ("nameserver", ", ".join(report.nameservers) or "the system's"),
        *([] if report.lab is None else [("lab", _lab(report.lab))]),
        ("policy", f"{settings.tries} tries, the last of {settings.query_timeout:g} s; "
                   f"{settings.concurrency} in flight{rate}"),
        ("runs", runs),
        ("machine", f"{machine.system} {machine.processor}, {machine.cpus} CPUs, {machine.python}"),
        ("versions", ", ".join(f"{name} {version}" for name, version in report.versions.items())),
        ("figures", legend),
    ]  # fmt: skip


def _lab(lab: LabSettings) -> str:
    jitter = f" ± {1000 * lab.jitter:g} ms" if lab.jitter else ""
    capacity = f", {lab.capacity:,.0f} queries a second at most" if lab.capacity else ""
    return f"latency {1000 * lab.latency:g} ms{jitter}, loss {100 * lab.loss:g}%{capacity}"


def _agreement(report: ComparisonReport) -> list[str]:
    found = report.agreement
    if not found.compared:
        return ["No lookup was answered by more than one, so there are no answers to compare."]
    if not found.differing and not found.changing:
        which = "the lookup" if found.compared == 1 else f"each of the {found.compared:,} lookups"
        return [f"All gave the same answer to {which} that more than one answered."]
    lines = []
    for count, words, changing in (
        (found.differing, "were answered differently", False),
        (found.changing, "have answers that change from run to run", True),
    ):
        if not count:
            continue
        lines.append(f"{count:,} of {_lookups(found.compared)} {words}:")
        shown = [each for each in found.differences if each.changing is changing][:_NAMED]
        for difference in shown:
            lines.append(f"  {visible(difference.host)} {difference.type}")
            for said in difference.answers:
                answer = ", ".join(said.data) or said.status
                answer = answer if len(answer) < 60 else f"{answer[:60]}…"
                lines.append(f"    {visible(answer)}: {', '.join(said.by)}")
        if count > len(shown):
            lines.append(f"  … and {count - len(shown):,} more: -f json names them")
    return lines


def _lookups(number: int) -> str:
    return f"{number:,} lookup{'' if number == 1 else 's'}"


def _left_out(report: ComparisonReport) -> list[str]:
    by_reason: dict[str, list[str]] = {}
    for each in report.left_out:
        by_reason.setdefault(each.reason, []).append(f"{each.engine}:{each.backend}")
    return [f"Left out: {', '.join(names)} ({reason})." for reason, names in by_reason.items()]

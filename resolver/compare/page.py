"""The report as a page (`--report`): what was compared, who was best, curves, tables, and where the answers differ.

The words are those of the table on a terminal. As in the picture an engine has one colour and one style of line
everywhere, and each backend a panel of its own, with the curves of the others behind in grey.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from resolver.compare import words
from resolver.compare.report import ComparisonReport, RowReport
from resolver.compare.show import tables
from resolver.engines import BACKENDS, ENGINES
from resolver.output.colours import SERIES
from resolver.pages import charts
from resolver.pages.render import listed, render
from resolver.pages.run import command_line

_ENGINES = list(ENGINES)


class Line(NamedTuple):
    """Curve of a contestant: its number among the engines, the median of its runs, and the band from first to last."""

    engine: str
    number: int
    path: str
    band: str


class Panel(NamedTuple):
    """Curves of a backend, and those of the others."""

    backend: str
    lines: list[Line]
    others: list[str]


def page(report: ComparisonReport, inputs: Sequence[str]) -> bytes:
    """Return the page; `inputs` are the lists and hosts as the command names them."""
    scale, panels = _panels(report)
    return render(
        "comparison.html",
        report=report,
        hosts=listed(["standard input" if each == "-" else each for each in inputs]),
        pairs=len({row.name for row in report.rows}),
        heading=words.heading(report),
        tables=tables(report),
        scale=scale,
        panels=panels,
        deadlines=report.deadlines,
        series=SERIES,
        agreement=words.agreement(report),
        left_out=words.left_out(report),
        command=command_line(),
    )


def _panels(report: ComparisonReport) -> tuple[charts.Scale, list[Panel]]:
    """Return the axis of time that all panels have, and the panels; none where nothing was answered."""
    rows = [row for row in report.at(report.longest) if row.runs]
    rows.sort(key=lambda row: _ENGINES.index(row.engine))
    times = [at for row in rows for at in (*row.curve_soonest, *row.curve_latest) if at]
    scale = charts.logarithmic(min(times, default=1.0) / 1.2, max([*times, *report.deadlines], default=1.0) * 1.05)
    panels = []
    for backend in BACKENDS if times else ():
        own = [row for row in rows if row.backend == backend]
        others = [_path(scale, row.curve, every=4) for row in rows if row.backend != backend]
        if own:
            panels.append(Panel(backend, [_line(scale, row) for row in own], others))
    return scale, panels


def _line(scale: charts.Scale, row: RowReport) -> Line:
    number = _ENGINES.index(row.engine) % len(SERIES)
    band = ""
    if len(row.runs) > 1:
        # Up along the soonest run, and down again along the latest.
        up = _path(scale, row.curve_soonest)
        down = _path(scale, row.curve_latest, down=True)
        band = f"{up}L{down[1:]}Z" if up and down else ""
    return Line(row.engine, number, _path(scale, row.curve), band)


def _path(scale: charts.Scale, curve: Sequence[float | None], *, every: int = 1, down: bool = False) -> str:
    """Return a curve as a path: the share that was answered by each time."""
    points = [(scale.place(at), 100 * number / len(curve)) for number, at in enumerate(curve, 1) if at is not None]
    points = points[::every][:: -1 if down else 1]
    return charts.line([x for x, _ in points], [y for _, y in points]) if points else ""

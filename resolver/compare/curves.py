"""The curves as text: for each contestant the share of lookups that were answered by then, on one axis of time.

The axis is logarithmic, as that of the picture: answers of milliseconds and retries of seconds are both to be seen.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence

from resolver.compare.report import ComparisonReport
from resolver.pages import charts

_BLOCKS = " ▁▂▃▄▅▆▇█"
_WIDEST = 100  # characters of an axis


def curves(report: ComparisonReport, width: int) -> list[str]:
    """Return a line for each contestant, for the longest timeout, and the axis below; in so many columns."""
    rows = [row for row in report.at(report.longest) if row.runs]
    times = [at for row in rows for at in row.curve if at]
    if not times:
        return []
    label = max(len(row.name) for row in rows)
    wide = max(20, min(width - label - 8, _WIDEST))
    scale = charts.logarithmic(min(times) / 1.2, max([*times, *report.deadlines]) * 1.05)
    lines = ["share of the lookups that were answered, against seconds (logarithmic)"]
    for row in rows:
        bar = "".join(_BLOCKS[_level(share)] for share in shares(scale, wide, row.curve))
        lines.append(f"{row.name:{label}} {bar} {percent(row.median('answered') / report.lookups)}")
    lines.append(f"{'':{label}} {ruler(scale, wide)}")
    if report.deadlines:
        lines.append(f"{'':{label}} {marks(scale, wide, report.deadlines)}")
    return lines


def percent(share: float) -> str:
    """Return a share in words; 100% only where it is the whole."""
    return "100%" if share == 1 else f"{min(share, 0.999):.1%}"


def _column(scale: charts.Scale, wide: int, seconds: float) -> int:
    # Behind the last character where it is past the end. A whole number may have lost its last digit.
    return math.floor(scale.place(seconds) * wide / 100 + 1e-9)


def shares(scale: charts.Scale, wide: int, curve: Sequence[float | None]) -> list[float]:
    """Return the share that was answered at the end of each of so many characters."""
    columns = sorted(_column(scale, wide, at) for at in curve if at is not None)
    return [bisect.bisect_right(columns, column) / len(curve) for column in range(wide)]


def ruler(scale: charts.Scale, wide: int) -> str:
    """Return the scale in so many characters."""
    line = ["─"] * wide
    for tick in scale.ticks:
        label, at = f"{tick.value:g}", _column(scale, wide, tick.value)
        around = line[max(0, at - 1) : at + len(label) + 2]
        if at + len(label) < wide and set(around) == {"─"}:
            line[at : at + 1 + len(label)] = ["┴", *label]
    return "".join(line)


def marks(scale: charts.Scale, wide: int, deadlines: Sequence[float]) -> str:
    """Return the marks of the deadlines below it."""
    line = [" "] * (wide + 20)
    for deadline in sorted(deadlines):
        label, at = f"↑ {deadline:g} s", _column(scale, wide, deadline)
        if not set(line[max(0, at - 1) : at + len(label)]) - {" "}:
            line[at : at + len(label)] = label
    return "".join(line).rstrip()


def _level(share: float) -> int:
    # Only what is whole is drawn as whole, and whatever is not nothing is drawn.
    return 8 if share >= 1 else math.ceil(share * 7)

"""The curves as text: for each contestant the share of lookups that were answered by then, on one axis of time.

The axis is logarithmic, as that of the picture: answers of milliseconds and retries of seconds are both to be seen.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence

from resolver.compare.report import ComparisonReport

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
    axis = Axis(min(times) / 1.2, max([*times, *report.deadlines]) * 1.05, wide)
    lines = ["share of the lookups that were answered, against seconds (logarithmic)"]
    for row in rows:
        bar = "".join(_BLOCKS[_level(share)] for share in axis.shares(row.curve))
        lines.append(f"{row.name:{label}} {bar} {percent(row.median('answered') / report.lookups)}")
    lines.append(f"{'':{label}} {axis.ruler()}")
    if report.deadlines:
        lines.append(f"{'':{label}} {axis.marks(report.deadlines)}")
    return lines


def percent(share: float) -> str:
    """Return a share in words; 100% only where it is the whole."""
    return "100%" if share == 1 else f"{min(share, 0.999):.1%}"


class Axis:
    """Seconds on a logarithmic axis of so many characters."""

    def __init__(self, low: float, high: float, wide: int) -> None:
        self._low = math.log(low)
        self._step = (math.log(high) - self._low) / wide
        self._wide = wide

    def column(self, seconds: float) -> int:
        """Return the character in which this second lies; below 0 or beyond the last: outside."""
        # A whole one may have lost its last digit.
        return math.floor((math.log(seconds) - self._low) / self._step + 1e-9)

    def shares(self, curve: Sequence[float | None]) -> list[float]:
        """Return the share that was answered at the end of each character."""
        columns = sorted(self.column(max(at, 1e-9)) for at in curve if at is not None)
        return [bisect.bisect_right(columns, column) / len(curve) for column in range(self._wide)]

    def ruler(self) -> str:
        """Return its scale."""
        line = ["─"] * self._wide
        for exponent in range(-6, 5):
            for digit in (1, 2, 5):
                label = f"{digit * 10.0**exponent:g}"
                at = self.column(digit * 10.0**exponent)
                around = line[max(0, at - 1) : at + len(label) + 2]
                if at >= 0 and at + len(label) < self._wide and set(around) == {"─"}:
                    line[at : at + 1 + len(label)] = ["┴", *label]
        return "".join(line)

    def marks(self, deadlines: Sequence[float]) -> str:
        """Return the marks of the deadlines."""
        line = [" "] * (self._wide + 20)
        for deadline in sorted(deadlines):
            label = f"↑ {deadline:g} s"
            at = self.column(deadline)
            if 0 <= at <= self._wide and not set(line[max(0, at - 1) : at + len(label)]) - {" "}:
                line[at : at + len(label)] = label
        return "".join(line).rstrip()


def _level(share: float) -> int:
    # Only what is whole is drawn as whole, and whatever is not nothing is drawn.
    return 8 if share >= 1 else math.ceil(share * 7)

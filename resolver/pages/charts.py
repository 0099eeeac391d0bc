"""Pictures of a page: where lines and labels go. The templates draw them.

A picture is a square of 100 by 100 that is stretched to the room that it has; its labels are text beside it, at places
in percent, so that they stay readable on a telephone. Places count from the left and from the top.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


_STEPS = 5  # of a linear scale, at most


class Tick(NamedTuple):
    """Label of an axis, at a place in percent."""

    place: float
    value: float


class Scale(NamedTuple):
    """Scale from `low` to `high`, linear or logarithmic, with its labels."""

    low: float
    high: float
    logarithmic: bool
    ticks: list[Tick]

    def place(self, value: float) -> float:
        """Return where a value is, in percent of the scale."""
        scale: Callable[[float], float] = math.log10 if self.logarithmic else float
        span = scale(self.high) - scale(self.low)
        return round(100 * (scale(max(value, self.low)) - scale(self.low)) / span, 2) if span else 0.0


def linear(high: float) -> Scale:
    """Return a scale from 0 to `high` or somewhat more, with a few labels."""
    high = high if high > 0 else 1.0
    step = 10.0 ** math.floor(math.log10(high / _STEPS))
    step *= next(times for times in (1, 2, 5, 10) if step * times * _STEPS >= high)
    axis = Scale(0.0, high, False, [])
    values = [number * step for number in range(int(high / step + 1e-9) + 1)]
    return axis._replace(ticks=[Tick(axis.place(value), value) for value in values])


def logarithmic(low: float, high: float) -> Scale:
    """Return a scale with labels at 1, 2 and 5 of each power of ten; at 1 alone where these would be many."""
    low = max(low, 1e-6)
    if low >= high:
        low, high = low / 2, high * 2
    axis = Scale(low, high, True, [])
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = (1, 2, 5) if math.log10(high / low) < 3.2 else (1,)
    values = [step * 10.0**power for power in powers for step in steps]
    return axis._replace(ticks=[Tick(axis.place(value), value) for value in values if low <= value <= high])


def line(xs: Sequence[float], ys: Sequence[float]) -> str:
    """Return the path of a line through these places, in percent; y counts from below."""
    return "M" + "L".join(f"{x:g} {round(100 - y, 2):g}" for x, y in zip(xs, ys, strict=True))


class Stack(NamedTuple):
    """Areas on top of each other, a path for each, over both axes."""

    across: Scale
    up: Scale
    paths: list[str]


def stack(borders: Sequence[float], heights: Sequence[Sequence[float]]) -> Stack:
    """Return steps between these borders, with a height for each of the areas, the lowest first."""
    peak = max((sum(each) for each in heights), default=0.0)
    across, up = linear(borders[-1]), linear(1.05 * peak)
    tops = [[sum(each[: layer + 1]) for each in heights] for layer in range(len(heights[0]))]
    paths = []
    below = [0.0] * len(heights)
    for top in tops:
        upper, lower = _steps(across, up, borders, top), _steps(across, up, borders, below)
        corners = [*upper, *reversed(lower)]
        paths.append(line([x for x, _ in corners], [y for _, y in corners]) + "Z")
        below = top
    return Stack(across, up, paths)


def _steps(across: Scale, up: Scale, borders: Sequence[float], heights: Sequence[float]) -> list[tuple[float, float]]:
    corners = []
    for begin, end, height in zip(borders[:-1], borders[1:], heights, strict=True):
        y = up.place(height)
        corners += [(across.place(begin), y), (across.place(end), y)]
    return corners

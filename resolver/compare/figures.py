"""The table of figures, and numbers: of one run, of a contestant over its runs, and whether a difference is one.

A run is not the engine. A difference is only what is further apart than the runs of either by themselves (their
spreads, lowest to highest, do not meet). Two runs show too little of how far runs can be apart: of the very same thing,
one pair of spreads in three would not meet. Therefore the spread of two counts for as much again on either side, which
makes that one in sixteen; of three runs it is one in ten.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Literal, NamedTuple, TypeVar

import msgspec

from resolver.compare.watch import Cost
from resolver.model import ANSWERED, Result, Status

K = TypeVar("K")

POINTS = 200  # of a curve, at most
_KINDS: dict[str, str] = {Status.TIMEOUT: "timed_out", Status.DEADLINE: "deadline", Status.CANCELLED: "deadline"}


class Figure(NamedTuple):
    """A figure of a run: seconds, octets or a number.

    Args:
        of: Computes it from a run's results; None where there is nothing to measure.
        heading: Of its column in a table.
        form: Writes a number of it there, once that is multiplied by `scale`.
        scale: 1000 for milliseconds, 1e-6 for megabytes.
        better: Which of two is better. Of tries neither is: a further query may have saved a lookup.
        compared: The table shows the spread, and a star at the best.
        rare: The table leaves it out where it is 0 for all.
    """

    of: Callable[[Tally], float | None]
    heading: str
    form: Callable[[float], str] = "{:,.0f}".format
    scale: float = 1.0
    better: Literal["more", "less", "neither"] = "less"
    compared: bool = False
    rare: bool = False

    def text(self, value: float) -> str:
        """Return a value as it is shown."""
        return self.form(self.scale * value)


def _count(kind: str) -> Callable[[Tally], int]:
    return lambda run: run.counts[kind]


def _latency(share: float) -> Callable[[Tally], float | None]:
    return lambda run: percentile(run.latencies, share)


def _seconds(value: float) -> str:
    return f"{value:.3f}" if value < 1 else f"{value:.2f}"


def _milliseconds(value: float) -> str:
    return f"{value:,.1f}" if value < 10 else f"{value:,.0f}"


_hundredths = "{:.2f}".format

FIGURES = {
    # Lookups; `failed` are error codes of nameservers and failures of this side.
    "answered": Figure(_count("answered"), "answered", better="more"),
    "timed_out": Figure(_count("timed_out"), "TIMEOUT", rare=True),
    "deadline": Figure(_count("deadline"), "DEADLINE", rare=True),
    "failed": Figure(_count("failed"), "failed", rare=True),
    # From the engine being ready to the last result; answered lookups for each of these seconds.
    "seconds": Figure(attrgetter("cost.seconds"), "all in s", _seconds),
    "lookups_per_second": Figure(lambda run: run.rate, "lookups/s", better="more", compared=True),
    # Until nine tenths of the lookups were answered.
    "seconds_to_90": Figure(lambda run: run.until(0.9), "90% in s", _seconds, compared=True),
    # Of answered lookups, from their first query to their result.
    "latency_p50": Figure(_latency(50), "p50 ms", _milliseconds, 1000),
    "latency_p95": Figure(_latency(95), "p95", _milliseconds, 1000),
    "latency_p99": Figure(_latency(99), "p99", _milliseconds, 1000),
    "latency_max": Figure(_latency(100), "max", _milliseconds, 1000),
    # Seconds past the deadline, where it ended the run.
    "overrun": Figure(lambda run: run.overrun, "late ms", _milliseconds, 1000),
    # Queries for each lookup that was asked, where the backend tells.
    "attempts": Figure(lambda run: run.queries / run.asked if run.asked else None, "tries", _hundredths,
                       better="neither"),
    # After the start-up, children included.
    "cpu_seconds": Figure(attrgetter("cost.cpu_seconds"), "CPU s", _hundredths, compared=True),
    # The most that all its processes had in one sample.
    "peak_memory": Figure(attrgetter("cost.peak_memory"), "MB", scale=1e-6),
    "threads": Figure(attrgetter("cost.threads"), "threads", better="neither"),
    "descriptors": Figure(attrgetter("cost.descriptors"), "files", better="neither"),
    # From starting the process to the engine being ready.
    "startup_seconds": Figure(attrgetter("cost.startup_seconds"), "start s", _hundredths),
}  # fmt: skip


class Tally:
    """The results of one run, as they are read back: counts, latencies, when each answer came.

    Args:
        lookups: How many there are.
        cost: What the run cost.
        timeout: The deadline that it was given, in seconds; None: no end.
    """

    def __init__(self, lookups: int, cost: Cost, timeout: float | None = None) -> None:
        self.cost = cost
        self.results = 0
        self.asked: int = 0  # lookups whose backend tells how many queries it took,
        self.queries: int = 0  # and those
        self.counts: Counter[str] = Counter()
        self.latencies: list[float] = []
        self._lookups = lookups
        self._timeout = timeout
        self._came: list[float] = []

    def add(self, when: float, batch: Iterable[Result]) -> None:
        """Add a batch of results that came at this second of the run, not before those already added."""
        for result in batch:
            self.results += 1
            if result.status in ANSWERED:
                self.counts["answered"] += 1
                self._came.append(when)
                if result.elapsed is not None:
                    self.latencies.append(result.elapsed)
            else:
                self.counts[_KINDS.get(result.status, "failed")] += 1
            if result.attempts:
                self.asked += 1
                self.queries += result.attempts

    @property
    def rate(self) -> float:
        """Answered lookups a second."""
        return self.counts["answered"] / self.cost.seconds if self.cost.seconds else 0.0

    @property
    def overrun(self) -> float | None:
        """Seconds past the deadline; None where it did not end the run."""
        if self._timeout is None or not self.counts["deadline"]:
            return None
        return max(0.0, self.cost.seconds - self._timeout)

    def until(self, share: float) -> float | None:
        """Return the seconds until this share of the lookups was answered; None: never."""
        # Rounded first: 0.9 of 10 is 9, not the tenth because of a last binary digit.
        rank = math.ceil(round(share * self._lookups, 6))
        return self._came[rank - 1] if 0 < rank <= len(self._came) else None

    def figures(self) -> dict[str, float | None]:
        """Return the run in numbers."""
        self.latencies.sort()
        return {name: figure.of(self) for name, figure in FIGURES.items()}

    def curve(self) -> list[float | None]:
        """Return the seconds until k/n of the lookups were answered, k from 1 to n (`POINTS` at most); None: never."""
        points = min(POINTS, self._lookups)
        return [self.until(k / points) for k in range(1, points + 1)]


def percentile(ordered: Sequence[float], share: float) -> float | None:
    """Return the value that `share` percent of them do not exceed (nearest rank); None of no values."""
    return ordered[max(0, math.ceil(share / 100 * len(ordered)) - 1)] if ordered else None


class Spread(msgspec.Struct, frozen=True):
    """A figure over several runs."""

    median: float
    min: float
    max: float

    def meets(self, other: Spread, runs: int) -> bool:
        """Return whether the two, each of `runs` runs, have a value in common: then neither is more."""
        reach = self.max - self.min + other.max - other.min if runs == 2 else 0.0
        return self.min <= other.max + reach and other.min <= self.max + reach


def spreads(runs: Sequence[Mapping[str, float | None]]) -> dict[str, Spread | None]:
    """Return each figure over the runs that have it; None where none has, and where not all came to 90 percent.

    A run that never came so far is later than any number; leaving it out would make the others look good.
    """
    found: dict[str, Spread | None] = dict.fromkeys(FIGURES)
    for name in FIGURES:
        values = [value for run in runs if (value := run[name]) is not None]
        if values and (name != "seconds_to_90" or len(values) == len(runs)):
            found[name] = Spread(statistics.median(values), min(values), max(values))
    return found


def best(rows: Mapping[K, Spread | None], more: bool, runs: int) -> list[K]:
    """Return the one with the best median, then all that are no different from it, in their order."""
    known = {name: spread for name, spread in rows.items() if spread is not None}
    if not known:
        return []
    first = (max if more else min)(known, key=lambda name: known[name].median)
    return [first, *[name for name, spread in known.items() if name != first and spread.meets(known[first], runs)]]


class Curve(NamedTuple):
    """Seconds until each share of the lookups was answered: median, soonest and latest of the runs. None: never.

    The median is None where half of the runs never came so far.
    """

    median: list[float | None]
    soonest: list[float | None]
    latest: list[float | None]


def curve(runs: Sequence[Sequence[float | None]]) -> Curve:
    """Return the curves of several runs as one."""
    columns = [[math.inf if at is None else at for at in column] for column in zip(*runs, strict=True)]
    return Curve(*(
        [at if math.isfinite(at := pick(column)) else None for column in columns]
        for pick in (statistics.median_high, min, max)
    ))  # fmt: skip

"""Numbers: of one run, of a contestant over its runs, and whether a difference between two is one.

A run is not the engine. A difference is only what is further apart than the runs of either by themselves (their
spreads, lowest to highest, do not meet). Two runs show too little of how far runs can be apart: of the very same thing,
one pair of spreads in three would not meet. Therefore the spread of two counts for as much again on either side, which
makes that one in sixteen; of three runs it is one in ten.
"""

from __future__ import annotations

import math
import statistics
from array import array
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, TypeVar

import msgspec

from resolver.compare.spec import ResultPart
from resolver.compare.watch import Seen
from resolver.model import ANSWERED, Status

K = TypeVar("K")

POINTS = 200  # of a curve, at most
_UNTRIED = frozenset({Status.DEADLINE, Status.CANCELLED})


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """One run in numbers. Seconds and octets; None where there is nothing to measure.

    answered, timed_out, deadline, failed: lookups; `failed` has error codes of nameservers and failures of this side.
    seconds: from the engine being ready to the last result. lookups_per_second: answered ones.
    seconds_to_90: until nine tenths of the lookups were answered.
    latency_…: of answered lookups, from their first query to their result.
    overrun: seconds past the deadline, where it ended the run.
    attempts: queries for each lookup that was asked, where the backend tells.
    startup_seconds: from starting the process to the engine being ready. cpu_seconds: after that, children included.
    peak_memory, threads, descriptors: the most that all its processes had in one sample.
    """

    answered: int
    timed_out: int
    deadline: int
    failed: int
    seconds: float
    lookups_per_second: float
    seconds_to_90: float | None
    latency_p50: float | None
    latency_p95: float | None
    latency_p99: float | None
    latency_max: float | None
    overrun: float | None
    attempts: float | None
    cpu_seconds: float
    peak_memory: int
    threads: int
    descriptors: int
    startup_seconds: float


NAMES: tuple[str, ...] = Figures.__struct_fields__

# Figures of which more is better, and less. Of the others neither is: a further query may have saved a lookup.
MORE = frozenset({"answered", "lookups_per_second"})
LESS = frozenset(NAMES) - MORE - {"attempts", "threads", "descriptors"}


class Spread(msgspec.Struct, frozen=True):
    """A figure over several runs."""

    median: float
    min: float
    max: float

    def meets(self, other: Spread, runs: int) -> bool:
        """Return whether the two, each of `runs` runs, have a value in common: then neither is more."""
        reach = self.max - self.min + other.max - other.min if runs == 2 else 0.0
        return self.min <= other.max + reach and other.min <= self.max + reach


class Tally:
    """Gather one run's results as they are read back: counts, latencies, when each answer came."""

    def __init__(self, lookups: int) -> None:
        self._lookups = lookups
        self.results = 0
        self._counts = dict.fromkeys(("answered", "timed_out", "deadline", "failed"), 0)
        self._latencies = array("d")
        self._came = array("d")
        self._asked = self._queries = 0

    def add(self, when: float, batch: Iterable[ResultPart]) -> None:
        """Add a batch of results that came at this second of the run."""
        for part in batch:
            self.results += 1
            self._counts[kind(part.status)] += 1
            if part.status in ANSWERED:
                self._came.append(when)
                if part.elapsed is not None:
                    self._latencies.append(part.elapsed)
            if part.attempts:
                self._asked += 1
                self._queries += part.attempts

    def figures(self, seen: Seen, timeout: float | None) -> Figures:
        """Return the run in numbers; `timeout` is the deadline that it was given, in seconds."""
        answered = self._counts["answered"]
        latencies = sorted(self._latencies)
        came = sorted(self._came)
        ended = timeout is not None and self._counts["deadline"] > 0
        return Figures(
            **self._counts,
            **seen._asdict(),
            lookups_per_second=answered / seen.seconds if seen.seconds else 0.0,
            seconds_to_90=_nth(came, self._lookups, 0.9),
            latency_p50=percentile(latencies, 50),
            latency_p95=percentile(latencies, 95),
            latency_p99=percentile(latencies, 99),
            latency_max=latencies[-1] if latencies else None,
            overrun=max(0.0, seen.seconds - timeout) if ended and timeout is not None else None,
            attempts=self._queries / self._asked if self._asked else None,
        )

    def curve(self) -> list[float | None]:
        """Return the seconds until k/n of the lookups were answered, k from 1 to n (`POINTS` at most); None: never."""
        came = sorted(self._came)
        points = min(POINTS, self._lookups)
        return [_nth(came, self._lookups, k / points) for k in range(1, points + 1)]


def kind(status: str) -> str:
    """Return the count that a status belongs to."""
    if status in ANSWERED:
        return "answered"
    if status == Status.TIMEOUT:
        return "timed_out"
    return "deadline" if status in _UNTRIED else "failed"


def percentile(ordered: Sequence[float], share: float) -> float | None:
    """Return the value that `share` percent of them do not exceed (nearest rank); None of no values."""
    return ordered[max(0, math.ceil(share / 100 * len(ordered)) - 1)] if ordered else None


def spreads(runs: Sequence[Figures]) -> dict[str, Spread | None]:
    """Return each figure over the runs that have it; None where none has, and where not all came to 90 percent.

    A run that never came so far is later than any number; leaving it out would make the others look good.
    """
    found: dict[str, Spread | None] = {}
    for name in NAMES:
        values = [value for run in runs if (value := getattr(run, name)) is not None]
        part = len(values) == len(runs) if name == "seconds_to_90" else True
        found[name] = Spread(statistics.median(values), min(values), max(values)) if values and part else None
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
    return Curve(
        [_finite(statistics.median_high(column)) for column in columns],
        [_finite(min(column)) for column in columns],
        [_finite(max(column)) for column in columns],
    )


def _nth(ordered: Sequence[float], whole: int, share: float) -> float | None:
    # Rounded first: 0.9 of 10 is 9, not the tenth because of a last binary digit.
    rank = math.ceil(round(share * whole, 6))
    return ordered[rank - 1] if 0 < rank <= len(ordered) else None


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None

"""What a comparison found, as one object: everything that a table, a document or a picture shows is in here.

Its fields, in their order, are what `-f json` writes; scripts rely on them.
"""

from __future__ import annotations

import math
import os
import platform
from importlib import metadata
from typing import TYPE_CHECKING

import msgspec

from resolver.compare.agreement import Agreement
from resolver.compare.contest import CONCURRENCY, Contest, Field, LeftOut, Lookups
from resolver.compare.figures import LESS, MORE, NAMES, Figures, Spread, best, curve, spreads
from resolver.extras import DISTRIBUTION

if TYPE_CHECKING:
    from collections.abc import Sequence

    from resolver.compare.contest import Cell, Row

# What a figure may depend on; those that are installed are named.
_LIBRARIES = ("gevent", "greenlet", "Twisted", "dnspython", "aiodns", "pycares", "msgspec")


class LabSettings(msgspec.Struct, frozen=True):
    """How the lab behaved: seconds, a share of 1, queries a second."""

    latency: float = 0.0
    jitter: float = 0.0
    loss: float = 0.0
    capacity: float | None = None


class Settings(msgspec.Struct, frozen=True):
    """What all have in common. `timeouts`: seconds, null: no end. `concurrency_chosen`: the user named no number."""

    types: list[str]
    timeouts: list[float | None]
    repeat: int
    query_timeout: float
    tries: int
    concurrency: int
    concurrency_chosen: bool
    rate: float | None


class Machine(msgspec.Struct, frozen=True):
    """Where it ran. `cpus` are those that this process may use."""

    system: str
    processor: str
    cpus: int
    python: str


class RowReport(msgspec.Struct, frozen=True):
    """A contestant with one timeout: each run, all of them together, and what went wrong.

    best: the figures in which none of the same timeout is better by more than the spreads; of one run none are told.
    curve: seconds until each share of the lookups was answered, in equal steps up to all; null: never.
    """

    engine: str
    backend: str
    timeout: float | None
    runs: list[Figures]
    errors: list[str]
    figures: dict[str, Spread | None]
    best: list[str]
    curve: list[float | None]
    curve_soonest: list[float | None]
    curve_latest: list[float | None]

    @property
    def name(self) -> str:
        """ENGINE:BACKEND."""
        return f"{self.engine}:{self.backend}"


class Report(msgspec.Struct, frozen=True):
    """The whole comparison. `seconds` is what it took; `complete` is false where it was interrupted."""

    began: str
    seconds: float
    complete: bool
    runs_done: int
    runs_planned: int
    hosts: int
    lookups: int
    invalid: int
    nameservers: list[str]
    lab: LabSettings | None
    settings: Settings
    versions: dict[str, str]
    machine: Machine
    order: list[str]
    left_out: list[LeftOut]
    rows: list[RowReport]
    agreement: Agreement
    notes: list[str]

    def at(self, timeout: float | None) -> list[RowReport]:
        """The rows of a timeout: who had 90% answered first, then who answered most, then those without a run."""
        rows = [row for row in self.rows if row.timeout == timeout]
        return sorted(rows, key=lambda row: (_median(row, "seconds_to_90", math.inf), -_median(row, "answered")))

    @property
    def longest(self) -> float | None:
        """The timeout that left most time to some run: most of it is seen there."""
        tried = [row.timeout for row in self.rows if row.runs] or self.settings.timeouts
        return None if None in tried else max(each for each in tried if each is not None)


def report(
    contest: Contest,
    field: Field,
    lookups: Lookups,
    began: str,
    types: Sequence[str],
    timeouts: Sequence[float | None],
    repeat: int,
    *,
    lab: LabSettings | None,
    concurrency_chosen: bool,
) -> Report:
    """What was found so far."""
    policy = field.policy
    rows = _rows(contest, timeouts)
    settings = Settings(
        list(types),
        list(timeouts),
        repeat,
        policy.query_timeout,
        policy.tries,
        policy.concurrency or CONCURRENCY,
        concurrency_chosen,
        policy.rate,
    )
    return Report(
        began,
        round(contest.seconds, 3),
        contest.done == len(contest.runs),
        contest.done,
        len(contest.runs),
        lookups.hosts,
        len(lookups.of),
        lookups.invalid,
        [str(each) for each in policy.nameservers],
        lab,
        settings,
        versions(),
        machine(),
        [_words(cell) for cell in contest.runs],
        field.left_out,
        rows,
        contest.agreement(),
        _notes(rows, settings),
    )


def versions() -> dict[str, str]:
    """Ours, and those of the libraries that are installed."""
    found = {}
    for name in (DISTRIBUTION, *_LIBRARIES):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            pass
    return found


def machine() -> Machine:
    """Where this runs."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    system = f"{platform.system()} {platform.release()}"
    return Machine(system, platform.machine(), cpus, f"{platform.python_implementation()} {platform.python_version()}")


def _rows(contest: Contest, timeouts: Sequence[float | None]) -> list[RowReport]:
    found = []
    for timeout in timeouts:
        rows = [row for cell, row in contest.rows.items() if cell.timeout == timeout]
        figures = {row.cell.contestant: spreads(row.runs) for row in rows}
        # Of one run there is no saying how far the next would be off: it is neither better nor worse.
        judged = [row.cell.contestant for row in rows if len(row.runs) > 1]
        least = min([len(row.runs) for row in rows if len(row.runs) > 1], default=0)
        bests = {
            name: best({each: figures[each][name] for each in judged}, name in MORE, least)
            for name in NAMES
            if name in MORE | LESS
        }
        for row in rows:
            known = [name for name, names in bests.items() if row.cell.contestant in names]
            found.append(_row(row, figures[row.cell.contestant], known))
    return found


def _row(row: Row, figures: dict[str, Spread | None], best: list[str]) -> RowReport:
    cell = row.cell
    return RowReport(*cell.contestant, cell.timeout, row.runs, row.errors, figures, best, *curve(row.curves))


def _notes(rows: Sequence[RowReport], settings: Settings) -> list[str]:
    """What a reader of the figures should know before drawing a conclusion."""
    notes: list[str] = []
    if not any(row.runs for row in rows):
        return notes
    if settings.concurrency_chosen:
        notes.append(
            f"All had the same {settings.concurrency} lookups in flight at most, which the tool chose; "
            "--concurrency says another number."
        )
    soonest = min((at for row in rows if (at := _median(row, "latency_p50", 0.0)) > 0), default=0.0)
    most = max((_peak(row) for row in rows), default=0.0)
    if soonest and most > 0.7 * (ceiling := settings.concurrency / soonest):
        notes.append(
            f"{settings.concurrency} in flight at {1000 * soonest:.1f} ms each are {ceiling:,.0f} lookups a second at "
            "most: the fastest wait for the nameserver and not for themselves. A higher --concurrency may tell them "
            "apart."
        )
    if settings.repeat == 1:
        notes.append("Each ran once: there is no spread, and small differences mean nothing. See --repeat.")
    return notes


def _peak(row: RowReport) -> float:
    """Lookups a second over the first nine tenths: lost replies, which only time can mend, make the end of a run."""
    at = row.figures["seconds_to_90"]
    whole = row.figures["answered"]
    return 0.9 * whole.max / at.median if at is not None and whole is not None and at.median else 0.0


def _median(row: RowReport, name: str, otherwise: float = -1.0) -> float:
    spread = row.figures[name]
    return otherwise if spread is None else spread.median


def _words(cell: Cell) -> str:
    return str(cell.contestant) if cell.timeout is None else f"{cell.contestant} {cell.timeout:g} s"

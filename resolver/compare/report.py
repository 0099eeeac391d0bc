"""The findings of a comparison, as one object: all that a table, a document or a picture shows.

Its fields, in their order, are what `-f json` writes; scripts rely on them.
"""

from __future__ import annotations

import contextlib
import math
import os
import platform
from collections.abc import Sequence
from importlib import metadata

import msgspec

from resolver.compare.agreement import Agreement
from resolver.compare.contest import Cell, Contest, Field, LeftOut, Lookups
from resolver.compare.figures import LESS, MORE, NAMES, Figures, Spread, best, curve, spreads
from resolver.extras import DISTRIBUTION

# Libraries that a figure may depend on; those that are installed are named.
_LIBRARIES = ("gevent", "greenlet", "Twisted", "dnspython", "aiodns", "pycares", "msgspec")


class LabSettings(msgspec.Struct, frozen=True):
    """The behaviour of the lab: seconds, a share of 1, queries a second."""

    latency: float = 0.0
    jitter: float = 0.0
    loss: float = 0.0
    capacity: float | None = None


class Conditions(msgspec.Struct, frozen=True):
    """The settings of all. `timeouts`: seconds, null: no end. `concurrency_chosen`: the user named no number."""

    types: list[str]
    timeouts: list[float | None]
    repeat: int
    query_timeout: float
    tries: int
    concurrency: int
    concurrency_chosen: bool
    rate: float | None


class Machine(msgspec.Struct, frozen=True):
    """The machine of the runs. `cpus` are those that this process may use."""

    system: str
    processor: str
    cpus: int
    python: str


class RowReport(msgspec.Struct, frozen=True):
    """A contestant with one timeout: each run, all of them together, and its errors.

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


class ComparisonReport(msgspec.Struct, frozen=True):
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
    settings: Conditions
    versions: dict[str, str]
    machine: Machine
    order: list[str]
    left_out: list[LeftOut]
    rows: list[RowReport]
    agreement: Agreement
    notes: list[str]

    def at(self, timeout: float | None) -> list[RowReport]:
        """Return the rows of a timeout: first to 90% answered, then most answered, then those without a run."""
        rows = [row for row in self.rows if row.timeout == timeout]
        return sorted(rows, key=lambda row: (_median(row, "seconds_to_90", math.inf), -_median(row, "answered")))

    @property
    def longest(self) -> float | None:
        """The timeout that left most time to some run: most of it is seen there."""
        tried = [row.timeout for row in self.rows if row.runs] or self.settings.timeouts
        return None if None in tried else max(each for each in tried if each is not None)


def report(
    contest: Contest, field: Field, lookups: Lookups, began: str, settings: Conditions, lab: LabSettings | None
) -> ComparisonReport:
    """Return what was found so far."""
    rows = _rows(contest, settings.timeouts)
    return ComparisonReport(
        began=began,
        seconds=round(contest.seconds, 3),
        complete=contest.done == len(contest.runs),
        runs_done=contest.done,
        runs_planned=len(contest.runs),
        hosts=lookups.hosts,
        lookups=len(lookups.of),
        invalid=lookups.invalid,
        nameservers=[str(each) for each in field.policy.nameservers],
        lab=lab,
        settings=settings,
        versions=versions(),
        machine=machine(),
        order=[_words(cell) for cell in contest.runs],
        left_out=field.left_out,
        rows=rows,
        agreement=contest.agreement(),
        notes=_notes(rows, settings),
    )


def versions() -> dict[str, str]:
    """Return our version, and those of the libraries that are installed."""
    found = {}
    for name in (DISTRIBUTION, *_LIBRARIES):
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def machine() -> Machine:
    """Return the machine that this runs on."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    system = f"{platform.system()} {platform.release()}"
    return Machine(system, platform.machine(), cpus, f"{platform.python_implementation()} {platform.python_version()}")


def _rows(contest: Contest, timeouts: Sequence[float | None]) -> list[RowReport]:
    found = []
    for timeout in timeouts:
        rows = [row for cell, row in contest.rows.items() if cell.timeout == timeout]
        figures = {row.cell.contestant: spreads(row.runs) for row in rows}
        # A single run does not show how far the next would be off: it is neither better nor worse.
        judged = {row.cell.contestant: len(row.runs) for row in rows if len(row.runs) > 1}
        least = min(judged.values(), default=0)
        bests = {
            name: best({each: figures[each][name] for each in judged}, name in MORE, least)
            for name in NAMES
            if name in MORE | LESS
        }
        for row in rows:
            who = row.cell.contestant
            good = [name for name, names in bests.items() if who in names]
            found.append(RowReport(*who, timeout, row.runs, row.errors, figures[who], good, *curve(row.curves)))
    return found


def _notes(rows: Sequence[RowReport], settings: Conditions) -> list[str]:
    """Return what a reader of the figures should know before drawing a conclusion."""
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
    """Return the lookups a second over the first nine tenths: lost replies, which wait for a retry, make the rest."""
    at = row.figures["seconds_to_90"]
    whole = row.figures["answered"]
    return 0.9 * whole.max / at.median if at is not None and whole is not None and at.median else 0.0


def _median(row: RowReport, name: str, otherwise: float = -1.0) -> float:
    spread = row.figures[name]
    return otherwise if spread is None else spread.median


def _words(cell: Cell) -> str:
    return str(cell.contestant) if cell.timeout is None else f"{cell.contestant} {cell.timeout:g} s"

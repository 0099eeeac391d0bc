"""The findings of a comparison, as one object: all that a table, a document or a picture shows.

Its fields, in their order, are what `-f json` writes; scripts rely on them.
"""

from __future__ import annotations

import math
import os
import platform
from collections import Counter
from collections.abc import Sequence

import msgspec

from resolver.compare.agreement import Agreement
from resolver.compare.contest import Cell, Conditions, Contest, LeftOut
from resolver.compare.figures import FIGURES, Spread, best, curve, spreads
from resolver.extras import versions
from resolver.output.lines import csv_rows

# Libraries that a figure may depend on; those that are installed are named.
_LIBRARIES = ("gevent", "greenlet", "Twisted", "dnspython", "aiodns", "pycares", "msgspec")


class LabSettings(msgspec.Struct, frozen=True):
    """The behaviour of the lab: seconds, a share of 1, queries a second."""

    latency: float = 0.0
    jitter: float = 0.0
    loss: float = 0.0
    capacity: float | None = None


class Machine(msgspec.Struct, frozen=True):
    """The machine of the runs. `cpus` are those that this process may use."""

    system: str
    processor: str
    cpus: int
    python: str


class RowReport(Cell, frozen=True):
    """A contestant with one timeout: each run, all of them together, and its errors.

    Attributes:
        runs: The figures of each run.
        errors: Those of the runs that failed.
        figures: Each figure over the runs.
        best: Figures in which none of the same timeout is better by more than the spreads; of one run none are told.
        curve: Seconds until each share of the lookups was answered, in equal steps up to all; null: never.
        curve_soonest, curve_latest: The same of the soonest run to each share, and of the latest.
    """

    runs: list[dict[str, float | None]]
    errors: list[str]
    figures: dict[str, Spread | None]
    best: list[str]
    curve: list[float | None]
    curve_soonest: list[float | None]
    curve_latest: list[float | None]

    def median(self, name: str, otherwise: float = 0.0) -> float:
        """Return the median of a figure, or the other value where there is none."""
        spread = self.figures[name]
        return otherwise if spread is None else spread.median

    def failures(self) -> list[str]:
        """Return a sentence about the runs that failed, for each error."""
        runs = len(self.runs) + len(self.errors)
        return [f"{self.name}: {count} of {runs} runs failed: {error}" for error, count in Counter(self.errors).items()]


class ComparisonReport(msgspec.Struct, frozen=True, kw_only=True):
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
        return sorted(rows, key=lambda row: (row.median("seconds_to_90", math.inf), -row.median("answered", -1)))

    @property
    def deadlines(self) -> list[float]:
        """The timeouts that are an end."""
        return [each for each in self.settings.timeouts if each is not None]

    @property
    def longest(self) -> float | None:
        """The timeout that left most time to some run: most of it is seen there."""
        tried = [row.timeout for row in self.rows if row.runs] or self.settings.timeouts
        return None if None in tried else max(each for each in tried if each is not None)

    def json(self) -> bytes:
        """Return everything, indented, with a line break at its end."""
        return msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n"

    def csv(self) -> bytes:
        """Return a row for each contestant and timeout, after a header.

        Each figure is three columns: its median by its own name, and both ends of the spread.
        """
        ends = [f"{name}{end}" for name in FIGURES for end in ("", "_min", "_max")]
        lines: list[list[object]] = [["engine", "backend", "timeout", "runs", "errors", *ends, "best"]]
        for row in self.rows:
            figures = [
                getattr(spread, end, None) for spread in row.figures.values() for end in ("median", "min", "max")
            ]
            errors = "; ".join(dict.fromkeys(row.errors))
            lines.append([row.engine, row.backend, row.timeout, len(row.runs), errors, *figures, " ".join(row.best)])
        return csv_rows(lines)


def report(contest: Contest, began: str, lab: LabSettings | None) -> ComparisonReport:
    """Return what was found so far.

    Args:
        contest: Its runs.
        began: When, in ISO 8601.
        lab: The behaviour of the comparison's own nameserver; None: others were asked.
    """
    participants, lookups, settings = contest.participants, contest.lookups, contest.settings
    rows = [row for timeout in settings.timeouts for row in _rows(contest, timeout)]
    return ComparisonReport(
        began=began,
        seconds=round(contest.seconds, 3),
        complete=contest.done == len(contest.runs),
        runs_done=contest.done,
        runs_planned=len(contest.runs),
        hosts=lookups.hosts,
        lookups=len(lookups.of),
        invalid=lookups.invalid,
        nameservers=[str(each) for each in participants.policy.nameservers],
        lab=lab,
        settings=settings,
        versions=versions(_LIBRARIES),
        machine=machine(),
        order=[str(cell) for cell in contest.runs],
        left_out=participants.left_out,
        rows=rows,
        agreement=contest.agreement(),
        notes=_notes(rows, settings),
    )


def machine() -> Machine:
    """Return the machine that this runs on."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    system = f"{platform.system()} {platform.release()}"
    return Machine(system, platform.machine(), cpus, f"{platform.python_implementation()} {platform.python_version()}")


def _rows(contest: Contest, timeout: float | None) -> list[RowReport]:
    rows = {cell: row for cell, row in contest.rows.items() if cell.timeout == timeout}
    figures = {cell: spreads(row.runs) for cell, row in rows.items()}
    # A single run does not show how far the next would be off: it is neither better nor worse.
    judged = {cell: len(row.runs) for cell, row in rows.items() if len(row.runs) > 1}
    least = min(judged.values(), default=0)
    bests = {
        name: best({cell: figures[cell][name] for cell in judged}, figure.better == "more", least)
        for name, figure in FIGURES.items()
        if figure.better != "neither"
    }
    return [
        RowReport(
            cell.engine, cell.backend, timeout, row.runs, row.errors, figures[cell],
            [name for name, cells in bests.items() if cell in cells], *curve(row.curves),
        )
        for cell, row in rows.items()
    ]  # fmt: skip


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
    soonest = min((at for row in rows if (at := row.median("latency_p50"))), default=0.0)
    most = max(_peak(row) for row in rows)
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
    at, answered = row.median("seconds_to_90"), row.figures["answered"]
    return 0.9 * answered.max / at if at and answered is not None else 0.0

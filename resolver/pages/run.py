"""Page about one run: what was asked of whom, what became of it, how long it took, and why some were not answered."""

from __future__ import annotations

import os
import platform
import re
import shlex
import sys
import time
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from resolver.extras import require, versions
from resolver.output.files import open_output
from resolver.output.streams import write_all
from resolver.output.tally import RunTally
from resolver.output.timeline import INTERRUPTED, Mark, Timeline
from resolver.pages import charts
from resolver.pages.render import count, duration, listed, render

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import BinaryIO

    from resolver.output.summary import Summary
    from resolver.policy import Policy

SHORTEST = 3  # points of a curve, or steps of results over time, that are worth a picture
REASONS, NAMESERVERS = 20, 20  # rows of the tables; paper has fewer of them
_LIBRARIES = ("gevent", "dnspython", "aiodns", "Twisted", "celery", "redis", "msgspec")
_LONGEST_COMMAND = 1500  # characters


class Asked(NamedTuple):
    """Question of a run.

    Attributes:
        inputs: The lists and hosts as the command names them.
        types: The record types.
        policy: Of whom they are asked, and how.
        kept: Results of an earlier run are in the figures too (`--resume`).
    """

    inputs: Sequence[str]
    types: Sequence[str]
    policy: Policy
    kept: bool


class RunReport:
    """Page about a run, which counts while the run goes on.

    Args:
        path: The file that it is written to.
        asked: What the run asks.

    Raises:
        ValueError: That is no file.
        NotInstalled: There is no jinja2.
    """

    def __init__(self, path: str, asked: Asked) -> None:
        if path == "-":
            raise ValueError("--report writes a page into a file; standard output is for results")
        require("jinja2", "report", "--report")
        self.tally = RunTally()
        self.timeline = Timeline()
        self._path = path
        self._asked = asked
        self._file: BinaryIO | None = None
        self._began = time.strftime("%Y-%m-%d %H:%M:%S %Z")

    def open(self, others: Sequence[str | int]) -> None:
        """Open the file. Raises OSError where that cannot be, and ValueError where it is one of the run's others."""
        self._file = open_output(self._path, others)

    def write(self, figures: Summary, problems: Sequence[str]) -> None:
        """Write the page, at the end of the run; raises OSError where the file cannot be written.

        Args:
            figures: Those of the run.
            problems: Sentences about what went wrong with its lists or its output.
        """
        assert self._file is not None
        with self._file as file:
            write_all(file, self._page(figures, problems))

    def _page(self, figures: Summary, problems: Sequence[str]) -> bytes:
        asked = self._asked
        end = _end(figures, asked.policy, self.timeline.marks)
        looked_up = sum(self.timeline.points[-1][1:])
        failures = sorted(self.tally.failures.values(), key=lambda each: -each.count)
        answered = sum(figures.statuses.get(name, 0) for name in ("NOERROR", "NODATA", "NXDOMAIN"))
        return render(
            "run.html",
            title=listed(["standard input" if each == "-" else each for each in asked.inputs], 3),
            figures=figures,
            answered=answered,
            lookups_per_second=looked_up / end if end else 0.0,
            queries_per_lookup=figures.queries_sent / looked_up if looked_up else None,
            statuses=sorted(figures.statuses.items(), key=lambda item: (-item[1], item[0])),
            asked=asked,
            question=_question(figures, asked),
            problems=problems,
            tally=self.tally,
            percentiles=self.tally.percentiles(),
            nameservers=(figures.nameservers or [])[:NAMESERVERS],
            nameservers_left=len(figures.nameservers or ()) > NAMESERVERS,
            latency=_latency(self.tally),
            overtime=_over_time(self.timeline, end, figures, asked.policy),
            failures=failures[:REASONS],
            failures_left=failures[REASONS:],
            began=self._began,
            command=command_line(),
            versions=versions(_LIBRARIES) | {"Python": platform.python_version()},
            machine=f"{platform.system()} {platform.release()} ({platform.machine()})",
        )


class LatencyCurve(NamedTuple):
    """Share of the answers by the time that they took: the path, its axis, and the percentiles' places."""

    across: charts.Scale
    path: str


def _latency(tally: RunTally) -> LatencyCurve | None:
    points = tally.curve()
    if len(points) < SHORTEST:
        return None
    across = charts.logarithmic(points[0][0], points[-1][0])
    return LatencyCurve(across, charts.line([across.place(at) for at, _ in points], [100 * part for _, part in points]))


class OverTime(NamedTuple):
    """Results of each kind a second, over time, and what happened meanwhile."""

    stack: charts.Stack
    marks: list[Mark]


def _end(figures: Summary, policy: Policy, marks: Sequence[Mark]) -> float:
    """Return the seconds after which nothing was looked up any more; what follows in a run is its bookkeeping."""
    if figures.ended == "deadline" and policy.timeout is not None:
        return min(policy.timeout, figures.seconds)
    interrupted = [mark.seconds for mark in marks if mark.text == INTERRUPTED]
    return min([*interrupted, figures.seconds])


def _over_time(timeline: Timeline, end: float, figures: Summary, policy: Policy) -> OverTime | None:
    points = [each for each in timeline.points if each.seconds < end] + [timeline.points[-1]._replace(seconds=end)]
    spans = list(pairwise(points))
    if len(spans) < SHORTEST:
        return None
    heights = [[(b - a) / (two[0] - one[0]) for a, b in zip(one[1:], two[1:], strict=True)] for one, two in spans]
    marks = [mark._replace(seconds=min(mark.seconds, end)) for mark in timeline.marks]
    if figures.ended == "deadline" and policy.timeout is not None:
        marks.append(Mark(end, "the deadline (--timeout)"))
    return OverTime(charts.stack([each.seconds for each in points], heights), sorted(marks))


def _question(figures: Summary, asked: Asked) -> dict[str, str]:
    """Return what was asked, of whom and how, as words under headings."""
    policy = asked.policy
    inputs = ["standard input" if each == "-" else each for each in asked.inputs]
    read = count(figures.hosts_read, "host") + ("" if figures.input_complete else ", and the rest was not read")
    wait = f"{'the last' if policy.tries > 1 else 'which'} waits {duration(policy.query_timeout)}"
    limits = [
        f"{policy.concurrency:,} lookups in flight" if policy.concurrency else "",
        f"{policy.rate:,g} queries a second" if policy.rate else "",
        f"{duration(policy.timeout)} for the whole run" if policy.timeout else "",
    ]
    return {
        "Hosts": f"{listed(inputs)} ({read})",
        "Types": listed(asked.types),
        "Nameservers": listed(policy.nameservers) or "the system's",
        "Queries": listed([count(policy.tries, "try", "tries") + f", {wait}", *policy.unusual]),
        "Limits": listed([each for each in limits if each]) or "none given",
        "Engine": f"{figures.engine}, backend {figures.backend}",
    }


def command_line() -> str:
    """Return the command as it was given, with the settings of its environment, and without passwords."""
    settings = [
        f"{name}={shlex.quote(_masked(value))}"
        for name, value in sorted(os.environ.items())
        if name.startswith("RESOLVE_")
    ]
    said = " ".join([*settings, "resolve", *[shlex.quote(_masked(word)) for word in sys.argv[1:]]])
    return said if len(said) <= _LONGEST_COMMAND else f"{said[:_LONGEST_COMMAND]}…"


def _masked(word: str) -> str:
    # A password of a Redis may hold any character, so all up to the last @ goes; in another URL an @ may be a path's.
    word = re.sub(r"(rediss?://).*@", r"\1***@", word, flags=re.IGNORECASE | re.DOTALL)
    return re.sub(r"(\w://)[^/?#\s]*:[^/?#\s]*@", r"\1***@", word)

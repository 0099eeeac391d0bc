"""One comparison from its options to its exit status: everything is checked and opened, then run, then reported.

A comparison takes minutes: a fault of an option, a file or the extra for a picture is found before the first run, and
finished runs are reported, however it ends.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import stat
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import BinaryIO

import msgspec

from resolver.compare.contest import CONCURRENCY, Conditions, Contest, choose, read
from resolver.compare.report import ComparisonReport, LabSettings, report
from resolver.compare.show import text
from resolver.compare.watch import Interrupted
from resolver.console import ANSWERED, UNANSWERED, UNWRITABLE, say, signals
from resolver.extras import require
from resolver.input.sources import Source
from resolver.output.files import check_other_file
from resolver.output.progress import LineDisplay, time_left
from resolver.output.status import RunStatus, StatusFeed
from resolver.output.streams import write_all
from resolver.output.table import terminal_width
from resolver.planning import record_types
from resolver.policy import Policy

PLOTS = (".png", ".svg")


class Comparison(contextlib.ExitStack):
    """A comparison that is ready to begin; as a context it closes what was opened for it.

    Args:
        sources, inputs: The hosts, and their names as the user gave them.
        named, backends: The pairs of engine and backend that take part; see `choose`.
        types: Record types.
        policy: That of all.
        timeouts: Seconds; None: no end.
        repeat: Runs of each.
        format: json, csv or table; None: by the name of the output.
        output, plot, page, status: Files; None: standard output, no picture, no page, no progress for programs.
        lab: The behaviour of a nameserver of the comparison's own; None: there is none.
        progress: It is shown on standard error.

    Raises:
        ValueError, LookupError: Something does not go together, or is not installed.
        OSError: Something cannot be read or written.
    """

    def __init__(
        self,
        *,
        sources: Sequence[Source],
        inputs: Sequence[str],
        named: Sequence[str],
        backends: Sequence[str],
        types: Sequence[str],
        policy: Policy,
        timeouts: Sequence[float | None],
        repeat: int,
        format: str | None,
        output: str | None,
        plot: str | None,
        page: str | None,
        status: str | None,
        lab: LabSettings | None,
        progress: bool,
    ) -> None:
        super().__init__()
        with contextlib.ExitStack() as opened:
            for source in sources:
                opened.callback(source.close)
            asked = record_types(types)
            if lab and policy.nameservers:
                raise ValueError("--lab is a nameserver of the comparison's own; it does not go with --nameserver")
            suffix = _suffix(output)
            if format is None and suffix == ".jsonl":
                # The results of `run` are there; a comparison would take their place.
                raise ValueError(f"{output}: a comparison is not JSON Lines; valid: .json, .csv, or --format")
            if plot is not None:
                check_plot(plot)
            if page is not None:
                require("jinja2", "report", "--report")
            if lab:
                from resolver.lab import Lab

                served = opened.enter_context(Lab(**msgspec.structs.asdict(lab), seed=1))
                policy = msgspec.structs.replace(policy, nameservers=(served.nameserver,))
            concurrency = policy.concurrency or CONCURRENCY
            settings = Conditions(
                types=asked,
                timeouts=list(timeouts),
                repeat=repeat,
                query_timeout=policy.query_timeout,
                tries=policy.tries,
                concurrency=concurrency,
                concurrency_chosen=policy.concurrency is None,
                rate=policy.rate,
            )
            policy = msgspec.structs.replace(policy, concurrency=concurrency)
            participants = choose(named, backends, asked, policy)
            # If no nameserver is named, each child finds those of the system by itself.
            policy = participants.policy if policy.nameservers else policy
            self._output = None if output is None else opened.enter_context(_opened(output, inputs))
            others = [*inputs, output or 1]
            self._plot = None if plot is None else opened.enter_context(_opened(plot, others))
            others += [plot] if plot else []
            self._page = None if page is None else opened.enter_context(_opened(page, others))
            self._feed = None if status is None else StatusFeed(status, [*others, page or ""])
            directory = opened.enter_context(tempfile.TemporaryDirectory(prefix="resolve-compare-"))
            lookups = read(sources, asked, os.path.join(directory, "hosts"))
            self._contest = Contest(participants, lookups, settings, policy)
            self._format = format or suffix[1:]
            self._lab, self._progress, self._inputs = lab, progress, inputs
            self.push(opened.pop_all())

    def run(self) -> int:
        """Run everything, report it, and return the exit status."""
        # Seldom drawn: a comparison measures, and drawing takes a processor.
        display = LineDisplay(sys.stderr, interval=0.5) if self._progress else None
        began, started = datetime.datetime.now().astimezone().isoformat(timespec="seconds"), time.monotonic()
        feed, contest = self._feed, self._contest

        def status() -> RunStatus:
            return _status(contest, time.monotonic() - started)

        with signals(_noted) as caught:

            def tick() -> None:
                if caught:
                    raise Interrupted
                if display is not None and display.due:
                    _draw(display, contest, status())
                if feed is not None:
                    feed.tick(status)

            contest.go(tick)
        if display is not None:
            display.close()
        if feed is not None:
            feed.close(status())
        found = report(contest, began, self._lab)
        try:
            self._write(found)
        except BrokenPipeError:
            # The reader of the report has read enough. What Python still holds back for it is nobody's.
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        except OSError as error:
            say(f"writing failed: {error.strerror or error}")
            return UNWRITABLE
        if caught:
            return 128 + caught[0]
        return UNANSWERED if any(row.errors for row in found.rows) else ANSWERED

    def _write(self, found: ComparisonReport) -> None:
        stream = sys.stdout.buffer if self._output is None else self._output
        match self._format:
            case "json":
                octets = found.json()
            case "csv":
                octets = found.csv()
            case _:
                octets = text(found, terminal_width(stream), stream.isatty()).encode("utf-8", "replace")
        if self._output is None:
            write_all(stream, octets)
        else:
            _replace(self._output, octets)
        if self._page is not None:
            from resolver.compare.page import page

            _replace(self._page, page(found, self._inputs))
        if self._plot is None:
            return
        if any(row.runs for row in found.rows):
            from resolver.compare.plot import draw

            _replace(self._plot, draw(found, _suffix(self._plot.name)[1:]))
        elif not os.path.getsize(self._plot.name):
            # Nothing to draw, and no picture from before: this one was only made to see whether it can be.
            os.unlink(self._plot.name)


def _draw(display: LineDisplay, contest: Contest, status: RunStatus) -> None:
    """Show how many runs are done, which one goes on, and how long the rest will take."""
    whole, done = len(contest.runs), contest.done
    display.move(done, whole)
    display.draw(f"{done}/{whole} runs{time_left(status.seconds_left)}  {contest.runs[min(done, whole - 1)]}")


def _status(contest: Contest, seconds: float) -> RunStatus:
    """Return the progress after so many seconds. A run is watched from outside: its lookups count when it is done."""
    each, runs_left = len(contest.lookups.of), len(contest.runs) - contest.done
    done = contest.done * each
    return RunStatus(
        done=done,
        total=len(contest.runs) * each,
        rate=round(done / seconds, 1) if seconds else None,
        in_flight=None if runs_left else 0,
        statuses=dict(contest.statuses),
        # Runs differ, and each is long: their mean so far tells more than the speed of the last seconds.
        seconds_left=round(seconds / contest.done * runs_left, 1) if contest.done else None,
    )


def check_plot(path: str) -> None:
    """Raise ValueError for a name that tells no format, LookupError where pictures are not installed."""
    if _suffix(path) not in PLOTS:
        raise ValueError(f"{path!r} tells no format of pictures; valid: {', '.join(PLOTS)}")
    require("matplotlib", "plot", "--plot", "; without it the table has the curves as text")


def _suffix(path: str | None) -> str:
    return os.path.splitext(path or "")[1].lower()


def _opened(path: str, others: Sequence[str | int]) -> BinaryIO:
    """Open for writing, without touching the content: it is replaced when there is something to replace it with."""
    check_other_file(path, others)
    return open(path, "ab", buffering=0)


def _replace(file: BinaryIO, octets: bytes) -> None:
    """Write in place of what the file holds, if it is one that holds anything."""
    if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.truncate(0)
    write_all(file, octets)


def _noted() -> None:
    """Do nothing: `tick` looks whether a signal came."""

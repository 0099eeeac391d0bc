"""One run of the command: a plan goes in, an exit status comes out; results, progress and summary go where they belong.

Signals only note that the run is to end: the batch then gives every lookup its CANCELLED result, and the input and the
output end in order (console.py).
"""

from __future__ import annotations

import logging
import os
import stat
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO

from resolver.batch import Summary, failed
from resolver.console import signals
from resolver.engines.base import Remote
from resolver.forget import send_all
from resolver.output.formats import Report, open_report
from resolver.output.kept import Other
from resolver.output.progress import Progress, print_summary, summary_json
from resolver.output.resume import lock
from resolver.wire.oneway import Forgetful, Sent

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from resolver.api import Plan
    from resolver.model import Result
    from resolver.output.resume import Resumed

ANSWERED, UNANSWERED, UNREADABLE, DEADLINE, UNWRITABLE = 0, 1, 2, 3, 4


class Job:
    """A run with its output. Raises OSError where that cannot be opened, ValueError where it is an input too."""

    def __init__(
        self,
        plan: Plan,
        format: str | None,
        output: str | None,
        summary: str | None,
        inputs: Sequence[str],
        resumed: Resumed | None = None,
    ) -> None:
        self._plan = plan
        self._resumed = resumed
        if output is None and sys.stdout is None:
            raise ValueError("standard output is closed; --output writes to a file")
        self._summary = None
        if resumed is None:
            self._stream = _open(1 if output is None else output, inputs, locked=output is not None)
        if summary is not None:
            self._summary = _open(summary, (*inputs, output or 1))
        if resumed is not None:
            self._plan = plan._replace(hosts=resumed.begin(plan.hosts))
            self._stream = resumed.stream
        format = format_of(format, output)
        if format is None:
            format = "auto" if self._stream.isatty() else "text"
        self._ordered = format == "table"
        self._report = open_report(format, self._stream)
        self._unwritten: OSError | None = None

    def run(self, *, order: str | None, strict: bool, progress: bool, quiet: bool) -> int:
        """Look everything up; returns the exit status."""
        display = _display(self._plan, awaited=True) if progress else None
        report = self._report
        terminal = self._stream.isatty()
        resumed = self._resumed

        def sink(results: list[Result]) -> None:
            if display is not None:
                display.update(results)
                if terminal:
                    display.clear()
            try:
                report.write(results if resumed is None else resumed.fresh(results))
            except OSError as error:
                self._unwritten = error
                raise

        batch = self._plan.batch(
            sink,
            ordered=order == "input" or (order is None and self._ordered),
            tick=None if display is None else display.tick,
        )
        unread: OSError | Other | None = None
        with signals(self._plan.deadline.cancel) as caught, _told(display):
            try:
                batch.run()
                self._close(report)
            except Other as error:
                unread = error
            except OSError as error:
                if error is not self._unwritten:
                    unread = error
            if display is not None:
                display.close()
            figures = batch.summary()
            if resumed is not None:
                figures = resumed.whole(figures)
                self._end_file(resumed, whole=not isinstance(unread, Other))
        return self._conclude(figures, caught, unread, strict=strict, told=progress, quiet=quiet)

    def _close(self, report: Report) -> None:
        try:
            report.close()
        except OSError as error:
            self._unwritten = error

    def _end_file(self, resumed: Resumed, *, whole: bool) -> None:
        """Put a resumed file in order, unless it could not be written; the next run that resumes it does so then."""
        try:
            if not whole:
                resumed.put_back()
            elif self._unwritten is None:
                resumed.finish()
        except OSError as error:
            self._unwritten = error

    def _conclude(
        self,
        figures: Summary,
        caught: list[int],
        unread: OSError | Other | None,
        *,
        strict: bool,
        told: bool,
        quiet: bool,
    ) -> int:
        closed_pipe = isinstance(self._unwritten, BrokenPipeError)
        if self._unwritten is not None and not closed_pipe:
            _say(f"resolve: writing the results failed: {_what(self._unwritten)}")
        if isinstance(unread, Other):
            _say(f"resolve: {unread}")
            return UNREADABLE
        if unread is not None:
            _say(f"resolve: reading the hosts failed: {_unread(unread)}")
        _tell(figures, told=told and not closed_pipe, quiet=quiet)
        written = _write_summary(self._summary, figures)
        if not written or (self._unwritten is not None and not closed_pipe):
            return UNWRITABLE
        if caught:
            return 128 + caught[0]
        if unread is not None:
            return UNREADABLE
        if figures.ended == "deadline":
            return DEADLINE
        lost = figures.lookups != figures.results_written and not closed_pipe
        return UNANSWERED if lost or failed(figures.statuses, strict=strict) else ANSWERED


class Volley:
    """A run that waits for no reply. Raises OSError where the file for the summary cannot be opened."""

    def __init__(self, summary: str | None, inputs: Sequence[str]) -> None:
        self.forgetful = Forgetful(Sent([0], [0], []))
        self._summary = None if summary is None else _open(summary, inputs)

    def run(self, plan: Plan, *, progress: bool, quiet: bool) -> int:
        """Send everything once; returns the exit status."""
        display = _display(plan, awaited=False) if progress else None
        unread: OSError | None = None
        figures: Summary | None = None
        with signals(plan.deadline.cancel) as caught, _told(display):
            try:
                figures = send_all(plan, self.forgetful.tally, None if display is None else display.tick)
            except OSError as error:
                unread = error
        if display is not None:
            display.close()
        if figures is None:
            _say(f"resolve: reading the hosts failed: {_unread(unread or OSError())}")
            return UNREADABLE
        asked = ", ".join(map(str, plan.policy.nameservers)) or "the workers' own nameservers"
        invalid = figures.statuses.get("INVALID", 0)
        try:
            print(
                f"{figures.queries_sent} of {figures.lookups} queries sent to {asked}; no reply was awaited", flush=True
            )
            if invalid:
                print(f"{invalid} INVALID", flush=True)
        except BrokenPipeError:
            pass
        except OSError as error:
            _say(f"resolve: writing failed: {_what(error)}")
            return UNWRITABLE
        _tell(figures, told=False, quiet=quiet)
        if not _write_summary(self._summary, figures):
            return UNWRITABLE
        if caught:
            return 128 + caught[0]
        if figures.ended == "deadline":
            return DEADLINE
        return ANSWERED if figures.queries_sent == figures.lookups else UNANSWERED


def format_of(format: str | None, output: str | None) -> str | None:
    """The format that was chosen, or that the name of the output chooses; None: neither says."""
    return format or {".jsonl": "jsonl", ".csv": "csv"}.get(os.path.splitext(output or "")[1].lower())


def check_other_file(path: str | int, others: Sequence[str | int]) -> None:
    """Raise ValueError for a file that is one of the run's others: what it holds would be lost, or read without end."""
    if any(same_file(path, 0 if other == "-" else other) for other in others):
        name = "standard output" if path == 1 else path
        raise ValueError(f"{name} is another file of this run, and would be overwritten")


def _open(path: str | int, others: Sequence[str | int], *, locked: bool = False) -> BinaryIO:
    """For writing, unbuffered: a batch is one write, and what was written can be seen.

    locked: no other run may write it meanwhile. Raises ValueError where one does, and as `check_other_file` does.
    """
    check_other_file(path, others)
    if isinstance(path, int) or not locked or (os.path.exists(path) and not os.path.isfile(path)):
        return open(path, "wb", buffering=0, closefd=path != 1)
    # What is locked holds another run's results: only then is it known that they may be cut off.
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
    file = open(fd, "wb", buffering=0)  # noqa: SIM115  # the caller's to close
    try:
        lock(fd, path)
        file.truncate(0)
    except BaseException:
        file.close()
        raise
    return file


def _tell(figures: Summary, *, told: bool, quiet: bool) -> None:
    if told:
        try:
            print_summary(figures, sys.stderr)
        except OSError:
            pass
    elif figures.note and not quiet:
        _say(f"resolve: {figures.note}")


def _write_summary(file: BinaryIO | None, figures: Summary) -> bool:
    if file is None:
        return True
    with file:
        try:
            file.write(summary_json(figures))
        except OSError as error:
            _say(f"resolve: writing the summary failed: {_what(error)}")
            return False
    return True


def _display(plan: Plan, *, awaited: bool) -> Progress:
    """awaited: there are results; what was read counts as far as it has some. Workers elsewhere have a lot in hand."""
    hosts = plan.hosts

    def position() -> tuple[int, int] | None:
        known = hosts.position()
        if known is None or not (awaited and hosts.lookups):
            return known
        return known[0] * (display.done + hosts.passed_over) // hosts.lookups, known[1]

    display = Progress(position, sys.stderr, plan.engine.worker_count if isinstance(plan.engine, Remote) else "")
    return display


@contextmanager
def _told(display: Progress | None) -> Iterator[None]:
    """While this lasts, what the package warns of is told on standard error, above the display."""
    log = logging.getLogger("resolver")
    handler = logging.Handler(logging.WARNING)

    def tell(record: logging.LogRecord) -> None:
        if display is not None:
            display.clear()
        _say(f"resolve: {record.getMessage()}")

    handler.emit = tell  # type: ignore[method-assign]  # a class for this one function would say no more
    propagate, log.propagate = log.propagate, False
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.propagate = propagate


def same_file(path: str | int, other: str | int) -> bool:
    """Are these, by name or descriptor, one regular file?"""
    try:
        # Only regular files: a terminal is read from and written to, and so is /dev/null.
        return os.path.samefile(path, other) and stat.S_ISREG(os.stat(path).st_mode)
    except OSError:
        return False


def _what(error: OSError) -> str:
    return error.strerror or str(error)


def _unread(error: OSError) -> str:
    return _what(error) if error.filename is None else f"{error.filename}: {_what(error)}"


def _say(sentence: str) -> None:
    try:
        print(sentence, file=sys.stderr, flush=True)
    except OSError:
        pass

"""Run of the command: a plan goes in, an exit status comes out; results, progress and summary go where they belong.

Signals only note that the run is to end: the batch then gives every lookup its CANCELLED result, and the input and the
output end in order (console.py).
"""

from __future__ import annotations

import logging
import sys
import time
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, BinaryIO

import msgspec

from resolver.batch import Batch, send_all
from resolver.blocks import BlockSink
from resolver.console import ANSWERED, DEADLINE, UNANSWERED, UNREADABLE, UNWRITABLE, reason, say, signals
from resolver.output.blocks import line_format
from resolver.output.files import OtherInput, format_of, open_output
from resolver.output.formats import SelectingWriter, open_writer
from resolver.output.lines import LineWriter
from resolver.output.progress import ProgressLine
from resolver.output.status import RunStatus, StatusFeed, ended, running
from resolver.output.summary import Summary, failed, print_summary, summary_json
from resolver.seam import Remote
from resolver.wire.oneway import SendCounts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from resolver.batch import Plan
    from resolver.blocks import ResultBlock
    from resolver.model import Result
    from resolver.output.resume import Resumed
    from resolver.output.selection import Differing, Selection
    from resolver.output.timeline import Timeline
    from resolver.pages.run import RunReport


class Job:
    """Run with its output. Raises OSError where that cannot be opened, ValueError where it is an input too."""

    def __init__(
        self,
        plan: Plan,
        format: str | None,
        output: str | None,
        summary: str | None,
        inputs: Sequence[str],
        resumed: Resumed | None = None,
        selection: Selection | Differing | None = None,
        group: Sequence[str] = (),
        more: Sequence[str] = (),
        keep: bool = False,
        status: str | None = None,
        report: RunReport | None = None,
    ) -> None:
        self._plan = plan
        self._report = report
        self._resumed = resumed
        if output is None and sys.stdout is None:
            raise ValueError("standard output is closed; --output writes to a file")
        self._summary = None
        if resumed is None:
            self._stream = open_output(1 if output is None else output, inputs, locked=output is not None)
        if summary is not None:
            self._summary = open_output(summary, (*inputs, output or 1))
        self._feed = None if status is None else StatusFeed(status, (*inputs, output or 1, summary or ""))
        if report is not None:
            report.open((*inputs, output or 1, summary or "", status or ""))
        if resumed is not None:
            self._plan = plan._replace(hosts=resumed.begin(plan.hosts))
            self._stream = resumed.stream
        format = format_of(format, output)
        if format is None:
            format = "auto" if self._stream.isatty() else "text"
        self._ordered = format == "table"
        self._selection = selection
        each = plan.policy.each_nameserver
        self._writer = open_writer(
            format, self._stream, selection=selection, group=group, more=more, keep=keep, each=each
        )
        self._lines = line_format(
            format, selection=selection, group=group, more=more, keep=keep, each=each, tallied=report is not None
        )
        if resumed is not None and not resumed.takes_lines:
            self._lines = None  # which are written depends on what they are
        self._write_error: OSError | None = None

    def run(self, *, order: str | None, strict: bool, progress: bool, quiet: bool) -> int:
        """Look everything up, and return the exit status."""
        writer, resumed, feed, report = self._writer, self._resumed, self._feed, self._report
        terminal = self._stream.isatty()
        input_error: OSError | OtherInput | None = None

        def sink(results: list[Result]) -> None:
            if display is not None and terminal:
                display.clear()
            with self._writing(again=True):
                writer.write(results if resumed is None else resumed.fresh(results))

        def line_sink(block: ResultBlock) -> None:
            assert isinstance(writer, LineWriter | SelectingWriter)
            if display is not None and terminal:
                display.clear()
            with self._writing(again=True):
                writer.write_block(block)

        timeline = None if report is None else report.timeline

        def status() -> RunStatus:
            return batch.status()

        def interrupt() -> None:
            self._plan.deadline.cancel()
            if timeline is not None:
                timeline.interrupted()

        with (
            signals(interrupt) as caught,
            _display(self._plan, status if progress else None, timeline) as display,
        ):
            ordered = order == "input" or (order is None and self._ordered)
            batch = Batch(
                self._plan,
                sink,
                ordered=ordered,
                tick=_tick(self._plan, display, feed, status, timeline),
                lines=None if self._lines is None else BlockSink(self._lines, line_sink),
                tally=None if report is None else report.tally,
            )
            if timeline is not None:
                timeline.begin(lambda: (batch.seconds(), batch.statuses))
            try:
                batch.run()
                with self._writing():
                    writer.close()
            except OtherInput as error:
                input_error = error
            except OSError as error:
                if error is not self._write_error:
                    input_error = error
            if display is not None:
                display.close()
            figures = batch.summary()
            if timeline is not None:
                timeline.note(figures.seconds, figures.statuses)
            if self._selection is not None:
                figures.results_shown = self._selection.shown
            if resumed is None:
                # A disk that is elsewhere may say only now that it had no room.
                with self._writing():
                    self._stream.close()
            else:
                figures = resumed.whole(figures)
                # A file that could not be written is put in order by the next run that resumes it.
                with self._writing():
                    if isinstance(input_error, OtherInput):
                        resumed.put_back()
                    elif self._write_error is None:
                        resumed.finish()
        if feed is not None:
            feed.close(ended(figures))
        return self._conclude(figures, caught, input_error, strict=strict, shown=progress, quiet=quiet)

    @contextmanager
    def _writing(self, *, again: bool = False) -> Iterator[None]:
        """Note that the results cannot be written; again: and raise the error again."""
        try:
            yield
        except OSError as error:
            self._write_error = error
            if again:
                raise

    def _conclude(
        self,
        figures: Summary,
        caught: list[int],
        input_error: OSError | OtherInput | None,
        *,
        strict: bool,
        shown: bool,
        quiet: bool,
    ) -> int:
        closed_pipe = isinstance(self._write_error, BrokenPipeError)
        problems = []
        if self._write_error is not None and not closed_pipe:
            problems.append(f"writing the results failed: {self._write_error.strerror or self._write_error}")
        if isinstance(input_error, OtherInput):
            problems.append(str(input_error))
        elif input_error is not None:
            problems.append(f"reading the hosts failed: {reason(input_error)}")
        for problem in problems:
            say(problem)
        written = self._write_report(
            figures, [*problems, *(["the reader of the results is gone"] if closed_pipe else [])]
        )
        if isinstance(input_error, OtherInput):
            return UNREADABLE
        _print_figures(figures, shown=shown and not closed_pipe, quiet=quiet)
        written &= _write_summary(self._summary, figures)
        if not written or (self._write_error is not None and not closed_pipe):
            return UNWRITABLE
        if caught:
            return 128 + caught[0]
        if input_error is not None:
            return UNREADABLE
        if figures.ended == "deadline":
            return DEADLINE
        lost = figures.lookups != figures.results_written and not closed_pipe
        return UNANSWERED if lost or failed(figures.statuses, strict=strict) else ANSWERED

    def _write_report(self, figures: Summary, problems: Sequence[str]) -> bool:
        return self._report is None or _writes("the report", partial(self._report.write, figures, problems))


class OneWayJob:
    """Run that waits for no reply. Raises OSError where the file for the summary cannot be opened."""

    def __init__(self, summary: str | None, status: str | None, inputs: Sequence[str]) -> None:
        self._feed = None if status is None else StatusFeed(status, (*inputs, 1, summary or ""))
        self._summary = None if summary is None else open_output(summary, inputs)

    def run(self, plan: Plan, *, progress: bool, quiet: bool) -> int:
        """Send everything once, and return the exit status."""
        counts, feed = SendCounts(), self._feed
        began = time.monotonic()

        def so_far() -> RunStatus:
            seconds, done = time.monotonic() - began, counts.sent + counts.failed + counts.invalid
            return running(plan.hosts, all_read=False, results=done, in_flight=0, statuses={}, seconds=seconds)

        try:
            with signals(plan.deadline.cancel) as caught, _display(plan, so_far if progress else None) as display:
                figures = send_all(plan, counts, _tick(plan, display, feed, so_far))
        except OSError as error:
            say(f"reading the hosts failed: {reason(error)}")
            return UNREADABLE
        if feed is not None:
            feed.close(msgspec.structs.replace(ended(figures), done=so_far().done))
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
            say(f"writing failed: {error.strerror or error}")
            return UNWRITABLE
        _print_figures(figures, shown=False, quiet=quiet)
        if not _write_summary(self._summary, figures):
            return UNWRITABLE
        if caught:
            return 128 + caught[0]
        if figures.ended == "deadline":
            return DEADLINE
        return ANSWERED if figures.queries_sent == figures.lookups else UNANSWERED


def _tick(
    plan: Plan,
    display: ProgressLine | None,
    feed: StatusFeed | None,
    status: Callable[[], RunStatus],
    timeline: Timeline | None = None,
) -> Callable[[], None] | None:
    """Return what is to be called again and again while the run goes on; None: nothing is."""
    ticks = [each.tick for each in (display, timeline) if each is not None]
    if feed is not None:
        if isinstance(plan.engine, Remote):
            seen = plan.engine.worker_count
            feed.workers = lambda: seen.workers
        ticks.append(partial(feed.tick, status))

    def tick() -> None:
        for each in ticks:
            each()

    return tick if ticks else None


def _print_figures(figures: Summary, *, shown: bool, quiet: bool) -> None:
    """Write the figures to standard error; else their note alone, unless that is to be quiet."""
    if shown:
        try:
            print_summary(figures, sys.stderr)
        except OSError:
            pass
    elif figures.note and not quiet:
        say(figures.note)


def _write_summary(file: BinaryIO | None, figures: Summary) -> bool:
    if file is None:
        return True
    with file:
        return _writes("the summary", partial(file.write, summary_json(figures)))


def _writes(what: str, write: Callable[[], object]) -> bool:
    """Write something, and return whether that went well; else say why not."""
    try:
        write()
    except OSError as error:
        say(f"writing {what} failed: {error.strerror or error}")
        return False
    return True


@contextmanager
def _display(
    plan: Plan, status: Callable[[], RunStatus] | None, timeline: Timeline | None = None
) -> Iterator[ProgressLine | None]:
    """Show progress while this lasts, and above it, on standard error, what the package warns of.

    Args:
        plan: The run.
        status: Tells how far the run is; None: only the warnings are shown.
        timeline: The warnings are marked there too.
    """

    def emit(record: logging.LogRecord) -> None:
        if display is not None:
            display.clear()
        say(record.getMessage())
        if timeline is not None:
            timeline.mark(record.getMessage())

    display = None
    if status is not None:
        workers = plan.engine.worker_count if isinstance(plan.engine, Remote) else ""
        display = ProgressLine(status, sys.stderr, workers)
    log = logging.getLogger("resolver")
    handler = logging.Handler(logging.WARNING)
    handler.emit = emit  # type: ignore[method-assign]  # a class for this one function would say no more
    propagate, log.propagate = log.propagate, False
    log.addHandler(handler)
    try:
        yield display
    finally:
        log.removeHandler(handler)
        log.propagate = propagate
        if display is not None:
            display.close()

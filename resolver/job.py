"""One run of the command: a plan goes in, an exit status comes out; results, progress and summary go where they belong.

Signals only note that the run is to end: the batch then gives every lookup its CANCELLED result, and the input and the
output end in order. A second one ends at once.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO

from resolver.batch import Summary, failed
from resolver.progress import Progress, print_summary, summary_json
from resolver.report import Report, open_report

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import FrameType

    from resolver.api import Plan
    from resolver.message import Result

ANSWERED, UNANSWERED, UNREADABLE, DEADLINE, UNWRITABLE = 0, 1, 2, 3, 4


class Job:
    """A run with its output. Raises OSError where that cannot be opened, ValueError where it would overwrite an input."""

    def __init__(
        self, plan: Plan, format: str | None, output: str | None, summary: str | None, inputs: Sequence[str]
    ) -> None:
        for path in (output, summary):
            if path is not None and any(_same(path, each) for each in inputs):
                raise ValueError(f"{path} is an input of this run, and would be overwritten")
        self._plan = plan
        self._summary: BinaryIO | None = open(summary, "wb", buffering=0) if summary is not None else None
        # Unbuffered: a batch is one write, and what was written can be seen.
        self._stream: BinaryIO = (
            open(1, "wb", buffering=0, closefd=False) if output is None else open(output, "wb", buffering=0)
        )
        if format is None:
            format = {".jsonl": "jsonl", ".csv": "csv"}.get(os.path.splitext(output or "")[1].lower())
        if format is None:
            format = "auto" if self._stream.isatty() else "text"
        self._ordered = format == "table"
        self._report = open_report(format, self._stream)
        self._unwritten: OSError | None = None

    def run(self, *, order: str | None, strict: bool, progress: bool, quiet: bool) -> int:
        """Look everything up; returns the exit status."""
        display = Progress(self._plan.hosts.position, sys.stderr) if progress else None
        report = self._report
        terminal = self._stream.isatty()

        def sink(results: list[Result]) -> None:
            if display is not None:
                display.update(results)
                if terminal:
                    display.clear()
            try:
                report.write(results)
            except OSError as error:
                self._unwritten = error
                raise

        batch = self._plan.batch(
            sink,
            ordered=order == "input" or (order is None and self._ordered),
            tick=None if display is None else display.tick,
        )
        unread: OSError | None = None
        with _signals(self._plan) as caught:
            try:
                batch.run()
                self._close(report)
            except OSError as error:
                if error is not self._unwritten:
                    unread = error
        if display is not None:
            display.close()
        figures = batch.summary()
        return self._conclude(figures, caught, unread, strict=strict, told=progress, quiet=quiet)

    def _close(self, report: Report) -> None:
        try:
            report.close()
        except OSError as error:
            self._unwritten = error

    def _conclude(
        self,
        figures: Summary,
        caught: list[int],
        unread: OSError | None,
        *,
        strict: bool,
        told: bool,
        quiet: bool,
    ) -> int:
        closed_pipe = isinstance(self._unwritten, BrokenPipeError)
        if self._unwritten is not None and not closed_pipe:
            _say(f"resolve: writing the results failed: {_what(self._unwritten)}")
        if unread is not None:
            _say(f"resolve: reading the hosts failed: {_what(unread)}")
        if told and not closed_pipe:
            try:
                print_summary(figures, sys.stderr)
            except OSError:
                pass
        elif figures.note and not quiet:
            _say(f"resolve: {figures.note}")
        if self._summary is not None:
            with self._summary as file:
                try:
                    file.write(summary_json(figures))
                except OSError as error:
                    _say(f"resolve: writing the summary failed: {_what(error)}")
                    return UNWRITABLE
        if self._unwritten is not None and not closed_pipe:
            return UNWRITABLE
        if caught:
            return 128 + caught[0]
        if unread is not None:
            return UNREADABLE
        if figures.ended == "deadline":
            return DEADLINE
        lost = figures.lookups != figures.results_written and not closed_pipe
        return UNANSWERED if lost or failed(figures.statuses, strict=strict) else ANSWERED


@contextmanager
def _signals(plan: Plan) -> Iterator[list[int]]:
    """While this lasts, SIGINT and SIGTERM end the run in order; which came is in the list."""
    caught: list[int] = []

    def end(number: int, _frame: FrameType | None) -> None:
        if caught:
            # The second time: whatever is going on, and wherever it hangs.
            os._exit(128 + number)
        caught.append(number)
        plan.deadline.cancel()

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _same(path: str, other: str) -> bool:
    try:
        return os.path.samefile(path, other) and not os.path.samefile(path, os.devnull)
    except OSError:
        return False


def _what(error: OSError) -> str:
    return error.strerror or str(error)


def _say(sentence: str) -> None:
    try:
        print(sentence, file=sys.stderr, flush=True)
    except OSError:
        pass

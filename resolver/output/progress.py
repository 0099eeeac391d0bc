"""Progress of a run, for people, on standard error.

The display draws only when it is told to, by `tick`, so it needs no thread and never draws in the middle of a line of
results. It must never end a run: a terminal that is gone silences it and nothing else.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from resolver.console import redraws
from resolver.model import Status

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import TextIO

    import rich.progress

    from resolver.model import Result

DELAY = 0.3  # seconds before the first drawing: a run that is over sooner shows no display, and does not load rich
LOG_INTERVAL = 10.0  # seconds between two lines where none can be drawn anew: a log, read later

_ERASE = "\r\x1b[2K"  # to the first column, and erase the line (ECMA-48 EL)


class LineDisplay:
    """Line on a terminal, with a bar before its text; where that cannot be drawn anew, a plain line every ten seconds.

    Args:
        stream: Standard error.
        interval: Seconds between two drawings.
    """

    def __init__(self, stream: TextIO, interval: float) -> None:
        self.started = monotonic()
        self._stream = stream
        self._terminal = redraws(stream)
        self._interval = interval if self._terminal else LOG_INTERVAL
        self._next = self.started + DELAY
        self._shown = False
        self._bar: rich.progress.Progress | None = None

    @property
    def due(self) -> bool:
        """Whether it is time to draw. To be asked often: it costs next to nothing."""
        return monotonic() >= self._next

    def move(self, part: int, whole: int | None) -> float | None:
        """Move the bar.

        Args:
            part: How much is done, in any one unit.
            whole: How much there is; None: nobody knows.

        Returns:
            The seconds that the rest will take; None: nobody knows.
        """
        if self._bar is None:
            self._bar = _bar(self._stream, self.started)
        task = self._bar.tasks[0]
        self._bar.update(task.id, total=whole, completed=part)
        return task.time_remaining

    def draw(self, text: str) -> None:
        """Draw the bar, where `move` has left it, and this text; the next drawing is due an interval later."""
        self._next = monotonic() + self._interval
        if not self._terminal:
            self._write(f"{text}\n")
            return
        assert self._bar is not None
        self._bar.update(self._bar.tasks[0].id, text=text)
        with self._bar.console.capture() as captured:
            self._bar.console.print(self._bar)
        # One line, whatever the width: what `clear` takes off is one line.
        line = captured.get().split("\n", 1)[0]
        self._shown = True
        self._write(f"{_ERASE}{line}")

    def clear(self) -> None:
        """Take the line off the screen, so that something else can be written there."""
        if self._shown:
            self._shown = False
            self._write(_ERASE)

    def close(self) -> None:
        """Take the line off the screen for good."""
        self.clear()
        self._next = float("inf")

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):  # ValueError: the stream is closed
            self._next = float("inf")


class ProgressLine:
    """Line that says how far a run has come, drawn ten times a second at most.

    Where the results go to the same terminal, `clear` before they are written; the next `tick` after draws again.

    Args:
        total_known: Tells how much of the input has been read, as (part, whole) in any one unit: lookups, or octets of
            the list. None: not known (a pipe); then the line has no share and no time left.
        stream: Standard error.
        further: Says more, in a few words: of workers elsewhere, how many there are.

    Attributes:
        done: Results so far.
    """

    def __init__(self, total_known: Callable[[], tuple[int, int] | None], stream: TextIO, further: object = "") -> None:
        self._total_known = total_known
        self._further = further
        self._line = LineDisplay(stream, interval=0.1)
        self.done = self._answered = self._nxdomain = 0
        self.clear = self._line.clear
        self.close = self._line.close

    def update(self, results: list[Result]) -> None:
        """Count these results."""
        # By list.count, which compares in C: a set or a dict would call Enum's __hash__, in Python, for each result.
        statuses = [result.status for result in results]
        self.done += len(statuses)
        self._answered += statuses.count(Status.NOERROR) + statuses.count(Status.NODATA)
        self._nxdomain += statuses.count(Status.NXDOMAIN)

    def count(self, statuses: Mapping[str, int]) -> None:
        """Count results of which so many have each status."""
        self.done += sum(statuses.values())
        self._answered += statuses.get(Status.NOERROR, 0) + statuses.get(Status.NODATA, 0)
        self._nxdomain += statuses.get(Status.NXDOMAIN, 0)

    def tick(self) -> None:
        """Draw, if it is time. To be called often: it costs next to nothing where it is not."""
        if self._line.due:
            part, whole = self._total_known() or (0, None)
            left = self._line.move(part, whole)
            self._line.draw(self._figures(monotonic() - self._line.started, part, whole, left))

    def _figures(self, elapsed: float, part: int, whole: int | None, left: float | None) -> str:
        # The most important first: a narrow terminal cuts the end off.
        share = f"{part / whole:4.0%} " if whole else ""
        failed = self.done - self._answered - self._nxdomain
        further = f"{said}  " if (said := str(self._further)) else ""
        return (
            f"{share}{_clock(elapsed)}{time_left(left)}  {short(self.done / max(elapsed, 1e-3))}/s  {further}"
            f"{short(self._answered)} answered {short(self._nxdomain)} NXDOMAIN {short(failed)} failed"
        )


monotonic = time.monotonic  # looked up once: `tick` is called between all batches


def _bar(stream: TextIO, started: float) -> rich.progress.Progress:
    """Return what draws the line; its console knows the width and the colours of the stream's terminal."""
    from rich import progress
    from rich.console import Console
    from rich.table import Column

    bar = progress.Progress(
        progress.BarColumn(bar_width=None, table_column=Column(ratio=1)),
        "{task.fields[text]}",
        console=Console(file=stream, highlight=False),
        auto_refresh=False,
        redirect_stdout=False,
        redirect_stderr=False,
        get_time=monotonic,
        expand=True,
    )
    bar.add_task("", total=None, text="")
    bar.tasks[0].start_time = started
    return bar


def time_left(seconds: float | None) -> str:
    """Return in words how long the rest will take; empty where nobody knows."""
    return "" if seconds is None else f" ({_clock(seconds)} left)"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes:02}:{rest:02}"


def short(number: float) -> str:
    """Write a number up to 9,999 as it is, above that in three digits: 12.3k, 123k, 1.23M."""
    if number < 9999.5:
        return f"{number:,.0f}"
    thousands = 0
    while number >= 999.5 and thousands < 3:
        number /= 1000
        thousands += 1
    return f"{number:#.3g}".removesuffix(".") + " kMG"[thousands]

"""Progress of a run, for people, on standard error.

The display draws only when it is told to, by `tick`, so it needs no thread and never draws in the middle of a line of
results. It must never end a run: a terminal that is gone silences it and nothing else.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING

from resolver.console import redraws

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TextIO

    import rich.progress

    from resolver.output.status import RunStatus

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

    def move(self, part: int, whole: int | None) -> None:
        """Move the bar.

        Args:
            part: How much is done, in any one unit.
            whole: How much there is; None: nobody knows.
        """
        if self._bar is None:
            self._bar = _bar(self._stream, self.started)
        self._bar.update(self._bar.tasks[0].id, total=whole, completed=part)

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
        status: Tells how far it is. Where no total is known (a pipe), the line has no share and no time left.
        stream: Standard error.
        further: Says more, in a few words: of workers elsewhere, how many there are.
    """

    def __init__(self, status: Callable[[], RunStatus], stream: TextIO, further: object = "") -> None:
        self._status = status
        self._further = further
        self._line = LineDisplay(stream, interval=0.1)
        self.clear = self._line.clear
        self.close = self._line.close

    def tick(self) -> None:
        """Draw, if it is time. To be called often: it costs next to nothing where it is not."""
        if self._line.due:
            status = self._status()
            self._line.move(status.done, status.total)
            self._line.draw(self._figures(status))

    def _figures(self, status: RunStatus) -> str:
        # The most important first: a narrow terminal cuts the end off.
        share = f"{status.done / status.total:4.0%} " if status.total else ""
        further = f"{said}  " if (said := str(self._further)) else ""
        counts = Counter(status.statuses)
        answered, nxdomain = counts["NOERROR"] + counts["NODATA"], counts["NXDOMAIN"]
        failed = counts.total() - answered - nxdomain
        gone = _clock(monotonic() - self._line.started)
        return (
            f"{share}{gone}{time_left(status.seconds_left)}  {short(status.rate or 0.0)}/s  "
            f"{further}{short(answered)} answered {short(nxdomain)} NXDOMAIN {short(failed)} failed"
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

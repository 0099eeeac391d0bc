"""The display on standard error while the runs go on: how many are done, which one runs, how long the rest will take.

It draws only when told to, by `tick`, and seldom: a comparison measures, and drawing takes a processor. It must never
end a comparison: a terminal that is gone silences it and nothing else.
"""

from __future__ import annotations

import time
from typing import TextIO

from rich.console import Console
from rich.progress_bar import ProgressBar
from rich.table import Table

from resolver.compare.contest import Contest

INTERVAL = 0.5  # seconds between two drawings
LOG_INTERVAL = 10.0  # seconds between two lines where standard error is no terminal

_ERASE = "\r\x1b[2K"


class ContestProgress:
    """One line about a contest."""

    def __init__(self, contest: Contest, stream: TextIO) -> None:
        self._contest = contest
        self._stream = stream
        self._terminal = stream.isatty()
        self._started = time.monotonic()
        self._next = 0.0 if self._terminal else self._started + LOG_INTERVAL
        self._done = -1

    def tick(self) -> None:
        """Draw, if it is time, or if another run has begun."""
        now = time.monotonic()
        if now < self._next and not (self._terminal and self._contest.done != self._done):
            return
        self._done = self._contest.done
        self._next = now + (INTERVAL if self._terminal else LOG_INTERVAL)
        self._write(f"{_ERASE}{self._drawn(now)}" if self._terminal else f"{self._figures(now)}\n")

    def close(self) -> None:
        """Take the line off the screen for good."""
        if self._terminal and self._done >= 0:
            self._write(_ERASE)

    def _figures(self, now: float) -> str:
        whole, done = len(self._contest.runs), self._contest.done
        left = ""
        if done:
            minutes, seconds = divmod(int((now - self._started) / done * (whole - done)), 60)
            left = f" ({minutes:02}:{seconds:02} left)"
        return f"{done}/{whole} runs{left}  {self._contest.runs[min(done, whole - 1)]}"

    def _drawn(self, now: float) -> str:
        line = Table.grid("bar", "figures", expand=True, padding=(0, 1, 0, 0))
        line.columns[0].ratio, line.columns[1].no_wrap = 1, True
        line.add_row(ProgressBar(len(self._contest.runs), self._contest.done), self._figures(now))
        console = Console(file=self._stream, highlight=False)
        with console.capture() as captured:
            console.print(line)
        return captured.get().split("\n", 1)[0]

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):
            self._next = float("inf")
            self._terminal = False

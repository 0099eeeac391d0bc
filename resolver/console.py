"""SIGINT and SIGTERM, as every command takes them: the first ends it in order, a later one at once.

The one thing to know before changing anything here: `timeout 5 resolve …` sends its signal twice, to the process and to
the process's group, and a shell or a terminal may do the like. What comes within `TOGETHER` of the first is the same
signal.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

TOGETHER = 0.5  # seconds


@contextmanager
def signals(begin: Callable[[], None], clock: Callable[[], float] = time.monotonic) -> Iterator[list[int]]:
    """Take signals while this lasts: the first SIGINT or SIGTERM calls `begin` and is noted in the list, no other is.

    A signal that comes more than `TOGETHER` seconds after it ends the process at once, with 128 and its number.
    Once a signal came the handlers stay: the second of two that are one must not meet a process that is about to end
    in order, and end it otherwise. For the main thread.
    """
    caught: list[int] = []
    first = 0.0

    def end(number: int, _frame: FrameType | None) -> None:
        nonlocal first
        if not caught:
            first = clock()
            caught.append(number)
            begin()
        elif clock() - first > TOGETHER:
            # Whatever is going on, and wherever it hangs.
            os._exit(128 + number)

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield caught
    finally:
        if not caught:
            for number, handler in before.items():
                signal.signal(number, handler)

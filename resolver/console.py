"""Signals, exit statuses and standard error, the same for every command.

SIGINT and SIGTERM: the first ends a command in order, a later one at once. `timeout 5 resolve …` sends its signal
twice, to the process and to the process's group, and a shell or a terminal may do the like: a signal that comes within
`TOGETHER` of the first is the same signal.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType
    from typing import TextIO

ANSWERED, UNANSWERED, UNREADABLE, DEADLINE, UNWRITABLE = range(5)  # exit statuses; a signal's is 128 and its number
TOGETHER = 0.5  # seconds


@contextmanager
def signals(begin: Callable[[], None], clock: Callable[[], float] = time.monotonic) -> Iterator[list[int]]:
    """Take signals while this lasts, on the main thread; one that comes `TOGETHER` seconds later ends the process.

    Once a signal came the handlers stay: the second of two that are one must not meet a process that is about to end
    in order, and end it otherwise.

    Args:
        begin: Called at the first SIGINT or SIGTERM.
        clock: Seconds on a monotonic clock.

    Yields:
        A list that the first signal is noted in, and no other.
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


def default_interrupts() -> None:
    """Let SIGINT end the process without a word, as SIGTERM does, so that a shell sees it: outside of a run."""
    if os.getpid() == 1:  # of a container: what it does not handle itself, the kernel drops
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda number, _: os._exit(128 + number))
    elif signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def leave_signals_to_parent() -> None:
    """Ignore Ctrl-C and a hangup, and leave in order at SIGTERM: for a child that its parent ends."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))


def say(sentence: str) -> None:
    """Write a sentence to standard error, if that can be written."""
    try:
        print(f"resolve: {sentence}", file=sys.stderr, flush=True)
    except OSError:
        pass


def reason(error: OSError) -> str:
    """Return what went wrong, without the number, after the file that it is about."""
    what = error.strerror or str(error)
    return what if error.filename is None else f"{error.filename or repr('')}: {what}"


def redraws(stream: TextIO) -> bool:
    """Tell whether a line on this stream can be drawn anew: it is a terminal, and none that takes no control codes."""
    return stream.isatty() and os.environ.get("TERM", "").lower() not in ("dumb", "unknown")

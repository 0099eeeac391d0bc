"""Reading ahead: an iterator that may wait is read beside the run, so that neither the engine nor the end waits for it.

`InThread` reads on a daemon thread. In a program that gevent has patched that is a green thread of the same hub, where
an iterator may wait as green threads do. An asynchronous iterator is read in a task of the running loop (task.py).

Nobody can interrupt an iterator that waits. It is left where it stands; what it gives later is dropped, and as a daemon
its thread does not keep the interpreter from exiting.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

MOST = 1024  # items that are read and not taken, and
LOW = MOST // 2  # how many are left when reading goes on: waking a thread for each of them would cost more than reading
# Seconds that an iterator that is read to its end may wait after `stop`: for one item, and for all together.
PAUSE, PAUSES = 0.1, 0.3
JOIN = 0.02  # seconds that a thread has to end when it is told to: enough where its iterator does not wait


class Reader(Protocol):
    """Reader of an iterable: begins at `start`, calls `put` for each item, and `end` at the end."""

    def start(self, ahead: ReadAhead) -> None:
        """Begin to read."""

    def wake(self) -> None:
        """Go on: there is room again, or nothing more is to be read."""

    def wait(self, condition: Callable[[], bool], seconds: float) -> None:
        """Wait until this is true, so many seconds at most."""


class ReadAhead:
    """Items that were read and not taken yet.

    Args:
        reader: Reads them.
        whole: Also after `stop` it is read to its end, unless it waits; its reader can be waited for.

    Attributes:
        closed: Nothing more is to be read.
        cut: It was stopped before the end of what is read.
        reader_waits: The reader waits for room, and is to be woken.
    """

    def __init__(self, reader: Reader, *, whole: bool = False) -> None:
        self.closed = False
        self.cut = False
        self._reader = reader
        self._whole = whole
        self._items: deque[object] = deque()
        self._ended = False
        self._error: BaseException | None = None
        self._started = False
        self._stopped = False
        self.reader_waits = False
        self._wait_left = PAUSES

    # --- For who takes.

    def take(self, n: int) -> list[object] | None:
        """Take up to `n` items. Never waits before `stop`.

        Returns:
            The items; an empty list: the end; None: there is none just now.

        Raises:
            BaseException: What reading raised, after all that came before it.
        """
        if not self._started and (self._whole or not self._stopped):
            self._started = True
            self._reader.start(self)
        items = self._items
        while True:
            ended = self._ended  # looked at first: all that came before the end is in `items` then
            taken = [items.popleft() for _ in range(min(n, len(items)))]
            if self.reader_waits and not self.full:
                self._reader.wake()
            if taken:
                return taken
            if ended:
                if self._error is not None:
                    raise self._error
                return []
            if not self._stopped:
                return None
            if not (self._whole and self._more()):
                self.cut = True
                self.close()
                return []

    def stop(self) -> None:
        """End early: items that were read are still to be taken, and no more are read but of a whole one."""
        self._stopped = True
        if not self._whole:
            self.close()

    def close(self) -> None:
        """Read no more."""
        if not self.closed:
            self.closed = True
            if self._started:
                self._reader.wake()

    def _more(self) -> bool:
        """Wait for an item or the end, within bounds, and tell whether there is one."""
        began = time.monotonic()
        self._reader.wait(lambda: bool(self._items) or self._ended, min(PAUSE, self._wait_left))
        self._wait_left -= time.monotonic() - began
        return bool(self._items) or self._ended

    # --- For the reader.

    def put(self, item: object) -> bool:
        """Take an item that was read, and tell whether there is room for another."""
        self._items.append(item)
        return len(self._items) < MOST

    @property
    def full(self) -> bool:
        """Too much is held for a reader that waits for room to go on; it sets `reader_waits` before it asks."""
        return len(self._items) > LOW and not self.closed

    def end(self, error: BaseException | None = None) -> None:
        """Note that there is no more, or that reading raised this."""
        self._error = error
        self._ended = True


class InThread:
    """Reads an iterable on a daemon thread."""

    def __init__(self, items: Iterable[object]) -> None:
        self._items: Iterable[object] | None = items
        self._changed = threading.Condition()
        self._awaited = False
        self._thread: threading.Thread | None = None
        self._ahead: ReadAhead

    def start(self, ahead: ReadAhead) -> None:
        """Begin to read."""
        # From here on only the thread has the iterable: a generator is closed when that leaves it.
        items, self._items = self._items, None
        assert items is not None
        self._ahead = ahead
        thread = threading.Thread(target=self._work, args=(items,), name="resolve-read-ahead", daemon=True)
        thread.start()
        self._thread = thread

    def wake(self) -> None:
        """Go on: there is room again, or nothing more is to be read; then wait for the thread, but not its iterator."""
        with self._changed:
            self._changed.notify_all()
        if self._ahead.closed and self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(JOIN)

    def wait(self, condition: Callable[[], bool], seconds: float) -> None:
        """Wait until this is true, so many seconds at most."""
        with self._changed:
            self._awaited = True
            self._changed.wait_for(condition, seconds)
            self._awaited = False

    def _work(self, items: Iterable[object]) -> None:
        ahead = self._ahead
        try:
            for item in items:
                if ahead.closed or not self._put(ahead, item):
                    return
        except BaseException as error:  # raised again where hosts are taken
            ahead.end(error)
        else:
            ahead.end()
        self._tell()

    def _put(self, ahead: ReadAhead, item: object) -> bool:
        """Put this, wait for room where it was the last, and tell whether more is to be read."""
        room = ahead.put(item)
        if self._awaited:
            self._tell()
        if not room:
            with self._changed:
                ahead.reader_waits = True
                self._changed.wait_for(lambda: not ahead.full)
                ahead.reader_waits = False
        return not ahead.closed

    def _tell(self) -> None:
        with self._changed:
            self._changed.notify_all()

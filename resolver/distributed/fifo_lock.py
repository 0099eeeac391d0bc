"""A lock that its owners get in the order in which they asked for it."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

POLL_INTERVAL = 0.02  # seconds between two looks whether an owner still wants it


class FifoLock:
    """Serves executors one after the other, where limits of the worker hold for all that it does."""

    def __init__(self) -> None:
        self._owners: deque[object] = deque()  # the first has the lock, the others wait
        self._changed = threading.Condition()

    def acquire(self, owner: object, ended: Callable[[], bool]) -> None:
        """Wait until `owner` has the lock, or `ended` is true."""
        with self._changed:
            self._owners.append(owner)
            while self._owners[0] is not owner and not ended():
                self._changed.wait(POLL_INTERVAL)

    def contended(self, owner: object) -> bool:
        """Return whether `owner` has the lock and others wait for it."""
        with self._changed:
            return len(self._owners) > 1 and self._owners[0] is owner

    def release(self, owner: object) -> None:
        """Pass the lock on, or stop waiting for it."""
        with self._changed:
            if owner in self._owners:
                self._owners.remove(owner)
            self._changed.notify_all()

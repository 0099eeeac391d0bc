"""Waiting for a descriptor where the process has none left: other lookups of the run give theirs back before long.

A lookup that waits gives back first what it holds itself: some lookup always goes on. The time of the wait is not the
nameserver's silence, and counts for no try.
"""

from __future__ import annotations

import errno
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

WAIT = 0.02  # seconds until it is tried again
NONE_LEFT = (errno.EMFILE, errno.ENFILE)


class Descriptors:
    """The descriptors of one session. `give_back` closes those that the session keeps and nobody uses."""

    def __init__(self, query_timeout: float, give_back: Callable[[], None]) -> None:
        # Seconds for which nobody may have got one before it is a failure: longer than anybody holds one.
        self._most = 2 * query_timeout + 5.0
        self._got = time.monotonic()
        self._missed = -1.0
        self._give_back = give_back

    @property
    def scarce(self) -> bool:
        """Whether a lookup had to wait a moment ago: descriptors that are not in use are not to be kept."""
        return time.monotonic() - self._missed < 1.0

    def got(self) -> None:
        """Record that a lookup has got one."""
        self._got = time.monotonic()

    def wait(self, error: OSError) -> float:
        """Return the seconds after which to try again. Raises the error where it is another one, or lasts for long."""
        if error.errno not in NONE_LEFT or time.monotonic() - self._got > self._most:
            raise error
        self._missed = time.monotonic()
        self._give_back()
        return WAIT

"""One loop: sockets that can be read or written, and what is due at a time. One thread, nothing in it blocks."""

import heapq
import selectors
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import FileDescriptorLike

READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE

# Actions that may wait at once; each holds a reply of a few hundred octets.
_WAITING_MOST = 200_000


class Loop:
    """Calls back what was registered, until `stop`."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._waiting: list[tuple[float, int, Callable[[], object]]] = []
        self._sequence = 0
        self._running = True

    def run(self) -> None:
        """Serve until `stop` was called."""
        waiting, select, now = self._waiting, self._selector.select, time.monotonic
        pop = heapq.heappop
        while self._running:
            # Selectors round a timeout up to the next millisecond: nothing is sent too early, all of it soon.
            for key, mask in select(max(0.0, waiting[0][0] - now()) if waiting else None):
                key.data(mask)
            while waiting and waiting[0][0] <= now():
                pop(waiting)[2]()

    def stop(self) -> None:
        """Make `run` return after what it does now."""
        self._running = False

    def close(self) -> None:
        self._selector.close()

    def watch(self, source: "FileDescriptorLike", events: int, callback: Callable[[int], object]) -> None:
        """Call back with the events that happened; events 0 ends it."""
        registered = self._selector.get_map()
        if not events:
            if source in registered:
                self._selector.unregister(source)
        elif source in registered:
            self._selector.modify(source, events, callback)
        else:
            self._selector.register(source, events, callback)

    def later(self, delay: float, action: Callable[[], object]) -> bool:
        """Act once, so many seconds from now; False, and never, where too much is waiting already."""
        if len(self._waiting) >= _WAITING_MOST:
            return False
        self._sequence += 1
        heapq.heappush(self._waiting, (time.monotonic() + delay, self._sequence, action))
        return True

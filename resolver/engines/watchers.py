"""A poll object in gevent's hub: other green threads run while one waits here.

gevent's own select.poll makes and starts a watcher for each descriptor at every call, and stops them at its end; these
stay as long as the descriptor is waited for. That saves some hundredths of the whole run.
"""

from __future__ import annotations

import select
from typing import Any

import gevent
from gevent.hub import Waiter

_READ, _WRITE = 1, 2  # of both loops that gevent has, libev and libuv


class Watchers:
    """A poll object on the calling thread's hub; as a context, its end forgets every descriptor."""

    def __init__(self) -> None:
        self._hub = gevent.get_hub()
        self._watchers: dict[int, Any] = {}
        self._ready: dict[int, int] = {}
        self._waiter: Any = None

    def __enter__(self) -> Watchers:
        return self

    def __exit__(self, *_: object) -> None:
        for fd in list(self._watchers):
            self.unregister(fd)

    def register(self, fd: int, eventmask: int, /) -> None:
        """Wait for these events of a descriptor, or for others than before."""
        self.unregister(fd)
        events = bool(eventmask & select.POLLIN) * _READ | bool(eventmask & select.POLLOUT) * _WRITE
        watcher = self._watchers[fd] = self._hub.loop.io(fd, events)
        watcher.start(self._came, fd, eventmask)

    def unregister(self, fd: int, /) -> None:
        """Forget a descriptor."""
        watcher = self._watchers.pop(fd, None)
        if watcher is not None:
            watcher.stop()
            watcher.close()

    def poll(self, timeout: float, /) -> list[tuple[int, int]]:
        """Wait `timeout` milliseconds at most, while other green threads run.

        Returns:
            The descriptors that are ready, each with the events that it was waited for.
        """
        self._waiter = waiter = Waiter(self._hub)
        with self._hub.loop.timer(timeout / 1000) as timer:
            timer.start(waiter.switch, None)
            try:
                waiter.get()
            finally:
                self._waiter = None
        ready, self._ready = self._ready, {}
        return list(ready.items())

    def _came(self, fd: int, eventmask: int) -> None:
        """Called by the loop, for each descriptor that is ready: the waiting thread goes on after the last of them."""
        self._ready[fd] = eventmask
        if self._waiter is not None:
            self._hub.loop.run_callback(self._waiter.switch, None)
            self._waiter = None

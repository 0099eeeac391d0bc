"""The engine `gevent`: green threads that wait in gevent's hub, where others run meanwhile.

A backend of the poll style needs no monkey-patching: its channel works on descriptors, and this engine waits for them
in the hub's own loop.
"""

from __future__ import annotations

import select
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import gevent
from gevent._hub_local import get_hub_if_exists
from gevent.hub import Waiter

from resolver.engines.polling import by_poll

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from resolver.engines.base import Backend, Queries
    from resolver.message import Result
    from resolver.policy import Policy


class Gevent(NamedTuple):
    """Green threads of the calling thread's hub."""

    name: str = "gevent"

    def run(self, queries: Queries, policy: Policy, backend: Backend, deliver: Callable[[list[Result]], None]) -> None:
        with _hub(), _Poll() as poll:
            by_poll(poll, queries, policy, backend, self.name, deliver)


@contextmanager
def _hub() -> Iterator[None]:
    """The calling thread's hub; one that is made for this run ends with it, with its descriptors and threads."""
    # gevent has no public way to ask whether there is one without making one.
    before = get_hub_if_exists()
    try:
        yield
    finally:
        if before is None and threading.current_thread() is not threading.main_thread():
            gevent.get_hub().destroy(destroy_loop=True)


class _Poll:
    """What gevent.select.poll() does, with watchers that stay: it makes and starts all of them anew at each call."""

    def __init__(self) -> None:
        self._hub = gevent.get_hub()
        self._watchers: dict[int, Any] = {}
        self._ready: dict[int, int] = {}
        self._waiter: Any = None

    def __enter__(self) -> _Poll:
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
        """Wait so many milliseconds at most, while other green threads run; returns the descriptors that are ready,
        each with the events that it was waited for.
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


_READ, _WRITE = 1, 2  # of both loops that gevent has, libev and libuv


engine = Gevent()

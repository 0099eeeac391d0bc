"""The engine `gevent`: green threads that wait in gevent's hub, where others run meanwhile.

A backend of the poll style needs no monkey-patching: its channel works on descriptors, and this engine waits for them
with watchers of the hub's. One of the style `call` has a green thread for each lookup in flight, and blocks all of them
where the program is not patched; that is refused before the run begins.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import gevent
from gevent._hub_local import get_hub_if_exists

from resolver.attempts import BLOCKING_CONCURRENCY
from resolver.daemons import LEFT
from resolver.engines.blocking_workers import run_blocking_workers
from resolver.engines.poll_loop import run_poll_loop
from resolver.engines.watchers import Watchers
from resolver.seam import CallBackend, PollBackend

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from resolver.model import Result
    from resolver.policy import Policy
    from resolver.seam import Backend, Queries

_PATCHED = ("socket", "select", "ssl", "time")  # what the backends wait with


class Gevent(NamedTuple):
    """Green threads of the calling thread's hub."""

    name: str = "gevent"

    def check(self, backend: Backend) -> None:
        """Raises ValueError for a backend that would block every green thread, as the program is not patched."""
        if isinstance(backend, PollBackend):
            return
        from gevent import monkey  # here, like pool and queue below: the backend of most runs polls

        if not all(map(monkey.is_module_patched, _PATCHED)):
            raise ValueError(
                f"backend {backend.name} blocks, and this program's standard library is not gevent's: "
                "call gevent.monkey.patch_all() first, before anything else is imported; "
                "or use backend wire, which needs no patching, or engine threads"
            )

    def run(self, queries: Queries, policy: Policy, backend: Backend, deliver: Callable[[list[Result]], None]) -> None:
        with _hub():
            if isinstance(backend, PollBackend):
                with Watchers() as poll:
                    run_poll_loop(poll, queries, policy, backend, self.name, deliver)
                return
            from gevent import queue

            assert isinstance(backend, CallBackend)
            limit = policy.concurrency or BLOCKING_CONCURRENCY
            _make_room(limit + LEFT)
            run_blocking_workers(_Greenlets(), queue.Queue(), limit, queries, policy, backend, self.name, deliver)


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


class _Greenlets:
    """A green thread for each call. Killing one wakes it where it waits; a thread of the pool it waits for goes on."""

    def __init__(self) -> None:
        from gevent import pool

        self._running = pool.Group()

    def submit(self, function: Callable[[], Any], done: Callable[[Any], None]) -> None:
        self._running.spawn(_call, function, done)

    def close(self) -> None:
        self._running.kill(block=False)


def _call(function: Callable[[], Any], done: Callable[[Any], None]) -> None:
    try:
        outcome = function()
    except Exception as error:  # the calling thread's to judge; being killed is none
        outcome = error
    done(outcome)


def _make_room(limit: int) -> None:
    """Let so many of the C library's lookups run at once.

    gevent has them done by the threads of the hub's pool, 10 unless somebody says otherwise. It stays as large: threads
    that hang in a lookup beyond the run's end must not block the program's next one.
    """
    threads = gevent.get_hub().threadpool
    threads.maxsize = max(threads.maxsize, limit)


engine = Gevent()

"""Daemon threads of our own, for calls that block and that nobody can cancel.

A call such as getaddrinfo may hang for as long as the C library likes: nothing here ever waits for a thread. `close`
abandons the calls that still run; as daemons these threads do not keep the interpreter from exiting, which those of
ThreadPoolExecutor and of asyncio's default executor do.
"""

from __future__ import annotations

import itertools
import queue
import threading
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

T = TypeVar("T")

LEFT = 256  # calls that came back to nobody in time and still occupy their threads, beside those that are waited for


class Daemons:
    """Up to `limit` daemon threads, started when there is a call and no thread free for it. A context that closes.

    Any thread may `submit`.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._threads = 0
        # A task is done when its call has come back: what is unfinished is what waits for a thread or occupies one.
        self._calls: queue.Queue[tuple[Callable[[], Any], Callable[[Any], None]] | None] = queue.Queue()
        self._closed = False
        self._telling = threading.Lock()
        self._starting = threading.Lock()

    def submit(self, function: Callable[[], T], done: Callable[[T | BaseException], None]) -> None:
        """Have a function called on a daemon thread. Calls over the limit wait their turn, in memory: bound them.

        Args:
            function: It may block.
            done: Called there with its result or exception. It must be short and must not block: it puts the outcome
                where somebody waits for it.

        Raises:
            RuntimeError: Not even one thread can be started.
        """
        self._calls.put((function, done))
        with self._starting:
            if self._threads < min(self._limit, self._calls.unfinished_tasks):
                self._start()

    def close(self) -> None:
        """Begin no further call and call no further `done`; returns at once, whatever still runs."""
        with self._telling:
            self._closed = True
        for _ in range(self._threads):
            self._calls.put(None)

    def __enter__(self) -> Daemons:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self.close()

    def _start(self) -> None:
        thread = threading.Thread(target=self._work, name=f"resolve-daemon-{next(_NUMBERS)}", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            # The system gives no more threads. With those that there are the run goes on, slower.
            if not self._threads:
                raise
            self._limit = self._threads
            return
        self._threads += 1

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            function, done = call
            outcome: Any
            try:
                outcome = None if self._closed else function()
            except BaseException as error:  # the caller's to judge; this thread serves others too
                outcome = error
            self._calls.task_done()
            # Under the lock: when `close` has returned, an event loop that `done` would wake may be gone.
            with self._telling:
                if not self._closed:
                    done(outcome)
            # An outcome that nobody wants any more must not live until the next call.
            del call, function, done, outcome


_NUMBERS = itertools.count(1)

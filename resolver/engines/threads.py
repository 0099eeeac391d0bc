"""The engine `threads`: waiting as the operating system offers it, blocking the thread that waits.

For a backend of the poll style the calling thread waits on all sockets at once with poll(2); more threads would only
take turns at the interpreter lock. For one of the style `call` each lookup in flight has a thread, fed by a queue.
"""

from __future__ import annotations

import queue
import select
from typing import TYPE_CHECKING, NamedTuple

from resolver.attempts import BLOCKING_CONCURRENCY
from resolver.daemons import Daemons
from resolver.engines.blocking_workers import run_blocking_workers
from resolver.engines.poll_loop import run_poll_loop
from resolver.seam import CallBackend, PollBackend

if TYPE_CHECKING:
    from collections.abc import Callable

    from resolver.model import Result
    from resolver.policy import Policy
    from resolver.seam import Backend, Queries

SPARE = 32  # lookups that wait in the queue: a thread goes on with one before the calling thread has its turn


class Threads(NamedTuple):
    """Blocking calls: of poll(2) on the calling thread, of a backend on daemon threads."""

    name: str = "threads"

    def run(self, queries: Queries, policy: Policy, backend: Backend, deliver: Callable[[list[Result]], None]) -> None:
        if isinstance(backend, PollBackend):
            run_poll_loop(select.poll(), queries, policy, backend, self.name, deliver)
            return
        assert isinstance(backend, CallBackend)
        limit = policy.concurrency or BLOCKING_CONCURRENCY
        daemons = Daemons(limit)
        run_blocking_workers(daemons, queue.SimpleQueue(), limit + SPARE, queries, policy, backend, self.name, deliver)


engine = Threads()

"""The executors of a worker: one for each run, and one for each chunk that is a share of its run's limits.

Child processes are kept from one executor to the next.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import msgspec

from resolver import engines
from resolver.blocks import LineFormat
from resolver.console import reason
from resolver.distributed.executor import Executor
from resolver.nameserver import check_sources
from resolver.policy import Deadline
from resolver.processes.engine import Processes
from resolver.processes.pool import Child, IdleChildren, Kind
from resolver.seam import LimitedBackend

if TYPE_CHECKING:
    from resolver.distributed.active_chunk import ActiveChunk
    from resolver.distributed.payload import Chunk
    from resolver.policy import Policy

AHEAD = 4  # chunks of a child's that wait there: our other threads keep this process busy meanwhile
LOAD = 10.0  # seconds that the first children have to load everything

_Key = tuple[str, int | None, int | None]  # run; number and copy of a chunk that has an executor of its own


class CannotExecute(Exception):
    """This worker cannot look the chunk up; the sentence says why."""


class ExecutorPool:
    """All executors of a worker with so many slots, whose children run the engine `inner`; first, for this backend.

    `own`: what the worker's own options say.
    """

    def __init__(self, inner: str, slots: int, own: Policy, backend: str) -> None:
        self.slots = slots
        self._inner = inner
        self._own = own
        self._idle = IdleChildren(2 * slots)
        for _ in range(slots):
            self._idle.give(Child(Kind(inner, backend)))
        self._idle.load(LOAD)
        self._executors: dict[_Key, Executor] = {}
        # The worker's own limits hold for all runs together.
        self._turns: list[Executor] | None = [] if own.concurrency or own.rate else None
        self._lock = threading.Lock()
        self._closed = False

    def take(self, active: ActiveChunk, seconds: float | None) -> bool:
        """Have a chunk looked up; False: it is in hand already.

        Args:
            active: The chunk.
            seconds: Time that its run has left; None: as long as it takes.

        Raises:
            CannotExecute: This worker cannot, or is leaving.
        """
        chunk = active.chunk
        key = (chunk.run, chunk.number, chunk.copy) if chunk.alone else (chunk.run, None, None)
        while True:
            with self._lock:
                if self._closed:
                    raise CannotExecute("this worker is leaving")
                executor = self._executors.get(key) or self._start(key, chunk, seconds)
            executor.tallies.distrusted.update(chunk.distrusted)
            added = executor.add(active)
            if added is not None:
                return added
            self._forget(key, executor)

    def runs(self) -> set[str]:
        """Return the runs that have an executor."""
        with self._lock:
            return {run for run, _, _ in self._executors}

    def stop(self, run: str | None, sentence: str) -> None:
        """Leave everything of this run undone, or of all."""
        with self._lock:
            executors = [executor for key, executor in self._executors.items() if run in (None, key[0])]
        for executor in executors:
            executor.stop(sentence)

    def close(self) -> None:
        """Take no more, and end every child when the executors have ended."""
        with self._lock:
            self._closed = True
            executors = list(self._executors.values())
        self.stop(None, "its worker has ended")
        for executor in executors:
            executor.join(2.0)
        self._idle.close()

    def _start(self, key: _Key, chunk: Chunk, seconds: float | None) -> Executor:
        own, policy = self._own, chunk.policy
        policy = msgspec.structs.replace(
            policy,
            nameservers=own.nameservers or policy.nameservers,
            concurrency=min(filter(None, (own.concurrency, policy.concurrency)), default=None),
            rate=min(filter(None, (own.rate, policy.rate)), default=None),
            tls_ca=own.tls_ca or policy.tls_ca,
            source=own.source or policy.source,
        )
        try:
            _, backend = engines.find("processes", chunk.backend, self._inner)
            if chunk.oneway:
                from resolver.wire.oneway import SendOnly

                backend = SendOnly()
            if isinstance(backend, LimitedBackend):
                backend.check_types(chunk.types)
            policy = backend.prepare(policy)
            check_sources(policy.source, policy.nameservers)
        except (ValueError, LookupError, OSError) as error:
            raise CannotExecute(reason(error) if isinstance(error, OSError) else str(error)) from None
        children = 1 if chunk.alone else min(self.slots, policy.in_flight)
        # Where each worker asks nameservers of its own, the others' processes are at other ones.
        parties = chunk.parties if chunk.policy.nameservers and not own.nameservers else 1
        engine = Processes(self._inner, children, self._idle, parties, AHEAD, name="redis")
        deadline = Deadline(seconds)
        deadline.start()
        executor = self._executors[key] = Executor(
            engine,
            policy,
            backend,
            deadline,
            self._turns,
            once=chunk.alone,
            lines=LineFormat("jsonl") if chunk.as_lines else None,
        )
        executor.start(lambda: self._forget(key, executor))
        return executor

    def _forget(self, key: _Key, executor: Executor) -> None:
        with self._lock:
            if self._executors.get(key) is executor:
                del self._executors[key]

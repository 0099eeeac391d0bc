"""The engine `processes` over the chunks of one run, in a worker.

An executor goes on from one chunk to the next without a pause: a nameserver's capacity is learned once, and while a
chunk waits for names that are not answered, others are looked up.

The engine runs on a thread of its own, and the tasks of its chunks on others. They meet in `Executor` under its lock,
and in the queue of each ActiveChunk; nothing blocks while the lock is held.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from resolver.blocks import BlockSink
from resolver.distributed.active_chunk import ActiveChunk, AllAsked
from resolver.tallies import NameserverTallies

if TYPE_CHECKING:
    from collections.abc import Callable

    from resolver.blocks import HostLines, LineFormat, ResultBlock
    from resolver.model import Query
    from resolver.policy import Deadline, Policy
    from resolver.processes.engine import Processes
    from resolver.seam import Backend

IDLE, IDLE_SHARED = 5.0, 0.3  # seconds that it waits for another chunk; where other executors may wait for it
WAKE_INTERVAL, BUSY_INTERVAL = 0.02, 0.1  # seconds until a chunk that came is seen; where others wait before it


@dataclass(eq=False)
class Executor:
    """The executor of one run, or of one chunk. The engine sees it as its Queries.

    deadline: that of the run.
    turns: where executors run one at a time, the one that does, and those behind it that wait. once: it ends with its
    first chunk. lines: the format of results; None: as they are.
    """

    engine: Processes
    policy: Policy
    backend: Backend
    deadline: Deadline
    turns: list[Executor] | None
    once: bool
    lines: LineFormat | None
    tallies: NameserverTallies = field(default_factory=NameserverTallies, init=False)

    _state: threading.Condition = field(default_factory=threading.Condition, init=False)
    _line: deque[ActiveChunk] = field(default_factory=deque, init=False)  # chunks that the engine has not taken whole
    _chunks: list[ActiveChunk] = field(default_factory=list, init=False)  # those with lookups that are open
    _stopped: str | None = field(default=None, init=False)
    _finishing: bool = field(default=False, init=False)  # it takes no more chunks
    _thread: threading.Thread = field(init=False)

    def start(self, on_exit: Callable[[], None]) -> None:
        """Start the engine; `on_exit` is called when it has ended."""
        self._thread = threading.Thread(target=self._work, args=(on_exit,), name="resolve-executor", daemon=True)
        self._thread.start()

    def add(self, chunk: ActiveChunk) -> bool | None:
        """Have a chunk looked up too. False: it is in hand already; None: the executor takes no more."""
        with self._state:
            if self.turns is not None and self.turns[1:] and self.turns[0] is self:
                self._finishing = True  # another executor, behind those that wait, gets this chunk
            if self._finishing or self._stopped is not None:
                return None
            if any(chunk.open.meets(other.open) for other in self._chunks):
                return False
            chunk.tallies = self.tallies
            self._chunks.append(chunk)
            self._line.append(chunk)
            self._finishing = self.once
            self._state.notify()
            return True

    def stop(self, sentence: str) -> None:
        """Leave everything undone."""
        with self._state:
            self._stopped = self._stopped or sentence
            self._state.notify()

    def join(self, seconds: float) -> None:
        """Wait at most `seconds` until it has ended."""
        self._thread.join(seconds)

    # --- The engine's side.

    @property
    def block_sink(self) -> BlockSink:
        """Where the engine gives the results."""
        return BlockSink(self.lines, self._deliver)

    def take(self, n: int) -> list[Query] | None:
        """Take up to `n` queries; an empty list where there is none just now, None where no more will come."""
        with self._state:
            self._wait_for_chunk()
            if not self._line:
                return None if self._finishing else []
            chunk = self._line[0]
            queries = chunk.take(n)  # none where it is lines: another chunk came first just now
            self._on_taken(chunk)
            return queries

    def take_lines(self, n: int) -> HostLines | None:
        """Take up to `n` queries as the lines that they stand in; None: ask `take`."""
        with self._state:
            self._wait_for_chunk()
            chunk = self._line[0] if self._line else None
            if chunk is None or (lines := chunk.take_lines(n)) is None:
                return None
            self._on_taken(chunk)
            return lines

    def put_back(self, queries: list[Query]) -> None:
        """Keep these, which say how far they came, in place of the lines that they were taken in."""
        with self._state:
            for chunk in self._chunks:
                chunk.open.replace(queries)

    def _on_taken(self, chunk: ActiveChunk) -> None:
        if not chunk.waiting:
            self._line.popleft()
            chunk.found.put(AllAsked())

    def _wait_for_chunk(self) -> None:
        """Wait for another chunk where none is in hand; after a while none will come."""
        idle = IDLE if self.turns is None else IDLE_SHARED
        if not self._chunks and not self._state.wait_for(lambda: self._line or self._finishing or self.ended, idle):
            self._finishing = True

    @property
    def ended(self) -> bool:
        """Whether the run ends now, or the worker does."""
        return self._stopped is not None or self.deadline.passed

    def max_wait(self) -> float:
        """Return for how many seconds the engine may wait at most before it asks again."""
        return min(BUSY_INTERVAL if self._line else WAKE_INTERVAL, self.deadline.remaining())

    def _deliver(self, block: ResultBlock) -> None:
        """Give each chunk its part of the results."""
        with self._state:
            bits = block.bits
            whole = next((chunk for chunk in self._chunks if chunk.open.remove_all(bits, block.count)), None)
            if whole is not None:
                parts = {whole: block}
            else:
                found = {chunk: mine for chunk in self._chunks if (mine := chunk.open.remove_open(bits))}
                parts = dict(zip(found, block.divide(list(found.values())), strict=True))
            self._chunks = [chunk for chunk in self._chunks if chunk.open]
        for chunk, part in parts.items():
            chunk.found.put(part)
            if not chunk.open:
                chunk.end()

    def _work(self, on_exit: Callable[[], None]) -> None:
        sentence, engine_failed = "the run's time is over", False
        try:
            if self.turns is not None:
                self.turns.append(self)
                while self.turns[0] is not self and not self.ended:
                    time.sleep(WAKE_INTERVAL)
            self.engine.run(self, self.policy, self.backend, lambda results: None)  # they come as blocks
        except Exception as error:
            sentence, engine_failed = f"the engine of a worker broke: {type(error).__name__}: {error}", True
        finally:
            if self.turns is not None:
                self.turns.remove(self)
            with self._state:
                self._finishing = True
                chunks, self._chunks = self._chunks, []
            for chunk in chunks:
                chunk.leave(self._stopped or sentence, engine_failed=engine_failed)
            on_exit()

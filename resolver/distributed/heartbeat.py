"""The thread of a worker that tells coordinators and people that it is there, and watches the leases of its runs."""

from __future__ import annotations

import json
import logging
import socket
import sys
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from redis.exceptions import RedisError

from resolver.distributed.broker import BEAT, DEAD, ON, TIMED, WORKERS, Keys, worker_key
from resolver.distributed.outage import Notices
from resolver.distributed.payload import VERSION
from resolver.output.status import RunStatus

if TYPE_CHECKING:
    from typing import Any

    from resolver.distributed.broker import Broker
    from resolver.distributed.executor_pool import ExecutorPool
    from resolver.distributed.outage import Outage
    from resolver.distributed.task import TaskRunner
    from resolver.output.status import StatusFeed

WATCH = 0.1  # seconds between two looks at the leases of runs in hand
GONE = 20  # looks in a row that find no lease: its coordinator is dead, and not the Redis just empty for a moment
BEATING = "beats"  # as a part of an Outage
ERASE = "\r\x1b[2K"

log = logging.getLogger("resolver.distributed")


@dataclass(eq=False)
class Heartbeat:
    """Beats of the worker that performs `tasks`.

    `line`: show what it does in one line on standard error; `feed`: and there, for programs.
    """

    broker: Broker
    executors: ExecutorPool
    tasks: TaskRunner
    inner: str
    outage: Outage
    line: bool
    feed: StatusFeed | None

    def __post_init__(self) -> None:
        self._client: Any = self.broker.client()
        self._began = time.monotonic()
        self._key = worker_key(self.tasks.name)
        self._stopped = threading.Event()
        self._missing: dict[str, int] = {}  # by run, how many looks in a row found no lease
        self._notices = Notices()
        self._shown = (time.monotonic(), 0)  # when the line was drawn, and the lookups done by then
        self._thread = threading.Thread(target=self._work, name="resolve-heartbeat", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the beats."""
        self._stopped.set()
        self._thread.join(1.0)

    def deregister(self) -> None:
        """Remove this worker from the Redis, if that is there."""
        if self.line:
            sys.stderr.write(ERASE)
        if self.feed is not None:
            self.feed.close(self._status())
        self.broker.execute_soon(
            lambda client: (client.delete(self._key), client.srem(WORKERS, self.tasks.name)), seconds=0.5
        )

    def _work(self) -> None:
        beat = 0.0
        while not self._stopped.is_set():
            now = time.monotonic()
            try:
                if now >= beat:
                    beat = now + BEAT
                    self._beat()
                    self.outage.worked(BEATING)
                self._watch()
            except (RedisError, OSError) as error:
                self.outage.failed(BEATING, error)
            except Exception:
                log.exception("a beat of this worker broke")
            if self.line and beat - now >= BEAT - WATCH / 2:
                self._draw()
            if self.feed is not None:
                self.feed.tick(self._status)
            self._stopped.wait(WATCH if self.executors.runs() else max(0.05, beat - time.monotonic()))

    def _beat(self) -> None:
        beat = {
            "version": VERSION,
            "slots": self.executors.slots,
            "host": socket.gethostname(),
            "engine": self.inner,
            "chunks": self.tasks.held,
            "has": self.tasks.active(),
            "done": self.tasks.done,
        }
        pipe = self._client.pipeline(transaction=False)
        pipe.set(self._key, json.dumps(beat), px=int(1000 * DEAD))
        pipe.sadd(WORKERS, self.tasks.name)
        pipe.getdel(f"{self._key}:told")
        *_, sentence = pipe.execute()
        if sentence:
            self._notices.warn(sentence.decode(errors="replace")[:500])

    def _watch(self) -> None:
        """Leave runs that are over, or whose coordinator is dead."""
        runs = sorted(self.executors.runs())
        self._missing = {run: self._missing.get(run, 0) for run in runs}
        if not runs:
            return
        for run, lease in zip(runs, self._client.mget([Keys.of(run).alive for run in runs]), strict=True):
            if lease is None:
                self._missing[run] += 1
                if self._missing[run] >= GONE or run not in self.tasks.active():
                    self.executors.stop(run, "its run is over, or its coordinator is dead")
            elif lease.decode(errors="replace") in (ON, TIMED):
                self._missing[run] = 0
            else:
                self.executors.stop(run, "its run was ended")

    def _status(self) -> RunStatus:
        """Return what this worker has done. How much will come nobody knows."""
        done = self.tasks.done
        return RunStatus(
            done=done,
            total=None,
            rate=round(done / max(time.monotonic() - self._began, 1e-3), 1),
            in_flight=self.tasks.open,
            statuses=dict(self.tasks.statuses),
            seconds_left=None,
        )

    def _draw(self) -> None:
        now = time.monotonic()
        before, had = self._shown
        self._shown = now, self.tasks.done
        rate = (self.tasks.done - had) / max(now - before, 1e-3)
        chunks = f"{self.tasks.held} chunk{'' if self.tasks.held == 1 else 's'} in hand"
        try:
            sys.stderr.write(f"{ERASE}{self.broker.shown}: {chunks}, {self.tasks.done:,} lookups done, {rate:,.0f}/s")
            sys.stderr.flush()
        except (OSError, ValueError):
            self.line = False

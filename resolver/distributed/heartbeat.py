"""The thread of a worker that tells coordinators and people that it is there, and watches the leases of its runs."""

from __future__ import annotations

import json
import logging
import socket
import sys
import threading
import time
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


class Heartbeat:
    """Beats of the worker that performs `tasks`.

    `line`: show what it does in one line on standard error; `feed`: and there, for programs.
    """

    def __init__(
        self,
        broker: Broker,
        executors: ExecutorPool,
        tasks: TaskRunner,
        inner: str,
        outage: Outage,
        *,
        line: bool,
        feed: StatusFeed | None,
    ) -> None:
        self._broker = broker
        self._client: Any = broker.client()
        self._executors = executors
        self._tasks = tasks
        self._inner = inner
        self._outage = outage
        self._line = line
        self._feed = feed
        self._began = time.monotonic()
        self._key = worker_key(tasks.name)
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
        if self._line:
            sys.stderr.write(ERASE)
        if self._feed is not None:
            self._feed.close(self._status())
        self._broker.execute_soon(
            lambda client: (client.delete(self._key), client.srem(WORKERS, self._tasks.name)), seconds=0.5
        )

    def _work(self) -> None:
        beat = 0.0
        while not self._stopped.is_set():
            now = time.monotonic()
            try:
                if now >= beat:
                    beat = now + BEAT
                    self._beat()
                    self._outage.worked(BEATING)
                self._watch()
            except (RedisError, OSError) as error:
                self._outage.failed(BEATING, error)
            except Exception:
                log.exception("a beat of this worker broke")
            if self._line and beat - now >= BEAT - WATCH / 2:
                self._draw()
            if self._feed is not None:
                self._feed.tick(self._status)
            self._stopped.wait(WATCH if self._executors.runs() else max(0.05, beat - time.monotonic()))

    def _beat(self) -> None:
        beat = {
            "version": VERSION,
            "slots": self._executors.slots,
            "host": socket.gethostname(),
            "engine": self._inner,
            "chunks": self._tasks.held,
            "has": self._tasks.active(),
            "done": self._tasks.done,
        }
        pipe = self._client.pipeline(transaction=False)
        pipe.set(self._key, json.dumps(beat), px=int(1000 * DEAD))
        pipe.sadd(WORKERS, self._tasks.name)
        pipe.getdel(f"{self._key}:told")
        *_, sentence = pipe.execute()
        if sentence:
            self._notices.warn(sentence.decode(errors="replace")[:500])

    def _watch(self) -> None:
        """Leave runs that are over, or whose coordinator is dead."""
        runs = sorted(self._executors.runs())
        self._missing = {run: self._missing.get(run, 0) for run in runs}
        if not runs:
            return
        for run, lease in zip(runs, self._client.mget([Keys.of(run).alive for run in runs]), strict=True):
            if lease is None:
                self._missing[run] += 1
                if self._missing[run] >= GONE or run not in self._tasks.active():
                    self._executors.stop(run, "its run is over, or its coordinator is dead")
            elif lease.decode(errors="replace") in (ON, TIMED):
                self._missing[run] = 0
            else:
                self._executors.stop(run, "its run was ended")

    def _status(self) -> RunStatus:
        """Return what this worker has done. How much will come nobody knows."""
        done = self._tasks.done
        return RunStatus(
            done=done,
            total=None,
            rate=round(done / max(time.monotonic() - self._began, 1e-3), 1),
            in_flight=self._tasks.open,
            statuses=dict(self._tasks.statuses),
            seconds_left=None,
        )

    def _draw(self) -> None:
        now = time.monotonic()
        before, had = self._shown
        self._shown = now, self._tasks.done
        rate = (self._tasks.done - had) / max(now - before, 1e-3)
        chunks = f"{self._tasks.held} chunk{'' if self._tasks.held == 1 else 's'} in hand"
        try:
            sys.stderr.write(f"{ERASE}{self._broker.shown}: {chunks}, {self._tasks.done:,} lookups done, {rate:,.0f}/s")
            sys.stderr.flush()
        except (OSError, ValueError):
            self._line = False

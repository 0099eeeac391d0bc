"""A worker: Celery's, with our beats, our teams, and an end in order.

Celery takes chunks from the queue, a few for each slot, and acknowledges each when its task is done. A task waits on a
thread of Celery's pool; the looking up is done by the teams' child processes (executor.py).

The one thing to know before changing anything here: Celery's main loop sleeps until something happens on its sockets.
A task that ends on another thread makes room for the next, and must wake it (`WakingPool`), or the next one waits
a second.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import socket
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from celery import signals as celery_signals
from celery.concurrency.base import apply_target
from celery.concurrency.thread import ApplyResult, TaskPool
from celery.exceptions import WorkerShutdown
from celery.worker import WorkController, state
from celery.worker.consumer import Consumer
from celery.worker.request import Request
from redis.exceptions import NoPermissionError, RedisError

from resolver.console import signals
from resolver.distributed.broker import BEAT, DEAD, ON, TIMED, WORKERS, Keys, worker_key
from resolver.distributed.envelope import QUEUE, TASK
from resolver.distributed.executor import ASKED_PER_SLOT, HELD_PER_SLOT, Executors, WorkerLimits
from resolver.distributed.outage import Outage, told
from resolver.distributed.payload import VERSION
from resolver.distributed.task import TaskRunner

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from resolver.distributed.broker import Broker

WATCH = 0.1  # seconds between two looks at the leases of runs in hand
GONE = 20  # looks in a row that find no lease: its coordinator is dead, and not the Redis just empty for a moment
LEAVE = 3.0  # seconds that chunks in hand have, on Ctrl-C, to be finished; then they are handed back
STUCK = 2.0  # seconds that Celery has after that
REFUSED = 60.0  # seconds that Celery waits at most before it tries by itself whether the Redis can be used
BEATING = "beats"

log = logging.getLogger("resolver.distributed")


def work(
    broker: Broker,
    inner: str,
    slots: int,
    bounds: WorkerLimits,
    *,
    backend: str = "wire",
    line: bool = False,
) -> int:
    """Be a worker until SIGINT or SIGTERM; returns the exit status. A later signal ends the process at once.

    inner: the engine that looks up; its children are started for this backend, others when they are needed.
    line: tell what goes on in one line on standard error, instead of in the log.
    """
    sys.setswitchinterval(0.0005)
    name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
    teams = Executors(inner, slots, bounds, backend)
    tasks = TaskRunner(name, teams, broker.client())
    outage = Outage(broker.shown)
    beats = Heartbeat(broker, name, slots, teams, tasks, inner, outage, line=line)
    app = broker.app()
    app.set_default()  # for the threads of the pool
    app.task(tasks.perform, name=TASK, shared=False, Request=_ChunkRequest)
    controller = _Controller(
        app=app,
        hostname=f"resolve@{name}",
        pool=WakingPool,
        concurrency=HELD_PER_SLOT * slots,
        queues=[QUEUE],
        consumer_cls=_Consumer,
        without_gossip=True,
        without_mingle=True,
    )
    controller.outage = outage
    controller.freed = tasks.on_room = lambda: _make_room(controller, tasks, slots)
    back = threading.Event()

    def clear() -> None:
        beats.stop()
        tasks.leave()
        teams.close()
        tasks.close()
        beats.deregister()

    def left() -> None:
        # Where the Redis went away at the wrong moment, Celery asks for it again and again, and for nothing else.
        if not back.wait(STUCK):
            clear()
            os._exit(0)

    with _on_signals(controller, teams, tasks, left) as leaving:
        beats.start()
        try:
            controller.start()
        finally:
            back.set()
            clear()
    if leaving or controller.exitcode in (None, 0):
        return 0
    return int(controller.exitcode or 1)


class WakingPool(TaskPool):  # type: ignore[misc]  # Celery carries no types
    """Celery's threads. The main loop is told when one has room again."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.freed: Callable[[], None] = _nothing  # to be called when a thread is

    @property
    def num_processes(self) -> int:
        """How many tasks are taken at a time, as long as none only waits for its last replies."""
        threads: int = self.limit
        return threads * ASKED_PER_SLOT // HELD_PER_SLOT

    def on_apply(
        self,
        target: Any,
        args: Any = None,
        kwargs: Any = None,
        callback: Any = None,
        accept_callback: Any = None,
        **_: Any,
    ) -> ApplyResult:
        """Run a task on a thread; its callback acknowledges it."""

        def run() -> None:
            try:
                apply_target(target, args, kwargs, callback, accept_callback)
            except BaseException:
                log.exception("a task broke")
            self.freed()

        return ApplyResult(self.executor.submit(run))


class _Consumer(Consumer):  # type: ignore[misc]  # Celery carries no types
    """Celery's loop, which is to outlive its connection."""

    def start(self) -> None:
        try:
            super().start()
        except NoPermissionError as error:  # nothing that trying again could mend
            log.error("the Redis cannot be used: %s", told(error))
            raise WorkerShutdown(2) from None

    def on_connection_error_after_connected(self, error: Exception) -> None:
        # What was taken is still in hand. Kombu would put it back, and acknowledge it later, over a connection that is
        # gone, and break of either. What stays unacknowledged goes to a worker some day, which finds its run over.
        if self.task_consumer is not None:
            channel = self.task_consumer.channel
            channel.do_restore = False
            channel.basic_ack = channel.basic_reject = _nothing
        super().on_connection_error_after_connected(error)
        self._wait_for_redis(error)

    def on_connection_error_before_connected(self, error: Exception) -> None:
        super().on_connection_error_before_connected(error)
        self._wait_for_redis(error)

    def _wait_for_redis(self, error: Exception) -> None:
        """Wait until beats, which try every second, find that the Redis can be used.

        Celery itself waits longer each time for one that is away; and one that refuses lets it connect, and would
        refuse it again at once, a hundred times a second.
        """
        outage = self.controller.outage
        if isinstance(error, RedisError | OSError):
            outage.failed(BEATING, error)
        end = time.monotonic() + REFUSED
        while outage.lasts and state.should_stop is None and time.monotonic() < end:
            time.sleep(0.05)


class _ChunkRequest(Request):  # type: ignore[misc]  # Celery carries no types
    """A task, as `celery inspect` shows it: by its chunk's name, and not with the thousands of queries in it."""

    def info(self, safe: bool = True) -> Any:
        return super().info(safe=True)


class _Controller(WorkController):  # type: ignore[misc]  # Celery carries no types
    freed: Callable[[], None]
    outage: Outage

    def on_consumer_ready(self, consumer: Any) -> None:
        self.pool.freed = self.freed
        celery_signals.worker_ready.send(sender=consumer)


class Heartbeat:
    """The thread that says that this worker is there, looks after the leases of its runs, and tells people."""

    def __init__(
        self,
        broker: Broker,
        name: str,
        slots: int,
        teams: Executors,
        tasks: TaskRunner,
        inner: str,
        outage: Outage,
        *,
        line: bool,
    ) -> None:
        self._client: Any = broker.client()
        self._shown = broker.shown
        self._outage = outage
        self._key = worker_key(name)
        self._name = name
        self._slots = slots
        self._teams = teams
        self._tasks = tasks
        self._inner = inner
        self._line = line
        self._stopped = threading.Event()
        self._missing: dict[str, int] = {}
        self._said: dict[str, float] = {}
        self._told = (time.monotonic(), 0)
        self._thread = threading.Thread(target=self._work, name="resolve-beats", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """No more beats."""
        self._stopped.set()
        self._thread.join(1.0)

    def deregister(self) -> None:
        """Say that this worker is gone, if the Redis is there."""
        if self._line:
            sys.stderr.write("\r\x1b[2K")

        def work() -> None:
            try:
                self._client.delete(self._key)
                self._client.srem(WORKERS, self._name)
            except (RedisError, OSError):
                pass

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        thread.join(0.5)

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
            self._stopped.wait(WATCH if self._teams.runs() else max(0.05, beat - time.monotonic()))

    def _beat(self) -> None:
        said = {
            "version": VERSION,
            "slots": self._slots,
            "host": socket.gethostname(),
            "engine": self._inner,
            "chunks": self._tasks.held,
            "has": self._tasks.has(),
            "done": self._tasks.done,
        }
        pipe = self._client.pipeline(transaction=False)
        pipe.set(self._key, json.dumps(said), px=int(1000 * DEAD))
        pipe.sadd(WORKERS, self._name)
        pipe.getdel(f"{self._key}:told")
        *_, sentence = pipe.execute()
        if sentence:
            self._say(sentence.decode(errors="replace")[:500])

    def _watch(self) -> None:
        """Leave runs that are over, or whose coordinator is dead."""
        runs = sorted(self._teams.runs())
        self._missing = {run: self._missing.get(run, 0) for run in runs}
        if not runs:
            return
        for run, lease in zip(runs, self._client.mget([Keys.of(run).alive for run in runs]), strict=True):
            if lease is None:
                self._missing[run] += 1
                if self._missing[run] >= GONE or not self._teams.busy(run):
                    self._teams.stop(run, "its run is over, or its coordinator is dead")
            elif lease.decode(errors="replace") in (ON, TIMED):
                self._missing[run] = 0
            else:
                self._teams.stop(run, "its run was ended")

    def _draw(self) -> None:
        now = time.monotonic()
        before, had = self._told
        self._told = now, self._tasks.done
        rate = (self._tasks.done - had) / max(now - before, 1e-3)
        chunks = f"{self._tasks.held} chunk{'' if self._tasks.held == 1 else 's'} in hand"
        try:
            sys.stderr.write(f"\r\x1b[2K{self._shown}: {chunks}, {self._tasks.done:,} lookups done, {rate:,.0f}/s")
            sys.stderr.flush()
        except (OSError, ValueError):
            self._line = False

    def _say(self, sentence: str) -> None:
        now = time.monotonic()
        if now - self._said.get(sentence, float("-inf")) >= 10.0:
            self._said[sentence] = now
            log.warning(sentence)


def _on_signals(
    controller: WorkController, teams: Executors, tasks: TaskRunner, left: Callable[[], None]
) -> AbstractContextManager[list[int]]:
    """SIGINT and SIGTERM end the worker in order. `left` is called when nothing is in hand any more."""

    def leave() -> None:
        tell = "leaving: what is in hand is finished or handed back (again: at once)"
        log.warning(tell)
        end = time.monotonic() + LEAVE
        while tasks.held and time.monotonic() < end:
            time.sleep(0.02)
        teams.stop(None, "its worker is leaving")
        end = time.monotonic() + 1.0
        while tasks.held and time.monotonic() < end:
            time.sleep(0.02)
        # Whatever still hangs waits for a Redis that is away.
        tasks.leave()
        left()

    def begin() -> None:
        state.should_stop = 0
        threading.Thread(target=leave, name="resolve-leave", daemon=True).start()
        hub = getattr(controller, "hub", None)
        if hub is not None:
            hub.call_soon(_nothing)

    return signals(begin)


def _make_room(controller: WorkController, tasks: TaskRunner, slots: int) -> None:
    """Have Celery take as many tasks as the slots can go on with, beside those that only wait for their last replies.

    The number is set, not changed by so much: after the Redis was away, Celery begins with the first one again.
    """
    qos = getattr(controller.consumer, "qos", None)
    if qos is not None:
        qos.value = min(ASKED_PER_SLOT * slots + tasks.taken, HELD_PER_SLOT * slots)
        controller.hub.call_soon(_nothing)


def _nothing(*_: object, **__: object) -> None:
    pass

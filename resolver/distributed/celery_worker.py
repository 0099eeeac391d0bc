"""Celery's worker, where ours differs from it: in its pool, in its loop, and in how it shows tasks.

Celery's main loop sleeps until something happens on its sockets. A task that ends on another thread makes room for the
next, and must wake it (`WakingPool`), or the next one waits a second.

What Celery does not document and this module relies on, beside the classes that it derives from: `state.should_stop`,
`controller.hub.call_soon`, the future `f` of its ApplyResult, the `value` of a consumer's `qos`, and that `do_restore`,
`basic_ack` and `basic_reject` of kombu's channel are looked up anew for each message. setup.cfg bounds Celery for that.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

from celery import signals as celery_signals
from celery.concurrency.thread import ApplyResult, TaskPool
from celery.exceptions import WorkerShutdown
from celery.worker import WorkController, state
from celery.worker.consumer import Consumer
from celery.worker.request import Request
from redis.exceptions import NoPermissionError, RedisError

from resolver.distributed.active_chunk import ASKED_PER_SLOT, HELD_PER_SLOT
from resolver.distributed.envelope import QUEUE, TASK
from resolver.distributed.heartbeat import BEATING
from resolver.distributed.outage import Outage, told

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from resolver.distributed.broker import Broker
    from resolver.distributed.task import TaskRunner

REFUSED = 60.0  # seconds that Celery waits at most before it tries by itself whether the Redis can be used

log = logging.getLogger("resolver.distributed")


def nothing(*_: object, **__: object) -> None:
    """Do nothing."""


class Controller(WorkController):  # type: ignore[misc]  # Celery carries no types
    """Celery's worker for `tasks`, with so many slots."""

    def __init__(self, broker: Broker, tasks: TaskRunner, slots: int, outage: Outage) -> None:
        app = broker.app()
        app.set_default()  # for the threads of the pool
        app.task(tasks.perform, name=TASK, shared=False, Request=_ChunkRequest)
        self.outage = outage
        self._tasks = tasks
        self._slots = slots
        tasks.on_room = self.make_room
        super().__init__(
            app=app,
            hostname=f"resolve@{tasks.name}",
            pool=WakingPool,
            concurrency=HELD_PER_SLOT * slots,
            queues=[QUEUE],
            consumer_cls=_Consumer,
            without_gossip=True,
            without_mingle=True,
        )

    def on_consumer_ready(self, consumer: Any) -> None:
        self.pool.on_free = self.make_room
        celery_signals.worker_ready.send(sender=consumer)

    def make_room(self) -> None:
        """Take as many tasks as the slots can go on with, beside those that only wait for their last replies.

        The number is set, not changed by a difference: after the Redis was away, Celery begins with the first again.
        """
        qos = getattr(self.consumer, "qos", None)  # there is none before the first connection
        if qos is not None:
            qos.value = min(ASKED_PER_SLOT * self._slots + self._tasks.all_asked, HELD_PER_SLOT * self._slots)
            self.hub.call_soon(nothing)

    def end_in_order(self) -> None:
        """Have the main loop end, soon."""
        state.should_stop = 0
        hub = getattr(self, "hub", None)  # there is none before the start
        if hub is not None:
            hub.call_soon(nothing)


class WakingPool(TaskPool):  # type: ignore[misc]  # Celery carries no types
    """Celery's threads; `on_free` is called when one of them has room again."""

    on_free: Callable[[], None] = staticmethod(nothing)

    @property
    def num_processes(self) -> int:
        """How many tasks are taken at a time, as long as none only waits for its last replies."""
        threads: int = self.limit
        return threads * ASKED_PER_SLOT // HELD_PER_SLOT

    def on_apply(self, *args: Any, **kwargs: Any) -> ApplyResult:
        """Run a task on a thread; its callback acknowledges it."""
        result = super().on_apply(*args, **kwargs)
        result.f.add_done_callback(self._on_done)
        return result

    def _on_done(self, future: Future[None]) -> None:
        if (error := future.exception()) is not None:
            log.error("a task broke", exc_info=error)
        self.on_free()


class _Consumer(Consumer):  # type: ignore[misc]  # Celery carries no types
    """Celery's loop, outliving its connection."""

    def start(self) -> None:
        try:
            super().start()
        except NoPermissionError as error:  # nothing that another try could mend
            log.error("the Redis cannot be used: %s", told(error))
            raise WorkerShutdown(2) from None

    def on_connection_error_after_connected(self, error: Exception) -> None:
        # What was taken is still in hand. Kombu would put it back, and acknowledge it later, over a connection that is
        # gone, and break of either. What stays unacknowledged goes to a worker some day, which finds its run over.
        if self.task_consumer is not None:
            channel = self.task_consumer.channel
            channel.do_restore = False
            channel.basic_ack = channel.basic_reject = nothing
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

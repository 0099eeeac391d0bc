"""A worker: Celery's, with a heartbeat, executors for its chunks, and an end in order.

Celery takes chunks from the queue, a few for each slot, and acknowledges each when its task is done. A task waits on a
thread of Celery's pool; the looking up is done by the child processes of executors.
"""

from __future__ import annotations

import logging
import os
import secrets
import socket
import sys
import threading
import time
from typing import TYPE_CHECKING

from resolver.console import signals
from resolver.distributed.celery_worker import Controller
from resolver.distributed.executor_pool import ExecutorPool
from resolver.distributed.heartbeat import Heartbeat
from resolver.distributed.outage import Outage
from resolver.distributed.task import TaskRunner

if TYPE_CHECKING:
    from resolver.distributed.broker import Broker
    from resolver.output.status import StatusFeed
    from resolver.policy import Policy

LEAVE = 3.0  # seconds that chunks in hand have, on Ctrl-C, to be finished; then they are handed back
HANDED_BACK = 1.0  # seconds that they have after that to be reported
STUCK = 2.0  # seconds that Celery has after that

log = logging.getLogger("resolver.distributed")


def work(
    broker: Broker,
    inner: str,
    slots: int,
    own: Policy,
    *,
    backend: str = "wire",
    line: bool = False,
    feed: StatusFeed | None = None,
) -> int:
    """Be a worker until SIGINT or SIGTERM. A later signal ends the process at once.

    Args:
        broker: The Redis to work for.
        inner: The engine that looks up.
        slots: Child processes that run it.
        own: Whom this worker asks in place of a run's nameservers, from which addresses, and how much it sends at most.
        backend: The backend that the children are started for; others are started when they are needed.
        line: Show what goes on in one line on standard error, instead of in the log.
        feed: Takes progress for programs.

    Returns:
        The exit status.
    """
    sys.setswitchinterval(0.0005)
    executors = ExecutorPool(inner, slots, own, backend)
    tasks = TaskRunner(f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}", executors, broker.client())
    outage = Outage(broker.shown)
    heartbeat = Heartbeat(broker, executors, tasks, inner, outage, line=line, feed=feed)
    controller = Controller(broker, tasks, slots, outage)
    celery_ended = threading.Event()

    def close() -> None:
        heartbeat.stop()
        tasks.leave()
        executors.close()
        heartbeat.deregister()

    def leave() -> None:
        log.warning("leaving: what is in hand is finished or handed back (again: at once)")
        _wait_for_tasks(tasks, LEAVE)
        executors.stop(None, "its worker is leaving")
        _wait_for_tasks(tasks, HANDED_BACK)
        # Whatever still hangs waits for a Redis that is away.
        tasks.leave()
        # Where the Redis went away at the wrong moment, Celery asks for it again and again, and for nothing else.
        if not celery_ended.wait(STUCK):
            close()
            os._exit(0)

    def begin_to_leave() -> None:
        threading.Thread(target=leave, name="resolve-leave", daemon=True).start()
        controller.end_in_order()

    with signals(begin_to_leave) as leaving:
        heartbeat.start()
        try:
            controller.start()
        finally:
            celery_ended.set()
            close()
    return 0 if leaving else int(controller.exitcode or 0)


def _wait_for_tasks(tasks: TaskRunner, seconds: float) -> None:
    end = time.monotonic() + seconds
    while tasks.held and time.monotonic() < end:
        time.sleep(0.02)

"""The engine `redis`: workers on any number of machines, found in a Redis.

The thread of the engine never talks to the Redis. It hands out and takes in by the queues of a RunConnection, so that a
deadline and Ctrl-C hold whatever becomes of the Redis and of the workers.
"""

from __future__ import annotations

import contextlib
import queue
import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from resolver.distributed.broker import DEAD, Broker
from resolver.distributed.connection import RunConnection, Snapshot, log
from resolver.distributed.coordinator import Coordinator
from resolver.distributed.payload import MAX_CERTIFICATES, VERSION, Chunk, ChunkQuery, encode_chunk
from resolver.nameserver import PEM, tls_context
from resolver.processes.work_queue import WorkQueue

if TYPE_CHECKING:
    from collections.abc import Callable

    from resolver.blocks import HostLines
    from resolver.distributed.outstanding import Order
    from resolver.model import Query, Result
    from resolver.policy import Policy
    from resolver.seam import Backend, Deliver, Queries

NO_WORKER_INTERVAL = 10.0  # seconds between two sentences that no worker is there
# Seconds that workers have, when the run ends early, to say how far they came: its deadline is theirs too; of Ctrl-C
# they have to learn.
LAST_REPORTS, LAST_REPORTS_CANCELLED = 0.17, 1.0
START_WAIT = 3.0  # seconds after which the run's time begins, whether the Redis has answered or not
OWN_START_WAIT = 15.0  # and where it has a worker of its own, which takes a while to start
BATCH = 500  # results that are delivered at once
LINGER = 0.05  # seconds that a few hosts wait for more, while others are looked up


class WorkerCount:
    """The number of workers of a run, as text for a display. `workers` is None until it is known."""

    def __init__(self) -> None:
        self.workers: int | None = None

    def __str__(self) -> str:
        return "" if self.workers is None else f"{self.workers} worker{'' if self.workers == 1 else 's'}"


class RedisEngine(NamedTuple):
    """Workers that are found in the Redis at `url`; None: one of the run's own, with a worker on this machine.

    inner: the engine of that worker. worker_count: for a display; `at` gives each run its own.
    """

    url: str | None = None
    inner: str | None = None
    worker_count: WorkerCount = WorkerCount()
    name: str = "redis"

    def around(self, inner: str) -> RedisEngine:
        """Return the same with this engine in its own worker."""
        return self._replace(inner=inner)

    def at(self, url: str | None) -> RedisEngine:
        """Return the same for one run, at this Redis.

        Raises:
            ValueError: The address is none.
            ConnectionError: The Redis cannot be reached.
            LookupError: No server is installed for a run of its own.
        """
        if url is None:
            from resolver.distributed.embedded import find_server

            find_server()
        elif self.inner is not None:
            raise ValueError("an inner engine is for workers of the run's own; those at a Redis have chosen theirs")
        else:
            Broker.parse(url).reach()
        return self._replace(url=url, worker_count=WorkerCount())

    def portable(self, policy: Policy) -> Policy:
        """Return a policy that can be sent to workers: with the certificates, in PEM, in place of their file's name.

        Raises:
            ValueError: The file holds none, or some that a worker would not read from such a text.
            OSError: It cannot be read.
        """
        path = policy.tls_ca
        if path is None or PEM in path:
            return policy
        return msgspec.structs.replace(policy, tls_ca=_certificates(path))

    def run(self, queries: Queries, policy: Policy, backend: Backend, deliver: Deliver) -> None:
        with contextlib.ExitStack() as opened:
            url, check = self.url, None
            if url is None:
                from resolver.distributed.embedded import EmbeddedRedis

                embedded = EmbeddedRedis(self.inner or "gevent", backend.name)
                opened.callback(embedded.close)
                url, check = embedded.url, embedded.check
            connection = RunConnection(Broker.parse(url), secrets.token_hex(16), policy.timeout)
            opened.callback(connection.close)
            run = _RedisRun(self, connection, queries, policy, backend, deliver)
            connection.start()
            run.work(check)


def _certificates(path: str) -> str:
    """Return the text of a file of certificates, from which workers read as many as are read from the file."""
    from resolver.wire import check_certificates

    check_certificates(path)
    text = Path(path).read_text(encoding="ascii", errors="ignore")
    if len(text) > MAX_CERTIFICATES:
        raise ValueError(f"{path} is too long to be sent to workers, who take {MAX_CERTIFICATES:,} characters")
    with contextlib.suppress(OSError):  # it has none
        if tls_context(text).cert_store_stats()["x509"] == tls_context(path).cert_store_stats()["x509"]:
            return text
    raise ValueError(
        f"{path} holds certificates that workers cannot be sent: only BEGIN CERTIFICATE is read everywhere"
    )


@dataclass
class _RedisRun:
    """One run: what its queries, its coordinator and its connection give each other."""

    engine: RedisEngine
    connection: RunConnection
    queries: Queries
    policy: Policy
    backend: Backend
    deliver: Deliver

    def __post_init__(self) -> None:
        from resolver.wire.oneway import SendOnly

        queries, policy = self.queries, self.policy
        self._oneway = isinstance(self.backend, SendOnly)
        sink = queries.block_sink
        # Lines that cannot be read again are not for us: of a lookup that was sent twice, they may not all be right.
        self._sink = sink if sink is not None and sink.format is not None and sink.format.readable else None
        self._work = WorkQueue(queries, lines=self._sink is not None)
        self._coordinator = Coordinator(policy, self.engine.name, self.backend.name, put_back=self._work.put_back)
        self._held_since = 0.0  # when the first was taken of those that are too few for a chunk
        self._started = time.monotonic()
        self._begun = False
        self._expected_until = 0.0  # until then workers may only not have been seen yet
        self._no_worker_said = 0.0  # when people were told that no worker is there; 0: not since one was

    def work(self, check: Callable[[], None] | None) -> None:
        """Hand out and gather until all is done or the run is over; `check` is called again and again.

        Raises RuntimeError as `check` does.
        """
        coordinator, queries = self._coordinator, self.queries
        while True:
            self._hand_out()
            if self._work.empty and coordinator.idle:
                return
            max_wait = min(queries.max_wait(), LINGER if self._work.reserve else 1.0)
            if queries.ended:
                self._wind_up()
                return
            if check is not None:
                check()
            self._gather(max_wait)

    # --- Out.

    def _hand_out(self) -> None:
        coordinator = self._coordinator
        if not self._ready():
            return
        while not self.queries.ended and (room := coordinator.room()):
            if not (work := self._fill(room)):
                break
            self._send(coordinator.launch(work, time.monotonic()))
        for order in coordinator.resends(time.monotonic()):
            self._send(order)
        for sentence in coordinator.recovered:
            log.info(sentence)
        coordinator.recovered.clear()

    def _fill(self, room: int) -> list[Query] | HostLines:
        """Return work for a chunk of that size; none where it is worth while to wait for more."""
        work, coordinator = self._work, self._coordinator
        if not work.reserve:
            self._held_since = time.monotonic()
        held = work.stock(room)
        coordinator.exhausted = work.exhausted
        waits = held < room and not work.exhausted and not coordinator.idle
        return [] if waits and time.monotonic() - self._held_since < LINGER else work.chunk(room)

    def _ready(self) -> bool:
        """Return whether the run's time has begun: when the workers are known, or else after a while."""
        if not self._begun:
            workers = self.engine.worker_count.workers
            there = workers is not None and (workers > 0 or self.engine.url is not None)
            if there or time.monotonic() - self._started > (START_WAIT if self.engine.url else OWN_START_WAIT):
                self._begun = True
                self.queries.take(0)
                self.connection.begin()
        return self._begun

    def _send(self, order: Order) -> None:
        policy, parties = self.policy, order.parties or 1
        policy = msgspec.structs.replace(
            policy,
            timeout=None,
            concurrency=None if policy.concurrency is None else policy.concurrency // parties,
            rate=None if policy.rate is None else policy.rate / parties,
        )
        chunk = Chunk(
            version=VERSION,
            run=self.connection.run,
            number=order.number,
            copy=order.copy,
            backend=self.backend.name,
            policy=policy,
            alone=order.parties is not None,
            oneway=self._oneway,
            parties=order.parties or max(1, self._coordinator.slots),
            as_lines=self._sink is not None,
            distrusted=list(self.queries.tallies.distrusted),
            queries=[
                ChunkQuery(query.index, query.name, query.type, query.nameserver, query.subnet)
                for query in order.queries
            ],
            lines=order.lines,
        )
        self.connection.send(encode_chunk(chunk), f"chunk {order.number} of run {self.connection.run}")

    # --- In.

    def _gather(self, seconds: float) -> None:
        """Wait at most `seconds` for the first item of the inbox, and take all that have come."""
        inbox, coordinator = self.connection.inbox, self._coordinator
        try:
            item = inbox.get(timeout=max(seconds, 0.0)) if seconds > 0 else inbox.get_nowait()
            while True:
                now = time.monotonic()
                if isinstance(item, Snapshot):
                    self._count_workers(item, now)
                    if item.returned:
                        coordinator.on_redis_back(now)
                    # It may have waited here, behind what a slow reader of results held up.
                    behind = now - item.made + item.behind
                    self._pass_on(coordinator.on_snapshot(item.workers, item.queued, now, behind, item.held))
                else:
                    for report in item:
                        self.queries.tallies.merge(report.tallies)
                        self._pass_on(coordinator.on_report(report, now))
                item = inbox.get_nowait()
        except queue.Empty:
            pass

    def _pass_on(self, results: list[Result]) -> None:
        if self._sink is not None:
            for block in self._coordinator.blocks:
                self._sink.write(block)
            self._coordinator.blocks.clear()
        # A report may have thousands; lists of results are no longer than those of other engines.
        for at in range(0, len(results), BATCH):
            self.deliver(results[at : at + BATCH])

    def _count_workers(self, snapshot: Snapshot, now: float) -> None:
        """Say at once and again that no worker is there, but not where the Redis has just come back."""
        if snapshot.returned and self.engine.worker_count.workers:
            self._expected_until = now + DEAD
        self.engine.worker_count.workers = len(snapshot.workers)
        if snapshot.workers:
            self._no_worker_said = 0.0
        elif self.engine.url is None or now < self._expected_until:
            return  # one is about to come, or to be seen again; `check` sees to the run's own
        elif not self._no_worker_said or now - self._no_worker_said >= NO_WORKER_INTERVAL:
            self._no_worker_said = now
            log.warning(
                f"no worker is at {self.connection.shown}; on any machine that reaches it, start one: resolve worker "
                "--redis URL"
            )

    def _wind_up(self) -> None:
        """End the run early: nothing more is begun; workers say how far they came, if they say it soon."""
        connection, coordinator = self.connection, self._coordinator
        coordinator.ending = True
        wait = LAST_REPORTS if connection.deadline.passed else LAST_REPORTS_CANCELLED
        end = time.monotonic() + (wait if connection.stop() else 0.0)
        while any(coordinator.begun()) and (left := end - time.monotonic()) > 0:
            self._gather(min(left, 0.05))
        for query in coordinator.begun():
            query.attempts = None


engine = RedisEngine()

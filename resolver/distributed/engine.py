"""The engine `redis`: workers on any number of machines, found in a Redis; resolver/distributed has all but the loop.

The one thing to know before changing anything here: this thread never talks to the Redis. It hands out and takes in by
queues, so that a deadline and Ctrl-C hold whatever becomes of the Redis and of the workers.
"""

from __future__ import annotations

import contextlib
import queue
import secrets
import time
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from resolver.distributed.broker import DEAD, Broker
from resolver.distributed.connection import RunConnection, Snapshot, log
from resolver.distributed.coordinator import Coordinator
from resolver.distributed.payload import VERSION, Chunk, ChunkQuery, encode_chunk

if TYPE_CHECKING:
    from collections.abc import Callable

    from resolver.distributed.outstanding import Order
    from resolver.engines.base import Backend, Queries
    from resolver.model import Query, Result
    from resolver.policy import Policy
    from resolver.wire.oneway import Sent

NO_WORKER_INTERVAL = 10.0  # seconds between two sentences that no worker is there
# Seconds that workers have, when the run ends early, to say how far they came: its deadline is theirs too; of Ctrl-C
# they have to learn.
LAST_REPORTS, AFTER_CANCEL = 0.17, 1.0
START_WAIT = 3.0  # seconds after which the run's time begins, whether the Redis has answered or not
OWN_START_WAIT = 15.0  # and where it has a worker of its own, which takes a while to start
BATCH = 500  # results that are delivered at once
LINGER = 0.05  # seconds that a few hosts wait for more, while others are looked up


class WorkerCount:
    """How a run's workers stand, for a display. `workers` is None until that is known."""

    def __init__(self) -> None:
        self.workers: int | None = None

    def __str__(self) -> str:
        return "" if self.workers is None else f"{self.workers} worker{'' if self.workers == 1 else 's'}"


class RedisEngine(NamedTuple):
    """Workers that are found in the Redis at `url`; None: one of the run's own, with a worker on this machine.

    inner: the engine of that worker. `worker_count` tells a display who is there.
    """

    url: str | None = None
    inner: str | None = None
    worker_count: WorkerCount = WorkerCount()  # `at` gives each run its own
    name: str = "redis"

    def around(self, inner: str) -> RedisEngine:
        """The same with this engine in its own worker."""
        return self._replace(inner=inner)

    def at(self, url: str | None) -> RedisEngine:
        """The same for one run, at this Redis.

        Raises ValueError for what is no address, ConnectionError for what cannot be reached, LookupError where no
        server is installed for a run of its own.
        """
        if url is None:
            from resolver.distributed.embedded import find_server

            find_server()
        elif self.inner is not None:
            raise ValueError("an inner engine is for workers of the run's own; those at a Redis have chosen theirs")
        else:
            Broker.parse(url).reach()
        return self._replace(url=url, worker_count=WorkerCount())

    def run(self, queries: Queries, policy: Policy, backend: Backend, deliver: Callable[[list[Result]], None]) -> None:
        from resolver.wire.oneway import Forgetful

        with contextlib.ExitStack() as opened:
            url, check = self.url, None
            if url is None:
                from resolver.distributed.embedded import EmbeddedRedis

                embedded = opened.enter_context(EmbeddedRedis(self.inner or "gevent", backend.name))
                url, check = embedded.url, embedded.check
            connection = RunConnection(Broker.parse(url), secrets.token_hex(16), policy.timeout)
            opened.callback(connection.close)
            run = _RedisRun(self, connection, queries, policy, backend, deliver)
            if isinstance(backend, Forgetful):
                run.tally = backend.tally
            connection.start()
            run.work(check)


class _RedisRun:
    """One run: between its queries, the coordinator's coordinator, and the connection."""

    def __init__(
        self,
        engine: RedisEngine,
        connection: RunConnection,
        queries: Queries,
        policy: Policy,
        backend: Backend,
        deliver: Callable[[list[Result]], None],
    ) -> None:
        self._engine = engine
        self._connection = connection
        self._queries = queries
        self._policy = policy
        self._backend = backend
        self._deliver = deliver
        self._coordinator = Coordinator(policy, engine.name, backend.name)
        self._authority = _read(policy.tls_ca)
        self._held: list[Query] = []  # taken, and too few for a chunk
        self._since = 0.0
        self._alone_since: float | None = None
        self._patient_until = 0.0  # workers may only not have been seen yet
        self._begun = False
        self._started = time.monotonic()
        self.tally: Sent | None = None

    def work(self, check: Callable[[], None] | None) -> None:
        """Hand out and gather until all is done or the run is over; `check` is called again and again.

        Raises RuntimeError as `check` does.
        """
        coordinator, queries = self._coordinator, self._queries
        coordinator.oneway = self.tally is not None
        while True:
            self._hand_out()
            if coordinator.exhausted and coordinator.idle and not self._held:
                return
            patience = min(queries.patience(), LINGER if self._held else 1.0)
            if queries.over:
                self._wind_up()
                return
            if check is not None:
                check()
            self._gather(patience)

    # --- Out.

    def _hand_out(self) -> None:
        coordinator = self._coordinator
        if not self._ready():
            return
        while not self._queries.over and (room := coordinator.room()):
            chunk = self._fill(room)
            if not chunk:
                break
            self._send(coordinator.launch(chunk, time.monotonic()))
        for order in coordinator.resends(time.monotonic()):
            self._send(order)
        for sentence in coordinator.recovered:
            log.info(sentence)
        coordinator.recovered.clear()

    def _fill(self, room: int) -> list[Query]:
        """Queries for a chunk of that size; none where it is worth while to wait for more."""
        coordinator, held = self._coordinator, self._held
        while len(held) < room and not coordinator.exhausted:
            more = self._queries.take(room - len(held))
            if more is None:
                coordinator.exhausted = True
            elif not more:
                break
            else:
                if not held:
                    self._since = time.monotonic()
                held += more
        waits = len(held) < room and not coordinator.exhausted and not coordinator.idle
        if waits and time.monotonic() - self._since < LINGER:
            return []
        self._held = held[room:]
        return held[:room]

    def _ready(self) -> bool:
        """Has the run's time begun? It begins when it is known who is there; with nobody to ask, after a while."""
        if not self._begun:
            workers = self._engine.worker_count.workers
            there = workers is not None and (workers > 0 or self._engine.url is not None)
            if there or time.monotonic() - self._started > (START_WAIT if self._engine.url else OWN_START_WAIT):
                self._begun = True
                self._queries.take(0)
                self._connection.begin()
        return self._begun

    def _send(self, order: Order) -> None:
        policy = msgspec.structs.replace(self._policy, timeout=None, tls_ca=None)
        if order.parties is not None:
            policy = msgspec.structs.replace(
                policy,
                concurrency=None if policy.concurrency is None else policy.concurrency // order.parties,
                rate=None if policy.rate is None else policy.rate / order.parties,
            )
        chunk = Chunk(
            version=VERSION,
            run=self._connection.run,
            number=order.number,
            copy=order.copy,
            backend=self._backend.name,
            policy=policy,
            authority=self._authority,
            alone=order.parties is not None,
            oneway=self.tally is not None,
            parties=order.parties or max(1, self._coordinator.slots),
            queries=[ChunkQuery(query.index, query.name, query.type) for query in order.queries],
        )
        self._connection.send(encode_chunk(chunk), f"chunk {order.number} of run {self._connection.run}")

    # --- In.

    def _gather(self, seconds: float) -> None:
        """Wait so long at most for the first that comes, and take what has come."""
        inbox, coordinator = self._connection.inbox, self._coordinator
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
                        self._pass_on(coordinator.on_report(report, now))
                item = inbox.get_nowait()
        except queue.Empty:
            pass

    def _pass_on(self, results: list[Result]) -> None:
        if self.tally is None:
            # A report may have thousands; who takes results counts on lists no longer than those of other engines.
            for at in range(0, len(results), BATCH):
                self._deliver(results[at : at + BATCH])
            return
        for report in self._coordinator.oneway_reports:
            self.tally.add(report.sent, report.failed, report.reasons)
        self._coordinator.oneway_reports.clear()
        if results:
            self.tally.add(0, len(results), [results[0].error or ""])

    def _count_workers(self, snapshot: Snapshot, now: float) -> None:
        """Who is there? That nobody is must be said at once, and again; but not where the Redis just came back."""
        if snapshot.returned and self._engine.worker_count.workers:
            self._patient_until = now + DEAD
        self._engine.worker_count.workers = len(snapshot.workers)
        if snapshot.workers:
            self._alone_since = None
        elif self._engine.url is None or now < self._patient_until:
            return  # one is about to come, or to be seen again; `check` sees to the run's own
        elif self._alone_since is None or now - self._alone_since >= NO_WORKER_INTERVAL:
            self._alone_since = now
            log.warning(
                f"no worker is at {self._connection.shown}; on any machine that reaches it, start one: resolve worker "
                "--redis URL"
            )

    def _wind_up(self) -> None:
        """The run ends early: nothing more is begun; workers say how far they came, if they say it soon."""
        connection, coordinator = self._connection, self._coordinator
        coordinator.ending = True
        told = connection.stop()
        end = time.monotonic() + (0.0 if not told else LAST_REPORTS if connection.over else AFTER_CANCEL)
        while any(coordinator.begun()) and (left := end - time.monotonic()) > 0:
            self._gather(min(left, 0.05))
        for query in coordinator.begun():
            query.attempts = None


def _read(path: str | None) -> str | None:
    """The certificates of this file, to travel with the chunks. Raises OSError."""
    if path is None:
        return None
    with open(path, encoding="ascii", errors="replace") as file:
        return file.read()


engine = RedisEngine()

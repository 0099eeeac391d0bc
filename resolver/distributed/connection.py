"""The coordinator's threads that talk to the Redis: one sends chunks, one reads reports, one renews the lease.

The Redis may be away, or silent, for any time. Whatever can block stands in one of these threads; the engine only takes
from `inbox`, so that a deadline holds whatever the Redis does. The threads are daemons, and at the end they are left
where they stand.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import msgspec
from redis.exceptions import RedisError

from resolver.distributed.broker import LEASE, ON, OVER, PREFIX, TIMED, WORKERS, Keys, worker_key
from resolver.distributed.envelope import QUEUE, wrap
from resolver.distributed.outage import REPEAT_AFTER, Notices, Outage
from resolver.distributed.payload import VERSION, ChunkReport, Refused, decode_report
from resolver.policy import Deadline

if TYPE_CHECKING:
    from collections.abc import Callable

    from resolver.distributed.broker import Broker

SNAPSHOT_INTERVAL = 1.0  # seconds between two snapshots of workers and queue; a tenth of it where no worker is seen
READ_BLOCK = 1000  # milliseconds that reading waits for a report
ENTRIES = 16  # read at once
# Seconds that the threads have to end with the run: at its deadline, and otherwise.
CLOSE_AT_DEADLINE, CLOSE_WAIT = 0.15, 1.0

log = logging.getLogger("resolver.distributed")


class _Beat(msgspec.Struct):
    """The part of a worker's beat that a coordinator needs."""

    version: str
    slots: Annotated[int, msgspec.Meta(ge=1, le=4096)]
    has: dict[str, list[int]] = {}  # chunks in hand, by run


_beat = msgspec.json.Decoder(_Beat)


class Snapshot(NamedTuple):
    """The state of workers and queue, as the Redis shows it.

    Attributes:
        workers: Slots, by the name of the worker.
        queued: Length of the queue.
        made: When it was made, on the monotonic clock.
        behind: Seconds by which the latest report that had been read then was older; 0 where none was unread.
        held: Numbers of the run's chunks that each worker has in hand.
        returned: The Redis was away or has lost what it held, as far as can be seen; true at the first snapshot.
    """

    workers: dict[str, int]
    queued: int
    made: float
    behind: float
    held: dict[str, frozenset[int]]
    returned: bool


class RunConnection:
    """The connection of one run. `inbox`: lists of reports, and Snapshots, as they come."""

    def __init__(self, broker: Broker, run: str, seconds: float | None) -> None:
        """Args: seconds: Time that the run has, from `begin` on; None: it has no end."""
        self.run = run
        self.shown = broker.shown
        self.inbox: queue.Queue[list[ChunkReport] | Snapshot] = queue.Queue(64)
        self._broker = broker
        self._keys = Keys.of(run)
        self.deadline = Deadline(seconds)
        self._stopped = False
        self._unresponsive = False  # the Redis was too slow for a word of the run's end: it is not waited for again
        self._outgoing: queue.SimpleQueue[tuple[str, str] | None] = queue.SimpleQueue()
        self._read_numbers: list[bytes] = []  # of entries that were delivered, and are to be removed
        self._read_to = 0.0  # when the latest report that was read came to the Redis, by its own clock
        self._closed = threading.Event()
        self._wake = threading.Event()
        self._outage = Outage(broker.shown)
        self._notices = Notices()
        self._threads = [
            threading.Thread(
                target=self._repeat, args=(work,), name=f"resolve-redis{work.__name__}".replace("_", "-"), daemon=True
            )
            for work in (self._renew, self._read, self._send)
        ]

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    def begin(self) -> None:
        """Begin the run's time."""
        self.deadline.start()
        self._wake.set()

    def send(self, text: str, description: str) -> None:
        """Put a chunk into the queue, as soon as it can be; `description` is for people."""
        self._outgoing.put((text, description))

    def stop(self) -> bool:
        """Have workers leave the run and say how far they came; return whether the Redis knows."""
        self._stopped = True
        self._unresponsive = not self._execute_soon(
            lambda client: client.set(self._keys.alive, OVER, px=int(1000 * LEASE))
        )
        return not self._unresponsive

    def close(self) -> None:
        """Remove everything of the run from the Redis, and end the threads."""
        self._closed.set()
        self._wake.set()
        self._outgoing.put(None)
        wait = CLOSE_AT_DEADLINE if self.deadline.passed else CLOSE_WAIT
        end = time.monotonic() + (0.0 if self._unresponsive else wait)
        # An entry of the stream wakes the thread that reads. A thread that met an outage may have had no time to see
        # its end.
        if self._execute_soon(
            lambda client: (client.xadd(self._keys.results, {"over": ""}), client.delete(*self._keys))
        ):
            self._outage.end()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(max(0.0, end - time.monotonic()))

    def _execute_soon(self, action: Callable[[Any], object]) -> bool:
        return self._broker.execute_soon(action, seconds=0.0 if self._unresponsive else CLOSE_AT_DEADLINE)

    # --- The threads.

    def _repeat(self, work: Callable[[Any], None]) -> None:
        """Do a thread's work with a client, again after whatever the Redis did."""
        while not self._closed.is_set():
            try:
                with self._broker.client() as client:
                    work(client)
                return
            except (RedisError, OSError) as error:
                if self._closed.is_set():
                    return
                self._outage.failed(work.__name__, error)
            except Exception:
                log.exception("a thread of the run broke; it begins again")
            self._closed.wait(0.2)

    def _send(self, client: Any) -> None:
        while (item := self._outgoing.get()) is not None and not self._closed.is_set():
            try:
                client.lpush(f"{PREFIX}{QUEUE}", wrap(*item))
            except Exception:
                # Another copy is harmless. What comes after is younger, and may go first.
                self._outgoing.put(item)
                raise
            self._outage.worked("_send")

    def _read(self, client: Any) -> None:
        results = self._keys.results
        while not self._closed.is_set():
            ask = client.pipeline(transaction=False)
            if self._read_numbers:  # those of before an outage too, lest they are delivered again
                ask.xdel(results, *self._read_numbers)
            # From the beginning: what was read is removed, and after a loss its numbers may begin anew.
            ask.xread({results: "0"}, count=ENTRIES, block=READ_BLOCK)
            got: Any = ask.execute()[-1]
            self._read_numbers = []
            for _, entries in got or []:
                if not entries:  # a Redis that has just loaded its data may name the stream alone
                    continue
                reports = []
                for _, fields in entries:
                    if self._closed.is_set():
                        return
                    try:
                        reports.append(decode_report(fields))
                    except Refused as refused:
                        self._notices.warn(f"a report was refused: {refused}")
                    except Exception:  # a fault of ours: it would be met again and again, and none behind it be read
                        log.exception("reading a report broke; it is passed over")
                self._deliver(reports)
                self._read_to = int(entries[-1][0].partition(b"-")[0]) / 1000
                self._read_numbers += [number for number, _ in entries]
            self._outage.worked("_read")

    def _renew(self, client: Any) -> None:
        keys = self._keys
        returned = True
        while not self._closed.is_set():
            self._wake.clear()
            renew = client.pipeline(transaction=False)
            if self.deadline.seconds is not None:
                renew.set(keys.ends, "", px=max(1, int(1000 * self.deadline.remaining())))
            lease = OVER if self._stopped else ON if self.deadline.seconds is None else TIMED
            renew.set(keys.alive, lease, px=int(1000 * LEASE), get=True)
            renew.llen(f"{PREFIX}{QUEUE}")
            renew.smembers(WORKERS)
            renew.xlen(keys.results)
            renew.time()
            *_, before, queued, names, unread, (seconds, millionths) = renew.execute()
            made = time.monotonic()
            behind = max(0.0, seconds + millionths / 1e6 - self._read_to) if unread else 0.0
            workers, held = self._read_beats(client, sorted(name.decode(errors="replace") for name in names))
            self._outage.worked("_renew")
            returned = returned or before is None
            # Where results are taken slowly there may be no room: the lease must be renewed all the same.
            with contextlib.suppress(queue.Full):
                self.inbox.put_nowait(Snapshot(workers, queued, made, behind, held, returned))
                returned = False
            self._wake.wait(SNAPSHOT_INTERVAL if workers else SNAPSHOT_INTERVAL / 10)

    def _read_beats(self, client: Any, names: list[str]) -> tuple[dict[str, int], dict[str, frozenset[int]]]:
        """Return the slots of the workers that beat, and the chunks of this run that they have in hand.

        Workers that beat no more are forgotten; those of another version are told.
        """
        workers: dict[str, int] = {}
        held: dict[str, frozenset[int]] = {}
        strangers: dict[str, str] = {}
        for name, beat in zip(names, client.mget([worker_key(name) for name in names]) if names else (), strict=True):
            if beat is None:
                client.srem(WORKERS, name)
                continue
            try:
                said = _beat.decode(beat)
            except (msgspec.MsgspecError, ValueError, RecursionError):
                self._notices.warn("the beat of a worker was refused: it is none of ours")
                continue
            if said.version == VERSION:
                workers[name] = said.slots
                held[name] = frozenset(said.has.get(self.run, ()))
            else:
                strangers[name] = said.version[:64]
        if strangers:
            versions = ", ".join(sorted(set(strangers.values())))
            self._notices.warn(
                f"{len(strangers)} worker{'s' * (len(strangers) > 1)} of version {versions} cannot work for this run, "
                f"which is of version {VERSION}: install the same version on both sides"
            )
            for name in strangers:
                client.set(
                    f"{worker_key(name)}:told",
                    f"a run of version {VERSION} cannot use this worker: install the same version on both sides",
                    ex=int(REPEAT_AFTER),
                )
        return workers, held

    def _deliver(self, reports: list[ChunkReport]) -> None:
        while not self._closed.is_set():
            with contextlib.suppress(queue.Full):
                self.inbox.put(reports, timeout=0.2)
                return

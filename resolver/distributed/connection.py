"""The coordinator's threads that talk to the Redis: one sends chunks, one reads reports, one renews and looks.

The one thing to know before changing anything here: the Redis may be away, or silent, for any time. Whatever can block
stands in one of these threads; the engine only takes from `inbox`, so a deadline holds whatever the Redis does. The
threads are daemons, and at the end they are left where they stand.
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
from resolver.distributed.outage import REPEAT_AFTER, Outage
from resolver.distributed.payload import VERSION, ChunkReport, Refused, decode_report

if TYPE_CHECKING:
    from collections.abc import Callable

    from resolver.distributed.broker import Broker

SNAPSHOT_INTERVAL = 1.0  # seconds between two looks at workers and queue
BLOCK = 1000  # milliseconds that reading waits for a report
ENTRIES = 16  # read at once
CLOSE_AT_DEADLINE, CLOSE_WAIT = (
    0.15,
    1.0,
)  # seconds that the threads have to end with the run: at its deadline, and otherwise

log = logging.getLogger("resolver.distributed")


class _Beat(msgspec.Struct):
    """What matters in a worker's beat."""

    version: str
    slots: Annotated[int, msgspec.Meta(ge=1, le=4096)]
    has: dict[str, list[int]] = {}  # chunks in hand, by run


_beat = msgspec.json.Decoder(_Beat)


class Snapshot(NamedTuple):
    """What the Redis shows: slots of the workers by name, the length of the queue, and what each worker has in hand.

    made: when it was looked, on the monotonic clock. behind: the latest report that had been read then was so many
    seconds older; 0 where there was no other. returned: it was away or has lost what it held, as far as can be seen; so
    it is at the first look.
    """

    workers: dict[str, int]
    queued: int
    made: float
    behind: float
    held: dict[str, frozenset[int]]
    returned: bool


class RunConnection:
    """The connection of one run. `inbox`: lists of ChunkReports, and Snapshots, as they come."""

    def __init__(self, broker: Broker, run: str, seconds: float | None) -> None:
        """seconds: that the run has, from `begin` on; None: it has no end."""
        self.run = run
        self.shown = broker.shown
        self.inbox: queue.Queue[list[ChunkReport] | Snapshot] = queue.Queue(64)
        self._broker = broker
        self._keys = Keys.of(run)
        self._seconds = seconds
        self._over = False
        self._unresponsive = False  # the Redis was too slow for a word of the run's end; it is waited for no more
        self._outgoing: queue.SimpleQueue[tuple[str, str] | None] = queue.SimpleQueue()
        self._ends: float | None = None  # on the monotonic clock
        self._read_to = 0.0  # when the latest report that was read came to the Redis, by its own clock
        self._closed = threading.Event()
        self._wake = threading.Event()
        self._outage = Outage(broker.shown)
        self._told: dict[str, float] = {}  # what was said, and when
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Start the threads."""
        for work in (self._renew, self._read, self._send):
            name = f"resolve-redis{work.__name__}"
            self._threads.append(threading.Thread(target=self._guarded, args=(work,), name=name, daemon=True))
        for thread in self._threads:
            thread.start()

    def begin(self) -> None:
        """The run's seconds begin."""
        if self._seconds is not None:
            self._ends = time.monotonic() + self._seconds
            self._wake.set()

    @property
    def over(self) -> bool:
        """The run's seconds have passed."""
        return self._ends is not None and time.monotonic() >= self._ends

    def send(self, text: str, what: str) -> None:
        """Put a chunk into the queue, as soon as it can be; `what` describes it to people."""
        self._outgoing.put((text, what))

    def stop(self) -> bool:
        """The run ends early: workers leave what they have of it, and say how far they came. Does the Redis know?"""
        self._over = True
        self._unresponsive = not self._quietly(lambda client: client.set(self._keys.alive, OVER, px=int(1000 * LEASE)))
        return not self._unresponsive

    def close(self) -> None:
        """The run is over: nothing of it is left, and nothing of it is begun any more."""
        self._closed.set()
        self._wake.set()
        self._outgoing.put(None)
        end = time.monotonic() + (0.0 if self._unresponsive else CLOSE_AT_DEADLINE if self.over else CLOSE_WAIT)
        self._quietly(self._clear)
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))

    # --- The threads.

    def _clear(self, client: Any) -> None:
        """Remove what the run has there. An entry of the stream wakes the thread that reads."""
        client.xadd(self._keys.results, {"over": ""})
        client.delete(*self._keys)

    def _guarded(self, work: Callable[[], None]) -> None:
        """Begin again after whatever the Redis did."""
        while not self._closed.is_set():
            try:
                work()
                return
            except (RedisError, OSError) as error:
                if self._closed.is_set():
                    return
                self._outage.failed(work.__name__, error)
            except Exception:
                log.exception("a thread of the run broke; it begins again")
            self._closed.wait(0.2)

    def _send(self) -> None:
        with self._broker.client() as client:
            while (item := self._outgoing.get()) is not None and not self._closed.is_set():
                try:
                    client.lpush(f"{PREFIX}{QUEUE}", wrap(*item))
                except Exception:
                    # Another copy is harmless. What comes after is younger, and may go first.
                    self._outgoing.put(item)
                    raise
                self._outage.worked("_send")

    def _read(self) -> None:
        results = self._keys.results
        with self._broker.client() as client:
            while not self._closed.is_set():
                # From the beginning: what was read is trimmed, and after a loss its numbers may begin anew.
                got: Any = client.xread({results: "0"}, count=ENTRIES, block=BLOCK)
                for _, entries in got or []:
                    if not entries:  # a Redis that has just loaded its data may name the stream alone
                        continue
                    reports = []
                    for _, fields in entries:
                        if self._closed.is_set():
                            return
                        try:
                            reports.append(decode_report(fields.get(b"report", b"")))
                        except Refused as refused:
                            self.say(f"a report was refused: {refused}")
                    self._deliver(reports)
                    self._read_to = int(entries[-1][0].partition(b"-")[0]) / 1000
                    client.xdel(results, *[number for number, _ in entries])
                self._outage.worked("_read")

    def _renew(self) -> None:
        keys = self._keys
        returned = True
        with self._broker.client() as client:
            while not self._closed.is_set():
                self._wake.clear()
                renew = client.pipeline(transaction=False)
                if self._seconds is not None:
                    left = self._seconds if self._ends is None else self._ends - time.monotonic()
                    renew.set(keys.ends, "", px=max(1, int(1000 * left)))
                lease = OVER if self._over else ON if self._seconds is None else TIMED
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
        """Those that beat: their slots, and what they have of this run; the others are forgotten.

        Those of another version are told.
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
                self.say("the beat of a worker was refused: it is none of ours")
                continue
            if said.version == VERSION:
                workers[name] = said.slots
                held[name] = frozenset(said.has.get(self.run, ()))
            else:
                strangers[name] = said.version[:64]
        if strangers:
            versions = ", ".join(sorted(set(strangers.values())))
            self.say(
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

    # --- Helpers.

    def say(self, sentence: str) -> None:
        """Tell people, but not the same again and again."""
        now = time.monotonic()
        if now - self._told.get(sentence, float("-inf")) >= REPEAT_AFTER:
            self._told[sentence] = now
            log.warning(sentence)

    def _deliver(self, item: list[ChunkReport] | Snapshot) -> None:
        while not self._closed.is_set():
            try:
                self.inbox.put(item, timeout=0.2)
                return
            except queue.Full:
                pass

    def _quietly(self, what: Callable[[Any], Any]) -> bool:
        """Do this soon, if the Redis is there; waits for it a moment at most. Is it done?"""
        done = threading.Event()

        def work() -> None:
            with contextlib.suppress(RedisError, OSError), self._broker.client() as client:
                what(client)
                done.set()

        thread = threading.Thread(target=work, name="resolve-redis_end", daemon=True)
        thread.start()
        if not self._unresponsive:
            thread.join(CLOSE_AT_DEADLINE)
        return done.is_set()

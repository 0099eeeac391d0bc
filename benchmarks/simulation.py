"""The coordinator and a thousand workers, on paper: what it decides is real; the Redis, workers and clock are not.

It shows that each lookup has exactly one result, whatever befalls the fleet (benchmarks/misfortunes.py); how much work
is done twice for it, and why; how long it takes beside the least that it could take; and what each chunk and each
lookup costs the coordinator's own logic, in real time of one processor. Encoding, decoding and writing cost more, and
are measured by benchmarks/distributed.py; here they are `--coordinator`, the lookups a second that one of them can
take in, with a little for each report and each chunk.
"""

import itertools
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import click

from benchmarks.fleet import Redis, Workers
from benchmarks.measure import verdict
from benchmarks.misfortunes import NEVER, Chance, Clock, Fleet
from resolver.distributed.chunk_window import MAX_OPEN
from resolver.distributed.connection import ENTRIES, SNAPSHOT_INTERVAL
from resolver.distributed.coordinator import Coordinator
from resolver.distributed.outstanding import Order
from resolver.distributed.payload import ChunkReport
from resolver.model import Query, Result, Status
from resolver.policy import Policy

A_REPORT, A_CHUNK = 0.00005, 0.003  # seconds of the coordinator's time, beside what its lookups take
STUCK = 1000.0  # simulated seconds without a result, after which nothing will come any more
TWICE = 0.05  # the share of lookups that may be made again, beside what a Redis lost: at most all that is out
LATE = 1.25  # the time that it may take, in times of the least, and so many seconds
SECONDS = 120.0  # for the last chunks of slow workers

_Given = TypeVar("_Given")


class Run:
    """The loop around a Coordinator (resolver/distributed/engine.py), and what it counts."""

    def __init__(self, clock: Clock, redis: Redis, names: int, pace: float, policy: Policy) -> None:
        self.over = False
        self.why: Counter[str] = Counter()  # chunks that were sent again
        self.spent: Counter[str] = Counter()  # seconds of the processor, by what was asked of the coordinator
        self.longest: Counter[str] = Counter()  # the longest of each
        self.statuses: Counter[Status] = Counter()
        self.seen = bytearray(names)
        self.surplus = self.chunks = self.sent = self.reports = self.handed = self.found = 0
        self.most = self.furthest = 0.0
        self.last = 0.0  # when the latest result came
        self.coordinator = Coordinator(policy, "redis", "wire")
        self._clock, self._redis, self._pace = clock, redis, pace
        self._queries: Iterator[Query] = (
            Query(index, f"line {index}", f"h{index}.example", "A") for index in range(names)
        )
        self._busy = False
        redis.on_report = self._wake
        clock.after(0.0, self._look)

    def _wake(self) -> None:
        if not self._busy:
            self._busy = True
            self._clock.after(0.0, self._work)

    def _work(self) -> None:
        """Take in what has come, hand out what there is room for, and be busy for as long as that takes."""
        stream = self._redis.stream
        self.furthest = max(self.furthest, self._redis.behind())
        before = self.found, self.reports, self.sent
        for _ in range(min(len(stream), 4 * ENTRIES)):
            self._on_report(stream.popleft().report())
        self._hand_out()
        cost = (self.found - before[0]) / self._pace
        cost += A_REPORT * (self.reports - before[1]) + A_CHUNK * (self.sent - before[2])
        self._clock.after(cost, self._rest)

    def _rest(self) -> None:
        self._busy = False
        if self._redis.stream:
            self._wake()

    def _on_report(self, report: ChunkReport) -> None:
        self.reports += 1
        self._take(self._timed("on_report", self.coordinator.on_report, report, self._clock.now))

    def _look(self) -> None:
        redis = self._redis
        if redis.up:
            self._take(
                self._timed(
                    "on_snapshot",
                    self.coordinator.on_snapshot,
                    redis.roll(),
                    len(redis.queue),
                    self._clock.now,
                    redis.behind(),
                )
            )
            self._hand_out()
        self._clock.after(SNAPSHOT_INTERVAL, self._look)

    def _hand_out(self) -> None:
        coordinator, now = self.coordinator, self._clock.now
        while room := self._timed("room", coordinator.room):
            queries = list(itertools.islice(self._queries, room))
            if not queries:
                coordinator.exhausted = True
                break
            self.chunks += 1
            self.handed += len(queries)
            self._send(self._launch(queries))
        for order in self._timed("resends", coordinator.resends, now):
            self._send(order)
        for sentence in coordinator.recovered:
            self.why[re.sub(r"^chunk \d+ |[;(].*", "", sentence).strip()] += 1
        coordinator.recovered.clear()
        self.most = max(self.most, self.handed - self.found)
        self.over = coordinator.exhausted and coordinator.idle

    def _launch(self, queries: list[Query]) -> Order:
        return self._timed("launch", self.coordinator.launch, queries, self._clock.now)

    def _send(self, order: Order) -> None:
        self.sent += 1
        self._redis.put(order)

    def _take(self, results: list[Result]) -> None:
        seen = self.seen
        for result in results:
            self.surplus += seen[result.index]
            seen[result.index] = 1
            self.statuses[result.status] += 1
        if results:
            self.found += len(results)
            self.last = self._clock.now

    def _timed(self, what: str, call: Callable[..., _Given], *arguments: Any) -> _Given:
        began = time.thread_time()
        given = call(*arguments)
        took = time.thread_time() - began
        self.spent[what] += took  # type: ignore[assignment]  # a Counter of seconds
        self.longest[what] = max(self.longest[what], took)  # type: ignore[assignment]
        return given


class Outages:
    """The Redis is away now and then; every second time it comes back with nothing of what it held."""

    def __init__(self, clock: Clock, redis: Redis, every: float, seconds: float) -> None:
        self.seen = self.losses = 0
        self._clock, self._redis, self._every, self._seconds = clock, redis, every, seconds
        clock.after(every, self._fall)

    def _fall(self) -> None:
        self.seen += 1
        self.losses = self.seen // 2
        self._redis.fall(lose=self.seen % 2 == 0)
        self._clock.after(self._seconds, self._rise)

    def _rise(self) -> None:
        self._redis.rise()
        self._clock.after(self._every, self._fall)


def report(run: Run, redis: Redis, workers: Workers, outages: Outages, names: int, speed: float, pace: float) -> float:
    """Print what was seen; return the least seconds that it could have taken, with workers of this speed in all."""
    least = names / min(speed, pace)
    limit = "the workers are" if speed < pace else "the coordinator is"
    click.echo(f"time               {run.last:,.1f} s; {least:,.1f} s is the least, {limit} the limit")
    click.echo(
        f"what happened      {workers.deaths:,} deaths, {workers.leaves:,} left in order, {workers.cuts:,} cut off,\n"
        f"                   {redis.lost:,} messages lost, {redis.doubled:,} came twice, "
        f"{outages.seen:,} outages of the Redis, {outages.losses:,} with loss"
    )
    again = run.sent - run.chunks
    click.echo(f"chunks             {run.chunks:,} of {names / run.chunks:,.0f} lookups, {again:,} sent again")
    for why, count in run.why.most_common():
        click.echo(f"                   {count:9,} {why}")
    click.echo(
        f"lookups            {workers.looked_up:,} made, {workers.looked_up / names - 1:.2%} more than asked for"
    )
    click.echo(f"most outstanding   {run.most:,.0f} lookups; the coordinator at most {run.furthest:.1f} s behind")
    spent = sum(run.spent.values())
    cost = names / pace + A_REPORT * run.reports + A_CHUNK * run.sent
    click.echo(f"coordinator        busy for {cost / run.last:.0%} of the time")
    click.echo(
        f"                   {1e6 * spent / run.chunks:,.0f} µs of logic a chunk, {1e9 * spent / names:,.0f} µs of it "
        f"and {run.reports / (names / 1000):.1f} reports for 1,000 lookups"
    )
    for what, seconds in run.spent.most_common():
        click.echo(f"                   {seconds:9.2f} s {what}, the longest {1000 * run.longest[what]:.1f} ms")
    click.echo(f"statuses           {', '.join(f'{status} {count:,}' for status, count in run.statuses.most_common())}")
    return least


@click.command()
@click.option("--names", type=click.IntRange(1), default=5_000_000, show_default=True)
@click.option("--workers", type=click.IntRange(1), default=1000, show_default=True)
@click.option("--slots", type=click.IntRange(1), default=1, show_default=True, help="Of each worker.")
@click.option("--rate", type=float, default=40.0, show_default=True, help="Lookups a second of a worker, about.")
@click.option("--coordinator", "pace", type=float, default=80_000.0, show_default=True, help="Lookups a second that it "
              "can take in.")  # fmt: skip
@click.option("--lives", type=float, default=1800.0, show_default=True, help="Seconds of a worker until it ends.")
@click.option(
    "--outages", "every", type=float, default=50.0, show_default=True, help="Seconds between two of the Redis."
)
@click.option("--outage", type=float, default=8.0, show_default=True, help="Seconds that one lasts.")
@click.option("--slow", type=float, default=0.02, show_default=True, help="Share of workers a hundred times slower.")
@click.option("--lost", type=float, default=0.001, show_default=True, help="Share of messages that are lost, and of "
              "those that come twice.")  # fmt: skip
@click.option("--silent", type=float, default=0.0005, show_default=True, help="Share of names that nobody answers.")
@click.option("--calm", is_flag=True, help="Nothing goes wrong.")
@click.option("--seed", type=int, default=1, show_default=True)
def main(
    names: int,
    workers: int,
    slots: int,
    rate: float,
    pace: float,
    lives: float,
    every: float,
    outage: float,
    slow: float,
    lost: float,
    silent: float,
    calm: bool,
    seed: int,
) -> None:
    """Simulate a run over so many names, and check that each has exactly one result."""
    policy = Policy()
    patience = sum(policy.wait(attempt) for attempt in range(1, policy.tries + 1))
    if calm:
        lives, every, slow, lost, silent = NEVER, NEVER, 0.0, 0.0, 0.0
    misfortunes = Fleet(lives, 30.0, 4 * lives, lost, lost, silent=silent, patience=patience)
    clock = Clock()
    chance = Chance(clock, misfortunes, seed)
    redis = Redis(clock, misfortunes, chance)
    away = Outages(clock, redis, every, outage)
    fleet = Workers(clock, redis, misfortunes, chance)
    speed = 0.0
    for number in range(workers):
        its = rate * chance.random.lognormvariate(0.0, 0.3) / (100 if number < slow * workers else 1)
        speed += its
        fleet.come(its, slots)
    run = Run(clock, redis, names, pace, policy)
    while not run.over and clock.now - run.last < STUCK:
        clock.step()
    least = report(run, redis, fleet, away, names, speed, pace)
    missing = run.seen.count(0)
    failures = []
    if missing or run.surplus:
        failures.append(f"{missing:,} lookups without a result, {run.surplus:,} results too many")
    if not run.over:
        failures.append(f"nothing came for {STUCK:,.0f} s")
    again, allowed = fleet.looked_up - names, TWICE * names + away.losses * MAX_OPEN
    if again > allowed:
        failures.append(f"{again:,} lookups were made again, at most {allowed:,.0f} is asked")
    if run.last > LATE * least + SECONDS:
        failures.append(f"it takes {run.last:,.0f} s, at most {LATE} times the least and {SECONDS:.0f} s is asked")
    verdict(failures, f"each of {names:,} lookups has exactly one result, and every limit is met")


if __name__ == "__main__":
    main()

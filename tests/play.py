"""A coordinator and its workers, in a play whose time the tests tell."""

from collections.abc import Iterable
from typing import Any

from benchmarks.fleet import result_of
from resolver import Policy, Query, Result, Status
from resolver.distributed.coordinator import GRACE, Coordinator
from resolver.distributed.outstanding import Order
from resolver.distributed.payload import ChunkReport

POLICY = Policy(tries=1, query_timeout=1.0)


def found(query: Query, **other: Any) -> Result:
    """Return what a worker finds for a query."""
    result = result_of(query, Status.NXDOMAIN)
    for name, value in other.items():
        setattr(result, name, value)
    return result


class Play:
    """A coordinator with workers, at a time of its own."""

    def __init__(self, policy: Policy | None = None, /, **workers: int) -> None:
        self.put_back: list[Query] = []
        self.coordinator = Coordinator(policy or POLICY, "redis", "wire", put_back=self.put_back.extend)
        self.workers = workers
        self.queued = 0
        self.behind = 0.0
        self.held: dict[str, list[int]] | None = None  # what the workers say of themselves
        self.now = 100.0
        self.next = 0
        self.came: list[Result] = []
        self.wait()

    def queries(self, number: int) -> list[Query]:
        """The next so many."""
        self.next += number
        return [Query(n, f"line {n}", f"h{n}.example", "A") for n in range(self.next - number, self.next)]

    def launch(self, number: int | None = None) -> Order:
        """Send a chunk of so many lookups, or as many as there is room for."""
        return self.coordinator.launch(self.queries(self.coordinator.room() if number is None else number), self.now)

    def fill(self, number: int | None = None) -> list[Order]:
        """Send while there is room, chunks of so many lookups."""
        orders = []
        while self.coordinator.room():
            orders.append(self.launch(number))
        return orders

    def wait(self, seconds: float = 0.0) -> list[Result]:
        """Let so much time pass, and see each second who is there."""
        given_up: list[Result] = []
        end = self.now + seconds
        while True:
            self.now = min(end, self.now + 1.0)
            given_up += self.coordinator.on_snapshot(self.workers, self.queued, self.now, self.behind, self.held)
            if self.now >= end:
                break
        self.came += given_up
        return given_up

    def on_report(self, order: Order, results: Iterable[Result] = (), worker: str = "a", **more: Any) -> list[Result]:
        """A worker reports of this order."""
        report = ChunkReport(order.number, order.copy, worker, [list(results)], **more)
        counted = self.coordinator.on_report(report, self.now)
        self.came += counted
        return counted

    def done(self, order: Order, worker: str = "a") -> list[Result]:
        """A worker has found all of it."""
        return self.on_report(order, map(found, order.queries), worker, over="done")

    def resends(self) -> list[Order]:
        """Return what is to be sent another time."""
        return self.coordinator.resends(self.now)

    def die(self, *workers: str) -> list[Result]:
        """Have these gone, until it shows."""
        self.workers = {name: slots for name, slots in self.workers.items() if name not in workers}
        return self.wait(GRACE + 0.1)


def indexes(order: Order) -> list[int]:
    """Return those of its queries."""
    return [query.index for query in order.queries]

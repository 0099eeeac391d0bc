"""A run of the engine `redis` that goes on in a thread, so that a test can interfere, and how it recovers."""

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from cluster import Server, Worker, beats, wait_for_workers
from command import wait_for

from resolver import Result, Status, stream

WORKER = ("--slots", "1", "--engine", "threads")
FEW = ("--concurrency", "20")  # lookups at a time, so that chunks are in hand for a while


class Running:
    """A run of these hosts at that Redis; `results` as they come. A test that is done with it calls `end`."""

    def __init__(self, hosts: Iterable[str], url: str, **options: Any) -> None:
        self.hosts = list(hosts)
        self.results: list[Result] = []
        self._error: BaseException | None = None
        self._stream = stream(self.hosts, engine="redis", redis=url, **options)
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def wait(self, number: int) -> None:
        """Wait until so many results have come."""
        wait_for(lambda: len(self.results) >= number or self._error, f"{number} results")

    def end(self, since: float | None = None, what: str = "recovered") -> list[Result]:
        """Wait for its end; the results in input order, of which each index stands there exactly once.

        since: when the fault happened, on the monotonic clock; how long the rest took from then on is printed.
        """
        self._thread.join(60)
        assert not self._thread.is_alive(), f"{len(self.results)} of {len(self.hosts)} results came"
        if self._error is not None:
            raise self._error
        if since is not None:
            print(f"{what} in {time.monotonic() - since:.1f} s")
        results = sorted(self.results, key=lambda result: result.index)
        assert list(range(len(self.hosts))) == [result.index for result in results]
        assert self.hosts == [result.input for result in results]
        return results

    def _work(self) -> None:
        try:
            for result in self._stream:
                self.results.append(result)
        except BaseException as error:
            self._error = error


def statuses(results: Iterable[Result]) -> Counter[Status]:
    """How many there are of each."""
    return Counter(result.status for result in results)


@contextlib.contextmanager
def working(server: Server, number: int, *options: str) -> Iterator[list[Worker]]:
    """Start so many workers, and wait until they beat; without other options they make few lookups at a time."""
    options = options or FEW
    with contextlib.ExitStack() as opened:
        workers = [opened.enter_context(Worker(server.url, *WORKER, *options)) for _ in range(number)]
        wait_for_workers(server, number)
        yield workers


def slow(number: int) -> list[str]:
    """Hosts that are answered late."""
    return [f"slow-300.n{each}.example" for each in range(number)]


def wait_until_busy(server: Server, number: int) -> None:
    """Wait until so many workers have chunks in hand."""
    wait_for(lambda: sum(said["chunks"] > 0 for said in beats(server)) >= number, "busy workers")

"""The joinall: one Result for every Query, whatever happens.

A Batch stands between the hosts, an engine and whoever wants the results. It hands out queries and remembers them; it
takes results, lets each pass once, and counts. When the engine is back, what it left undone gets its result here:
DEADLINE, CANCELLED, or ERROR where the engine broke; and the lines that were not read yet are read for theirs.
Memory is bounded by what is in flight, or, in input order, by `AHEAD`.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING

import msgspec

from resolver.intake import Intake
from resolver.model import ANSWERED, Query, Result, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from resolver.engines.base import Backend, Engine
    from resolver.input.hosts import Lookups
    from resolver.policy import Deadline, Policy

    Sink = Callable[[list[Result]], None]

AHEAD = 50_000  # results that wait for an earlier one, where they are wanted in input order


class Summary(msgspec.Struct):
    """A run's figures. `seconds` from the first host to the last result; `ended` is complete, deadline, cancelled."""

    engine: str
    backend: str
    hosts_read: int
    lookups: int
    results_written: int
    statuses: dict[str, int]
    queries_sent: int
    seconds: float
    lookups_per_second: float
    input_complete: bool
    ended: str
    note: str | None = None


class Batch:
    """The lookups of one run. An engine sees it as its Queries; `deliver` is what it pushes results into.

    `sink` gets every result once, in lists, on the thread that the engine runs on; what it raises ends the run.
    `ordered`: in the order of the input. `tick` is called again and again while the run goes on.
    """

    def __init__(
        self,
        hosts: Lookups,
        engine: Engine,
        backend: Backend,
        policy: Policy,
        deadline: Deadline,
        sink: Sink,
        *,
        ordered: bool = False,
        tick: Callable[[], None] | None = None,
    ) -> None:
        self._intake = Intake(hosts, deadline, self._pass_on, tick)
        self._hosts = hosts
        self._deadline = deadline
        self._engine = engine
        self._backend = backend
        self._policy = policy
        self._order = InOrder(sink, hosts.next_open) if ordered else None
        self._sink: Sink = self._order or sink
        self._open: dict[int, Query] = {}
        self._results = 0
        self._queries_sent = 0
        self._untold = False  # are there lookups of which nobody knows how often they were asked?
        self._statuses: Counter[str] = Counter()
        self._broken: str | None = None
        self._unsunk: BaseException | None = None  # what the sink raised

    def run(self) -> Summary:
        """Let the engine ask everything; returns when every lookup has its result.

        Raises what the hosts raise (OSError: the input cannot be read) and what the sink raises.
        """
        try:
            self._engine.run(self, self._policy, self._backend, self.deliver)
        except Exception as error:
            self.broke(error)
        for _ in self.rest():
            pass
        return self.summary()

    # --- What the engine sees.

    def take(self, n: int) -> list[Query] | None:
        """Up to `n` queries; an empty list where there is none just now, None where no more will come."""
        if self._order is not None:
            n = min(n, AHEAD - self._order.held - len(self._open))
        queries = self._intake.take(n)
        if queries:
            self._open.update({query.index: query for query in queries})
        return queries

    @property
    def ended(self) -> bool:
        """The run ends now."""
        return self._intake.ended

    def max_wait(self) -> float:
        """Seconds that an engine may wait at most before it asks again."""
        return self._intake.max_wait()

    def deliver(self, results: list[Result]) -> None:
        """Take these results; of a lookup that has one already, a further one is dropped."""
        opened = self._open
        self._pass_on([result for result in results if opened.pop(result.index, None) is not None])

    # --- What the engine left.

    def broke(self, error: Exception) -> None:
        """The engine raised. Raises the error again where it came from the hosts or the sink."""
        if error is self._unsunk or error is self._intake.failure:
            raise error
        self._broken = f"the engine broke: {type(error).__name__}: {error}"

    def rest(self) -> Iterator[None]:
        """Give every lookup without a result its own, a pause after each few, in which the sink may be emptied."""
        unfinished, self._open = sorted(self._open.values(), key=lambda query: query.index), {}
        now = time.monotonic()
        for at in range(0, len(unfinished), 1000):
            self._pass_on([self._abandoned(query, now) for query in unfinished[at : at + 1000]])
            yield
        self._hosts.stop()
        while (got := self._hosts.take(1000)) is not None:
            queries, invalid = got
            self._pass_on(invalid + [self._abandoned(query, now) for query in queries])
            yield

    def summary(self) -> Summary:
        """The figures so far."""
        seconds = self._intake.seconds()
        return Summary(
            self._engine.name,
            self._backend.name,
            self._hosts.hosts_read,
            self._hosts.lookups,
            self._results,
            {str(status): count for status, count in sorted(self._statuses.items())},
            self._queries_sent,
            round(seconds, 6),
            round(self._results / seconds, 1) if seconds else 0.0,
            self._hosts.complete,
            self._ended(),
            self._broken or self._silence(),
        )

    def _ended(self) -> str:
        if Status.CANCELLED in self._statuses or (self._deadline.cancelled and not self._hosts.complete):
            return "cancelled"
        if Status.DEADLINE in self._statuses or (self._deadline.passed and not self._hosts.complete):
            return "deadline"
        return "complete"

    def _silence(self) -> str | None:
        """Where no nameserver said anything at all, people want to know that first."""
        heard = self._statuses.keys() - {Status.TIMEOUT, Status.ERROR, *_ENDINGS, Status.INVALID}
        if heard or not (self._queries_sent or self._untold):
            return None
        asked = ", ".join(str(each) for each in self._policy.nameservers[:3]) or "the system's"
        more = len(self._policy.nameservers) - 3
        asked += f" and {more} more" if more > 0 else ""
        return f"No nameserver answered ({asked}); --lab starts one on this machine, to try the tool without a network."

    def _abandoned(self, query: Query, now: float) -> Result:
        if self._deadline.cancelled:
            status, error = Status.CANCELLED, "the run was interrupted"
        elif self._broken:
            status, error = Status.ERROR, self._broken
        elif self._deadline.passed:
            status, error = Status.DEADLINE, "the run's timeout passed"
        else:
            status, error = Status.ERROR, "the engine gave no result"
        self._untold |= query.attempts is None
        if query.attempts == 0:
            error += " before this was asked"
        return query.unanswered(status, error, self._engine.name, self._backend.name, now)

    def _pass_on(self, results: list[Result]) -> None:
        if not results:
            return
        self._results += len(results)
        self._queries_sent += sum([result.attempts or 0 for result in results])
        statuses = [result.status for result in results]
        usual = statuses.count(Status.NOERROR)
        if usual:
            self._statuses[Status.NOERROR] += usual
        if usual < len(statuses):
            self._statuses.update(status for status in statuses if status is not Status.NOERROR)
        try:
            self._sink(results)
        except BaseException as error:
            self._unsunk = error
            raise


class InOrder:
    """A sink that passes results on in the order of their index. `held` is how many wait for an earlier one.

    next_open: the first index from one on that a result will come of.
    """

    def __init__(self, sink: Sink, next_open: Callable[[int], int]) -> None:
        self._sink = sink
        self._next_open = next_open
        self._next = next_open(0)
        self._held: dict[int, Result] = {}

    def __call__(self, results: list[Result]) -> None:
        held = self._held
        held.update({result.index: result for result in results})
        ready = []
        while (result := held.pop(self._next, None)) is not None:
            ready.append(result)
            self._next = self._next_open(self._next + 1)
        if ready:
            self._sink(ready)

    @property
    def held(self) -> int:
        """How many results wait for an earlier one."""
        return len(self._held)


_ENDINGS = (Status.DEADLINE, Status.CANCELLED)


def failed(statuses: dict[str, int], *, strict: bool = False) -> bool:
    """Was some lookup not answered? With `strict`, an answer without data is none."""
    good = {Status.NOERROR} if strict else ANSWERED
    return any(count for status, count in statuses.items() if status not in good)

"""The joinall: one Result for every Query, whatever happens.

A Batch stands between the hosts, an engine and whoever wants the results. It hands out queries and remembers them; it
takes results, lets each pass once, and counts. When the engine is back, what it left undone gets its result here:
DEADLINE, CANCELLED, or ERROR where the engine broke; and the lines that were not read yet are read for theirs.
Memory is bounded by what is in flight, or, in input order, by `AHEAD`.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import msgspec

from resolver.blocks import BlockSink, LineFormat, OpenLookups
from resolver.input.plain import read_open
from resolver.intake import Intake
from resolver.model import Result, Status, count_statuses
from resolver.output.ordered import InOrder
from resolver.output.status import RunStatus, running
from resolver.output.summary import Summary
from resolver.stages import FurtherLookups

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import ExitStack

    from resolver.blocks import HostLines, ResultBlock
    from resolver.input.lookups import LookupSource
    from resolver.model import Query
    from resolver.output.tally import RunTally
    from resolver.policy import Deadline, Policy
    from resolver.seam import Backend, Engine
    from resolver.stages import Stage, StageMaker
    from resolver.wire.oneway import SendCounts

    Sink = Callable[[list[Result]], None]

T = TypeVar("T")

AHEAD = 50_000  # results that wait for an earlier one, where they are wanted in input order


class Plan(NamedTuple):
    """Run that is ready to begin; as a context it ends what still runs of it, and closes what was opened for it."""

    engine: Engine
    backend: Backend
    policy: Policy
    hosts: LookupSource
    deadline: Deadline
    opened: ExitStack
    stages: Sequence[StageMaker] = ()  # in the order in which results pass them

    def __enter__(self) -> Plan:
        return self

    def __exit__(self, *_: object) -> None:
        self.deadline.cancel()  # of a run that broke off, a second one may still go on (stages/trusted.py)
        self.opened.close()

    def summary(
        self, seconds: float, statuses: Mapping[str, int], results: int, queries: int, ended: str, note: str | None
    ) -> Summary:
        """Return the figures of the run so far."""
        return Summary(
            engine=self.engine.name,
            backend=self.backend.name,
            hosts_read=self.hosts.hosts_read,
            lookups=self.hosts.lookups,
            results_written=results,
            statuses={str(status): count for status, count in sorted(statuses.items()) if count},
            queries_sent=queries,
            seconds=round(seconds, 6),
            lookups_per_second=round((results or queries) / seconds, 1) if seconds else 0.0,
            input_complete=self.hosts.complete,
            ended=ended,
            note=note,
        )


class Batch:
    """Lookups of one run. An engine sees it as its Queries, and pushes results into `deliver`.

    Args:
        plan: The run.
        sink: Gets every result once, in lists, on the thread that the engine runs on; what it raises ends the run.
        ordered: Give the results in the order of the input.
        tick: Called again and again while the run goes on.
        lines: Gets the results that the engine has as lines, in place of the sink, where it can have them so.
        tally: Counts the results, for a page about the run.

    Attributes:
        statuses: How many results each status has so far.
        tallies: The counts of each nameserver so far.
    """

    def __init__(
        self,
        plan: Plan,
        sink: Sink,
        *,
        ordered: bool = False,
        tick: Callable[[], None] | None = None,
        lines: BlockSink | None = None,
        tally: RunTally | None = None,
    ) -> None:
        self._plan = plan
        self._hosts = hosts = plan.hosts
        self._deadline = plan.deadline
        self._order = InOrder(sink, hosts.next_open) if ordered else None
        self._sink: Sink = self._order or sink
        self._whole = ordered or bool(plan.stages) or hosts.rows is not None  # each result is looked at here
        self._lines = lines
        self.block_sink = None if self._whole or lines is None else BlockSink(lines.format, self._deliver_block)
        self._tally = tally
        self._open = OpenLookups()
        self._results = 0
        self._queries_sent = 0
        self._uncounted = False  # are there lookups of which nobody knows how often they were asked?
        self.statuses: Counter[str] = Counter()
        self.engine_error: str | None = None  # what the engine raised, as a sentence
        self._sink_error: BaseException | None = None  # what the sink raised
        self._further = FurtherLookups(plan.policy.variants)
        self._stages: list[Stage] = []
        self._take_results: Sink = self._pass_on
        for make in reversed(plan.stages):
            self._take_results = stage = make(self._further, self._take_results)
            self._stages.insert(0, stage)
        self._intake = Intake(hosts, plan.deadline, self._take_results, tick)
        self.tallies = self._further.tallies = self._intake.tallies

    def run(self) -> Summary:
        """Let the engine ask everything; returns when every lookup has its result.

        Raises what the hosts raise (OSError: the input cannot be read) and what the sink raises.
        """
        try:
            self._plan.engine.run(self, self._plan.policy, self._plan.backend, self.deliver)
        except Exception as error:
            self.engine_failed(error)
        for _ in self.finish():
            pass
        return self.summary()

    # --- What the engine sees.

    def take(self, n: int) -> list[Query] | None:
        """Take up to `n` queries; an empty list: there is none just now; None: no more will come."""
        if self._further.waiting and not self.ended:
            return self._further.take(n)
        if self._order is not None:
            n = min(n, AHEAD - len(self._order.held) - len(self._open))
        held = sum(len(stage.held) for stage in self._stages)
        queries = self._intake.take(min(n, AHEAD - held)) if held < AHEAD else []
        if queries is None and (held or (self._stages and self._open)):
            self._intake.look_again()
            return []
        if queries:
            self._open.queries.update({query.index: query for query in queries})
        return queries

    def take_lines(self, n: int) -> HostLines | None:
        """Take up to `n` queries as the lines that they stand in; None: `take` has the next ones."""
        lines = None if self._whole else self._intake.take_lines(n)
        if lines is not None:
            self._open.add_lines(lines)
        return lines

    def put_back(self, queries: list[Query]) -> None:
        """Keep these, which say how far they came, in place of the lines that they were taken in."""
        self._open.replace(queries)

    @property
    def ended(self) -> bool:
        """The run ends now."""
        return self._intake.ended

    def max_wait(self) -> float:
        """Seconds that an engine may wait at most before it asks again."""
        for stage in self._stages:
            stage.tick()
        wait = self._intake.max_wait()
        return 0.0 if self._further.waiting else wait

    def deliver(self, results: list[Result]) -> None:
        """Take these results; of a lookup that has one already, a further one is dropped."""
        if self._stages:
            results = self._further.deliver(results)
        # Lines are looked at here only where an engine has read them.
        opened, rest = self._open.queries, self._open.remove
        fresh = [result for result in results if opened.pop(result.index, None) is not None or rest(result.index)]
        self._take_results(fresh)

    def _deliver_block(self, block: ResultBlock) -> None:
        """Take these results, of lookups that have none yet."""
        if not block.lines:
            self.deliver(block.results())
            return
        indices = block.indices
        if not (
            self._open.remove_queries(indices)
            if isinstance(indices, list)
            else self._open.remove_all(block.bits, block.count)
        ):
            raise RuntimeError("the engine gave a result of a lookup that has one, or was never asked")
        assert self._lines is not None
        self._results += block.count
        self._queries_sent += block.queries
        self.statuses.update(block.statuses)
        if self._tally is not None:
            self._tally.add_block(block)
        self._give(self._lines.write, block)

    @property
    def further_queries(self) -> int:
        """Queries of the stages, which are no result's."""
        return self._further.queries_sent

    # --- What the engine left.

    def engine_failed(self, error: Exception) -> None:
        """Note what the engine raised. Raises it again where it came from the hosts or the sink."""
        if error is self._sink_error or error is self._intake.failure:
            raise error
        self.engine_error = f"the engine broke: {type(error).__name__}: {error}"

    def finish(self) -> Iterator[None]:
        """Give every lookup without a result its own, a pause after each few, in which the sink may be emptied."""
        for stage in self._stages:
            stage.finish()
        unfinished, invalid = read_open(self._open, self._plan.engine.name, self._plan.backend.name)
        self._open = OpenLookups()
        unfinished.sort(key=lambda query: query.index)
        self._take_results(invalid)
        now = time.monotonic()
        for at in range(0, len(unfinished), 1000):
            self._take_results([self._abandoned(query, now) for query in unfinished[at : at + 1000]])
            yield
        self._hosts.stop()
        while (got := self._hosts.take(1000)) is not None:
            queries, invalid = got
            self._take_results(invalid + [self._abandoned(query, now) for query in queries])
            yield

    def summary(self) -> Summary:
        """Return the figures so far."""
        summary = self._plan.summary(
            self._intake.seconds(),
            self.statuses,
            self._results,
            self._queries_sent + self._further.queries_sent,
            self._ended(),
            self.engine_error or self._silence(),
        )
        summary.probes = self._further.probes
        summary.nameservers = self.tallies.figures() or None
        summary.asked_last = self.tallies.asked_last() or msgspec.UNSET
        return summary

    def seconds(self) -> float:
        """Return the seconds since the engine was ready to take the first host."""
        return self._intake.seconds()

    def status(self) -> RunStatus:
        """Return how far the run has come."""
        return running(
            self._hosts,
            all_read=self._intake.all_read,
            results=self._results,
            in_flight=len(self._open) + sum(len(stage.held) for stage in self._stages),
            statuses=dict(sorted(self.statuses.items())),
            seconds=self._intake.seconds(),
        )

    def _ended(self) -> str:
        cut = self._further.unfinished or not self._hosts.complete
        if "CANCELLED" in self.statuses or (self._deadline.cancelled and cut):
            return "cancelled"
        if "DEADLINE" in self.statuses or (self._deadline.passed and cut):
            return "deadline"
        return "complete"

    def _silence(self) -> str | None:
        """Return a sentence where no nameserver said anything at all: people want to know that first."""
        heard = self.statuses.keys() - {Status.TIMEOUT, Status.ERROR, *_ENDINGS, Status.INVALID}
        if heard or not (self._queries_sent or self._uncounted):
            return None
        nameservers = self._plan.policy.nameservers
        asked = ", ".join(map(str, nameservers[:3])) or "the system's"
        more = len(nameservers) - 3
        asked += f" and {more} more" if more > 0 else ""
        return f"No nameserver answered ({asked}); --lab starts one on this machine, to try the tool without a network."

    def _abandoned(self, query: Query, now: float) -> Result:
        if self._deadline.cancelled:
            status, error = Status.CANCELLED, "the run was interrupted"
        elif self.engine_error:
            status, error = Status.ERROR, self.engine_error
        elif self._deadline.passed:
            status, error = Status.DEADLINE, "the run's timeout passed"
        else:
            status, error = Status.ERROR, "the engine gave no result"
        self._uncounted |= query.attempts is None
        if query.attempts == 0:
            error += " before this was asked"
        result = query.unanswered(status, error, self._plan.engine.name, self._plan.backend.name, now)
        if query.nameserver is not None:
            result.nameserver = str(self._plan.policy.nameservers[query.nameserver])
        return result

    def _pass_on(self, results: list[Result]) -> None:
        if not results:
            return
        if self._plan.policy.detail:
            for result in results:
                if result.detail is msgspec.UNSET:  # nobody answered
                    result.detail = None
        if (rows := self._hosts.rows) is not None:
            for result in results:
                result.row = rows.pop(result.index, None)
        self._results += len(results)
        self._queries_sent += sum([result.attempts or 0 for result in results])
        statuses = count_statuses([result.status for result in results])
        for status, count in statuses.items():
            self.statuses[status] += count
        if self._tally is not None:
            self._tally.add(results, statuses)
        self._give(self._sink, results)

    def _give(self, sink: Callable[[T], None], results: T) -> None:
        try:
            sink(results)
        except BaseException as error:
            self._sink_error = error
            raise


def send_all(plan: Plan, counts: SendCounts, tick: Callable[[], None] | None = None) -> Summary:
    """Send every query of a plan once, and await no reply: fire and forget (`--no-wait`).

    Nothing is remembered but how many queries went out.

    Args:
        plan: Its backend is a SendOnly.
        counts: Grow as the run goes on.
        tick: As a Batch has it.

    Raises:
        OSError: The hosts cannot be read.
    """
    intake = Intake(plan.hosts, plan.deadline, counts.add, tick)
    intake.block_sink = BlockSink(LineFormat("jsonl", only=("ERROR",)), counts.add_block)  # others are only counted
    plan.engine.run(intake, plan.policy, plan.backend, counts.add)
    ended = "cancelled" if plan.deadline.cancelled else "deadline" if plan.deadline.passed else "complete"
    plan.hosts.stop()
    statuses = {"INVALID": counts.invalid, "ERROR": counts.failed}
    note = f"{counts.failed} queries could not be sent ({counts.reason})." if counts.failed else None
    summary = plan.summary(intake.seconds(), statuses, 0, counts.sent, ended, note)
    summary.input_complete &= ended == "complete"
    summary.nameservers = intake.tallies.figures() or None
    return summary


_ENDINGS = (Status.DEADLINE, Status.CANCELLED)

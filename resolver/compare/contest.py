"""The contest: pairs of engine and backend, their lookups, the order of their runs, and running them.

All contestants have the same: the same list, read once; the same policy; the same number of lookups in flight, which a
backend's own default would make different (`CONCURRENCY`). The order of the runs is turned round each time: a change on
the machine meanwhile hits all of them.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec

from resolver import engines
from resolver.compare.agreement import Agreement, Answers
from resolver.compare.child import Spec, read_spool
from resolver.compare.figures import Tally
from resolver.compare.watch import ChildFailed, Interrupted, WaitLimits, watch
from resolver.extras import cure
from resolver.input.hosts import Hosts
from resolver.input.sources import Source
from resolver.policy import Policy
from resolver.seam import LimitedBackend
from resolver.spelling import check

# The most lookups in flight where the user names no number. Engines that need a thread or a green thread for each
# give themselves as many; the built-in backend would go up to 1,000, and dnspython's threads would not.
CONCURRENCY = 128


class Contestant(msgspec.Struct, frozen=True):
    """An engine with a backend."""

    engine: str
    backend: str

    @property
    def name(self) -> str:
        """ENGINE:BACKEND."""
        return f"{self.engine}:{self.backend}"


class LeftOut(Contestant, frozen=True):
    """A pair that is not compared, and why."""

    reason: str


class Cell(Contestant, frozen=True):
    """The subject of runs: a contestant with a timeout (seconds; None: no end)."""

    timeout: float | None

    def __str__(self) -> str:
        return self.name if self.timeout is None else f"{self.name} {self.timeout:g} s"


class Conditions(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of all. `timeouts`: seconds, null: no end. `concurrency_chosen`: the user named no number."""

    types: list[str]
    timeouts: list[float | None]
    repeat: int
    query_timeout: float
    tries: int
    concurrency: int
    concurrency_chosen: bool
    rate: float | None


class Participants(NamedTuple):
    """The contestants, and the pairs left out. `policy` names the nameservers that are asked."""

    contestants: list[Contestant]
    left_out: list[LeftOut]
    policy: Policy


def choose(named: Sequence[str], backends: Sequence[str], types: Sequence[str], policy: Policy) -> Participants:
    """Choose the contestants: those named as ENGINE or ENGINE:BACKEND, or every pair that is installed and can.

    Args:
        named: ENGINE, or ENGINE:BACKEND; empty: every pair.
        backends: Those of an ENGINE without one (empty: wire), or, where nobody is named, of all.
        types: Record types that are asked.
        policy: That of all.

    Raises:
        ValueError: A name is none, or a named pair cannot do what is asked.
        LookupError: A named pair is not installed.
        OSError: A file of certificates or nameservers cannot be read.
    """
    for backend in backends:
        check("backend", backend, engines.BACKENDS)
    pairs = {Contestant(pair.engine, pair.backend): pair for pair in engines.pairs()}
    chosen = [each for each in pairs if not backends or each.backend in backends]
    if named:
        chosen = list(dict.fromkeys(each for word in named for each in _contestants(word, backends)))
    missing = [each for each in chosen if each not in pairs or not pairs[each].installed]
    if named and missing:
        engines.find(missing[0].engine, missing[0].backend)  # raises, and names the cure
    left_out = [LeftOut(each.engine, each.backend, f"not installed: {cure(pairs[each].extra)}") for each in missing]
    found = Participants([], left_out, policy)
    for each in [each for each in chosen if each not in missing]:
        try:
            prepared = _prepared(each.backend, types, policy)
        except ValueError as error:
            if named:
                raise ValueError(f"{each.name}: {error}") from None
            left_out.append(LeftOut(each.engine, each.backend, str(error)))
            continue
        found.contestants.append(each)
        if prepared.nameservers and not found.policy.nameservers:
            found = found._replace(policy=prepared)
    if not found.contestants:
        reasons = dict.fromkeys(each.reason for each in left_out)
        raise ValueError(f"there is nothing to compare: {'; '.join(reasons) or 'no engine has that backend'}")
    return found


def _contestants(word: str, backends: Sequence[str]) -> list[Contestant]:
    engine, colon, backend = word.partition(":")
    return [Contestant(engine, each) for each in ([backend] if colon else backends or ("wire",))]


def _prepared(backend: str, types: Sequence[str], policy: Policy) -> Policy:
    """Return the policy as this backend would have it. Raises ValueError where it cannot do what is asked."""
    try:
        asker = importlib.import_module(engines.BACKENDS[backend].module).backend
    except ImportError:
        # Installed and broken: an error of its runs, not of the comparison.
        return policy
    if isinstance(asker, LimitedBackend):
        asker.check_types(types)
    prepared: Policy = asker.prepare(policy)
    return prepared


class Lookups(NamedTuple):
    """The lookups of all contestants. `file` holds the hosts, one a line; `of` is host and type of each lookup."""

    hosts: int
    invalid: int
    of: list[tuple[str, str]]
    file: str


def read(sources: Sequence[Source], types: Sequence[str], file: str) -> Lookups:
    """Read the hosts to their end, once, and write those that can be asked into this file.

    Raises:
        OSError: They cannot be read.
        ValueError: There is none to ask.
    """
    # One type for now: one lookup is one host, and of an address the type is PTR whatever is asked.
    reading = Hosts(sources, ("A",), "", "")
    of: list[tuple[str, str]] = []
    invalid = 0
    with open(file, "w", encoding="utf-8") as lines:
        for queries, bad in reading.batches():
            invalid += len(bad)
            for query in queries:
                # A host of the command line may begin with what begins a comment in a list: as an escape it does not.
                host = query.input
                lines.write(f"\\035{host[1:]}\n" if host.startswith("#") else f"{host}\n")
                of += [(host, each) for each in (types if query.type == "A" else (query.type,))]
    reading.close()
    if not of:
        raise ValueError("there is no host to look up")
    return Lookups(reading.hosts_read, invalid, of, file)


def order(contestants: Sequence[Contestant], timeouts: Sequence[float | None], repeat: int) -> list[Cell]:
    """Return the runs: A B C, C B A, A B C, …, where each letter is a contestant with one of the timeouts."""
    cells = [Cell(each.engine, each.backend, timeout) for timeout in timeouts for each in contestants]
    return [cell for number in range(repeat) for cell in (reversed(cells) if number % 2 else cells)]


class CellRuns(NamedTuple):
    """One cell's runs: their figures, their curves, and the errors of those that failed."""

    runs: list[dict[str, float | None]]
    curves: list[list[float | None]]
    errors: list[str]


class Contest:
    """All runs of a comparison, one after the other. Finished ones can be read at any time.

    Args:
        participants: The contestants.
        lookups: The same for each of them.
        settings: Of all runs, with the timeouts, each of which makes runs of its own.
        policy: That of the children, without a timeout.
    """

    def __init__(self, participants: Participants, lookups: Lookups, settings: Conditions, policy: Policy) -> None:
        self.participants = participants
        self.lookups = lookups
        self.settings = settings
        self.runs = order(participants.contestants, settings.timeouts, settings.repeat)
        self.rows = {cell: CellRuns([], [], []) for cell in self.runs}
        self.done = 0
        self.seconds = 0.0
        self.statuses: Counter[str] = Counter()  # of the runs that are done
        self._policy = policy
        self._answers = Answers(len(lookups.of))

    def go(self, tick: Callable[[], None]) -> None:
        """Run everything.

        Args:
            tick: Called again and again; it ends it all by raising Interrupted.

        Raises:
            OSError: The temporary directory takes no more.
        """
        began = time.monotonic()
        with contextlib.suppress(Interrupted):
            for cell in self.runs:
                tick()
                with tempfile.TemporaryDirectory(prefix="resolve-compare-") as directory:
                    self._run(cell, os.path.join(directory, "results"), tick)
                self.done += 1
        self.seconds = time.monotonic() - began

    def agreement(self) -> Agreement:
        """Compare the answers, over the runs so far."""
        return self._answers.agreement(self.lookups.of)

    def _run(self, cell: Cell, spool: str, tick: Callable[[], None]) -> None:
        row, total = self.rows[cell], len(self.lookups.of)
        policy = msgspec.structs.replace(self._policy, timeout=cell.timeout)
        spec = Spec(cell.engine, cell.backend, self.settings.types, policy, self.lookups.file, spool)
        try:
            cost = watch(spec, wait_limits(policy), tick)
        except ChildFailed as error:
            row.errors.append(str(error))
            return
        tally = Tally(total, cost, cell.timeout)
        with open(spool, "rb") as file:
            for when, batch in read_spool(file):
                tally.add(when, batch)
                self._answers.add(cell.name, batch)
                self.statuses.update(result.status for result in batch)
        if tally.results != total:
            row.errors.append(f"it gave {tally.results:,} results for {total:,} lookups, which is a bug of the engine")
            return
        row.runs.append(tally.figures())
        row.curves.append(tally.curve())


def wait_limits(policy: Policy) -> WaitLimits:
    """Return how long a child may be silent: twice the longest lookup of this policy, and how slow the rate is."""
    usual = WaitLimits()
    longest = 4 * policy.query_timeout + (2 / policy.rate if policy.rate else 0)
    return usual._replace(silent=usual.silent + longest)

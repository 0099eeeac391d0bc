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
from resolver.compare.watch import ChildFailed, Interrupted, Patience, watch
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


class Field(NamedTuple):
    """The contestants, and the pairs left out. `policy` names the nameservers that are asked."""

    contestants: list[Contestant]
    left_out: list[LeftOut]
    policy: Policy


def field(named: Sequence[str], backends: Sequence[str], types: Sequence[str], policy: Policy) -> Field:
    """Choose the contestants: those named as ENGINE or ENGINE:BACKEND, or every pair that is installed and can.

    backends: those of an ENGINE without one (none given: wire), or, where nobody is named, of all.
    Raises ValueError for a name that is none and for a named pair that cannot do what is asked, LookupError for one
    that is not installed, OSError for a file that cannot be read.
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
    field = Field([], left_out, policy)
    for each in [each for each in chosen if each not in missing]:
        try:
            prepared = _prepared(each.backend, types, policy)
        except ValueError as error:
            if named:
                raise ValueError(f"{each.name}: {error}") from None
            left_out.append(LeftOut(each.engine, each.backend, str(error)))
            continue
        field.contestants.append(each)
        if prepared.nameservers and not field.policy.nameservers:
            field = field._replace(policy=prepared)
    if not field.contestants:
        reasons = dict.fromkeys(each.reason for each in field.left_out)
        raise ValueError(f"there is nothing to compare: {'; '.join(reasons) or 'no engine has that backend'}")
    return field


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

    Raises OSError where they cannot be read, ValueError where there is none to ask.
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


class Row(NamedTuple):
    """One cell's runs: their figures, their curves, and the errors of those that failed."""

    runs: list[dict[str, float | None]]
    curves: list[list[float | None]]
    errors: list[str]


class Contest:
    """All runs of a comparison, one after the other. Finished ones can be read at any time.

    Args:
        field: Who runs.
        lookups: What is looked up.
        types: The record types.
        policy: That of all; a run's timeout is added.
        runs: In their order.
    """

    def __init__(
        self, field: Field, lookups: Lookups, types: Sequence[str], policy: Policy, runs: Sequence[Cell]
    ) -> None:
        self.field = field
        self.lookups = lookups
        self.runs = runs
        self.rows = {cell: Row([], [], []) for cell in runs}
        self.done = 0
        self.seconds = 0.0
        self.statuses: Counter[str] = Counter()  # of the runs that are done
        self._types = list(types)
        self._policy = policy
        self._answers = Answers(len(lookups.of))

    def go(self, tick: Callable[[], None]) -> None:
        """Run everything. `tick` is called again and again, and ends it all by raising Interrupted.

        Raises OSError where the temporary directory takes no more.
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
        spec = Spec(cell.engine, cell.backend, self._types, policy, self.lookups.file, spool)
        try:
            seen = watch(spec, patience_for(policy), tick)
        except ChildFailed as error:
            row.errors.append(str(error))
            return
        tally = Tally(total, seen, cell.timeout)
        with open(spool, "rb") as file:
            for when, batch in read_spool(file):
                tally.add(when, batch)
                self._answers.add(cell.name, batch)
                self.statuses.update(part.status for part in batch)
        if tally.results != total:
            row.errors.append(f"it gave {tally.results:,} results for {total:,} lookups, which is a bug of the engine")
            return
        row.runs.append(tally.figures())
        row.curves.append(tally.curve())


def patience_for(policy: Policy) -> Patience:
    """Return how long a child may be silent: twice the longest lookup of this policy, and how slow the rate is."""
    usual = Patience()
    longest = 4 * policy.query_timeout + (2 / policy.rate if policy.rate else 0)
    return usual._replace(silent=usual.silent + longest)

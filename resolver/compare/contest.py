"""What is compared: which pairs of engine and backend, on which lookups, in which order; and the going through it.

The one thing to know before changing anything here: all have the same. The same list, read once; the same policy; the
same number of lookups in flight, which a backend's own default would make different (`CONCURRENCY`); and the order of
the runs is turned round each time, so that what changes on the machine meanwhile hits all of them.
"""

from __future__ import annotations

import importlib
import os
import select
import tempfile
import time
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from resolver import engines
from resolver.compare.agreement import Agreement, Answers
from resolver.compare.figures import Figures, Tally
from resolver.compare.spec import Spec, read_spool
from resolver.compare.watch import CHILD, ChildFailed, Interrupted, Patience, watch
from resolver.input.hosts import Hosts
from resolver.seam import LimitedBackend

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from resolver.input.sources import Source
    from resolver.policy import Policy

# The most lookups in flight where the user names no number. It is what the engines that need a thread or a green
# thread for each give themselves; the built-in backend would go up to 1,000, and dnspython's threads would not.
CONCURRENCY = 128


class Contestant(NamedTuple):
    """An engine with a backend."""

    engine: str
    backend: str

    def __str__(self) -> str:
        return f"{self.engine}:{self.backend}"


class LeftOut(msgspec.Struct, frozen=True):
    """A pair that is not compared, and why."""

    engine: str
    backend: str
    reason: str


class Field(NamedTuple):
    """Who takes part, and who does not. `policy` names the nameservers that are asked."""

    contestants: list[Contestant]
    left_out: list[LeftOut]
    policy: Policy


def field(named: Sequence[str], backends: Sequence[str], types: Sequence[str], policy: Policy) -> Field:
    """Who takes part: those that are named as ENGINE or ENGINE:BACKEND, or every pair that is installed and can.

    backends: those of an ENGINE without one (none given: wire), or, where nobody is named, of all.
    Raises ValueError for a name that is none and for a named pair that cannot do what is asked, LookupError for one
    that is not installed, OSError for a file that cannot be read.
    """
    for backend in backends:
        if backend not in engines.BACKENDS:
            raise ValueError(f"there is no backend {backend!r}; valid: {', '.join(engines.BACKENDS)}")
    left_out: list[LeftOut] = []
    if named:
        chosen = [Contestant(*pair) for word in named for pair in _pairs_of(word, backends)]
        contestants = list(dict.fromkeys(chosen))
    else:
        contestants = []
        for pair in engines.pairs():
            if backends and pair.backend not in backends:
                continue
            if pair.installed:
                contestants.append(Contestant(pair.engine, pair.backend))
            else:
                left_out.append(LeftOut(pair.engine, pair.backend, f"not installed: {engines.cure(pair.extra)}"))
    taking_part = []
    asked = policy
    for each in contestants:
        if named:
            _check(each)
        try:
            prepared = _prepared(each.backend, types, policy)
            asked = prepared if prepared.nameservers and not asked.nameservers else asked
            taking_part.append(each)
        except ValueError as error:
            if named:
                raise ValueError(f"{each}: {error}") from None
            left_out.append(LeftOut(*each, str(error)))
    if not taking_part:
        reasons = dict.fromkeys(each.reason for each in left_out)
        raise ValueError(f"there is nothing to compare: {'; '.join(reasons) or 'no engine has that backend'}")
    return Field(taking_part, left_out, asked)


def _pairs_of(word: str, backends: Sequence[str]) -> Iterable[tuple[str, str]]:
    engine, colon, backend = word.partition(":")
    return [(engine, backend)] if colon else [(engine, each) for each in backends or ("wire",)]


def _check(each: Contestant) -> None:
    """Raises what `engines.find` raises, without importing what works."""
    installed = {(pair.engine, pair.backend): pair.installed for pair in engines.pairs()}
    if not installed.get((each.engine, each.backend)):
        engines.find(each.engine, each.backend)


def _prepared(backend: str, types: Sequence[str], policy: Policy) -> Policy:
    """The policy as this backend would have it. Raises ValueError where it cannot do what is asked."""
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
    """What everybody is asked. `file` holds the hosts, one a line; `of` is host and type of each lookup."""

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
        while (got := reading.take(1000)) is not None:
            queries, bad = got
            invalid += len(bad)
            for query in queries:
                # A host of the command line may begin with what begins a comment in a list: as an escape it does not.
                host = query.input
                lines.write(f"\\035{host[1:]}\n" if host.startswith("#") else f"{host}\n")
                of += [(query.input, each) for each in (types if query.type == "A" else (query.type,))]
            if not queries and not bad and (fd := reading.waitable()) is not None:
                select.select([fd], [], [])
    reading.close()
    if not of:
        raise ValueError("there is no host to look up")
    return Lookups(reading.hosts_read, invalid, of, file)


class Cell(NamedTuple):
    """What has runs: a contestant with a timeout (seconds; None: no end)."""

    contestant: Contestant
    timeout: float | None


def order(contestants: Sequence[Contestant], timeouts: Sequence[float | None], repeat: int) -> list[Cell]:
    """The runs: A B C, C B A, A B C, …, where each letter is a contestant with one of the timeouts."""
    cells = [Cell(contestant, timeout) for timeout in timeouts for contestant in contestants]
    return [cell for number in range(repeat) for cell in (reversed(cells) if number % 2 else cells)]


class Row:
    """One cell's runs: their figures, their curves, and what went wrong in those that came to nothing."""

    def __init__(self, cell: Cell) -> None:
        self.cell = cell
        self.runs: list[Figures] = []
        self.curves: list[list[float | None]] = []
        self.errors: list[str] = []


class Contest:
    """All runs of a comparison, one after the other. What is finished can be read at any time."""

    def __init__(self, runs: Sequence[Cell], lookups: Lookups, types: Sequence[str], policy: Policy) -> None:
        self.rows = {cell: Row(cell) for cell in runs}
        self.runs = runs
        self.done = 0
        self.seconds = 0.0
        self._lookups = lookups
        self._types = list(types)
        self._policy = policy
        self._answers = Answers(len(lookups.of))

    def go(
        self,
        tick: Callable[[], None] | None = None,
        patience: Patience = Patience(),  # noqa: B008  # an immutable tuple
        command: Sequence[str] = CHILD,
    ) -> None:
        """Run everything. `tick` is called again and again, and ends it all by raising Interrupted.

        Raises OSError where the temporary directory takes no more.
        """
        began = time.monotonic()
        try:
            for cell in self.runs:
                if tick is not None:
                    tick()
                with tempfile.TemporaryDirectory(prefix="resolve-compare-") as directory:
                    self._run(cell, os.path.join(directory, "results"), tick, patience, command)
                self.done += 1
        except Interrupted:
            pass
        self.seconds = time.monotonic() - began

    def agreement(self) -> Agreement:
        """Whether the answers are the same, over the runs so far."""
        return self._answers.agreement(self._lookups.of)

    def _run(
        self, cell: Cell, spool: str, tick: Callable[[], None] | None, patience: Patience, command: Sequence[str]
    ) -> None:
        row, total = self.rows[cell], len(self._lookups.of)
        policy = msgspec.structs.replace(self._policy, timeout=cell.timeout)
        spec = Spec(*cell.contestant, self._types, policy, self._lookups.file, spool, total)
        try:
            seen = watch(spec, patience, tick, command)
        except ChildFailed as error:
            row.errors.append(str(error))
            return
        tally = Tally(total)
        with open(spool, "rb") as file:
            for when, batch in read_spool(file):
                tally.add(when, batch)
                self._answers.add(str(cell.contestant), batch)
        if tally.results != total:
            row.errors.append(f"it gave {tally.results:,} results for {total:,} lookups, which is a bug of the engine")
            return
        row.runs.append(tally.figures(seen, cell.timeout))
        row.curves.append(tally.curve())


def patience_for(policy: Policy) -> Patience:
    """How long a child of this policy may be silent: what one lookup may take, twice, and how slow the rate is."""
    usual = Patience()
    longest = 4 * policy.query_timeout + (2 / policy.rate if policy.rate else 0)
    return usual._replace(silent=usual.silent + longest)

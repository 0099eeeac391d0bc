"""The stage of `--wildcards`: says of each result whether a wildcard made it (RFC 4592).

At each parent of a name that was answered, from the nearest one upwards, random labels are asked: where they are
answered alike, a wildcard there or above makes both. What is learned about a parent and type is remembered, so a list
of words before one domain costs a few probes. Answers are compared as sets of type and data: a pool of addresses of
which each reply shows some is told by several probes, and data that holds the label that was asked by putting the other
label in its place. Where every random name has data of its own, however many are asked, a name there is taken to be
made too if its records are of the same types: a real one beside it cannot be told from it.

A name is found out by its own parent; which wildcard it was takes the parents above: one that answers alike is the
owner, unless the parent below it exists by itself, for a wildcard does not reach past a name that exists.
"""

from __future__ import annotations

import random
import re
from functools import lru_cache
from typing import TYPE_CHECKING

from resolver.dns.name import LONGEST, from_text
from resolver.model import ANSWERED, Result, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from resolver.stages import FurtherLookups, Sink

REMEMBERED = 100_000  # parents and types
LABEL = 16  # characters of a random label: so many that no zone has it
SHORTEST = 3  # where the parent leaves no room for more
AGREE = 10  # probes that agree before an answer unlike theirs is taken for another name's
SURE = 20  # the same in the end: each further name that differs adds a probe until then
UNSEEN = 15  # probes in a row that bring nothing new, until a pool is taken to be known
POOL = 120  # probes for a pool, at most
STRANGERS = 20  # answers that have nothing in common, until every name is taken to have its own
FAILURES = 3  # probes that fail, until a parent of which nothing else is known is left untested
NONE = 2  # probes that find nothing, until a parent of several names is taken to have no wildcard: a reply may be wrong

_LABEL = re.compile(r"(?:[^.\\]|\\.)+\.")  # of a name in presentation format, with its dot
_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
_HOLE = "\0"  # stands for the label in data that holds it; no presentation format has it

Data = frozenset[tuple[str, str]]  # type and data of each record of an answer
Trials = list[tuple[Result, "Iterator[ProbedParent]"]]  # results, and what finds out about them


class Wildcards:
    """The stage. All its further lookups are probes, those for the owner too."""

    def __init__(self, further: FurtherLookups, sink: Sink, chance: random.Random | None = None) -> None:
        self._further = further
        self._sink = sink
        self._chance = chance or random.Random()
        self._known = lru_cache(REMEMBERED)(ProbedParent)  # trials that wait for one that is forgotten keep it
        self._wanting: dict[ProbedParent, None] = {}  # parents that may want more probes than were asked
        self.held: dict[int, Result] = {}  # those that wait for the probes of their parents
        further.probes = 0

    def __call__(self, results: list[Result]) -> None:
        """Take results; those that were answered with records wait until their parents are known."""
        finished = []
        for result in results:
            if result.status is not Status.NOERROR:
                result.wildcard = None
                finished.append(result)
                continue
            self.held[result.index] = result
            finished += self._decided([(result, self._trial(result))])
        self._probe()
        self._sink(finished)

    def tick(self) -> None:
        """Do nothing: only replies bring it on."""

    def finish(self) -> None:
        """Pass on what is held, as not tested."""
        results = list(self.held.values())
        self.held.clear()
        for result in results:
            self._further.leave(result, "it was known whether a wildcard made it")
        self._sink(results)

    def _trial(self, result: Result) -> Iterator[ProbedParent]:
        """Find out whether a wildcard made a result; yields a parent where its probes have to come back first."""
        result.wildcard = None
        name, data = result.name or ".", data_of(result)
        owner: str | None = None  # the highest parent whose wildcard makes it so far
        doubted = False  # it differed from what a wildcard was seen to make, and had one more probe sent for that
        ends = [match.end() for match in _LABEL.finditer(name)]
        for level, above in enumerate(name[end:] for end in ends if end < len(name)):  # the nearest first
            parent = self._parent(above, result)
            if parent.room < SHORTEST:
                continue
            parent.names += parent.names < NONE
            made = None
            while made is None:
                made = parent.makes(data, _relative(name, above))
                if made is False and not doubted and parent.doubtful:
                    doubted = True
                    parent.wanted += 1
                    made = None
                if made and owner is not None:
                    below = self._parent(owner, result)
                    if not below.looked_at:
                        self._look(below)
                        yield below
                        made = None
                        continue
                    # What the wildcard above it makes is no name of its own.
                    made = below.own is not None and parent.makes(below.own, _relative(owner, above))
                if made is None:
                    yield parent
            if not made:
                if level == 0 and not parent.failed:
                    result.wildcard = False
                break
            owner = above
        if owner is not None:
            result.wildcard = f"*.{owner}"

    def _decided(self, trials: Trials) -> list[Result]:
        """Go on with trials as far as what is known leads; returns the results that wait for no probe any more."""
        decided = []
        for result, trial in trials:
            if result.index not in self.held:  # it was passed on at the end of the run
                continue
            if (parent := next(trial, None)) is None:
                decided.append(self.held.pop(result.index))
            else:
                # All that wait for a parent say first what they want, so that its probes go out together.
                parent.waiting.append((result, trial))
                self._wanting[parent] = None
        return decided

    def _parent(self, name: str, result: Result) -> ProbedParent:
        return self._known(name, result.type, self._further.like(result.index))

    def _probe(self) -> None:
        """Ask the probes that are wanted."""
        wanting, self._wanting = self._wanting, {}
        for parent in wanting:
            for _ in range(parent.asked, parent.wanted):
                label = "".join(self._chance.choices(_LETTERS, k=min(LABEL, parent.room)))
                parent.asked += 1

                def answered(result: Result, parent: ProbedParent = parent, label: str = label) -> None:
                    parent.learn(result, label)
                    if parent.asked == parent.probed:
                        self._go_on(parent)

                self._ask(f"{label}.{parent.name}", parent, answered)

    def _look(self, below: ProbedParent) -> None:
        """Find out what a parent itself is answered with."""
        if below.looking:
            return
        below.looking = True

        def answered(result: Result) -> None:
            below.looked_at = True
            below.own = data_of(result) if result.status is Status.NOERROR else None
            self._go_on(below)

        self._ask(below.name, below, answered)

    def _ask(self, name: str, parent: ProbedParent, answered: Callable[[Result], None]) -> None:
        self._further.probes = (self._further.probes or 0) + 1
        self._further.ask(name, parent.type, answered, like=parent.like)

    def _go_on(self, parent: ProbedParent) -> None:
        waiting, parent.waiting = parent.waiting, []
        finished = self._decided(waiting)
        self._probe()
        self._sink(finished)


class ProbedParent:
    """A parent and type, and what probes have told of it.

    Args:
        name, type_: The parent and the type.
        like: An index of the variant that it is probed for.

    Attributes:
        room: Octets that a label before it may have.
        wanted, asked, probed: Probes that are needed, were sent, and came back.
        failures: Those that came back with an error, which proves nothing.
        missing: Those that came back without an answer.
        names: Results that it was probed for, up to NONE.
        looked_at: The parent itself was looked up.
        own: What it has itself.
    """

    __slots__ = (
        "asked", "failures", "first", "like", "looked_at", "looking", "met", "missing", "name", "names", "own",
        "probed", "room", "seen", "type", "unseen", "varies", "waiting", "wanted",
    )  # fmt: skip

    def __init__(self, name: str, type_: str, like: int) -> None:
        self.name = name
        self.type = type_
        self.like = like
        self.room = min(63, LONGEST - 1 - len(from_text(name)))
        self.wanted = self.asked = self.probed = self.failures = self.missing = self.names = 0
        self.varies = False
        self.first: Data | None = None  # with _HOLE where the label was
        self.seen: Data | None = None  # by any probe
        self.unseen = 0  # probes in a row that saw nothing new
        self.met = False  # two of them had some data in common
        self.own: Data | None = None
        self.looking = self.looked_at = False
        self.waiting: Trials = []

    @property
    def failed(self) -> bool:
        """Whether nothing is known of it, for all that was tried."""
        return self.probed == self.failures >= FAILURES

    @property
    def doubtful(self) -> bool:
        """Whether its wildcard may yet turn out to give more than one answer."""
        return self.first is not None and not self.varies and self.wanted < SURE

    @property
    def answers(self) -> int:
        """Probes that were answered with records."""
        return self.probed - self.failures - self.missing

    @property
    def endless(self) -> bool:
        """Whether every name has data of its own there, which tell no name from another."""
        return not self.met and self.answers >= STRANGERS

    def learn(self, result: Result, label: str) -> None:
        """Take the result of a probe."""
        self.probed += 1
        if result.status not in ANSWERED:
            self.failures += 1
        elif result.status is not Status.NOERROR:
            self.missing += 1
        else:
            data = frozenset((kind, text.replace(label, _HOLE)) for kind, text in data_of(result))
            if self.first is None or self.seen is None:
                self.first = self.seen = data
                return
            self.unseen = self.unseen + 1 if data <= self.seen else 0
            self.met |= not data.isdisjoint(self.seen)
            self.seen |= data
            self.varies |= data != self.first

    def makes(self, data: Data, relative: str) -> bool | None:
        """Tell whether the wildcard answers so for these labels; None: that takes the probes that are `wanted` now."""
        if self.failed or (self.first is None and self.missing >= NONE):
            return False
        if self.asked > self.probed:
            return None
        agreed = self.probed - self.failures
        if self.first is None or self.seen is None:
            if self.missing >= self.names or (self.missing and self.failures >= FAILURES):
                return False
            self.wanted = self.probed + self.names - self.missing
        elif not self.varies:
            if data == _filled(self.first, relative):
                return True
            if agreed >= AGREE or self.probed >= POOL:
                return False
            self.wanted = self.probed + AGREE - agreed
        elif self.endless:
            return _types(data) <= _types(self.seen)
        elif self.unseen < UNSEEN and self.probed < POOL:
            more = UNSEEN - self.unseen
            self.wanted = self.probed + (more if self.met else min(more, STRANGERS - self.answers))
        else:
            return not data.isdisjoint(_filled(self.seen, relative))
        return None


def data_of(result: Result) -> Data:
    """Return what answers are compared by: type and data of each record, without owners, TTLs and letter case."""
    return frozenset((record.type, record.data.lower()) for record in result.answers)


def _types(data: Data) -> set[str]:
    return {kind for kind, _ in data}


def _filled(data: Data, relative: str) -> Data:
    return frozenset((kind, text.replace(_HOLE, relative)) for kind, text in data)


def _relative(name: str, parent: str) -> str:
    return name[: len(name) - len(parent) - 1]

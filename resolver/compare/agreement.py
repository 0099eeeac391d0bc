"""The answers of all contestants to each lookup, compared, in memory of a few octets for each of them.

Answers are compared as sets of data of the type that was asked: the C library tells no CNAMEs and no TTLs, and the
order of records means nothing. That a host exists without the type, or does not exist, is an answer too. A lookup that
was not answered (TIMEOUT, DEADLINE, an error code) says nothing, and is no disagreement.

Nameservers give different answers to the same question (round robin, content networks): one contestant may disagree
with itself. Such a host is part apart, as changing.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence

import msgspec

from resolver.model import ANSWERED, Result, Status

NAMED = 1000  # differing lookups that are named in full
_SILENT = 0  # the number of no answer


class Said(msgspec.Struct, frozen=True):
    """An answer, and which contestants gave it."""

    status: str
    data: list[str]
    by: list[str]


class Difference(msgspec.Struct, frozen=True):
    """A lookup with more than one answer. `changing`: some contestant gave several by itself, from run to run."""

    index: int
    host: str
    type: str
    changing: bool
    answers: list[Said]


class Agreement(msgspec.Struct, frozen=True):
    """Counts of the lookups that at least two contestants answered, of those that differ, and of those that change.

    A changing lookup is not counted as differing. `differences` names both, the first `NAMED` of them.
    """

    compared: int
    differing: int
    changing: int
    differences: list[Difference]


class Answers:
    """The answers of each contestant to each of `lookups`, over all of its runs."""

    def __init__(self, lookups: int) -> None:
        self._lookups = lookups
        self._numbers: dict[tuple[str, ...], int] = {}  # an answer, status first, to its number
        self._first: dict[str, array[int]] = {}  # contestant -> number of its first answer to each lookup
        self._further: dict[str, dict[int, set[int]]] = {}  # contestant -> lookup -> numbers of its other answers

    def add(self, contestant: str, batch: Iterable[Result]) -> None:
        """Add results of a run of this contestant."""
        first = self._first.get(contestant)
        if first is None:
            first = self._first[contestant] = array("I", bytes(array("I").itemsize * self._lookups))
            self._further[contestant] = {}
        numbers = self._numbers
        for result in batch:
            if result.status not in ANSWERED:
                continue
            answer = (result.status, *sorted({each.data for each in result.answers if each.type == result.type}))
            if result.status != Status.NOERROR:
                answer = answer[:1]
            number = numbers.setdefault(answer, len(numbers) + 1)
            index = result.index
            if not first[index]:
                first[index] = number
            elif first[index] != number:
                self._further[contestant].setdefault(index, set()).add(number)

    def agreement(self, lookups: Sequence[tuple[str, str]]) -> Agreement:
        """Return where they agree; `lookups` gives host and type of an index."""
        texts = {number: answer for answer, number in self._numbers.items()}
        names = list(self._first)
        compared = differing = changing = 0
        differences: list[Difference] = []
        further = {index for each in self._further.values() for index in each}
        for index, numbers in enumerate(zip(*self._first.values(), strict=True)):
            answered = [number for number in numbers if number != _SILENT]
            compared += len(answered) > 1
            changes = index in further
            if not changes and len({*answered}) < 2:
                continue
            changing += changes
            differing += not changes
            if len(differences) < NAMED:
                by: dict[int, list[str]] = {}
                for name, number in zip(names, numbers, strict=True):
                    for each in sorted({number, *self._further[name].get(index, ())} - {_SILENT}):
                        by.setdefault(each, []).append(name)
                said = [Said(texts[number][0], list(texts[number][1:]), who) for number, who in by.items()]
                differences.append(Difference(index, *lookups[index], changes, said))
        return Agreement(compared, differing, changing, differences)

"""Selection of the results that are written (`--only`), and the words that name statuses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resolver.model import ANSWERED, Status
from resolver.output.lines import asked_for
from resolver.spelling import meant

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from resolver.model import Result

# Words for several statuses: those of ANSWERED, and every other.
ANSWERED_WORD, UNANSWERED = "answered", "unanswered"
DIFFERING = "differing"
WORDS = (ANSWERED_WORD, UNANSWERED, *Status)  # for `--only`


class Selection:
    """Results that are written: those with one of these statuses. Counts and exit status stay those of all.

    Args:
        words: Statuses, in any case; also `answered` and `unanswered`.

    Raises:
        ValueError: A word names no status.
    """

    def __init__(self, words: Iterable[str]) -> None:
        self.words = tuple(words)
        named = statuses_of(self.words, (ANSWERED_WORD, UNANSWERED))
        answered = ANSWERED if ANSWERED_WORD in named else ANSWERED & named
        self._but = UNANSWERED in named  # all results but those with one of the statuses
        chosen = ANSWERED - answered if self._but else answered | (named - {ANSWERED_WORD})
        self._statuses = tuple(chosen)  # a set would call Enum's __hash__, in Python, for each result
        self.shown = 0

    def of(self, results: list[Result]) -> list[Result]:
        """Return those of the results that are selected, and count them."""
        chosen = [result for result in results if (result.status in self._statuses) is not self._but]
        self.shown += len(chosen)
        return chosen


class Differing:
    """Results of the questions on which the nameservers do not agree, where each is asked (`--only differing`).

    Statuses and answers are compared, as sets and without TTLs. Results are held until each nameserver's is in, so
    memory is bounded by the hosts in flight.

    Args:
        nameservers: How many nameservers are asked each question.
        subnets: How many subnets are asked for; 0: none.
    """

    def __init__(self, nameservers: int, subnets: int = 0) -> None:
        self._nameservers = nameservers
        self._subnets = subnets or 1
        self._held: dict[tuple[int, int], list[Result]] = {}
        self.shown = 0

    def of(self, results: list[Result]) -> list[Result]:
        """Return the results of the questions that are complete by now and differ, and count them."""
        chosen = []
        for result in results:
            # The lookups of a host and type: for each nameserver, each subnet (input/hosts.py).
            question = result.index // (self._nameservers * self._subnets), result.index % self._subnets
            same = self._held.setdefault(question, [])
            same.append(result)
            if len(same) == self._nameservers:
                del self._held[question]
                if len({said(each) for each in same}) > 1:
                    chosen += sorted(same, key=lambda each: each.index)
        self.shown += len(chosen)
        return chosen


def said(result: Result) -> tuple[str, frozenset[tuple[str, str, str]]]:
    """Return what results are compared by: status and records, without their order and TTLs."""
    return result.status, frozenset((each.name.lower(), each.type, each.data) for each in result.answers)


def alike(result: Result, other: Result) -> bool:
    """Tell whether two results have a record of their type in common, whatever the case of its letters."""
    return not set(map(str.lower, asked_for(result))).isdisjoint(map(str.lower, asked_for(other)))


def statuses_of(words: Iterable[str], also: Sequence[str] = (UNANSWERED,)) -> set[str]:
    """Return the statuses that these words name.

    Args:
        words: Statuses, in any case.
        also: Other words that may stand among them, and are returned too.

    Raises:
        ValueError: A word names none.
    """
    return {_status_of(word, also) for word in words}


def _status_of(word: str, also: Sequence[str]) -> str:
    if word.lower() in also:
        return word.lower()
    try:
        return Status(word.upper())
    except ValueError:
        valid = [*also, *Status, *([DIFFERING] if ANSWERED_WORD in also else [])]
        raise ValueError(f"{word!r} is no status; valid: {', '.join(valid)}, RCODE12 ...{meant(word, valid)}") from None

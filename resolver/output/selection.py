"""Selection of the results that are written (`--only`), and the words that name statuses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resolver.model import ANSWERED, Status

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from resolver.model import Result

# Words for several statuses: those of ANSWERED, and every other.
ANSWERED_WORD, UNANSWERED = "answered", "unanswered"


class Selection:
    """Results that are written: those with one of these statuses. It stands after the count, and thins nothing else.

    Args:
        words: Statuses, in any case; also `answered` and `unanswered`.

    Raises:
        ValueError: A word names no status.
    """

    def __init__(self, words: Iterable[str]) -> None:
        named = statuses_of(words, (ANSWERED_WORD, UNANSWERED))
        answered = ANSWERED if ANSWERED_WORD in named else ANSWERED & named
        # Tuples: a set would call Enum's __hash__, in Python, for each result.
        self._statuses = tuple(answered | (named - {ANSWERED_WORD, UNANSWERED}))
        self._passed_over = tuple(ANSWERED - answered) if UNANSWERED in named else None
        self.shown = 0

    def of(self, results: list[Result]) -> list[Result]:
        """Return those of the results that are selected, and count them."""
        if self._passed_over is not None:
            chosen = [result for result in results if result.status not in self._passed_over]
        else:
            chosen = [result for result in results if result.status in self._statuses]
        self.shown += len(chosen)
        return chosen


def statuses_of(words: Iterable[str], also: Sequence[str] = (UNANSWERED,)) -> set[str]:
    """Return the statuses that these words name, in any case, and those of the words `also`.

    Raises ValueError for a word that names none.
    """
    return {_status_of(word, also) for word in words}


def _status_of(word: str, also: Sequence[str]) -> str:
    if word.lower() in also:
        return word.lower()
    try:
        return Status(word.upper())
    except ValueError:
        raise ValueError(f"{word!r} is no status; valid: {', '.join([*also, *Status])}, RCODE12 ...") from None

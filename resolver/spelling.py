"""Words: how many there are of a thing; words that are none of the valid ones, and a guess what was meant."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


def counted(number: float, one: str, several: str | None = None) -> str:
    """Return how many there are of a thing: 1 lookup; 1,234 lookups."""
    return f"{number:,.0f} {one if number == 1 else several or f'{one}s'}"


def meant(word: str, valid: Iterable[str]) -> str:
    """Return the end of a sentence that asks for the nearest valid word, in whatever case; empty: none is near."""
    import difflib  # here: only a mistake needs it

    by_case = {each.lower(): each for each in valid}
    near = difflib.get_close_matches(word.lower(), by_case, n=1, cutoff=0.65)
    return f"; did you mean {by_case[near[0]]}?" if near else ""


def check(kind: str, word: str, valid: Iterable[str]) -> None:
    """Raise ValueError where this word is none of those that are valid for this kind of thing."""
    if word not in valid:
        raise ValueError(f"there is no {kind} {word!r}; valid: {', '.join(valid)}{meant(word, valid)}")

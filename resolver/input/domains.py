"""Domains that words stand before (`--words`): read once and kept, and put around many words at once.

A million names are made by joining texts, never one by one.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from resolver.input.forms import host_of
from resolver.input.lookups import HostGroup
from resolver.input.names import canonical
from resolver.input.networks import is_address

if TYPE_CHECKING:
    from collections.abc import Sequence

    from resolver.input.lookups import Row

_STAR = re.compile(r"((?:[^\\*]|\\.)*)\*(.*)")  # an * behind a backslash is one in a name
_FEED = "\n"
_NO_NAME = ("\\", "")  # what stands around a word where no name is made: never an ordinary name, whatever the word


class Domains:
    """Domains in the order in which they were read.

    Attributes:
        errors: Of those that no name is made of, by their place: the domain as written, and why.
        rows: The row that each of them stood in.
        keeps_rows: There are any.
    """

    def __init__(self) -> None:
        self.errors: dict[int, tuple[str, str]] = {}
        self.rows: list[Row] = []
        self.keeps_rows = False
        self._written, self._asked = Surroundings(), Surroundings()
        self._differ = False  # they do

    def __len__(self) -> int:
        return len(self._written.heads)

    def add(self, group: HostGroup) -> None:
        """Add the hosts of a group."""
        self.rows += group.rows or [None] * len(group.texts)
        self.keeps_rows |= bool(group.rows)
        if group.error is None and _are_ordinary(group.texts, group.names):
            tails = [f".{text}" for text in group.texts]
            self._put([""] * len(tails), tails)
            return
        for text in group.texts:
            domain, written, asked = text, _NO_NAME, _NO_NAME
            try:
                if group.error is not None:
                    raise ValueError(group.error)
                domain = host_of(text)
                written, asked = _around_the_word(domain)
            except ValueError as reason:
                self.errors[len(self)] = domain, str(reason)
            self._put([written[0]], [written[1]], asked)

    def names(self, words: Sequence[str], places: range, *, by_domain: bool) -> tuple[str, list[str] | None]:
        r"""Return the names of all these words and domains: as they are asked, a line each, and as they are written.

        Args:
            words: The words.
            places: Which of the domains.
            by_domain: The names of a domain stand together; else those of a word.

        The second is None where it is the same. Of a domain with an error, either is no name.
        """
        asked = self._asked.around(words, places, by_domain=by_domain)
        if not self._differ:
            return asked, None
        return asked, self._written.around(words, places, by_domain=by_domain).split("\n")

    def _put(self, heads: list[str], tails: list[str], asked: tuple[str, str] | None = None) -> None:
        self._written.put(heads, tails)
        self._asked.put(*(heads, tails) if asked is None else ([asked[0]], [asked[1]]))
        self._differ |= asked not in (None, (heads[0], tails[0]))


class Surroundings:
    """Text before and behind the word, of each domain."""

    def __init__(self) -> None:
        self.heads: list[str] = []
        self.tails: list[str] = []
        self._between: dict[range, list[str]] = {}

    def put(self, heads: list[str], tails: list[str]) -> None:
        """Add those of further domains."""
        self.heads += heads
        self.tails += tails

    def around(self, words: Sequence[str], places: range, *, by_domain: bool) -> str:
        """Return the names of these words and domains, a line each, in the order that `Domains.names` has them."""
        if by_domain:
            heads, tails = self.heads[places.start : places.stop], self.tails[places.start : places.stop]
            return "".join(
                [f"{head}{f'{tail}{_FEED}{head}'.join(words)}{tail}\n" for head, tail in zip(heads, tails, strict=True)]
            )
        between = self._between.get(places)
        if between is None:
            heads, tails = self.heads[places.start : places.stop], self.tails[places.start : places.stop]
            ends = [f"{tail}\n{head}" for tail, head in zip(tails, [*heads[1:], ""], strict=True)]
            between = [heads[0], *ends]
            self._between[places] = between
        return "".join([word.join(between) for word in words])


def _around_the_word(domain: str) -> tuple[tuple[str, str], tuple[str, str]]:
    """Return what stands before and behind the word: as written, and as it is asked.

    Raises ValueError, one plain sentence, where no name can be made.
    """
    if is_address(domain):
        raise ValueError("an address has no names below it: words stand before a domain")
    star = _STAR.fullmatch(domain)
    if star is not None and _STAR.match(star[2]):
        raise ValueError("a domain has one place for the word: more than one * is in it")
    canonical(domain.replace("*", "a") if star else domain)
    head, tail = star.groups() if star else ("", "." if domain == "." else f".{domain}")
    written = head, tail
    if domain.isascii() or not (head.endswith(".") or not head) or not tail.startswith("."):
        return written, written
    # Mapped and encoded once, and not in each name.
    return written, (canonical(head) if head else "", f".{canonical(tail[1:])}")


def _are_ordinary(texts: list[str], names: list[str]) -> bool:
    """Tell whether these hosts are names as they stand, without a place for the word in them."""
    lines = "\n".join([*texts, ""])
    if "*" in lines or "." in names:
        return False
    return lines.lower().replace(".\n", "\n").replace("\n", ".\n") == "\n".join([*names, ""])

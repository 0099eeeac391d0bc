"""Words before domains (`--words`): every word before each domain, or in place of the `*` in it, makes a name.

Words are read as they are used, once, so that they may come from a pipe; domains are read first and kept. Names come
word by word, each before every domain, so that no domain's nameservers have to take all at once. Of many domains a
thousand words are taken at a time, and each domain has its names together: what is learned about a domain
(stages/wildcards.py) is remembered of so many. The order depends on the lists alone, and `--resume` counts on that.
"""

from __future__ import annotations

import re
from itertools import islice, product
from typing import TYPE_CHECKING, NamedTuple

from resolver.input.columns import with_rows
from resolver.input.forms import first_slash, host_of
from resolver.input.groups import HostBlock, HostGroup, groups_of, text_of
from resolver.input.names import Stretch, canonical, stretches
from resolver.input.networks import is_address
from resolver.input.sources import Source

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from resolver.input.lookups import Row
    from resolver.input.networks import NetworkGroup
    from resolver.input.sources import LineSource

MANY = 10_000  # domains, above which each has its names together, of
TOGETHER = 1000  # words
_PIECE = 512  # names that are made at once
_LONGEST = 1024  # characters of a word that are kept: more than a name may have

_COMMENT = re.compile(r"(?m)(?:^|[^\S\n])#.*")
_STAR = re.compile(r"((?:[^\\*]|\\.)*)\*(.*)")  # an * behind a backslash is one in a name
_NEVER_ORDINARY = "\\"


class Domain(NamedTuple):
    """Text before and behind a word, as written and as it is asked; or why no name is made of it."""

    head: str
    tail: str
    asked_head: str
    asked_tail: str
    error: str | None = None
    row: Row = None

    @classmethod
    def of(cls, text: str, row: Row = None, error: str | None = None) -> Domain:
        """Return the domain that a host means."""
        try:
            if error is not None:
                raise ValueError(error)
            text = host_of(text)
            if is_address(text):
                raise ValueError("an address has no names below it: words stand before a domain")
            star = _STAR.fullmatch(text)
            if star is not None and _STAR.match(star[2]):
                raise ValueError("a domain has one place for the word: more than one * is in it")
            canonical(text.replace("*", "a") if star else text)
        except ValueError as reason:
            return cls("", f".{text}", _NEVER_ORDINARY, "", str(reason), row)
        head, tail = star.groups() if star else ("", "." if text == "." else f".{text}")
        if text.isascii() or not (head.endswith(".") or not head) or not tail.startswith("."):
            return cls(head, tail, head, tail, None, row)
        # Mapped and encoded once, and not in each name.
        return cls(head, tail, canonical(head) if head else "", f".{canonical(tail[1:])}", None, row)


class Words(Source):
    """Names made of words and domains: a Source of one.

    Args:
        words: The list of words, with the rules of lists.
        domains: Sources whose hosts are the domains.
    """

    def __init__(self, words: LineSource, domains: Sequence[Source]) -> None:
        self.total = words.total
        self.once = words.once or any(each.once for each in domains)
        self._words = words
        self._sources = list(domains)
        self._unread = list(domains)
        self._domains: list[Domain] = []
        self._plain = True  # what is asked is what is written, of each domain
        self._keep = False
        self._kept: list[str] = []  # words that wait until there are enough to be taken together
        self._size = 0  # octets that they were read from

    def read(self, types: tuple[str, ...], hosts: int) -> HostBlock | None:
        if self._unread:
            source = self._unread[0]
            block = source.read(types, hosts)
            self.waitable = source.waitable
            if block is not None:
                self._add(block)
            if source.ended:
                self._unread.pop(0)
            self._settle()
            return block and HostBlock(0, 0, iter(()))
        got = (0, b"") if self._words.ended else self._words.lines()
        self.waitable = self._words.waitable
        if got is None:
            return None
        self._size += got[0]
        self._kept += words_of(got[1])
        together = TOGETHER if len(self._domains) > MANY else 1
        ready = len(self._kept) if self._words.ended else len(self._kept) // together * together
        if not ready:
            self._settle()
            return HostBlock(0, 0, iter(()))
        words, self._kept = self._kept[:ready], self._kept[ready:]
        size, self._size = self._size, 0
        self._settle()
        return HostBlock(size, len(words) * len(self._domains), self._groups(words, types))

    def stop(self) -> None:
        for each in (self._words, *self._sources):
            each.stop()
        self._settle()

    def close(self) -> None:
        self.ended = True
        for each in (self._words, *self._sources):
            each.close()

    def _settle(self) -> None:
        self.cut = any(each.cut for each in (self._words, *self._sources))
        self.ended = not self._unread and (not self._domains or (self._words.ended and not self._kept))

    def _add(self, block: HostBlock) -> None:
        for group in block.groups:
            rows: Iterable[Row] = group.rows or [None] * len(group.texts)
            self._keep |= bool(group.rows)
            self._domains += [Domain.of(text, row, group.error) for text, row in zip(group.texts, rows, strict=False)]
        self._plain = all(each.head == each.asked_head and each.tail == each.asked_tail for each in self._domains)

    def _groups(self, words: Sequence[str], types: tuple[str, ...]) -> Iterator[HostGroup | NetworkGroup]:
        pairs: Iterator[tuple[str, Domain]]
        if len(self._domains) > MANY:
            pairs = (
                (word, domain)
                for at in range(0, len(words), TOGETHER)
                for domain in self._domains
                for word in words[at : at + TOGETHER]
            )
        else:
            pairs = product(words, self._domains)
        while piece := list(islice(pairs, _PIECE)):
            groups = groups_of(self._parts(piece, types), types)
            yield from with_rows(groups, [domain.row for _, domain in piece]) if self._keep else groups

    def _parts(self, piece: Sequence[tuple[str, Domain]], types: tuple[str, ...]) -> Iterator[Stretch | HostGroup]:
        texts = [f"{domain[0]}{word}{domain[1]}" for word, domain in piece]
        asked = texts if self._plain else [f"{domain[2]}{word}{domain[3]}" for word, domain in piece]
        at = 0
        for part in stretches("\n".join([*asked, ""])):
            if not isinstance(part, str):
                many = len(part.texts)
                yield part._replace(texts=texts[at : at + many])
                at += many
                continue
            error = piece[at][1].error
            try:
                if error is None and first_slash(part) is not None:
                    raise ValueError("a slash is in the name: a word is one label or several, and no path")
                name = canonical(part) if error is None else ""
            except ValueError as reason:
                error = str(reason)
            yield Stretch([texts[at]], [name], None) if error is None else HostGroup([texts[at]], [""], types, error)
            at += 1


def words_of(lines: bytes) -> list[str]:
    """Return the words of these lines, without comments and blank lines."""
    text = text_of(lines)
    if "#" in text:
        text = _COMMENT.sub("", text)
    words = [word for word in map(str.strip, text.split("\n")) if word]
    words = [word.removesuffix(".") for word in words] if ".\n" in text else words
    return [word[:_LONGEST] for word in words] if max(map(len, words), default=0) > _LONGEST else words

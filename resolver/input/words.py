"""Words before domains (`--words`): every word before each domain, or in place of the `*` in it, makes a name.

Words are read as they are used, once, so that they may come from a pipe; domains are read first and kept. Names come
word by word, each before every domain, so that no domain's nameservers have to take all at once. Of many domains a
thousand words are taken at a time, and each domain has its names together: what is learned about a domain
(stages/wildcards.py) is remembered of so many. The order depends on the lists alone, and `--resume` counts on that.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from resolver.input.columns import with_rows
from resolver.input.domains import Domains
from resolver.input.forms import first_slash
from resolver.input.groups import HostBlock, groups_of, text_of
from resolver.input.lookups import HostGroup
from resolver.input.names import canonical, stretches
from resolver.input.sources import Source

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from resolver.input.sources import LineSource

MANY = 10_000  # domains, above which each has its names together, of
TOGETHER = 1000  # words
_PIECE = 512  # names that are made at once
_LONGEST = 1024  # characters of a word that are kept: more than a name may have

_COMMENT = re.compile(r"(?m)(?:^|[^\S\n])#.*")
_BARE = re.compile(rb"(?:[!\"$-~]++\n)*+")  # lines of one word each
_ESCAPED = re.compile(r"(?<!\\)(?:\\\\)*\\.$")


class Words(Source):
    """Names made of words and domains: a Source of one. Its total are the names, once the words were counted.

    Args:
        words: The list of words, with the rules of lists.
        domains: Sources whose hosts are the domains.
    """

    def __init__(self, words: LineSource, domains: Sequence[Source]) -> None:
        self.once = words.once or any(each.once for each in domains)
        self._words = words
        self._sources = list(domains)
        self._unread = list(domains)
        self._domains = Domains()
        self._kept: list[str] = []  # words that wait until there are enough to be taken together
        self._twin = None if words.twin is None else words.twin()  # to be counted
        self._counted = 0

    def read(self, types: tuple[str, ...], hosts: int) -> HostBlock | None:
        if self._unread:
            source = self._unread[0]
            block = source.read(types, hosts)
            self.waitable = source.waitable
            for group in block.groups if block is not None else ():
                self._domains.add(group)
            if source.ended:
                self._unread.pop(0)
            self._settle()
            return block and HostBlock(0, 0, iter(()))
        got = (0, b"") if self._words.ended else self._words.lines()
        self.waitable = self._words.waitable
        if got is None:
            return None
        if self._twin is not None and self.total is None:
            self._count(self._twin)
        self._kept += words_of(got[1])
        together = TOGETHER if len(self._domains) > MANY else 1
        ready = len(self._kept) if self._words.ended else len(self._kept) // together * together
        words, self._kept = self._kept[:ready], self._kept[ready:]
        self._settle()
        names = len(words) * len(self._domains)
        return HostBlock(names, names, self._groups(words, types))

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

    def _count(self, twin: LineSource) -> None:
        """Count some more of the words, ahead of who uses them; at the list's end the total is known."""
        for _ in range(2):  # the second one shows that a short list is at its end
            got = (0, b"") if twin.ended else twin.lines()
            if got is not None:
                self._counted += got[1].count(b"\n") if _BARE.fullmatch(got[1]) else len(words_of(got[1]))
        if twin.ended:
            self.total = self._counted * len(self._domains)

    def _groups(self, words: Sequence[str], types: tuple[str, ...]) -> Iterator[HostGroup]:
        domains = self._domains
        by_domain = len(domains) > MANY or len(domains) == 1  # of one, it is the same and quicker
        for some, places in pieces(words, len(domains), by_domain=by_domain):
            groups = groups_of(self._parts(some, places, types, by_domain=by_domain), types)
            if domains.keeps_rows:
                rows = domains.rows[places.start : places.stop]
                groups = with_rows(groups, [row for row in rows for _ in some] if by_domain else rows * len(some))
            yield from groups

    def _parts(
        self, words: Sequence[str], places: range, types: tuple[str, ...], *, by_domain: bool
    ) -> Iterator[HostGroup]:
        lines, texts = self._domains.names(words, places, by_domain=by_domain)
        at = 0
        for part in stretches(lines, types):
            if not isinstance(part, str):
                if texts is not None:
                    part.texts = texts[at : at + part.size]
                at += part.size
                yield part
                continue
            text = part if texts is None else texts[at]
            word, place = divmod(at, len(places)) if not by_domain else divmod(at, len(words))[::-1]
            try:
                if places[place] in self._domains.errors:
                    domain, error = self._domains.errors[places[place]]
                    text = f"{words[word]}.{domain}"
                    raise ValueError(error)
                if first_slash(part) is not None:
                    raise ValueError("a slash is in the name: a word is one label or several, and no path")
                yield HostGroup([text], [canonical(part)], types)
            except ValueError as reason:
                yield HostGroup([text], [""], types, str(reason))
            at += 1


def pieces(words: Sequence[str], domains: int, *, by_domain: bool) -> Iterator[tuple[Sequence[str], range]]:
    """Yield words and the places of domains whose names are made at once, in their order: all words before each."""
    together = TOGETHER if by_domain else max(1, _PIECE // domains)
    for at in range(0, len(words), together):
        some = words[at : at + together]
        step = max(1, _PIECE // len(some)) if by_domain else _PIECE
        for first in range(0, domains, step):
            yield some, range(first, min(first + step, domains))


def words_of(lines: bytes) -> list[str]:
    """Return the words of these lines, without comments and blank lines."""
    text = text_of(lines)
    if "#" in text:
        text = _COMMENT.sub("", text)
    words = [word for word in map(str.strip, text.split("\n")) if word]
    words = [_without_dot(word) for word in words] if "." in text else words
    return [word[:_LONGEST] for word in words] if max(map(len, words), default=0) > _LONGEST else words


def _without_dot(word: str) -> str:
    """Return the word without a dot at its end; one that is escaped is a part of its last label."""
    return word[:-1] if word.endswith(".") and not _ESCAPED.search(word) else word

"""Hosts by the block: octets of lines, or elements -> groups of neighbours that are asked the same types.

A million ordinary names are handled by the group, never by the line.
"""

from __future__ import annotations

import codecs
import re
from itertools import chain, cycle, islice, repeat
from typing import TYPE_CHECKING, NamedTuple

from resolver.input.names import Stretch, name_of, stretches

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

LONGEST = 1024 * 1024  # octets of a line that are kept
GROUP = 64  # hosts after which a group is given out


class HostBlock(NamedTuple):
    """Hosts that one read gave. Groups are made as they are taken: a name can cost 50 microseconds."""

    size: int  # octets or hosts, as the source's total
    lines: int  # blank ones and comments too
    groups: Iterator[HostGroup]


class HostGroup:
    """Neighbours in the input that are asked the same types, or (error) one that cannot be asked."""

    __slots__ = ("_given", "error", "names", "texts", "types")

    def __init__(self, texts: list[str], names: list[str], types: tuple[str, ...], error: str | None = None) -> None:
        self.texts = texts
        self.names = names
        self.types = types
        self.error = error
        self._given = 0

    @property
    def left(self) -> int:
        """Lookups not given yet."""
        return len(self.texts) * len(self.types) - self._given

    def take(self, n: int) -> tuple[list[str], list[str], Iterator[str], int]:
        """Take the next lookups, `n` at most: inputs, names, types; and how many hosts begin with them."""
        many = len(self.types)
        start = self._given
        end = self._given = start + min(n, self.left)
        first, last = start // many, -(-end // many)
        texts, names = self.texts[first:last], self.names[first:last]
        if many == 1:
            return texts, names, repeat(self.types[0]), last - first
        skip, size = start % many, end - start
        texts = [text for text in texts for _ in self.types][skip : skip + size]
        names = [name for name in names for _ in self.types][skip : skip + size]
        return texts, names, islice(cycle(self.types), skip, None), last - first - (skip > 0)


def block_of(hosts: list[object], types: tuple[str, ...]) -> HostBlock:
    """Return elements of an iterable as a block. Raises TypeError for one that is no host."""
    texts = [host if type(host) is str else _text(host) for host in hosts]
    lines = "\n".join([*texts, ""])
    # An element that holds a line feed is no two hosts.
    whole = lines.count("\n") == len(texts)
    return HostBlock(len(texts), len(texts), _groups(map(_stripped, stretches(lines) if whole else texts), types))


_COMMENT = re.compile(r"(?:^|\s)#.*", re.DOTALL)
# How Python writes octets that are not UTF-8 into arguments and file names; JSON has no such characters.
_SURROGATE = re.compile("[\ud800-\udfff]")
_CUT = "the line is longer than 1 MiB, of which the first is kept"


def groups_of(lines: bytes, types: tuple[str, ...]) -> Iterator[HostGroup]:
    """Return the hosts of these lines, of which the first may be longer than is kept."""
    if len(lines) <= LONGEST:
        return _groups_of_lines(lines, types)
    line, _, others = lines.partition(b"\n")
    return chain(_groups_of_long_line(line, types), _groups_of_lines(others, types))


def _groups_of_lines(lines: bytes, types: tuple[str, ...]) -> Iterator[HostGroup]:
    # A line that is not UTF-8 spoils no other: no octet of a longer character is a line's end.
    text = lines.replace(b"\r\n", b"\n").decode("utf-8", "replace")
    return _groups(filter(None, map(_without_comment, stretches(text))), types)


def _groups_of_long_line(line: bytes, types: tuple[str, ...]) -> Iterator[HostGroup]:
    line = line.lstrip()
    if len(line) <= LONGEST:
        return _groups_of_lines(line + b"\n", types)
    # Not final: a character that the cut divides is left out.
    text = codecs.utf_8_decode(line[:LONGEST], "replace", False)[0]
    if _COMMENT.search(text):
        return _groups_of_lines(line[:LONGEST] + b"\n", types)
    return iter([HostGroup([text.strip()], [""], types, _CUT)])


def _groups(parts: Iterable[Stretch | str], types: tuple[str, ...]) -> Iterator[HostGroup]:
    group = HostGroup([], [], types)
    for part in parts:
        error = None
        if isinstance(part, str):
            try:
                name, only = name_of(part)
            except ValueError as invalid:
                name, only, error = "", None, str(invalid)
            texts, names = [part], [name]
        else:
            texts, names, only = part
        asked = types if only is None else (only,)
        if group.types != asked or group.error is not error or len(group.texts) >= GROUP:
            if group.texts:
                yield group
            group = HostGroup([], [], asked, error)
        group.texts += texts
        group.names += names
    if group.texts:
        yield group


def _without_comment(part: Stretch | str) -> Stretch | str:
    if not isinstance(part, str):
        return part
    return (_COMMENT.sub("", part) if "#" in part else part).strip()


def _stripped(part: Stretch | str) -> Stretch | str:
    return _SURROGATE.sub("\ufffd", part).strip() if isinstance(part, str) else part


def _text(host: object) -> str:
    check_kind(type(host))
    return str.__str__(host) if isinstance(host, str) else str(host)


def check_kind(kind: type) -> None:
    """Raise TypeError where an element of this type is no host."""
    if issubclass(kind, str):
        return
    import ipaddress

    # Not issubclass: an interface is an address with a network.
    if kind not in (ipaddress.IPv4Address, ipaddress.IPv6Address):
        raise TypeError(f"a host is a str or an ipaddress.IPv4Address or IPv6Address, not {kind.__name__}")


def octets_of(text: str) -> bytes:
    """Encode text, in which octets that were not UTF-8 are replaced."""
    return _SURROGATE.sub("\ufffd", text).encode()

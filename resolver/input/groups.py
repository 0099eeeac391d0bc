"""Hosts by the block: octets of lines, or elements -> groups of neighbours that are asked the same types.

A million ordinary names are handled by the group, never by the line.
"""

from __future__ import annotations

import codecs
import re
from itertools import chain, cycle, islice, repeat
from typing import TYPE_CHECKING, NamedTuple

from resolver.input.names import Stretch, name_of, stretches
from resolver.input.networks import further_of, network_of, v4_addresses, v6_addresses

if TYPE_CHECKING:
    import ipaddress
    from collections.abc import Iterable, Iterator, Sequence

    from resolver.input.lookups import Row

LONGEST = 1024 * 1024  # octets of a line that are kept
GROUP = 64  # hosts after which a group is given out


class HostBlock(NamedTuple):
    """Hosts that one read gave. Groups are made as they are taken: a name can cost 50 microseconds."""

    size: int  # octets or hosts, as the source's total
    lines: int  # blank ones and comments too; of a network, each of its addresses
    groups: Iterator[HostGroup]
    further: int = 0  # hosts that are no line of their own: of a network, all addresses but one
    octets: bytes = b""  # the lines themselves, of a list without columns


class HostGroup:
    """Neighbours in the input that are asked the same types, or (error) one that cannot be asked.

    Attributes:
        given: Lookups given so far.
        rows: The row that each of them stood in; empty where none are kept.
    """

    __slots__ = ("error", "given", "names", "rows", "texts", "types")

    def __init__(self, texts: list[str], names: list[str], types: tuple[str, ...], error: str | None = None) -> None:
        self.texts = texts
        self.names = names
        self.types = types
        self.error = error
        self.given = 0
        self.rows: Sequence[Row] = ()

    @property
    def left(self) -> int:
        """Lookups not given yet."""
        return len(self.texts) * len(self.types) - self.given

    @property
    def lines(self) -> int:
        """Lines of the input that it is made of."""
        return len(self.texts)

    def line_of(self, lookup: int) -> int:
        """Return which of its lines this lookup is of, both counted from 0."""
        return lookup // len(self.types)

    def take(self, n: int) -> tuple[list[str], list[str], Iterator[str], int]:
        """Take the next lookups, `n` at most: inputs, names, types; and how many hosts begin with them."""
        many = len(self.types)
        start = self.given
        end = self.given = start + min(n, self.left)
        first, last = start // many, -(-end // many)
        texts, names = self.texts[first:last], self.names[first:last]
        if many == 1:
            return texts, names, repeat(self.types[0]), last - first
        skip, size = start % many, end - start
        texts = [text for text in texts for _ in self.types][skip : skip + size]
        names = [name for name in names for _ in self.types][skip : skip + size]
        return texts, names, islice(cycle(self.types), skip, None), last - first - (skip > 0)


class NetworkGroup(HostGroup):
    """Addresses of a network in order, each to be asked for PTR: one line, whose names are made as they are taken."""

    def __init__(self, network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> None:
        super().__init__([str(network)], [""], ("PTR",))
        self._first = int(network.network_address)
        self._addresses = v4_addresses if network.version == 4 else v6_addresses
        self._size = network.num_addresses

    @property
    def left(self) -> int:
        return self._size - self.given

    def line_of(self, lookup: int) -> int:
        return 0

    def take(self, n: int) -> tuple[list[str], list[str], Iterator[str], int]:
        n = min(n, self.left)
        start = self._first + self.given
        self.given += n
        return *self._addresses(start, start + n), repeat("PTR"), n


def block_of(hosts: list[object], types: tuple[str, ...]) -> HostBlock:
    """Return elements of an iterable as a block. Raises TypeError for one that is no host."""
    texts = [host if type(host) is str else _text(host) for host in hosts]
    lines = "\n".join([*texts, ""])
    # An element that holds a line feed is no two hosts.
    whole = lines.count("\n") == len(texts)
    size = len(texts)
    if "/" in lines:
        size += sum(map(further_of, map(str.strip, texts)))
    return HostBlock(size, size, groups_of(map(_stripped, stretches(lines) if whole else texts), types))


_COMMENT = re.compile(r"(?:^|\s)#.*", re.DOTALL)
# How Python writes octets that are not UTF-8 into arguments and file names; JSON has no such characters.
_MARK = re.compile(r"(?m)^\ufeff+|\ufeff+$")
_SURROGATE = re.compile("[\ud800-\udfff]")
CUT = "the line is longer than 1 MiB, of which the first is kept"


def groups_of_lines(lines: bytes, types: tuple[str, ...]) -> Iterator[HostGroup]:
    """Return the hosts of these lines, of which the first may be longer than is kept."""
    if len(lines) <= LONGEST:
        return _groups_of_short_lines(lines, types)
    line, _, others = lines.partition(b"\n")
    return chain(_groups_of_long_line(line, types), _groups_of_short_lines(others, types))


def _groups_of_short_lines(lines: bytes, types: tuple[str, ...]) -> Iterator[HostGroup]:
    # A generator: lines that pass through unopened are not decoded. A line that is not UTF-8 spoils no other: no octet
    # of a longer character is a line's end.
    yield from groups_of(filter(None, map(_without_comment, stretches(text_of(lines)))), types)


def text_of(lines: bytes) -> str:
    """Decode whole lines. A byte order mark at the ends of one is no letter: Windows files that were joined have it."""
    text = lines.replace(b"\r\n", b"\n").decode("utf-8", "replace")
    return _MARK.sub("", text) if "\ufeff" in text else text


def _groups_of_long_line(line: bytes, types: tuple[str, ...]) -> Iterator[HostGroup]:
    line = line.lstrip()
    if len(line) <= LONGEST:
        return _groups_of_short_lines(line + b"\n", types)
    # Not final: a character that the cut divides is left out.
    text = codecs.utf_8_decode(line[:LONGEST], "replace", False)[0]
    if _COMMENT.search(text):
        return _groups_of_short_lines(line[:LONGEST] + b"\n", types)
    return iter([HostGroup([text.strip()], [""], types, CUT)])


def groups_of(parts: Iterable[Stretch | str | HostGroup], types: tuple[str, ...]) -> Iterator[HostGroup]:
    """Return the groups of parts: stretches of ordinary hosts, other texts, and what cannot be asked as it is."""
    group = HostGroup([], [], types)
    for part in parts:
        error = None
        if isinstance(part, HostGroup):
            if group.texts:
                yield group
            yield part
            group = HostGroup([], [], types)
            continue
        if isinstance(part, str):
            try:
                if "/" in part and (network := network_of(part)) is not None:
                    if group.texts:
                        yield group
                    yield NetworkGroup(network)
                    group = HostGroup([], [], types)
                    continue
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
    return _SURROGATE.sub("\ufffd", part).strip().strip("\ufeff") if isinstance(part, str) else part


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

"""Hosts by the block: octets of lines, or elements -> groups of neighbours that are asked the same types.

A million ordinary names are handled by the group, never by the line.
"""

from __future__ import annotations

import codecs
import re
import string
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

from resolver.blocks import HostLines
from resolver.input.lookups import HostGroup
from resolver.input.names import name_of, stretches
from resolver.input.networks import further_of, network_of, v4_addresses, v6_addresses

if TYPE_CHECKING:
    import ipaddress
    from collections.abc import Iterable, Iterator


LONGEST = 1024 * 1024  # octets of a line that are kept
GROUP = 64  # hosts after which a group is given out


class HostBlock(NamedTuple):
    """Hosts that one read gave. Groups are made as they are taken: a name can cost 50 microseconds."""

    size: int  # octets or hosts, as the source's total
    lines: int  # blank ones and comments too; of a network, each of its addresses
    groups: Iterator[HostGroup]
    octets: bytes = b""  # the lines themselves, of a list without columns


class NetworkGroup(HostGroup):
    """Addresses of a network in order, each to be asked for PTR: one line, whose names are made as they are taken."""

    def __init__(self, network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> None:
        super().__init__([str(network)], [""], ("PTR",))
        self._network = network

    @property
    def size(self) -> int:
        return self._network.num_addresses

    def line_of(self, lookup: int) -> int:
        return 0

    def hosts(self, first: int, last: int) -> tuple[list[str], list[str]]:
        addresses = v4_addresses if self._network.version == 4 else v6_addresses
        start = int(self._network.network_address)
        return addresses(start + first, start + last)


# Octets of plain lines: those alone show that each is one lookup, so that it can pass through a process unopened,
# numbered and counted. No comment, no white space and no network.
_PLAIN = (string.ascii_letters + string.digits + "._-\n").encode()


def are_plain(lines: bytes, most: int = LONGEST) -> bool:
    """Tell whether each of these lines, of one type and `most` octets in all, is one lookup; an empty one is none."""
    if not lines.endswith(b"\n") or lines.startswith(b"\n") or b"\n\n" in lines or len(lines) > most:
        return False
    return not lines.translate(None, _PLAIN)


def cut(lines: HostLines, n: int) -> tuple[HostLines, HostLines | None]:
    """Return the first lines, `n` at most, and the others if there are any.

    Where they are of about one length, as many lines are found as are wanted, without looking for the end of each.
    """
    if lines.count <= n:
        return lines, None
    octets = lines.octets
    end = 1 + octets.rfind(b"\n", 0, len(octets) * n // lines.count)
    count = octets.count(b"\n", 0, end)
    if not n // 2 < count <= n:
        end = len(octets) - len(octets.split(b"\n", n)[n])
        count = n
    first = HostLines(lines.first, octets[:end], lines.type, count)
    return first, HostLines(lines.first + count, octets[end:], lines.type, lines.count - count)


def block_of(hosts: list[object], types: tuple[str, ...]) -> HostBlock:
    """Return elements of an iterable as a block. Raises TypeError for one that is no host."""
    texts = [host if type(host) is str else _text(host) for host in hosts]
    lines = "\n".join([*texts, ""])
    # An element that holds a line feed is no two hosts.
    whole = lines.count("\n") == len(texts)
    size = len(texts)
    if "/" in lines:
        size += sum(map(further_of, map(str.strip, texts)))
    return HostBlock(size, size, groups_of(map(_stripped, stretches(lines, types) if whole else texts), types))


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
    yield from groups_of(filter(None, map(_without_comment, stretches(text_of(lines), types))), types)


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


def groups_of(parts: Iterable[str | HostGroup], types: tuple[str, ...]) -> Iterator[HostGroup]:
    """Return the groups of parts: texts of hosts, and groups of some already; neighbours are put together."""
    last: HostGroup | None = None
    for part in parts:
        group = part if isinstance(part, HostGroup) else _group_of(part, types)
        if last is not None and _go_together(last, group):
            last.texts += group.texts
            last.names += group.names
            continue
        if last is not None:
            yield last
        last = group
    if last is not None:
        yield last


def _group_of(text: str, types: tuple[str, ...]) -> HostGroup:
    try:
        if "/" in text and (network := network_of(text)) is not None:
            return NetworkGroup(network)
        name, only = name_of(text)
    except ValueError as invalid:
        return HostGroup([text], [""], types, str(invalid))
    return HostGroup([text], [name], types if only is None else (only,))


def _go_together(group: HostGroup, other: HostGroup) -> bool:
    if isinstance(group, NetworkGroup) or isinstance(other, NetworkGroup):
        return False
    return (group.types, group.error) == (other.types, other.error) and len(group.texts) < GROUP


def _without_comment(part: str | HostGroup) -> str | HostGroup:
    if not isinstance(part, str):
        return part
    return (_COMMENT.sub("", part) if "#" in part else part).strip()


def _stripped(part: str | HostGroup) -> str | HostGroup:
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

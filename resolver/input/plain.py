"""Plain lines: lines of a list of which the octets alone show that each is one lookup.

They pass through a process unopened (blocks.py), numbered and counted, to the one that looks them up. There they are
read by the rules of every other line.
"""

from __future__ import annotations

import re
from itertools import repeat
from typing import TYPE_CHECKING

from resolver.blocks import HostLines
from resolver.input.groups import LONGEST, groups_of_lines
from resolver.input.lookups import invalid_result
from resolver.model import Query

if TYPE_CHECKING:
    from collections.abc import Iterable

    from resolver.model import Result

# No comment, no white space, no network, and no line without a letter: that would be no lookup.
_PLAIN = re.compile(rb"(?:[A-Za-z0-9._-]++\n)++")


def are_plain(lines: bytes) -> bool:
    """Tell whether each of these lines, of one type, is one lookup."""
    return len(lines) <= LONGEST and _PLAIN.fullmatch(lines) is not None


def cut(lines: bytes, n: int) -> tuple[bytes, bytes]:
    """Return the first `n` lines, and the others."""
    rest = lines.split(b"\n", n)[n:]
    return (lines[: -len(rest[0])], rest[0]) if rest and rest[0] else (lines, b"")


def split(lines: HostLines, n: int) -> tuple[HostLines, HostLines | None]:
    """Return the first `n` lines, and the others if there are any."""
    first, rest = cut(lines.octets, n)
    taken = HostLines(lines.first, first, lines.type)
    return taken, HostLines(taken.indices.stop, rest, lines.type) if rest else None


def lookups_of(lines: HostLines, engine: str, backend: str) -> tuple[list[Query], list[Result]]:
    """Read plain lines: the lookups to ask, and the results of those that cannot be asked."""
    queries: list[Query] = []
    invalid: list[Result] = []
    index = lines.first
    for group in groups_of_lines(lines.octets, (lines.type,)):
        inputs, names, types, _ = group.take(group.left)
        indices = range(index, index + len(inputs))
        index += len(inputs)
        if group.error is None:
            queries += map(Query, indices, inputs, names, types)
        else:
            invalid += map(invalid_result, indices, inputs, types, repeat(group.error), repeat(engine), repeat(backend))
    return queries, invalid


def read_open(
    lookups: Iterable[tuple[int, Query | HostLines]], engine: str, backend: str
) -> tuple[list[Query], list[Result]]:
    """Read the lines among these lookups, as far as they are of these indices; queries stay as they are."""
    queries: list[Query] = []
    lines: dict[int, HostLines] = {}
    wanted: set[int] = set()
    for index, one in lookups:
        if isinstance(one, Query):
            queries.append(one)
        else:
            lines[one.first] = one
            wanted.add(index)
    invalid: list[Result] = []
    for each in lines.values():
        more, broken = lookups_of(each, engine, backend)
        queries += [query for query in more if query.index in wanted]
        invalid += [result for result in broken if result.index in wanted]
    return queries, invalid

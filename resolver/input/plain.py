"""Plain lines: lines of a list of which the octets alone show that each is one lookup.

They pass through a process unopened (blocks.py), numbered and counted, to the one that looks them up. There they are
read by the rules of every other line.
"""

from __future__ import annotations

import string
from itertools import repeat
from typing import TYPE_CHECKING

from resolver.blocks import HostLines
from resolver.input.groups import LONGEST, groups_of_lines
from resolver.input.lookups import invalid_result
from resolver.model import Query

if TYPE_CHECKING:
    from resolver.blocks import OpenLookups
    from resolver.model import Result

# No comment, no white space and no network.
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


def read_open(lookups: OpenLookups, engine: str, backend: str) -> tuple[list[Query], list[Result]]:
    """Read the lines among these lookups, as far as they are open; queries stay as they are."""
    queries = list(lookups.queries.values())
    invalid: list[Result] = []
    for lines, wanted in lookups.lines:
        more, broken = lookups_of(lines, engine, backend)
        queries += [query for query in more if query.index in wanted]
        invalid += [result for result in broken if result.index in wanted]
    return queries, invalid

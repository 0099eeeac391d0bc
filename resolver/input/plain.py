"""Reading of plain lines (groups.py) that came unopened, for whoever looks them up: in the way of every other line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resolver.input.hosts import Hosts
from resolver.input.sources import LineSource

if TYPE_CHECKING:
    from resolver.blocks import HostLines, OpenLookups
    from resolver.model import Query, Result


def lookups_of(lines: HostLines, engine: str, backend: str) -> tuple[list[Query], list[Result]]:
    """Read plain lines: the lookups to ask, and the results of those that cannot be asked."""
    hosts = Hosts([LineSource([b"", lines.octets].pop)], (lines.type,), engine, backend)
    hosts.lookups = lines.first
    return hosts.take(lines.count) or ([], [])


def read_open(lookups: OpenLookups, engine: str, backend: str) -> tuple[list[Query], list[Result]]:
    """Read the lines among these lookups, as far as they are open; queries stay as they are."""
    queries = list(lookups.queries.values())
    invalid: list[Result] = []
    for lines, wanted in lookups.lines:
        more, broken = lookups_of(lines, engine, backend)
        queries += [query for query in more if query.index in wanted]
        invalid += [result for result in broken if result.index in wanted]
    return queries, invalid

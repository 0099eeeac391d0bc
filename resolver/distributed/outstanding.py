"""A chunk that is out, as the coordinator sees it, and the order to send one. Times are on the caller's clock."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from resolver.blocks import HostLines, OpenLookups
from resolver.input.plain import read_open

if TYPE_CHECKING:
    from resolver.model import Query, Result


class Order(NamedTuple):
    """An order to send a chunk, for the `copy`-th time from 0.

    Attributes:
        parties: So many share the run's limits.
        lines: What is asked, in place of queries.
    """

    number: int
    copy: int
    queries: list[Query]
    parties: int | None
    lines: HostLines | None = None


@dataclass(slots=True, eq=False)
class Outstanding:
    """A chunk that is out.

    Attributes:
        open: Lookups without a result.
        lines: Those lines, as long as nobody had to look at a query of them.
        sent: When the copy went out that no worker has begun yet; None where there is none.
        began: When the first worker began it.
        holders: Workers that have begun it, and when each was last heard of.
        taken: All of it is being asked.
        deaths: Workers that died with it.
        refused: Workers that refused it.
    """

    number: int
    open: OpenLookups
    lines: HostLines | None
    size: int
    parties: int | None
    sent: float | None
    deaths: int = 0
    copies: int = 1
    began: float | None = None
    holders: dict[str, float] = field(default_factory=dict)
    taken: bool = False
    refused: set[str] = field(default_factory=set)

    @classmethod
    def of(
        cls, number: int, work: list[Query] | HostLines, parties: int | None, sent: float, deaths: int = 0
    ) -> Outstanding:
        """Return the chunk of these queries, or of the lines that they stand in."""
        open_ = OpenLookups(work)
        return cls(number, open_, work if isinstance(work, HostLines) else None, len(open_), parties, sent, deaths)

    @property
    def queries(self) -> list[Query]:
        """The open queries, once no lines are left."""
        return list(self.open.queries.values())

    def read(self, engine: str, backend: str) -> list[Result]:
        """Have queries in place of the lines; return the results of those lines that cannot be asked."""
        self.lines = None
        queries, invalid = read_open(self.open, engine, backend)
        self.open = OpenLookups(queries)
        return invalid

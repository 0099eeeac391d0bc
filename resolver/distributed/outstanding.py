"""A chunk that is out, as the coordinator sees it, and the order to send one. Times are on the caller's clock."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from resolver.model import Query


class Order(NamedTuple):
    """An order to send a chunk, for the `copy`-th time from 0. `parties`: so many share the run's limits."""

    number: int
    copy: int
    queries: list[Query]
    parties: int | None


@dataclass(slots=True, eq=False)
class Outstanding:
    """A chunk that is out.

    Attributes:
        open: Queries without a result, by index.
        sent: When the copy went out that no worker has begun yet; None where there is none.
        began: When the first worker began it.
        holders: Workers that have begun it, and when each was last heard of.
        taken: All of it is being asked.
        deaths: Workers that died with it.
        refused: Workers that refused it.
    """

    number: int
    open: dict[int, Query]
    size: int
    parties: int | None
    sent: float | None
    deaths: int = 0
    copies: int = 1
    began: float | None = None
    holders: dict[str, float] = field(default_factory=dict)
    taken: bool = False
    refused: set[str] = field(default_factory=set)

    def forget_attempts(self) -> list[Query]:
        """Return the open queries, marked as asked an unknown number of times."""
        for query in self.open.values():
            query.attempts = None
        return list(self.open.values())

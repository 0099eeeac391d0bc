"""A chunk that is out, as the coordinator sees it, and the order to send one. Times are on the caller's clock."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from resolver.model import Query


class Order(NamedTuple):
    """Send this: the chunk of that number, for the `copy`-th time from 0. `parties`: so many share the limits."""

    number: int
    copy: int
    queries: list[Query]
    parties: int | None


class Outstanding:
    """A chunk that is out. `holders`: who has begun it, and when each was last heard of."""

    __slots__ = (
        "began",
        "copies",
        "deaths",
        "holders",
        "number",
        "open",
        "parties",
        "refused",
        "sent",
        "size",
        "taken",
    )

    def __init__(self, number: int, queries: list[Query], parties: int | None, now: float, deaths: int = 0) -> None:
        self.number = number
        self.open = {query.index: query for query in queries}
        self.size = len(queries)
        self.parties = parties
        self.sent: float | None = now  # when the copy went out that nobody has begun yet; None: there is none
        self.copies = 1
        self.began: float | None = None
        self.holders: dict[str, float] = {}
        self.taken = False
        self.deaths = deaths
        self.refused: set[str] = set()  # by whom

"""State of what is in flight, and where; the rules that move it stand in exchange.py and retries.py.

An `InFlight` is one lookup that has no result yet. Each of its queries left on a `Flow`, one socket's 5-tuple with a
space of message IDs of its own: UDP, or a `Connection` (connections.py). Since each try leaves from another flow, the
flow alone tells which query a reply belongs to: its `Sent`.
"""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING

import msgspec

from resolver import policy as rule
from resolver.congestion import Round
from resolver.model import Detail, Query, Result, Status
from resolver.tallies import NameserverTally

if TYPE_CHECKING:
    from resolver.congestion import Window
    from resolver.nameserver import Nameserver

RENEWED = 8192  # queries: then a flow's source port is renewed

# Where a query is counted once its reply was: a second reply to the same query must not count as another.
NOWHERE = Round(0.0)
NOWHERE.judged = True


class Flow:
    """One socket's 5-tuple towards one nameserver. `stream`: TCP or TLS. Times are on the exchange's clock."""

    __slots__ = ("in_flight", "last_reply", "refused", "replies", "sent", "server", "stream", "transport")

    def __init__(self, server: Server, transport: str) -> None:
        self.server = server
        self.transport = transport
        self.stream = transport != "udp"
        self.in_flight: dict[bytes, InFlight] = {}  # by message ID: where replies find their lookup
        self.sent = 0  # queries
        self.replies = 0
        self.last_reply = -math.inf
        self.refused: str | None = None  # the local failure that was reported since the last reply

    @property
    def used(self) -> bool:
        """Say whether it may get more queries."""
        return self in self.server.flows or self is self.server.further

    def retire(self) -> None:
        """Give it no more queries."""
        if self in self.server.flows:
            self.server.flows.remove(self)
        if self is self.server.further:
            self.server.further = None


class Sent(msgspec.Struct):
    """An earlier query of a lookup: where a late reply to it may come in, and what that reply then counts for."""

    flow: Flow
    ident: bytes
    round: Round
    when: float


class InFlight(msgspec.Struct):
    """One lookup in flight. Times are seconds on the exchange's clock.

    `flow`, `ident`, `round` and `sent` tell of its latest query, until the try is over. Then `ident` is empty until the
    next goes out; `flow` still says where it was.
    """

    query: Query
    question: bytes
    ident: bytes
    flow: Flow
    round: Round
    first: float  # when the first query went out, and the latest
    sent: float
    edns: bool
    tries: int = 1  # begun, of the policy's
    sends: int = 1  # queries that went out
    free: int = 0  # repeats that used up no try
    stream: bool = False  # the present nameserver is asked over TCP, after truncation
    alone: bool = False  # asked on a connection of its own, after it may have broken one that it shared
    broke: bool = False  # a connection that it shared has ended under it
    congested: int = 0  # tries that were none, since our own sending lost their queries
    ended: bool = False
    earlier: list[Sent] | None = None
    # The best of what was heard so far, and from where.
    status: Status | None = None
    error: str | None = None
    teller: Flow | None = None
    unread: str | None = None  # what is to be said of the last reply that was none
    detail: Detail | None = None  # of what was heard

    def leave(self) -> None:
        """End the try: its query becomes an earlier one, if a reply to it could still come in."""
        if self.flow.in_flight.get(self.ident) is self:
            self.earlier = [*(self.earlier or ()), Sent(self.flow, self.ident, self.round, self.sent)]
        self.ident = b""

    def verdict(self, engine: str, now: float) -> Result:
        """The result when every try has failed: the best of what was heard."""
        query, status, error = self.query, self.status or Status.TIMEOUT, self.error
        teller = self.teller if status not in (Status.TIMEOUT, Status.ERROR) else None
        pinned = query.nameserver is not None
        if status is Status.TIMEOUT:
            error = rule.silence(self.tries, self.unread)
        return query.result(
            status,
            engine=engine,
            backend="wire",
            nameserver=teller.server.text if teller else self.flow.server.text if pinned else None,
            transport=teller.transport if teller else None,
            attempts=self.sends,
            elapsed=round(max(0.0, now - self.first), 6),
            error=error,
        )


class Server:
    """One nameserver: its window, its flows, and the lookups that wait to be sent to it (again)."""

    def __init__(self, number: int, nameserver: Nameserver, window: Window) -> None:
        self.number = number
        self.nameserver = nameserver
        self.text = str(nameserver)
        self.tally = NameserverTally(self.text)
        self.window = window
        self.stream = nameserver.transport != "udp"
        self.edns = True  # until it refuses a query with EDNS, and answers well without
        self.ready: deque[InFlight] = deque()  # lookups that wait to be sent over UDP
        # Behind it, once there is one, those for a connection of their own, and those for any connection.
        self.queues = [self.ready]
        self.flows: list[Flow] = []  # UDP; those that get new queries
        self.further: Flow | None = None  # the latest one for further tries
        self.turn = 0
        self.renew_after = RENEWED  # queries
        self.renewals = 0
        self.went_silent = 0  # replies of the last flow that fell silent
        self.answered = False  # ever, in this run
        self.failures = 0  # tries that failed before its first answer
        self.failing = 0.0  # share of the latest tries that failed since
        self.refused_since: float | None = None  # the port is closed, though it has answered before
        self.probe_at = 0.0  # when one query may look whether it is open again
        self.distrusted = False  # it was found to lie: it rests for good
        self.rest = 0.0  # seconds of the present rest; 0: none
        self.rested = 0.0  # until when

    @property
    def waiting(self) -> bool:
        """Say whether lookups wait to be sent to it."""
        return any(self.queues)

    def queue_of(self, lookup: InFlight) -> deque[InFlight]:
        """Return the queue in which a lookup waits to be sent."""
        if not (lookup.stream or self.stream):
            return self.ready
        if len(self.queues) == 1:  # most of a long list are never asked over a connection
            self.queues += deque(), deque()
        return self.queues[1 if lookup.alone else 2]

"""The nouns of the exchange: a Flight is one lookup on its way, a Path one socket's worth of message IDs, a Server one
nameserver with its paths and its window. They hold state; the rules that move them stand in exchange.py.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import msgspec

from resolver import policy as rule
from resolver.message import Query, Result, Status
from resolver.wire.rounds import Round
from resolver.wire.window import Window

if TYPE_CHECKING:
    from resolver.nameserver import Nameserver

# Where a flight is counted once its reply was: a second reply to the same query must not count as another.
NOWHERE = Round(0.0)
NOWHERE.judged = True


class Path:
    """One socket's worth of message IDs towards one nameserver. `stream`: TCP or TLS."""

    __slots__ = ("answered", "flights", "sent", "server", "stream", "transport")

    def __init__(self, server: Server, transport: str) -> None:
        self.server = server
        self.transport = transport
        self.stream = transport != "udp"
        self.flights: dict[bytes, Flight] = {}
        self.sent = 0
        self.answered = 0  # since the connection was opened


class Server:
    """One nameserver: its window, its paths, and the flights that wait to be sent to it (again)."""

    __slots__ = ("edns", "lanes", "nameserver", "number", "ready", "solo", "stream", "text", "turn", "window")

    def __init__(self, number: int, nameserver: Nameserver, window: Window) -> None:
        self.number = number
        self.nameserver = nameserver
        self.text = str(nameserver)
        self.window = window
        self.edns = True  # until it answers FORMERR with EDNS, and well without
        self.ready: deque[Flight] = deque()
        self.lanes: list[Path] = []
        self.turn = 0
        self.stream: Path | None = None
        self.solo = 0  # queries still to be sent one at a time over a connection, after one broke

    def streams(self, flight: Flight) -> bool:
        """Is this flight sent over a connection here?"""
        return flight.stream or self.nameserver.transport != "udp"


class Flight(msgspec.Struct):
    """One lookup on its way. Times are seconds on the exchange's clock."""

    query: Query
    question: bytes
    ident: bytes
    path: Path
    round: Round
    first: float  # when the first query went out, and the latest
    sent: float
    edns: bool
    attempt: int = 1
    sends: int = 1
    free: int = 0  # repeats that used up no try
    stream: bool = False  # the present nameserver is asked over TCP, after truncation
    ended: bool = False
    # Places of earlier queries, where a late reply may still come in.
    earlier: list[tuple[Path, bytes]] | None = None
    # The best of what was heard so far, and from where.
    status: Status | None = None
    error: str | None = None
    teller: Path | None = None
    unread: str | None = None  # what is to be said of the last reply that was none

    def verdict(self, engine: str, now: float) -> Result:
        """The result when every try has failed: the best of what was heard."""
        query, status, error = self.query, self.status or Status.TIMEOUT, self.error
        teller = self.teller if status not in (Status.TIMEOUT, Status.ERROR) else None
        if status is Status.TIMEOUT:
            error = rule.silence(self.attempt, self.unread)
        return Result(
            query.index,
            query.input,
            query.name,
            query.type,
            status,
            [],
            teller.server.text if teller else None,
            teller.transport if teller else None,
            self.sends,
            round(max(0.0, now - self.first), 6),
            engine,
            "wire",
            error,
        )

"""Where a query goes out: which socket, and under which ID.

IDs are random, and source ports are several and renewed as the run goes (RFC 5452 section 9.2), so that a forger off
the path has both to guess. A further query of a lookup goes out by another path and under another ID, so that each
reply tells which query it answers; the earlier places stay open, so that a late reply to them still counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from resolver.wire.flight import Flight, Path, Server

if TYPE_CHECKING:
    from collections.abc import Callable

LANES = 4  # UDP sockets a nameserver, where there are few nameservers
SHARE = 250  # queries in flight for each lane: their replies fit into its socket buffer
RENEWED = 8192  # queries: then a lane's source port is renewed
CROWDED = 30_000  # flights on a lane that make unused IDs hard to find


class Paths:
    """Chooses paths and IDs. `entropy(n)` gives n random octets."""

    def __init__(self, in_flight: int, servers: int, entropy: Callable[[int], bytes]) -> None:
        self._lanes = max(LANES, min(64, in_flight // SHARE)) if servers <= 16 else 1
        self._entropy = entropy

    def next(self, server: Server) -> Path:
        """The path for a batch of new queries: one lane after the other, each renewed after some thousand queries."""
        if server.nameserver.transport != "udp":
            return self.stream(server)
        server.turn += 1
        if len(server.lanes) < self._lanes:
            server.lanes.append(Path(server, "udp"))
            return server.lanes[-1]
        at = server.turn % self._lanes
        if server.lanes[at].sent >= RENEWED or len(server.lanes[at].flights) > CROWDED:
            server.lanes[at] = Path(server, "udp")
        return server.lanes[at]

    def stream(self, server: Server) -> Path:
        """The one connection to this nameserver."""
        if server.stream is None:
            server.stream = Path(server, "tls" if server.nameserver.transport == "tls" else "tcp")
        return server.stream

    def place(self, flight: Flight, server: Server) -> Path:
        """Give a flight a new place for a further query, and return its path."""
        path = flight.path = self.stream(server) if server.streams(flight) else self.next(server)
        flight.ident = self.unused(path)
        path.flights[flight.ident] = flight
        return path

    def unused(self, path: Path) -> bytes:
        """A random ID that nothing in flight on this path has."""
        ident = self._entropy(2)
        while ident in path.flights:
            ident = self._entropy(2)
        return ident

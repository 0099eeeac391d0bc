"""Where a query goes out: which socket, and under which ID.

IDs are random, and source ports are several and renewed as the run goes (RFC 5452 section 9.2), so that a forger off
the path has both to guess. A query that is repeated to the same nameserver keeps its place, so that a late reply to
the first still counts.
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
        """Where a further query goes: where one stands already to the same nameserver in the same way, or anew.

        The other places stay open; a flight knows them as `earlier`.
        """
        stream = server.streams(flight)
        places = [(flight.path, flight.ident), *(flight.earlier or ())]
        standing = [place for place in places if place[0].flights.get(place[1]) is flight]
        here = next((place for place in standing if place[0].server is server and place[0].stream == stream), None)
        if here is None:
            path = self.stream(server) if stream else self.next(server)
            here = path, self.unused(path)
            path.flights[here[1]] = flight
        flight.path, flight.ident = here
        flight.earlier = [place for place in standing if place != here] or None
        return flight.path

    def unused(self, path: Path) -> bytes:
        """A random ID that nothing in flight on this path has."""
        ident = self._entropy(2)
        while ident in path.flights:
            ident = self._entropy(2)
        return ident

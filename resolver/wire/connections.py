"""Connections to a nameserver (RFC 7766, 7858, 8484): which one the next query goes on, and how many at once. No I/O.

Theory of operation. Queries are pipelined on one connection, and on a few more where one is not enough. Each has a
*depth*, the queries that may wait on it at once: nothing is lost in a connection, so delay alone says when it is too
much. A failure belongs to the connection:

* one that says nothing while a query runs out is given no more; one that closes is gone. Either way, what it answered
  until then is the *limit*: how much this nameserver, or what stands before it, takes on one connection. The next ones
  carry no more than that, the more of them side by side; now and then one more is tried, for the limit may be chance.
* one that loses queries while it answers others takes no pipelining: from then on one at a time, on many connections.
  Where these run out as well, it was the names.
* one that closes with nothing answered has met a query that it does not survive: each that was on it is asked *alone*,
  on a connection of its own, many of them side by side. That is both safe and fast.
* a nameserver none of whose connections says anything is dead: nothing is held back, so that its lookups run out
  together instead of in single file.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from resolver.wire.inflight import Flow

if TYPE_CHECKING:
    from resolver.wire.flows import Flows
    from resolver.wire.inflight import Server

DEPTH = 32  # queries that may wait on a new connection
LEAST_DEPTH = 4
TRIAL = 4  # queries that wait on a new one until it says something, where another has fallen silent
FEW = 4  # connections side by side
MANY = 100  # connections side by side where each takes little
TOGETHER = 128  # queries that should be under way together, however few a connection takes
LATER = 0.1  # seconds above the quickest reply: a queue at the other end
LOST = 4  # queries that ran out, before a pattern is seen in it
RARELY = 16  # connections of which one tries to go beyond the limit


class Connection(Flow):
    """One connection.

    Args:
        kin: All to its nameserver.
        depth: Queries that may wait on it at once.
        most: Queries that it may carry in all.
        alone: It is for one suspect.

    Attributes:
        quickest: Seconds of the quickest reply.
        streams: Queries that the nameserver allows on it at a time (HTTP/2), as far as that is known.
    """

    __slots__ = ("alone", "depth", "kin", "lost", "most", "one_by_one", "quickest", "slowed", "streams")

    def __init__(self, kin: Connections, depth: float, most: float, alone: bool) -> None:
        super().__init__(kin.server, kin.transport)
        self.kin = kin
        self.depth = depth
        self.most = most
        self.alone = alone
        self.one_by_one = depth == 1  # no query ever waits on it beside another
        self.lost = 0  # queries that ran out
        self.quickest = math.inf
        self.streams: float = math.inf
        self.slowed = -math.inf

    @property
    def room(self) -> int:
        """Number of queries that may go on it now."""
        return int(max(0, min(min(self.depth, self.streams) - len(self.in_flight), self.most - self.sent)))

    @property
    def used(self) -> bool:
        """Say whether it may get more queries."""
        return self in self.kin.open and self.sent < self.most

    def retire(self) -> None:
        """Give it no more queries."""
        self.kin.forget(self)

    @property
    def busy(self) -> bool:
        """Say whether queries are to come, or more than the last few of all that it carries are awaited."""
        return self.sent < self.most or 4 * len(self.in_flight) >= self.most


class Connections:
    """The connections to one nameserver.

    Args:
        server: The nameserver.
        flows: Those of the run, which count the sockets.
        most_in_flight: The most lookups of the run in flight.
        wait: Seconds that the shortest try waits.
    """

    def __init__(self, server: Server, flows: Flows, most_in_flight: int, wait: float) -> None:
        self.open: list[Connection] = []  # those that may be given queries
        self.server = server
        self.transport = server.nameserver.transport if server.nameserver.transport in ("tls", "https") else "tcp"
        self._flows = flows
        self._alone: set[Connection] = set()
        self._most_in_flight = most_in_flight
        self._later = min(LATER, wait / 4)
        self._answered = False
        self._silent = 0  # connections that were given up since something was answered
        self._deepest = most_in_flight  # the most that waits on any connection
        self._one_by_one = 0  # answered less lost, since it is one at a time
        self._by_name = False  # queries run out that were alone, too
        self._distrusted = False  # one has fallen silent
        self._limit = math.inf
        self._streams = math.inf  # what the latest connection that answered allows at a time
        self._carried = 0  # connections that answered as many as the limit, since one tried more
        self._rarely = RARELY

    @property
    def dead(self) -> bool:
        """Nothing comes back on any connection."""
        return self._silent > (FEW if self._answered else 1)

    def room(self) -> int:
        """Return how many new queries may go on connections now."""
        if any(self.server.queues[1:]):
            return 0
        return sum(each.room for each in self.open) + self._may_open() * int(min(self._depth(), self._limit))

    def choose(self) -> Connection | None:
        """The connection for the next queries, as many as it has room for; None where none has any for now."""
        found = None
        for connection in self.open:
            if connection.room:
                if connection.replies:
                    return connection
                found = found or connection
        return found or (self._begin(self._depth(), self._limit) if self._may_open() else None)

    def choose_alone(self) -> Connection | None:
        """A connection for one suspect: an idle one that works, or a new one; None where there may be no more."""
        for connection in self.open:
            if connection.replies and connection.room and not connection.in_flight:
                self.open.remove(connection)
                self._alone.add(connection)
                return connection
        if len(self._alone) + len(self.open) >= MANY:
            return None
        return self._begin(1, 1, alone=True)

    def replied(self, connection: Connection, replies: int, seconds: float, now: float) -> None:
        """Count replies on a connection, of which the last took so many seconds."""
        self._answered = True
        self._silent = 0
        self._streams = connection.streams
        if connection.replies > self._limit:
            self._limit *= 2
        if connection.one_by_one:
            self._one_by_one += replies
        if connection in self._alone:
            self._alone.remove(connection)
            if connection.alone:
                return
            self.open.append(connection)
        connection.quickest = min(connection.quickest, seconds)
        late = seconds - connection.quickest
        if late <= self._later:
            connection.depth = min(self._deepest, connection.depth + replies)
        elif late > 2 * self._later and now - connection.slowed > seconds:
            connection.depth = max(LEAST_DEPTH, min(connection.depth, len(connection.in_flight) + replies) / 2)
            connection.slowed = now
        if connection.sent >= connection.most and not connection.in_flight:
            self._was_carried(connection)

    def ran_out(self, connection: Connection, quiet: bool) -> bool:
        """Count a query that ran out.

        Args:
            connection: Where it went out.
            quiet: Nothing has been received there for long.

        Returns:
            Whether the connection may be to blame, since others have answered.
        """
        blamed = self._answered and not self.dead
        connection.lost += 1
        if quiet:
            if connection in self.open:
                self._silent += 1
                self._distrusted = True
                self._learn(connection, connection.replies)
            self.forget(connection)
            return blamed
        if connection.one_by_one:
            self._one_by_one -= 1
            if self._one_by_one < -LOST:
                self._deepest, self._by_name = self._most_in_flight, True
            return False
        many = connection.lost >= LOST and 4 * connection.lost > connection.replies
        if many and self._deepest > 1 and not self._by_name:
            self._deepest = 1
            for each in self.open:
                each.depth = 1
        return self._deepest == 1

    def closed(self, connection: Connection, stranded: int, took: int) -> None:
        """Forget a connection that ended, or is about to.

        Args:
            connection: The one.
            stranded: Queries that it left unanswered.
            took: Queries that it took beside these.
        """
        self.forget(connection)
        if stranded:
            self._learn(connection, took)

    def forget(self, connection: Connection) -> None:
        """Give no more queries to a connection."""
        if connection in self.open:
            self.open.remove(connection)
        self._alone.discard(connection)

    def _may_open(self) -> int:
        """Return how many more connections may be opened."""
        if not self._answered:
            return 0 if self.open else 1
        most = max(FEW, min(MANY, math.ceil(TOGETHER / min(self._limit, self._deepest, self._streams))))
        if self._limit == math.inf and self._deepest > 1 and not all(each.replies for each in self.open):
            return 0  # how much one connection takes is soon known
        return max(0, min(most - sum(each.busy for each in self.open), MANY - len(self.open) - len(self._alone)))

    def _begin(self, depth: float, most: float, *, alone: bool = False) -> Connection | None:
        connection = Connection(self, depth, most, alone)
        connection.streams = self._streams
        if self._flows.add(connection) is None:
            return None
        if alone:
            self._alone.add(connection)
        else:
            self.open.append(connection)
        return connection

    def _depth(self) -> float:
        if self.dead:
            return self._most_in_flight
        return min(self._deepest, TRIAL if self._distrusted else DEPTH)

    def _learn(self, connection: Connection, took: int) -> None:
        """Learn from a connection that took so many queries, and no more."""
        if connection.alone or not took:
            return
        if connection.most > self._limit:
            self._rarely = min(4096, 2 * self._rarely)  # it was this one that tried more
        self._limit = max(1, min(self._limit, took))

    def _was_carried(self, connection: Connection) -> None:
        """A connection answered as many queries as one is thought to take, and is still there."""
        self._carried += 1
        if self._carried >= self._rarely:
            self._carried = 0
            connection.most += 1
        elif connection in self.open:
            self.open.remove(connection)

"""The nameservers of a run, and whose turn it is.

All get their turn, as far as their windows allow. One that is of no use while another answers rests: it has never
answered and a query to it ran out, it fails or refuses nearly everything, or it was found to lie. It is asked only
where all are so, or with one query at times to see whether that is over. A short list goes to all of them: shares
follow from what there is to ask, not from what there is room for. Looking costs by the nameservers in use, not by all
of them: there may be thousands.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from typing import TYPE_CHECKING

from resolver.congestion import Window
from resolver.policy import FAILING, MEMORY, USELESS
from resolver.wire.connections import Connections
from resolver.wire.inflight import Server

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from resolver.model import Query
    from resolver.nameserver import Nameserver
    from resolver.policy import Policy
    from resolver.wire.flows import Flows

PROBE = 0.1  # seconds between the queries that look whether a closed port is open again
REST = 16.0  # times the first rest: the longest
TOGETHER = 8  # new queries that one of many nameservers is sent at once, where there are as many: they cost less so
LOOK = 64  # nameservers that are looked at for one with room, or for the next try


class ServerRotation:
    """The nameservers of a run.

    Args:
        policy: The run's.
        nameservers: Those that are asked.
        parties: Windows at each of them, in as many processes (congestion/window.py).
        flows: Those of the run.
    """

    def __init__(self, policy: Policy, nameservers: Sequence[Nameserver], parties: int, flows: Flows) -> None:
        self._patience = max(2 * policy.query_timeout, 1.0)
        self.servers = [
            Server(number, nameserver, Window(policy.in_flight, self._patience, parties))
            for number, nameserver in enumerate(nameservers)
        ]
        self.all_tries = sum(policy.wait(number) for number in range(1, policy.tries + 1))  # seconds
        self.in_use: dict[Server, None] = {}  # those with something under way, or of which something is wanted
        self._policy = policy
        self._flows = flows
        self._turn = deque(self.servers)
        self._connections: dict[Server, Connections] = {}
        self._proven = 0  # those that have answered
        self._awake = len(self.servers)  # those that do not rest
        self._resting: list[tuple[float, int, Server]] = []  # by the end of the rest; not in turn

    def connections(self, server: Server) -> Connections:
        """The connections of a nameserver."""
        found = self._connections.get(server)
        if found is None:
            found = Connections(server, self._flows, self._policy.in_flight, self._policy.wait(1))
            self._connections[server] = found
        return found

    # --- What became of a try.

    def answer(self, server: Server, answers: int, now: float) -> None:
        """Count answers of a nameserver."""
        if not server.answered:
            server.answered = True
            self._proven += 1
        elif server.failing:
            server.failing *= (1 - MEMORY) ** answers
        if server.rest and not server.distrusted:
            server.rest = server.failing = 0.0
            server.tally.failing -= 1
            self._awake += 1
            if server not in self._turn:
                self._turn.append(server)

    def failure(self, server: Server, now: float, *, silence: bool) -> None:
        """Count a try that failed at a nameserver.

        Args:
            server: The nameserver.
            now: Seconds on the exchange's clock.
            silence: Nothing came.
        """
        if self._policy.each_nameserver:
            return  # nobody else is asked in its place
        if not server.answered:
            server.failures += USELESS if silence else 1
            useless = server.failures >= USELESS
        else:
            server.failing += MEMORY * (1 - server.failing)
            useless = server.failing > FAILING or server.window.dead
        if not useless or self._proven <= server.answered:
            return  # nobody else answers either
        if not server.rest:
            server.tally.failing += 1
            self._begin_rest(server, now + self._patience)
        elif now >= server.rested:
            server.rest = min(REST * self._patience, 2 * server.rest)
            server.rested = now + server.rest

    def distrust(self, names: Collection[str]) -> None:
        """Have nameservers that lie rest for good: they are asked only where all others rest."""
        if self._policy.each_nameserver:
            return  # each is asked what it says
        for server in self.servers:
            if server.text in names and not server.distrusted:
                server.distrusted = True
                if not server.rest:
                    self._begin_rest(server, math.inf)

    def _begin_rest(self, server: Server, until: float) -> None:
        server.rest = self._patience
        server.rested = until
        self._awake -= 1
        if not self._awake:
            self._turn.extend(each for _, _, each in self._resting)
            self._resting.clear()

    def sole(self, server: Server) -> bool:
        """Say whether there is no other that could be asked in its place."""
        return self._policy.each_nameserver or self._awake - (not server.rest) <= 0

    def held(self, server: Server) -> bool:
        """Say whether lookups that it refused wait until its port is open again, with nobody else to ask."""
        return server.refused_since is not None and self.sole(server)

    # --- Who is asked.

    def to_probe(self, now: float) -> Server | None:
        """The next one whose rest is over: one query may look whether it is back."""
        if not (self._awake and self._resting and self._resting[0][0] <= now):
            return None
        server = self._resting[0][2]
        if server.rest:
            server.rested = math.inf if server.distrusted else now + server.rest
            heapq.heapreplace(self._resting, (server.rested, server.number, server))
            return None if server.distrusted else server
        heapq.heappop(self._resting)
        return None

    def rooms(self, wanted: int, most: int, now: float) -> list[tuple[int, Server]]:
        """Return how many new queries, `most` at each, may go to whom just now, in turn; only those with room."""
        turn, found = self._turn, []
        fruitless = 0
        enough = max(min(wanted, LOOK), wanted // TOGETHER)
        for _ in range(len(turn)):
            server = turn[0]
            if server.rest and self._awake:
                turn.popleft()
                heapq.heappush(self._resting, (server.rested, server.number, server))
                continue
            turn.rotate(-1)
            room = min(most, self._room(server, now))
            if room > 0:
                found.append((room, server))
                if len(found) >= enough:
                    break
            else:
                self.in_use[server] = None  # woken when it has room
                fruitless += 1
                if fruitless >= LOOK:
                    break
        if not found and self._flows.short and self._flows.spare():
            return self.rooms(wanted, most, now)  # of thousands, those with a socket may be far from having their turn
        return found

    def shares(self, queries: list[Query], rooms: list[tuple[int, Server]]) -> Iterator[tuple[Server, list[Query]]]:
        """Share the queries, which fit into the rooms, as evenly as these allow."""
        most, at = _share(len(queries), [room for room, _ in rooms]), 0
        given = 0
        for room, server in rooms:
            if share := queries[at : at + min(room, most)]:
                at += len(share)
                given += 1
                self.in_use[server] = None
                yield server, share
        self._turn.rotate(len(rooms) - given)  # those that got none are the next

    def after(self, server: Server) -> Server:
        """Choose whom to ask next: one that has answered and does not rest, or one that does not rest."""
        if self._policy.each_nameserver:
            return server
        servers = self.servers
        count = len(servers)
        others = [servers[(server.number + step) % count] for step in range(1, min(count, LOOK + 1))]
        awake = [each for each in others if not each.rest]
        proven = next((each for each in awake if each.answered), None)
        if proven is None and count > LOOK:
            proven = next((each for each in self._turn if each.answered and not each.rest), None)
        if proven or awake:
            return proven or awake[0]
        return others[0] if others and server.rest else server

    def _room(self, server: Server, now: float) -> int:
        if server.waiting:
            return 0
        if self.held(server) and now - (server.refused_since or now) < self.all_tries:
            return int(now >= server.probe_at)
        if server.stream:
            return self.connections(server).room()
        if self._flows.short and not server.flows:
            return 0
        return server.window.allowance(now)


def _share(queries: int, rooms: list[int]) -> int:
    """The most that one of several may get, so that these queries, which fit into the rooms, are shared evenly."""
    for number, room in enumerate(sorted(rooms)):
        share = -(-queries // (len(rooms) - number))
        if room >= share:
            return share
        queries -= room
    return queries

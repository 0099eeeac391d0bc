"""Whose turn it is: how queries are spread over the nameservers of a run.

All get their turn, as far as their windows allow; a dead one only where all are, or one query at times to see whether
it is back. A short list goes to all of them: shares follow from what there is to ask, not from what there is room for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from resolver.congestion import Window
from resolver.wire.flight import Server

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from resolver.message import Query
    from resolver.nameserver import Nameserver
    from resolver.policy import Policy
    from resolver.wire.waiting import Waiting


class Roster:
    """The `servers` of a run. `parties`: see congestion/window.py; `waiting`: the flights that wait for a reply."""

    def __init__(self, policy: Policy, nameservers: Sequence[Nameserver], parties: int, waiting: Waiting) -> None:
        patience = max(2 * policy.query_timeout, 1.0)
        self.servers = [
            Server(number, nameserver, Window(policy.in_flight, patience, parties))
            for number, nameserver in enumerate(nameservers)
        ]
        self._waiting = waiting
        self._turn = 0

    def to_probe(self) -> list[Server]:
        """Dead nameservers beside living ones: they may be asked once in a while whether they are back."""
        dead = [each for each in self._in_turn() if each.window.dead]
        return dead if len(dead) < len(self.servers) else []

    def rooms(self, most: int, now: float) -> list[tuple[int, Server]]:
        """How many new queries may go to whom just now, `most` at each, in turn; only those that may get some."""
        in_turn = self._in_turn()
        alive = [each for each in in_turn if not each.window.dead]
        rooms = [(min(most, self._room(each, now)), each) for each in alive or in_turn if not each.ready]
        return [each for each in rooms if each[0] > 0]

    def shares(self, queries: list[Query], rooms: list[tuple[int, Server]]) -> Iterator[tuple[Server, list[Query]]]:
        """Who is asked which of these queries. They fit into the rooms, and are shared as evenly as these allow."""
        most, at = _share(len(queries), [room for room, _ in rooms]), 0
        for room, server in rooms:
            if share := queries[at : at + min(room, most)]:
                self._turn += 1
                at += len(share)
                yield server, share

    def after(self, server: Server) -> Server:
        """Whom to ask after this one: the next in turn that is not dead, or the next."""
        count = len(self.servers)
        following = [self.servers[(server.number + step) % count] for step in range(1, count + 1)]
        return next((each for each in following if not each.window.dead), following[0])

    def occupied(self, server: Server) -> bool:
        """Does a query wait for its reply on a connection that gets one at a time?"""
        if not server.solo or server.stream is None:
            return False
        return any(flight in self._waiting for flight in server.stream.flights.values())

    def _in_turn(self) -> list[Server]:
        turn = self._turn % len(self.servers)
        return self.servers[turn:] + self.servers[:turn]

    def _room(self, server: Server, now: float) -> int:
        if server.solo and server.nameserver.transport != "udp":
            return int(not self.occupied(server))
        return server.window.allowance(now)


def _share(queries: int, rooms: list[int]) -> int:
    """The most that one of several may get, so that these queries, which fit into the rooms, are shared evenly."""
    for number, room in enumerate(sorted(rooms)):
        share = -(-queries // (len(rooms) - number))
        if room >= share:
            return share
        queries -= room
    return queries

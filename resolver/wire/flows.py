"""UDP flows: which socket a query leaves from, under which ID, and how many sockets there may be.

IDs are random, and source ports are several and renewed as the run goes (RFC 5452 section 9.2), so that a forger off
the way has both to guess. What fails on a network often belongs to one port: a balancer or NAT has pinned it to a dead
backend, or forgotten it. So a flow on which a query ran out, with nothing received since, gets no new query, and a
further try of a lookup leaves from another flow: one that was answered meanwhile, or a new one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from resolver.wire.inflight import RENEWED, Flow, InFlight

if TYPE_CHECKING:
    from collections.abc import Callable

    from resolver.wire.inflight import Server

FLOWS = 4  # UDP flows of a nameserver, where there are few nameservers
SHARE = 250  # queries in flight for each flow: their replies fit into its socket buffer
LEAST_RENEWED = 16  # queries that a flow carries at least, though others fell silent sooner
FURTHER = 16  # queries that a flow for further tries carries
GROWTH = 64  # renewals after which flows may carry twice as many queries as before
SWEEP = 0.25  # seconds between looks for sockets that are no longer needed
CROWDED = 30_000  # lookups on a flow that make unused IDs hard to find


class Flows:
    """All flows of a run, connections too.

    Args:
        in_flight: The most lookups in flight.
        servers: Nameservers of the run.
        entropy: Returns so many random octets.
        limit: The most sockets.
        waits: Tells whether a reply to the last query of a lookup is due.
        sources: Local addresses that take turns, each of which is to have a flow.
    """

    def __init__(
        self,
        in_flight: int,
        servers: int,
        entropy: Callable[[int], bytes],
        limit: int,
        waits: Callable[[InFlight], bool],
        sources: int = 0,
    ) -> None:
        self.limit = self._most = limit
        self.dropped: list[Flow] = []  # to be closed; taken and emptied by the channel
        self._each = max(1, min(FLOWS if servers <= 16 else 1, limit // (2 * servers)))
        if servers <= 16:
            self._each = max(self._each, min(64, in_flight // SHARE, limit // (2 * servers)))
        self._each = max(self._each, min(sources, limit // (2 * servers)))
        self._entropy = entropy
        self._waits = waits
        self._open: dict[Flow, None] = {}  # in the order in which they were opened
        self._searched = False  # since the last tick, for sockets that can be given back
        self._swept = 0.0

    # --- Which flow.

    def next(self, server: Server) -> Flow | None:
        """Choose the flow for a batch of new queries: one after the other, each renewed after some thousand queries.

        None: there are no more sockets for now.
        """
        flows = server.flows
        server.turn += 1
        if len(flows) < self._each and (flow := self._new(server)):
            flows.append(flow)
            return flow
        if not flows:
            return None
        at = server.turn % len(flows)
        flow = flows[at]
        if (flow.sent >= server.renew_after or len(flow.in_flight) > CROWDED) and (renewed := self._new(server)):
            server.renewals += 1
            if server.renewals % GROWTH == 0:
                server.renew_after = min(RENEWED, 2 * server.renew_after)
            flow = flows[at] = renewed
        return flow

    def further(self, server: Server, lookup: InFlight) -> Flow | None:
        """Choose the flow for a further try: one that was answered since the lookup's last query, or a new one.

        Which of the two works depends on what is wrong with the ports, so a third try takes the kind that the second
        did not. Where sockets are short, one that the lookup has used already. None: there are none at all.
        """
        if not lookup.sends or lookup.flow.server is not server:
            return self.next(server)
        used = {sent.flow for sent in lookup.earlier or ()} | {lookup.flow}
        others = [flow for flow in server.flows if flow not in used]
        works = max(others, key=lambda flow: flow.last_reply, default=None)
        if works is not None and works.last_reply <= lookup.sent:
            works = None
        if works is not None and not (lookup.tries > 2 and lookup.flow.replies):
            return works
        fresh = server.further
        if fresh is None or fresh in used or fresh.sent >= FURTHER:
            fresh = self._new(server)
            server.further = fresh or server.further
        return fresh or works or next(iter(others), None) or self.next(server)

    def silent(self, flow: Flow) -> None:
        """Give a flow no more new queries: one ran out on it, and nothing was received since."""
        server = flow.server
        if flow is server.further:
            server.further = None
        if flow not in server.flows:
            return
        server.flows.remove(flow)
        if flow.replies:
            # Twice in a row: ports there are good for so many queries. Once may be the nameserver's own silence.
            if server.went_silent:
                server.renew_after = max(LEAST_RENEWED, min(server.renew_after, server.went_silent, flow.replies))
            server.went_silent = flow.replies

    def unused(self, flow: Flow) -> bytes:
        """Return a random ID that nothing in flight on this flow has."""
        ident = self._entropy(2)
        while ident in flow.in_flight:
            ident = self._entropy(2)
        return ident

    # --- How many.

    def add(self, flow: Flow) -> Flow | None:
        """Count a new flow; None where there may be no more, after those were given back that can be spared."""
        if len(self._open) >= self.limit and not self._searched:
            self._searched = True
            if not self.spare():
                for each in self._late():
                    self.drop(each)
        if len(self._open) >= self.limit:
            return None
        self._open[flow] = None
        return flow

    def spare(self) -> bool:
        """Give the sockets back on which nothing is awaited; returns whether there were some."""
        idle = [each for each in self._open if not each.in_flight]
        for each in idle:
            self.drop(each)
        return bool(idle)

    def _late(self) -> list[Flow]:
        """The oldest flows on which nothing but late replies could come in; these are given up for the sockets."""
        late = []
        for flow in self._open:
            if not any(each.flow is flow and self._waits(each) for each in flow.in_flight.values()):
                late.append(flow)
                if 4 * len(late) >= self.limit:
                    break
        for flow in late:
            flow.in_flight.clear()
        return late

    @property
    def short(self) -> bool:
        """Say whether there are as many sockets as may be."""
        return len(self._open) >= self.limit

    def lessen(self, flow: Flow) -> bool:
        """Have no more flows than there are, without this one, which got no descriptor; False where there are none."""
        self._open.pop(flow, None)
        if not self._open:
            return False
        self.limit = len(self._open)
        return True

    def drop(self, flow: Flow) -> None:
        """Have the socket of a flow closed on which nothing is awaited, and forget it."""
        if flow in self._open:
            del self._open[flow]
            self.dropped.append(flow)
            flow.retire()

    def tick(self, now: float) -> None:
        """Let `add` look for idle sockets once more; at times have those closed that get no more queries."""
        self._searched = False
        if now - self._swept <= SWEEP:
            return
        self._swept = now
        self.limit = min(self._most, self.limit + 1)
        for flow in [each for each in self._open if not each.in_flight and not each.used]:
            self.drop(flow)

    def _new(self, server: Server) -> Flow | None:
        return self.add(Flow(server, "udp"))

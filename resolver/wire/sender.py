"""The next queries to be sent: which lookups, to whom, on which flow, as far as windows, rate and concurrency allow.

A lookup that has been taken is sent at once, or waits in a queue of the nameserver that is to be asked: for room in its
window, for a connection, for a socket, or until a port is open again. Further tries go before new lookups. Which try
comes next, and what a reply means, is decided in exchange.py and retries.py; here it is only carried out.
"""

from __future__ import annotations

import heapq
import itertools
import math
from typing import TYPE_CHECKING

from resolver.congestion import TokenBucket
from resolver.dns import message as codec
from resolver.wire import accelerator
from resolver.wire.inflight import NOWHERE, Flow, InFlight, Server
from resolver.wire.servers import PROBE, ServerRotation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from resolver.model import Query
    from resolver.policy import Policy
    from resolver.wire.flows import Flows
    from resolver.wire.timers import Timers

BATCH = 128  # queries that go out on one flow at once: their replies fit into a socket buffer of Linux' default size
PROBES = 16  # new queries of which one may look whether a nameserver that rests is back


class Sender:
    """The queries of one run on their way out.

    Attributes:
        outbox: Messages by flow, taken and emptied by the channel.
        in_flight: Lookups taken and not ended, which whoever ends them counts down.
        exhausted: No more lookups will come.
    """

    def __init__(
        self,
        policy: Policy,
        rotation: ServerRotation,
        flows: Flows,
        timers: Timers,
        entropy: Callable[[int], bytes],
        clock: Callable[[], float] | None,
    ) -> None:
        self.outbox: list[tuple[Flow, list[bytes]]] = []
        self.in_flight = 0
        self.queries_sent = 0
        self.exhausted = False
        self._most_in_flight = policy.in_flight
        self._forms = policy.forms
        self._pinned = policy.each_nameserver
        self._sources = len(policy.source) or 1
        self._rotation = rotation
        self._flows = flows
        self._timers = timers
        self._entropy = entropy
        self._clock = clock
        self._bucket = TokenBucket(policy.rate) if policy.rate else None
        self._paused: list[tuple[float, int, InFlight]] = []
        self._count = itertools.count()

    def fill(self, now: float, idled: float, take: Callable[[int], list[Query] | None]) -> None:
        """Fill the outbox with what may be sent: what waits first, then new queries.

        Args:
            now: Seconds on the exchange's clock.
            idled: Seconds that the engine has spent waiting for sockets.
            take: Gives new queries (see Exchange.flush).
        """
        while self._paused and self._paused[0][0] <= now:
            self.queue(heapq.heappop(self._paused)[2])
        grant = self._bucket.allowance(now) if self._bucket else 1 << 30
        in_use = self._rotation.in_use
        for server in list(in_use):
            server.window.tick(now, idled)
            if server.waiting:
                grant -= self._relaunch(server, grant, now)
            elif server.window.idle and not self._rotation.held(server):
                del in_use[server]
        if not self.exhausted:
            self._take(grant, now, take)

    def __iter__(self) -> Iterator[InFlight]:
        """The lookups that wait to be sent (again)."""
        for server in self._rotation.in_use:
            for queue in server.queues:
                yield from queue
        for _, _, lookup in self._paused:
            yield lookup

    def queue(self, lookup: InFlight, server: Server | None = None, *, first: bool = False) -> None:
        """Have a lookup sent to a nameserver, or once more to the one that was asked last, when there is room."""
        server = server or lookup.flow.server
        queue = server.queue_of(lookup)
        if first:
            queue.appendleft(lookup)
        else:
            queue.append(lookup)
        self._rotation.in_use[server] = None

    def pause(self, lookup: InFlight, until: float) -> None:
        """Have a lookup sent once more to the nameserver that was asked last, from that time on."""
        heapq.heappush(self._paused, (until, next(self._count), lookup))

    def take_back(self, flow: Flow, messages: Iterable[bytes]) -> list[InFlight]:
        """Undo the sending of these messages, as far as their lookups are not elsewhere by now."""
        lookups = [flow.in_flight.pop(message[:2]) for message in messages if message[:2] in flow.in_flight]
        self.queries_sent -= len(lookups)
        flow.server.tally.queries -= len(lookups)
        flow.sent -= len(lookups)
        if self._bucket:
            self._bucket.spend(-len(lookups))
        for lookup in lookups:
            self._timers.remove(lookup)
            lookup.ident = b""
            lookup.sends -= 1
        if not flow.stream:
            flow.server.window.unsent(len(lookups))
        return lookups

    def due(self, now: float) -> float:
        """When `fill` next has something to do by itself."""
        due = self._paused[0][0] if self._paused else math.inf
        wanted = not self.exhausted
        for server in self._rotation.in_use:
            if self._rotation.held(server):
                due = min(due, server.probe_at if server.probe_at > now else now + PROBE)
            elif server.ready or wanted:
                due = min(due, now + server.window.wait(now))
        if self._bucket and (wanted or any(server.waiting for server in self._rotation.in_use)):
            # With tokens left something else holds the queries back.
            due = min(due, now + (self._bucket.wait() or math.inf))
        return due

    # --- Carrying it out.

    def _take(self, grant: int, now: float, take: Callable[[int], list[Query] | None]) -> None:
        """Launch new queries as far as windows, pace and concurrency allow."""
        room = min(grant, self._most_in_flight - self.in_flight)
        if self._pinned:
            while room > 0 and (drawn := self._draw([(room, self._rotation.servers[0])], room, now, take)):
                room -= drawn
            return
        for _ in range(-(-room // PROBES)):
            server = self._rotation.to_probe(now)
            if server is None:
                break
            room -= self._draw([(1, server)], 1, now, take)
        while room > 0 and not self.exhausted:
            drawn = self._draw(self._rotation.rooms(room, BATCH, now), room, now, take)
            if not drawn:
                break
            room -= drawn

    def _draw(
        self, rooms: list[tuple[int, Server]], most: int, now: float, take: Callable[[int], list[Query] | None]
    ) -> int:
        """Launch up to `most` new queries, evenly at these nameservers, each with its room; returns how many."""
        wanted = min(most, sum([room for room, _ in rooms]))
        queries = take(wanted) if wanted > 0 else []
        if queries is None:
            self.exhausted = True
        if not queries:
            return 0
        self.in_flight += len(queries)
        if self._clock is not None:
            # Reading hosts takes its time, a hundredth of a second where a name is the first to need a library.
            now = self._clock()
        if self._pinned:
            self._queue_new(queries, now)
            return len(queries)
        for server, share in self._rotation.shares(queries, rooms):
            self._launch(server, share, now)
        return len(queries)

    def _queue_new(self, queries: list[Query], now: float, only: Server | None = None) -> None:
        """Have queries wait for the room of this nameserver, or each for that of the one that it names."""
        for query, question in zip(queries, codec.questions(queries), strict=True):
            server = only or self._rotation.servers[query.nameserver or 0]
            flow = Flow(server, server.nameserver.transport)
            self.queue(InFlight(query, question, b"", flow, NOWHERE, now, now, server.edns, sends=0))

    def _launch(self, server: Server, queries: list[Query], now: float) -> None:
        at = 0
        while at < len(queries):
            most = len(queries)
            flow: Flow | None  # None: there is none to be had; these go as soon as there is
            if server.stream:
                connection = flow = self._rotation.connections(server).choose()
                most = at + connection.room if connection else at
            else:
                flow = self._flows.next(server)
                most = at + -(-len(queries) // self._sources)  # of each address some
            if flow is None:
                self._queue_new(queries[at:], now, server)
                return
            self._launch_on(flow, queries[at:most], now)
            at = most

    def _launch_on(self, flow: Flow, queries: list[Query], now: float) -> None:
        in_flight, timers, server = flow.in_flight, self._timers.tries[0], flow.server
        round_ = NOWHERE if flow.stream else server.window.sent(len(queries), now)
        edns = server.edns
        around = [form.around(edns=edns) for form in self._forms]
        head, tail = around[0]
        several = len(around) > 1
        idents, at = self._entropy(2 * len(queries)), 0
        messages: list[bytes] = []
        if not several:
            messages, queries = accelerator.launch(
                queries, idents, flow, in_flight, timers, round_, now, edns, head, tail, codec.TYPE_AND_CLASS
            )
        if queries and messages:
            idents = self._entropy(2 * len(queries))  # theirs may be those of others by now
        for query, question in zip(queries, codec.questions(queries), strict=True):
            ident = idents[at : at + 2]
            at += 2
            if ident in in_flight:
                ident = self._flows.unused(flow)
            in_flight[ident] = timers[query.index] = InFlight(query, question, ident, flow, round_, now, now, edns)
            if several:
                head, tail = around[query.subnet]
            messages.append(ident + head + question + tail)
        flow.sent += len(messages)
        server.probe_at = now + PROBE
        self._post(flow, messages)

    def _relaunch(self, server: Server, grant: int, now: float) -> int:
        """Send what waits for this nameserver, as far as allowed; returns how many."""
        held = self._rotation.held(server)
        if held:
            grant = min(grant, int(now >= server.probe_at))
        count = 0
        posts: dict[Flow, list[bytes]] = {}
        for queue in server.queues:
            allowed = grant - count
            if queue is server.ready and not held:
                allowed = min(allowed, server.window.allowance(now))
            while queue and allowed > 0:
                lookup = queue[0]
                if not lookup.ended:
                    flow = self._flow_for(lookup, server)
                    if flow is None:
                        break
                    posts.setdefault(flow, []).append(self._send(lookup, flow, now))
                    count += 1
                    allowed -= 1
                queue.popleft()
        for flow, messages in posts.items():
            self._post(flow, messages)
        if count:
            server.probe_at = now + PROBE
        return count

    def _flow_for(self, lookup: InFlight, server: Server) -> Flow | None:
        if not (lookup.stream or server.stream):
            return self._flows.further(server, lookup)
        connections = self._rotation.connections(server)
        return connections.choose_alone() if lookup.alone else connections.choose()

    def _send(self, lookup: InFlight, flow: Flow, now: float) -> bytes:
        """Put the next query of a lookup on this flow; returns the message that leaves there."""
        if not lookup.sends:
            lookup.first = now
        lookup.flow, lookup.ident = flow, self._flows.unused(flow)
        flow.in_flight[lookup.ident] = lookup
        flow.sent += 1
        lookup.sends += 1
        lookup.sent = now
        lookup.round = NOWHERE if flow.stream else flow.server.window.sent(1, now)
        self._timers.add(lookup)
        head, tail = self._forms[lookup.query.subnet].around(edns=lookup.edns)
        return lookup.ident + head + lookup.question + tail

    def _post(self, flow: Flow, messages: list[bytes]) -> None:
        self.queries_sent += len(messages)
        flow.server.tally.queries += len(messages)
        if self._bucket:
            self._bucket.spend(len(messages))
        self.outbox.append((flow, messages))

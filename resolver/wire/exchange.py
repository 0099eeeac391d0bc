"""The state of the wire backend: what is in flight, and what each reply, silence or failure means for it.

Theory of operation. A lookup that was taken is *in flight* until it has its result. It is sent on a *flow* (one socket
with its message IDs), and stands in two places: with the flow, by ID, where replies find it, and with the timers
(timers.py), where silence finds it. What fails belongs to a flow, and the tries of a lookup must not: the next one goes
to another nameserver, or leaves from another flow (retries.py).

Repeats that are no fault of the lookup's use up no try, within bounds: over TCP after truncation, without EDNS, after
the kernel refused to send, after a connection that was shared ended, and after our own sending lost a query, as the
window sees it.

A port that refuses is a local failure, told at once, where the nameserver has answered nothing in this run. One that
answered before restarts, or has neighbours behind one address: its queries run out as in silence. Where there is nobody
else to ask, lookups then wait until a query that looks for it finds the port open again, for as long as their tries
would take.

Nothing here touches a socket or a clock: `flush` fills `outbox` with what to send, `receive` takes what came, `failed`,
`unreachable`, `closed`, `refused` and `unsent` tell of sockets. Rules that move a lookup stand here and in retries.py;
how much may be sent is the window's (congestion/window.py) and the connections' (connections.py), whose turn it is the
rotation's (servers.py), what octets mean the codec's (dns/message.py), how often is asked the policy's (policy.py).
"""

from __future__ import annotations

import math
import os
import time
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from resolver.congestion import Round
from resolver.dns import message as codec
from resolver.dns.detail import detail, plain_detail, tell_plain, time_of_day
from resolver.model import ANSWERED, Query, Record, Result, Status
from resolver.wire import accelerator
from resolver.wire.accelerator import RECEIVE
from resolver.wire.connections import Connection
from resolver.wire.flows import Flows
from resolver.wire.inflight import NOWHERE, Flow, InFlight, Server
from resolver.wire.retries import FREE, Retries
from resolver.wire.sender import Sender
from resolver.wire.servers import ServerRotation
from resolver.wire.timers import Timers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from resolver.nameserver import Nameserver
    from resolver.policy import Policy
    from resolver.wire.lines import PlainLines

REFUSED = 0.005  # seconds before a query that the kernel refused to send goes again, doubled each time
BLOCKED = 0.01  # seconds until a socket that took no more is tried again, should nobody say that it is ready
SOCKETS = 1 << 30  # no limit of sockets

_NOERROR = Status.NOERROR  # on Python 3.11 each look at an Enum's member costs as much as a record
_TRUNCATED: tuple[Status | None, list[Record], str | None] = (None, [], None)


class Exchange:
    """Everything in flight in one run. The channel empties `outbox` and `dropped` (sockets to close) after each call.

    Args:
        policy, nameservers, engine: The run's.
        entropy: Returns so many random octets.
        clock: Tells the time after queries were taken; None: it is still that of the call.
        parties: Processes that share the run's nameservers (congestion/window.py).
        sockets: The most that may be open.
        answered: Says whether a nameserver has answered in another of the processes.
        wall: The time of day, in seconds since the epoch, for `detail`.
    """

    def __init__(
        self,
        policy: Policy,
        nameservers: Sequence[Nameserver],
        engine: str,
        entropy: Callable[[int], bytes] = os.urandom,
        clock: Callable[[], float] | None = None,
        parties: int = 1,
        sockets: int = SOCKETS,
        answered: Callable[[], bool] | None = None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.policy = policy
        self.engine = engine
        self._wall = wall
        self.idled = 0.0  # seconds that the engine spent waiting for sockets
        self._answered = answered
        self.timers = Timers(policy)
        waits = self.timers.__contains__
        self._flows = Flows(policy.in_flight, len(nameservers), entropy, sockets, waits, len(policy.source))
        self.dropped = self._flows.dropped
        self._rotation = ServerRotation(policy, nameservers, parties, self._flows)
        self.servers, self.distrust = self._rotation.servers, self._rotation.distrust
        self._sender = Sender(policy, self._rotation, self._flows, self.timers, entropy, clock)
        self.outbox = self._sender.outbox
        self._retries = Retries(policy, engine, self._rotation, self._flows, self.timers, self._sender)
        self._wake = 0.0
        self._blocked = False  # a socket took no more

    @property
    def in_flight(self) -> int:
        """Lookups that were taken and have not ended."""
        return self._sender.in_flight

    @property
    def queries_sent(self) -> int:
        """Messages that went out."""
        return self._sender.queries_sent

    @property
    def idle(self) -> bool:
        """Nothing is in flight, and nothing more will come."""
        return self._sender.exhausted and not self._sender.in_flight

    def lookups(self) -> list[InFlight]:
        """Return what is in flight: those that wait for a reply, and those that wait to be sent."""
        return [lookup for lookup in (*self.timers, *self._sender) if not lookup.ended]

    def take_results(self) -> list[Result]:
        """Take the results since the last call."""
        results, self._retries.results = self._retries.results, []
        return results

    # --- Time passes.

    def flush(self, now: float, take: Callable[[int], list[Query] | None]) -> None:
        """Give up on what is overdue, then fill `outbox` with what may be sent.

        `take(n)` gives up to n queries: an empty list when there is none just now, None when none will come.
        """
        self._retries.expire(now)
        for server in self._rotation.in_use:
            if self._rotation.held(server):
                self._retries.end_held(server, now)
        self._flows.tick(now)
        self._sender.fill(now, self.idled, take)
        self._wake = min(self.timers.due(), self._sender.due(now))
        self._blocked = False

    def overdue(self, now: float) -> set[Flow]:
        """The flows on which a query has run out."""
        return {lookup.flow for lookup in self.timers.overdue(now)}

    def timeout(self, now: float) -> float:
        """Seconds until `flush` has something to do by itself; infinite where only a reply can bring that."""
        wait = max(0.0, self._wake - now)
        return min(wait, BLOCKED) if self._blocked else wait

    def abandon(self) -> None:
        """The run ends early: write into each unfinished query how far it came."""
        for lookup in self.lookups():
            if lookup.sends and not lookup.ended:
                lookup.query.attempts, lookup.query.asked = lookup.sends, lookup.first

    # --- Something came.

    def receive(self, flow: Flow, messages: list[bytes], now: float, lines: PlainLines | None = None) -> None:
        """Take what came in on a flow; what matches no lookup or cannot be parsed is dropped and waited past.

        Results of plain replies go into `lines`, where there are some and the accelerator can write them.
        """
        messages, replies, sent = self._settle(flow, messages, now, lines)
        before = len(self._retries.results) - replies
        in_flight, server, timers = flow.in_flight, flow.server, self.timers.tries[0]
        window, text, transport, engine = server.window, server.text, flow.transport, self.engine
        one_address, match, read, results = codec.one_address, codec.match, codec.read, self._retries.results
        counted: Round = NOWHERE
        in_round = 0
        first = elapsed = -1.0
        late = False
        details, subnets = self.policy.detail, self.policy.subnet
        came = time_of_day(self._wall()) if details and messages else ""
        start: int | None
        waits: list[float] = []  # seconds that each reply took
        unusual: list[Status] = []  # rcodes of those that have no records
        status: Status | None
        answers: list[Record] | None
        error: str | None
        for message in messages:
            ident = message[:2]
            lookup = in_flight.get(ident)
            if lookup is None:
                continue
            query = lookup.query
            answers = one_address(message, lookup.question, query)
            if answers is not None:
                status, error = _NOERROR, None
                start = 0
            else:
                start = match(message, lookup.question)
                if start is None:
                    lookup.unread = codec.mismatch(message)
                    continue
                if (message[2] & 2 or len(message) >= RECEIVE) and not flow.stream:
                    status, answers, error = _TRUNCATED
                else:
                    try:
                        status, answers, error = read(message, start, query)
                    except codec.Malformed as malformed:
                        lookup.unread = codec.unreadable(malformed)
                        continue
            if lookup.earlier is None or (lookup.ident == ident and lookup.flow is flow):
                if lookup.round is not counted:
                    window.answered(counted, in_round, now)
                    replies += in_round
                    counted, in_round = lookup.round, 0
                in_round += 1
                sent = lookup.sent
                late = False
            else:
                sent = self._retries.answered_late(lookup, flow, ident, now)
                replies += 1
                late = True
            waits.append(now - sent)
            if details and status is not None:
                subnet = subnets[query.subnet] if subnets else None
                told = detail(message, start, came, subnet) if start else plain_detail(message, came, subnet)
            if status is not _NOERROR:
                unusual.append(status or Status.of_rcode(message[3] & 15))
            if status is not _NOERROR and status not in ANSWERED:
                del in_flight[ident]
                if details and status is not None:
                    lookup.detail = told
                self._retries.unanswered(lookup, flow, status, error, now, late=late)
                continue
            if lookup.earlier is None and lookup.tries == 1:
                # The way of nearly every lookup; what _end does, without the call.
                del in_flight[ident]
                timers.pop(query.index, None)
                lookup.ended = True
                self._sender.in_flight -= 1
            else:
                self._retries.end(lookup, sent)
            if not lookup.edns:
                server.edns = False
            if lookup.first != first:
                first = lookup.first
                # A reply may come in the very turn that took and sent its query, whose time is that of its beginning.
                elapsed = round(now - first, 6) if now > first else 0.0
            # By position, and not through Query.result: this is the inner loop of every run, and keywords cost time.
            results.append(
                Result(
                    query.index,
                    query.input,
                    query.name,
                    query.type,
                    status,
                    answers,
                    text,
                    transport,
                    lookup.sends,
                    elapsed,
                    engine,
                    "wire",
                    error,
                )
            )
            if details:
                results[-1].detail = told
        window.answered(counted, in_round, now)
        replies += in_round
        if not replies:
            return
        if waits:
            server.tally.replied(waits, unusual)
        flow.replies += replies
        flow.last_reply = now
        if server.refused_since is not None:
            self._retries.reopened(server, now)
        flow.refused = None
        if len(results) > before:
            self._rotation.answer(server, len(results) - before, now)
        if isinstance(flow, Connection):
            flow.kin.replied(flow, replies, now - sent, now)
        elif not late:
            window.rtt.record(now - sent)

    def _settle(
        self, flow: Flow, messages: list[bytes], now: float, lines: PlainLines | None
    ) -> tuple[list[bytes], int, float]:
        """End the lookups of plain replies; returns the other messages, how many were plain, when the last left."""
        if self.policy.detail and self.policy.subnet:
            return messages, 0, -1.0  # what each was asked with is not in its result
        server = flow.server
        names = server.text, flow.transport, self.engine
        results: list[Any] = self._retries.results if lines is None else lines.lines
        before = len(results)
        others, runs, sent, queries = accelerator.settle(
            messages, flow.in_flight, self.timers.tries[0], results, now, *names, *(lines.more(*names) if lines else ())
        )
        for (round_, elapsed, begin), (_, _, end) in pairwise([*runs, (NOWHERE, 0.0, len(results))]):
            server.window.answered(round_, end - begin, now)
            server.tally.answered(elapsed, end - begin)
            if lines is not None:
                lines.elapsed.append((elapsed, end - begin))
        settled = len(results) - before
        self._sender.in_flight -= settled
        if lines is not None:
            lines.queries += queries
        elif settled and self.policy.detail:
            tell_plain(messages, others, results[before:], time_of_day(self._wall()))
        return others, settled, sent

    def failed(self, flow: Flow, reason: str, now: float) -> None:
        """The local side of a flow failed (port closed, no route, no socket): so did what was on its way there."""
        server = flow.server
        flow.retire()
        self._flows.drop(flow)
        if self._has_answered(server) and self._rotation.sole(server):
            # It may restart: its queries run out as if they had gone out.
            flow.refused = reason
            server.refused_since = server.refused_since or now
            flow.in_flight.clear()
            return
        self._rotation.failure(server, now, silence=True)
        for lookup in self._retries.take_off(flow):
            server.window.failed(lookup.round, now)
            self._retries.failed(lookup, Status.ERROR, reason, flow, now)

    def unreachable(self, flow: Flow, reason: str, now: float) -> None:
        """An error was reported about a datagram that went out earlier (ICMP); nobody says which."""
        server = flow.server
        if not self._has_answered(server):
            self.failed(flow, reason, now)
            return
        flow.refused = reason
        server.refused_since = server.refused_since or now

    def closed(self, flow: Flow, reason: str, now: float) -> None:
        """A connection ended after it was made. What it left unanswered is asked again (RFC 7766 section 6.2.4)."""
        assert isinstance(flow, Connection)
        flow.kin.closed(flow, self._retries.strand(flow, reason, now), flow.replies)
        self._flows.drop(flow)

    def leaving(self, flow: Flow, unprocessed: int) -> None:
        """A connection is given no more queries: it took all that it carries but so many."""
        assert isinstance(flow, Connection)
        flow.kin.closed(flow, unprocessed, flow.sent - unprocessed)

    def no_reply(self, flow: Flow, ident: bytes, reason: str, now: float, *, processed: bool) -> None:
        """No reply comes to a query, though its connection goes on; if it was not `processed`, that is no try."""
        flow.last_reply = now
        self._retries.no_reply(flow, ident, reason, now, processed=processed)

    def refused(self, flow: Flow, messages: Iterable[bytes], reason: str, now: float) -> None:
        """The kernel refused to send these (a full table, a filter's rule): each goes again in a moment."""
        for lookup in self._sender.take_back(flow, messages):
            if lookup.free < FREE:
                lookup.free += 1
                self._sender.pause(lookup, now + min(math.ldexp(REFUSED, lookup.free), self.policy.wait(1)))
            else:
                lookup.sends += 1  # of that try
                self._sender.queries_sent += 1
                flow.server.tally.queries += 1
                self._retries.failed(lookup, Status.ERROR, reason, flow, now)

    def unsent(self, flow: Flow, messages: Iterable[bytes]) -> None:
        """The socket takes no more for now: these did not go out after all, and are the next to go."""
        self._blocked = True
        for lookup in reversed(self._sender.take_back(flow, messages)):
            self._sender.queue(lookup, first=True)

    def no_socket(self, flow: Flow, messages: Iterable[bytes], reason: str, now: float) -> None:
        """Keep what was to leave on a flow for which no descriptor is left, until one is given back."""
        flow.retire()
        if self._flows.lessen(flow):
            self.unsent(flow, messages)
        else:
            self.failed(flow, reason, now)

    # --- A port that restarts.

    def _has_answered(self, server: Server) -> bool:
        """Say whether a nameserver has answered in this run, here or, where it is the only one, in another process."""
        return server.answered or (len(self.servers) == 1 and self._answered is not None and self._answered())

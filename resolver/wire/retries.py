"""The tries of a lookup: what becomes of it when one has failed, ran out, or was answered by less than an answer.

A try that fails goes to the next nameserver in turn, or leaves from another flow to the same one. Earlier queries keep
their place on the flow that they left from, so that a late reply still counts. When the last try has failed, the best
of what was heard is the result. Repeats that are no fault of the lookup's use up no try, within bounds.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec

from resolver import policy as rule
from resolver.model import Result, Status
from resolver.wire.connections import Connection
from resolver.wire.inflight import NOWHERE, Flow, InFlight, Server
from resolver.wire.servers import PROBE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from resolver.policy import Policy
    from resolver.wire.flows import Flows
    from resolver.wire.sender import Sender
    from resolver.wire.servers import ServerRotation
    from resolver.wire.timers import Timers

PAUSE = 0.25  # seconds before a nameserver that failed locally (port closed) is asked again
REPEATS = 3  # of a lookup, for tries that our own sending lost
FREE = 6  # queries of one lookup that use up no try for other reasons


class Retries(msgspec.Struct, eq=False):
    """The rules by which the lookups of one run go on or end. `results` holds those that have ended."""

    policy: Policy
    engine: str
    rotation: ServerRotation
    flows: Flows
    timers: Timers
    sender: Sender
    results: list[Result] = []

    def answered_late(self, lookup: InFlight, flow: Flow, ident: bytes, now: float) -> float:
        """Count a reply to an earlier query of a lookup; returns when that went out."""
        query = next(each for each in lookup.earlier or () if each.flow is flow and each.ident == ident)
        if query.round is not NOWHERE:
            flow.server.window.answered_late(query.round, 1, now)
            flow.server.window.rtt.record(now - query.when)
            query.round = NOWHERE
        return query.when

    def unanswered(
        self, lookup: InFlight, flow: Flow, status: Status | None, error: str | None, now: float, *, late: bool
    ) -> None:
        """Go on after a reply that is not the end: truncated (None), or an rcode that tells of an error."""
        server = flow.server
        waits = lookup in self.timers
        if (late or not waits) and status is not None:
            # This lookup is being asked elsewhere by now. An rcode may still be the best that it hears.
            self.hear(lookup, status, error, flow)
        elif not waits:
            pass  # its next query goes out in a moment
        elif lookup.free < FREE and (status is None or (lookup.edns and rule.refuses_edns(status))):
            if late:
                lookup.flow.server.window.withdrawn(lookup.round, 1)
                lookup.round = NOWHERE
            self.timers.remove(lookup)
            lookup.leave()
            lookup.free += 1
            if status is None:
                lookup.stream = True
            else:
                lookup.edns = False
            self.sender.queue(lookup, server)
        else:
            self.rotation.failure(server, now, silence=False)
            self.failed(lookup, status or Status.ERROR, error, flow, now)

    def expire(self, now: float) -> None:
        """Go on with the lookups whose try has run out."""
        for lookup in self.timers.overdue(now):
            flow = lookup.flow
            server = flow.server
            quiet = now - flow.last_reply > (now - lookup.sent) / 2
            ours = False
            if isinstance(flow, Connection):
                blamed = flow.kin.ran_out(flow, quiet)
                if blamed and not flow.refused and flow.sent > 1 and self.repeat(lookup):
                    server.tally.timeouts += 1
                    lookup.alone = quiet and lookup.broke
                    lookup.broke = True
                    self.sender.queue(lookup)
                    continue
            else:
                server.window.expired(lookup.round, now)
                ours = lookup.congested < REPEATS and server.window.congested(lookup.round, lookup.sent)
                if quiet:
                    self.flows.silent(flow)
            if ours:
                lookup.congested += 1
            else:
                self.rotation.failure(server, now, silence=True)
            status = Status.ERROR if flow.refused else Status.TIMEOUT
            self.failed(lookup, status, flow.refused, flow, now, counts=not ours)

    def repeat(self, lookup: InFlight) -> bool:
        """Have a lookup asked once more at no try's cost, if it may be; returns whether it may."""
        if lookup.free >= FREE:
            return False
        lookup.free += 1
        self.timers.remove(lookup)
        lookup.leave()
        return True

    def take_off(self, flow: Flow, idents: Iterable[bytes] | None = None) -> list[InFlight]:
        """Take lookups off a flow, those with these message IDs or all; returns those that wait for a reply there."""
        stranded = []
        for ident in [*flow.in_flight] if idents is None else idents:
            lookup = flow.in_flight.pop(ident, None)
            if lookup is None:
                continue
            if lookup.flow is not flow or lookup.ident != ident:
                others = [sent for sent in lookup.earlier or () if sent.flow is not flow or sent.ident != ident]
                lookup.earlier = others or None
            elif self.timers.remove(lookup):
                stranded.append(lookup)
        return stranded

    def strand(self, flow: Connection, reason: str, now: float) -> int:
        """Go on with all that waits for a reply on a connection that has ended; returns how many that were.

        That uses up no try of a lookup that shared it, for only one of them can have been the cause, or none: servers
        may limit the queries of one connection. One that may have been the cause is asked alone from then on.
        """
        stranded = self.take_off(flow)
        for lookup in stranded:
            if flow.sent > 1 and self.repeat(lookup):
                lookup.alone = lookup.broke or not flow.replies
                lookup.broke = True
                self.sender.queue(lookup)
            else:
                self.rotation.failure(flow.server, now, silence=False)
                self.failed(lookup, Status.ERROR, reason, flow, now)
        return len(stranded)

    def no_reply(self, flow: Flow, ident: bytes, reason: str, now: float, *, processed: bool) -> None:
        """Go on with the query of this ID, to which no reply comes; one that was not `processed` was no try."""
        for lookup in self.take_off(flow, [ident]):
            if not processed and self.repeat(lookup):
                self.sender.queue(lookup)
            else:
                self.rotation.failure(flow.server, now, silence=False)
                self.failed(lookup, Status.ERROR, reason, flow, now)

    def hear(self, lookup: InFlight, status: Status, error: str | None, flow: Flow) -> None:
        """Remember what a try told, where nothing better was heard before."""
        if rule.outranks(status, lookup.status):
            lookup.status, lookup.error, lookup.teller = status, error, flow

    def failed(
        self, lookup: InFlight, status: Status, error: str | None, flow: Flow, now: float, *, counts: bool = True
    ) -> None:
        """Go on with the next try, or end.

        Args:
            lookup: The one whose try has failed.
            status, error: What the try told.
            flow: Where it failed.
            now: Seconds on the exchange's clock.
            counts: The try was one of the lookup's.
        """
        flow.server.tally.failed(status)
        self.timers.remove(lookup)
        lookup.leave()
        self.hear(lookup, status, error, flow)
        if lookup.tries >= self.policy.tries and counts:
            self.give_up(lookup, now)
            return
        lookup.tries += counts
        server = self.rotation.after(flow.server)
        if server is not flow.server:
            lookup.stream, lookup.alone, lookup.edns = False, False, server.edns
        elif status is Status.ERROR and not self.rotation.held(server):
            self.sender.pause(lookup, now + min(PAUSE, self.policy.wait(1)))
            return
        self.sender.queue(lookup, server)

    def give_up(self, lookup: InFlight, now: float) -> None:
        """End a lookup without an answer: the best of what was heard is its result."""
        self.end(lookup)
        result = lookup.verdict(self.engine, now)
        if self.policy.detail:
            result.detail = lookup.detail
        self.results.append(result)

    def end(self, lookup: InFlight, answered: float = math.inf) -> None:
        """End a lookup.

        Args:
            lookup: The one.
            answered: When the query went out whose reply is the end; later ones say nothing of loss.
        """
        lookup.ended = True
        self.sender.in_flight -= 1
        waited = self.timers.remove(lookup)
        lookup.leave()
        for query in lookup.earlier or ():
            if query.flow.in_flight.get(query.ident) is lookup:
                del query.flow.in_flight[query.ident]
            if query.when > answered:
                latest = waited and query.when == lookup.sent
                query.flow.server.window.withdrawn(query.round, int(latest))

    # --- A port that restarts.

    def reopened(self, server: Server, now: float) -> None:
        """A closed port is open again: what it had refused is asked at once, at no try's cost."""
        since, server.refused_since = server.refused_since, None
        if since is None or now - since < PROBE:
            return  # an error about one of several behind this address
        for lookup in [each for each in self.timers if each.flow.server is server and each.flow.refused]:
            if lookup.free < FREE:
                server.window.failed(lookup.round, now)
                lookup.round = NOWHERE
                self.repeat(lookup)
                self.sender.queue(lookup)

    def end_held(self, server: Server, now: float) -> None:
        """Give up on what has met or waited for a closed port for as long as all its tries would take."""
        since = now - self.rotation.all_tries
        for lookup in [each for each in self.timers if each.first <= since and each.flow.refused]:
            self.hear(lookup, Status.ERROR, lookup.flow.refused, lookup.flow)
            server.tally.errors += 1
            server.window.failed(lookup.round, now)
            self.give_up(lookup, now)
        for queue in server.queues:
            for _ in range(len(queue)):
                lookup = queue.popleft()
                if lookup.ended:
                    continue
                if lookup.first <= since:
                    self.give_up(lookup, now)
                else:
                    queue.append(lookup)

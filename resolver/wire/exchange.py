"""The state of the wire backend: what is in flight, and what each reply, silence or failure means for it.

Theory of operation. A *flight* is one lookup on its way. It is launched on a *path* (one socket's worth of message
IDs), and stands in two places until it ends: among its path's flights, by ID, where replies find it, and among those
that wait (waiting.py), where silence finds it. A try that fails goes to the next nameserver in turn; the earlier places
stay open, so that a late reply still counts. When the last try has failed, the best of what was heard is the result.

Nothing here touches a socket or a clock: `flush` fills `outbox` with what to send, `receive` takes what came,
`failed`, `closed` and `unsent` tell of sockets. All rules that move a flight stand in this file; how much may be sent
is the window's (window.py), whose turn it is the roster's (roster.py), what octets mean the codec's (codec.py), how
often is asked the policy's (policy.py).
"""

from __future__ import annotations

import math
import os
from collections import deque
from typing import TYPE_CHECKING

from resolver import policy as rule
from resolver.message import ANSWERED, Query, Record, Result, Status
from resolver.wire import codec
from resolver.wire.flight import NOWHERE, Flight, Path, Server
from resolver.wire.paths import Paths
from resolver.wire.roster import Roster
from resolver.wire.rounds import Round
from resolver.wire.waiting import Waiting

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from resolver.nameserver import Nameserver
    from resolver.policy import Policy

BATCH = 128  # queries that go out on one lane at once: their replies fit into a socket buffer of Linux' default size
RECEIVE = 1280  # octets read of a datagram: more than the 1,232 we ask for; one that fills it was cut off
PAUSE = 0.25  # seconds before a nameserver that failed locally (port closed) is asked again
BLOCKED = 0.01  # seconds until a socket that took no more is tried again, should nobody say that it is ready
SOLO = 64  # queries that a nameserver answers one at a time after a connection broke
FREE = 6  # queries of one lookup that use up no try: over TCP, without EDNS, after a connection was closed

_NOERROR = Status.NOERROR  # on Python 3.11 each look at an Enum's member costs as much as a record
_TRUNCATED: tuple[Status | None, list[Record], str | None] = (None, [], None)


class Exchange:
    """Everything in flight over UDP, TCP and TLS, for one run.

    `results` and `outbox` are taken and emptied by the channel after each call. `clock` tells the time after queries
    were taken; None: it is still that of the call. `parties`: processes that share the run's nameservers (window.py).
    """

    def __init__(
        self,
        policy: Policy,
        nameservers: Sequence[Nameserver],
        engine: str,
        entropy: Callable[[int], bytes] = os.urandom,
        clock: Callable[[], float] | None = None,
        parties: int = 1,
    ) -> None:
        self.policy = policy
        self.engine = engine
        self.results: list[Result] = []
        self.outbox: list[tuple[Path, list[bytes]]] = []
        self.in_flight = 0
        self.queries_sent = 0
        self.idled = 0.0  # seconds that the engine spent waiting for sockets
        self.exhausted = False
        self._entropy = entropy
        self._clock = clock
        self._pace = rule.Pace(policy.rate) if policy.rate else None
        self._waiting = Waiting(policy)
        self.due = self._waiting.due  # when the next try runs out
        self._roster = Roster(policy, nameservers, parties, self._waiting)
        self.servers = self._roster.servers
        self._paths = Paths(policy.in_flight, len(self.servers), entropy)
        self._paused: deque[tuple[float, Flight]] = deque()
        self._wake = 0.0
        self._blocked = False  # a socket took no more

    # --- Time passes.

    def flush(self, now: float, take: Callable[[int], list[Query] | None]) -> None:
        """Give up on what is overdue, then fill `outbox` with what may be sent: tries again first, then new queries.

        `take(n)` gives up to n queries: an empty list when there is none just now, None when none will come.
        """
        self._expire(now)
        while self._paused and self._paused[0][0] <= now:
            flight = self._paused.popleft()[1]
            flight.path.server.ready.append(flight)
        grant = self._pace.allowance(now) if self._pace else 1 << 30
        for server in self.servers:
            server.window.tick(now, self.idled)
            if server.ready:
                grant -= self._relaunch(server, grant, now)
        if not self.exhausted:
            self._take(grant, now, take)
        self._wake = self._due(now)
        self._blocked = False

    def timeout(self, now: float) -> float:
        """Seconds until `flush` has something to do by itself; infinite where only a reply can bring that."""
        wait = max(0.0, self._wake - now)
        return min(wait, BLOCKED) if self._blocked else wait

    @property
    def idle(self) -> bool:
        """Nothing is in flight, and nothing more will come."""
        return self.exhausted and not self.in_flight

    def abandon(self) -> None:
        """The run ends early: write into each unfinished query how far it came."""
        flights = list(self._waiting)
        flights += [flight for server in self.servers for flight in server.ready]
        flights += [flight for _, flight in self._paused]
        for flight in flights:
            if flight.sends and not flight.ended:
                flight.query.attempts, flight.query.asked = flight.sends, flight.first

    # --- Something came.

    def receive(self, path: Path, messages: list[bytes], now: float) -> None:
        """Take what came in on a path; what matches no flight or cannot be parsed is dropped and waited past."""
        flights, window, waiting = path.flights, path.server.window, self._waiting.tries[0]
        text, transport, engine = path.server.text, path.transport, self.engine
        one_address, match, read, results = codec.one_address, codec.match, codec.read, self.results
        counted: Round = NOWHERE
        answered = 0
        trip = first = elapsed = -1.0
        status: Status | None
        answers: list[Record] | None
        error: str | None
        for message in messages:
            flight = flights.get(message[:2])
            if flight is None:
                continue
            query = flight.query
            answers = one_address(message, flight.question, query)
            if answers is not None:
                status, error = _NOERROR, None
            else:
                start = match(message, flight.question)
                if start is None:
                    flight.unread = codec.mismatch(message)
                    continue
                if (message[2] & 2 or len(message) >= RECEIVE) and not path.stream:
                    status, answers, error = _TRUNCATED
                else:
                    try:
                        status, answers, error = read(message, start, query)
                    except codec.Malformed as malformed:
                        flight.unread = codec.unreadable(malformed)
                        continue
            if flight.path is path:
                if flight.round is not counted:
                    window.answered(counted, answered, now)
                    counted, answered = flight.round, 0
                answered += 1
                if flight.sends == 1:
                    trip = now - flight.sent
            if status is not _NOERROR and status not in ANSWERED:
                self._unanswered(flight, path, status, error, now)
                continue
            if flight.earlier is None and flight.attempt == 1:
                # The way of nearly every lookup; what _end does, without the call.
                del flights[flight.ident]
                waiting.pop(query.index, None)
                flight.ended = True
                self.in_flight -= 1
            else:
                self._end(flight)
            if not flight.edns:
                path.server.edns = False
            if flight.first != first:
                first = flight.first
                # A reply may come in the very turn that took and sent its query, whose time is that of its beginning.
                elapsed = round(now - first, 6) if now > first else 0.0
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
                    flight.sends,
                    elapsed,
                    engine,
                    "wire",
                    error,
                )
            )
        if path.stream:
            path.answered += answered
            path.server.solo = max(0, path.server.solo - answered)
        window.answered(counted, answered, now)
        if trip >= 0.0:
            window.trip(trip)

    def failed(self, path: Path, reason: str, now: float) -> None:
        """The local side of a path failed (port closed, no route, no socket): so did what was on its way there."""
        for flight in self._strand(path):
            path.server.window.failed(flight.round, now)
            self._try_failed(flight, Status.ERROR, reason, path, now)

    def closed(self, path: Path, reason: str, now: float) -> None:
        """A connection broke after it was made. What it left unanswered is asked again (RFC 7766 section 6.2.4).

        That uses up no try where several were left, for only one of them can have been the cause, nor where the
        connection had answered something: servers may limit the queries of one. From then on the nameserver gets one
        query a connection at a time, until it has answered `SOLO` of them, so that a cause takes no other down.
        """
        progressed, path.answered = path.answered > 0, 0
        stranded = self._strand(path)
        if len(stranded) > 1 or path.server.solo:
            path.server.solo = SOLO
        for flight in stranded:
            path.server.window.failed(flight.round, now)
            if (progressed or len(stranded) > 1) and flight.free < FREE:
                flight.free += 1
                path.server.ready.append(flight)
            else:
                self._try_failed(flight, Status.ERROR, reason, path, now)

    def unsent(self, path: Path, messages: list[bytes]) -> None:
        """The socket takes no more for now: these did not go out after all, and are the next to go."""
        # Where the path failed a moment ago, what was still to go out on it has other plans by now.
        self._blocked = True
        taken_back = [path.flights.pop(message[:2]) for message in messages if message[:2] in path.flights]
        self.queries_sent -= len(taken_back)
        if self._pace:
            self._pace.spend(-len(taken_back))
        for flight in reversed(taken_back):
            self._waiting.remove(flight)
            flight.sends -= 1
            path.server.ready.appendleft(flight)
        path.server.window.unsent(len(taken_back))

    # --- How a flight ends, or goes on.

    def _unanswered(self, flight: Flight, path: Path, status: Status | None, error: str | None, now: float) -> None:
        """A reply that is not the end: truncated (None), or an rcode that tells of an error."""
        current = flight.path is path and flight in self._waiting
        if not current:
            # Late: this lookup is being asked elsewhere by now. An rcode may still be the best that it hears.
            if status is not None and rule.outranks(status, flight.status):
                flight.status, flight.error, flight.teller = status, error, path
            return
        flight.round = NOWHERE
        repeat = flight.free < FREE and (status is None or (flight.edns and rule.refuses_edns(status)))
        if repeat:
            self._waiting.remove(flight)
            flight.free += 1
            if status is None:
                flight.stream = True
            else:
                flight.edns = False
            path.server.ready.append(flight)
        else:
            self._try_failed(flight, status or Status.ERROR, error, path, now)

    def _expire(self, now: float) -> None:
        for flight in self._waiting.overdue(now):
            flight.path.server.window.silent(now)
            self._try_failed(flight, Status.TIMEOUT, None, flight.path, now)

    def _strand(self, path: Path) -> list[Flight]:
        """Take every flight off a path, and return those that wait for a reply there."""
        stranded = []
        for ident, flight in path.flights.items():
            if flight.path is not path:
                flight.earlier = [place for place in flight.earlier or () if place != (path, ident)] or None
            elif self._waiting.remove(flight):
                stranded.append(flight)
        path.flights.clear()
        return stranded

    def _try_failed(self, flight: Flight, status: Status, error: str | None, path: Path, now: float) -> None:
        self._waiting.remove(flight)
        if rule.outranks(status, flight.status):
            flight.status, flight.error, flight.teller = status, error, path
        if flight.attempt >= self.policy.tries:
            self._end(flight)
            self.results.append(flight.verdict(self.engine, now))
            return
        flight.attempt += 1
        server = self._roster.after(path.server)
        if server is not path.server:
            flight.stream, flight.edns = False, server.edns
            server.ready.append(flight)
        elif status is Status.ERROR:
            self._paused.append((now + min(PAUSE, self.policy.wait(1)), flight))
        else:
            server.ready.append(flight)

    def _end(self, flight: Flight) -> None:
        flight.ended = True
        self.in_flight -= 1
        self._waiting.remove(flight)
        for path, ident in [(flight.path, flight.ident), *(flight.earlier or ())]:
            if path.flights.get(ident) is flight:
                del path.flights[ident]

    # --- How a flight is sent.

    def _take(self, grant: int, now: float, take: Callable[[int], list[Query] | None]) -> None:
        """Launch new queries as far as windows, pace and concurrency allow.

        All nameservers get their turn; dead ones only where all are, or one query at times to see whether it is back.
        """
        room = min(grant, self.policy.in_flight - self.in_flight)
        for server in self._roster.to_probe():
            if room > 0 and server.window.probe(now):
                room -= self._draw([(1, server)], 1, now, take)
        while room > 0 and not self.exhausted:
            drawn = self._draw(self._roster.rooms(BATCH, now), room, now, take)
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
        if self._clock is not None:
            # Reading hosts takes its time, a hundredth of a second where a name is the first to need a library.
            now = self._clock()
        for server, share in self._roster.shares(queries, rooms):
            self._launch(server, share, now)
        return len(queries)

    def _launch(self, server: Server, queries: list[Query], now: float) -> None:
        path = self._paths.next(server)
        flights, waiting = path.flights, self._waiting.tries[0]
        round_ = server.window.sent(len(queries), now)
        edns = server.edns
        head, tail = (codec.HEADER, codec.OPT) if edns else (codec.PLAIN_HEADER, b"")
        idents, at = self._entropy(2 * len(queries)), 0
        messages = []
        for query, asked in zip(queries, codec.questions(queries), strict=True):
            ident = idents[at : at + 2]
            at += 2
            if ident in flights:
                ident = self._paths.unused(path)
            flights[ident] = waiting[query.index] = Flight(query, asked, ident, path, round_, now, now, edns)
            messages.append(ident + head + asked + tail)
        self._post(path, messages)
        self.in_flight += len(messages)

    def _relaunch(self, server: Server, grant: int, now: float) -> int:
        """Send what is ready for this nameserver, as far as allowed; returns how many."""
        allowed = min(grant, server.window.allowance(now))
        count = 0
        held = []
        while server.ready and count < allowed:
            flight = server.ready.popleft()
            if flight.ended:
                continue
            if server.streams(flight) and self._roster.occupied(server):
                held.append(flight)
                continue
            path = self._paths.place(flight, server)
            if not flight.sends:
                flight.first = now
            flight.sends += 1
            flight.sent = now
            flight.round = server.window.sent(1, now)
            self._waiting.add(flight)
            head, tail = (codec.HEADER, codec.OPT) if flight.edns else (codec.PLAIN_HEADER, b"")
            self._post(path, [flight.ident + head + flight.question + tail])
            count += 1
        server.ready.extendleft(reversed(held))
        return count

    def _post(self, path: Path, messages: list[bytes]) -> None:
        path.sent += len(messages)
        self.queries_sent += len(messages)
        if self._pace:
            self._pace.spend(len(messages))
        self.outbox.append((path, messages))

    def _due(self, now: float) -> float:
        """When `flush` next has something to do by itself."""
        due = min(self._waiting.due(), self._paused[0][0] if self._paused else math.inf)
        for server in self.servers:
            if server.ready or not self.exhausted:
                due = min(due, now + server.window.wait(now))
        if self._pace and (not self.exhausted or any(server.ready for server in self.servers)):
            # With tokens left something else holds the queries back.
            due = min(due, now + (self._pace.wait() or math.inf))
        return due

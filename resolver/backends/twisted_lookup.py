"""One lookup of the backend `twisted`: what it has asked over UDP, and what it has learned.

A question stays in flight until the lookup has its result, whatever time a single try has; a further try of the same
nameserver repeats it from the same port with the same ID. The one thing to know before changing anything: so a late
reply to an earlier try comes in like any other, and ends the try that waits just then, whomever that has asked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from twisted.internet import defer

from resolver import policy as rule
from resolver.backends.conversation import Habits
from resolver.backends.twisted_protocols import Question
from resolver.message import Status

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.python.failure import Failure

    from resolver.backends.twisted_protocols import Datagrams
    from resolver.message import Query
    from resolver.nameserver import Nameserver
    from resolver.tries import Reply

_Outcome = TypeVar("_Outcome")


class _Place(NamedTuple):
    """Where a nameserver was asked from, and what."""

    lane: Datagrams
    question: Question


class Lookup:
    """The tries of one lookup. `lane` gives a socket that is connected to a nameserver."""

    def __init__(self, query: Query, reactor: Any, lane: Callable[[Nameserver], Datagrams]) -> None:
        self._query = query
        self._reactor = reactor
        self._lane = lane
        self._habits: dict[Nameserver, Habits] = {}
        self._places: dict[Nameserver, _Place] = {}
        self._asked: Nameserver | None = None  # by the try that waits,
        self._waiting: defer.Deferred[Reply | None] | None = None  # with this
        self._late: Reply | None = None

    def habits(self, nameserver: Nameserver) -> Habits:
        """What is known of this nameserver; to be brought up to date."""
        return self._habits.setdefault(nameserver, Habits())

    def ask(self, nameserver: Nameserver, edns: bool, seconds: float) -> defer.Deferred[Reply | None]:
        """Fires with a Reply to this question or, where it is an answer, an earlier one; None: it is truncated.

        It fails with TimeoutError or Failed. Raises CannotListenError or OSError where there is no socket to be had.
        """
        waiting: defer.Deferred[Reply | None] = defer.Deferred()
        self._asked, self._waiting = nameserver, waiting
        self._send(nameserver, edns)
        alarm = self._reactor.callLater(seconds, self._expire, waiting)
        return waiting.addBoth(_silenced, alarm)

    def best(self, told: Reply) -> Reply:
        """What a try is told as: what came late from elsewhere outranks silence and failure."""
        late, failed = self._late, told.status in (Status.TIMEOUT, Status.ERROR)
        return late._replace(queries=told.queries) if late and failed else told

    def close(self) -> None:
        """Wait for no reply any more."""
        for lane, question in self._places.values():
            lane.forget(question)

    def _send(self, nameserver: Nameserver, edns: bool) -> None:
        place, ident = self._places.get(nameserver), None
        if place is not None and place.lane.up:
            lane = place.lane
            if lane.repeat(place.question):
                return
            ident = place.question.ident
        else:
            lane = self._lane(nameserver)
        place = self._places[nameserver] = _Place(lane, Question(self._query, nameserver, edns))
        lane.ask(place.question, ident).addCallbacks(
            self._told, self._failed, callbackArgs=(nameserver,), errbackArgs=(nameserver,)
        )

    def _expire(self, waiting: defer.Deferred[Reply | None]) -> None:
        # A reactor makes its calls before it looks at its sockets: in a busy process the reply may have come long ago.
        for lane, _ in list(self._places.values()):
            lane.look()
        if not waiting.called:
            waiting.errback(defer.TimeoutError())

    def _told(self, reply: Reply | None, nameserver: Nameserver) -> None:
        if reply is None and nameserver != self._asked:
            self.habits(nameserver).tcp = True
        elif nameserver == self._asked or (reply is not None and rule.final(reply.status)):
            waiting, self._waiting = self._waiting, None
            if waiting is not None and not waiting.called:
                waiting.callback(reply)
            else:
                self._late = reply or self._late
        else:
            self._late = reply

    def _failed(self, failure: Failure, nameserver: Nameserver) -> None:
        waiting = self._waiting
        if nameserver == self._asked and waiting is not None and not waiting.called:
            self._waiting = None
            waiting.errback(failure)


def _silenced(outcome: _Outcome, alarm: Any) -> _Outcome:
    """What came, its alarm being off."""
    if alarm.active():
        alarm.cancel()
    return outcome

"""One lookup of the backend `twisted`: what it has asked over UDP, and what it has learned.

A question stays in flight until the lookup has its result, whatever time a single try has; a further try of the same
nameserver is another question, from a socket of the lookup's own: what swallows the queries from one port does not
swallow that. The one thing to know before changing anything: so a late reply to an earlier try comes in like any other,
and ends the try that waits just then, whomever that has asked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from twisted.internet import defer

from resolver import policy as rule
from resolver.backends.conversation import Habits
from resolver.backends.twisted_protocols import Datagrams, Question
from resolver.model import Status

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.python.failure import Failure

    from resolver.attempts import Reply
    from resolver.model import Query
    from resolver.nameserver import Nameserver

_Outcome = TypeVar("_Outcome")


class Lookup:
    """The tries of one lookup. `lane` gives a socket that is connected to a nameserver, and shared."""

    def __init__(self, query: Query, reactor: Any, lane: Callable[[Nameserver], Datagrams]) -> None:
        self._query = query
        self._reactor = reactor
        self._lane = lane
        self._habits: dict[Nameserver, Habits] = {}
        self._asked: list[tuple[Datagrams, Question]] = []
        self._own: list[Datagrams] = []
        self._questions: list[Question] = []  # over TCP too
        self._waiting: defer.Deferred[Reply | None] | None = None  # of the latest question
        self._late: Reply | None = None

    def habits(self, nameserver: Nameserver) -> Habits:
        """What is known of this nameserver; to be brought up to date."""
        return self._habits.setdefault(nameserver, Habits())

    def question(self, nameserver: Nameserver, edns: bool) -> Question:
        """The question to this nameserver, as a query of its own."""
        question = Question(self._query, nameserver, edns)
        self._questions.append(question)
        return question

    def lane(self, nameserver: Nameserver) -> Datagrams:
        """Where to ask from: a shared socket, or one of its own where this nameserver was asked before.

        Raises CannotListenError or OSError where there is no socket to be had.
        """
        if not any(question.nameserver == nameserver for _, question in self._asked):
            return self._lane(nameserver)
        lane = Datagrams(nameserver, self._reactor)
        lane.open()
        self._own.append(lane)
        return lane

    def ask(self, lane: Datagrams, question: Question, seconds: float) -> defer.Deferred[Reply | None]:
        """Fires with a Reply to this question or, where it is an answer, an earlier one; None: it is truncated.

        It fails with TimeoutError or Failed.
        """
        waiting: defer.Deferred[Reply | None] = defer.Deferred()
        self._waiting = waiting
        before = [each for _, each in self._asked if each.nameserver == question.nameserver]
        self._asked.append((lane, question))
        lane.ask(question, before[0].ident if before else None).addCallbacks(
            self._told, self._failed, callbackArgs=(question,), errbackArgs=(question,)
        )
        alarm = self._reactor.callLater(seconds, self._expire, waiting)
        return waiting.addBoth(_silenced, alarm)

    def best(self, told: Reply) -> Reply:
        """What a try is told as: what came late from elsewhere outranks silence and failure."""
        late, failed = self._late, told.status in (Status.TIMEOUT, Status.ERROR)
        if late and failed:
            return late._replace(queries=told.queries)
        if told.status is Status.TIMEOUT:
            return told._replace(error=next((each.unread for each in self._questions[::-1] if each.unread), None))
        return told

    def close(self) -> None:
        """Wait for no reply any more."""
        for lane, question in self._asked:
            lane.forget(question)
        for lane in self._own:
            lane.close()
        self._asked.clear()
        self._own.clear()

    def _expire(self, waiting: defer.Deferred[Reply | None]) -> None:
        # A reactor makes its calls before it looks at its sockets: in a busy process the reply may have come long ago.
        for lane, _ in list(self._asked):
            lane.look()
        if not waiting.called:
            waiting.errback(defer.TimeoutError())

    def _told(self, reply: Reply | None, question: Question) -> None:
        latest = bool(self._asked) and question is self._asked[-1][1]
        if reply is None and not latest:
            self.habits(question.nameserver).tcp = True
        elif latest or (reply is not None and rule.final(reply.status)):
            waiting, self._waiting = self._waiting, None
            if waiting is not None and not waiting.called:
                waiting.callback(reply)
            else:
                self._late = reply or self._late
        else:
            self._late = reply

    def _failed(self, failure: Failure, question: Question) -> None:
        waiting = self._waiting
        if self._asked and question is self._asked[-1][1] and waiting is not None and not waiting.called:
            self._waiting = None
            waiting.errback(failure)


def _silenced(outcome: _Outcome, alarm: Any) -> _Outcome:
    """What came, its alarm being off."""
    if alarm.active():
        alarm.cancel()
    return outcome

"""One lookup of the backend `twisted` over UDP.

A further try of the same nameserver is another question, from a socket of the lookup's own: whatever swallows the
queries from one port does not swallow that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from twisted.internet import defer

from resolver.backends.lookup import TRUNCATED, Lookup
from resolver.backends.twisted_protocols import Datagrams, Question

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.python.failure import Failure

    from resolver.attempts import Reply
    from resolver.backends.lookup import RunLookups
    from resolver.model import Query
    from resolver.nameserver import Nameserver

_Outcome = TypeVar("_Outcome")


class TwistedLookup(Lookup):
    """A lookup whose questions are Deferreds. `shared` gives a socket that is connected to a nameserver, and shared."""

    def __init__(
        self, query: Query, run: RunLookups[Any], reactor: Any, shared: Callable[[Nameserver], Datagrams]
    ) -> None:
        super().__init__(query, run)
        self._sources = run.sources
        self._reactor = reactor
        self._shared = shared
        self._asked: list[tuple[Datagrams, Question]] = []
        self._own: list[Datagrams] = []
        self._waiting: defer.Deferred[Reply] | None = None  # of the latest question

    def datagrams(self, nameserver: Nameserver) -> Datagrams:
        """Return the socket to ask from: a shared one, or one of its own where this nameserver was asked before.

        Raises:
            CannotListenError, OSError: There is no socket to be had.
        """
        if not any(question.nameserver == nameserver for _, question in self._asked):
            return self._shared(nameserver)
        datagrams = Datagrams(nameserver, self._reactor)
        datagrams.open(self._sources.next(nameserver))
        self._own.append(datagrams)
        return datagrams

    def ask(self, datagrams: Datagrams, question: Question, seconds: float) -> defer.Deferred[Reply]:
        """Return a Deferred of a Reply to this question or, where it is an answer, to an earlier one.

        It fails with TimeoutError or TransportFailed.
        """
        waiting: defer.Deferred[Reply] = defer.Deferred()
        self._waiting = waiting
        before = [each for _, each in self._asked if each.nameserver == question.nameserver]
        self._asked.append((datagrams, question))
        datagrams.ask(question, before[0].ident if before else None).addCallbacks(
            self._heard, self._failed, callbackArgs=(question,), errbackArgs=(question,)
        )
        alarm = self._reactor.callLater(seconds, self._expire, waiting)
        return waiting.addBoth(_silenced, alarm)

    def close(self) -> None:
        """Wait for no reply any more."""
        for datagrams, question in self._asked:
            datagrams.forget(question)
        for datagrams in self._own:
            datagrams.close()
        self._asked.clear()
        self._own.clear()

    def _expire(self, waiting: defer.Deferred[Reply]) -> None:
        # A reactor makes its calls before it looks at its sockets: in a busy process the reply may have come long ago.
        for datagrams, _ in list(self._asked):
            datagrams.look()
        if not waiting.called:
            waiting.errback(defer.TimeoutError())

    def _heard(self, reply: Reply, question: Question) -> None:
        if self.ends(reply, self._is_latest(question)):
            waiting, self._waiting = self._waiting, None
            if waiting is not None and not waiting.called:
                waiting.callback(reply)
            elif reply is not TRUNCATED:
                self.late = reply

    def _failed(self, failure: Failure, question: Question) -> None:
        waiting = self._waiting
        if self._is_latest(question) and waiting is not None and not waiting.called:
            self._waiting = None
            waiting.errback(failure)

    def _is_latest(self, question: Question) -> bool:
        return bool(self._asked) and question is self._asked[-1][1]


def _silenced(outcome: _Outcome, alarm: Any) -> _Outcome:
    """Return the outcome, its alarm being off."""
    if alarm.active():
        alarm.cancel()
    return outcome

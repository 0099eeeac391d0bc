"""The backend `twisted`: the protocols of twisted.names, awaited in the reactor of the engine `twisted`.

Not `twisted.names.client.Resolver`: it keeps its own tries and nameservers, compares no question, opens a socket for
each query, and its TCP side imports the global reactor even where it was given another one. Everything here must be
given the run's reactor.

What it cannot give: TLS (that of Twisted needs pyOpenSSL), HTTPS. Over TCP, a late reply to an earlier try is dropped.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NamedTuple

from twisted.internet import defer, error, task
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint, connectProtocol
from twisted.names.dns import DNSQueryTimeoutError

from resolver.attempts import ASYNC_CONCURRENCY, Reply
from resolver.backends.descriptors import NONE_LEFT, Descriptors
from resolver.backends.lookup import SILENCE, Conversation, RunLookups
from resolver.backends.plain import plainly
from resolver.backends.twisted_protocols import Datagrams, Question, TcpConnection, TransportFailed, sentence
from resolver.backends.twisted_reactor import running_reactor
from resolver.backends.twisted_udp import TwistedLookup
from resolver.model import Status

if TYPE_CHECKING:
    from resolver.model import Query
    from resolver.nameserver import Nameserver
    from resolver.policy import Policy

SOCKETS = 4  # UDP sockets a nameserver, each with a port of its own,
LIFE = 1000  # and how many questions go out on one before another takes its place

_SILENT = (DNSQueryTimeoutError, defer.TimeoutError, error.TimeoutError)


class TwistedNames(NamedTuple):
    """Asks with twisted.names, over UDP and TCP."""

    name: str = "twisted"

    def prepare(self, policy: Policy) -> Policy:
        """Return the policy with the nameservers that will be asked: the system's where it names none.

        Raises:
            ValueError: One is asked over TLS or HTTPS, or has a zone.
            LookupError: There is none at all.
        """
        return plainly(policy, self.name)

    def open_async(self, policy: Policy) -> TwistedSession:
        """Open a session in the reactor that runs on this thread."""
        return TwistedSession(running_reactor(), policy)


class TwistedSession:
    """The sockets and connections of a run."""

    concurrency = ASYNC_CONCURRENCY

    def __init__(self, reactor: Any, policy: Policy) -> None:
        self._reactor = reactor
        self._descriptors = Descriptors(policy.query_timeout, self._give_back)
        self._sockets: dict[Nameserver, list[Datagrams]] = {}
        self._turn = 0
        self._run = RunLookups(policy, lambda query: TwistedLookup(query, self._run, reactor, self._shared))
        self._old: list[Datagrams | TcpConnection] = []  # no longer asked on; some wait for replies
        self._connections: dict[Nameserver, TcpConnection] = {}

    async def ask(self, query: Query, nameserver: Nameserver | None, timeout: float) -> Reply:
        """Ask once, with the repeats that belong to it, within `timeout` seconds."""
        assert nameserver is not None  # `prepare` has named some
        lookup = self._run.of(query)
        end = self._reactor.seconds() + timeout
        conversation = Conversation(lookup, nameserver)
        while conversation.reply is None:
            transport = conversation.transport
            question = Question(lookup, nameserver, conversation.edns)
            try:
                if transport == "udp":
                    datagrams, waited = await self._datagrams_for(lookup, nameserver)
                    end += waited
                    reply = await lookup.ask(datagrams, question, self._left(end))
                else:
                    reply = await self._over_tcp(question, end)
            except _SILENT:
                reply = SILENCE
            except (TransportFailed, error.ConnectError, error.CannotListenError, OSError) as failure:
                if isinstance(failure, error.ConnectError) and failure.osError in NONE_LEFT:
                    end += await self._scarce(OSError(failure.osError, os.strerror(failure.osError)), lookup)
                    continue
                reply = Reply(Status.ERROR, [], sentence(failure, nameserver, transport))
            conversation.hear(reply)
        return conversation.reply

    def done(self, query: Query) -> None:
        """Wait for no reply to it any more."""
        self._run.end(query)

    async def close(self) -> None:
        """Close every socket."""
        sockets = [each for sockets in self._sockets.values() for each in sockets]
        links = [*self._old, *sockets, *self._connections.values()]
        for link in links:
            link.abandon()
        for link in links:
            link.close()
        # They close when the reactor has its next round.
        await task.deferLater(self._reactor, 0)

    async def _datagrams_for(self, lookup: TwistedLookup, nameserver: Nameserver) -> tuple[Datagrams, float]:
        """Return the socket that the lookup asks from, and how many seconds it has waited for a descriptor."""
        waited = 0.0
        while True:
            try:
                datagrams = lookup.datagrams(nameserver)
            except (error.CannotListenError, OSError) as failure:
                reason = failure.socketError if isinstance(failure, error.CannotListenError) else failure
                waited += await self._scarce(reason, lookup)
            else:
                self._descriptors.got()
                return datagrams, waited

    async def _scarce(self, reason: OSError, lookup: TwistedLookup) -> float:
        """Wait a little for a descriptor; returns the seconds of that."""
        wait = self._descriptors.wait(reason)
        lookup.close()
        await task.deferLater(self._reactor, wait)
        return wait

    def _give_back(self) -> None:
        """Close the sockets and connections that nobody waits on, in the reactor's next round."""
        for nameserver, sockets in self._sockets.items():
            self._old += [datagrams for datagrams in sockets if not datagrams.in_flight]
            self._sockets[nameserver] = [datagrams for datagrams in sockets if datagrams.in_flight]
        for nameserver, connection in list(self._connections.items()):
            if not connection.in_flight:
                self._old.append(self._connections.pop(nameserver))
        self._sweep()

    def _shared(self, nameserver: Nameserver) -> Datagrams:
        """Return the next socket in turn; one that is used up, or was closed for an error, is replaced."""
        sockets = self._sockets.setdefault(nameserver, [])
        self._turn += 1
        at = self._turn % SOCKETS
        if at < len(sockets) and sockets[at].used < LIFE and sockets[at].up:
            return sockets[at]
        datagrams = Datagrams(nameserver, self._reactor)
        datagrams.open(self._run.sources.next(nameserver))
        if at < len(sockets):
            self._old.append(sockets[at])
            sockets[at] = datagrams
            self._sweep()
        else:
            sockets.append(datagrams)
        return datagrams

    def _sweep(self) -> None:
        """Close the old sockets and connections that nobody waits on any more."""
        for link in self._old:
            if not link.in_flight:
                link.close()
        self._old = [link for link in self._old if link.in_flight]

    async def _over_tcp(self, question: Question, end: float) -> Reply:
        nameserver = question.nameserver
        connection = self._connections.get(nameserver)
        if connection is None or connection.up is False:
            connection = self._connections[nameserver] = self._connect(nameserver, end)
        try:
            await connection.opened().addTimeout(self._left(end), self._reactor)
        except _SILENT:
            if nameserver.transport == "udp":
                return SILENCE._replace(queries=0)  # the repeat never went out
            raise
        answered = connection.answered
        try:
            return await self._on(connection, question, end)
        except TransportFailed:
            pass
        except _SILENT:
            if connection.answered == answered and self._connections.get(nameserver) is connection:
                # It is stuck, on this question or one before: the next ones go out on another.
                self._old.append(self._connections.pop(nameserver))
                self._sweep()
            raise
        # RFC 7766 section 6.2.4: servers close connections when they like, and it costs no try. Where one question made
        # it, it is not to take the others down again: each has a connection to itself now.
        alone = self._connect(nameserver, end)
        try:
            await alone.opened().addTimeout(self._left(end), self._reactor)
            reply = await self._on(alone, question, end)
        finally:
            alone.abandon()
            alone.close()
        return reply._replace(queries=2)

    async def _on(self, connection: TcpConnection, question: Question, end: float) -> Reply:
        reply: Reply = await connection.ask(question, self._left(end))
        return reply

    def _connect(self, nameserver: Nameserver, end: float) -> TcpConnection:
        connection = TcpConnection(nameserver, self._reactor)
        endpoint = TCP6ClientEndpoint if ":" in nameserver.host else TCP4ClientEndpoint
        source = self._run.sources.next(nameserver)
        bound = None if source is None else (source, 0)
        to = endpoint(self._reactor, nameserver.host, nameserver.port, self._left(end), bound)
        connectProtocol(to, connection).addErrback(connection.failed)  # type: ignore[no-untyped-call]
        return connection

    def _left(self, end: float) -> float:
        return max(0.0, end - float(self._reactor.seconds()))


backend = TwistedNames()

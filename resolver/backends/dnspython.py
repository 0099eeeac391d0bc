"""The backend `dnspython`: the library of that name makes and checks the messages; over UDP, TCP, TLS and HTTPS.

It stands here once for both of its sides, the one that blocks a thread and the one that is awaited: each waits its own
way (dnspython_sockets.py), and HTTPS has a client for each (dnspython_https.py). Any number of threads ask at once, and
when the run ends some are abandoned in the middle, as a coroutine may be at any await: a socket or client belongs to
one lookup at a time, which closes it or gives it back. Connections are kept, one query at a time on each: the library
does not pipeline. Over one of them a reply that comes after its try is lost.
"""

from __future__ import annotations

import ssl
import time
from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

import dns.query

from resolver.attempts import BLOCKING_CONCURRENCY
from resolver.backends.descriptors import Descriptors
from resolver.backends.dnspython_messages import Message, failure, tls_context
from resolver.backends.dnspython_sockets import InEventLoop, KeptStream, OnThread, SocketLookup
from resolver.backends.lookup import SILENCE, Conversation, RunLookups
from resolver.extras import NotInstalled, cure

if TYPE_CHECKING:
    from resolver.attempts import Reply
    from resolver.backends.dnspython_https import KeptHttpClient
    from resolver.backends.dnspython_sockets import Waits
    from resolver.model import Query
    from resolver.nameserver import Nameserver
    from resolver.policy import Policy


OPENING = 16  # connections to one nameserver that are made at once: of more handshakes none would be done in its time


class Dnspython(NamedTuple):
    """Speaks DNS with dnspython."""

    name: str = "dnspython"

    def prepare(self, policy: Policy) -> Policy:
        """Return the policy with the nameservers that will be asked: the system's where it names none.

        Raises:
            LookupError: There is none, or one is asked over HTTPS and what that needs is not installed.
            ValueError: Certificates cannot be read.
        """
        policy = policy.with_nameservers()
        https = next((each for each in policy.nameservers if each.transport == "https"), None)
        if https is not None and not dns.query.have_doh:
            raise NotInstalled(
                f"backend dnspython needs an HTTP library for {https.url}, which is not installed: {cure('doh')}"
            )
        if policy.tls_ca is not None:
            try:
                tls_context(policy)
            except OSError as error:
                raise ValueError(f"{policy.tls_ca}: no certificates can be read: {error.strerror or error}") from None
        return policy

    def open(self, policy: Policy) -> DnspythonSession:
        """Open a session for a policy that was prepared."""
        return DnspythonSession(policy, OnThread())

    def open_async(self, policy: Policy) -> DnspythonSession:
        """Open the same, awaited, in the event loop that is running."""
        return DnspythonSession(policy, InEventLoop())


class DnspythonSession:
    """The connections of a run. Raises OSError where the policy's certificates cannot be read."""

    # A question takes a millisecond of the interpreter: of more in flight, each would wait for its turn longer than for
    # its reply, and run out of time there.
    concurrency = BLOCKING_CONCURRENCY

    def __init__(self, policy: Policy, waits: Waits) -> None:
        secure = any(each.transport in ("tls", "https") for each in policy.nameservers)
        self._context = tls_context(policy) if secure else None
        self._waits = waits
        self._descriptors = Descriptors(policy.query_timeout, self._close_kept)
        self._run = RunLookups(policy, lambda query: SocketLookup(query, self._run, self._descriptors, waits))
        self._kept: defaultdict[tuple[str, Nameserver], list[KeptStream | KeptHttpClient]] = defaultdict(list)
        self._opening = {each: waits.semaphore(OPENING) for each in policy.nameservers}
        self._closed = False
        self._shared = None
        if isinstance(waits, InEventLoop) and any(each.transport == "https" for each in policy.nameservers):
            from resolver.backends.dnspython_https import SharedClients

            self._shared = SharedClients(self._context, self._run.sources)

    async def ask(self, query: Query, nameserver: Nameserver | None, timeout: float) -> Reply:
        """Ask once, with the repeats that belong to it, within `timeout` seconds from the sending."""
        assert nameserver is not None  # `prepare` has named some
        lookup = self._run.of(query)
        end = 0.0
        conversation = Conversation(lookup, nameserver)
        while conversation.reply is None:
            message = Message(lookup, nameserver, conversation.transport, conversation.edns)
            try:
                descriptor = await lookup.send(message) if message.transport == "udp" else None
                end = end or time.monotonic() + timeout
                if descriptor is not None:
                    reply = await lookup.receive(descriptor, end)
                elif message.transport == "https" and self._shared is not None:
                    reply = await self._shared.ask(message, end)
                else:
                    reply = await self._over_connection(message, lookup, end)
            except Exception as error:  # `failure` knows its meaning
                reply = failure(error, nameserver, message.transport)
            conversation.hear(reply)
        return conversation.reply

    def done(self, query: Query) -> None:
        """Close the lookup's sockets, and wait for none of its requests."""
        self._run.end(query)
        if self._shared is not None:
            self._shared.drop(query)

    async def close(self) -> None:
        """Close the connections that no lookup uses; the others are closed by their lookups."""
        self._closed = True
        self._close_kept()
        if self._shared is not None:
            await self._shared.close()

    def _close_kept(self) -> None:
        for kept in list(self._kept.values()):
            while connection := _last(kept):
                connection.close()

    async def _over_connection(self, message: Message, lookup: SocketLookup, end: float) -> Reply:
        nameserver, transport = message.nameserver, message.transport
        kept = self._kept[transport, nameserver]
        queries = 1
        if connection := _last(kept):
            try:
                return await self._use(connection, message, kept, end)
            except (EOFError, ConnectionError, ssl.SSLError):
                # Servers close what is idle, whenever they like: RFC 7766 section 6.2.4 has us ask again.
                queries = 2
        began, until = time.monotonic(), end
        async with self._opening[nameserver]:
            while True:
                # The wait for one's turn, or a descriptor, is not the nameserver's silence.
                end = until + time.monotonic() - began
                try:
                    connection = await self._open(transport, nameserver, end)
                    # One over https connects when it is asked.
                    reply = await self._use(connection, message, kept, end) if transport == "https" else None
                    break
                except TimeoutError:
                    if nameserver.transport == "udp":
                        return SILENCE._replace(queries=queries - 1)  # the repeat never went out
                    raise
                except OSError as error:
                    await lookup.wait_for_descriptor(error)
        self._descriptors.got()
        reply = reply or await self._use(connection, message, kept, end)
        return reply._replace(queries=queries)

    async def _open(self, transport: str, nameserver: Nameserver, end: float) -> KeptStream | KeptHttpClient:
        source = self._run.sources.next(nameserver)
        if transport == "https":
            from resolver.backends.dnspython_https import KeptHttpClient

            return KeptHttpClient(nameserver, self._context, source)
        stream = KeptStream(nameserver, source, self._waits)
        await stream.connect(self._context if transport == "tls" else None, end)
        return stream

    async def _use(
        self,
        connection: KeptStream | KeptHttpClient,
        message: Message,
        kept: list[KeptStream | KeptHttpClient],
        end: float,
    ) -> Reply:
        try:
            reply = await connection.ask(message, end)
        except BaseException:
            # A reply that comes too late must not meet the next query.
            connection.close()
            raise
        kept.append(connection)
        if self._closed or self._descriptors.scarce:
            self._close_kept()
        return reply


def _last(kept: list[KeptStream | KeptHttpClient]) -> KeptStream | KeptHttpClient | None:
    # Looked at and taken in one step: another thread may take it in between.
    try:
        return kept.pop()
    except IndexError:
        return None


backend = Dnspython()

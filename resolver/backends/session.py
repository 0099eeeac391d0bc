"""The session of backends whose library makes the messages: who asks over which socket, and the failures of a try.

Any number of threads ask at once, and when the run ends some are abandoned in the middle, as a coroutine may be at any
await: a socket or connection belongs to one lookup at a time, which closes it or gives it back. Connections are kept,
one query at a time on each: the libraries do not pipeline. Over one of them a reply that comes after its try is lost.
"""

from __future__ import annotations

import os
import ssl
import threading
import time
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Protocol

from resolver import policy as rule
from resolver.attempts import Reply
from resolver.backends.descriptors import WAIT, Descriptors
from resolver.backends.lookup import SILENCE, TRUNCATED, LibraryLookup
from resolver.backends.stream import KeptStream
from resolver.model import Status
from resolver.nameserver import Sources, tls_context

if TYPE_CHECKING:
    from collections.abc import Callable

    from resolver.backends.lookup import LibraryMessage
    from resolver.backends.waits import Waits
    from resolver.model import Query
    from resolver.nameserver import Nameserver
    from resolver.policy import Policy

    # (lookup, nameserver, transport, with EDNS?) -> the message.
    Library = Callable[[LibraryLookup, Nameserver, str, bool], LibraryMessage]

OPENING = 16  # connections to one nameserver that are made at once: of more handshakes none would be done in its time


class UnreadableReply(Exception):
    """The library refuses what came; nothing further comes to wait for."""


class KeptConnection(Protocol):
    """A connection that is kept. `ask` raises EOFError, ConnectionError or SSLError where it has ended."""

    async def ask(self, message: LibraryMessage, end: float) -> Reply: ...

    def close(self) -> None: ...


class LibrarySession:
    """The connections of a run.

    Args:
        policy: One that was prepared.
        library: Makes a message.
        waits: How it is waited.
        concurrency: The most lookups in flight where the user names no number.

    Raises:
        OSError: The policy's certificates cannot be read.
    """

    def __init__(self, policy: Policy, library: Library, waits: Waits, concurrency: int) -> None:
        self.concurrency = concurrency
        secure = any(each.transport in ("tls", "https") for each in policy.nameservers)
        self.context = tls_context(policy.tls_ca) if secure else None
        self.sources = Sources(policy.source)
        self._policy = policy
        self._forms = policy.forms
        self._library = library
        self._waits = waits
        self._descriptors = Descriptors(policy.query_timeout, self._close_kept)
        self._lookups: dict[int, LibraryLookup] = {}  # those that have begun, by their index
        self._kept: defaultdict[tuple[str, Nameserver], list[KeptConnection]] = defaultdict(list)
        self._opening: Counter[Nameserver] = Counter()
        self._counting = threading.Lock()
        self._closed = False

    async def ask(self, query: Query, nameserver: Nameserver | None, timeout: float) -> Reply:
        """Ask once, with the repeats that belong to it, within `timeout` seconds from the sending."""
        assert nameserver is not None  # `prepare` has named some
        lookup = self._lookups.get(query.index)
        if lookup is None:
            form = self._forms[query.subnet]
            lookup = LibraryLookup(query, self._policy, form, self.sources, self._descriptors, self._waits)
            self._lookups[query.index] = lookup
        end, queries = 0.0, 0
        while True:
            # What is truncated is asked again over TCP (RFC 2181 section 9).
            transport = "tcp" if nameserver in lookup.truncating else nameserver.transport
            edns = nameserver not in lookup.refusing_edns
            message = self._library(lookup, nameserver, transport, edns)
            try:
                descriptor = await lookup.send(message) if transport == "udp" else None
                end = end or time.monotonic() + timeout
                if descriptor is not None:
                    reply = await lookup.receive(descriptor, end)
                else:
                    reply = await self.over_connection(message, end)
            except Exception as error:  # `_failure` knows its meaning
                reply = _failure(error, nameserver, transport)
            queries += reply.queries
            if edns and rule.refuses_edns(reply.status):
                lookup.refusing_edns.add(nameserver)
            elif reply is not TRUNCATED:
                return lookup.best(reply._replace(queries=queries))

    def done(self, query: Query) -> None:
        """Close the lookup's sockets."""
        if lookup := self._lookups.pop(query.index, None):
            lookup.close()

    async def close(self) -> None:
        """Close the connections that no lookup uses; the others are closed by their lookups."""
        self._closed = True
        self._close_kept()

    async def over_connection(self, message: LibraryMessage, end: float) -> Reply:
        """Ask over a connection that was kept, or a new one, until `end` on the monotonic clock."""
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
        while not self._may_open(nameserver):
            await self._waits.sleep(WAIT)
        try:
            while True:
                # The wait for one's turn, or a descriptor, is not the nameserver's silence.
                end = until + time.monotonic() - began
                try:
                    connection = await self.open(transport, nameserver, end)
                    # One over https connects when it is asked.
                    reply = await self._use(connection, message, kept, end) if transport == "https" else None
                    break
                except TimeoutError:
                    if nameserver.transport == "udp":
                        return SILENCE._replace(queries=queries - 1)  # the repeat never went out
                    raise
                except OSError as error:
                    await message.lookup.wait_for_descriptor(error)
        finally:
            with self._counting:
                self._opening[nameserver] -= 1
        self._descriptors.got()
        reply = reply or await self._use(connection, message, kept, end)
        return reply._replace(queries=queries)

    async def open(self, transport: str, nameserver: Nameserver, end: float) -> KeptConnection:
        """Open a connection. Raises TimeoutError at `end` on the monotonic clock, or OSError."""
        stream = KeptStream(nameserver, self.sources.next(nameserver), self._waits)
        await stream.connect(self.context if transport == "tls" else None, end)
        return stream

    def _may_open(self, nameserver: Nameserver) -> bool:
        with self._counting:
            free = self._opening[nameserver] < OPENING
            self._opening[nameserver] += free
        return free

    async def _use(
        self, connection: KeptConnection, message: LibraryMessage, kept: list[KeptConnection], end: float
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

    def _close_kept(self) -> None:
        for kept in list(self._kept.values()):
            while connection := _last(kept):
                connection.close()


def _last(kept: list[KeptConnection]) -> KeptConnection | None:
    # Looked at and taken in one step: another thread may take it in between.
    try:
        return kept.pop()
    except IndexError:
        return None


def _failure(error: BaseException, nameserver: Nameserver, transport: str) -> Reply:
    """Return the outcome of a failed try: silence is TIMEOUT, all else ERROR with a sentence."""
    if isinstance(error, TimeoutError):
        return SILENCE
    if isinstance(error, UnreadableReply):
        return Reply(Status.TIMEOUT, [], "replies came that could not be read: the library refuses them")
    return Reply(Status.ERROR, [], _sentence(error, nameserver, transport))


def _sentence(error: BaseException, nameserver: Nameserver, transport: str) -> str:
    where = nameserver.url or str(nameserver)
    if isinstance(error, EOFError):
        return f"{where} closed the connection"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"{where} showed a certificate that does not fit: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS with {where} failed: {error.reason or error}"
    if isinstance(error, OSError) and error.errno:
        # Its own text may be a library's, with the address in it.
        return f"{transport} to {where} failed: {os.strerror(error.errno).lower()}"
    return f"{transport} to {where} failed: {' '.join(str(error).split()) or type(error).__name__}"

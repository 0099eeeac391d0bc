"""One lookup of a backend whose library makes the messages: what it learns from one try to the next, and its sockets.

A question stays in flight until its lookup has the result, whatever time a single try has: a late reply to an earlier
try comes in like any other, and ends the try that waits just then if it is an answer. What one try learned about a
nameserver (that it truncates, that it refuses EDNS) the next one begins with.

Over UDP each query leaves from a socket, and so a port, of its own (RFC 5452 section 9.2). Sharing sockets gains some
percent and gives up most of what keeps a forger off; and whatever swallows the queries from one port does not swallow
the next try. A socket stays open until the lookup has its result: a try waits on all the lookup's sockets. When its
time is up there is a last look: a thread may have waited that long for the interpreter alone, and an event loop for its
turn.
"""

from __future__ import annotations

import secrets
import select
import socket
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from resolver.attempts import Reply
from resolver.dns import message as codec
from resolver.dns.detail import detail, time_of_day
from resolver.model import Status
from resolver.nameserver import bind

if TYPE_CHECKING:
    from collections.abc import Callable

    from resolver.backends.descriptors import Descriptors
    from resolver.backends.waits import Waits
    from resolver.dns.form import QueryForm
    from resolver.model import Query
    from resolver.nameserver import Nameserver, Sources
    from resolver.policy import Policy

SILENCE = Reply(Status.TIMEOUT, [])
TRUNCATED = Reply(Status.TIMEOUT, [], "a truncated reply")  # over UDP: the question is to be asked over TCP


class LibraryMessage(NamedTuple):
    """A query of a lookup, as a library made it.

    Attributes:
        lookup: What is asked.
        nameserver, transport: Who is asked, and how.
        octets: The message.
        responds: Tells whether octets may be a reply to it, going by its ID at least; the codec matches the question.
        made: The library's own object, where that is needed to send it.
    """

    lookup: LibraryLookup
    nameserver: Nameserver
    transport: str
    octets: bytes
    responds: Callable[[bytes], bool]
    made: Any = None

    def read(self, octets: bytes) -> Reply | None:
        """Return the meaning of octets that came from its nameserver; None: wait past them."""
        if self.responds(octets):
            return self.lookup.read(octets, self.nameserver, self.transport)
        self.lookup.unread = codec.mismatch(octets)
        return None


class LibraryLookup:
    """The state of one lookup from one try to the next.

    Args:
        query: The lookup.
        policy: The run's.
        form: What stands around its question.
        sources: The local addresses of the run.
        descriptors: Those of the run.
        waits: How it is waited.
    """

    def __init__(
        self, query: Query, policy: Policy, form: QueryForm, sources: Sources, descriptors: Descriptors, waits: Waits
    ) -> None:
        self.query = query
        self.form = form
        self._policy = policy
        self._sources = sources
        self._descriptors = descriptors
        self._waits = waits
        self._sent: dict[int, tuple[socket.socket, LibraryMessage]] = {}  # by descriptor
        self.question = codec.question(query.name, query.type)
        self.unread: str | None = None  # a sentence about the last message that was no reply
        self.late: Reply | None = None  # an rcode that came for an earlier try
        self.truncating: set[Nameserver] = set()
        self.refusing_edns: set[Nameserver] = set()
        self._idents: dict[Nameserver, int] = {}

    def close(self) -> None:
        """Close the lookup's sockets."""
        while self._sent:
            self._sent.popitem()[1][0].close()

    async def wait_for_descriptor(self, error: OSError) -> None:
        """Give back what the lookup holds, and wait a little. Raises the error where it is another one, or lasts."""
        wait = self._descriptors.wait(error)
        self.close()
        await self._waits.sleep(wait)

    async def send(self, message: LibraryMessage) -> int:
        """Send a message from a port of its own, once there is a descriptor for that; return it. Raises OSError."""
        while True:
            try:
                return self._send(message)
            except OSError as error:
                await self.wait_for_descriptor(error)

    async def receive(self, descriptor: int, end: float) -> Reply:
        """Return the reply to the message sent last, or an answer to an earlier one; all else is waited past.

        Args:
            descriptor: What `send` returned.
            end: Until when, in seconds on the monotonic clock.

        Raises:
            TimeoutError: None has come.
            OSError: The nameserver's port is closed, for one.
        """
        while True:
            left = max(0.0, end - time.monotonic())
            for ready in await self._waits.ready(list(self._sent), select.POLLIN, left):
                try:
                    reply = self._read(ready)
                except OSError:
                    if ready == descriptor:
                        raise
                    continue  # of an earlier try: this nameserver is asked from another socket now
                if reply is not None and self.ends(reply, ready == descriptor):
                    return reply
            if not left:
                raise TimeoutError

    def ident(self, nameserver: Nameserver) -> int:
        """Return the message ID under which this nameserver is asked, in each try."""
        return self._idents.setdefault(nameserver, secrets.randbits(16))

    def read(self, message: bytes, nameserver: Nameserver, transport: str) -> Reply | None:
        """Return the meaning of a message, TRUNCATED included; None: it is no readable reply, and is waited past."""
        start = codec.match(message, self.question)
        if start is None:
            self.unread = codec.mismatch(message)
            return None
        if transport == "udp" and codec.truncated(message):
            self.truncating.add(nameserver)
            return TRUNCATED
        try:
            reply = Reply(*codec.read(message, start, self.query), str(nameserver), transport)
        except codec.Malformed as error:
            self.unread = codec.unreadable(error)
            return None
        if self._policy.detail:
            subnet = self._policy.subnet[self.query.subnet] if self._policy.subnet else None
            reply = reply._replace(detail=detail(message, start, time_of_day(time.time()), subnet))
        return reply

    def ends(self, reply: Reply, own: bool) -> bool:
        """Return whether a reply ends the try that waits: one to its own question, or an answer to an earlier one."""
        if own or reply.status.answered:
            return True
        if reply.status is not Status.TIMEOUT:  # TRUNCATED is one
            self.late = reply
        return False

    def best(self, reply: Reply) -> Reply:
        """Return the outcome of a try: an rcode that came late from elsewhere outranks silence and failure."""
        if self.late and reply.status in (Status.TIMEOUT, Status.ERROR):
            return self.late._replace(queries=reply.queries)
        return reply._replace(error=reply.error or self.unread) if reply.status is Status.TIMEOUT else reply

    def _send(self, message: LibraryMessage) -> int:
        family, address = message.nameserver.address()
        connected = socket.socket(family, socket.SOCK_DGRAM)
        try:
            connected.setblocking(False)
            bind(connected, self._sources.next(message.nameserver))
            # The kernel drops datagrams of other senders, and tells of a closed port.
            connected.connect(address)
        except BaseException:
            connected.close()
            raise
        self._descriptors.got()
        descriptor = connected.fileno()
        self._sent[descriptor] = connected, message
        connected.send(message.octets)
        return descriptor

    def _read(self, descriptor: int) -> Reply | None:
        """Return the reply that has come on a socket, if one has; the socket is closed then, as where it raises."""
        connected, message = self._sent[descriptor]
        try:
            while (reply := message.read(connected.recv(65535))) is None:
                pass
        except BlockingIOError:
            return None
        except OSError:
            self._sent.pop(descriptor)[0].close()
            raise
        self._sent.pop(descriptor)[0].close()
        return reply

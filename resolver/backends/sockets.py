"""The sockets of backends whose library makes the messages: those of a lookup over UDP, a connection over TCP or TLS.

The code that waits stands here once, as coroutines, and is given a way of waiting: on its thread, in the event loop
that is running, in a reactor. On a thread its coroutines never suspend (`at_once` in attempts.py).

Over UDP each query leaves from a socket, and so a port, of its own (RFC 5452 section 9.2). Sharing sockets gains some
percent and gives up most of what keeps a forger off; and whatever swallows the queries from one port does not swallow
the next try. A socket stays open until the lookup has its result: a try waits on all the lookup's sockets. When its
time is up there is a last look: a thread may have waited that long for the interpreter alone, and an event loop for its
turn.
"""

from __future__ import annotations

import asyncio
import errno
import math
import os
import select
import socket
import ssl
import time
from functools import partial
from typing import TYPE_CHECKING, Protocol, TypeVar

from resolver.backends.lookup import Lookup
from resolver.nameserver import bind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from resolver.attempts import Reply
    from resolver.backends.descriptors import Descriptors
    from resolver.dns.form import QueryForm
    from resolver.model import Query
    from resolver.nameserver import Nameserver, Sources
    from resolver.policy import Policy

Done = TypeVar("Done")


class LibraryMessage(Protocol):
    """A query of a lookup, as a library makes it. `ident`: its ID."""

    nameserver: Nameserver
    ident: int

    def to_wire(self) -> bytes:
        """Return its octets."""

    def read(self, octets: bytes) -> Reply | None:
        """Return the meaning of octets that came from its nameserver; None: wait past them."""


class Waits(Protocol):
    """A way of waiting."""

    async def sleep(self, seconds: float) -> None:
        """Wait for so long."""

    async def ready(self, descriptors: Sequence[int], event: int, seconds: float) -> list[int]:
        """Wait until some can be read (POLLIN) or written (POLLOUT), for so long at most; return those that can."""


class OnThread:
    """Waiting that blocks the calling thread, or green thread."""

    async def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    async def ready(self, descriptors: Sequence[int], event: int, seconds: float) -> list[int]:
        return poll(descriptors, event, seconds)


class InEventLoop:
    """Waiting in the event loop of asyncio that is running."""

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def ready(self, descriptors: Sequence[int], event: int, seconds: float) -> list[int]:
        loop = asyncio.get_running_loop()
        came: asyncio.Future[None] = loop.create_future()

        def wake() -> None:
            if not came.done():
                came.set_result(None)

        reading = event == select.POLLIN
        for each in descriptors:
            (loop.add_reader if reading else loop.add_writer)(each, wake)
        timer = loop.call_later(seconds, wake)
        try:
            await came
        finally:
            timer.cancel()
            for each in descriptors:
                (loop.remove_reader if reading else loop.remove_writer)(each)
        return poll(descriptors, event)


def poll(descriptors: Iterable[int], event: int, seconds: float = 0.0) -> list[int]:
    """Return the descriptors that are ready for this event, after blocking for so long at most until one is."""
    polled = select.poll()
    for each in descriptors:
        polled.register(each, event)
    return [each for each, _ in polled.poll(math.ceil(1000 * seconds))]


class SocketLookup(Lookup):
    """A lookup with a socket for each message that it sends over UDP."""

    def __init__(
        self, query: Query, policy: Policy, form: QueryForm, sources: Sources, descriptors: Descriptors, waits: Waits
    ) -> None:
        super().__init__(query, policy, form)
        self._sources = sources
        self._descriptors = descriptors
        self._waits = waits
        self._sent: dict[int, tuple[socket.socket, LibraryMessage]] = {}  # by descriptor

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
        message.ident = self.ident(message.nameserver, message.ident)
        connected.send(message.to_wire())
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


class KeptStream:
    """A TCP connection, or one of TLS, to be connected."""

    def __init__(self, nameserver: Nameserver, source: str | None, waits: Waits) -> None:
        self._nameserver = nameserver
        self._waits = waits
        self._source = source
        self._socket = socket.socket(nameserver.address()[0], socket.SOCK_STREAM)
        self._socket.setblocking(False)

    async def connect(self, context: ssl.SSLContext | None, end: float) -> None:
        """Connect, with TLS where there is a context: the certificate must be for the nameserver's name or address.

        Args:
            context: What certificates are checked with.
            end: Until when, in seconds on the monotonic clock.

        Raises:
            TimeoutError: It takes longer.
            OSError: It fails.
        """
        try:
            bind(self._socket, self._source)
            refused = self._socket.connect_ex(self._nameserver.address()[1])
            if refused == errno.EINPROGRESS:
                await self._wait(select.POLLOUT, end)
                refused = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if refused:
                raise OSError(refused, os.strerror(refused))
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if context is not None:
                secure = self._socket = context.wrap_socket(
                    self._socket, do_handshake_on_connect=False, server_hostname=self._nameserver.certified
                )
                await self._do(secure.do_handshake, select.POLLIN, end)
        except BaseException:
            self.close()
            raise

    async def ask(self, message: LibraryMessage, end: float) -> Reply:
        """Return the reply; anything else is waited past. Raises EOFError, ConnectionError or SSLError at its end."""
        octets = message.to_wire()
        octets = len(octets).to_bytes(2, "big") + octets
        while octets:
            sent = await self._do(partial(self._socket.send, octets), select.POLLOUT, end)
            octets = octets[sent:]
        while True:
            octets = await self._read(int.from_bytes(await self._read(2, end), "big"), end)
            if (reply := message.read(octets)) is not None:
                return reply

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    async def _read(self, size: int, end: float) -> bytes:
        octets = b""
        while len(octets) < size:
            part = await self._do(partial(self._socket.recv, size - len(octets)), select.POLLIN, end)
            if not part:
                raise EOFError
            octets += part
        return octets

    async def _do(self, step: Callable[[], Done], event: int, end: float) -> Done:
        """Return the outcome of a step that may have to wait, for this event where TLS names no other one."""
        while True:
            try:
                return step()
            except BlockingIOError:
                wanted = event
            except ssl.SSLWantReadError:
                wanted = select.POLLIN
            except ssl.SSLWantWriteError:
                wanted = select.POLLOUT
            await self._wait(wanted, end)

    async def _wait(self, event: int, end: float) -> None:
        if not await self._waits.ready([self._socket.fileno()], event, max(0.0, end - time.monotonic())):
            raise TimeoutError

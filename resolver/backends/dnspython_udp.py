"""The backend `dnspython` over UDP: the sockets of one lookup, of its blocking and of its awaited side.

Each query leaves from a socket, and so a port, of its own (RFC 5452 section 9.2). Sharing sockets gains some percent
and gives up most of what keeps a forger off; and whatever swallows the queries from one port does not swallow the next
try. A socket stays open until the lookup has its result: a try waits on all the lookup's sockets. When its time is up
there is a last look: a thread may have waited that long for the interpreter alone, and an event loop for its turn.
"""

from __future__ import annotations

import math
import select
import socket
import time
from typing import TYPE_CHECKING, Any

from resolver.backends.lookup import Lookup
from resolver.nameserver import bind

if TYPE_CHECKING:
    from collections.abc import Callable

    from resolver.attempts import Reply
    from resolver.backends.descriptors import Descriptors
    from resolver.backends.dnspython_messages import Message
    from resolver.backends.lookup import RunLookups
    from resolver.model import Query


class SocketLookup(Lookup):
    """A lookup with a socket for each message that it sends over UDP; `forget` is told of one that is closed next."""

    def __init__(
        self,
        query: Query,
        run: RunLookups[Any],
        descriptors: Descriptors,
        forget: Callable[[int], object] | None = None,
    ) -> None:
        super().__init__(query, run)
        self._sources = run.sources
        self._descriptors = descriptors
        self._forget = forget
        self._sent: dict[int, tuple[socket.socket, Message]] = {}  # by descriptor

    def close(self) -> None:
        """Close the lookup's sockets."""
        for descriptor in list(self._sent):
            self._close(descriptor)

    def _transmit(self, message: Message) -> int:
        """Send a message from a port of its own; returns the descriptor. Raises OSError."""
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
        connected.send(message.to_wire(self.ident(message.nameserver, message.query.id)))
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
            self._close(descriptor)
            raise
        self._close(descriptor)
        return reply

    def _close(self, descriptor: int) -> None:
        if self._forget is not None:
            self._forget(descriptor)
        self._sent.pop(descriptor)[0].close()


class BlockingLookup(SocketLookup):
    """A lookup whose tries follow one another on one thread."""

    def send(self, message: Message) -> int:
        """Send a message, once there is a descriptor for that, and return it. Raises OSError."""
        while True:
            try:
                return self._transmit(message)
            except OSError as error:
                wait = self._descriptors.wait(error)
                self.close()
                time.sleep(wait)

    def receive(self, descriptor: int, end: float) -> Reply:
        """Return the reply to the message sent last, or an answer to an earlier one; all else is waited past.

        Args:
            descriptor: What `send` returned.
            end: Until when, in seconds on the monotonic clock.

        Raises:
            TimeoutError: None has come.
            OSError: The nameserver's port is closed, for one.
        """
        poll = select.poll()
        for each in self._sent:
            poll.register(each, select.POLLIN)
        while True:
            left = max(0.0, end - time.monotonic())
            for ready, _ in poll.poll(math.ceil(1000 * left)):
                try:
                    reply = self._read(ready)
                except OSError:
                    # Of an earlier try: this nameserver is asked from another socket now.
                    if ready == descriptor:
                        raise
                else:
                    if reply is None:
                        continue
                    if self.ends(reply, ready == descriptor):
                        return reply
                poll.unregister(ready)
            if not left:
                raise TimeoutError

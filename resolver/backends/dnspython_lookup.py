"""One lookup of the blocking side of the backend `dnspython`: what it has open over UDP, and what it has learned.

Each query leaves from a socket, and so a port, of its own (RFC 5452 section 9.2). Sharing sockets
gains some percent and gives up most of what keeps a forger off; and whatever swallows the queries from one port does
not swallow the next try. A socket stays open until the lookup has its result. The one thing to know before changing
anything: so a try waits on all the lookup's sockets, and a late reply to an earlier one ends it as well.
"""

from __future__ import annotations

import math
import select
import socket
import time
from typing import TYPE_CHECKING

import dns.exception
import dns.message

from resolver import policy as rule
from resolver.backends.conversation import Habits
from resolver.backends.dnspython_messages import heard
from resolver.model import Status

if TYPE_CHECKING:
    from resolver.attempts import Reply
    from resolver.backends.descriptors import Descriptors
    from resolver.model import Query
    from resolver.nameserver import Nameserver


class Lookup:
    """The tries of one lookup; they follow one another on one thread."""

    def __init__(self, query: Query, descriptors: Descriptors) -> None:
        self._query = query
        self._descriptors = descriptors
        self._habits: dict[Nameserver, Habits] = {}
        self._ids: dict[Nameserver, int] = {}  # under which each was asked first, and is again
        self._places: dict[int, _Place] = {}  # by descriptor
        self._late: Reply | None = None
        self.unread: str | None = None  # what is to be said of what came and was no reply

    def habits(self, nameserver: Nameserver) -> Habits:
        """What is known of this nameserver; to be brought up to date."""
        return self._habits.setdefault(nameserver, Habits())

    def send(self, message: dns.message.QueryMessage, nameserver: Nameserver) -> _Place:
        """Send it from a port of its own, once there is a descriptor for that. Raises OSError."""
        while True:
            try:
                place = _Place(nameserver, message)
                break
            except OSError as error:
                wait = self._descriptors.wait(error)
                self.close()
                time.sleep(wait)
        self._descriptors.got()
        self._places[place.socket.fileno()] = place
        message.id = self._ids.setdefault(nameserver, message.id)
        place.socket.send(message.to_wire())
        return place

    def receive(self, place: _Place, expiration: float) -> Reply:
        """The reply to what was sent last, or an answer to what was sent before; all else is waited past.

        expiration: until when, in seconds on the monotonic clock.
        Raises Timeout, Truncated where the reply is, and OSError.
        """
        poll = select.poll()
        for descriptor in self._places:
            poll.register(descriptor, select.POLLIN)
        while True:
            # When the time is up there is a last look: a thread may have waited that long for the interpreter alone.
            left = max(0.0, expiration - time.monotonic())
            for descriptor, _ in poll.poll(math.ceil(1000 * left)):
                ready = self._places[descriptor]
                try:
                    came = self._come(ready)
                except (dns.message.Truncated, OSError):
                    # This nameserver is asked over TCP now, or from another socket.
                    if ready is place:
                        raise
                    came = None
                else:
                    if came is None:
                        continue
                if came is not None and (ready is place or rule.final(came.status)):
                    return came
                self._late = came or self._late
                poll.unregister(descriptor)
            if not left:
                raise dns.exception.Timeout

    def best(self, told: Reply) -> Reply:
        """What a try is told as: an rcode that came late from elsewhere outranks silence and failure."""
        late, failed = self._late, told.status in (Status.TIMEOUT, Status.ERROR)
        if late and failed:
            return late._replace(queries=told.queries)
        return told._replace(error=told.error or self.unread) if told.status is Status.TIMEOUT else told

    def close(self) -> None:
        """Close its sockets."""
        while self._places:
            self._places.popitem()[1].socket.close()

    def _come(self, ready: _Place) -> Reply | None:
        """The reply that has come there, if one has; the socket is closed then, as where it raises."""
        try:
            while True:
                try:
                    octets = ready.socket.recv(65535)
                except BlockingIOError:
                    return None
                came = heard(octets, ready.message, self._query, ready.nameserver, "udp")
                if came.status is not Status.TIMEOUT:
                    break
                self.unread = came.error
        except (dns.message.Truncated, OSError):
            self._drop(ready)
            raise
        self._drop(ready)
        return came

    def _drop(self, place: _Place) -> None:
        del self._places[place.socket.fileno()]
        place.socket.close()


class _Place:
    """Where a nameserver was asked from, and with what."""

    def __init__(self, nameserver: Nameserver, message: dns.message.QueryMessage) -> None:
        self.nameserver = nameserver
        self.message = message
        family, address = nameserver.address()
        self.socket = socket.socket(family, socket.SOCK_DGRAM)
        try:
            self.socket.setblocking(False)
            # The kernel drops what others send, and tells of a closed port.
            self.socket.connect(address)
        except BaseException:
            self.socket.close()
            raise

"""One lookup of the blocking side of the backend `dnspython`: what it has open over UDP, and what it has learned.

A nameserver is asked from a socket, and so a port, of the lookup's own (RFC 5452 section 9.2): sharing sockets gains
some percent and gives up most of what keeps a forger off. It stays open until the lookup has its result, and a further
try there repeats the query on it with the same ID. The one thing to know before changing anything: so a try waits on
all the lookup's sockets, and a late reply to an earlier one ends it as well as its own.
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
from resolver.backends.dnspython_messages import datagram
from resolver.message import Status

if TYPE_CHECKING:
    from resolver.message import Query
    from resolver.nameserver import Nameserver
    from resolver.tries import Reply


class Lookup:
    """The tries of one lookup; they follow one another on one thread."""

    def __init__(self, query: Query) -> None:
        self._query = query
        self._habits: dict[Nameserver, Habits] = {}
        self._places: dict[Nameserver, _Place] = {}
        self._late: Reply | None = None

    def habits(self, nameserver: Nameserver) -> Habits:
        """What is known of this nameserver; to be brought up to date."""
        return self._habits.setdefault(nameserver, Habits())

    def send(self, message: dns.message.QueryMessage, nameserver: Nameserver) -> _Place:
        """Send it, under the ID that this nameserver was asked with before. Raises OSError."""
        place = self._places.get(nameserver)
        if place is None:
            place = self._places[nameserver] = _Place(nameserver, message)
        message.id = place.message.id
        octets = message.to_wire()
        try:
            place.socket.send(octets)
        except ConnectionRefusedError:
            # The refusal was of an earlier query; it was told in place of sending this one.
            place.socket.send(octets)
        return place

    def receive(self, place: _Place, expiration: float) -> Reply:
        """The reply to what was sent last, or an answer to what was sent before; all else is waited past.

        expiration: until when, in seconds on the wall clock.
        Raises Timeout, Truncated where the reply is, and OSError.
        """
        poll = select.poll()
        places = {each.socket.fileno(): each for each in self._places.values()}
        for descriptor in places:
            poll.register(descriptor, select.POLLIN)
        while True:
            # When the time is up there is a last look: a thread may have waited that long for the interpreter alone.
            left = max(0.0, expiration - time.time())
            for descriptor, _ in poll.poll(math.ceil(1000 * left)):
                ready = places[descriptor]
                try:
                    heard = ready.receive(self._query)
                except (dns.message.Truncated, OSError):
                    # This nameserver is asked over TCP now, or from another socket.
                    poll.unregister(descriptor)
                    self._places.pop(ready.nameserver).socket.close()
                    if ready is place:
                        raise
                    continue
                if heard is None:
                    continue
                if ready is place or rule.final(heard.status):
                    return heard
                self._late = heard
            if not left:
                raise dns.exception.Timeout

    def best(self, told: Reply) -> Reply:
        """What a try is told as: an rcode that came late from elsewhere outranks silence and failure."""
        late, failed = self._late, told.status in (Status.TIMEOUT, Status.ERROR)
        return late._replace(queries=told.queries) if late and failed else told

    def close(self) -> None:
        """Close its sockets."""
        for place in self._places.values():
            place.socket.close()


class _Place:
    """Where a nameserver was asked from. `message`: what it was asked first."""

    def __init__(self, nameserver: Nameserver, message: dns.message.QueryMessage) -> None:
        self.nameserver = nameserver
        self.message = message
        family = socket.AF_INET6 if ":" in nameserver.host else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_DGRAM)
        try:
            self.socket.setblocking(False)
            # The kernel drops what others send, and tells of a closed port.
            self.socket.connect((nameserver.host, nameserver.port))
        except BaseException:
            self.socket.close()
            raise

    def receive(self, query: Query) -> Reply | None:
        """A reply that has come, if one has. Raises Truncated where it is, and OSError."""
        while True:
            try:
                octets = self.socket.recv(65535)
            except BlockingIOError:
                return None
            told = datagram(octets, self.message, query, self.nameserver)
            if told is not None:
                return told

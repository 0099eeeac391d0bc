"""One lookup of the awaited side of the backend `dnspython`: what it has open over UDP, and what it has learned.

The same as that of the blocking side (dnspython_lookup.py), on the library's asyncio sockets: one a nameserver, open
until the lookup has its result, so that a late reply to an earlier try ends it as well as its own. The one thing to
know before changing anything: a try may be cancelled at any await, and what it leaves open is closed by `close`, which
waits for nothing.
"""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Any

import dns.asyncquery
import dns.flags
import dns.inet
import dns.message

from resolver import policy as rule
from resolver.backends.conversation import Habits
from resolver.backends.dnspython_async_https import LATE, Requests
from resolver.backends.dnspython_messages import reply
from resolver.message import Status

if TYPE_CHECKING:
    from resolver.message import Query
    from resolver.nameserver import Nameserver
    from resolver.tries import Reply


class Lookup:
    """The tries of one lookup; `library` is dnspython's backend for asyncio."""

    def __init__(self, query: Query, library: Any) -> None:
        self._query = query
        self._library = library
        self._habits: dict[Nameserver, Habits] = {}
        self._places: dict[Nameserver, _Place] = {}
        self._late: Reply | None = None
        self.requests = Requests()

    def habits(self, nameserver: Nameserver) -> Habits:
        """What is known of this nameserver; to be brought up to date."""
        return self._habits.setdefault(nameserver, Habits())

    async def send(self, message: dns.message.QueryMessage, nameserver: Nameserver) -> _Place:
        """Send it, under the ID that this nameserver was asked with before. Raises OSError."""
        place = self._places.get(nameserver)
        if place is None:
            # Connected: the kernel drops what other sources send, and tells of a closed port.
            family, peer = dns.inet.af_for_address(nameserver.host), (nameserver.host, nameserver.port)
            link = await self._library.make_socket(family, socket.SOCK_DGRAM, 0, None, peer)
            place = self._places[nameserver] = _Place(nameserver, message, link)
        message.id = place.message.id
        await dns.asyncquery.send_udp(place.link, message, None)
        return place

    async def receive(self, place: _Place, end: float) -> Reply:
        """The reply to what was sent last, or an answer to what was sent before; all else is waited past.

        end: until when, by the event loop's clock.
        Raises TimeoutError, Truncated where the reply is, and OSError.
        """
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout_at(end):
                return await self._receive(place)
        except TimeoutError:
            late = loop.time() - end
            if late < LATE:
                raise
        # The loop has had no turn for so long: what came meanwhile is still to be read.
        async with asyncio.timeout(late):
            return await self._receive(place)

    async def _receive(self, place: _Place) -> Reply:
        if len(self._places) > 1:
            return await self._receive_any(place)
        try:
            return await place.receive(self._query)
        except (dns.message.Truncated, OSError):
            self._drop(place)
            raise

    async def _receive_any(self, place: _Place) -> Reply:
        waiting = {asyncio.ensure_future(each.receive(self._query)): each for each in self._places.values()}
        try:
            while True:
                done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    ready = waiting.pop(task)
                    try:
                        heard = task.result()
                    except (dns.message.Truncated, OSError):
                        # This nameserver is asked over TCP now, or from another socket.
                        self._drop(ready)
                        if ready is place:
                            raise
                        continue
                    if ready is place or rule.final(heard.status):
                        return heard
                    self._late = heard
                    waiting[asyncio.ensure_future(ready.receive(self._query))] = ready
        finally:
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)

    def _drop(self, place: _Place) -> None:
        del self._places[place.nameserver]
        place.close()

    def best(self, told: Reply) -> Reply:
        """What a try is told as: an rcode that came late from elsewhere outranks silence and failure."""
        late, failed = self._late or self.requests.best, told.status in (Status.TIMEOUT, Status.ERROR)
        return late._replace(queries=told.queries) if late and failed else told

    def close(self) -> None:
        """Close its sockets, and wait for none of its requests."""
        self.requests.drop()
        for place in self._places.values():
            place.close()


class _Place:
    """Where a nameserver was asked from. `message`: what it was asked first; `link`: the library's socket."""

    def __init__(self, nameserver: Nameserver, message: dns.message.QueryMessage, link: Any) -> None:
        self.nameserver = nameserver
        self.message = message
        self.link = link

    async def receive(self, query: Query) -> Reply:
        """The first reply that comes. Raises Truncated where it is, and OSError."""
        while True:
            octets, _ = await self.link.recvfrom(65535, None)
            try:
                # The library's receive_udp does the same with all records, which the codec reads once more.
                heard = dns.message.from_wire(octets, question_only=True)
            except Exception:  # whatever a parser of foreign octets says of them
                continue
            if not self.message.is_response(heard):
                continue
            if heard.flags & dns.flags.TC:
                raise dns.message.Truncated(message=heard)  # type: ignore[no-untyped-call]
            told = reply(octets, query, self.nameserver, "udp")
            if told.status is not Status.TIMEOUT:
                return told

    def close(self) -> None:
        """Close the socket. The library's own `close` does the same, and is to be awaited."""
        self.link.transport.close()

"""One lookup of the awaited side of the backend `dnspython`: what it has open over UDP, and what it has learned.

The same as that of the blocking side (dnspython_lookup.py), on the library's asyncio sockets: one a query, open until
the lookup has its result, so that a late reply to an earlier try ends it as well as its own. The one thing to know
before changing anything: a try may be cancelled at any await, and what it leaves open is closed by `close`, which waits
for nothing.
"""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Any

import dns.asyncquery
import dns.message

from resolver import policy as rule
from resolver.backends.conversation import Habits
from resolver.backends.dnspython_async_https import LATE, Requests
from resolver.backends.dnspython_messages import endpoint, heard
from resolver.model import Status

if TYPE_CHECKING:
    from resolver.attempts import Reply
    from resolver.backends.descriptors import Descriptors
    from resolver.model import Query
    from resolver.nameserver import Nameserver


class Lookup:
    """The tries of one lookup; `library` is dnspython's backend for asyncio."""

    def __init__(self, query: Query, library: Any, descriptors: Descriptors) -> None:
        self._query = query
        self._library = library
        self._descriptors = descriptors
        self._habits: dict[Nameserver, Habits] = {}
        self._ids: dict[Nameserver, int] = {}  # under which each was asked first, and is again
        self._places: list[_Place] = []
        self._late: Reply | None = None
        self.unread: str | None = None  # what is to be said of what came and was no reply
        self.requests = Requests()

    def habits(self, nameserver: Nameserver) -> Habits:
        """What is known of this nameserver; to be brought up to date."""
        return self._habits.setdefault(nameserver, Habits())

    async def send(self, message: dns.message.QueryMessage, nameserver: Nameserver) -> _Place:
        """Send it from a port of its own, once there is a descriptor for that. Raises OSError."""
        while True:
            try:
                # Connected: the kernel drops what other sources send, and tells of a closed port.
                family, peer = endpoint(nameserver)
                link = await self._library.make_socket(family, socket.SOCK_DGRAM, 0, None, peer)
                break
            except OSError as error:
                wait = self._descriptors.wait(error)
                self._close()
                await asyncio.sleep(wait)
        self._descriptors.got()
        message.id = self._ids.setdefault(nameserver, message.id)
        place = _Place(nameserver, message, link)
        self._places.append(place)
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
        return await self._come(place)

    async def _receive_any(self, place: _Place) -> Reply:
        waiting = {asyncio.ensure_future(self._come(each)): each for each in self._places}
        try:
            while True:
                done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    ready = waiting.pop(task)
                    try:
                        came = task.result()
                    except (dns.message.Truncated, OSError):
                        # This nameserver is asked over TCP now, or from another socket.
                        if ready is place:
                            raise
                        continue
                    if ready is place or rule.final(came.status):
                        return came
                    self._late = came
        finally:
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)

    async def _come(self, place: _Place) -> Reply:
        """The first reply that comes there; the socket is closed then, as where it raises Truncated or OSError."""
        try:
            while True:
                octets, _ = await place.link.recvfrom(65535, None)
                came = heard(octets, place.message, self._query, place.nameserver, "udp")
                if came.status is not Status.TIMEOUT:
                    break
                self.unread = came.error
        except (dns.message.Truncated, OSError):
            self._drop(place)
            raise
        self._drop(place)
        return came

    def _drop(self, place: _Place) -> None:
        self._places.remove(place)
        place.close()

    def best(self, told: Reply) -> Reply:
        """What a try is told as: an rcode that came late from elsewhere outranks silence and failure."""
        late, failed = self._late or self.requests.best, told.status in (Status.TIMEOUT, Status.ERROR)
        if late and failed:
            return late._replace(queries=told.queries)
        return told._replace(error=told.error or self.unread) if told.status is Status.TIMEOUT else told

    def close(self) -> None:
        """Close its sockets, and wait for none of its requests."""
        self.requests.drop()
        self._close()

    def _close(self) -> None:
        while self._places:
            self._places.pop().close()


class _Place:
    """Where a nameserver was asked from, and with what. `link`: the library's socket."""

    def __init__(self, nameserver: Nameserver, message: dns.message.QueryMessage, link: Any) -> None:
        self.nameserver = nameserver
        self.message = message
        self.link = link

    def close(self) -> None:
        """Close the socket. The library's own `close` does the same, and is to be awaited."""
        self.link.transport.close()

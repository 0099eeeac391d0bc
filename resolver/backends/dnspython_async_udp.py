"""The awaited side of the backend `dnspython` over UDP: the same as the blocking one, on the library's asyncio sockets.

A try may be cancelled at any await; `close` closes the sockets that it leaves open, and waits for nothing.
"""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Any

import dns.asyncquery

from resolver.backends.dnspython_async_https import LATE, Requests
from resolver.backends.dnspython_messages import endpoint, local
from resolver.backends.lookup import Lookup

if TYPE_CHECKING:
    from resolver.attempts import Reply
    from resolver.backends.descriptors import Descriptors
    from resolver.backends.dnspython_messages import Message
    from resolver.backends.lookup import RunForms
    from resolver.model import Query
    from resolver.nameserver import Sources


class AsyncLookup(Lookup):
    """A lookup whose tries are awaited; `library` is dnspython's backend for asyncio."""

    def __init__(self, query: Query, run: RunForms, sources: Sources, library: Any, descriptors: Descriptors) -> None:
        super().__init__(query, run)
        self._sources = sources
        self.requests = Requests()
        self._library = library
        self._descriptors = descriptors
        self._sent: dict[Any, Message] = {}  # by the library's socket

    async def send(self, message: Message) -> Any:
        """Send a message from a port of its own, once there is a descriptor for that; returns the socket.

        Raises OSError.
        """
        while True:
            try:
                # Connected: the kernel drops datagrams of other senders, and tells of a closed port.
                family, peer = endpoint(message.nameserver)
                source = local(self._sources.next(message.nameserver))
                connected = await self._library.make_socket(family, socket.SOCK_DGRAM, 0, source, peer)
                break
            except OSError as error:
                wait = self._descriptors.wait(error)
                self._close()
                await asyncio.sleep(wait)
        self._descriptors.got()
        self._sent[connected] = message
        octets = message.to_wire(self.ident(message.nameserver, message.query.id))
        await dns.asyncquery.send_udp(connected, octets, None)
        return connected

    async def receive(self, connected: Any, end: float) -> Reply:
        """Return the reply to the message sent last, or an answer to an earlier one; all else is waited past.

        end: until when, by the event loop's clock.
        Raises TimeoutError, and OSError.
        """
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout_at(end):
                return await self._receive(connected)
        except TimeoutError:
            late = loop.time() - end
            if late < LATE:
                raise
        # The loop has had no turn for so long: what came meanwhile is still to be read.
        async with asyncio.timeout(late):
            return await self._receive(connected)

    def close(self) -> None:
        """Close the lookup's sockets, and wait for none of its requests."""
        self.requests.drop()
        self._close()

    async def _receive(self, connected: Any) -> Reply:
        if len(self._sent) == 1:
            return await self._read(connected)
        waiting = {asyncio.ensure_future(self._read(each)): each for each in self._sent}
        try:
            while True:
                done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    own = waiting.pop(task) is connected
                    try:
                        reply = task.result()
                    except OSError:
                        # Of an earlier try: this nameserver is asked from another socket now.
                        if own:
                            raise
                        continue
                    if self.ends(reply, own):
                        return reply
        finally:
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)

    async def _read(self, connected: Any) -> Reply:
        """Return the first reply that comes on a socket; it is closed then, as where it raises OSError."""
        message = self._sent[connected]
        try:
            while (reply := message.read((await connected.recvfrom(65535, None))[0])) is None:
                pass
        except OSError:
            self._drop(connected)
            raise
        self._drop(connected)
        return reply

    def _drop(self, connected: Any) -> None:
        del self._sent[connected]
        _close(connected)

    def _close(self) -> None:
        while self._sent:
            _close(self._sent.popitem()[0])


def _close(connected: Any) -> None:
    """Close a socket. The library's own `close` does the same, and is to be awaited."""
    connected.transport.close()

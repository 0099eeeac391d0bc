"""The awaited side of the backend `dnspython`: the library's asyncio functions, one socket or connection a question.

What goes over UDP stands in dnspython_async_lookup.py, what over HTTPS in dnspython_async_https.py: there one client a
nameserver lasts for the run, as everybody does it who asks more than once.

The one thing to know before changing anything: a try may be cancelled at any await, and must leave nothing open. What
is sent and what a reply means stands in dnspython_messages.py.
"""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Any

import dns.asyncbackend
import dns.asyncquery

from resolver.attempts import Reply
from resolver.backends import dnspython_messages as messages
from resolver.backends.descriptors import Descriptors
from resolver.backends.dnspython_async_https import Client
from resolver.backends.dnspython_async_lookup import Lookup
from resolver.model import Status

if TYPE_CHECKING:
    from resolver.model import Query
    from resolver.nameserver import Nameserver
    from resolver.policy import Policy


class AsyncDnspython:
    """A session in the event loop that is running. Raises OSError where the policy's certificates cannot be read."""

    # A question takes a millisecond of the interpreter: of more in flight, each would wait for its turn longer than for
    # its reply, and run out of time there.
    concurrency = 128

    def __init__(self, policy: Policy) -> None:
        secure = any(each.transport in ("tls", "https") for each in policy.nameservers)
        self._context = messages.tls_context(policy) if secure else None
        self._backend: Any = dns.asyncbackend.get_backend("asyncio")
        self._loop = asyncio.get_running_loop()
        self._descriptors = Descriptors(policy.query_timeout)
        self._lookups: dict[int, Lookup] = {}
        self._clients: dict[Nameserver, Client] = {}
        self._former: set[Client] = set()  # each waited for by somebody, as long as it is not closed

    async def ask(self, query: Query, nameserver: Nameserver | None, timeout: float) -> Reply:
        """Ask once, with the repeats that belong to it, within `timeout` seconds from the sending."""
        assert nameserver is not None  # `prepare` has named some
        lookup = self._lookups.get(query.index)
        if lookup is None:
            lookup = self._lookups[query.index] = Lookup(query, self._backend, self._descriptors)
        end = 0.0
        talk = messages.conversation(query, nameserver, lookup.habits(nameserver))
        message = next(talk)
        while True:
            heard: Reply | BaseException
            try:
                if message.transport == "udp":
                    place = await lookup.send(message.query, nameserver)
                    end = end or self._loop.time() + timeout
                    heard = await lookup.receive(place, end)
                elif message.transport == "https":
                    end = end or self._loop.time() + timeout
                    client = self._client(nameserver, alone=(query.attempts or 0) > 1)
                    heard = await lookup.requests.ask(client, message.query, query, end)
                else:
                    end = end or self._loop.time() + timeout
                    heard = await self._over_connection(message, query, lookup, nameserver, end)
            except Exception as error:  # what it means, dnspython_messages knows
                heard = error
            try:
                message = talk.send(heard)
            except StopIteration as done:
                return lookup.best(done.value)

    def done(self, query: Query) -> None:
        """Close the lookup's sockets, and wait for none of its requests."""
        if lookup := self._lookups.pop(query.index, None):
            lookup.close()

    async def close(self) -> None:
        """Close the HTTP clients; nothing else is open between lookups."""
        await asyncio.gather(*(client.close() for client in [*self._former, *self._clients.values()]))

    async def _over_connection(
        self, message: messages.Message, query: Query, lookup: Lookup, nameserver: Nameserver, end: float
    ) -> Reply:
        # Not every step of the library keeps to a time that it is given; closing a connection, for one.
        while True:
            try:
                async with asyncio.timeout_at(end):
                    endpoint = await self._connect(message.transport, nameserver)
                break
            except TimeoutError:
                if nameserver.transport == "udp":
                    return Reply(Status.TIMEOUT, [], queries=0)  # the repeat never went out
                raise
            except OSError as error:
                wait = self._descriptors.wait(error)
                lookup.close()
                await asyncio.sleep(wait)
                end += wait
        self._descriptors.got()
        async with asyncio.timeout_at(end), endpoint as stream:
            await dns.asyncquery.send_tcp(stream, message.query)
            while True:
                octets = await _read(stream, int.from_bytes(await _read(stream, 2), "big"))
                came = messages.heard(octets, message.query, query, nameserver, message.transport)
                if came.status is not Status.TIMEOUT:
                    return came
                lookup.unread = came.error

    async def _connect(self, transport: str, nameserver: Nameserver) -> Any:
        context, name = None, None
        if transport == "tls":
            context, name = self._context, nameserver.certified
        family, peer = messages.endpoint(nameserver)
        return await self._backend.make_socket(family, socket.SOCK_STREAM, 0, None, peer, None, context, name)

    def _client(self, nameserver: Nameserver, *, alone: bool) -> Client:
        client = self._clients.get(nameserver)
        if client is not None and not client.left and not alone:
            return client
        new = Client(nameserver, self._context)
        if alone:
            # It closes when its one request is not waited for any more.
            new.left = True
            client = new
        else:
            self._clients[nameserver] = new
        if client is not None:
            self._former = {each for each in self._former if not each.closed} | {client}
        return new


async def _read(stream: Any, size: int) -> bytes:
    octets = b""
    while len(octets) < size:
        if not (part := await stream.recv(size - len(octets), None)):
            raise EOFError
        octets += part
    return octets

"""The awaited side of the backend `dnspython`: the library's asyncio functions, one socket or connection a question.

UDP stands in dnspython_async_udp.py, HTTPS in dnspython_async_https.py: there one client a nameserver lasts for the
run. A try may be cancelled at any await, and must leave nothing open.
"""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Any

import dns.asyncbackend
import dns.asyncquery

from resolver.backends.descriptors import Descriptors
from resolver.backends.dnspython_async_https import Client
from resolver.backends.dnspython_async_udp import AsyncLookup
from resolver.backends.dnspython_messages import Message, endpoint, failure, local, tls_context
from resolver.backends.lookup import SILENCE, Conversation, RunForms
from resolver.nameserver import Sources

if TYPE_CHECKING:
    from resolver.attempts import Reply
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
        self._context = tls_context(policy) if secure else None
        self._backend: Any = dns.asyncbackend.get_backend("asyncio")
        self._loop = asyncio.get_running_loop()
        self._descriptors = Descriptors(policy.query_timeout)
        self._forms = RunForms(policy)
        self._sources = Sources(policy.source)
        self._lookups: dict[int, AsyncLookup] = {}
        self._clients: dict[Nameserver, Client] = {}
        self._former: set[Client] = set()  # each waited for by somebody, as long as it is not closed

    async def ask(self, query: Query, nameserver: Nameserver | None, timeout: float) -> Reply:
        """Ask once, with the repeats that belong to it, within `timeout` seconds from the sending."""
        assert nameserver is not None  # `prepare` has named some
        lookup = self._lookups.get(query.index)
        if lookup is None:
            lookup = self._lookups[query.index] = AsyncLookup(
                query, self._forms, self._sources, self._backend, self._descriptors
            )
        end = 0.0
        conversation = Conversation(lookup, nameserver)
        while conversation.reply is None:
            message = Message(lookup, nameserver, conversation.transport, conversation.edns)
            try:
                if message.transport == "udp":
                    connected = await lookup.send(message)
                    end = end or self._loop.time() + timeout
                    reply = await lookup.receive(connected, end)
                else:
                    end = end or self._loop.time() + timeout
                    if message.transport == "https":
                        client = self._client(nameserver, alone=(query.attempts or 0) > 1)
                        reply = await lookup.requests.ask(client, message, end)
                    else:
                        reply = await self._over_connection(message, lookup, end)
            except Exception as error:  # `failure` knows its meaning
                reply = failure(error, nameserver, message.transport)
            conversation.hear(reply)
        return conversation.reply

    def done(self, query: Query) -> None:
        """Close the lookup's sockets, and wait for none of its requests."""
        if lookup := self._lookups.pop(query.index, None):
            lookup.close()

    async def close(self) -> None:
        """Close the HTTP clients; nothing else is open between lookups."""
        await asyncio.gather(*(client.close() for client in [*self._former, *self._clients.values()]))

    async def _over_connection(self, message: Message, lookup: AsyncLookup, end: float) -> Reply:
        # Not every step of the library keeps to a time that it is given; closing a connection, for one.
        while True:
            try:
                async with asyncio.timeout_at(end):
                    endpoint = await self._connect(message)
                break
            except TimeoutError:
                if message.nameserver.transport == "udp":
                    return SILENCE._replace(queries=0)  # the repeat never went out
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
                if (reply := message.read(octets)) is not None:
                    return reply

    async def _connect(self, message: Message) -> Any:
        context, name = None, None
        if message.transport == "tls":
            context, name = self._context, message.nameserver.certified
        family, peer = endpoint(message.nameserver)
        source = local(self._sources.next(message.nameserver))
        return await self._backend.make_socket(family, socket.SOCK_STREAM, 0, source, peer, None, context, name)

    def _client(self, nameserver: Nameserver, *, alone: bool) -> Client:
        client = self._clients.get(nameserver)
        if client is not None and not client.left and not alone:
            return client
        new = Client(nameserver, self._context, self._sources.next(nameserver))
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

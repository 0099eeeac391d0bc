"""The awaited side of the backend `dnspython`: lookups over UDP, and one connection a question over TCP and TLS.

HTTPS stands in dnspython_async_https.py: there one client a nameserver lasts for the run. A try may be cancelled at any
await, and must leave nothing open.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from typing import TYPE_CHECKING, Any

from resolver.backends.descriptors import Descriptors
from resolver.backends.dnspython_async_https import Client, Requests
from resolver.backends.dnspython_messages import Message, failure, tls_context
from resolver.backends.dnspython_udp import SocketLookup
from resolver.backends.lookup import SILENCE, Conversation, RunLookups

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
        self._loop = asyncio.get_running_loop()
        self._descriptors = Descriptors(policy.query_timeout)
        self._run = RunLookups(policy, lambda query: AsyncLookup(query, self._run, self._descriptors))
        self._clients: dict[Nameserver, Client] = {}
        self._former: set[Client] = set()  # each waited for by somebody, as long as it is not closed

    async def ask(self, query: Query, nameserver: Nameserver | None, timeout: float) -> Reply:
        """Ask once, with the repeats that belong to it, within `timeout` seconds from the sending."""
        assert nameserver is not None  # `prepare` has named some
        lookup = self._run.of(query)
        end = 0.0
        conversation = Conversation(lookup, nameserver)
        while conversation.reply is None:
            message = Message(lookup, nameserver, conversation.transport, conversation.edns)
            try:
                if message.transport == "udp":
                    await lookup.send(message)
                    end = end or self._loop.time() + timeout
                    reply = await lookup.receive(message, end)
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
        self._run.end(query)

    async def close(self) -> None:
        """Close the HTTP clients; nothing else is open between lookups."""
        await asyncio.gather(*(client.close() for client in [*self._former, *self._clients.values()]))

    async def _over_connection(self, message: Message, lookup: AsyncLookup, end: float) -> Reply:
        while True:
            try:
                async with asyncio.timeout_at(end):
                    reader, writer = await self._connect(message)
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
        octets = message.to_wire()
        try:
            writer.write(len(octets).to_bytes(2, "big") + octets)
            async with asyncio.timeout_at(end):
                while True:
                    octets = await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
                    if (reply := message.read(octets)) is not None:
                        return reply
        finally:
            writer.transport.abort()  # to close in order, TLS would wait for the other side

    async def _connect(self, message: Message) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        nameserver = message.nameserver
        family, (host, port, *scope) = nameserver.address()
        # asyncio wants the number of a zone in the address.
        host = f"{host}%{scope[1]}" if any(scope) else host
        context, name = (self._context, nameserver.certified) if message.transport == "tls" else (None, None)
        source = self._run.sources.next(nameserver)
        local = None if source is None else (source, 0)
        return await asyncio.open_connection(
            host, port, family=family, local_addr=local, ssl=context, server_hostname=name
        )

    def _client(self, nameserver: Nameserver, *, alone: bool) -> Client:
        client = self._clients.get(nameserver)
        if client is not None and not client.left and not alone:
            return client
        new = Client(nameserver, self._context, self._run.sources.next(nameserver))
        if alone:
            # It closes when its one request is not waited for any more.
            new.left = True
            client = new
        else:
            self._clients[nameserver] = new
        if client is not None:
            self._former = {each for each in self._former if not each.closed} | {client}
        return new


class AsyncLookup(SocketLookup):
    """A lookup whose tries are awaited. A try may be cancelled at any await; `close` closes what it leaves open."""

    def __init__(self, query: Query, run: RunLookups[Any], descriptors: Descriptors) -> None:
        self._loop = asyncio.get_running_loop()
        super().__init__(query, run, descriptors, self._loop.remove_reader)
        self.requests = Requests()
        self._heard: deque[tuple[Message, Reply | OSError]] = deque()
        self._came = asyncio.Event()

    async def send(self, message: Message) -> None:
        """Send a message, once there is a descriptor for that. Raises OSError."""
        while True:
            try:
                descriptor = self._transmit(message)
            except OSError as error:
                wait = self._descriptors.wait(error)
                super().close()
                await asyncio.sleep(wait)
            else:
                self._loop.add_reader(descriptor, self._ready, descriptor)
                return

    async def receive(self, message: Message, end: float) -> Reply:
        """Return the reply to the message sent last, or an answer to an earlier one; all else is waited past.

        Args:
            message: The one sent last.
            end: Until when, in seconds on the event loop's clock.

        Raises:
            TimeoutError: None has come.
            OSError: The nameserver's port is closed, for one.
        """
        while True:
            late = self._loop.time() >= end
            while self._heard:
                asked, outcome = self._heard.popleft()
                own = asked is message
                if isinstance(outcome, OSError):
                    # Of an earlier try: this nameserver is asked from another socket now.
                    if own:
                        raise outcome
                elif self.ends(outcome, own):
                    return outcome
            if late:
                raise TimeoutError
            self._came.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(end):
                    await self._came.wait()

    def close(self) -> None:
        """Close the lookup's sockets, and wait for none of its requests."""
        self.requests.drop()
        super().close()

    def _ready(self, descriptor: int) -> None:
        message = self._sent[descriptor][1]
        outcome: Reply | OSError | None
        try:
            outcome = self._read(descriptor)
        except OSError as error:
            outcome = error
        if outcome is not None:
            self._heard.append((message, outcome))
            self._came.set()

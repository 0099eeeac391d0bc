"""The awaited side of the backend `dnspython` over HTTPS: an HTTP client, and the requests of one lookup.

Over HTTP/2 all requests of a client share a connection, and the task of any one of them reads and writes for all. They
queue up to read: a reply that was read by one waits until those before it in the queue have had something to read as
well. Where those are never answered, nor is it, though it came. Therefore a client on which a try ran out of time is
left, and a further try has a client to itself.

Nor is a request cancelled while anyone waits for another one of its client: it would drop what it has in hand, half of
what TLS has sealed for instance, and the library never tells the server, whose hundred streams it goes on to fill. It
stays until nobody waits there, and what it brings meanwhile counts.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import dns.asyncquery

from resolver.attempts import Reply
from resolver.backends.dnspython_messages import http_client, plain_errors

if TYPE_CHECKING:
    import ssl

    from resolver.backends.dnspython_messages import Message
    from resolver.nameserver import Nameserver

    Task = asyncio.Task[Reply | Exception]

LATE = 0.005  # seconds that a turn of the event loop may come too late


class Client:
    """An HTTP client for one nameserver. `left`: it is not to be given more; it closes when nobody waits for it."""

    def __init__(self, nameserver: Nameserver, context: ssl.SSLContext | None, source: str | None) -> None:
        self.left = False
        self._url, self._post = nameserver.bare_url, not nameserver.by_get
        self._client = http_client(context, source, "Async")
        # The library's own time is for each step, connecting and reading; ours is for all of them.
        self._client.timeout = None
        self._open: set[Task] = set()
        self._wanted: set[Task] = set()
        self._closing: asyncio.Task[None] | None = None

    def request(self, message: Message) -> Task:
        """Ask. The task's result is the outcome, be it an exception. To be dropped when it is not wanted any more."""
        task = asyncio.ensure_future(self._request(message))
        self._open.add(task)
        self._wanted.add(task)
        task.add_done_callback(self._open.discard)
        return task

    def drop(self, task: Task) -> None:
        """Wait for a request no more."""
        self._wanted.discard(task)
        if self.left and not self._wanted:
            self._close()

    @property
    def closed(self) -> bool:
        """Whether the client and all its requests have ended."""
        return self._closing is not None and self._closing.done()

    async def close(self) -> None:
        """End the requests that are left, and close the connections."""
        await self._close()

    def _close(self) -> asyncio.Task[None]:
        if self._closing is None:
            self._closing = asyncio.ensure_future(self._end_all())
        return self._closing

    async def _end_all(self) -> None:
        self.left = True
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)
        with contextlib.suppress(Exception):  # of a connection that is broken already
            await self._client.aclose()

    async def _request(self, message: Message) -> Reply | Exception:
        try:
            with plain_errors():
                answer = await dns.asyncquery.https(
                    message.query, self._url, client=self._client, ignore_trailing=True, post=self._post
                )
        except Exception as error:  # `failure` knows its meaning
            return error
        return message.read_https(answer)


class Requests:
    """The requests of one lookup that are still waited for."""

    def __init__(self) -> None:
        self._asked: dict[Task, Client] = {}

    async def ask(self, client: Client, message: Message, end: float) -> Reply:
        """Return the reply, or an answer to an earlier request.

        Args:
            client: The one to ask.
            message: The question.
            end: Until when, in seconds on the event loop's clock.

        Raises:
            TimeoutError: None has come.
            Exception: What the request ended with.
        """
        loop = asyncio.get_running_loop()
        asked = client.request(message)
        self._asked[asked] = client
        extended = False
        while True:
            waiting = asyncio.wait(self._asked, timeout=end - loop.time(), return_when=asyncio.FIRST_COMPLETED)
            for task in sorted((await waiting)[0], key=lambda each: each is asked):
                self._asked.pop(task).drop(task)
                outcome = task.result()
                if isinstance(outcome, Reply):
                    if message.lookup.ends(outcome, task is asked):
                        return outcome
                elif task is asked:
                    raise outcome
            late = loop.time() - end
            if late > LATE and not extended:
                # The loop has had no turn for so long: what came meanwhile is still to be read.
                end, extended = end + 2 * late, True
            elif late >= 0:
                client.left = True
                raise TimeoutError

    def __len__(self) -> int:
        return len(self._asked)

    def drop(self) -> None:
        """Wait for none of them any more."""
        for task, client in self._asked.items():
            client.drop(task)
        self._asked.clear()

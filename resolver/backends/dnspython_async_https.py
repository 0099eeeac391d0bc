"""The awaited side of the backend `dnspython` over HTTPS: an HTTP client, and the requests of one lookup.

Over HTTP/2 all requests of a client share a connection, and the task of any one of them reads and writes for all. They
queue up to read, and the one thing to know before changing anything is what that means: a reply that was read by one
waits until those before it in the queue have had something to read as well. Where those are never answered, nor is it,
though it came. So a client on which a try ran out of time is left, and a further try has a client to itself.

Nor is a request cancelled while anyone waits for another one of its client: it would drop what it has in hand, half of
what TLS has sealed for instance, and the library never tells the server, whose hundred streams it goes on to fill. It
stays until nobody waits there, and what it brings meanwhile counts.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import dns.asyncquery
import dns.exception
import dns.query

from resolver import policy as rule
from resolver.attempts import Reply
from resolver.backends.dnspython_messages import broken, reply
from resolver.model import Status

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator

    import dns.message

    from resolver.model import Query
    from resolver.nameserver import Nameserver

    Task = asyncio.Task[Reply | Exception]

LATE = 0.005  # seconds that a turn of the event loop may come too late


class Client:
    """An HTTP client for one nameserver. `left`: it is not to be given more; it closes when nobody waits for it."""

    def __init__(self, nameserver: Nameserver, context: ssl.SSLContext | None) -> None:
        self.left = False
        self._nameserver = nameserver
        # The library's own time is for each step, connecting and reading; ours is for all of them.
        self._client = _library().AsyncClient(http1=True, http2=True, verify=context, timeout=None)
        self._open: set[Task] = set()
        self._wanted: set[Task] = set()
        self._closing: asyncio.Task[None] | None = None

    def request(self, message: dns.message.QueryMessage, query: Query) -> Task:
        """Ask. The task has what came of it, be it an exception. To be dropped when it is not wanted any more."""
        task = asyncio.ensure_future(self._request(message, query))
        self._open.add(task)
        self._wanted.add(task)
        task.add_done_callback(self._open.discard)
        return task

    def drop(self, task: Task) -> None:
        """Nobody waits for it."""
        self._wanted.discard(task)
        if self.left and not self._wanted:
            self._close()

    @property
    def closed(self) -> bool:
        """There is nothing left of it."""
        return self._closing is not None and self._closing.done()

    async def close(self) -> None:
        """End what is left, and close the connections."""
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

    async def _request(self, message: dns.message.QueryMessage, query: Query) -> Reply | Exception:
        assert self._nameserver.url is not None
        try:
            with _plainly(_library()):
                heard = await dns.asyncquery.https(
                    message, self._nameserver.url, client=self._client, ignore_trailing=True
                )
        except Exception as error:  # what it means, dnspython_messages knows
            return error
        assert heard.wire is not None  # it was read from octets
        return reply(heard.wire, query, self._nameserver, "https")


class Requests:
    """Those of one lookup that are still waited for. `best`: what came too late for its own try, and is no answer."""

    def __init__(self) -> None:
        self.best: Reply | None = None
        self._asked: dict[Task, Client] = {}

    async def ask(self, client: Client, message: dns.message.QueryMessage, query: Query, end: float) -> Reply:
        """The reply, or an answer to what was asked before.

        end: until when, by the event loop's clock.
        Raises TimeoutError, and what else came of the request.
        """
        loop = asyncio.get_running_loop()
        asked = client.request(message, query)
        self._asked[asked] = client
        extended = False
        while True:
            waiting = asyncio.wait(self._asked, timeout=end - loop.time(), return_when=asyncio.FIRST_COMPLETED)
            for task in sorted((await waiting)[0], key=lambda each: each is asked):
                self._asked.pop(task).drop(task)
                heard = task.result()
                if isinstance(heard, Reply) and (task is asked or rule.final(heard.status)):
                    return heard
                if task is asked:
                    assert isinstance(heard, Exception)
                    raise heard
                if isinstance(heard, Reply) and heard.status is not Status.TIMEOUT:
                    self.best = heard
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
        """The lookup asks no further."""
        for task, client in self._asked.items():
            client.drop(task)
        self._asked.clear()


def _library() -> Any:
    """The HTTP library that dnspython has found: httpx with 2.8, httpx2 with 2.9."""
    return vars(dns.asyncquery).get("httpx2") or vars(dns.asyncquery)["httpx"]


@contextlib.contextmanager
def _plainly(library: Any) -> Iterator[None]:
    """The HTTP library's exceptions as those of connections."""
    try:
        yield
    except library.TimeoutException:
        raise TimeoutError from None
    except library.TransportError as error:
        raise broken(error) from None
    except dns.exception.FormError:
        # Nothing further comes to wait for.
        raise dns.query.BadResponse from None
    except ValueError as error:
        # An HTTP status; the lines after the first are the page that came with it.
        raise ValueError(str(error).partition("\n")[0]) from None

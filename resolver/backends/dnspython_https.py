"""The backend `dnspython` over HTTPS: a client that a thread has to itself, and those that an event loop shares.

Threads: shared by them, the library's HTTP/2 loses replies now and then. So a client is kept, and used as a connection.

Event loop: over HTTP/2 all requests of a client share a connection, and the task of any one of them reads and writes
for all. They queue up to read: a reply that was read by one waits until those before it in the queue have had something
to read as well. Where those are never answered, nor is it, though it came. Therefore a client on which a try ran out of
time is left, and a further try has a client to itself.

Nor is a request cancelled while anyone waits for another one of its client: it would drop what it has in hand, half of
what TLS has sealed for instance, and the library never tells the server, whose hundred streams it goes on to fill. It
stays until nobody waits there, and what it brings meanwhile counts.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from typing import TYPE_CHECKING, Any

import dns.asyncquery
import dns.exception
import dns.message
import dns.query

from resolver.attempts import Reply
from resolver.backends.descriptors import NONE_LEFT
from resolver.backends.lookup import SILENCE
from resolver.backends.session import UnreadableReply

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator

    from resolver.backends.lookup import LibraryMessage
    from resolver.model import Query
    from resolver.nameserver import Nameserver, Sources

    Task = asyncio.Task[Reply | Exception]

LATE = 0.005  # seconds that a turn of the event loop may come too late


class KeptHttpClient:
    """A client that keeps its connection, for one thread at a time."""

    def __init__(self, nameserver: Nameserver, context: ssl.SSLContext | None, source: str | None) -> None:
        self._client = _http_client(context, source)
        self._url, self._post = nameserver.bare_url, not nameserver.by_get

    async def ask(self, message: LibraryMessage, end: float) -> Reply:
        """Return the reply. The time is the library's for each step, connecting and reading, not for all of them."""
        if (left := end - time.monotonic()) <= 0:
            raise TimeoutError
        with _plain_errors():
            answer = dns.query.https(
                message.made, self._url, left, session=self._client, ignore_trailing=True, post=self._post
            )
        return _read(answer, message)

    def close(self) -> None:
        """Close the client's connection."""
        self._client.close()


class SharedClient:
    """A client for one nameserver. `left`: it is not to be given more; it closes when nobody waits for it.

    It is among the `open` ones until it and all its requests have ended.
    """

    def __init__(
        self, nameserver: Nameserver, context: ssl.SSLContext | None, source: str | None, open: set[SharedClient]
    ) -> None:
        self.left = False
        self._clients = open
        open.add(self)
        self._url, self._post = nameserver.bare_url, not nameserver.by_get
        self._client = _http_client(context, source, "Async")
        # The library's own time is for each step, connecting and reading; ours is for all of them.
        self._client.timeout = None
        self._open: set[Task] = set()
        self._wanted: set[Task] = set()
        self._closing: asyncio.Task[None] | None = None

    def request(self, message: LibraryMessage) -> Task:
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
            self.close()

    def close(self) -> asyncio.Task[None]:
        """End the requests that are left, and close the connections; the task does that."""
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
        self._clients.discard(self)

    async def _request(self, message: LibraryMessage) -> Reply | Exception:
        try:
            with _plain_errors():
                answer = await dns.asyncquery.https(
                    message.made, self._url, client=self._client, ignore_trailing=True, post=self._post
                )
        except Exception as error:  # `failure` knows its meaning
            return error
        return _read(answer, message)


class SharedClients:
    """The clients of a run in an event loop, and the requests of each lookup that are still waited for."""

    def __init__(self, context: ssl.SSLContext | None, sources: Sources) -> None:
        self._context = context
        self._sources = sources
        self._clients: dict[Nameserver, SharedClient] = {}
        self._open: set[SharedClient] = set()  # those, and former ones that somebody waits for
        self._asked: dict[int, dict[Task, SharedClient]] = {}  # by the index of the lookup

    async def ask(self, message: LibraryMessage, end: float) -> Reply:
        """Return the reply, or an answer to an earlier request of the lookup.

        Args:
            message: The question.
            end: Until when, in seconds on the monotonic clock.

        Raises:
            TimeoutError: None has come.
            Exception: What the request ended with.
        """
        lookup = message.lookup
        client = self._client(message.nameserver, alone=(lookup.query.attempts or 0) > 1)
        asked = client.request(message)
        requests = self._asked.setdefault(lookup.query.index, {})
        requests[asked] = client
        extended = False
        while True:
            left = end - time.monotonic()
            done, _ = await asyncio.wait(requests, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            for task in sorted(done, key=lambda each: each is asked):
                requests.pop(task).drop(task)
                outcome = task.result()
                if isinstance(outcome, Reply):
                    if lookup.ends(outcome, task is asked):
                        return outcome
                elif task is asked:
                    raise outcome
            late = time.monotonic() - end
            if late > LATE and not extended:
                # The loop has had no turn for so long: what came meanwhile is still to be read.
                end, extended = end + 2 * late, True
            elif late >= 0:
                client.left = True
                raise TimeoutError

    def drop(self, query: Query) -> None:
        """Wait for none of the lookup's requests any more."""
        for task, client in self._asked.pop(query.index, {}).items():
            client.drop(task)

    async def close(self) -> None:
        """Close the clients."""
        await asyncio.gather(*(client.close() for client in self._open))

    def _client(self, nameserver: Nameserver, *, alone: bool) -> SharedClient:
        client = self._clients.get(nameserver)
        if alone or client is None or client.left:
            client = SharedClient(nameserver, self._context, self._sources.next(nameserver), self._open)
            client.left = alone  # it closes when its one request is not waited for any more
            if not alone:
                self._clients[nameserver] = client
        return client


def _read(answer: dns.message.Message, message: LibraryMessage) -> Reply:
    """Return the meaning of the library's answer, where nothing further comes to wait for."""
    assert answer.wire is not None  # it was read from octets
    return message.lookup.read(answer.wire, message.nameserver, message.transport) or SILENCE


def _library() -> Any:
    """Return the HTTP library that dnspython has found: httpx with 2.8, httpx2 with 2.9."""
    return vars(dns.query).get("httpx2") or vars(dns.query)["httpx"]


def _http_client(context: ssl.SSLContext | None, source: str | None, kind: str = "") -> Any:
    """Return a client of the HTTP library.

    Args:
        context: What certificates are checked with.
        source: The local address to ask from; None: the system's choice.
        kind: "Async" for one that is awaited.
    """
    library = vars(_library())
    ways: dict[str, Any] = {"http1": True, "http2": True, "verify": context}
    if source is not None:
        ways = {"transport": library[f"{kind}HTTPTransport"](**ways, local_address=source)}
    return library[f"{kind}Client"](**ways)


@contextlib.contextmanager
def _plain_errors() -> Iterator[None]:
    """Raise the HTTP library's exceptions as those of connections."""
    library = _library()
    try:
        yield
    except (library.TimeoutException, dns.exception.Timeout):
        raise TimeoutError from None
    except library.TransportError as error:
        raise _as_os_error(error) from None
    except (dns.exception.FormError, dns.query.BadResponse):
        raise UnreadableReply from None
    except ValueError as error:
        # An HTTP status; the lines after the first are the page that came with it.
        raise ValueError(str(error).partition("\n")[0]) from None


def _as_os_error(error: Exception) -> OSError:
    """Return an HTTP library's exception as that of a connection, or of a system that has no descriptor left."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in NONE_LEFT:
            return OSError(cause.errno, os.strerror(cause.errno))
        cause = cause.__cause__ or cause.__context__
    return ConnectionError(str(error) or type(error).__name__)

"""The backend `twisted`: twisted.names makes the messages, which go out and are awaited in the reactor of the engine.

Not `twisted.names.client.Resolver`: it keeps its own tries and nameservers, compares no question, opens a socket for
each query, and its TCP side imports the global reactor even where it was given another one. Nor its protocols: a
message that comes in would pass through their parser, which neither compares the question nor survives all octets; the
codec matches and reads it, as everywhere. Everything here must be given the run's reactor.

What it cannot give: TLS (that of Twisted needs pyOpenSSL), HTTPS.
"""

from __future__ import annotations

import functools
import select
from typing import TYPE_CHECKING, Any, NamedTuple

from twisted.internet import defer, task
from twisted.names import dns

from resolver.attempts import ASYNC_CONCURRENCY
from resolver.backends.lookup import LibraryMessage
from resolver.backends.plain import plainly
from resolver.backends.session import LibrarySession
from resolver.backends.twisted_reactor import ReactorSocket, running_reactor
from resolver.backends.waits import poll

if TYPE_CHECKING:
    from collections.abc import Sequence

    from resolver.backends.lookup import LibraryLookup
    from resolver.dns.form import QueryForm
    from resolver.nameserver import Nameserver
    from resolver.policy import Policy


class TwistedNames(NamedTuple):
    """Asks with twisted.names, over UDP and TCP."""

    name: str = "twisted"

    def prepare(self, policy: Policy) -> Policy:
        """Return the policy with the nameservers that will be asked: the system's where it names none.

        Raises:
            ValueError: One is asked over TLS or HTTPS, or has a zone.
            LookupError: There is none at all.
        """
        return plainly(policy, self.name)

    def open_async(self, policy: Policy) -> LibrarySession:
        """Open a session in the reactor that runs on this thread."""
        return LibrarySession(policy, _message, InReactor(running_reactor()), ASYNC_CONCURRENCY)


class InReactor:
    """Waiting in a reactor."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor

    async def sleep(self, seconds: float) -> None:
        await task.deferLater(self._reactor, seconds)

    async def ready(self, descriptors: Sequence[int], event: int, seconds: float) -> list[int]:
        came: defer.Deferred[None] = defer.Deferred()

        def wake(fd: int = -1) -> None:
            if not came.called:
                came.callback(None)

        sockets = [ReactorSocket(each, wake, self._reactor) for each in descriptors]
        for each in sockets:
            each.wait(event == select.POLLIN, event == select.POLLOUT)
        timer = self._reactor.callLater(seconds, wake)
        try:
            await came
        finally:
            for each in sockets:
                each.wait(False, False)
            if timer.active():
                timer.cancel()
        return poll(descriptors, event)


class _Question(dns.Query):
    """A question as octets: dns.Name knows no escapes."""

    def __init__(self, octets: bytes) -> None:
        super().__init__()
        self._octets = octets

    def encode(self, strio: Any, compDict: object = None) -> None:
        strio.write(self._octets)


@functools.cache
def _opt(form: QueryForm) -> Any:
    """Return the OPT record of this form, as the library reads it."""
    message = dns.Message()
    message.fromStr(b"\0\0" + form.head + b"\0\0\1\0\1" + form.opt)
    return message.additional[0]


def _message(lookup: LibraryLookup, nameserver: Nameserver, transport: str, edns: bool) -> LibraryMessage:
    """Return a query of a lookup."""
    ident, form = lookup.ident(nameserver), lookup.form
    message = dns.Message(ident, recDes=form.flags >> 8 & 1, checkingDisabled=form.flags >> 4 & 1)
    message.queries.append(_Question(lookup.question))
    if edns:
        message.additional.append(_opt(form))
    start = ident.to_bytes(2, "big")
    return LibraryMessage(lookup, nameserver, transport, message.toStr(), lambda octets: octets.startswith(start))


backend = TwistedNames()

"""The backend `dnspython`: the library of that name makes and checks the messages; over UDP, TCP, TLS and HTTPS.

The library decides what is a reply; the codec reads the meaning of a reply from its octets, so that there is one set of
rules and one text for each record.

It has two sides, one that blocks a thread and one that is awaited, with the same session (session.py), which waits
either way. HTTPS is the library's (dnspython_https.py): a thread has a client to itself, an event loop shares one.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, NamedTuple

import dns.message
import dns.query

from resolver.attempts import BLOCKING_CONCURRENCY
from resolver.backends.dnspython_https import KeptHttpClient, SharedClients
from resolver.backends.lookup import LibraryMessage
from resolver.backends.session import LibrarySession
from resolver.backends.waits import InEventLoop, OnThread
from resolver.extras import NotInstalled, cure
from resolver.nameserver import authority_name, tls_context

if TYPE_CHECKING:
    from resolver.attempts import Reply
    from resolver.backends.lookup import LibraryLookup
    from resolver.backends.session import KeptConnection
    from resolver.backends.waits import Waits
    from resolver.dns.form import QueryForm
    from resolver.model import Query
    from resolver.nameserver import Nameserver
    from resolver.policy import Policy


class Dnspython(NamedTuple):
    """Speaks DNS with dnspython."""

    name: str = "dnspython"

    def prepare(self, policy: Policy) -> Policy:
        """Return the policy with the nameservers that will be asked: the system's where it names none.

        Raises:
            LookupError: There is none, or one is asked over HTTPS and what that needs is not installed.
            ValueError: Certificates cannot be read.
        """
        policy = policy.with_nameservers()
        https = next((each for each in policy.nameservers if each.transport == "https"), None)
        if https is not None and not dns.query.have_doh:
            raise NotInstalled(
                f"backend dnspython needs an HTTP library for {https.url}, which is not installed: {cure('doh')}"
            )
        if policy.tls_ca is not None:
            try:
                tls_context(policy.tls_ca)
            except OSError as error:
                named = authority_name(policy.tls_ca)
                raise ValueError(f"{named}: no certificates can be read: {error.strerror or error}") from None
        return policy

    def open(self, policy: Policy) -> DnspythonSession:
        """Open a session for a policy that was prepared."""
        return DnspythonSession(policy, OnThread())

    def open_async(self, policy: Policy) -> DnspythonSession:
        """Open the same, awaited, in the event loop that is running."""
        return DnspythonSession(policy, InEventLoop())


class DnspythonSession(LibrarySession):
    """A session that speaks HTTPS too."""

    def __init__(self, policy: Policy, waits: Waits) -> None:
        # A question takes a millisecond of the interpreter: of more in flight, each would wait for its turn longer than
        # for its reply, and run out of time there.
        super().__init__(policy, _message, waits, BLOCKING_CONCURRENCY)
        self._shared = None
        if isinstance(waits, InEventLoop) and any(each.transport == "https" for each in policy.nameservers):
            self._shared = SharedClients(self.context, self.sources)

    def done(self, query: Query) -> None:
        """Close the lookup's sockets, and wait for none of its requests."""
        super().done(query)
        if self._shared is not None:
            self._shared.drop(query)

    async def close(self) -> None:
        """Close the connections and clients."""
        await super().close()
        if self._shared is not None:
            await self._shared.close()

    async def over_connection(self, message: LibraryMessage, end: float) -> Reply:
        """Ask over a connection, or a client, until `end` on the monotonic clock."""
        if message.transport == "https" and self._shared is not None:
            return await self._shared.ask(message, end)
        return await super().over_connection(message, end)

    async def open(self, transport: str, nameserver: Nameserver, end: float) -> KeptConnection:
        """Open a connection, or a client that will connect."""
        if transport == "https":
            return KeptHttpClient(nameserver, self.context, self.sources.next(nameserver))
        return await super().open(transport, nameserver, end)


@functools.cache
def _opt(form: QueryForm) -> Any:
    """Return the OPT record of this form; made once: making it costs a tenth of all that a lookup costs."""
    return dns.message.from_wire(b"\0\0" + form.head + b"\0\0\1\0\1" + form.opt).opt


def _message(lookup: LibraryLookup, nameserver: Nameserver, transport: str, edns: bool) -> LibraryMessage:
    """Return a query of a lookup. Raises DNSException where there is no such name."""
    query = dns.message.make_query(
        lookup.query.name, lookup.query.type, flags=lookup.form.flags, id=lookup.ident(nameserver)
    )
    if edns:
        query.opt = _opt(lookup.form)

    def responds(octets: bytes) -> bool:
        # The library reads only so much of them as tells that.
        try:
            return query.is_response(dns.message.from_wire(octets, question_only=True))
        except Exception:  # whatever a parser of foreign octets says of them
            return False

    return LibraryMessage(lookup, nameserver, transport, query.to_wire(), responds, query)


backend = Dnspython()

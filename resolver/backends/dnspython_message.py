"""The messages of the backend `dnspython`.

The library makes and checks the messages, and decides what is a reply; the codec reads the meaning of a reply from its
octets, so that there is one set of rules and one text for each record.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import dns.message

from resolver.backends.lookup import SILENCE
from resolver.dns import message as codec

if TYPE_CHECKING:
    from resolver.attempts import Reply
    from resolver.backends.lookup import LibraryLookup
    from resolver.dns.form import QueryForm
    from resolver.nameserver import Nameserver


@functools.cache
def _opt(form: QueryForm) -> Any:
    """Return the OPT record of this form; made once: making it costs a tenth of all that a lookup costs."""
    return dns.message.from_wire(b"\0\0" + form.head + b"\0\0\1\0\1" + form.opt).opt


class DnspythonMessage:
    """A query of a lookup, made by the library with a random ID. Raises DNSException where there is no such name."""

    def __init__(self, lookup: LibraryLookup, nameserver: Nameserver, transport: str, edns: bool) -> None:
        self.lookup = lookup
        self.nameserver = nameserver
        self.transport = transport
        self.query = dns.message.make_query(lookup.query.name, lookup.query.type, flags=lookup.form.flags)
        self.ident = self.query.id
        if edns:
            self.query.opt = _opt(lookup.form)

    def to_wire(self) -> bytes:
        """Return its octets."""
        self.query.id = self.ident
        return self.query.to_wire()

    def read(self, octets: bytes) -> Reply | None:
        """Return the meaning of octets that came from its nameserver, as its lookup reads them; None: wait past them.

        The library reads only so much of them as tells whether they respond to the query.
        """
        try:
            responds = self.query.is_response(dns.message.from_wire(octets, question_only=True))
        except Exception:  # whatever a parser of foreign octets says of them
            responds = False
        if not responds:
            self.lookup.unread = codec.mismatch(octets)
            return None
        return self.lookup.read(octets, self.nameserver, self.transport)

    def read_https(self, answer: dns.message.Message) -> Reply:
        """Return the meaning of the library's answer over HTTPS, where nothing further comes to wait for."""
        assert answer.wire is not None  # it was read from octets
        return self.lookup.read(answer.wire, self.nameserver, self.transport) or SILENCE

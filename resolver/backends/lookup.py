"""One lookup of a backend that asks one question at a time, and the messages of one try. No I/O.

A question stays in flight until its lookup has the result, whatever time a single try has: a late reply to an earlier
try comes in like any other, and ends the try that waits just then if it is an answer. What one try learned about a
nameserver (that it truncates, that it refuses EDNS) the next one begins with. Sending and waiting is each backend's.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from resolver import policy as rule
from resolver.attempts import Reply
from resolver.dns import message as codec
from resolver.dns.detail import detail, time_of_day
from resolver.model import Status

if TYPE_CHECKING:
    from resolver.dns.form import QueryForm
    from resolver.model import Query
    from resolver.nameserver import Nameserver
    from resolver.policy import Policy

SILENCE = Reply(Status.TIMEOUT, [])
TRUNCATED = Reply(Status.TIMEOUT, [], "a truncated reply")  # over UDP: the question is to be asked over TCP


class Lookup:
    """The state of one lookup from one try to the next.

    Args:
        query: The lookup.
        policy: The run's.
        form: What stands around its question.
    """

    def __init__(self, query: Query, policy: Policy, form: QueryForm) -> None:
        self.query = query
        self.form = form
        self._policy = policy
        self.question = codec.question(query.name, query.type)
        self.unread: str | None = None  # a sentence about the last message that was no reply
        self.late: Reply | None = None  # an rcode that came for an earlier try
        self.truncating: set[Nameserver] = set()
        self.refusing_edns: set[Nameserver] = set()
        self._idents: dict[Nameserver, int] = {}

    def ident(self, nameserver: Nameserver, ident: int) -> int:
        """Return the message ID under which the nameserver was asked first, and is again; `ident` at first."""
        return self._idents.setdefault(nameserver, ident)

    def read(self, message: bytes, nameserver: Nameserver, transport: str) -> Reply | None:
        """Return the meaning of a message, TRUNCATED included; None: it is no readable reply, and is waited past."""
        start = codec.match(message, self.question)
        if start is None:
            self.unread = codec.mismatch(message)
            return None
        if transport == "udp" and codec.truncated(message):
            self.truncating.add(nameserver)
            return TRUNCATED
        try:
            reply = Reply(*codec.read(message, start, self.query), str(nameserver), transport)
        except codec.Malformed as error:
            self.unread = codec.unreadable(error)
            return None
        if self._policy.detail:
            subnet = self._policy.subnet[self.query.subnet] if self._policy.subnet else None
            reply = reply._replace(detail=detail(message, start, time_of_day(time.time()), subnet))
        return reply

    def ends(self, reply: Reply, own: bool) -> bool:
        """Return whether a reply ends the try that waits: one to its own question, or an answer to an earlier one."""
        if own or reply.status.answered:
            return True
        if reply.status is not Status.TIMEOUT:  # TRUNCATED is one
            self.late = reply
        return False

    def best(self, reply: Reply) -> Reply:
        """Return the outcome of a try: an rcode that came late from elsewhere outranks silence and failure."""
        if self.late and reply.status in (Status.TIMEOUT, Status.ERROR):
            return self.late._replace(queries=reply.queries)
        return reply._replace(error=reply.error or self.unread) if reply.status is Status.TIMEOUT else reply


class Conversation:
    """The messages of one try: a repeat over TCP after truncation, one without EDNS where that is refused.

    Until there is a `reply`: send the question over `transport`, with or without `edns`, and `hear` the outcome.
    """

    def __init__(self, lookup: Lookup, nameserver: Nameserver) -> None:
        self.reply: Reply | None = None  # the try's, with the number of its queries
        self._lookup = lookup
        self._nameserver = nameserver
        self._queries = 0

    @property
    def transport(self) -> str:
        """The transport of the next message (RFC 2181 section 9: what is truncated is asked again over TCP)."""
        return "tcp" if self._nameserver in self._lookup.truncating else self._nameserver.transport

    @property
    def edns(self) -> bool:
        """Whether the next message has an OPT record (RFC 6891 section 7: some rcodes may mean EDNS)."""
        return self._nameserver not in self._lookup.refusing_edns

    def hear(self, reply: Reply) -> None:
        """Take the outcome of the message that was sent last."""
        self._queries += reply.queries
        if reply is TRUNCATED:
            return
        if self.edns and rule.refuses_edns(reply.status):
            self._lookup.refusing_edns.add(self._nameserver)
        else:
            self.reply = self._lookup.best(reply._replace(queries=self._queries))

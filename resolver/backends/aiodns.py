"""The backend `aiodns`: c-ares, a resolver in C, awaited in asyncio.

One long-lived channel a nameserver (aiodns_channel.py). c-ares' own tries, search list and /etc/hosts are off; it
speaks EDNS, asks again over TCP after truncation, and without EDNS after FORMERR. After NOTIMP and BADVERS
we do.

c-ares gives up on a question by its own measure, whatever timeout it is given: 5 times the average of the replies that
a channel has had, and at least 250 ms. That cannot be turned off. A try that it ends early is gone on with, by one more
query, on a channel of its own, which has no average, so that the whole wait counts; so is each further try. A timeout
of asyncio ends every try at the policy's time exactly.

Not told by c-ares, or done its own way:
- Rcodes other than FORMERR, SERVFAIL, NOTIMP and REFUSED: the IANA ones are ERROR, with a sentence; others SERVFAIL.
- The CNAME chain of an NXDOMAIN. The referral in an empty answer. A repeat without EDNS, or over TCP in vain, is not
  counted among the queries.
- Its query cache is on, and pycares has no switch for it: a question that was answered within this run and its TTL
  (at most an hour) is answered from there, with `attempts` 0 and no nameserver.
- A reply that cannot be parsed (one without its question among them) is not waited past: everything in flight on the
  channel's socket fails with it. All of that is asked again, as further queries of the same try: once on the same
  channel, then, since one of them may be the cause, each on a channel of its own. So is what a TCP connection that the
  nameserver closes takes down, at once; but where it closes in the middle of a reply, c-ares does not see it: TIMEOUT.
- A query that comes back as it was sent is taken for an answer without data; pycares tells neither flags nor rcode.
  Some names it refuses to ask (ERROR): those with blanks or control characters.
- Extended errors (RFC 8914). Why a reply could not be read: octets behind the last record, for one.
- A late reply to an earlier try is dropped. All queries of a channel leave from one port; a further try leaves from
  another, and a port that got no reply at all is left.
- TXT: see aiodns_records.py.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, NamedTuple

from pycares import errno

from resolver.attempts import ASYNC_CONCURRENCY, Reply
from resolver.backends import aiodns_records as records
from resolver.backends.aiodns_channel import CaresChannel, CaresOutcome
from resolver.backends.plain import plainly
from resolver.descriptors import descriptors_left
from resolver.model import Status
from resolver.nameserver import Sources

if TYPE_CHECKING:
    from collections.abc import Iterable

    from resolver.model import Query, Record
    from resolver.nameserver import Nameserver
    from resolver.policy import Policy

_NOERROR = Status.NOERROR  # on Python 3.11 each look at an Enum's member costs as much as a record
_STATUSES = {
    errno.ARES_ENODATA: Status.NODATA,
    errno.ARES_ENOTFOUND: Status.NXDOMAIN,
    errno.ARES_EFORMERR: Status.FORMERR,
    errno.ARES_ESERVFAIL: Status.SERVFAIL,
    errno.ARES_ENOTIMP: Status.NOTIMP,
    errno.ARES_EREFUSED: Status.REFUSED,
    errno.ARES_ETIMEOUT: Status.TIMEOUT,
    errno.ARES_EBADRESP: Status.TIMEOUT,
}
_REFUSED = errno.ARES_ECONNREFUSED


class Aiodns(NamedTuple):
    """Asks with c-ares, over UDP and TCP."""

    name: str = "aiodns"

    def prepare(self, policy: Policy) -> Policy:
        """Return the policy with the nameservers that will be asked: the system's where it names none.

        Raises:
            ValueError: One is asked over TLS or HTTPS, or has a zone.
            LookupError: There is none at all.
        """
        return plainly(policy, self.name)

    def check_types(self, types: Iterable[str]) -> None:
        """Raise ValueError for a record type that pycares does not know."""
        for each in types:
            if each not in records.NUMBERS:
                raise ValueError(f"backend aiodns cannot look up {each}; valid: {', '.join(records.NUMBERS)}")

    def open_async(self, policy: Policy) -> AiodnsSession:
        """Open a session in the event loop that is running."""
        return AiodnsSession(policy)


class AiodnsSession:
    """The channels of a run, opened when they are first needed."""

    concurrency = ASYNC_CONCURRENCY

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._loop = asyncio.get_running_loop()
        self._few = asyncio.Semaphore(max(1, min(policy.in_flight, descriptors_left() // 4)))
        self._steady: dict[Nameserver, CaresChannel] = {}
        self._plain: dict[Nameserver, CaresChannel] = {}  # without EDNS, of those that refuse it
        self._old: list[CaresChannel] = []  # not asked on any more
        self._limit = _limit_of_sockets(policy)
        self._sources = Sources(policy.source)

    async def ask(self, query: Query, nameserver: Nameserver | None, timeout: float) -> Reply:
        """Ask once, for `timeout` seconds, with further queries where c-ares gives up before or fails for others."""
        assert nameserver is not None  # `prepare` has named some
        async with self._limit:
            return await self._ask(query, nameserver, self._loop.time() + timeout)

    async def _ask(self, query: Query, nameserver: Nameserver, end: float) -> Reply:
        queries, failed = 0, False
        alone = (query.attempts or 0) > 1
        # Without EDNS from the start, where that has been answered.
        plain = self._plain.get(nameserver) if self._plain else None
        if plain is not None and not plain.replies:
            plain = None
        while True:
            queries += 1
            try:
                if alone:
                    outcome = await self._ask_alone(query, nameserver, end, edns=plain is None)
                else:
                    channel = plain or self._steady.get(nameserver)
                    if channel is None:
                        channel = self._steady[nameserver] = self._channel(nameserver)
                    outcome = await channel.ask(query, end)
            except TimeoutError:
                await self._leave(nameserver)
                return Reply(Status.TIMEOUT, [], queries=queries)
            # What c-ares does not tell is an answer without records: BADVERS among it.
            if plain is None and (outcome.code == errno.ARES_ENOTIMP or (outcome.result and not outcome.result.answer)):
                plain = self._plain.get(nameserver)
                if plain is None:
                    plain = self._plain[nameserver] = self._channel(nameserver, edns=False)
            elif outcome.code == errno.ARES_EBADRESP and not alone:
                failed, alone = True, failed
            elif not alone and (outcome.code == errno.ARES_ETIMEOUT or (outcome.broke and outcome.code == _REFUSED)):
                alone = True
            else:
                return _reply(outcome, query, nameserver, queries)

    def done(self, query: Query) -> None:
        """Nothing is kept from one try to the next."""

    async def close(self) -> None:
        """Close every channel."""
        for channel in [*self._steady.values(), *self._plain.values(), *self._old]:
            await channel.close()

    def _channel(self, nameserver: Nameserver, *, edns: bool = True) -> CaresChannel:
        return CaresChannel(nameserver, self._policy, self._sources.next(nameserver), edns=edns)

    async def _leave(self, nameserver: Nameserver) -> None:
        """A try has run out: if the steady channel had no reply at all, its port may be what gets none."""
        channel = self._steady.get(nameserver)
        if channel is None or channel.replies:
            return
        self._old.append(self._steady.pop(nameserver))
        for old in [each for each in self._old if not each.waiting]:
            self._old.remove(old)
            await old.close()

    async def _ask_alone(self, query: Query, nameserver: Nameserver, end: float, *, edns: bool) -> CaresOutcome:
        async with self._few:
            channel = self._channel(nameserver, edns=edns)
            try:
                return await channel.ask(query, end)
            finally:
                await channel.close()


def _limit_of_sockets(policy: Policy) -> contextlib.AbstractAsyncContextManager[None]:
    """Return what lets in as many as there are descriptors for, of UDP and TCP each; all where they suffice."""
    sockets = 2 * policy.tries * min(len(policy.nameservers), policy.in_flight)
    left = descriptors_left()
    return asyncio.Semaphore(max(1, left // 2)) if sockets > left else contextlib.nullcontext()


def _reply(outcome: CaresOutcome, query: Query, nameserver: Nameserver, queries: int) -> Reply:
    transport = outcome.transport
    answers: list[Record] = []
    if outcome.result is None:
        status = _STATUSES.get(outcome.code or 0, Status.ERROR)
        if status is Status.TIMEOUT:
            unread = "replies came that c-ares could not read" if outcome.code == errno.ARES_EBADRESP else None
            return Reply(status, [], unread, queries=queries)
        if status is Status.ERROR:
            return Reply(status, [], _sentence(outcome, nameserver), queries=queries)
    if transport is None:  # out of its cache
        queries -= 1
    elif transport != nameserver.transport:  # truncated over UDP
        queries += 1
    if outcome.result is not None:
        if not outcome.result.answer:
            error = "c-ares gave an answer without records: of an rcode that it does not tell, or a type"
            return Reply(Status.ERROR, [], error, queries=queries)
        answers, found = records.answers(outcome.result.answer, query)
        status = _NOERROR if found else Status.NODATA
    return Reply(status, answers, None, str(nameserver) if transport else None, transport, queries)


def _sentence(outcome: CaresOutcome, nameserver: Nameserver) -> str:
    if outcome.broke:
        return f"{nameserver} closed the connection"
    # c-ares has this one code for whatever a socket fails of. Where UDP was answered just before, it may be either.
    refused = outcome.code == _REFUSED
    repeated = outcome.transport is not None and outcome.transport != nameserver.transport
    reason = "the connection was refused or broken" if repeated else "connection refused"
    what = reason if refused else str(errno.strerror(outcome.code or 0)).lower()
    return f"{outcome.transport or nameserver.transport} to {nameserver} failed: {what}"


backend = Aiodns()

"""One-way queries on the wire: every query is sent once, and no reply is awaited, matched or remembered.

It has the face of a channel, so every engine drives it unchanged. A query has its result at once: TIMEOUT where it went
out, since nobody waits for a reply, or ERROR where the local side refused to send it. They are only counted, and who
tells people of them says "sent" for TIMEOUT and "failed" for ERROR (SendCounts; a worker's log).
"""

from __future__ import annotations

import math
import os
import time
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from resolver import wire
from resolver.blocks import ResultBlock
from resolver.congestion import TokenBucket, Window
from resolver.dns import message as codec
from resolver.model import Status, count_statuses
from resolver.nameserver import Sources
from resolver.wire.inflight import RENEWED, Flow, Server
from resolver.wire.sender import BATCH
from resolver.wire.udp import Datagram, Outcome

if TYPE_CHECKING:
    from collections.abc import Callable

    from resolver.model import Query, Result
    from resolver.policy import Policy
    from resolver.seam import Queries


class SendCounts(msgspec.Struct):
    """Counts of the results of one-way queries.

    Attributes:
        sent: Queries that went out.
        failed: Queries that could not be sent.
        invalid: Lines that are no queries.
        reason: Why the last one of `failed` was not sent.
    """

    sent: int = 0
    failed: int = 0
    invalid: int = 0
    reason: str | None = None

    def add(self, results: list[Result]) -> None:
        """Count these."""
        self._count(count_statuses([result.status for result in results]), results)

    def add_block(self, block: ResultBlock) -> None:
        """Count those of a block, which holds at least those of the queries that could not be sent."""
        self._count(block.statuses, block.results() if "ERROR" in block.statuses else [])

    def _count(self, statuses: dict[str, int], results: list[Result]) -> None:
        self.sent += statuses.get("TIMEOUT", 0)
        self.failed += statuses.get("ERROR", 0)
        self.invalid += statuses.get("INVALID", 0)
        for result in results:
            if result.status is Status.ERROR:
                self.reason = result.error


class SendOnly(NamedTuple):
    """Backend wire for queries whose replies nobody waits for."""

    name: str = "wire"

    def prepare(self, policy: Policy) -> Policy:
        """Prepare the policy as wire does. Raises ValueError for nameservers over TCP: a connection is waiting."""
        policy = wire.backend.prepare(policy)
        for nameserver in policy.nameservers:
            if nameserver.transport != "udp":
                raise ValueError(f"no-wait sends over UDP only, not {nameserver.transport}:// ({nameserver})")
        return policy

    def channel(
        self, queries: Queries, policy: Policy, engine: str, watch: Callable[[int, bool, bool], None]
    ) -> OneWayChannel:
        """Open the sockets to the policy's nameservers."""
        return OneWayChannel(queries, policy, engine, watch)


class OneWayChannel:
    """Sockets, one a nameserver, asked in turn, batch by batch, at the policy's rate."""

    def __init__(self, queries: Queries, policy: Policy, engine: str, watch: Callable[[int, bool, bool], None]) -> None:
        self._queries = queries
        self._engine = engine
        self._watch = watch
        self._servers = [
            Server(number, nameserver, Window(policy.in_flight, math.inf))
            for number, nameserver in enumerate(policy.nameservers)
        ]
        queries.tallies.watch(server.tally for server in self._servers)
        self._bucket = TokenBucket(policy.rate) if policy.rate else None
        self._form = policy.forms[0]
        self._sources = Sources(policy.source)
        self._links: dict[tuple[Server, int], Datagram] = {}
        self._blocked: tuple[Datagram, list[Query], list[bytes]] | None = None  # what the kernel did not take yet
        self._results: list[Result] = []
        self._turn = 0
        self._dry = False  # the last flush sent nothing
        self._exhausted = False

    def __enter__(self) -> OneWayChannel:
        return self

    def __exit__(self, *_: object) -> None:
        self._unblock()
        for link in self._links.values():
            link.close()

    @property
    def idle(self) -> bool:
        """All queries went out."""
        return self._exhausted and self._blocked is None and not self._results

    def flush(self) -> list[Result]:
        """Send the next batch, as far as rate and kernel allow; return the results since the last call."""
        if self._blocked is None:
            self._send_next()
        results, self._results = self._results, []
        return results

    def drain(self, fd: int) -> None:
        """Go on: the kernel takes more again."""
        if self._blocked is not None and self._blocked[0].fd == fd:
            link, queries, messages = self._blocked
            self._unblock()
            self._send(link, queries, messages)

    def timeout(self) -> float:
        """Return the seconds until the rate allows the next query; infinite: there is none, or the kernel is full."""
        if self._blocked is not None:
            return math.inf
        paced = self._bucket.wait() if self._bucket else 0.0
        return math.inf if self._dry and not paced else paced

    def _send_next(self) -> None:
        granted = min(BATCH, self._bucket.allowance(time.monotonic())) if self._bucket else BATCH
        queries = self._queries.take(granted) if granted > 0 else []
        self._dry = not queries
        if queries is None:
            self._exhausted = True
        if not queries:
            return
        if self._bucket:
            self._bucket.spend(len(queries))
        idents = os.urandom(2 * len(queries))
        messages = [
            idents[2 * at : 2 * at + 2] + self._form.head + asked + self._form.opt
            for at, asked in enumerate(codec.questions(queries))
        ]
        server = self._servers[self._turn % len(self._servers)]
        try:
            link = self._link(server)
        except OSError as error:
            self._tell(server, queries, Outcome([], messages, error))
        else:
            self._send(link, queries, messages)
        self._turn += 1

    def _send(self, link: Datagram, queries: list[Query], messages: list[bytes]) -> None:
        outcome = link.send(messages)
        link.flow.sent += len(messages)
        done = len(messages) - len(outcome.unsent)
        self._tell(link.flow.server, queries[:done], outcome)
        if outcome.unsent:
            self._blocked = link, queries[done:], outcome.unsent
            self._watch(link.fd, False, True)

    def _tell(self, server: Server, queries: list[Query], outcome: Outcome) -> None:
        """Give queries their results: some of them went out, some were refused. Nobody asks which of them."""
        refused, error = len(outcome.refused), outcome.error
        server.tally.queries += len(queries) - refused
        server.tally.errors += refused
        sink = self._queries.block_sink
        if sink is not None and not refused:
            indices = [query.index for query in queries]
            sink.write(ResultBlock(len(queries), indices, {"TIMEOUT": len(queries)}, len(queries), lines=True))
            return
        reason = f"{server.text}: {(error.strerror or str(error)).lower()}" if error else ""
        self._results += [
            query.unanswered(Status.ERROR if at < refused else Status.TIMEOUT, reason, self._engine, "wire")
            for at, query in enumerate(queries)
        ]

    def _link(self, server: Server) -> Datagram:
        several = max(1, self._sources.several(server.nameserver))
        place = server, self._turn // len(self._servers) % several
        link = self._links.get(place)
        if link is not None and link.flow.sent >= RENEWED:
            link.close()
            link = None
        if link is None:
            link = self._links[place] = Datagram(Flow(server, "udp"), self._sources.next(server.nameserver))
        return link

    def _unblock(self) -> None:
        if self._blocked is not None:
            self._watch(self._blocked[0].fd, False, False)
            self._blocked = None

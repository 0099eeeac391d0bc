"""One-way queries on the wire: every query is sent once, and nothing is awaited, matched or remembered.

It has the face of a channel, so every engine drives it unchanged: it is idle as soon as the last query went out.
"""

from __future__ import annotations

import math
import os
import time
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from resolver import wire
from resolver.congestion import TokenBucket, Window
from resolver.dns import message as codec
from resolver.nameserver import Sources
from resolver.wire.inflight import RENEWED, Flow, Server
from resolver.wire.sender import BATCH
from resolver.wire.udp import Datagram

if TYPE_CHECKING:
    from collections.abc import Callable

    from resolver.model import Result
    from resolver.policy import Policy
    from resolver.seam import Queries


class SendCounts(msgspec.Struct):
    """Counts of one-way queries.

    Attributes:
        sent: Queries that went out.
        failed: Queries that the local side refused to send.
        reasons: Why it refused the last one; empty: it refused none.
    """

    sent: int = 0
    failed: int = 0
    reasons: list[str] = []

    def add(self, sent: int, failed: int, reasons: list[str]) -> None:
        """Add the counts of another process."""
        self.sent += sent
        self.failed += failed
        self.reasons = reasons or self.reasons


class SendOnly(NamedTuple):
    """Backend wire for queries whose replies nobody waits for. `counts` is filled in as they go out."""

    counts: SendCounts
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
        return OneWayChannel(queries, policy, watch, self.counts)


class OneWayChannel:
    """Sockets, one a nameserver, asked in turn, batch by batch, at the policy's rate."""

    def __init__(
        self, queries: Queries, policy: Policy, watch: Callable[[int, bool, bool], None], counts: SendCounts
    ) -> None:
        self._queries = queries
        self._watch = watch
        self._counts = counts
        self._servers = [
            Server(number, nameserver, Window(policy.in_flight, math.inf))
            for number, nameserver in enumerate(policy.nameservers)
        ]
        queries.tallies.watch(server.tally for server in self._servers)
        self._bucket = TokenBucket(policy.rate) if policy.rate else None
        self._form = policy.forms[0]
        self._sources = Sources(policy.source)
        self._links: dict[tuple[Server, int], Datagram] = {}
        self._blocked: tuple[Server, Datagram, list[bytes]] | None = None  # what the kernel did not take yet
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
        return self._exhausted and self._blocked is None

    def flush(self) -> list[Result]:
        """Send the next batch, as far as rate and kernel allow. There are never results."""
        if self._blocked is not None:
            return []
        self._dry = True
        granted = min(BATCH, self._bucket.allowance(time.monotonic())) if self._bucket else BATCH
        queries = self._queries.take(granted) if granted > 0 else []
        if queries is None:
            self._exhausted = True
        if not queries:
            return []
        if self._bucket:
            self._bucket.spend(len(queries))
        self._dry = False
        idents = os.urandom(2 * len(queries))
        self._send(
            self._servers[self._turn % len(self._servers)],
            [
                idents[2 * at : 2 * at + 2] + self._form.head + asked + self._form.opt
                for at, asked in enumerate(codec.questions(queries))
            ],
        )
        self._turn += 1
        return []

    def drain(self, fd: int) -> None:
        """Go on: the kernel takes more again."""
        if self._blocked is not None and self._blocked[1].fd == fd:
            server, _, messages = self._blocked
            self._unblock()
            self._send(server, messages)

    def timeout(self) -> float:
        """Return the seconds until the rate allows the next query; infinite: there is none, or the kernel is full."""
        if self._blocked is not None:
            return math.inf
        paced = self._bucket.wait() if self._bucket else 0.0
        return math.inf if self._dry and not paced else paced

    def _send(self, server: Server, messages: list[bytes]) -> None:
        try:
            link = self._link(server)
        except OSError as error:
            self._counts.failed += len(messages)
            server.tally.errors += len(messages)
            self._reason(server, error)
            return
        outcome = link.send(messages)
        self._counts.failed += len(outcome.refused)
        sent = len(messages) - len(outcome.unsent) - len(outcome.refused)
        self._counts.sent += sent
        server.tally.queries += sent
        server.tally.errors += len(outcome.refused)
        link.flow.sent += len(messages)
        if outcome.error is not None:
            self._reason(server, outcome.error)
        if outcome.unsent:
            self._blocked = server, link, outcome.unsent
            self._watch(link.fd, False, True)

    def _reason(self, server: Server, error: OSError) -> None:
        self._counts.reasons = [f"{server.text}: {(error.strerror or str(error)).lower()}"]

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
            self._watch(self._blocked[1].fd, False, False)
            self._blocked = None

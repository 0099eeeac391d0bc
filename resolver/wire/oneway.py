"""Fire and forget on the wire: every query is sent once, and nothing is awaited, matched or remembered.

It has the face of a channel, so every engine drives it unchanged: it is idle as soon as the last query went out.
"""

from __future__ import annotations

import math
import os
import time
from typing import TYPE_CHECKING, NamedTuple

from resolver import wire
from resolver.congestion import TokenBucket, Window
from resolver.dns import message as codec
from resolver.wire.exchange import BATCH
from resolver.wire.flows import RENEWED
from resolver.wire.inflight import Flow
from resolver.wire.servers import Server
from resolver.wire.udp import Datagram

if TYPE_CHECKING:
    from collections.abc import Callable

    from resolver.model import Result
    from resolver.policy import Policy
    from resolver.seam import Queries


class Sent(NamedTuple):
    """How many queries went out, how many the local side refused to send, and the last reason."""

    sent: list[int]
    failed: list[int]
    reasons: list[str]

    def add(self, sent: int, failed: int, reasons: list[str]) -> None:
        """So many more, and the latest reason: of a volley in another process."""
        self.sent[0] += sent
        self.failed[0] += failed
        self.reasons[:] = reasons or self.reasons


class Forgetful(NamedTuple):
    """The backend wire, for queries whose replies nobody waits for. `tally` is filled in as they go out."""

    tally: Sent
    name: str = "wire"

    def prepare(self, policy: Policy) -> Policy:
        """As wire does. Raises ValueError for nameservers that are not asked over UDP: a connection is waiting."""
        policy = wire.backend.prepare(policy)
        for nameserver in policy.nameservers:
            if nameserver.transport != "udp":
                raise ValueError(f"no-wait sends over UDP only, not {nameserver.transport}:// ({nameserver})")
        return policy

    def channel(
        self, queries: Queries, policy: Policy, engine: str, watch: Callable[[int, bool, bool], None]
    ) -> Volley:
        """A volley at the policy's nameservers."""
        return Volley(queries, policy, watch, self.tally)


class Volley:
    """One socket a nameserver, asked in turn, batch by batch, at the policy's rate."""

    def __init__(self, queries: Queries, policy: Policy, watch: Callable[[int, bool, bool], None], tally: Sent) -> None:
        self._queries = queries
        self._watch = watch
        self._tally = tally
        self._servers = [
            Server(number, nameserver, Window(policy.in_flight, math.inf))
            for number, nameserver in enumerate(policy.nameservers)
        ]
        self._bucket = TokenBucket(policy.rate) if policy.rate else None
        self._links: dict[Server, Datagram] = {}
        self._blocked: tuple[Server, Datagram, list[bytes]] | None = None  # what the kernel did not take yet
        self._turn = 0
        self._dry = False  # the last flush sent nothing
        self._exhausted = False

    def __enter__(self) -> Volley:
        return self

    def __exit__(self, *_: object) -> None:
        self._unblock()
        for link in self._links.values():
            link.close()

    @property
    def idle(self) -> bool:
        """All went out."""
        return self._exhausted and self._blocked is None

    def flush(self) -> list[Result]:
        """Send the next batch, as far as pace and kernel allow. There are never results."""
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
                idents[2 * at : 2 * at + 2] + codec.HEADER + asked + codec.OPT
                for at, asked in enumerate(codec.questions(queries))
            ],
        )
        self._turn += 1
        return []

    def drain(self, fd: int) -> None:
        """The kernel takes more again."""
        if self._blocked is not None and self._blocked[1].fd == fd:
            server, _, messages = self._blocked
            self._unblock()
            self._send(server, messages)

    def timeout(self) -> float:
        """Seconds until the pace allows the next query; infinite where there is none to send, or the kernel is full."""
        if self._blocked is not None:
            return math.inf
        paced = self._bucket.wait() if self._bucket else 0.0
        return math.inf if self._dry and not paced else paced

    def _send(self, server: Server, messages: list[bytes]) -> None:
        try:
            link = self._link(server)
        except OSError as error:
            self._tally.failed[0] += len(messages)
            self._reason(server, error)
            return
        outcome = link.send(messages)
        self._tally.failed[0] += len(outcome.refused)
        self._tally.sent[0] += len(messages) - len(outcome.unsent) - len(outcome.refused)
        link.flow.sent += len(messages)
        if outcome.error is not None:
            self._reason(server, outcome.error)
        if outcome.unsent:
            self._blocked = server, link, outcome.unsent
            self._watch(link.fd, False, True)

    def _reason(self, server: Server, error: OSError) -> None:
        self._tally.reasons[:] = [f"{server.text}: {(error.strerror or str(error)).lower()}"]

    def _link(self, server: Server) -> Datagram:
        link = self._links.get(server)
        if link is not None and link.flow.sent >= RENEWED:
            link.close()
            link = None
        if link is None:
            link = self._links[server] = Datagram(Flow(server, "udp"))
        return link

    def _unblock(self) -> None:
        if self._blocked is not None:
            self._watch(self._blocked[1].fd, False, False)
            self._blocked = None

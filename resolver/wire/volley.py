"""Fire and forget on the wire: every query is sent once, and nothing is awaited, matched or remembered.

It has the face of a channel, so every engine drives it unchanged: it is idle as soon as the last query went out.
"""

from __future__ import annotations

import math
import os
import time
from typing import TYPE_CHECKING, NamedTuple

from resolver import wire
from resolver.policy import Pace
from resolver.wire import codec
from resolver.wire.datagram import Datagram
from resolver.wire.exchange import BATCH
from resolver.wire.flight import Path, Server
from resolver.wire.paths import RENEWED
from resolver.wire.window import Window

if TYPE_CHECKING:
    from collections.abc import Callable

    from resolver.engines.base import Queries
    from resolver.message import Result
    from resolver.policy import Policy


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
        self._pace = Pace(policy.rate) if policy.rate else None
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
        granted = min(BATCH, self._pace.allowance(time.monotonic())) if self._pace else BATCH
        queries = self._queries.take(granted) if granted > 0 else []
        if queries is None:
            self._exhausted = True
        if not queries:
            return []
        if self._pace:
            self._pace.spend(len(queries))
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
        paced = self._pace.wait() if self._pace else 0.0
        return math.inf if self._dry and not paced else paced

    def _send(self, server: Server, messages: list[bytes]) -> None:
        try:
            link = self._link(server)
        except OSError as error:
            self._failed(server, len(messages), error)
            return
        link.path.sent += len(messages)
        messages = sorted(messages, key=len)  # as they are sent: it must be known which ones went
        while messages:
            before = link.sent
            try:
                messages = link.send(messages)
            except OSError as error:
                # What the kernel refused is one query, or, where it tells of an earlier one, kept one from going out.
                went = link.sent - before
                self._tally.sent[0] += went
                self._failed(server, 1, error)
                messages = messages[went + 1 :]
            else:
                self._tally.sent[0] += link.sent - before
                break
        if messages:
            self._blocked = server, link, messages
            self._watch(link.fd, False, True)

    def _failed(self, server: Server, queries: int, error: OSError) -> None:
        self._tally.failed[0] += queries
        self._tally.reasons[:] = [f"{server.text}: {(error.strerror or str(error)).lower()}"]

    def _link(self, server: Server) -> Datagram:
        link = self._links.get(server)
        if link is not None and link.path.sent >= RENEWED:
            link.close()
            link = None
        if link is None:
            link = self._links[server] = Datagram(Path(server, "udp"))
        return link

    def _unblock(self) -> None:
        if self._blocked is not None:
            self._watch(self._blocked[1].fd, False, False)
            self._blocked = None

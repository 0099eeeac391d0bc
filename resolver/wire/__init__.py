"""The built-in stub resolver: the backend `wire`, of the poll style (RFC 1034 section 5.3.1).

From the inside out: `codec` (question -> octets, octets -> records), `window` (how much a nameserver may be sent),
`exchange` (what is in flight; no I/O), `datagram` and `stream` (one socket each), `channel` (all of it for an engine).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from resolver.nameserver import system

if TYPE_CHECKING:
    from collections.abc import Callable

    from resolver.engines.base import Channel, Queries
    from resolver.policy import Policy


class Wire(NamedTuple):
    """Speaks DNS over UDP, TCP and TLS by itself."""

    name: str = "wire"
    style: str = "poll"

    def prepare(self, policy: Policy) -> Policy:
        """The policy with the nameservers that will be asked: the system's where it names none.

        Raises ValueError for one that is asked over https, LookupError where there is none at all.
        """
        for nameserver in policy.nameservers:
            if nameserver.transport == "https":
                raise ValueError(f"backend wire does not speak https ({nameserver.url}); valid: udp://, tcp://, tls://")
        return policy if policy.nameservers else msgspec.structs.replace(policy, nameservers=system())

    def channel(
        self, queries: Queries, policy: Policy, engine: str, watch: Callable[[int, bool, bool], None]
    ) -> Channel:
        """The sockets of a run, for a policy that was prepared."""
        from resolver.wire.channel import Channel

        return Channel(queries, policy, engine, watch)


backend = Wire()

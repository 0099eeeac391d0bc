"""The built-in stub resolver: the backend `wire`, of the poll style (RFC 1034 section 5.3.1).

From the inside out: `inflight` (what is in flight, and on which flow), `flows` and `connections` (which socket a query
leaves on), `servers` (whose turn it is), `sender` (what goes out next), `exchange` (what each reply, silence or failure
means; no I/O), `udp` and `tcp` (one socket each), `channel` (all of it for an engine). The package `congestion` decides
how much a nameserver may be sent, `dns` what octets mean.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from resolver.nameserver import system

if TYPE_CHECKING:
    from collections.abc import Callable

    from resolver.policy import Policy
    from resolver.seam import PollChannel, Queries


class Wire(NamedTuple):
    """The built-in stub, over UDP, TCP and TLS.

    parties: processes that share the run's nameservers. answered: says whether a nameserver has answered something in
    another of them; None: there is no other.
    """

    name: str = "wire"
    parties: int = 1
    answered: Callable[[], bool] | None = None

    def prepare(self, policy: Policy) -> Policy:
        """Return the policy with the nameservers that will be asked: the system's where it names none.

        Raises ValueError for one that is asked over https and for a file without certificates, OSError for one that
        cannot be read, LookupError where there is no nameserver at all.
        """
        if policy.tls_ca is not None:
            check_certificates(policy.tls_ca)
        for nameserver in policy.nameservers:
            if nameserver.transport == "https":
                raise ValueError(
                    f"backend wire does not speak https ({nameserver.url}); valid: udp://, tcp://, tls://; "
                    "https:// is spoken by backend dnspython"
                )
        return policy if policy.nameservers else msgspec.structs.replace(policy, nameservers=system())

    def channel(
        self, queries: Queries, policy: Policy, engine: str, watch: Callable[[int, bool, bool], None]
    ) -> PollChannel:
        """Open the sockets of a run, for a policy that was prepared."""
        from resolver.wire.channel import Channel

        return Channel(queries, policy, engine, watch, parties=self.parties, answered=self.answered)


def check_certificates(path: str) -> None:
    """Raises OSError where the file cannot be read, and ValueError where it holds no certificate."""
    import ssl

    try:
        ssl.create_default_context(cafile=path)
    except ssl.SSLError as error:
        raise ValueError(f"{path} holds no certificate that can be used ({error.reason or error})") from None
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from None


backend = Wire()

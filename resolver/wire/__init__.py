"""The built-in stub resolver: the backend `wire`, of the poll style (RFC 1034 section 5.3.1).

From the inside out: `inflight` (what is in flight, and on which flow), `flows` and `connections` (which socket a query
leaves on), `servers` (whose turn it is), `sender` (what goes out next), `lines` (results that are lines), `exchange`
(what each reply, silence or failure means; no I/O), `udp` and `tcp` (one socket each), `https` (HTTP/2 on the latter;
no I/O), `channel` (all of it for an engine). The package `congestion` decides how much a nameserver may be sent, `dns`
what octets mean.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from resolver.extras import NotInstalled, cure
from resolver.nameserver import authority_name, tls_context

if TYPE_CHECKING:
    from collections.abc import Callable

    from resolver.policy import Policy
    from resolver.seam import PollChannel, Queries


class Wire(NamedTuple):
    """The built-in stub, over UDP, TCP, TLS and HTTPS.

    Attributes:
        name: The backend's.
        parties: Processes that share the run's nameservers.
        answered: Says whether a nameserver has answered something in another of them; None: there is no other.
        engine: Named in results; None: the engine that waits.
    """

    name: str = "wire"
    parties: int = 1
    answered: Callable[[], bool] | None = None
    engine: str | None = None

    def prepare(self, policy: Policy) -> Policy:
        """Return the policy with the nameservers that will be asked: the system's where it names none.

        A name is looked up here.

        Raises:
            ValueError: A file holds no certificates.
            OSError: It cannot be read.
            LookupError: There is no nameserver at all, a name has no address, or a library is not installed.
        """
        if policy.tls_ca is not None:
            check_certificates(policy.tls_ca)
        policy = policy.with_nameservers()
        https = next((each for each in policy.nameservers if each.transport == "https"), None)
        if https is None:
            return policy
        if not (find_spec("hpack") and find_spec("hyperframe")):
            raise NotInstalled(f"{https.url} needs hpack and hyperframe, which are not installed: {cure('doh')}")
        from resolver.wire.system_names import with_addresses

        return msgspec.structs.replace(policy, nameservers=with_addresses(policy.nameservers, policy.source))

    def channel(
        self, queries: Queries, policy: Policy, engine: str, watch: Callable[[int, bool, bool], None]
    ) -> PollChannel:
        """Open the sockets of a run, for a policy that was prepared."""
        from resolver.wire.channel import Channel

        return Channel(queries, policy, self.engine or engine, watch, parties=self.parties, answered=self.answered)


def check_certificates(authority: str) -> None:
    """Raise OSError where the file cannot be read, and ValueError where it, or the text, holds no certificate."""
    import ssl

    try:
        tls_context(authority)
    except ssl.SSLError as error:
        named = authority_name(authority)
        raise ValueError(f"{named} holds no certificate that can be used ({error.reason or error})") from None
    except OSError as error:
        raise OSError(error.errno, error.strerror, authority) from None


backend = Wire()

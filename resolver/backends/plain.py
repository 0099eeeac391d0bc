"""The nameservers of a backend whose library speaks DNS over UDP and TCP, and no more."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from resolver.policy import Policy


def plainly(policy: Policy, backend: str) -> Policy:
    """Return the policy with the nameservers that will be asked: the system's where it names none.

    Raises:
        ValueError: One is asked over TLS or HTTPS, or has a zone (RFC 4007).
        LookupError: There is none at all.
    """
    policy = policy.with_nameservers()
    for each in policy.nameservers:
        if each.transport not in ("udp", "tcp"):
            raise ValueError(
                f"backend {backend} does not speak {each.transport} ({each.url or each}); valid: udp://, tcp://; "
                "tls:// and https:// are spoken by the backends wire and dnspython"
            )
        if "%" in each.host:
            raise ValueError(
                f"backend {backend} cannot ask an address with a zone ({each}); backends that can: wire, dnspython"
            )
    return policy

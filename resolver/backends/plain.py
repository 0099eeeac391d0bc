"""Whom a backend asks whose library speaks DNS over UDP and TCP, and no more."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from resolver.nameserver import system

if TYPE_CHECKING:
    from resolver.policy import Policy


def plainly(policy: Policy, backend: str) -> Policy:
    """The policy with the nameservers that will be asked: the system's where it names none.

    Raises ValueError for one that is asked over TLS, LookupError where there is none at all.
    """
    for each in policy.nameservers:
        if each.transport not in ("udp", "tcp"):
            raise ValueError(
                f"backend {backend} does not speak {each.transport} ({each.url or each}); valid: udp://, tcp://; "
                "tls:// is spoken by the backends wire and dnspython, https:// by dnspython"
            )
    return policy if policy.nameservers else msgspec.structs.replace(policy, nameservers=system())

"""The limits that a worker's own options set to what runs may have it do."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

if TYPE_CHECKING:
    from resolver.nameserver import Nameserver
    from resolver.policy import Policy


class WorkerLimits(NamedTuple):
    """The nameservers that a worker asks in place of a run's, from which addresses, and how much it sends at most."""

    nameservers: tuple[Nameserver, ...] = ()
    concurrency: int | None = None
    rate: float | None = None
    tls_ca: str | None = None
    source: tuple[str, ...] = ()

    def within(self, policy: Policy) -> Policy:
        """Return a run's policy, bounded by these limits."""
        return msgspec.structs.replace(
            policy,
            nameservers=self.nameservers or policy.nameservers,
            concurrency=min(filter(None, (self.concurrency, policy.concurrency)), default=None),
            rate=min(filter(None, (self.rate, policy.rate)), default=None),
            tls_ca=self.tls_ca or policy.tls_ca,
            source=self.source or policy.source,
        )

    @property
    def shared(self) -> bool:
        """Whether a limit holds for all runs of the worker together."""
        return self.concurrency is not None or self.rate is not None

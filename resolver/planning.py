"""Planning a run: what was asked for is checked to go together, and made ready; nothing is asked yet.

The library (api.py), the command and `compare` all plan their runs here. A bad argument raises here, and only here.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal, TypedDict, Unpack

import msgspec

from resolver import engines
from resolver.batch import Batch, Plan
from resolver.dns.message import rdtype
from resolver.input.hosts import Hosts
from resolver.input.prefix import Prefix
from resolver.nameserver import Nameserver, check_sources
from resolver.policy import Deadline, Policy
from resolver.seam import ConditionalEngine, LimitedBackend, Remote

if TYPE_CHECKING:
    from collections.abc import Sequence

    from resolver.input.sources import Source
    from resolver.seam import Backend, Engine
    from resolver.stages import Sink, StageMaker
    from resolver.stages.trusted import Confirmations
    from resolver.tallies import NameserverTallies

# Editors offer the names; a name that comes from a setting is a str, and is checked when the run is planned.
EngineName = Literal["gevent", "asyncio", "threads", "processes", "twisted", "redis"] | str
BackendName = Literal["wire", "system", "dnspython", "aiodns", "twisted"] | str


class StageFields(TypedDict, total=False):
    """Keywords that have more found out about each result (resolver/stages)."""

    wildcards: bool
    follow: bool
    trusted: Iterable[str | Nameserver] | str | None
    trusted_rate: float | None


class RunFields(StageFields, total=False):
    """Keywords of `plan` that `resolve` passes on; its docstring says what they mean."""

    inner: EngineName | None
    lab: bool
    redis: str | None
    prefix: str | None
    keep: bool


def plan(
    sources: Sequence[Source],
    engine: str,
    backend: str,
    types: Sequence[str] | str,
    policy: Policy,
    *,
    inner: str | None = None,
    lab: bool = False,
    redis: str | None = None,
    one_way: bool = False,
    prefix: str | None = None,
    keep: bool = False,
    **further: Unpack[StageFields],
) -> Plan:
    """Check that all of this goes together, and make it ready.

    Args:
        sources: The hosts; they are closed with the plan.
        engine, backend, types, inner, lab, redis, prefix, keep, **further: As `resolve` takes them.
        policy: Which nameservers are asked, how often and how long.
        one_way: No reply is awaited (wire/oneway.py).

    Raises:
        ValueError, TypeError, LookupError, OSError: As `resolve` raises them.
    """
    with contextlib.ExitStack() as opened:
        for each in sources:
            opened.callback(each.close)
        waiter, asker = engines.find(engine, backend, inner)
        if isinstance(waiter, Remote):
            policy = waiter.portable(policy)
            waiter = waiter.at(redis)
        elif redis is not None:
            raise ValueError(f"redis is the broker of engine redis; it means nothing with engine {engine}")
        if one_way:
            from resolver.wire.oneway import SendOnly

            if backend != "wire":
                raise ValueError(f"no-wait needs backend wire, not {backend}")
            asker = SendOnly()
        asked = record_types(types)
        if isinstance(waiter, ConditionalEngine):
            waiter.check(asker)
        if isinstance(asker, LimitedBackend):
            asker.check_types(asked)
        if lab:
            if policy.nameservers:
                raise ValueError("lab is a nameserver of this run's own; it does not go with nameservers")
            from resolver.lab import Lab

            served = opened.enter_context(Lab())
            policy = msgspec.structs.replace(policy, nameservers=(served.nameserver,))
        if policy.nameservers or redis is None:
            policy = asker.prepare(policy)  # else the workers' own nameservers are asked
        engines.check_options(backend, policy.unusual)
        if redis is None:  # else they are addresses of the workers' machines
            check_sources(policy.source, policy.nameservers)
        if policy.each_nameserver and not policy.nameservers:
            raise ValueError("each-nameserver asks those that the run names, and it names none")
        before = None if prefix is None else Prefix(prefix)
        names = waiter.name, asker.name
        hosts = Hosts(sources, asked, *names, prefix=before, keep=keep, variants=policy.variants)
        deadline = Deadline(policy.timeout)
        stages = _stages(waiter, asker, policy, deadline, **further)
        return Plan(waiter, asker, policy, hosts, deadline, opened.pop_all(), stages)


def _stages(
    engine: Engine,
    backend: Backend,
    policy: Policy,
    deadline: Deadline,
    *,
    wildcards: bool = False,
    follow: bool = False,
    trusted: Iterable[str | Nameserver] | str | None = None,
    trusted_rate: float | None = None,
) -> list[StageMaker]:
    """Return what makes the stages of a run, in the order in which results pass them."""
    if not (wildcards or follow or trusted or trusted_rate):
        return []
    from resolver.stages.follow import Follow
    from resolver.stages.trusted import Trusted
    from resolver.stages.wildcards import Wildcards

    if trusted and policy.each_nameserver:
        raise ValueError("trusted has one verdict for a question; it does not go with each-nameserver")
    testing: list[StageMaker] = [Wildcards] if wildcards else []
    if follow:
        testing.append(lambda further, sink: Follow(further, sink, deadline))
    if not trusted:
        if trusted_rate is not None:
            raise ValueError("trusted_rate is the pace of trusted nameservers, and none is named")
        return testing
    others = backend.prepare(
        Policy(**{**msgspec.structs.asdict(policy), "nameservers": trusted, "rate": trusted_rate, "timeout": None})
    )

    def second_run(asked: Confirmations, sink: Sink) -> tuple[int, int, NameserverTallies]:
        batch = Batch(Plan(engine, backend, others, asked, deadline, contextlib.ExitStack(), testing), sink)
        summary = batch.run()
        return batch.further_queries, summary.probes or 0, batch.tallies

    return [lambda further, sink: Trusted(further, sink, second_run, wildcards=wildcards, follow=follow)]


def record_types(types: Sequence[str] | str) -> list[str]:
    """Return the types that are asked, each once. Raises ValueError for what is none, and where there is none."""
    asked = list(dict.fromkeys(rdtype(each) for each in ([types] if isinstance(types, str) else types)))
    if not asked:
        raise ValueError("no record type was given")
    return asked

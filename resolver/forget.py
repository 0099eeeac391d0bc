"""Fire and forget (`--no-wait`): each query is sent once, no reply is awaited, and only how many went out is reported.

The counterpart of the joinall in batch.py: no result, so nothing to remember. What is asked once is in a resolver's
cache afterwards; that is what it is for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from resolver.batch import Summary
from resolver.intake import Intake

if TYPE_CHECKING:
    from collections.abc import Callable

    from resolver.api import Plan
    from resolver.model import Result
    from resolver.wire.oneway import SendCounts


def send_all(plan: Plan, counts: SendCounts, tick: Callable[[], None] | None = None) -> Summary:
    """Send every query of a plan whose backend is a SendOnly that fills in these counts. Raises OSError as the hosts do."""
    invalid = 0

    def count(results: list[Result]) -> None:
        nonlocal invalid
        invalid += len(results)

    intake = Intake(plan.hosts, plan.deadline, count, tick)
    plan.engine.run(intake, plan.policy, plan.backend, count)
    ended = "cancelled" if plan.deadline.cancelled else "deadline" if plan.deadline.passed else "complete"
    plan.hosts.stop()
    statuses = {"INVALID": invalid} if invalid else {}
    if counts.failed[0]:
        statuses["ERROR"] = counts.failed[0]
    seconds = intake.seconds()
    return Summary(
        plan.engine.name,
        plan.backend.name,
        plan.hosts.hosts_read,
        plan.hosts.lookups,
        0,
        statuses,
        counts.sent[0],
        round(seconds, 6),
        round(counts.sent[0] / seconds, 1) if seconds else 0.0,
        plan.hosts.complete and ended == "complete",
        ended,
        f"{counts.failed[0]} queries could not be sent ({counts.reasons[0]})." if counts.failed[0] else None,
    )

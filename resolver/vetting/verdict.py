"""The verdict on one nameserver, from the results of its questions. No I/O.

An error in a test never counts as passed: what was not answered leaves its field None, and its nameserver is not good.
"""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

import msgspec

from resolver.model import EdnsDetail, Result, Status
from resolver.output.selection import alike

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SLOW = 0.5  # seconds that half of its replies may take
LOSSY = 0.2  # share of its queries that may be lost

Question = tuple[str, str]  # name and type


class Verdict(msgspec.Struct):
    """Findings about one nameserver.

    Attributes:
        nameserver: Its address.
        verdict: good, slow, lame (it refuses, fails or does not recurse), lies or dead.
        reachable: It answered at all.
        recursive: It answers what it has to look up, and says so (the flag RA, RFC 1035 section 4.1.1).
        honest: It invented no name and changed no record; None where it did not answer what would show that.
        tcp: It answers over TCP.
        edns: It replies with EDNS to a query that has it (RFC 6891).
        dnssec: It validates: the flag AD came back (RFC 6840 section 5.7).
        rtt_p50: Seconds, the median of its replies.
        loss: Share of its queries that had no reply; None where all were sent again before a reply came.
        error: Why it is not good, in a sentence.
    """

    nameserver: str
    verdict: str
    reachable: bool
    recursive: bool | None = None
    honest: bool | None = None
    tcp: bool | None = None
    edns: bool | None = None
    dnssec: bool | None = None
    rtt_p50: float | None = None
    loss: float | None = None
    error: str | None = None


def judge(
    nameserver: str,
    known: Sequence[Result],
    missing: Sequence[Result],
    truth: Mapping[Question, Result],
    tcp: Result | None = None,
) -> Verdict:
    """Return the verdict on a nameserver.

    Args:
        nameserver: Its address.
        known: Results of questions that have an answer.
        missing: Results of questions about names that cannot exist.
        truth: The results of trusted nameservers for these questions; empty: nobody is trusted.
        tcp: The result of a question over TCP; None: it was not asked.
    """
    results = [*known, *missing]
    heard = list(filter(is_heard, results))
    if not heard:
        error = next((result.error for result in results if result.error), "it did not answer")
        return Verdict(nameserver, "dead", reachable=False, error=error)
    sent = sum(result.attempts or 0 for result in results)
    timed = [result for result in heard if result.elapsed is not None]
    # Of several queries nobody knows which was answered: that it took so long since the first, at most.
    waits = [result.elapsed or 0.0 for result in [each for each in timed if each.attempts == 1] or timed]
    flags = [flag for result in heard if result.detail for flag in result.detail.flags]
    found = Verdict(
        nameserver,
        "good",
        reachable=True,
        recursive="ra" in flags and any(result.answered for result in known),
        tcp=None if tcp is None else tcp.answered,
        edns=any(isinstance(result.detail, EdnsDetail) for result in heard),
        dnssec="ad" in flags,
        rtt_p50=round(statistics.median(waits), 6) if waits else None,
        loss=round(max(0.0, 1 - len(heard) / sent), 3) if any(result.attempts == 1 for result in heard) else None,
    )
    found.honest, lie = _honesty(known, missing, truth)
    if not found.recursive:
        found.verdict, found.error = "lame", _lameness(known)
    elif not found.honest:
        found.verdict, found.error = "lame" if found.honest is None else "lies", lie
    elif found.rtt_p50 is None or found.rtt_p50 > SLOW:
        found.verdict, found.error = "slow", f"half of its replies take longer than {SLOW:g} s"
    elif found.loss and found.loss > LOSSY:
        found.verdict, found.error = "slow", f"{found.loss:.0%} of the queries to it had no reply"
    return found


def is_heard(result: Result) -> bool:
    """Tell whether a reply came."""
    return result.status not in (Status.TIMEOUT, Status.ERROR)


def _honesty(
    known: Sequence[Result], missing: Sequence[Result], truth: Mapping[Question, Result]
) -> tuple[bool | None, str | None]:
    """Return whether it tells the truth, and why not."""
    doubt: str | None = None
    for result in [*missing, *known]:
        told = truth.get((result.name or "", result.type))
        if not result.answered:
            doubt = doubt or f"it did not answer for {result.name} {result.type} ({result.status})"
        elif told is None:
            if result in missing and result.status is Status.NOERROR:
                return False, f"it says that {result.name} exists, which cannot be"
        elif result.status != told.status:
            return False, f"it says {result.status} for {result.name} {result.type}, which is {told.status}"
        elif told.answers and not alike(result, told):  # some names have other records for everybody who asks
            return False, f"it changes the {result.type} records of {result.name}"
    return (None, doubt) if doubt else (True, None)


def _lameness(known: Sequence[Result]) -> str:
    failure = next((result for result in known if not result.answered), None)
    if failure is None:
        return "it does not recurse (no RA in its replies)"
    if failure.status is Status.REFUSED:
        return "it refuses (REFUSED)"
    return f"it does not answer for {failure.name} {failure.type} ({failure.status})"

"""Figures of a run: counted in batch.py, written for people and as JSON here."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from resolver.model import ANSWERED, Status
from resolver.spelling import counted
from resolver.tallies import MOST_SHOWN, AskedLast, NameserverFigures

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TextIO


WORST = 5  # nameservers that people are told of


class Summary(msgspec.Struct):
    """Figures of a run, in the order of the keys of `--summary`.

    Attributes:
        engine: The name of the engine.
        backend: The name of the backend.
        hosts_read: Hosts of the input, as far as it was read.
        lookups: A lookup is a host with one record type.
        results_written: Results that were handed over; unlike `lookups` it means a bug.
        statuses: How many results each status has.
        queries_sent: Queries, repeated ones included.
        seconds: From the first host to the last result.
        lookups_per_second: Results a second; where no reply is awaited, queries a second.
        input_complete: The input was read to its end.
        ended: `complete`, `deadline` or `cancelled`.
        note: A sentence for people, where there is something to say.
        results_shown: Results that were written, where `--only` selects some; else all. None is replaced by that.
        probes: Lookups of the run's own that looked for wildcards; only where they were asked for.
        nameservers: Figures of each nameserver that was asked, the 1,000 asked most; None where nobody was, or the
            backend does not tell.
        asked_last: Nameservers that were asked last in the end, since they lied or nearly everything failed there; only
            where there are some.
    """

    engine: str
    backend: str
    hosts_read: int
    lookups: int
    results_written: int
    statuses: dict[str, int]
    queries_sent: int
    seconds: float
    lookups_per_second: float
    input_complete: bool
    ended: str
    note: str | None = None
    results_shown: int | None = None
    probes: int | msgspec.UnsetType = msgspec.UNSET
    nameservers: list[NameserverFigures] | None = None
    asked_last: list[AskedLast] | msgspec.UnsetType = msgspec.UNSET

    def __post_init__(self) -> None:
        if self.results_shown is None:
            self.results_shown = self.results_written


def summary_lines(summary: Summary) -> str:
    """Return the figures for people, each line with its line break."""
    lines = [
        f"{counted(summary.hosts_read, 'host')}, {counted(summary.lookups, 'lookup')}, "
        f"{counted(summary.results_written, 'result')} in {_seconds(summary.seconds)}: "
        f"{summary.lookups_per_second:,.0f} lookups a second ({summary.engine}, {summary.backend})"
    ]
    if summary.statuses:
        ordered = sorted(summary.statuses.items(), key=lambda item: (-item[1], item[0]))
        lines.append(", ".join(f"{status} {count:,}" for status, count in ordered))
    if summary.results_shown != summary.results_written:
        lines.append(f"{counted(summary.results_shown or 0, 'result')} shown (--only)")
    if summary.lookups:
        each = summary.queries_sent / summary.lookups
        probes = f", {counted(summary.probes, 'probe')} for wildcards among them" if summary.probes else ""
        lines.append(f"{counted(summary.queries_sent, 'query', 'queries')} sent, {each:.2f} a lookup{probes}")
    lines += _worst(summary.nameservers or ())
    lines += _asked_last(summary.asked_last or ())
    if summary.ended in _ENDED:
        lines.append(_ENDED[summary.ended])
    if not summary.input_complete:
        lines.append("The input was not read to its end.")
    if summary.note:
        lines.append(summary.note)
    if summary.lookups != summary.results_written:
        lines.append(
            f"BUG: {counted(summary.lookups, 'lookup')}, but {counted(summary.results_written, 'result')} written. "
            "Each lookup must have one result: do not rely on this output, and please report this."
        )
    return "".join(f"{line}\n" for line in lines)


def _worst(nameservers: Sequence[NameserverFigures]) -> list[str]:
    """Return the lines about the nameservers that were of least use, where there are several."""
    if len(nameservers) < 2:
        return []
    worst = sorted(nameservers, key=lambda each: (-each.useless, -(each.rtt_p50 or 0.0)))[:WORST]
    count = f"{len(nameservers):,}" if len(nameservers) < MOST_SHOWN else f"{MOST_SHOWN:,} or more"
    lines = [f"The worst of {count} nameservers, by the share of queries that brought no answer:"]
    for each in worst:
        outcomes = [counted(each.timeouts, "timeout")] * bool(each.timeouts)
        outcomes += [counted(each.errors, "error")] * bool(each.errors)
        outcomes += [f"{n:,} {rcode}" for rcode, n in each.rcodes.items() if rcode not in ("NOERROR", "NXDOMAIN")]
        bad = ", ".join(outcomes)
        parts = [f"{each.useless:.1%} of {counted(each.queries, 'query', 'queries')}", *([bad] if bad else [])]
        if each.rtt_p50 is not None and each.rtt_p95 is not None:
            parts.append(f"{1000 * each.rtt_p50:.1f} ms, 95 % within {1000 * each.rtt_p95:.1f} ms")
        lines.append(f"  {each.nameserver}  {'; '.join(parts)}")
    return lines


def _asked_last(nameservers: Sequence[AskedLast]) -> list[str]:
    """Return the lines about the nameservers that were asked last in the end."""
    lines = []
    for reason, words in (("lies", "what they said was taken back"), ("fails", "nearly everything failed there")):
        names = [each.nameserver for each in nameservers if each.reason == reason]
        if names:
            more = f" and {len(names) - WORST:,} more" if len(names) > WORST else ""
            lines.append(f"Asked last, since {words}: {', '.join(names[:WORST])}{more}")
    return lines


def print_summary(summary: Summary, stream: TextIO) -> None:
    """Write the figures for people."""
    stream.write(summary_lines(summary))
    stream.flush()


def summary_json(summary: Summary) -> bytes:
    """Return the figures as one line of JSON, the fields in their order."""
    return msgspec.json.encode(summary) + b"\n"


_ENDED = {
    "deadline": "The deadline (--timeout) ended the run; what was not done is reported as DEADLINE.",
    "cancelled": "The run was interrupted; what was not done is reported as CANCELLED.",
}


def _seconds(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds < 100 else f"{seconds:,.0f} s"


def failed(statuses: dict[str, int], *, strict: bool = False) -> bool:
    """Tell whether some lookup was not answered. With `strict`, an answer without data is none."""
    good = {Status.NOERROR} if strict else ANSWERED
    return any(count for status, count in statuses.items() if status not in good)

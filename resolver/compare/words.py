"""The words of the report for people: what was compared, who was best, where the answers differ, who was left out."""

from __future__ import annotations

from collections.abc import Sequence

from resolver.compare.figures import FIGURES
from resolver.compare.report import ComparisonReport, LabSettings, RowReport
from resolver.output.lines import visible
from resolver.spelling import counted

_NAMED = 10  # hosts that are named where answers differ


def verdicts(rows: Sequence[RowReport]) -> list[str]:
    """Return in words the best of two figures, and the rows that are no different from it."""
    rows = [row for row in rows if row.runs]
    said = []
    for name, words in (("lookups_per_second", "Most lookups a second"), ("seconds_to_90", "First with 90% answered")):
        good = [row for row in rows if name in row.best]
        if len(rows) < 2 or not good:
            continue
        if len(good) == sum(row.figures[name] is not None for row in rows):
            said.append(f"{words}: no difference between any two that reaches beyond their spreads.")
            continue
        winner = (max if FIGURES[name].better == "more" else min)(good, key=lambda row: row.median(name))
        others = ", ".join(row.name for row in good if row is not winner)
        also = f"; no difference (the spreads meet): {others}" if others else ""
        said.append(f"{words}: {winner.name}{also}.")
    return said


def heading(report: ComparisonReport) -> list[tuple[str, str]]:
    """Return what was compared, and how: names, and what is said of each."""
    settings, machine = report.settings, report.machine
    what = f"{report.hosts:,}; {counted(report.lookups, 'lookup')} ({' '.join(settings.types)})"
    if report.invalid:
        what += f", {report.invalid:,} that are no names left out"
    rate = f", {settings.rate:g} queries a second at most" if settings.rate else ""
    runs = f"{settings.repeat} of each, in alternating order; {report.seconds:,.0f} s"
    if not report.complete:
        runs = f"INTERRUPTED after {report.runs_done} of {report.runs_planned}; {report.seconds:,.0f} s"
    legend = "of one run"
    if settings.repeat > 1:
        legend = "medians; ± how far off the farthest run was; * the best, and what is no different from it"
    return [
        ("hosts", what),
        ("nameserver", ", ".join(report.nameservers) or "the system's"),
        *([] if report.lab is None else [("lab", _lab(report.lab))]),
        ("policy", f"{settings.tries} tries, the last of {settings.query_timeout:g} s; "
                   f"{settings.concurrency} in flight{rate}"),
        ("runs", runs),
        ("machine", f"{machine.system} {machine.processor}, {machine.cpus} CPUs, {machine.python}"),
        ("versions", ", ".join(f"{name} {version}" for name, version in report.versions.items())),
        ("figures", legend),
    ]  # fmt: skip


def _lab(lab: LabSettings) -> str:
    jitter = f" ± {1000 * lab.jitter:g} ms" if lab.jitter else ""
    capacity = f", {lab.capacity:,.0f} queries a second at most" if lab.capacity else ""
    return f"latency {1000 * lab.latency:g} ms{jitter}, loss {100 * lab.loss:g}%{capacity}"


def agreement(report: ComparisonReport) -> list[str]:
    """Return whether the answers agree, and the first lookups whose do not."""
    found = report.agreement
    if not found.compared:
        return ["No lookup was answered by more than one, so there are no answers to compare."]
    if not found.differing and not found.changing:
        which = "the lookup" if found.compared == 1 else f"each of the {found.compared:,} lookups"
        return [f"All gave the same answer to {which} that more than one answered."]
    lines = []
    for count, words, changing in (
        (found.differing, "were answered differently", False),
        (found.changing, "have answers that change from run to run", True),
    ):
        if not count:
            continue
        lines.append(f"{count:,} of {counted(found.compared, 'lookup')} {words}:")
        shown = [each for each in found.differences if each.changing is changing][:_NAMED]
        for difference in shown:
            lines.append(f"  {visible(difference.host)} {difference.type}")
            for said in difference.answers:
                answer = ", ".join(said.data) or said.status
                answer = answer if len(answer) < 60 else f"{answer[:60]}…"
                lines.append(f"    {visible(answer)}: {', '.join(said.by)}")
        if count > len(shown):
            lines.append(f"  … and {count - len(shown):,} more: -f json names them")
    return lines


def left_out(report: ComparisonReport) -> list[str]:
    """Return the pairs that were left out, a line for each reason."""
    by_reason: dict[str, list[str]] = {}
    for each in report.left_out:
        by_reason.setdefault(each.reason, []).append(each.name)
    return [f"Left out: {', '.join(names)} ({reason})." for reason, names in by_reason.items()]

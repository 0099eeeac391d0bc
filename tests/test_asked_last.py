"""Nameservers that begin to refuse or to lie in the middle of a run are asked last, and the summary says which ones."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from answering import Answer, answering
from conftest import Ask, row

from resolver import Policy, Result, Run, resolve
from resolver.batch import Batch
from resolver.engines import pairs
from resolver.input.given import source
from resolver.output.summary import summary_json, summary_lines
from resolver.planning import plan
from resolver.stages.honesty import Honesty
from resolver.tallies import AskedLast

if TYPE_CHECKING:
    from resolver import Summary

WIRE = [each.engine for each in pairs() if each.backend == "wire"]
# Who is asked last is decided in wire/servers.py and in engines/standings.py, which a backend's style leads to; where
# there are several processes each decides for itself, and what it counted is added up.
DECIDED = [
    each for each in pairs()
    if row(each) in {"threads-wire", "processes-wire", "redis-wire", "threads-dnspython", "asyncio-dnspython",
                     "twisted-twisted"}
]  # fmt: skip
NAMES = [f"n{number}.example" for number in range(400)]


def honest(name: str) -> tuple[object, ...]:
    """Every name that begins with n has an address, and no other exists."""
    return ("NOERROR", ("A", "192.0.2.1")) if name.startswith("n") else ("NXDOMAIN",)


def turning(then: Answer, queries: int = 20) -> Answer:
    """An honest nameserver for so many queries, and then another."""
    asked = itertools.count()
    return lambda name: honest(name) if next(asked) < queries else then(name)


def asked(summary: Summary, nameserver: str) -> int:
    """How many queries a nameserver was sent."""
    return sum(each.queries for each in summary.nameservers or () if each.nameserver == nameserver)


def last(run: Run) -> list[tuple[str, str]]:
    found = run.summary.asked_last
    return [] if isinstance(found, msgspec.UnsetType) else [(each.nameserver, each.reason) for each in found]


@pytest.mark.parametrize("pair", DECIDED, ids=row, indirect=True)
def test_begins_to_refuse(ask: Ask) -> None:
    """Wherever that is decided: one that refuses from then on is left, and all lookups are answered by the other."""
    with answering(honest) as good, answering(turning(lambda name: ("REFUSED",))) as refusing:
        run = ask(NAMES, nameservers=[good, refusing], concurrency=40)
    assert {"NOERROR": len(NAMES)} == run.summary.statuses
    assert [(refusing, "fails")] == last(run)
    assert asked(run.summary, refusing) < 150


@pytest.mark.parametrize("engine", WIRE)
def test_begins_to_lie(engine: str, elsewhere: dict[str, Any]) -> None:
    """On every engine: one whose answers trusted nameservers take back is left, and what it said stands nowhere.

    The second half of the names is there when the first has all its verdicts: the liar is not asked for them.
    """
    halves = [[f"{kind}{number}.example" for number in range(100) for kind in half] for half in ("nx", ("no", "xo"))]
    lies: list[str] = []
    results: list[Result] = []
    found_out = threading.Event()

    def hosts() -> Iterator[str]:
        yield from halves[0]
        assert found_out.wait(30)
        yield from halves[1]

    def take(more: list[Result]) -> None:
        results.extend(more)
        if len(results) == len(halves[0]):
            found_out.set()

    def lie(name: str) -> tuple[object, ...]:
        lies.append(name)
        return ("NOERROR", ("A", "192.0.2.66"))

    with answering(honest) as good, answering(turning(lie)) as liar, answering(honest) as trusted:
        policy = Policy(nameservers=(good, liar), concurrency=8)
        with plan([source(hosts())], engine, "wire", ("A",), policy, trusted=trusted, **elsewhere) as prepared:
            run = Run(results, Batch(prepared, take).run())
    assert {"NOERROR": 200, "NXDOMAIN": 200} == run.summary.statuses
    assert {"192.0.2.1"} == {address for result in run for address in result.addresses}
    assert [(liar, "lies")] == last(run)
    assert len({*lies} & {f"{name}." for name in halves[1]}) < 10 < len(lies)


def test_nobody_is_asked_last() -> None:
    """Without trusted nameservers nothing is held against a liar; where nobody is asked last, the key is not there."""
    with answering(honest) as good, answering(lambda name: ("NOERROR", ("A", "192.0.2.66"))) as liar:
        run = resolve(NAMES[:100], nameservers=[good, liar])
    assert ([], False) == (last(run), b"asked_last" in summary_json(run.summary))


def test_the_only_one() -> None:
    """Where there is nobody else, a liar and one that refuses are asked all the same."""
    with answering(lambda name: ("NOERROR", ("A", "192.0.2.66"))) as liar, answering(honest) as trusted:
        run = resolve(NAMES[:50], nameservers=liar, trusted=trusted)
        assert ({"NOERROR": 50}, [(liar, "lies")]) == (run.summary.statuses, last(run))
    with answering(turning(lambda name: ("REFUSED",), 10)) as refusing:
        run = resolve(NAMES[:50], nameservers=refusing, tries=1)
        assert ({"NOERROR": 10, "REFUSED": 40}, []) == (run.summary.statuses, last(run))


def test_summary() -> None:
    """People are told who, and why; of many the first few."""
    with answering(honest) as good:
        summary = resolve(NAMES[:1], nameservers=good).summary
    failing = [AskedLast(f"192.0.2.{number}:53", "fails") for number in range(2, 9)]
    summary.asked_last = [AskedLast("192.0.2.1:53", "lies"), *failing]
    told = [each for each in summary_lines(summary).splitlines() if each.startswith("Asked last")]
    assert [
        "Asked last, since what they said was taken back: 192.0.2.1:53",
        "Asked last, since nearly everything failed there: 192.0.2.2:53, 192.0.2.3:53, 192.0.2.4:53, 192.0.2.5:53, "
        "192.0.2.6:53 and 2 more",
    ] == told


# --- What is evidence.


def judged(*statements: tuple[str, int, str]) -> set[str]:
    """Who lies, after these statements by nameserver, in turn: `same`, `other`, `none` where asked again, or `no`."""
    honesty = Honesty()
    rows = [[(name, kind)] * number for name, number, kind in statements]
    for name, kind in (each for turn in itertools.zip_longest(*rows) for each in turn if each):
        honesty.said(name)
        if kind != "no":
            honesty.asked_again(name, exists=kind != "none", alike=kind == "same")
    return honesty.liars


@pytest.mark.parametrize(
    ("statements", "liars"),
    [
        ([("a", 100, "same"), ("b", 100, "same")], set()),
        ([("a", 100, "no"), ("b", 100, "none")], {"b"}),
        ([("a", 100, "no"), ("b", 4, "none"), ("b", 100, "no")], set()),
        ([("a", 1000, "no"), ("b", 900, "no"), ("b", 60, "none")], {"b"}),
        ([("a", 100, "same"), ("b", 100, "other")], {"b"}),
        # Names with other addresses for everybody who asks: as many at each, or fewer than half.
        ([("a", 40, "other"), ("b", 60, "other"), ("a", 60, "same"), ("b", 40, "same")], set()),
        ([("a", 100, "same"), ("b", 30, "other"), ("b", 70, "same")], set()),
        # Several liars do not excuse one another.
        ([*((f"h{n}", 100, "no") for n in range(8)), *((f"l{n}", 100, "none") for n in range(2))], {"l0", "l1"}),
        ([("a", 20, "none")], {"a"}),
    ],
)
def test_evidence(statements: list[tuple[str, int, str]], liars: set[str]) -> None:
    """Lies are counted beside all that was said, and beside the others'."""
    assert liars == judged(*statements)

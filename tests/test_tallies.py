"""Figures of each nameserver in the summary: on each pair of engine and backend, and what people are shown of them."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

import pytest
from command import inside as command
from conftest import Ask, fresh
from hypothesis import given
from hypothesis import strategies as st
from scripted import HOST, Scripted, Udp, names

from resolver import Status, resolve
from resolver.lab import Lab
from resolver.output.summary import summary_lines
from resolver.tallies import MOST_SHOWN, NameserverTallies, NameserverTally, bucket_of, percentile

CLOSED = f"{HOST}:9"  # a port where nobody listens


def test_on_every_pair(ask: Ask) -> None:
    """Queries, replies, rcodes and tries that ran out are those that came about; no query is missing."""
    hosts = [fresh("a") for _ in range(40)] + [fresh("nx"), fresh("servfail"), fresh("hang")]
    run = ask(hosts, tries=2, query_timeout=0.2)
    figures = run.summary.nameservers
    assert figures is not None
    (only,) = figures
    assert (str(ask.lab.nameserver), run.summary.queries_sent) == (only.nameserver, only.queries)
    assert ({"NOERROR": 40, "SERVFAIL": 2, "NXDOMAIN": 1}, 43, 2, 0) == (
        only.rcodes, only.replies, only.timeouts, only.errors,
    )  # fmt: skip
    assert only.rtt_p50 is not None
    assert only.rtt_p95 is not None
    assert 0 < only.rtt_p50 <= only.rtt_p95 < 1


@pytest.mark.needs("attempts")
def test_a_closed_port(ask: Ask) -> None:
    """Tries that the local side failed in are errors of their nameserver, and no reply has a time."""
    run = ask([fresh("a"), fresh("a")], nameservers=CLOSED, tries=1)
    assert run.summary.nameservers is not None
    (only,) = run.summary.nameservers
    assert (CLOSED, 2, 0, 0, 2, {}, None, None) == (
        only.nameserver, only.queries, only.replies, only.timeouts, only.errors, only.rcodes, only.rtt_p50,
        only.rtt_p95,
    )  # fmt: skip


def test_who_does_not_tell() -> None:
    """The C library does not say whom it asked: null."""
    assert resolve(["localhost"], engine="threads", backend="system").summary.nameservers is None


def test_of_thousands_those_asked_most(tmp_path: Path) -> None:
    """The summary has the 1,000 asked most of 1,200, each with its counts, whatever the number of lookups."""
    with Scripted(Udp(everywhere=True)) as server:
        run = resolve(names(12_000), nameservers=server.addresses(1200))
    figures = run.summary.nameservers
    assert figures is not None
    assert MOST_SHOWN == len(figures) == len({each.nameserver for each in figures})
    assert sorted([each.queries for each in figures], reverse=True) == [each.queries for each in figures]


def test_trusted_ones_are_among_them(lab: Lab) -> None:
    """What a second run asked of trusted nameservers counts too."""
    with Lab() as other:
        run = resolve(["a.example", "b.example"], nameservers=lab.nameserver, trusted=str(other.nameserver))
        trusted = str(other.nameserver)
    assert run.summary.nameservers is not None
    assert {str(lab.nameserver): 2, trusted: 2} == {each.nameserver: each.queries for each in run.summary.nameservers}


def test_in_the_summary(lab: Lab, tmp_path: Path) -> None:
    """The file has them under the keys of the contract; people are told of the worst of several."""
    summary = tmp_path / "summary.json"
    done = command(
        *("a.example", "b.example", "c.example", "--progress", "-f", "jsonl", "--tries", "2", "--summary", summary),
        *("-n", CLOSED, "-n", str(lab.nameserver)),
    )
    told: list[dict[str, Any]] = json.loads(summary.read_text())["nameservers"]
    keys = ["nameserver", "queries", "replies", "timeouts", "errors", "rcodes", "rtt_p50", "rtt_p95"]
    assert (0, [keys, keys]) == (done.status, [list(each) for each in told])
    said = done.err[done.err.index("The worst of 2 nameservers") :].splitlines()
    assert f"  {CLOSED}  100.0%" == said[1].partition(" of ")[0]
    assert f"  {lab.nameserver}  0.0% of 3 queries" == said[2].partition(";")[0]


def test_people_are_told_of_five() -> None:
    """Of many nameservers the five worst, the one that brought nothing first."""
    run = resolve([], nameservers=CLOSED)
    tallies = NameserverTallies()
    for number in range(9):
        tallies.of(f"192.0.2.{number}:53").queries = 10
        tallies.of(f"192.0.2.{number}:53").replied([0.01] * 10, [Status.REFUSED] * number)
    run.summary.nameservers = tallies.figures()
    said = summary_lines(run.summary)
    worst = [f"192.0.2.{number}:53" for number in (8, 7, 6, 5, 4)]
    assert worst == [line.split()[0] for line in said.splitlines() if line.startswith("  192.")]
    assert "80.0% of 10 queries; 8 REFUSED; 10.0 ms, 95 % within 10.0 ms" in said


@given(st.floats(0, 600), st.floats(0, 600))
def test_buckets_are_in_order(one: float, other: float) -> None:
    """A longer time never stands in an earlier bucket, and there are fewer than 1,024."""
    assert (one <= other) == (bucket_of(one) <= bucket_of(other)) or bucket_of(one) == bucket_of(other)
    assert 0 <= bucket_of(one) < 1024


def test_buckets_of_other_times() -> None:
    """Each whole microsecond up to 31 has its own, then sixteen are alike; no time is too strange for one."""
    assert [*range(33), 32, 33, 47, 48] == [bucket_of(n / 1e6) for n in (*range(33), 33, 34, 63, 64)]
    assert [0, 0, 1023, 1023, 1023] == [bucket_of(each) for each in (0.0, -1.0, 1e13, math.inf, math.nan)]


def test_percentiles() -> None:
    """Within 4 % of what sorting all times gives; none without times."""
    chance = random.Random(1)
    seconds = [chance.expovariate(20) for _ in range(2001)]
    tally = NameserverTally("192.0.2.1:53")
    tally.replied(seconds)
    exact = sorted(seconds)
    assert pytest.approx([exact[1000], exact[1900]], rel=0.04) == [percentile(tally.rtts, each) for each in (0.5, 0.95)]
    assert percentile({}, 0.5) is None


def test_added_up() -> None:
    """Counts of several places make the same as those of one, however often they were taken."""
    chance, whole, parts = random.Random(2), NameserverTallies(), NameserverTallies()
    place = NameserverTallies()
    for _ in range(200):
        name = f"192.0.2.{chance.randrange(3)}:53"
        seconds = [chance.random()]
        rcodes = [Status.NXDOMAIN] * chance.randrange(2)
        for each in (whole, place):
            each.of(name).queries += 1
            each.of(name).replied(seconds, rcodes)
        if chance.random() < 0.1:
            parts.merge(place.take())
    parts.merge(place.take())
    assert [] == place.take()
    assert whole.figures() == parts.figures()

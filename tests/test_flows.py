"""Balancers and NATs that pin a UDP source port to a machine that is dead: another try goes from another port.

What is dead is a flow, never the nameserver: there is one nameserver in each of these tests, and it answers whoever
asks from another port.
"""

import pytest
from command import second_look
from conftest import Ask, row
from scripted import Scripted, Udp, names

from resolver import resolve
from resolver.engines import pairs

WIRE = [each for each in pairs() if each.backend == "wire"]
SHORT = 0.8  # seconds of the last of three tries: they take 1.4 s together
FLOWS = {
    "first": Udp(dead="first"),
    "fourth": Udp(dead="fourth"),
    "after-20": Udp(replies_a_port=20),
    "first-and-far": Udp(dead="first", latency=0.05),
}


@pytest.mark.parametrize("number", [1, 30, 1000])
@pytest.mark.parametrize("flows", FLOWS)
def test_a_dead_flow_takes_no_lookup_down(flows: str, number: int) -> None:
    """Whichever ports are ignored, a lookup's next try leaves from one that is not."""
    with Scripted(FLOWS[flows]) as server:
        run = resolve(names(number), nameservers=[server.udp], query_timeout=SHORT)
    assert {"NOERROR": number} == run.summary.statuses


@pytest.mark.parametrize("flows", ["first", "after-20"])
@pytest.mark.parametrize("pair", WIRE, ids=row, indirect=True)
def test_a_dead_flow_on_every_engine(ask: Ask, flows: str) -> None:
    """The same on every engine, though some ask from several processes."""
    with Scripted(FLOWS[flows]) as server:
        run = ask(names(300), nameservers=server.udp, query_timeout=SHORT)
    assert {"NOERROR": 300} == run.summary.statuses


@pytest.mark.parametrize("number", [1, 30, 1000])
def test_one_of_four_backends_is_dead(number: int) -> None:
    """A balancer sends a quarter of all ports to a dead machine: six tries from six ports find a live one."""
    with Scripted(Udp(dead="hashed")) as server:
        run = resolve(names(number), nameservers=[server.udp], tries=6, query_timeout=SHORT)
    assert {"NOERROR": number} == run.summary.statuses


def test_each_try_leaves_from_another_port() -> None:
    """Where nobody answers, the tries of a lookup come from as many ports as there are tries."""
    with Scripted(Udp(reply="none")) as server:
        [result] = resolve(names(1), nameservers=[server.udp], tries=4, query_timeout=0.3)
        counts = server.counts()
    assert ["TIMEOUT", 4, 4, 4] == [result.status, result.attempts, counts.udp, counts.ports]


@pytest.mark.parametrize("flows", ["first", "fourth"])
def test_a_dead_flow_is_left(flows: str) -> None:
    """A flow that never answered is given no more queries: few lookups need a second try, and the run is soon over."""

    def look() -> tuple[dict[str, int], float, float]:
        with Scripted(FLOWS[flows]) as server:
            summary = resolve(names(3000), nameservers=[server.udp]).summary
        return dict(summary.statuses), summary.queries_sent / 3000, summary.seconds

    statuses, queries, seconds = second_look(look, lambda seen: seen[2] < 3.5)
    assert {"NOERROR": 3000} == statuses
    assert queries < 1.5
    assert seconds < 3.5


def test_a_flow_that_works_is_kept() -> None:
    """Lost datagrams are no reason to take a new port for each: the ports stay few."""
    with Scripted(Udp(lost=0.02)) as server:
        run = resolve(names(3000), nameservers=[server.udp], query_timeout=SHORT)
        counts = server.counts()
    assert run.summary.statuses["NOERROR"] > 2990
    assert counts.ports < 200

"""Nameservers that take less than is asked, on real sockets: congestion is told in time, and loses no lookup.

The rules themselves are tested on a simulated clock (test_window.py); here are the engines, and processes that share
what a nameserver takes.
"""

import pytest
from conftest import Ask, row
from scripted import Scripted, Udp, names

from resolver.engines import pairs

PAIRS = [each for each in pairs() if (each.engine, each.backend) in {("gevent", "wire"), ("processes", "wire")}]


@pytest.mark.parametrize("pair", PAIRS, ids=row, indirect=True)
def test_a_nameserver_that_takes_600_queries_a_second(ask: Ask) -> None:
    """Of 900 lookups none is lost at a queue of 100, and few queries are sent twice."""
    with Scripted(Udp(service=1 / 600, queue=100, latency=0.01)) as server:
        run = ask(names(900), nameservers=server.udp)
    assert {"NOERROR": 900} == run.summary.statuses
    assert sum(result.attempts or 0 for result in run) <= 1.25 * 900

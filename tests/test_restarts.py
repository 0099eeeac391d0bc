"""The only nameserver restarts in the middle of a run: its port is closed for a while, and the kernel says so.

One that has answered and now refuses is away, as one that is silent is: a try takes as long. One that has never
answered is told at once (test_kernel_errors.py).
"""

import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from conftest import Ask, row
from scripted import Restart, Scripted, Stream, Udp, names

from resolver import Policy, Run, Status, resolve
from resolver.engines import pairs

WIRE = [each for each in pairs() if each.backend == "wire"]
LAST = 1.0  # seconds that the last of three tries waits


def restarted(
    ask: Any, away: float | None, number: int, transport: str = "udp", last: float = LAST, **fields: Any
) -> Run:
    """So many lookups, 1,000 a second, of a nameserver that goes away for so many seconds after 200 of them."""
    # A little far, so that some queries are on their way when it goes.
    stream = Stream(certificate=fields.pop("certificate", None), latency=0.02)
    with Scripted(Udp(latency=0.02), stream) as server, Restart(server, away):
        nameservers: Any = (server.over(transport),)
        policy = Policy(nameservers=nameservers, rate=1000, query_timeout=last, timeout=15, **fields)
        run: Run = ask(names(number), policy=policy)
    return run


@pytest.mark.parametrize("pair", WIRE, ids=row, indirect=True)
def test_a_restart_fails_no_lookup(ask: Ask) -> None:
    """A port that is closed for less than two tries wait costs no lookup its answer."""
    run = restarted(ask, 0.5, 700)
    assert {"NOERROR": 700} == run.summary.statuses


@pytest.mark.parametrize("transport", ["tcp", "tls"])
def test_a_restart_over_streams(secure: tuple[Path, Path], transport: str) -> None:
    """The same over TCP and TLS, where connections are reset and new ones refused."""
    options: dict[str, Any] = {"certificate": str(secure[0]), "tls_ca": str(secure[1])} if transport == "tls" else {}
    run = restarted(resolve, 0.5, 700, transport, **options)
    assert {"NOERROR": 700} == run.summary.statuses


@pytest.mark.parametrize("away", [0.05, 0.8])
def test_no_error_after_a_restart(away: float) -> None:
    """However long it was away, within the time of the tries, no lookup is an ERROR."""
    run = restarted(resolve, away, 1500)
    assert 0 == run.summary.statuses.get("ERROR", 0)
    assert {"NOERROR"} == {each.status for each in run[-100:]}


def test_restarts_again_and_again() -> None:
    """Short absences that follow each other are no different."""
    with Scripted() as server:
        ended = threading.Event()

        def restart() -> None:
            while not ended.wait(0.3):
                server.close()
                ended.wait(0.1)
                server.open()

        thread = threading.Thread(target=restart)
        thread.start()
        try:
            run = resolve(names(1200), nameservers=[server.udp], rate=1000, query_timeout=0.8)
        finally:
            ended.set()
            thread.join()
    assert {"NOERROR": 1200} == run.summary.statuses


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_closed_for_good(transport: str) -> None:
    """A nameserver that answered and is gone is reported in the time of the tries, in one sentence."""
    run = restarted(resolve, None, 450, transport, 1.6)
    gone = [each for each in run if each.status != Status.NOERROR]
    assert len(gone) >= 200
    assert {Status.ERROR, Status.TIMEOUT} >= {each.status for each in gone}
    assert [] == [each.elapsed for each in gone if not 0 < (each.elapsed or 0) < 1.6 * 1.75 + 3]
    # Whose query was on its way when the port closed has met silence, and may say so; the others say what they met.
    (sentence, number), *others = Counter(each.error for each in gone).most_common()
    assert sentence is not None
    assert "refused" in sentence
    assert number >= 0.8 * len(gone)
    assert len(others) <= 1

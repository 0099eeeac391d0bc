"""The engine `redis` with a real server and real workers, while each of them is stopped, killed, or lost.

Whatever happens, each index has exactly one result (Running.end sees to that); how long recovery took is printed
(`pytest -rP` shows it). Lookups take a third of a second and a worker makes few at a time, so that chunks are in hand.
"""

import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster import Server, Worker, wait_for_workers
from command import end, in_order, run, start, wait_for
from running import WORKER, Running, slow, statuses, wait_until_busy, working

from resolver import Status, resolve
from resolver.distributed import engine
from resolver.distributed.chunk_window import FIRST
from resolver.distributed.payload import VERSION
from resolver.lab import Lab

STRANGER = """
import resolver.distributed.payload as payload
payload.VERSION = "9.9.9"
from resolver.__main__ import main
main()
"""
# A worker on a machine that is set up to ask the nameserver that the last argument names.
ELSEWHERE = """
import sys
from resolver import nameserver
there = nameserver.parse_all([sys.argv.pop()])
nameserver.system = lambda: there
from resolver.__main__ import main
main()
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A Redis of the test's own."""
    with Server(tmp_path / "redis") as running:
        yield running


def test_worker_killed(server: Server, lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    """What a worker had in hand when it was killed is done by another."""
    caplog.set_level("INFO", "resolver.distributed")
    with working(server, 1) as (victim,):
        run = Running(slow(200), server.url, nameservers=lab.nameserver)
        wait_until_busy(server, 1)
        with working(server, 1):
            victim.kill()
            killed = time.monotonic()
            assert {Status.NOERROR: 200} == statuses(run.end(killed))
    assert "lost its worker" in caplog.text


def test_all_workers_killed(server: Server, lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    """New workers go on where the old ones were killed; that nobody was there was said."""
    caplog.set_level("INFO", "resolver.distributed")
    with working(server, 2) as workers:
        run = Running(slow(200), server.url, nameservers=lab.nameserver)
        wait_until_busy(server, 1)
        for worker in workers:
            worker.kill()
        killed = time.monotonic()
        wait_for(lambda: f"no worker is at redis://127.0.0.1:{server.port}/0;" in caplog.text, "the sentence")
        with working(server, 1):
            assert {Status.NOERROR: 200} == statuses(run.end(killed))
    assert "lost its worker" in caplog.text


def test_worker_killed_with_lines(server: Server, lab: Lab, tmp_path: Path) -> None:
    """Of a list that goes out as lines, and comes back as lines, each line has one result, wherever it was asked."""
    hosts, output = tmp_path / "hosts", tmp_path / "results.jsonl"
    hosts.write_text("".join(f"{host}.{'a' * 50}.example\n" for host in slow(600)) + "a..b\n")
    with working(server, 1, "--concurrency", "60") as (victim,):
        words = ("-e", "redis", "--redis", server.url, "-n", lab.nameserver, "-o", output, hosts)
        process = start(*words, stdin=subprocess.DEVNULL)
        wait_for(lambda: output.exists() and output.read_bytes().count(b"\n") > 50, "results")
        with working(server, 1, "--concurrency", "200"):
            victim.kill()
            assert (1, "") == (done := end(process))[:2]
    results = in_order(output.read_text().splitlines())
    assert list(range(601)) == [result["index"] for result in results], done.err
    assert {"NOERROR": 600, "INVALID": 1} == Counter(result["status"] for result in results)
    assert {"redis"} == {result["engine"] for result in results}
    assert [f"{host}.{'a' * 50}.example" for host in slow(600)] == [result["input"] for result in results[:600]]
    assert {1, None} == {result["attempts"] for result in results[:600]}


@pytest.mark.parametrize("how", ["stop", "kill", "lose"])
def test_redis_restarted(server: Server, lab: Lab, how: str) -> None:
    """Whether it ends in order, is killed, or loses all it held: what is lost is sent again."""
    with working(server, 1):
        run = Running(slow(150), server.url, nameservers=lab.nameserver)
        run.wait(20)
        stopped = time.monotonic()
        getattr(server, how)()
        server.start()
        print(f"Redis was away for {time.monotonic() - stopped:.1f} s")
        assert {Status.NOERROR: 150} == statuses(run.end(stopped))


@pytest.mark.parametrize("bounds", [[], ["--concurrency", "100"]], ids=["free", "bounded"])
def test_two_runs_at_once(server: Server, lab: Lab, bounds: list[str]) -> None:
    """Each has its own nameserver and its own type of record, and gets what it asked for.

    A worker with limits of its own, which hold for all that it does, takes the runs in turn.
    """
    hosts = [f"n{each}.example" for each in range(600)]
    with Lab() as other, working(server, 1, "--quiet", *bounds):
        runs = [
            Running(hosts, server.url, nameservers=lab.nameserver, types="A"),
            Running(hosts, server.url, nameservers=other.nameserver, types="AAAA"),
        ]
        came = [run.end() for run in runs]
        assert [{lab.nameserver}, {other.nameserver}] == [{result.nameserver for result in each} for each in came]
        right = [resolve(hosts, engine="threads", nameservers=lab.nameserver, types=each) for each in ("A", "AAAA")]
    for results, expected in zip(came, right, strict=True):
        assert [result.addresses for result in expected] == [result.addresses for result in results]
    assert [{"A"}, {"AAAA"}] == [{result.type for result in results} for results in came]


def test_worker_of_another_version(server: Server, lab: Lab, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It gets nothing to do, and both sides are told; a worker of the same version does the run."""
    command = [sys.executable, "-c", STRANGER]
    with Worker(server.url, *WORKER, command=command, log=tmp_path / "log") as stranger:
        wait_for_workers(server)
        run = Running(["a.example"], server.url, nameservers=lab.nameserver)
        cure = "install the same version on both sides"
        wait_for(
            lambda: f"a run of version {VERSION} cannot use this worker: {cure}" in stranger.said(), "the worker's word"
        )
        with working(server, 1):
            assert {Status.NOERROR: 1} == statuses(run.end())
        assert 0 == stranger.end()
    assert (
        f"1 worker of version 9.9.9 cannot work for this run, which is of version {VERSION}: {cure}" in caplog.messages
    )


def test_a_worker_says_what_was_sent(server: Server, lab: Lab, tmp_path: Path) -> None:
    """Where no reply is awaited, a query that went out did not time out."""
    with Worker(server.url, *WORKER, log=tmp_path / "log") as worker:
        wait_for_workers(server)
        words = ["-e", "redis", "--redis", server.url, "-n", lab.nameserver, "--no-wait", "a.example", "b.example"]
        assert 0 == run(*words).status
        said = wait_for(lambda: re.findall("2 of 2 lookups in .* s: (.*)", worker.said()), "the sentence")
    assert ["sent 2"] == said


def test_slow_worker(server: Server, lab: Lab) -> None:
    """The last chunks are not held up by a worker that is a hundred times slower: an idle one does them too."""
    with (
        Lab(latency=1.0) as far,
        Lab(latency=0.01) as near,
        working(server, 1, "--concurrency", "4", "-n", far.nameserver),
        Worker(server.url, *WORKER, "--concurrency", "4", "-n", near.nameserver),
    ):
        wait_for_workers(server, 2)
        begun = time.monotonic()
        run = Running([f"n{each}.example" for each in range(600)], server.url, query_timeout=3, tries=1)
        results = run.end(begun, "all was done")
        took = time.monotonic() - begun
        assert {far.nameserver, near.nameserver} == {result.nameserver for result in results}
    assert {Status.NOERROR: 600} == statuses(results)
    # It began two chunks at least, of which it does four names a second.
    assert took < 2 * FIRST / 4 / 2


def test_nobody_is_there(
    server: Server, lab: Lab, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That no worker is there is said at once, and again; the run goes on when one comes."""
    monkeypatch.setattr(engine, "NO_WORKER_INTERVAL", 1.5)
    sentence = (
        f"no worker is at redis://127.0.0.1:{server.port}/0; on any machine that reaches it, start one: resolve worker "
        "--redis URL"
    )
    begun = time.monotonic()
    run = Running(slow(20), server.url, nameservers=lab.nameserver)
    wait_for(lambda: sentence in caplog.messages, "the sentence")
    print(f"said after {time.monotonic() - begun:.1f} s")
    wait_for(lambda: caplog.messages.count(sentence) > 1, "the sentence again")
    with working(server, 1):
        come = time.monotonic()
        assert {Status.NOERROR: 20} == statuses(run.end(come, "done after a worker came"))


def test_nameservers_of_the_worker(server: Server, lab: Lab) -> None:
    """They are asked instead of the run's."""
    with Lab() as other, working(server, 1, "-n", other.nameserver):
        run = Running(["a.example"], server.url, nameservers=lab.nameserver)
        assert [other.nameserver] == [result.nameserver for result in run.end()]


def test_nameservers_of_the_worker_s_system(server: Server, lab: Lab) -> None:
    """They are asked where neither the run nor the worker names any."""
    with Worker(server.url, *WORKER, lab.nameserver, command=[sys.executable, "-c", ELSEWHERE]):
        run = Running(["a.example"], server.url)
        assert [lab.nameserver] == [result.nameserver for result in run.end()]

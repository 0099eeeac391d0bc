"""The engine `redis` where its coordinator ends early, its Redis goes away for good, or a chunk kills who touches it.

As in test_distributed.py the server and the workers are real, each index has exactly one result, and how long recovery
took is printed.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from cluster import Server, Worker, beats, free_port, wait_for_workers
from command import Done, end, environment, in_order, inside, second_look, start, wait_for
from running import WORKER, Running, slow, statuses, wait_until_busy, working

from resolver import Status
from resolver.console import TOGETHER
from resolver.distributed.broker import LEASE, PREFIX
from resolver.distributed.chunk_window import FIRST
from resolver.distributed.coordinator import PIECES
from resolver.distributed.embedded import SETTING, find_server
from resolver.distributed.envelope import QUEUE
from resolver.lab import Lab

HOSTS = 2000
LATE = 0.5  # seconds that a run may last beyond its --timeout
# A worker that dies as soon as it begins a chunk with a certain name, as one might by a fault of its own.
BRITTLE = """
import os, signal
from resolver.distributed import task
begin = task.Reporter.begin
def begin_and_die(self):
    begun = begin(self)
    if any(asked.name.startswith("poison.") for asked in self._chunk.queries):
        os.kill(os.getpid(), signal.SIGKILL)
    return begun
task.Reporter.begin = begin_and_die
from resolver.__main__ import main
main()
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A Redis of the test's own."""
    with Server(tmp_path / "redis") as running:
        yield running


class Coordinator:
    """The command, on a list that its worker would be at for half a minute."""

    def __init__(self, server: Server, lab: Lab, directory: Path, *words: str) -> None:
        self.output = directory / "results.jsonl"
        hosts = directory / "hosts"
        hosts.write_text("".join(f"{host}\n" for host in slow(HOSTS)))
        words = ("-e", "redis", "--redis", server.url, "-n", lab.nameserver, "-o", str(self.output), *words)
        self.process = start(*words, hosts, stdin=subprocess.DEVNULL)
        wait_for(lambda: self.output.exists() and self.output.stat().st_size, "a result")

    def end(self) -> Done:
        """Wait for its end; each line has one result."""
        done = end(self.process)
        results = in_order(self.output.read_text().splitlines())
        assert list(range(HOSTS)) == [result["index"] for result in results]
        self.statuses = {result["status"] for result in results}
        return done

    def __enter__(self) -> "Coordinator":
        return self

    def __exit__(self, *_: object) -> None:
        with self.process:
            self.process.kill()


def wait_until_idle(server: Server, since: float) -> None:
    """Wait until no worker has a chunk in hand, and no chunk is left in the queue."""

    def idle() -> bool:
        with server.client() as client:
            return not (client.llen(f"{PREFIX}{QUEUE}") or any(said["chunks"] for said in beats(server)))

    wait_for(idle, "idle workers")
    print(f"workers idle after {time.monotonic() - since:.1f} s")


def run_of(key: bytes) -> str:
    """The run that has this key."""
    return key.decode().split(":")[2]


def ends(server: Server) -> float:
    """When the time of the run is over, as the Redis has it; on the monotonic clock."""
    with server.client() as client:
        (key,) = client.keys(f"{PREFIX}run:*:ends")
        return time.monotonic() + int(client.pttl(key)) / 1000


def test_coordinator_killed(server: Server, lab: Lab, tmp_path: Path) -> None:
    """When its lease is over the workers leave its chunks and drop its backlog; none of its processes is left."""
    before = lab.counts().received
    with working(server, 1), server.client() as client:
        with Coordinator(server, lab, tmp_path) as coordinator:
            wait_for(lambda: client.llen(f"{PREFIX}{QUEUE}"), "a backlog")
            children = psutil.Process(coordinator.process.pid).children(recursive=True)
            coordinator.process.kill()
            coordinator.process.wait()
        assert [] == psutil.wait_procs(children, 5)[1]
        (lease,) = client.keys(f"{PREFIX}run:*:alive")
        assert 0 < client.pttl(lease) <= 1000 * LEASE
        client.pexpire(lease, 1)  # its time is over, earlier than it would be
        wait_until_idle(server, time.monotonic())
        assert lab.counts().received - before < HOSTS
        # What is left of the run goes by itself.
        assert {f"{PREFIX}run:{run_of(lease)}:results": True} == {
            key.decode(): 0 < client.pttl(key) <= 4000 * LEASE for key in client.keys(f"{PREFIX}run:*")
        }


def test_timeout_with_a_backlog(lab: Lab, tmp_path: Path) -> None:
    """--timeout ends the run in time, each line has its result, and none of the backlog is begun."""

    def lateness() -> float:
        directory = Path(tempfile.mkdtemp(dir=tmp_path))
        with Server(directory) as server, working(server, 1):
            with Coordinator(server, lab, directory, "--timeout", "2") as coordinator:
                deadline = ends(server)
                status = coordinator.end().status
                late = time.monotonic() - deadline
            asked = lab.counts().received
            wait_until_idle(server, deadline)
            begun = lab.counts().received - asked
        print(f"late by {late:.2f} s")
        assert [3, {"NOERROR", "DEADLINE"}] == [status, coordinator.statuses]
        assert begun < 20, "more than was in flight"
        return late

    assert second_look(lateness, lambda late: late <= LATE) <= LATE


def test_interrupted(server: Server, lab: Lab, tmp_path: Path) -> None:
    """Ctrl-C: each line has its result, and the workers are idle soon."""
    with working(server, 1), Coordinator(server, lab, tmp_path) as coordinator:
        wait_until_busy(server, 1)
        coordinator.process.send_signal(signal.SIGINT)
        sent = time.monotonic()
        assert 130 == coordinator.end().status
        print(f"over after {time.monotonic() - sent:.1f} s")
        assert {"NOERROR", "CANCELLED"} == coordinator.statuses
        wait_until_idle(server, sent)
        # What a worker said after that goes by itself.
        with server.client() as client:
            for key in client.keys(f"{PREFIX}run:*"):
                assert [True, True] == [key.endswith(b":results"), 0 < client.pttl(key) <= 4000 * LEASE]


@pytest.mark.parametrize("how", ["kill", "hang"])
def test_redis_stays_away(lab: Lab, tmp_path: Path, how: str) -> None:
    """Whether it is gone or says nothing any more: --timeout holds, and what is done is kept."""

    def lateness() -> float:
        directory = Path(tempfile.mkdtemp(dir=tmp_path))
        with (
            Server(directory) as server,
            working(server, 1),
            Coordinator(server, lab, directory, "--timeout", "2") as coordinator,
        ):
            deadline = ends(server)
            getattr(server, how)()
            status = coordinator.end().status
            late = time.monotonic() - deadline
        print(f"late by {late:.2f} s")
        assert [3, {"NOERROR", "DEADLINE"}] == [status, coordinator.statuses]
        return late

    assert second_look(lateness, lambda late: late <= LATE) <= LATE


def test_workers_stay_away(server: Server, lab: Lab, tmp_path: Path) -> None:
    """Where all workers are gone for good the run says so, and ends at its --timeout; what is done is kept."""
    with working(server, 1) as (worker,), Coordinator(server, lab, tmp_path, "--timeout", "8") as coordinator:
        wait_until_busy(server, 1)
        worker.kill()
        done = coordinator.end()
    assert [3, {"NOERROR", "DEADLINE"}] == [done.status, coordinator.statuses]
    assert f"no worker is at redis://127.0.0.1:{server.port}/0; on any machine that reaches it, start one" in done.err


def test_redis_is_not_there() -> None:
    """The sentence says where, and no more than where; so for a worker."""
    port = free_port()
    for words in (["-e", "redis", "a.example"], ["worker"]):
        done = inside(*words, env=environment(RESOLVE_REDIS=f"redis://someone:secret@127.0.0.1:{port}/0"))
        assert [2, True, False, False] == [
            done.status,
            f"redis://127.0.0.1:{port}/0 cannot be used: " in done.err,
            "secret" in done.err,
            "Traceback" in done.err,
        ]


@contextlib.contextmanager
def renewed(server: Server, *command: str) -> Iterator[list[float]]:
    """A worker, and another whenever it has ended, as a service manager would have it; when they ended."""
    stopped = threading.Event()
    deaths: list[float] = []

    def work() -> None:
        while not stopped.is_set():
            with Worker(server.url, *WORKER, command=command) as worker:
                while worker.process.poll() is None and not stopped.wait(0.02):
                    pass
            if not stopped.is_set():
                deaths.append(time.monotonic())

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield deaths
    finally:
        stopped.set()
        thread.join()


def test_poison_for_workers(server: Server, lab: Lab) -> None:
    """What three workers died with is given up, and few names with it; all others have their answers."""
    hosts = [f"n{each}.example" for each in range(300)]
    hosts[70] = "poison.example"
    with renewed(server, sys.executable, "-c", BRITTLE) as deaths:
        run = Running(hosts, server.url, nameservers=lab.nameserver)
        wait_for(lambda: deaths, "a death", 30)
        results = run.end(deaths[0], "after the first of three deaths, all was done")
    given_up = [result for result in results if result.status == Status.ERROR]
    assert {Status.NOERROR: 300 - len(given_up), Status.ERROR: len(given_up)} == statuses(results)
    assert [3, True, True] == [
        len(deaths),
        hosts[70] in [each.input for each in given_up],
        len(given_up) <= FIRST // PIECES,
    ]
    assert {"3 workers ended while they looked this up, or another of the same chunk"} == {
        each.error for each in given_up
    }


def test_poison_for_children(server: Server, lab: Lab) -> None:
    """A name that kills three of a worker's children is given up; the worker goes on."""
    hosts = ["hang.example", *(f"n{each}.example" for each in range(20))]
    with Lab() as other, working(server, 1) as (worker,):
        run = Running(hosts, server.url, nameservers=other.nameserver, query_timeout=60, tries=1)
        run.wait(20)
        begun = time.monotonic()
        for queries in (21, 22, 23):
            wait_for(lambda queries=queries: other.counts().received >= queries, "a query")  # type: ignore[misc]
            (child,) = psutil.Process(worker.pid).children()
            child.kill()
        results = run.end(begun, "given up")
        assert {Status.ERROR: 1, Status.NOERROR: 20} == statuses(results)
        assert Status.ERROR == results[0].status
        assert {Status.NOERROR: 1} == statuses(Running(["a.example"], server.url, nameservers=lab.nameserver).end())
        assert worker.process.poll() is None


@pytest.mark.parametrize(("again", "status"), [(0.01, 0), (TOGETHER + 0.1, 130)])
def test_worker_interrupted(server: Server, lab: Lab, again: float, status: int) -> None:
    """Ctrl-C: it hands back what it has in hand, exit status 0; later again: at once. Others do what is left."""
    with working(server, 1, "--concurrency", "4") as (leaving,):
        run = Running(slow(120), server.url, nameservers=lab.nameserver)
        wait_until_busy(server, 1)
        with working(server, 1):
            sent = time.monotonic()
            leaving.process.send_signal(signal.SIGINT)
            time.sleep(again)
            leaving.process.send_signal(signal.SIGINT)
            assert status == leaving.process.wait(15)
            print(f"left after {time.monotonic() - sent:.1f} s")
            assert {Status.NOERROR: 120} == statuses(run.end(sent))


def test_worker_interrupted_while_celery_hangs(server: Server) -> None:
    """A Redis that went away as Celery began has it ask for that for ever: a signal ends the worker all the same."""
    hanging = "from celery.worker.heartbeat import Heart; from threading import Event; Heart.start = Event().wait"
    command = [sys.executable, "-c", f"{hanging}; from resolver.__main__ import main; main()"]
    with Worker(server.url, *WORKER, command=command) as worker:
        wait_for_workers(server)
        children = psutil.Process(worker.pid).children(recursive=True)
        assert 0 == worker.end(signal.SIGTERM)
        assert [[], []] == [psutil.wait_procs(children, 5)[1], beats(server)]


@pytest.mark.parametrize("how", ["done", "killed"])
def test_embedded_leaves_nothing_behind(lab: Lab, tmp_path: Path, how: str) -> None:
    """A Redis and a worker of the run's own end with it, however it ended, and so does all that they kept."""
    words = ["-e", "redis", "--inner", "threads", "-n", lab.nameserver, "-f", "jsonl", "-"]
    with start(*words, env=environment(TMPDIR=str(tmp_path))) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"a.example\n" + (b"" if how == "done" else b"hang.example\n"))
        assert "NOERROR" == json.loads(process.stdout.readline())["status"]
        children = psutil.Process(process.pid).children(recursive=True)
        assert [True, True] == [len(children) >= 4, os.listdir(tmp_path) != []]
        if how == "killed":
            process.kill()
        assert (-signal.SIGKILL if how == "killed" else 0) == end(process).status
    ended = time.monotonic()
    assert [] == psutil.wait_procs(children, 10)[1]
    wait_for(lambda: os.listdir(tmp_path) == [], "no file")
    print(f"nothing was left after {time.monotonic() - ended:.1f} s")


def script(tmp_path: Path, line: str) -> dict[str, str]:
    """The environment of a run whose own server is a script of this line."""
    path = tmp_path / "server"
    path.write_text(f"#!/bin/sh\n{line}\n")
    path.chmod(0o755)
    return environment(**{SETTING: str(path), "TMPDIR": str(tmp_path)})


@pytest.mark.parametrize(
    "line", ["exec {} - --logfile log", "exec {} - --loglevel warning", "{} - 1>&2", "sleep 0.5; exec {} -"]
)
def test_embedded_server_is_a_script(lab: Lab, tmp_path: Path, line: str) -> None:
    """Whatever it says, and wherever, the run finds the server by its port, and leaves none behind."""
    env = script(tmp_path, line.format(find_server()))
    words = ["-e", "redis", "--tries", "1", "-n", lab.nameserver, "-f", "jsonl", "a.example", "hang.example"]
    with start(*words, env=env) as process:
        assert process.stdout is not None
        assert "NOERROR" == json.loads(process.stdout.readline())["status"]
        children = psutil.Process(process.pid).children(recursive=True)
        end(process)
    assert [] == psutil.wait_procs(children, 10)[1]


def test_embedded_server_only_pretends(tmp_path: Path) -> None:
    """One that says that it is ready and is not has a while, and then the reason is said."""
    env = script(tmp_path, "echo Ready to accept connections; exec sleep 60")
    command = [sys.executable, "-c", "from resolver.distributed import guard; guard.STARTS = 1; guard.main()"]
    with start(env[SETTING], env=env, command=command) as process:
        assert process.stdout is not None
        assert b"no right answer within 1 seconds\n" == process.stdout.readline()
        assert "" == end(process).err


def test_embedded_server_is_silent_and_the_run_is_killed(tmp_path: Path) -> None:
    """The server ends, as one does that has answered."""
    with start("a.example", "-e", "redis", env=script(tmp_path, "sleep 60")) as process:

        def sleeps() -> list[psutil.Process]:
            children = psutil.Process(process.pid).children(recursive=True)
            return children if any("sleep" in each.name() for each in children) else []

        children = wait_for(sleeps, "the server")
        process.kill()
        end(process)
    assert [] == psutil.wait_procs(children, 5)[1]
    wait_for(lambda: os.listdir(tmp_path) == ["server"], "no other file")


def test_embedded_worker_killed(lab: Lab, tmp_path: Path) -> None:
    """Another takes its place."""
    names = "".join(f"{host}\n" for host in slow(400))
    words = ["-e", "redis", "--inner", "threads", "--concurrency", "40", "-n", lab.nameserver, "-f", "jsonl", "-"]
    with start(*words) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(names.encode())
        process.stdin.close()
        first = process.stdout.readline().decode()
        (worker,) = [
            each for each in psutil.Process(process.pid).children() if "resolver.distributed.local" in each.cmdline()
        ]
        worker.kill()
        killed = time.monotonic()
        process.stdin = None
        done = end(process)
    print(f"recovered in {time.monotonic() - killed:.1f} s")
    results = in_order([first, *done.out.splitlines()])
    assert [0, list(range(400))] == [done.status, [result["index"] for result in results]]

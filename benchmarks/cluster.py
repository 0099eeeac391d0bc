"""A Redis and workers for the benchmarks: processes of their own, as they would run on machines of their own."""

import contextlib
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import psutil
import redis

from benchmarks.measure import CHECKOUT, RESOLVE, child_environment
from resolver.distributed.broker import WORKERS, worker_key
from resolver.distributed.embedded import find_server

LOOPBACK = "127.0.0.1"
SECONDS_TO_START = 30.0
SECONDS_TO_STOP = 10.0


@dataclass(frozen=True)
class Cluster:
    """A running Redis, by its address, and its workers. `client` is one of redis-py's, for the benchmark itself."""

    url: str
    client: Any
    server: psutil.Process
    workers: list[psutil.Process]

    def info(self, section: str) -> dict[str, Any]:
        """What INFO says in that section."""
        told: dict[str, Any] = self.client.info(section)
        return told


@contextlib.contextmanager
def cluster(workers: int, *options: str) -> Iterator[Cluster]:
    """A Redis that writes down what it is told, as in production, and so many workers of one slot with these options.

    All of them are there when the block is entered. Raises click.ClickException where one does not start.
    """
    with tempfile.TemporaryDirectory(prefix="redis-") as name, contextlib.ExitStack() as opened:
        port = _free_port()
        command = [_server(), "--port", str(port), "--bind", LOOPBACK, "--dir", name, "--save", "", "--appendonly"]
        command += ["yes", "--appendfsync", "everysec", "--maxmemory-policy", "noeviction"]
        server = _start(opened, command, Path(name) / "redis.log")
        url = f"redis://{LOOPBACK}:{port}/0"
        client: Any = opened.enter_context(redis.Redis.from_url(url))
        _wait_for(lambda: _answers(client), "the Redis", Path(name) / "redis.log")
        log = Path(name) / "workers.log"
        asked = [*RESOLVE, "worker", "--redis", url, "--slots", "1", "-q", *options]
        crew = [_start(opened, asked, log) for _ in range(workers)]
        _wait_for(lambda: _beating(client) == workers, f"{workers} workers", log)
        yield Cluster(url, client, psutil.Process(server.pid), [psutil.Process(each.pid) for each in crew])


def seconds_of(process: psutil.Process) -> float:
    """What a process and its children have used of the processor, in seconds."""
    used = 0.0
    for each in [process, *process.children(recursive=True)]:
        try:
            times = each.cpu_times()
            used += times.user + times.system
        except psutil.NoSuchProcess:
            pass
    return used


@contextlib.contextmanager
def on_cores(count: int) -> Iterator[None]:
    """What is started in this block runs on so many cores of those that this process may use."""
    if not hasattr(os, "sched_setaffinity"):
        raise click.ClickException("this system cannot bind a process to cores; only Linux can")
    before = os.sched_getaffinity(0)
    if len(before) < count:
        raise click.ClickException(f"this needs {count} cores")
    os.sched_setaffinity(0, sorted(before)[:count])
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _server() -> str:
    try:
        return find_server()
    except LookupError as error:
        raise click.ClickException(str(error)) from None


def _start(opened: contextlib.ExitStack, command: list[str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("ab") as said:
        process = subprocess.Popen(
            command, cwd=CHECKOUT, env=child_environment(), stdin=subprocess.DEVNULL, stdout=said, stderr=said
        )
    opened.callback(_stop, process)
    return process


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(SECONDS_TO_STOP)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _wait_for(condition: Callable[[], bool], what: str, log: Path) -> None:
    give_up = time.monotonic() + SECONDS_TO_START
    while not condition():
        if time.monotonic() > give_up:
            raise click.ClickException(f"{what} did not start in {SECONDS_TO_START:.0f} s: {log.read_text().strip()}")
        time.sleep(0.05)


def _answers(client: Any) -> bool:
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False


def _beating(client: Any) -> int:
    return sum(client.exists(worker_key(name.decode())) for name in client.smembers(WORKERS))


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind((LOOPBACK, 0))
        port: int = taken.getsockname()[1]
        return port

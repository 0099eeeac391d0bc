"""A Redis and workers as users run them, for benchmarks and tests: processes of their own, that can be stopped, killed
and started again.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import click
import psutil
import redis
from mirakuru import TCPExecutor

from benchmarks.measure import RESOLVE, child_environment
from benchmarks.nameserver import free_port
from resolver.distributed.broker import WORKERS, worker_key
from resolver.distributed.embedded import find_server

SECONDS_TO_START = 30.0
# A command behind these is killed when the process that started it ends, whatever ends that: on Linux, with util-linux.
ENDING_WITH_US = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []


class Server:
    """A Redis on loopback that writes down what it is told (appendonly), in `directory`."""

    def __init__(self, directory: Path, *settings: str, port: int | None = None) -> None:
        self.port = port or free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        command = [*ENDING_WITH_US, find_server(), "--port", str(self.port), "--bind", "127.0.0.1"]
        command += ["--dir", str(directory), "--save", "", "--appendonly", "yes"]
        command += ["--appendfsync", "everysec", *settings]
        self._executor = TCPExecutor(
            command, host="127.0.0.1", port=self.port, timeout=20, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def start(self) -> Self:
        """Start it, also again; what it held is there, as far as it was written down."""
        self._executor.start()
        return self

    @property
    def pid(self) -> int:
        """The ID of its process."""
        assert self._executor.process is not None
        pid: int = self._executor.process.pid
        return pid

    def stop(self) -> None:
        """End it in order."""
        self._executor.stop(stop_signal=signal.SIGTERM)

    def kill(self) -> None:
        """kill -9."""
        self._executor.stop(stop_signal=signal.SIGKILL, expected_returncode=-signal.SIGKILL)

    def lose(self) -> None:
        """kill -9, and nothing of what it held is left."""
        self.kill()
        for path in sorted(self.directory.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()

    def hang(self) -> None:
        """Stop it: it is there, and says nothing any more."""
        os.kill(self.pid, signal.SIGSTOP)

    def client(self) -> Any:
        """A client of redis-py."""
        return redis.Redis.from_url(self.url)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(Exception):
            self.kill()


class Worker:
    """`resolve worker` at this Redis. `log` is what it says on standard error. `command`: what runs it."""

    def __init__(
        self,
        url: str,
        *options: str,
        env: dict[str, str] | None = None,
        log: Path | None = None,
        command: Sequence[str] = RESOLVE,
    ) -> None:
        self.log = log
        with open(log or os.devnull, "ab") as said:
            self.process = subprocess.Popen(
                [*ENDING_WITH_US, *command, "worker", *options],
                env={**(env or child_environment()), "RESOLVE_REDIS": url},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=said,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """The ID of its main process."""
        return self.process.pid

    def said(self) -> str:
        """Return what it has said so far."""
        assert self.log is not None
        return self.log.read_text()

    def kill(self) -> None:
        """kill -9."""
        self.process.kill()
        self.process.wait()

    def end(self, number: int = signal.SIGINT) -> int:
        """Ctrl-C; returns the exit status."""
        self.process.send_signal(number)
        return self.process.wait(15)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


def present(client: Any) -> list[str]:
    """The names of the workers that beat."""
    names = [name.decode() for name in client.smembers(WORKERS)]
    return sorted(name for name in names if client.exists(worker_key(name)))


@dataclass(frozen=True)
class Cluster:
    """A running Redis, by its address, and its workers. `client` is one of redis-py's, for the benchmark itself."""

    url: str
    client: Any
    server: psutil.Process
    workers: list[psutil.Process]

    def info(self, section: str) -> dict[str, Any]:
        """Return what INFO says in that section."""
        told: dict[str, Any] = self.client.info(section)
        return told


@contextlib.contextmanager
def cluster(workers: int, *options: str) -> Iterator[Cluster]:
    """A Redis and so many workers of one slot with these options.

    All of them are there when the block is entered. Raises click.ClickException where one does not start.
    """
    with tempfile.TemporaryDirectory(prefix="redis-") as name, contextlib.ExitStack() as opened:
        try:
            server = opened.enter_context(Server(Path(name) / "redis", "--maxmemory-policy", "noeviction"))
        except LookupError as error:
            raise click.ClickException(str(error)) from None
        client: Any = opened.enter_context(server.client())
        log = Path(name) / "workers.log"
        begun = [
            opened.enter_context(Worker(server.url, "--slots", "1", "-q", *options, log=log)) for _ in range(workers)
        ]
        give_up = time.monotonic() + SECONDS_TO_START
        while len(present(client)) < workers:
            if time.monotonic() > give_up:
                raise click.ClickException(f"{workers} workers did not start: {log.read_text().strip()}")
            time.sleep(0.05)
        yield Cluster(server.url, client, psutil.Process(server.pid), [psutil.Process(each.pid) for each in begun])


def seconds_of(process: psutil.Process) -> float:
    """Return the seconds of the processor that a process and its children have used."""
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
    """Have what is started in this block run on so many cores of those that this process may use."""
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

"""A Redis and workers as users run them: processes of their own, that can be stopped, killed and started again."""

import contextlib
import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import redis
from command import COMMAND, environment, wait_for
from mirakuru import TCPExecutor

from resolver.distributed.broker import WORKERS, worker_key
from resolver.distributed.embedded import find_server


def free_port() -> int:
    """A TCP port that nobody listens on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


class Server:
    """A Redis on loopback that writes down what it is told (appendonly), in `directory`."""

    def __init__(self, directory: Path, *settings: str, port: int | None = None) -> None:
        self.port = port or free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        command = [find_server(), "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(directory)]
        command += ["--save", "", "--appendonly", "yes", "--appendfsync", "everysec", *settings]
        self._executor = TCPExecutor(
            command, host="127.0.0.1", port=self.port, timeout=20, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def start(self) -> "Server":
        """Start it, also again; what it held is there, as far as it was written down."""
        self._executor.start()
        return self

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
        """It is there, and says nothing any more."""
        assert self._executor.process is not None
        os.kill(self._executor.process.pid, signal.SIGSTOP)

    def client(self) -> Any:
        """A client of redis-py."""
        return redis.Redis.from_url(self.url)

    def __enter__(self) -> "Server":
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
        command: Sequence[str] = COMMAND,
    ) -> None:
        self.log = log
        with open(log or os.devnull, "ab") as said:
            self.process = subprocess.Popen(
                [*command, "worker", *options],
                env={**(env or environment()), "RESOLVE_REDIS": url},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=said,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Of its main process."""
        return self.process.pid

    def said(self) -> str:
        """What it has said so far."""
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

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


def beats(server: Server) -> list[dict[str, Any]]:
    """What each worker says of itself."""
    with server.client() as client:
        said = [client.get(worker_key(name)) for name in present(client)]
    return [json.loads(each) for each in said if each is not None]


def present(client: Any) -> list[str]:
    """The names of the workers that beat."""
    names = [name.decode() for name in client.smembers(WORKERS)]
    return sorted(name for name in names if client.exists(worker_key(name)))


def wait_for_workers(server: Server, number: int = 1) -> list[str]:
    """Wait until so many workers beat; their names."""
    with server.client() as client:
        return wait_for(lambda: names if len(names := present(client)) >= number else None, f"{number} workers") or []


@contextlib.contextmanager
def cluster(directory: Path, *options: str, workers: int = 1) -> Iterator[Server]:
    """A Redis with so many workers, each with one slot."""
    with Server(directory) as server, contextlib.ExitStack() as opened:
        for _ in range(workers):
            opened.enter_context(Worker(server.url, "--slots", "1", "--engine", "threads", *options))
        wait_for_workers(server, workers)
        yield server

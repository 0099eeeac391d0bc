"""The Redis and workers of benchmarks/cluster.py, as the tests start and wait for them."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from command import environment, wait_for

from benchmarks import cluster as shared
from benchmarks.cluster import Server, present
from benchmarks.nameserver import free_port
from resolver.distributed.broker import worker_key

__all__ = ["Server", "Worker", "beats", "cluster", "free_port", "present", "wait_for_workers"]


class Worker(shared.Worker):
    """`resolve worker` at this Redis, of the package that is tested."""

    def __init__(self, url: str, *options: str, env: dict[str, str] | None = None, **more: Any) -> None:
        super().__init__(url, *options, env=env or environment(), **more)


def beats(server: Server) -> list[dict[str, Any]]:
    """Return what each worker says of itself."""
    with server.client() as client:
        said = [client.get(worker_key(name)) for name in present(client)]
    return [json.loads(each) for each in said if each is not None]


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

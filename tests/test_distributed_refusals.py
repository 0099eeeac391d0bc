"""The engine `redis` with a Redis that is there and says no for a while: to a run it is one that is away.

Each kind of refusal is a real one, in the middle of a run with two workers; how long recovery took is printed.
"""

import contextlib
import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import redis
from cluster import Server, Worker, wait_for_workers
from command import wait_for
from running import FEW, WORKER, Running, slow, statuses

from resolver import Status
from resolver.distributed.broker import Broker
from resolver.distributed.connection import RunConnection
from resolver.distributed.outage import Unavailable
from resolver.lab import Lab

HOSTS = 200
LASTS = 2.5  # seconds
KEYS, DELAY = 300, 10_000  # to be loaded again, each in so many microseconds


class Refusal(NamedTuple):
    """How a Redis is made to refuse with one of these words, and how that ends."""

    words: str  # a pattern
    begin: Callable[[Any, Server], None]
    end: Callable[[Any], None]


def fail_to_save(client: Any, server: Server) -> None:
    """Have it find that it cannot write its dump: a directory stands in the way."""
    (server.directory / "dump.rdb").mkdir()
    client.config_set("save", "3600 1")
    client.bgsave()
    wait_for(lambda: client.info("persistence")["rdb_last_bgsave_status"] == "err", "a failed save")


def reload(client: Any, _: Server) -> None:
    """Have it load what it holds again, which takes some seconds; its client waits for that."""
    for number in range(KEYS):
        client.set(f"pad:{number}", "")
    client.config_set("key-load-delay", DELAY)

    def work() -> None:
        with contextlib.suppress(redis.exceptions.RedisError):  # it may take longer than the client waits
            client.execute_command("DEBUG", "RELOAD")

    threading.Thread(target=work, daemon=True).start()


MAX_REFUSALS = [
    Refusal(
        "READONLY|instance state changed",  # the second is told to clients that wait
        lambda client, _: client.replicaof("127.0.0.1", 1),
        lambda client: client.replicaof("NO", "ONE"),
    ),
    Refusal(
        "NOREPLICAS",
        lambda client, _: client.config_set("min-replicas-to-write", 1),
        lambda client: client.config_set("min-replicas-to-write", 0),
    ),
    Refusal(
        "OOM", lambda client, _: client.config_set("maxmemory", 1), lambda client: client.config_set("maxmemory", 0)
    ),
    Refusal("MISCONF", fail_to_save, lambda client: client.config_set("save", "")),
    Refusal("loading", reload, lambda client: None),
]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A Redis of the test's own."""
    with Server(tmp_path / "redis", "--enable-debug-command", "yes", "--loading-process-events-interval-bytes", "1024",
                "--maxmemory-policy", "noeviction") as running:  # fmt: skip
        yield running


@pytest.mark.parametrize("refusal", MAX_REFUSALS, ids=["failover", "no-replicas", "no-memory", "no-disk", "loading"])
def test_it_refuses_for_a_while(
    server: Server, lab: Lab, tmp_path: Path, caplog: pytest.LogCaptureFixture, refusal: Refusal
) -> None:
    """All results, no worker gone; the run and the worker say that it refuses, why, and when it is over."""
    with contextlib.ExitStack() as opened:
        worker = opened.enter_context(Worker(server.url, *WORKER, *FEW, log=tmp_path / "log"))
        wait_for_workers(server)
        client = opened.enter_context(server.client())
        run = Running(slow(HOSTS), server.url, nameservers=lab.nameserver)

        def all_say(pattern: str) -> bool:
            return all(re.search(pattern, said) for said in (caplog.text, worker.said()))

        run.wait(20)
        begun = time.monotonic()
        refusal.begin(client, server)
        wait_for(
            lambda: all_say(rf"{server.url} cannot be used \(it refuses for now: .*({refusal.words})"), "sentences"
        )
        wait_for(lambda: time.monotonic() - begun > LASTS, "Celery to be refused more than once")
        refusal.end(client)
        print(f"it refused for {time.monotonic() - begun:.1f} s")
        assert {Status.NOERROR: HOSTS} == statuses(run.end(begun))
        wait_for(lambda: all_say("can be used again, after "), "the sentence that it is over")
        assert worker.process.poll() is None
        assert [False] * 2 == ["Traceback" in said for said in (caplog.text, worker.said())]


def test_the_end_of_a_refusal_is_told_by_a_run_that_ends_with_it(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    """Also where its threads have not tried again since."""
    connection = RunConnection(Broker.parse(server.url), "0" * 32, None)
    with server.client() as client:
        client.config_set("min-replicas-to-write", 1)
        connection.start()
        wait_for(lambda: "cannot be used (it refuses for now: NOREPLICAS" in caplog.text, "the refusal")
        client.config_set("min-replicas-to-write", 0)
        connection.close()
    assert "can be used again, after " in caplog.text


def test_what_does_not_pass_is_no_refusal(server: Server) -> None:
    """An error of the command stays one; a refusal within a pipeline or a transaction is none of the command's."""
    with server.client() as other, Broker.parse(server.url).client() as client:
        other.set("key", "no number")
        with pytest.raises(redis.exceptions.ResponseError, match="not an integer") as raised:
            client.incr("key")
        assert not isinstance(raised.value, redis.exceptions.ConnectionError)
        other.config_set("min-replicas-to-write", 1)
        for transaction in (False, True):
            pipe = client.pipeline(transaction=transaction)
            pipe.get("key").set("key", "").get("key").set("key", "")
            with pytest.raises(Unavailable, match="NOREPLICAS Not enough"):
                pipe.execute()
        # No reply of those is taken for that of the next command.
        assert b"no number" == client.get("key")

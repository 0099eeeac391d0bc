"""What others can write to the Redis, and who else reads what is secret: with a real Redis and a real worker.

Whatever stands in the queue, in a run's stream or among the beats and is none of ours is refused with a sentence; it
is never executed, the worker lives on, and the run beside it has one right result for each host.
"""

import base64
import json
import os
import pickle
import secrets
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
from cluster import Server, Worker, wait_for_workers
from command import wait_for
from encoded import block_encoder

from resolver import Policy, Result, Status, resolve
from resolver.blocks import LineFormat
from resolver.distributed import payload
from resolver.distributed.broker import PREFIX, WORKERS, Keys, worker_key
from resolver.distributed.envelope import QUEUE, TASK
from resolver.distributed.payload import ChunkReport
from resolver.lab import Lab

HOSTS = [f"h{n}.example" for n in range(150)]
OPTIONS = ("--slots", "1", "--engine", "threads")
OURS = f"{PREFIX}{QUEUE}"


class Place(NamedTuple):
    """A Redis with one worker, and what writes to it."""

    server: Server
    worker: Worker
    client: Any

    def completes(self, lab: Lab) -> None:
        """A run here has one right result for each host, from the worker that was there before."""
        run = resolve(HOSTS, engine="redis", redis=self.server.url, nameservers=lab.nameserver)
        assert [(host, Status.NOERROR) for host in HOSTS] == [(result.input, result.status) for result in run]
        assert None is self.worker.process.poll()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A Redis with one worker that live through all that the tests of this file throw at them."""
    directory = tmp_path_factory.mktemp("trust")
    log = directory / "log"
    with Server(directory / "redis") as server, server.client() as client, Worker(server.url, *OPTIONS, log=log) as one:
        wait_for_workers(server)
        yield Place(server, one, client)


def chunk(**changes: Any) -> dict[str, Any]:
    """The fields of a chunk of a run that nobody leads; with these changes."""
    good = payload.Chunk(
        version=payload.VERSION,
        run=secrets.token_hex(16),
        number=0,
        copy=0,
        backend="wire",
        policy=Policy(nameservers=("127.0.0.1:9",)),
        alone=False,
        oneway=False,
        parties=1,
        queries=[payload.ChunkQuery(0, "www.example", "A")],
    )
    return {**msgspec.to_builtins(good), **changes}


def task(*args: Any, embed: object = None, kwargs: object = None, **changes: Any) -> dict[str, Any]:
    """A message as Celery puts it into the queue, with these changes: of its headers, where they have such a one."""
    identity = secrets.token_hex(16)
    message: dict[str, Any] = {
        "body": _body([list(args), kwargs or {}, embed or dict.fromkeys(("callbacks", "errbacks", "chain", "chord"))]),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {"lang": "py", "task": TASK, "id": identity, "root_id": identity, "eta": None, "expires": None},
        "properties": {
            "correlation_id": identity,
            "delivery_info": {"exchange": "", "routing_key": QUEUE},
            "body_encoding": "base64",
            "delivery_tag": secrets.token_hex(16),
        },
    }
    for name, value in changes.items():
        part = message if name in ("body", "content_type") else message["headers"]
        part[name.replace("_", "-") if part is message else name] = value
    return message


def _body(value: object) -> str:
    return base64.b64encode(json.dumps(value).encode()).decode()


class Trap:
    """Unpickled, it would leave a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


NESTED = "[" * 200_000 + "]" * 200_000  # deeper than any reader goes


def packed(value: object) -> str:
    """A value as chunks travel."""
    return payload.pack(msgspec.msgpack.encode(value))


def told(**changes: Any) -> dict[str, Any]:
    """A message with a chunk that has these changes."""
    return task(packed(chunk(**changes)))


def asking(name: str, type_: str) -> dict[str, Any]:
    """A message with a chunk that asks for this."""
    return told(queries=[[0, name, type_]])


GARBAGE: dict[str, tuple[object, str]] = {
    "no JSON": (b"GET / HTTP/1.1", "cannot be read (JSONDecodeError"),
    "no text": (b"\xff\xfe\x00", "cannot be read (JSONDecodeError"),
    "empty": (b"", "cannot be read (JSONDecodeError"),
    "nested": (NESTED.encode(), "cannot be read (RecursionError"),
    "a strange type": (b'{"__type__": "uuid", "__value__": 5}', "a message was refused"),
    "a number": (b"5", "no task of ours"),
    "a list": (b"[]", "no task of ours"),
    "no envelope": (b"{}", "no task of ours (Object missing required field `body`)"),
    "no properties": ({**task("x"), "properties": {}}, "missing required field `delivery_tag`"),
    "no way back": ({**task("x"), "properties": {"delivery_tag": "x"}}, "missing required field `delivery_info`"),
    "not base64": (task(body="%%%"), "no task of ours"),
    "YAML": (
        task(content_type="application/x-yaml", body="!!python/object/apply:os.abort []"),
        "only application/json",
    ),
    "a setting of ours": (task("x", task="celery.backend_cleanup"), "only resolve.chunk is done"),
    "another task": (task("x", task="os.system"), "a task 'os.system', and only resolve.chunk is done"),
    "a time": (task("x", eta="2999-01-01T00:00:00+00:00"), "`null`, got `str` - at `$.headers.eta`"),
    "compressed": (task("x", compression="gzip"), "`$.headers.compression`"),
    "callbacks": (task("x", embed={"callbacks": [{"task": "x"}]}), "no task of ours"),
    "no argument": (task(), "no task of ours"),
    "two arguments": (task("x", "y"), "no task of ours"),
    "a named argument": (task("x", kwargs={"text": "y"}), "no task of ours"),
    "a number as argument": (task(5), "no task of ours"),
    "an argument of no chunk": (task("x"), "it is no chunk ("),
    "packed, and no chunk": (task(packed("x")), "it is no chunk (Expected `object`, got `str`"),
    "a nested argument": (task(payload.pack(b"\x91" * 200_000)), "it is no chunk"),
    "much in little": (
        task(payload.pack(bytes(payload.MAX_OCTETS + 1))),
        f"has more than {payload.MAX_OCTETS:,} octets",
    ),
    "huge": (task("x" * (payload.MAX_OCTETS + 1)), f"characters; a chunk has {payload.MAX_OCTETS:,} at most"),
    "huge in vain": (
        task(body="A" * 2 * payload.MAX_OCTETS + "AAAA"),
        f"characters; a chunk has {payload.MAX_OCTETS:,} at most",
    ),
    "another version": (told(version="0.0.0"), "of version 0.0.0, and this is"),
    "a bad run": (told(run="../../etc"), "it is no chunk"),
    "a bad name": (asking("a" * 64 + ".example", "A"), "it holds what cannot be asked"),
    "a bad type": (asking("www.example", "NONE SUCH"), "it holds what cannot be asked"),
    "a file": (told(policy={**chunk()["policy"], "tls_ca": "/etc/passwd"}), "it names a file"),
    "unknown fields": (told(command="true"), "it is no chunk (Object contains unknown field `command`)"),
    "too much": (
        told(queries=[[n, "www.example", "A"] for n in range(payload.MAX_QUERIES + 1)]),
        f"length <= {payload.MAX_QUERIES}",
    ),
    "no nameserver": (told(policy={**chunk()["policy"], "tries": 0}), "it is no chunk"),
}


def test_what_is_none_of_ours_in_the_queue(place: Place, lab: Lab) -> None:
    """Each is refused with a sentence of its own, and the run beside them completes."""
    before = len(place.worker.said())
    with ThreadPoolExecutor(1) as threads:
        beside = threads.submit(place.completes, lab)
        for garbage, _ in GARBAGE.values():
            place.client.lpush(OURS, garbage if isinstance(garbage, bytes) else json.dumps(garbage))
        beside.result()
    wait_for(lambda: len(refusals(place.worker.said()[before:])) >= len(GARBAGE), f"{len(GARBAGE)} sentences")
    said = refusals(place.worker.said()[before:])
    assert [] == [sentence for _, sentence in GARBAGE.values() if not any(sentence in line for line in said)]
    assert len(GARBAGE) == len(said)
    assert "Traceback" not in place.worker.said()[before:]


def refusals(said: str) -> list[str]:
    """The lines that refuse something."""
    return [line for line in said.splitlines() if "was refused" in line]


@pytest.mark.parametrize("kind", ["application/x-python-serialize", "pickle", "application/json"])
def test_pickle_is_never_read(place: Place, tmp_path: Path, kind: str) -> None:
    """A pickle that would run a command is refused, whatever it is called."""
    before = len(refusals(place.worker.said()))
    body = base64.b64encode(pickle.dumps(Trap(tmp_path / "sprung"))).decode()
    place.client.lpush(OURS, json.dumps(task(content_type=kind, body=body)))
    said = wait_for(lambda: refusals(place.worker.said())[before:], "a sentence")
    assert ("only application/json is read" if kind != "application/json" else "no task of ours") in said[0]
    assert [] == list(tmp_path.iterdir())


def test_what_is_no_command_to_workers(place: Place, lab: Lab) -> None:
    """On the channel of `celery inspect`, too, what cannot be read is passed by."""
    channel = f"{PREFIX}/0.celery.pidbox"
    wait_for(lambda: place.client.publish(channel, b""), "the worker to listen")
    for garbage in (b"", b"garbage", b"[]", b"{}", NESTED.encode(), json.dumps(task("x")).encode()):
        assert 1 == place.client.publish(channel, garbage)
    place.completes(lab)


def test_what_is_no_report_in_the_stream(place: Place, lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    """Lies about results that were never asked for do not count, and what is no report is refused with a sentence."""
    made = msgspec.msgpack.encode
    result = {
        "index": 0, "input": "", "name": "evil.example", "type": "A", "status": "NXDOMAIN", "answers": [],
        "nameserver": None, "transport": None, "attempts": 1, "elapsed": 0.1, "engine": "x", "backend": "x",
        "error": None,
    }  # fmt: skip
    line = block_encoder(LineFormat("jsonl"))([msgspec.convert(result, Result)])
    lies: list[dict[str, Any]] = [
        {"results": [[result]]},
        {"results": [[{**result, "name": HOSTS[0], "type": "AAAA"}]]},
        {"results": [[{**result, "index": index, "name": HOSTS[0]} for index in (-1, 10**6, 1 << 62)]]},
        {"chunk": 10**9, "over": "done"},
        {"over": "back", "sentence": "no", "unfinished": [[0, -5, float("nan")], [10**9, None, None]]},
    ]
    garbage = [
        b"",
        b"\xc1 no MessagePack",
        b"\x91" * 100_000 + b"\xc0",
        made({"chunk": "0"}),
        made({"chunk": 0, "copy": 0, "worker": "liar", "command": "true"}),
        made({"chunk": 0, "copy": 0, "worker": "liar", "results": [[{**result, "status": "GREAT"}]]}),
        b"x" * (payload.MAX_OCTETS + 1),
    ]

    def lie() -> None:
        """Find the run, before its results do."""
        lease = wait_for(lambda: list(place.client.scan_iter(f"{PREFIX}run:*:alive")), "a run")[0].decode()
        results = Keys.of(lease.split(":")[2]).results
        place.client.xadd(results, {"report": b"", "other": "field"})
        place.client.xadd(results, {"other": "field"})
        for octets in garbage:
            place.client.xadd(results, {"report": octets})
        for each in lies:
            place.client.xadd(results, {"report": made({"chunk": 0, "copy": 0, "worker": "liar", **each})})
        place.client.xadd(results, dict(payload.encode_report(ChunkReport(0, 0, "liar", lines=[line]))))

    # The worker stands still until the lies are told: what it finds comes after them.
    os.kill(place.worker.pid, signal.SIGSTOP)
    with ThreadPoolExecutor(1) as threads:
        beside = threads.submit(place.completes, lab)
        try:
            lie()
        finally:
            os.kill(place.worker.pid, signal.SIGCONT)
        beside.result()
    said = [record.getMessage() for record in caplog.records if "a report was refused" in record.getMessage()]
    for sentence in (
        "it is no report (",
        "Invalid enum value 'GREAT'",
        "unknown field `command`",
        f"{payload.MAX_OCTETS + 1:,} octets",
    ):
        assert any(sentence in each for each in said), sentence
    assert [] == [record.getMessage() for record in caplog.records if record.exc_info]


def test_what_is_no_beat(place: Place, lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    """It is refused with a sentence, and the run goes on with the workers that are."""
    beats = [
        b"",
        b"garbage",
        b"\xff",
        b"[]",
        b'{"version": 5, "slots": 1}',
        b'{"version": "1", "slots": 1e999}',
        b'{"version": "1", "slots": Infinity}',
        b'{"version": "1", "slots": -1}',
        b'{"version": "1"}',
        NESTED.encode(),
    ]
    liars = [f"liar{n}" for n in range(len(beats))]
    for name, beat in zip(liars, beats, strict=True):
        place.client.set(worker_key(name), beat)
    place.client.sadd(WORKERS, *liars, b"\xff\xfe", "gone")
    try:
        place.completes(lab)
    finally:
        place.client.delete(*map(worker_key, liars))
        place.client.srem(WORKERS, *liars, b"\xff\xfe")
    assert ["the beat of a worker was refused: it is none of ours"] == [each.getMessage() for each in caplog.records]


def test_what_is_no_envelope_beside_the_queue(place: Place, lab: Lab) -> None:
    """Celery's note of what workers have taken may hold anything: it is refused and forgotten."""
    noted, index = f"{PREFIX}unacked", f"{PREFIX}unacked_index"
    before = len(place.worker.said())
    for name, garbage in (("x", b"garbage"), ("y", b"[1, 2]")):
        place.client.hset(noted, name, garbage)
        place.client.zadd(index, {name: 1.0})
    place.completes(lab)
    wait_for(lambda: not place.client.zrange(index, "-inf", 2.0, byscore=True), "them to be forgotten")
    said = place.worker.said()[before:]
    assert "what a worker had taken was refused: it cannot be read (JSONDecodeError)" in said
    assert "Traceback" not in said


def test_a_run_that_nobody_leads(place: Place) -> None:
    """A chunk that is right in all but its run's lease is dropped, and no query goes out for it."""
    place.client.lpush(OURS, json.dumps(told()))
    wait_for(lambda: "its run is over; dropped" in place.worker.said(), "the sentence")

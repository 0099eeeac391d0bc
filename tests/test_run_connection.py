"""The threads of a run that talk to the Redis: a report counts once, whatever becomes of the Redis meanwhile."""

import contextlib
import time
from typing import Any, cast

import pytest
from command import wait_for
from redis.exceptions import ConnectionError as RedisConnectionError

from resolver.distributed import connection as connection_module
from resolver.distributed.broker import Broker
from resolver.distributed.connection import RunConnection
from resolver.distributed.payload import ChunkReport, decode_report, encode_report


class Stream:
    """A Redis with a run's stream, as redis-py shows it, that is away once: after its first entries were read."""

    def __init__(self, *entries: bytes) -> None:
        self.entries = {b"%d-0" % number: {b"report": octets} for number, octets in enumerate(entries, 1)}
        self.reads = 0
        self.shown = "redis://stream"

    def client(self) -> contextlib.nullcontext[Any]:
        return contextlib.nullcontext(self)

    def execute_soon(self, *_: object, **__: object) -> bool:
        return False

    def pipeline(self, **_: object) -> Any:
        return Pipeline(self)


class Pipeline:
    """What is asked of it at once; of anything but the stream it knows nothing."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.removed: tuple[bytes, ...] = ()
        self.reads = False

    def xdel(self, _: str, *numbers: bytes) -> None:
        self.removed = numbers

    def xread(self, *_: object, **__: object) -> None:
        self.reads = True

    def __getattr__(self, name: str) -> Any:
        return lambda *_, **__: None

    def execute(self) -> list[Any]:
        stream = self.stream
        stream.reads += self.reads
        if not self.reads or stream.reads == 2:
            raise RedisConnectionError
        for number in self.removed:
            stream.entries.pop(number, None)
        if not stream.entries:
            time.sleep(0.02)
        return [[[b"stream", list(stream.entries.items())[:16]]]]


def chunks_read(stream: Stream) -> list[int]:
    """The numbers of the chunks whose reports a run reads there, when all entries have been read."""
    connection = RunConnection(cast(Broker, stream), "0" * 32, None)
    connection.start()
    try:
        wait_for(lambda: not stream.entries, "all to be read")
    finally:
        connection.close()
    inbox = connection.inbox
    return [each.chunk for _ in range(inbox.qsize()) for each in cast(list[ChunkReport], inbox.get())]


def test_a_report_that_is_met_by_a_fault_of_ours(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is passed over, with a traceback, and those behind it are read."""
    there = encode_report(ChunkReport(7, 0, "w"))[b"report"]

    def decode(entry: dict[bytes, bytes]) -> ChunkReport:
        return {there: decode_report(entry)}[entry[b"report"]]

    monkeypatch.setattr(connection_module, "decode_report", decode)
    stream = Stream(encode_report(ChunkReport(6, 0, "w"))[b"report"], there)
    assert [7] == chunks_read(stream)
    assert [KeyError] == [each.exc_info[0] for each in caplog.records if each.exc_info]


def test_a_report_counts_once() -> None:
    """Where the Redis is away before the entries that were read are removed, they are removed, and not read again."""
    stream = Stream(*[encode_report(ChunkReport(number, 0, "w"))[b"report"] for number in range(20)], b"none")
    assert list(range(20)) == chunks_read(stream)

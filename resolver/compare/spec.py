"""The messages to and from a child: a Spec goes in, Began and Finished (or Aborted) come out, a line each.

The results take another way: into a file, the spool, as blocks of `when` and a list of Result. `read_spool` reads them
back with only what a comparison needs. Seconds that travel are spans, never timestamps.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

import msgspec

from resolver.policy import Policy
from resolver.subprocesses import FrameDecoder


class Spec(msgspec.Struct, frozen=True):
    """One run. `hosts` and `spool` are paths; `lookups` is how many results there must be."""

    engine: str
    backend: str
    types: list[str]
    policy: Policy
    hosts: str
    spool: str
    lookups: int


class Began(msgspec.Struct, frozen=True, tag="began"):
    """The engine is ready to take the first host. `cpu`: seconds that getting there took of a processor."""

    cpu: float


class Finished(msgspec.Struct, frozen=True, tag="ended"):
    """All results are in the spool. `seconds` since the beginning; `error` where the engine broke on the way."""

    seconds: float
    error: str | None = None


class Aborted(msgspec.Struct, frozen=True, tag="failed"):
    """There was no run; `error` says why."""

    error: str


Event = Began | Finished | Aborted


class RecordPart(msgspec.Struct, gc=False, frozen=True):
    """The fields of a Record that answers are compared by."""

    type: str
    data: str


class ResultPart(msgspec.Struct, gc=False, frozen=True):
    """The fields of a Result that a comparison needs."""

    index: int
    type: str
    status: str
    answers: list[RecordPart]
    attempts: int | None
    elapsed: float | None


def read_spool(file: BinaryIO) -> Iterator[tuple[float, list[ResultPart]]]:
    """Yield each batch of results, with the seconds since the run began. A block cut off at the end is left out."""
    frames = FrameDecoder(msgspec.msgpack.Decoder(tuple[float, list[ResultPart]]).decode)
    while octets := file.read(1 << 20):
        yield from frames.feed(octets)

"""What travels between the comparison and a child: a Spec goes in, Began and Ended (or Failed) come out, a line each.

The results take another way: into a file, the spool, as blocks of `when` and a list of Result. `read_spool` reads them
back with only what a comparison needs. Seconds that travel are spans, never timestamps.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO

import msgspec

from resolver.policy import Policy
from resolver.subprocesses import FrameDecoder

if TYPE_CHECKING:
    from collections.abc import Iterator


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


class Ended(msgspec.Struct, frozen=True, tag="ended"):
    """All results are in the spool. `seconds` since the beginning; `error` where the engine broke on the way."""

    seconds: float
    error: str | None = None


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """There was no run, and this is why."""

    error: str


Event = Began | Ended | Failed


class Data(msgspec.Struct, gc=False, frozen=True):
    """Of a Record, what answers are compared by."""

    type: str
    data: str


class Told(msgspec.Struct, gc=False, frozen=True):
    """Of a Result, what a comparison needs."""

    index: int
    type: str
    status: str
    answers: list[Data]
    attempts: int | None
    elapsed: float | None


def read_spool(file: BinaryIO) -> Iterator[tuple[float, list[Told]]]:
    """Each batch of results, with when it came: seconds since the run began. A block cut off at the end is left out."""
    frames = FrameDecoder(msgspec.msgpack.Decoder(tuple[float, list[Told]]).decode)
    while octets := file.read(1 << 20):
        yield from frames.feed(octets)

"""What goes over the pipe between a run and a process that asks for it: a length and one MessagePack value, each time.

The one thing to know before changing anything here: both ends are the same version of this package, always, so the
messages may change as they need to; but no timestamp may travel, only seconds that remain or that have passed, since
clocks are each process's own.

Results are maps: arrays would save the parent next to nothing (msgspec reads one in a microsecond either way), and
these are the very messages that everything else knows.
"""

from __future__ import annotations

import struct
from collections import Counter
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec

from resolver.model import Query, Result, Status
from resolver.policy import Policy

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator


class Begin(msgspec.Struct, tag="begin"):
    """To a child, first: its share of the policy, how many there are, and is no reply awaited (wire/oneway.py)?

    packed: results are to be sent on elsewhere, so they come as PackedResults.
    """

    policy: Policy
    parties: int
    send_only: bool
    packed: bool


class Work(msgspec.Struct, tag="work"):
    """To a child: ask these. `seconds` until the run ends; infinite where nothing ends it."""

    seconds: float
    queries: list[Query]


class Stop(msgspec.Struct, tag="stop"):
    """To a child: the run ends now; say how far each lookup came."""


class Ready(msgspec.Struct, tag="ready"):
    """From a child, first: everything is loaded."""


class Done(msgspec.Struct, tag="done"):
    """From a child: results, which acknowledge their queries."""

    results: list[Result]


class Found(msgspec.Struct, tag="block"):
    """From a child where results are packed: results, which acknowledge their queries; they arrive as PackedResults."""

    indices: list[int]
    statuses: dict[str, int]  # how many there are of each
    results: list[Result]

    @classmethod
    def of(cls, results: list[Result]) -> Found:
        """These."""
        statuses = [result.status for result in results]
        if statuses.count(Status.NOERROR) == len(statuses):  # as nearly always
            counts = {str(Status.NOERROR): len(statuses)}
        else:
            counts = Counter(map(str, statuses))
        return cls([result.index for result in results], counts, results)


class PackedResults(msgspec.Struct, tag="block"):
    """Results that nobody here has to look into: a list of them in MessagePack."""

    indices: list[int]
    statuses: dict[str, int]
    results: msgspec.Raw

    @classmethod
    def of(cls, results: list[Result]) -> PackedResults:
        """Pack these."""
        found = Found.of(results)
        return cls(found.indices, found.statuses, msgspec.Raw(_encoder.encode(results)))

    def unpack(self) -> list[Result]:
        """The results."""
        return _results.decode(self.results)

    def only(self, indices: Collection[int]) -> PackedResults:
        """What it has of these."""
        found = {result.index: result for result in self.unpack() if result.index in indices}
        return PackedResults.of(list(found.values()))

    def __len__(self) -> int:
        return len(self.indices)


def joined(blocks: list[PackedResults]) -> msgspec.Raw:
    """The results of all of them, as one list in MessagePack."""
    bodies = [memoryview(block.results)[len(_array(len(block))) :] for block in blocks]
    return msgspec.Raw(b"".join([_array(sum(map(len, blocks))), *bodies]))


def _array(size: int) -> bytes:
    """How MessagePack begins an array of so many."""
    if size < 16:
        return bytes((0x90 | size,))
    return b"\xdc" + size.to_bytes(2, "big") if size < 1 << 16 else b"\xdd" + size.to_bytes(4, "big")


class SentSince(msgspec.Struct, tag="sent"):
    """From a child where no reply is awaited: since the last time, so many queries went out, and so many could not."""

    sent: int
    failed: int
    reasons: list[str]


class Unfinished(msgspec.Struct, array_like=True):
    """How far an unfinished lookup came: queries sent, and seconds since the first (None: there was none)."""

    index: int
    attempts: int | None
    ago: float | None


class Stopped(msgspec.Struct, tag="stopped"):
    """From a child, last: what it leaves undone."""

    unfinished: list[Unfinished]


class EngineFailed(msgspec.Struct, tag="engine_failed"):
    """From a child, last: its engine raised, and what."""

    error: str


ToChild = Begin | Work | Stop
FromChild = Ready | Done | PackedResults | SentSince | Stopped | EngineFailed

_Message = TypeVar("_Message")
_LENGTH = struct.Struct("!I")
_encoder = msgspec.msgpack.Encoder()
_results = msgspec.msgpack.Decoder(list[Result])


def frame(message: ToChild | FromChild | Found) -> bytearray:
    """The octets of a message."""
    buffer = bytearray(_LENGTH.size)
    _encoder.encode_into(message, buffer, _LENGTH.size)
    _LENGTH.pack_into(buffer, 0, len(buffer) - _LENGTH.size)
    return buffer


class FrameDecoder(Generic[_Message]):
    """Octets in, as they come; messages out."""

    def __init__(self, types: Any) -> None:
        self._decoder: msgspec.msgpack.Decoder[_Message] = msgspec.msgpack.Decoder(types)
        self._held = bytearray()

    def feed(self, octets: bytes) -> Iterator[_Message]:
        """The messages that are whole now. Raises msgspec.MsgspecError for what is none."""
        held = self._held
        held += octets
        start = 0
        while len(held) >= start + _LENGTH.size:
            end = start + _LENGTH.size + _LENGTH.unpack_from(held, start)[0]
            if len(held) < end:
                break
            # A copy: what is decoded may refer to it (a PackedResults does), and the buffer is cut.
            message = self._decoder.decode(bytes(memoryview(held)[start + _LENGTH.size : end]))
            start = end
            yield message
        del held[:start]

"""What goes over the pipe between a run and a process that asks for it: a length and one MessagePack value, each time.

The one thing to know before changing anything here: both ends are the same version of this package, always, so the
messages may change as they need to; but no timestamp may travel, only seconds that remain or that have passed, since
clocks are each process's own.

Maps instead of arrays cost the parent next to nothing (msgspec reads a Result in a microsecond either way), and they
are the very messages that everything else knows.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec

from resolver.message import Query, Result
from resolver.policy import Policy

if TYPE_CHECKING:
    from collections.abc import Iterator


class Begin(msgspec.Struct, tag="begin"):
    """To a child, first: its share of the policy, how many there are, and is no reply awaited (wire/volley.py)?

    packed: results are to be sent on elsewhere, so they come as Packets.
    """

    policy: Policy
    parties: int
    forgetful: bool
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


class Packed(msgspec.Struct, array_like=True, gc=False):
    """A result that nobody here has to look into: its octets are a Result in MessagePack."""

    index: int
    status: str
    octets: bytes

    @classmethod
    def of(cls, result: Result) -> Packed:
        """Pack it."""
        return cls(result.index, result.status, _encoder.encode(result))

    def unpack(self) -> Result:
        """The result."""
        return _of_octets.decode(self.octets)


class Packets(msgspec.Struct, tag="packets"):
    """From a child: results, which acknowledge their queries."""

    results: list[Packed]


class Went(msgspec.Struct, tag="went"):
    """From a child where no reply is awaited: since the last time, so many queries went out, and so many could not."""

    sent: int
    failed: int
    reasons: list[str]


class Progress(msgspec.Struct, array_like=True):
    """How far an unfinished lookup came: queries sent, and seconds since the first (None: there was none)."""

    index: int
    attempts: int | None
    ago: float | None


class Left(msgspec.Struct, tag="left"):
    """From a child, last: what it leaves undone."""

    unfinished: list[Progress]


class Broke(msgspec.Struct, tag="broke"):
    """From a child, last: its engine raised, and what."""

    error: str


ToChild = Begin | Work | Stop
FromChild = Ready | Done | Packets | Went | Left | Broke

_Message = TypeVar("_Message")
_LENGTH = struct.Struct("!I")
_encoder = msgspec.msgpack.Encoder()
_of_octets = msgspec.msgpack.Decoder(Result)


def frame(message: ToChild | FromChild) -> bytearray:
    """The octets of a message."""
    buffer = bytearray(_LENGTH.size)
    _encoder.encode_into(message, buffer, _LENGTH.size)
    _LENGTH.pack_into(buffer, 0, len(buffer) - _LENGTH.size)
    return buffer


class Frames(Generic[_Message]):
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
            # The view is given back before the buffer is cut: nothing decoded refers to it.
            with memoryview(held)[start + _LENGTH.size : end] as view:
                message = self._decoder.decode(view)
            start = end
            yield message
        del held[:start]

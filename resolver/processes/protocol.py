"""The messages between a run and its child processes: each is a frame of MessagePack on the pipe of a child.

Both ends are the same version of this package, so the messages may change as they need to. No timestamp travels, only
seconds that remain or have passed: each process has a clock of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import msgspec

from resolver.blocks import HostLines, LineFormat, ResultBlock
from resolver.model import Query
from resolver.policy import Policy
from resolver.subprocesses import encode_frame, lengthened
from resolver.tallies import NameserverTally

MESSAGE_OCTETS = 1 << 19  # of results in a message, unless it is only one


class Begin(msgspec.Struct, tag="begin"):
    """To a child, first: its share of the policy.

    Attributes:
        engine: The name of the engine, for results.
        parties: Processes that ask the run's nameservers at the same time.
        send_only: No reply is awaited (wire/oneway.py).
        lines: The format that results are to be written in; None: they are wanted as they are.
    """

    policy: Policy
    engine: str
    parties: int
    send_only: bool
    lines: LineFormat | None = None


class Work(msgspec.Struct, tag="work"):
    """To a child: queries to ask, or lines of them.

    Attributes:
        seconds: What remains until the run ends; infinite where nothing ends it.
        answered: A nameserver has answered something in this run, if not in this child: a closed port may open again.
        again: A child died of these, and how often they were asked is not known.
        distrusted: Nameservers that were found to lie.
    """

    seconds: float
    queries: list[Query] | HostLines
    answered: bool = False
    again: bool = False
    distrusted: list[str] = []


class Stop(msgspec.Struct, tag="stop"):
    """To a child, once a run: the run ends now; say how far each lookup came."""


class Ready(msgspec.Struct, tag="ready"):
    """From a child, first: everything is loaded."""


class Counted(msgspec.Struct, tag="counted"):
    """From a child, before the last results of all that it has in hand: counts since the last such message."""

    tallies: list[NameserverTally]


class Unfinished(msgspec.Struct, array_like=True):
    """An unfinished lookup: queries sent, and seconds since the first (None: there was none)."""

    index: int
    attempts: int | None
    ago: float | None

    @classmethod
    def of(cls, query: Query, now: float) -> Unfinished:
        """Return how far a query has come by `now`, on the monotonic clock."""
        return cls(query.index, query.attempts, None if query.asked is None else now - query.asked)


class Stopped(msgspec.Struct, tag="stopped"):
    """From a child, last in each run: what it leaves undone."""

    unfinished: list[Unfinished]


class EngineFailed(msgspec.Struct, tag="engine_failed"):
    """From a child, last: what its engine raised."""

    error: str


ToChild = Begin | Work | Stop
FromChild = Ready | ResultBlock | Counted | Stopped | EngineFailed

frame = partial(encode_frame, encode_into=msgspec.msgpack.Encoder().encode_into)
decode_to_child = msgspec.msgpack.Decoder[ToChild](ToChild).decode
decode_from_child = msgspec.msgpack.Decoder[FromChild](FromChild).decode

_EMPTY = b"\xc4\x00"  # MessagePack's bin 8 without an octet, with which a block ends that has no body
_BIN_32 = b"\xc6"


def block_frame(block: ResultBlock, body: Sequence[bytes]) -> list[bytes | bytearray]:
    """Return the frame of a block whose body is in pieces: they are sent as they are, and copied by the system only."""
    head = frame(block)
    assert head.endswith(_EMPTY)
    size = sum(map(len, body))
    head[-len(_EMPTY) :] = _BIN_32 + size.to_bytes(4, "big")
    return [lengthened(head, size), *body]

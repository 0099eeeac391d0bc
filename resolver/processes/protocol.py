"""The messages between a run and its child processes: each is a frame of MessagePack on the pipe of a child.

Both ends are the same version of this package, so the messages may change as they need to. No timestamp travels, only
seconds that remain or have passed: each process has a clock of its own.
"""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import msgspec

from resolver.model import Query, Result, Status
from resolver.policy import Policy
from resolver.subprocesses import encode_frame
from resolver.tallies import NameserverTally

if TYPE_CHECKING:
    from collections.abc import Collection


class Begin(msgspec.Struct, tag="begin"):
    """To a child, first: its share of the policy.

    Attributes:
        parties: Processes that ask the run's nameservers at the same time.
        send_only: No reply is awaited (wire/oneway.py).
    """

    policy: Policy
    parties: int
    send_only: bool


class Work(msgspec.Struct, tag="work"):
    """To a child: queries to ask.

    Attributes:
        seconds: What remains until the run ends; infinite where nothing ends it.
        answered: A nameserver has answered something in this run, if not in this child: a closed port may open again.
    """

    seconds: float
    queries: list[Query]
    answered: bool = False


class Stop(msgspec.Struct, tag="stop"):
    """To a child, once a run: the run ends now; say how far each lookup came."""


class Ready(msgspec.Struct, tag="ready"):
    """From a child, first: everything is loaded."""


class Results(msgspec.Struct, tag="results"):
    """From a child: results, which acknowledge their queries. `statuses`: how many there are of each."""

    indices: list[int]
    statuses: dict[str, int]
    results: list[Result]

    @classmethod
    def of(cls, results: list[Result]) -> Results:
        """Put results into a message."""
        statuses = [result.status for result in results]
        if statuses.count(Status.NOERROR) == len(statuses):  # as nearly always
            counts = {str(Status.NOERROR): len(statuses)}
        else:
            counts = Counter(map(str, statuses))
        return cls([result.index for result in results], counts, results)

    def unpack(self) -> list[Result]:
        """Return the results."""
        return self.results


class PackedResults(msgspec.Struct, tag="results"):
    """The same message to a parent that sends results on without reading them: `results` is a list in MessagePack."""

    indices: list[int]
    statuses: dict[str, int]
    results: msgspec.Raw

    @classmethod
    def of(cls, results: list[Result]) -> PackedResults:
        """Pack results."""
        found = Results.of(results)
        return cls(found.indices, found.statuses, msgspec.Raw(_encoder.encode(results)))

    def unpack(self) -> list[Result]:
        """Return the results, decoded."""
        return _results.decode(self.results)

    def __len__(self) -> int:
        return len(self.indices)


class Counted(msgspec.Struct, tag="counted"):
    """From a child, before the last results of all that it has in hand: counts since the last such message."""

    tallies: list[NameserverTally]


class SentSince(msgspec.Struct, tag="sent"):
    """From a child where no reply is awaited: queries sent and refused since the last such message, and why."""

    sent: int
    failed: int
    reasons: list[str]


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
Batch = TypeVar("Batch", Results, PackedResults)
FromChild = Ready | Results | PackedResults | Counted | SentSince | Stopped | EngineFailed

_encoder = msgspec.msgpack.Encoder()
_results = msgspec.msgpack.Decoder(list[Result])
frame = partial(encode_frame, encode_into=_encoder.encode_into)
decode_to_child = msgspec.msgpack.Decoder[ToChild](ToChild).decode
# From a child, for each kind of results that its parent may want.
decode_from_child = {
    kind: msgspec.msgpack.Decoder[FromChild](Ready | kind | Counted | SentSince | Stopped | EngineFailed).decode
    for kind in (Results, PackedResults)
}


def only(batch: Batch, indices: Collection[int]) -> Batch:
    """Return those of a batch's results that have these indices, each once."""
    return type(batch).of(list({each.index: each for each in batch.unpack() if each.index in indices}.values()))


def uncounted(batch: Batch) -> Batch:
    """Return the results without the number of their queries: a child died of them before, and told nobody."""
    results = batch.unpack()
    for result in results:
        result.attempts = None
    return type(batch).of(results)


def joined(batches: list[PackedResults]) -> msgspec.Raw:
    """Return the results of all batches as one list in MessagePack."""
    bodies = [memoryview(batch.results)[len(_array(len(batch))) :] for batch in batches]
    return msgspec.Raw(b"".join([_array(sum(map(len, batches))), *bodies]))


def _array(size: int) -> bytes:
    """Return the head of an array of MessagePack."""
    if size < 16:
        return bytes((0x90 | size,))
    return b"\xdc" + size.to_bytes(2, "big") if size < 1 << 16 else b"\xdd" + size.to_bytes(4, "big")

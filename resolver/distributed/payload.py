"""Messages over Redis, in MessagePack: a Chunk of queries to a worker, ChunkReports to the coordinator.

Anybody who can write to the Redis can write anything. Both messages are data only, bounded in size, and checked on
arrival; whatever is no Chunk or ChunkReport of this version is refused with a sentence. Nothing that arrives names a
file, a module or a command. (A Redis that lies can still have workers ask any nameserver about any name, and a
coordinator believe any answer: docs/distributed.md.)
"""

from __future__ import annotations

import binascii
import contextlib
import zlib
from importlib import metadata
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec

from resolver.blocks import HostLines, ResultBlock
from resolver.dns import message as codec
from resolver.extras import DISTRIBUTION
from resolver.input.groups import are_plain
from resolver.model import Query, Result
from resolver.nameserver import PEM
from resolver.policy import Policy
from resolver.processes.protocol import Unfinished
from resolver.tallies import MOST_MERGED, NameserverTally

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MAX_QUERIES = 7_500  # lookups in a chunk, which fit in a message however long their names are
MAX_OCTETS = 12 << 20  # of a message, in either direction
MAX_CERTIFICATES = 1 << 20  # characters of a run's certificates: each chunk has them, and each executor reads them
# Number of the format, beside the package's version: releases, and above all checkouts, may differ in the one and not
# in the other. Raise it with every change of what travels over the Redis: fields and bounds of a Chunk, a ChunkReport
# and whatever they hold (Policy, HostLines, ResultBlock, ...), a worker's beat, keys, and how a message is packed.
FORMAT = 2
try:
    _PACKAGE = metadata.version(DISTRIBUTION)
except metadata.PackageNotFoundError:  # run from a checkout
    _PACKAGE = "unversioned"
VERSION = f"{_PACKAGE}-format{FORMAT}"

_Text = Annotated[str, msgspec.Meta(max_length=64)]
MAX_INDEX = (1 << 63) - 1
_Count = Annotated[int, msgspec.Meta(ge=0, le=MAX_INDEX)]


class Refused(ValueError):
    """Raised for a message that is none of ours, or of another version; the sentence says why."""


@contextlib.contextmanager
def refusing(sentence: str) -> Iterator[None]:
    """Raise Refused, with this sentence, for what decoding and checking a message in the block find wrong with it."""
    try:
        yield
    except Refused:
        raise
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise Refused(f"{sentence} ({error})") from None


class ChunkQuery(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A query, as far as a worker needs it: the input line stays with the coordinator."""

    index: _Count
    name: Annotated[str, msgspec.Meta(max_length=1024)]  # each of 255 octets may be escaped as \\DDD
    type: _Text
    nameserver: _Count | None = None
    subnet: _Count = 0


class Chunk(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Queries for a worker to look up, or lines of them.

    Attributes:
        run: The run's name.
        number: The chunk's, within the run.
        copy: How often it had been sent before.
        policy: Without nameservers: the worker's own are asked. Certificates stand in it, and not the name of a file.
        alone: The policy's limits are this chunk's share of the run's, so that no other chunk may use them too.
        oneway: Replies are not awaited.
        parties: Processes of all workers that ask the run's nameservers at the same time.
        as_lines: Results are wanted as JSON Lines, where they can be.
        distrusted: Nameservers that were found to lie.
    """

    version: _Text
    run: Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{32}\Z")]
    number: _Count
    copy: _Count
    backend: _Text
    policy: Policy
    alone: bool
    oneway: bool
    parties: Annotated[int, msgspec.Meta(ge=1, le=1 << 31)]
    queries: Annotated[list[ChunkQuery], msgspec.Meta(max_length=MAX_QUERIES)] = []
    lines: HostLines | None = None
    as_lines: bool = False
    distrusted: Annotated[list[Annotated[str, msgspec.Meta(max_length=320)]], msgspec.Meta(max_length=MOST_MERGED)] = []

    @property
    def types(self) -> set[str]:
        """The record types that are asked."""
        return {self.lines.type} if self.lines is not None else {asked.type for asked in self.queries}


class _Version(msgspec.Struct):
    """The part that chunks of every version have in common."""

    version: str


class ChunkReport(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    """Results and progress of a chunk since its last report.

    Attributes:
        results: In the blocks that a worker's children made; it has each as a msgspec.Raw.
        taken: All of the chunk is being asked by now, so that there is room for another.
        over: None while the chunk is in hand; `done`; `back`: it was not finished here, and lookups without a result
            are to be sent again; `held`: a copy came to a worker that has it in hand already; `refused`: this worker
            cannot do it, and `sentence` says why.
        unfinished: How far the lookups without a result came.
        tallies: Counts of each nameserver since the last report of this worker, whichever of the run's chunks that was
            about.
        lines: Results as JSON Lines, whose bodies travel beside the report.
    """

    chunk: _Count
    copy: _Count
    worker: Annotated[str, msgspec.Meta(max_length=256)]
    results: list[list[Result]] = []
    taken: bool = False
    over: Literal["done", "back", "held", "refused"] | None = None
    sentence: Annotated[str, msgspec.Meta(max_length=4096)] | None = None
    unfinished: list[Unfinished] = []
    tallies: Annotated[list[NameserverTally], msgspec.Meta(max_length=MOST_MERGED)] = []
    lines: list[ResultBlock] = []


_to_msgpack = msgspec.msgpack.Encoder()
_to_chunk = msgspec.msgpack.Decoder(Chunk)
_to_version = msgspec.msgpack.Decoder(_Version)
_to_report = msgspec.msgpack.Decoder(ChunkReport)


def encode_chunk(chunk: Chunk) -> str:
    """Encode a chunk as the text that is a task's one argument."""
    return pack(_to_msgpack.encode(chunk))


def pack(octets: bytes) -> str:
    """Compress a chunk: names have much in common, and the layers around it copy the text often."""
    return binascii.b2a_base64(zlib.compress(octets, 1), newline=False).decode()


def _unpack(text: str) -> bytes:
    """Reverse `pack`. Raises ValueError for a text that is too large or was never packed."""
    try:
        inflate = zlib.decompressobj()
        octets = inflate.decompress(binascii.a2b_base64(text, strict_mode=True), MAX_OCTETS)
    except zlib.error as error:
        raise ValueError(str(error)) from None
    if not inflate.eof or inflate.unused_data:
        raise ValueError(f"it is not whole, or has more than {MAX_OCTETS:,} octets")
    return octets


def decode_chunk(given: object) -> tuple[Chunk, list[Query] | HostLines]:
    """Decode the argument of a task into its chunk, and what is to be looked up.

    Raises Refused where it is none, or cannot be asked.
    """
    if not isinstance(given, str):
        raise Refused(f"it is a {type(given).__name__}, not a text")
    if len(given) > MAX_OCTETS:
        raise Refused(f"it has {len(given):,} characters; a chunk has {MAX_OCTETS:,} at most")
    with refusing("it is no chunk"):
        octets = _unpack(given)
        version = _to_version.decode(octets).version
        if version != VERSION:
            raise Refused(
                f"it is of version {version[:64]}, and this is {VERSION}: install the same version on both sides"
            )
        chunk = _to_chunk.decode(octets)
    if (authority := chunk.policy.tls_ca) is not None:
        if PEM not in authority:
            raise Refused("it names a file")
        if len(authority) > MAX_CERTIFICATES:
            raise Refused(f"its certificates have more than {MAX_CERTIFICATES:,} characters")
    with refusing("it asks a nameserver that there cannot be"):
        for nameserver in chunk.policy.nameservers:
            nameserver.check()
    with refusing("it holds what cannot be asked"):
        for text in chunk.types:
            if codec.rdtype(text) != text:
                raise ValueError(f"{text!r} is not how {codec.rdtype(text)} is written")
        if chunk.lines is not None:
            return chunk, _lines_of(chunk.lines, also=bool(chunk.queries))
        if not chunk.queries:
            raise ValueError("it asks nothing")
        queries = [
            Query(asked.index, "", asked.name, asked.type, nameserver=asked.nameserver, subnet=asked.subnet)
            for asked in chunk.queries
        ]
        if max(query.subnet for query in queries) >= (len(chunk.policy.subnet) or 1) or any(
            query.nameserver is not None and query.nameserver >= len(chunk.policy.nameservers) for query in queries
        ):
            raise ValueError("a nameserver or subnet that the policy has not")
        questions = codec.questions(queries)
        if chunk.backend == "wire":
            # The questions that show that it can be asked are those that will be sent: no child encodes them again.
            for query, question in zip(queries, questions, strict=True):
                query.question = question
    return chunk, queries


def _lines_of(given: HostLines, *, also: bool) -> HostLines:
    """Return the lines of a chunk. Raises ValueError where one of them is not a lookup, or they are not so many."""
    if also or not 0 <= given.first < MAX_INDEX or not are_plain(given.octets, MAX_OCTETS) or given.count > MAX_QUERIES:
        raise ValueError("lines that are none, too many, or not alone")
    if given.count != given.octets.count(b"\n"):
        raise ValueError("lines that are not as many as it says")
    return given


def encode_report(report: ChunkReport) -> dict[bytes, bytes]:
    """Return the entry of the stream that holds a report; lines stand beside it, where nobody copies them."""
    bare = [msgspec.structs.replace(block, body=b"") for block in report.lines]
    entry = {b"report": _to_msgpack.encode(msgspec.structs.replace(report, lines=bare))}
    return entry | {b"lines%d" % number: block.body for number, block in enumerate(report.lines)}


def decode_report(entry: Mapping[bytes, bytes]) -> ChunkReport:
    """Decode the report that an entry of the stream holds. Raises Refused for whatever is none."""
    if (size := sum(map(len, entry.values()))) > MAX_OCTETS:
        raise Refused(f"it has {size:,} octets; a report has {MAX_OCTETS:,} at most")
    with refusing("it is no report"):
        report = _to_report.decode(entry.get(b"report", b""))
        for number, block in enumerate(report.lines):
            block.body = entry.get(b"lines%d" % number, b"")
            block.check()
        return report

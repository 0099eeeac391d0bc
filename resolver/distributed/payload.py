"""What travels over Redis: a Chunk of queries to a worker (JSON), ChunkReports to the coordinator (MessagePack).

The one thing to know before changing anything here: who can write to the Redis can write anything. Both are data only,
bounded in size, and checked on arrival; what is no Chunk or ChunkReport of this version is refused with a sentence.
Nothing that arrives names a file, a module or a command. (A Redis that lies can still have workers ask any nameserver
about any name, and a coordinator believe any answer: docs/distributed.md.)
"""

from __future__ import annotations

import binascii
import zlib
from importlib import metadata
from typing import Annotated, Literal

import msgspec

from resolver.dns import message as codec
from resolver.engines import DISTRIBUTION
from resolver.model import Query, Result
from resolver.policy import Policy
from resolver.processes.protocol import Progress

MAX_QUERIES = 5000  # lookups in a chunk
MAX_OCTETS = 8 << 20  # of a message, in either direction
try:
    VERSION = metadata.version(DISTRIBUTION)
except metadata.PackageNotFoundError:  # run from a checkout
    VERSION = "unversioned"

_Text = Annotated[str, msgspec.Meta(max_length=64)]
_Count = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]


class Refused(ValueError):
    """A message that is none of ours, or of another version; the sentence says why."""


class ChunkQuery(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A query, as far as a worker needs it: what the line said stays with the coordinator."""

    index: _Count
    name: Annotated[str, msgspec.Meta(max_length=1024)]  # each of 255 octets may be escaped as \\DDD
    type: _Text


class Chunk(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """To a worker: look these up.

    run: the run's name; number: the chunk's within it; copy: how often it had been sent before.
    policy: who is asked and how often; no nameservers: the worker's own.
    authority: the certificates (PEM) that nameservers are checked against, in place of a file's name.
    alone: the policy's limits are this chunk's share of the run's, so that no other chunk may use them too.
    oneway: wait for no reply.
    parties: processes of all workers that ask the run's nameservers at the same time.
    """

    version: _Text
    run: Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{32}\Z")]
    number: _Count
    copy: _Count
    backend: _Text
    policy: Policy
    authority: Annotated[str, msgspec.Meta(max_length=1 << 20)] | None
    alone: bool
    oneway: bool
    parties: Annotated[int, msgspec.Meta(ge=1, le=1 << 31)]
    queries: Annotated[list[ChunkQuery], msgspec.Meta(min_length=1, max_length=MAX_QUERIES)]


class _Version(msgspec.Struct):
    """What every version's chunks have in common."""

    version: str


class ChunkReport(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    """To the coordinator, of a chunk: what has been found since the last report.

    taken: all of it is being asked by now, so that there is room for another.
    over: None while the chunk is in hand; `done`; `back`: it was not finished here, and what has no result is to be
        sent again; `held`: a copy came to where it is in hand already; `refused`: this worker cannot do it, and
        `sentence` says why.
    unfinished: how far the lookups without a result came. sent, failed, reasons: of a chunk that waits for no reply.
    """

    chunk: _Count
    copy: _Count
    worker: Annotated[str, msgspec.Meta(max_length=256)]
    results: list[Result] = []
    taken: bool = False
    over: Literal["done", "back", "held", "refused"] | None = None
    sentence: Annotated[str, msgspec.Meta(max_length=4096)] | None = None
    unfinished: list[Progress] = []
    sent: _Count = 0
    failed: _Count = 0
    reasons: list[str] = []


class EncodedReport(msgspec.Struct, omit_defaults=True):
    """A ChunkReport whose results are encoded already."""

    chunk: int
    copy: int
    worker: str
    results: msgspec.Raw = msgspec.Raw(b"\x90")
    taken: bool = False
    over: str | None = None
    sentence: str | None = None
    unfinished: list[Progress] = []
    sent: int = 0
    failed: int = 0
    reasons: list[str] = []


encode_report = msgspec.msgpack.Encoder().encode
_to_json = msgspec.json.Encoder()
_of_json = msgspec.json.Decoder(Chunk)
_of_version = msgspec.json.Decoder(_Version)
_of_msgpack = msgspec.msgpack.Decoder(ChunkReport)


def encode_chunk(chunk: Chunk) -> str:
    """The text that is a task's one argument."""
    return pack(_to_json.encode(chunk))


def pack(octets: bytes) -> str:
    """A chunk's JSON as it travels: names have much in common, and what is wrapped around them copies them often."""
    return binascii.b2a_base64(zlib.compress(octets, 1), newline=False).decode()


def _unpack(text: str) -> bytes:
    """What `pack` packed. Raises ValueError for what is too large or was never packed."""
    try:
        inflate = zlib.decompressobj()
        octets = inflate.decompress(binascii.a2b_base64(text, strict_mode=True), MAX_OCTETS)
    except zlib.error as error:
        raise ValueError(str(error)) from None
    if not inflate.eof or inflate.unused_data:
        raise ValueError(f"it is not whole, or has more than {MAX_OCTETS:,} octets")
    return octets


def decode_chunk(given: object) -> tuple[Chunk, list[Query]]:
    """The chunk that a task brought, and its queries. Raises Refused for whatever is none, or cannot be asked."""
    if not isinstance(given, str):
        raise Refused(f"it is a {type(given).__name__}, not a text")
    if len(given) > MAX_OCTETS:
        raise Refused(f"it has {len(given):,} characters; a chunk has {MAX_OCTETS:,} at most")
    try:
        octets = _unpack(given)
        version = _of_version.decode(octets).version
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise Refused(f"it is no chunk ({error})") from None
    if version != VERSION:
        raise Refused(f"it is of version {version[:64]}, and this is {VERSION}: install the same version on both sides")
    try:
        chunk = _of_json.decode(octets)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise Refused(f"it is no chunk ({error})") from None
    if chunk.policy.tls_ca is not None:
        raise Refused("it names a file")
    try:
        for nameserver in chunk.policy.nameservers:
            nameserver.check()
    except ValueError as error:
        raise Refused(f"it asks a nameserver that there cannot be ({error})") from None
    try:
        for text in {asked.type for asked in chunk.queries}:
            if codec.rdtype(text) != text:
                raise ValueError(f"{text!r} is not how {codec.rdtype(text)} is written")
        queries = [Query(asked.index, "", asked.name, asked.type) for asked in chunk.queries]
        questions = codec.questions(queries)
        if chunk.backend == "wire":
            # What shows that it can be asked is what will be sent: the children need not encode it again.
            for query, question in zip(queries, questions, strict=True):
                query.question = question
    except ValueError as error:
        raise Refused(f"it holds what cannot be asked ({error})") from None
    return chunk, queries


def decode_report(octets: bytes) -> ChunkReport:
    """The report that an entry of the stream holds. Raises Refused for whatever is none."""
    if len(octets) > MAX_OCTETS:
        raise Refused(f"it has {len(octets):,} octets; a report has {MAX_OCTETS:,} at most")
    try:
        return _of_msgpack.decode(octets)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise Refused(f"it is no report ({error})") from None

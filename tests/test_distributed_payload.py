"""What travels over Redis, from whoever may have written it: it is read or refused, whatever it is."""

import base64
import hashlib
import json
import tracemalloc
import zlib
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from encoded import block_encoder
from hypothesis import given, settings
from hypothesis import strategies as st

from resolver import Policy, Query, Record, Result, Status
from resolver.blocks import HostLines, LineFormat, ResultBlock
from resolver.distributed import payload
from resolver.distributed.active_chunk import ActiveChunk
from resolver.distributed.broker import Broker
from resolver.distributed.envelope import TASK, check, wrap
from resolver.distributed.payload import (
    MAX_QUERIES,
    Chunk,
    ChunkQuery,
    ChunkReport,
    Refused,
    decode_chunk,
    decode_report,
)
from resolver.dns import message as codec
from resolver.nameserver import PEM, Nameserver
from resolver.processes.protocol import Unfinished

NAMES = st.sampled_from(["www.example", "a\\.b.example", "\\255.example", "example", "x" * 63 + ".example", ""])
COUNTS = st.integers(0, (1 << 63) - 1)


def nested(integers: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Any value that a message may hold."""
    return st.recursive(
        st.none() | st.booleans() | integers | st.floats() | st.text(max_size=20),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
        max_leaves=10,
    )


JSON = nested(st.integers())
MESSAGEPACK = nested(st.integers(-(1 << 63), (1 << 64) - 1) | st.binary(max_size=20))
POLICIES = st.builds(
    Policy,
    nameservers=st.sampled_from([(), ("192.0.2.1",), ("[2001:db8::1]:5353", "tls://192.0.2.1#dns.example")]),
    timeout=st.none() | st.floats(0.001, 1e9),
    query_timeout=st.floats(0.001, 1e9),
    tries=st.integers(1, 100),
    concurrency=st.none() | st.integers(1, 10**6),
    rate=st.none() | st.floats(0.001, 1e9),
    tls_ca=st.none() | st.text(max_size=50).map("-----BEGIN CERTIFICATE-----{}".format),
)
CHUNKS = st.builds(
    Chunk,
    version=st.just(payload.VERSION),
    run=st.text("0123456789abcdef", min_size=32, max_size=32),
    number=COUNTS,
    copy=COUNTS,
    backend=st.sampled_from(["wire", "system"]),
    policy=POLICIES,
    alone=st.booleans(),
    oneway=st.booleans(),
    parties=st.integers(1, 1 << 31),
    queries=st.lists(
        st.builds(ChunkQuery, COUNTS, NAMES.filter(bool), st.sampled_from(["A", "MX", "TYPE65280"])), min_size=1
    ),
)
RESULTS = st.builds(
    Result,
    index=st.integers(-(1 << 63), (1 << 63) - 1),
    input=st.text(),
    name=st.none() | st.text(),
    type=st.text(),
    status=st.sampled_from([*Status][:22]) | st.just(Status("RCODE77")),
    answers=st.lists(st.builds(Record, st.text(), st.text(), st.none() | COUNTS, st.text()), max_size=3),
    nameserver=st.none() | st.text(),
    transport=st.none() | st.text(),
    attempts=st.none() | COUNTS,
    elapsed=st.none() | st.floats(allow_nan=False),
    engine=st.text(),
    backend=st.text(),
    error=st.none() | st.text(),
)
REPORTS = st.builds(
    ChunkReport,
    chunk=COUNTS,
    copy=COUNTS,
    worker=st.text(max_size=20),
    results=st.lists(st.lists(RESULTS, max_size=3), max_size=2),
    taken=st.booleans(),
    over=st.sampled_from([None, "done", "back", "refused"]),
    sentence=st.none() | st.text(),
    unfinished=st.lists(st.builds(Unfinished, COUNTS, st.none() | COUNTS, st.none() | st.floats(0, 1e9)), max_size=3),
    lines=st.lists(st.lists(RESULTS, max_size=3).map(block_encoder(LineFormat("jsonl"))), max_size=2),
)
EXAMPLE = Chunk(
    version=payload.VERSION,
    run="0" * 32,
    number=1,
    copy=0,
    backend="wire",
    policy=Policy(nameservers=("192.0.2.1",)),
    alone=False,
    oneway=False,
    parties=1,
    queries=[ChunkQuery(5, "www.example", "A")],
)


@given(CHUNKS)
@settings(max_examples=30, deadline=None)
def test_a_chunk_there_and_back(chunk: Chunk) -> None:
    """What the coordinator encodes is what the worker gets; where that sends it as it is, the questions as well."""
    there, queries = decode_chunk(payload.encode_chunk(chunk))
    assert chunk == there
    assert isinstance(queries, list)
    assert [(each.index, each.name, each.type) for each in chunk.queries] == [
        (query.index, query.name, query.type) for query in queries
    ]
    questions = [codec.question(each.name, each.type) if chunk.backend == "wire" else None for each in chunk.queries]
    assert questions == [query.question for query in queries]


def test_lines_there_and_back() -> None:
    """A chunk of lines is lines to the worker too, unopened; of what is no plain line, none."""
    lines = HostLines.of(7, b"a.example\nB.example\n192.0.2.1\n", "AAAA")
    chunk = msgspec.structs.replace(EXAMPLE, queries=[], lines=lines)
    there, work = decode_chunk(payload.encode_chunk(chunk))
    assert isinstance(work, HostLines)
    assert ({"AAAA"}, range(7, 10)) == (there.types, work.indices)
    assert (lines.octets, lines.type) == (work.octets, work.type)


def test_a_full_chunk_of_the_longest_names() -> None:
    """It is taken, as lines and as queries with an escape for each octet, however long the names of a list are."""
    name = ".".join(["a" * 63] * 3 + ["b" * 61])
    full = range(MAX_QUERIES)
    lines = HostLines.of(0, f"{name}\n".encode() * len(full), "A")
    chunk = msgspec.structs.replace(EXAMPLE, queries=[], lines=lines)
    assert MAX_QUERIES == len(decode_chunk(payload.encode_chunk(chunk))[1])
    escaped = ".".join(["\\001" * 63] * 3 + ["\\001" * 61])
    asked = msgspec.structs.replace(EXAMPLE, queries=[ChunkQuery(n, f"{escaped}.", "A") for n in full])
    assert payload.MAX_OCTETS > len(msgspec.msgpack.encode(asked))


@pytest.mark.parametrize(
    "lines",
    [
        HostLines(0, b"", "A", 1),
        HostLines(0, b"a.example", "A", 1),
        HostLines(0, b"a.example\n\n", "A", 1),
        HostLines(0, b"192.0.2.0/24\n", "A", 1),
        HostLines(0, "bücher.example\n".encode(), "A", 1),
        HostLines(0, b"a.example\n", "a", 1),
        HostLines(-1, b"a.example\n", "A", 1),
        HostLines(1 << 63, b"a.example\n", "A", 1),
        HostLines(0, b"a\n" * (MAX_QUERIES + 1), "A", 1),
        HostLines.of(0, b"a\n" * (MAX_QUERIES + 1), "A"),
        HostLines(0, b"a.example\n", "A", 10**9),
        HostLines(0, b"a.example\n", "A", 5),
        HostLines(0, b"a.example\n", "A", -5),
        None,
    ],
)
def test_lines_that_are_no_lookups(lines: HostLines | None) -> None:
    """A chunk is refused whose lines are not each a lookup, which has too many, or that asks nothing."""
    with pytest.raises(Refused, match="it holds what cannot be asked"):
        decode_chunk(payload.encode_chunk(msgspec.structs.replace(EXAMPLE, queries=[], lines=lines)))
    both = payload.encode_chunk(msgspec.structs.replace(EXAMPLE, lines=HostLines(9, b"a.example\n", "A", 1)))
    with pytest.raises(Refused, match="it holds what cannot be asked"):
        decode_chunk(both)


def test_more_than_there_is_to_lines() -> None:
    """A field that lines have not is refused, as one of the chunk is."""
    lines = {"first": 0, "octets": b"a.example\n", "type": "A", "count": 1, "command": "true"}
    with pytest.raises(Refused, match="unknown field `command`"):
        decode_chunk(payload.pack(msgspec.msgpack.encode({**fields_of(EXAMPLE), "queries": [], "lines": lines})))


def test_certificates_that_are_too_long() -> None:
    """They are refused before anything reads them."""
    for more in (0, 1):
        policy = msgspec.structs.replace(EXAMPLE.policy, tls_ca=PEM.ljust(payload.MAX_CERTIFICATES + more))
        text = payload.encode_chunk(msgspec.structs.replace(EXAMPLE, policy=policy))
        assert ("refused" if more else "tuple") == becomes(decode_chunk, text)


def test_a_fault_of_ours_is_no_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is raised as it is, so that its traceback is seen."""

    def broken(*_: object) -> None:
        raise KeyError("ours")

    monkeypatch.setattr(ResultBlock, "check", broken)
    monkeypatch.setattr(codec, "questions", broken)
    with pytest.raises(KeyError):
        decode_chunk(payload.encode_chunk(EXAMPLE))
    with pytest.raises(KeyError):
        decode_report(payload.encode_report(ChunkReport(1, 0, "w", lines=[ResultBlock(lines=True)])))


def test_the_number_of_the_format() -> None:
    """It is raised with what travels: whoever changes that finds another sum here, and writes the next number to it."""
    _, structs = msgspec.json.schema_components([Chunk, ChunkReport])
    told = json.dumps({name: {**each, "description": ""} for name, each in structs.items()}, sort_keys=True)
    assert (2, "0fffc4fc4d1b") == (payload.FORMAT, hashlib.sha256(told.encode()).hexdigest()[:12])
    assert payload.VERSION.endswith("-format2")


def spoil(block: ResultBlock, **fields: object) -> ResultBlock:
    """The block with other fields."""
    return msgspec.structs.replace(block, **fields)


def test_lines_of_results_are_checked() -> None:
    """Lines that are not those of their indices, or counts that are not theirs, are refused; nothing else is read."""
    results = [Query(index, "a", "a.", "A").unanswered(Status.TIMEOUT, "x", "e", "b") for index in (5, 3)]
    page = {0: bytes([1 << 3 | 1 << 5]) + bytes(127)}
    good = block_encoder(LineFormat("jsonl"))(results)

    def report(block: ResultBlock) -> dict[bytes, bytes]:
        return payload.encode_report(ChunkReport(1, 0, "w", lines=[block]))

    assert page == good.indices
    assert [good] == decode_report(report(good)).lines
    for bad in (
        ResultBlock.of(results),
        spoil(good, indices={0: b"\x08"}),
        spoil(good, indices={**page, 1: b"\x01"}),
        spoil(good, indices={**page, -1: b"\x01"}),
        spoil(good, indices={0: page[0] + b"\x01"}),
        spoil(good, indices=[5, 3]),
        spoil(good, count=1),
        spoil(good, count=3),
        spoil(good, body=good.body + b"\x1b[2J\n"),
        spoil(good, body=good.body[:-9]),
        spoil(good, body=good.body.replace(b"\n", b"", 1)),
        spoil(good, body=good.body.replace(b'"x"', b'"\xff"')),
        spoil(good, statuses={"TIMEOUT": 3}),
        spoil(good, statuses={"TIMEOUT": 3, "NOERROR": -1}),
        spoil(good, statuses={"\x1b[2J": 2}),
        spoil(good, queries=-1),
        spoil(good, shown=-1),
        spoil(good, shown=3),
        spoil(good, tally=b"\xff"),
        spoil(good, elapsed=[(0.5, 1)]),
        spoil(good, body=good.body[:-1]),
        spoil(good, body=good.body.replace(b"\n", b"") + b"\n\n"),
        spoil(good, body=good.body.replace(b"\n", b"") + b"\n \n"),
        spoil(good, body=good.body.replace(b"\n", b"").replace(b"{", b"{\n", 1) + b"\n"),
        spoil(good, body=b""),
        ResultBlock(lines=True, body=b"\n"),
        ResultBlock(queries=-1, lines=True),
    ):
        with pytest.raises(Refused, match="it is no report"):
            decode_report(report(bad))


def test_a_block_without_a_line() -> None:
    """It is taken: it does no harm, and whoever reads it goes on."""
    empty = ResultBlock(lines=True)
    assert [empty] == decode_report(payload.encode_report(ChunkReport(1, 0, "w", lines=[empty]))).lines


@pytest.mark.parametrize(
    "made",
    [
        Nameserver("udp", "localhost", 53),
        Nameserver("udp", "192.0.2.1", 0),
        Nameserver("tls", "192.0.2.1", 853, "a..b"),
        Nameserver("https", "dns.example", 443, None, "file:///etc/passwd"),
    ],
)
def test_a_nameserver_that_there_cannot_be(made: Nameserver) -> None:
    """A chunk is refused whose nameserver no text could have named."""
    chunk = msgspec.structs.replace(EXAMPLE, policy=Policy(nameservers=(made,)))
    with pytest.raises(Refused, match="it asks a nameserver that there cannot be"):
        decode_chunk(payload.encode_chunk(chunk))


def test_an_index_that_is_twice_in_a_chunk() -> None:
    """It is asked once, and waited for once: the worker would not be done with the chunk, nor take the next in time."""
    twice = msgspec.structs.replace(
        EXAMPLE, queries=[ChunkQuery(5, "www.example", "A"), ChunkQuery(5, "other.example", "A")]
    )
    lot = ActiveChunk(*decode_chunk(payload.encode_chunk(twice)))
    assert {5} == lot.open.indices
    assert [5] == [query.index for query in lot.take(10)]
    assert not lot.waiting


@given(REPORTS)
@settings(max_examples=30, deadline=None)
def test_a_report_there_and_back(report: ChunkReport) -> None:
    """What the worker encodes, with its results as octets that were made before, is what the coordinator gets."""
    fields = {name: getattr(report, name) for name in report.__struct_fields__}
    raw = ChunkReport(**{**fields, "results": [msgspec.Raw(ResultBlock.of(each).body) for each in report.results]})
    assert report == decode_report(payload.encode_report(raw))


def fields_of(chunk: Chunk) -> dict[str, Any]:
    """The fields of a chunk, as they travel."""
    fields: dict[str, Any] = msgspec.to_builtins(chunk)
    return fields


def becomes(read: Callable[[Any], object], given: object) -> str:
    """What comes of it: the name of a type, `refused`, or how long a sentence is that nobody reads to its end."""
    try:
        return type(read(given)).__name__
    except Refused as refused:
        return "refused" if 0 < len(str(refused)) < 2000 else f"refused in {len(str(refused))} characters"


@st.composite
def spoiled(draw: st.DrawFn, of: bytes) -> bytes:
    """These octets with some of them changed, gone, or twice there."""
    octets = bytearray(of)
    for _ in range(draw(st.integers(1, 4))):
        at, to = sorted((draw(st.integers(0, len(octets))), draw(st.integers(0, len(octets)))))
        octets[at:to] = draw(st.binary(max_size=3) | st.just(bytes(octets[at:to]) * 2))
    return bytes(octets)


@given(spoiled(payload.encode_chunk(EXAMPLE).encode()) | st.binary(max_size=50))
@settings(max_examples=40, deadline=None)
def test_a_spoiled_chunk(octets: bytes) -> None:
    """It is read or refused; no other exception is raised."""
    assert becomes(decode_chunk, octets.decode("latin-1")) in ("tuple", "refused")


@given(spoiled(msgspec.msgpack.encode(EXAMPLE)) | st.binary(max_size=50))
@settings(max_examples=80, deadline=None)
def test_a_chunk_spoiled_before_it_was_packed(octets: bytes) -> None:
    """As before."""
    assert becomes(decode_chunk, payload.pack(octets)) in ("tuple", "refused")


@given(st.sampled_from(sorted(EXAMPLE.__struct_fields__)), MESSAGEPACK)
@settings(max_examples=80, deadline=None)
def test_a_chunk_with_any_other_value(field: str, value: object) -> None:
    """A field may hold anything: the chunk is read or refused."""
    packed = payload.pack(msgspec.msgpack.encode({**fields_of(EXAMPLE), field: value}))
    assert becomes(decode_chunk, packed) in ("tuple", "refused")


@given(st.sampled_from(sorted(Policy.__struct_fields__)), MESSAGEPACK)
@settings(max_examples=80, deadline=None)
def test_a_policy_with_any_other_value(field: str, value: object) -> None:
    """Whoever is to be asked how often: it is read or refused."""
    fields = fields_of(EXAMPLE)
    packed = payload.pack(msgspec.msgpack.encode({**fields, "policy": {**fields["policy"], field: value}}))
    assert becomes(decode_chunk, packed) in ("tuple", "refused")


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_a_spoiled_report(data: st.DataObject) -> None:
    """It is read or refused; no other exception is raised."""
    entry = payload.encode_report(data.draw(REPORTS))
    for name in entry:
        entry[name] = data.draw(spoiled(entry[name]) | st.binary(max_size=50) | st.just(entry[name]))
    assert becomes(decode_report, entry) in ("ChunkReport", "refused")


@given(JSON | st.dictionaries(st.sampled_from(["body", "content-type", "headers", "properties"]), JSON))
@settings(max_examples=60, deadline=None)
def test_any_message(message: object) -> None:
    """What is not a task as a coordinator sends it is refused; no other exception is raised."""
    with pytest.raises(Refused):
        check(message)


def test_an_entry_as_coordinators_write_it() -> None:
    """It is let in, and is a task message as Celery's own: whatever that has which matters has the same value."""
    entry = json.loads(wrap("text", "chunk 0"))
    check(entry)
    made = (
        Broker.parse("redis://127.0.0.1").app().amqp.create_task_message("id", TASK, ("text",), {}, argsrepr="chunk 0")
    )
    theirs = {name: value for name, value in made.headers.items() if name not in ("id", "root_id", "origin")}
    ours = {name: value for name, value in entry["headers"].items() if name in theirs}
    assert ours == {name: theirs[name] for name in ours} | {"kwargsrepr": "{}", "ignore_result": True}
    assert [["text"], {}] == json.loads(base64.b64decode(entry["body"]))[:2]


def test_an_entry_that_was_put_back() -> None:
    """What kombu puts back, since its worker died, is let in, with the two marks that it makes."""
    entry = json.loads(wrap("text", "chunk 0"))
    entry["headers"]["redelivered"] = entry["properties"]["delivery_info"]["redelivered"] = True
    check(entry)


@pytest.mark.parametrize("part", ["headers", "properties"])
def test_an_entry_with_more_than_coordinators_write(part: str) -> None:
    """It is refused, whatever it would mean to Celery or kombu."""
    entry = json.loads(wrap("text", "chunk 0"))
    entry[part]["priority"] = float("inf")
    with pytest.raises(Refused, match="unknown field `priority`"):
        check(entry)


NESTED = "[" * 200_000 + "]" * 200_000


@pytest.mark.parametrize("given", [None, 5, b"x", [], {}, "", "\ud800", NESTED, payload.pack(b"")[:-4]])
def test_what_is_no_chunk(given: object) -> None:
    """It is refused, whatever type it is of."""
    with pytest.raises(Refused):
        decode_chunk(given)


DEEP = b"\x91" * 200_000 + b"\xc0"
VERSION = b"\xa7version"


@pytest.mark.parametrize("octets", [b"", b"\xc0", b"\x90", b"\xa3\xed\xa0\x80", DEEP, b"\x81" + VERSION + DEEP])
def test_what_is_packed_and_no_chunk(octets: bytes) -> None:
    """However deep it goes."""
    with pytest.raises(Refused):
        decode_chunk(payload.pack(octets))


@pytest.mark.parametrize("size", [payload.MAX_OCTETS + 1, 1 << 27])
def test_a_little_that_becomes_much(size: int) -> None:
    """What is more than a chunk may have is not unpacked to its end: it takes no more memory than that."""
    inflate = zlib.compressobj(1)
    packed = b"".join(inflate.compress(bytes(1 << 20)) for _ in range(size >> 20)) + inflate.compress(
        bytes(size % (1 << 20))
    )
    packed += inflate.flush()
    tracemalloc.start()
    try:
        with pytest.raises(Refused, match=f"has more than {payload.MAX_OCTETS:,} octets"):
            decode_chunk(base64.b64encode(packed).decode())
        assert tracemalloc.get_traced_memory()[1] < 4 * payload.MAX_OCTETS
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("octets", [b"\xa1x" + DEEP + VERSION + b"\xa11", VERSION + b"\xa11\xa1x" + DEEP])
def test_depth_beside_the_version(octets: bytes) -> None:
    """What another version's chunk has beside its version may be of any depth."""
    with pytest.raises(Refused):
        decode_chunk(payload.pack(b"\x82" + octets))


def test_depth_in_a_report() -> None:
    """Arrays in arrays, in arrays."""
    with pytest.raises(Refused, match="it is no report"):
        decode_report(
            {b"report": b"\x84\xa5chunk\x00\xa4copy\x00\xa6worker\xa1x\xa7results" + b"\x91" * 200_000 + b"\xc0"}
        )

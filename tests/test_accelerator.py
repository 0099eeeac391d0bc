"""The C of wire/_accelerate.c against the Python below it: whatever comes, the same results and the same state.

Each of the functions may hand back what it likes; so the whole exchange is compared, with it and without it. A run by
hand of a million messages: `ACCELERATOR_EXAMPLES=50000 python -m pytest -n 0 --timeout 0 tests/test_accelerator.py`;
under AddressSanitizer and UBSan: `python tests/sanitized.py`.
"""

from __future__ import annotations

import errno
import gc
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from random import Random
from typing import Any
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resolver import Policy, Query, Result, Status
from resolver.blocks import BlockSink, LineFormat, ResultBlock
from resolver.dns import message as codec
from resolver.dns.form import query_form
from resolver.nameserver import Nameserver
from resolver.output.lines import ENCODERS
from resolver.wire import accelerator
from resolver.wire.exchange import Exchange
from resolver.wire.inflight import NOWHERE, Flow, InFlight
from resolver.wire.lines import PlainLines

pytestmark = pytest.mark.skipif(not accelerator.ACCELERATED, reason="there is no accelerator here")

LOOKUPS = 24  # of one example, and as many messages and some more
EXAMPLES = int(os.environ.get("ACCELERATOR_EXAMPLES", "50"))  # 1,200 messages
NAMES = [
    "h0.example.",
    "WWW.Example.",
    "a-b_c.d.e.f.example.",
    "x" * 63 + ".example.",
    r"\255.example.",
    "a\\.b.example.",
]
FIRST = 999.5, 1000.0  # when lookups were sent first: objects that several have, as those that went out together do
HEAD, OPT = query_form().around(edns=True)


@contextmanager
def without(*functions: str) -> Iterator[None]:
    """Leave these functions of the accelerator out."""
    twins: dict[str, Any] = {"settle": accelerator.settle_none, "launch": accelerator.launch_none}
    with ExitStack() as stack:
        for name in functions:
            stack.enter_context(mock.patch.object(accelerator, name, twins[name]))
        yield


def exchange_of(queries: list[Query], now: float) -> Exchange:
    """An exchange that has sent these queries just now."""
    policy = Policy(nameservers=["192.0.2.1"], tries=2)
    nameservers: list[Any] = [each for each in policy.nameservers if isinstance(each, Nameserver)]
    exchange = Exchange(policy, nameservers, "by hand", Random(7).randbytes)
    supply: list[list[Query] | None] = [queries, None]
    exchange.flush(now, lambda most: supply.pop(0) if most and supply else None)
    return exchange


def in_flight(exchange: Exchange) -> list[tuple[Flow, bytes, InFlight]]:
    """Where each lookup waits, in the order of the queries."""
    flows = dict.fromkeys(lookup.flow for lookup in exchange.lookups())
    found = [(flow, ident, lookup) for flow in flows for ident, lookup in flow.in_flight.items()]
    return sorted(found, key=lambda each: each[2].query.index)


def state(exchange: Exchange) -> dict[str, Any]:
    """All that a batch of replies may change."""
    server = exchange.servers[0]
    window, rounds = server.window, [server.window.round, *server.window.rounds]
    return {
        "lookups": [
            (
                ident,
                lookup.query.index,
                lookup.unread,
                lookup.tries,
                lookup.free,
                lookup.stream,
                lookup.edns,
                lookup.ended,
            )
            for _, ident, lookup in in_flight(exchange)
        ],
        "in flight": (exchange.in_flight, sorted(lookup.query.index for lookup in exchange.lookups())),
        "flows": [(flow.sent, flow.replies, flow.last_reply, flow.refused) for flow in server.flows],
        "server": (server.answered, server.failures, server.failing, server.edns),
        "window": (window.in_flight, window.rtt.srtt, window.rtt.least, window.heard, window.size),
        "rounds": [(each.sent, each.answered, each.in_flight) for each in rounds if each],
    }


# --- Messages.


def name_octets(random: Random) -> bytes:
    """A name, in one of the ways in which messages write it; some are broken."""
    labels = b"".join(
        bytes([len(label)]) + label
        for label in random.choices([b"a", b"cdn", b"Edge-1", b"x" * 63, b"sp ace"], k=random.randint(0, 3))
    )
    ends = [b"\0", b"\xc0\x0c", b"\xc0" + random.randbytes(1), b"\xff\xff", b"\x40", b""]
    return labels + random.choices(ends, [4, 8, 2, 0.2, 0.2, 0.2])[0]


def reply(random: Random, lookup: InFlight) -> bytes:
    """A reply to this lookup after its ID: mostly of the plain kind, often changed a little."""
    wanted = 28 if lookup.query.type == "AAAA" else 1
    size = 16 if wanted == 28 else 4
    body, owner, records = bytearray(lookup.question), 12, 0
    ttls = [0, 300, 2**31 - 1, 2**31, 2**32 - 1]
    for _ in range(random.choices([0, 1, 2, 5, 9], [8, 3, 2, 1, 0.3])[0]):
        target = name_octets(random)
        body += struct.pack("!HHHIH", 0xC000 | owner, 5, 1, random.choice(ttls), len(target)) + target
        owner, records = 12 + len(body) - len(target), records + 1
    for _ in range(random.choices([0, 1, 2, 5, 20], [1, 8, 4, 2, 0.5])[0]):
        kind = random.choices([wanted, 28, 1, 5, 16, 41], [30, 1, 1, 1, 1, 1])[0]
        address = random.choices([random.randbytes(size), b"\xc0" * size, b"\0" * size], [20, 2, 1])[0]
        body += struct.pack("!HHHIH", 0xC000 | owner, kind, 1, random.choice(ttls), size) + address
        records += 1
    opt = random.choices([OPT, b"", OPT[:4] + random.randbytes(7), OPT + b"\0"], [20, 5, 1, 1])[0]
    message = bytearray(struct.pack("!HHHHH", 0x8180, 1, records, 0, bool(opt))) + body + opt
    for _ in range(random.choices([0, 1, 3], [12, 4, 1])[0]):  # octets that were changed, put in, or cut off
        at = random.randrange(len(message) + 1)
        match random.randrange(4):
            case 0:
                message[at : at + 1] = random.randbytes(1)
            case 1:
                message[at : at + 1] = bytes([message[at] ^ 1 << random.randrange(8)]) if at < len(message) else b""
            case 2:
                message[at:at] = random.randbytes(random.randint(1, 4))
            case _:
                del message[at : at + random.choice([1, 2, 4, 400])]
    return bytes(message)


def batch(random: Random, exchange: Exchange) -> list[bytes]:
    """A batch of messages for what is in flight: once, twice, or under an ID of nobody."""
    messages = [ident + reply(random, lookup) for _, ident, lookup in in_flight(exchange) if random.random() < 0.95]
    return messages + random.choices([b"", b"\0", random.randbytes(2), random.randbytes(40)], k=2)


def some_queries(random: Random) -> list[Query]:
    """Queries for A and AAAA, most of them alike."""
    inputs = ["input", 'a "quote"', "back\\slash", "\x7f", "tab\t", "b\u00fccher.example", "\U0001f600", "\ud800"]
    return [
        Query(
            index,
            random.choices(inputs, [40, 1, 1, 1, 1, 1, 1, 1])[0],
            random.choices(NAMES, [8, 2, 2, 1, 1, 1])[0],
            random.choice(["A", "A", "AAAA"]),
        )
        for index in range(LOOKUPS)
    ]


# --- settle.


@settings(max_examples=EXAMPLES, deadline=None, database=None)
@given(seed=st.integers(0, 2**64 - 1))
def test_replies(seed: int) -> None:
    """Whatever comes as replies, and is mutated: the same results and the same state as without the C."""
    each: list[tuple[list[Result], dict[str, Any]]] = []
    written: list[ResultBlock] = []
    for how in ("Python", "Results", "lines"):
        random = Random(seed)
        with without("launch"):
            exchange = exchange_of(some_queries(random), 1000.0)
        for _, _, lookup in in_flight(exchange):
            lookup.edns = random.random() < 0.95
            lookup.first = random.choice(FIRST)
        flow = in_flight(exchange)[0][0]
        messages = batch(random, exchange)
        lines = PlainLines(BlockSink(LineFormat("jsonl"), written.append)) if how == "lines" else None
        with without(*["settle"] * (how == "Python")):
            exchange.receive(flow, messages, 1000.0 + random.random() / 16, lines)
            exchange.receive(flow, messages[::3], 1000.1, lines)
        if lines is not None:
            lines.write()
        results = exchange.take_results()
        for block in written:
            found = block.results()
            assert ENCODERS["jsonl"](found) == block.body
            assert [result.index for result in found] == block.indices
            assert [result.elapsed for result in found] == [each for each, times in block.elapsed for _ in range(times)]
            counted = ResultBlock.of(found, block.body)
            assert (counted.count, counted.statuses, counted.queries) == (block.count, block.statuses, block.queries)
            results += found
        each.append((sorted(results, key=lambda result: result.index), state(exchange)))
    assert each[0] == each[1]
    assert each[0] == each[2]


A_RECORD = b"\xc0\x0c\0\1\0\1\0\0\1\x2c\0\4\xc0\0\2"
PLAIN = {
    "an address": ("A", A_RECORD + b"\1", 1),
    "several": ("A", A_RECORD + b"\1" + A_RECORD + b"\2" + A_RECORD + b"\3", 3),
    "IPv6": ("AAAA", b"\xc0\x0c\0\x1c\0\1\0\0\1\x2c\0\x10\x20\1\x0d\xb8" + bytes(11) + b"\1", 1),
    "an alias": ("A", b"\xc0\x0c\0\5\0\1\0\0\0\7\0\6\3cdn\xc0\x0f\xc0\x28\0\1\0\1\0\0\0\7\0\4\1\2\3\4", 2),
}


@pytest.mark.parametrize("opt", [OPT, b""], ids=["EDNS", "no EDNS"])
@pytest.mark.parametrize("kind", PLAIN)
def test_plain_replies_are_settled(kind: str, opt: bytes) -> None:
    """What nearly every reply is comes back from nowhere: the C has done it, as Python would."""
    type_, records, count = PLAIN[kind]
    query = Query(3, "Host", "h0.example.", type_)
    exchange = exchange_of([query], 1.0)
    ((flow, ident, lookup),) = in_flight(exchange)
    header = struct.pack("!HHHHH", 0x8180, 1, count, 0, bool(opt))
    message = ident + header + lookup.question + records + opt
    status, answers, error = codec.read(message, 12 + len(lookup.question), query)
    results: list[Result] = []
    timers = exchange.timers.tries[0]
    settled = accelerator.settle([message], flow.in_flight, timers, results, 1.25, "ns", "udp", "by hand")
    expected = query.result(
        status, engine="by hand", backend="wire", answers=answers, nameserver="ns", transport="udp", attempts=1,
        elapsed=0.25, error=error,
    )  # fmt: skip
    assert ([], [(lookup.round, 0.25, 0)], 1.0, 1) == settled
    assert [expected] == results
    assert (Status.NOERROR, count, {}, {}, True) == (status, len(answers), flow.in_flight, timers, lookup.ended)


# --- launch.


def launch(
    queries: list[Query], idents: bytes, flow: dict[bytes, InFlight], timers: dict[int, InFlight]
) -> tuple[list[bytes], list[Query]]:
    """Launch queries at second 1 on a flow with this in flight."""
    where = Flow(exchange_of([], 1.0).servers[0], "udp")
    types = {"A": b"\0\1\0\1"}
    return accelerator.launch(queries, idents, where, flow, timers, NOWHERE, 1.0, True, HEAD, OPT, types)


odd = st.from_regex(r"\A[a-z.]{0,70}\.\Z") | st.text("aB.-*\\\x00é", max_size=300)


@settings(max_examples=EXAMPLES, deadline=None, database=None)
@given(names=st.lists(st.sampled_from(NAMES) | odd, min_size=1))
def test_questions(names: list[str]) -> None:
    """Each query gets the question that the codec has for it, or is handed back; what cannot be asked always is."""
    queries = [Query(index, "", name, "A") for index, name in enumerate(names)]
    idents = b"".join(struct.pack("!H", number) for number in range(len(names)))
    flow: dict[bytes, InFlight] = {}
    timers: dict[int, InFlight] = {}
    messages, others = launch(queries, idents, flow, timers)
    taken = [query for query in queries if query not in others]
    assert len(queries) == len(messages) + len(others)
    for query, message in zip(taken, messages, strict=True):
        ident, question = message[:2], codec.question(query.name, query.type)
        lookup = flow[ident]
        assert ident + HEAD + question + OPT == message
        assert InFlight(query, question, ident, lookup.flow, NOWHERE, 1.0, 1.0, True) == lookup
        assert lookup is timers[query.index]


def test_ident_in_use() -> None:
    """A query whose random ID another one has is handed back."""
    queries = [Query(index, "", "a.example.", "A") for index in range(2)]
    messages, others = launch(queries, bytes(4), {}, {})
    assert [1, queries[1:]] == [len(messages), others]


# --- receive.


sizes = st.lists(st.integers(0, 40) | st.sampled_from([1279, 1280, 1281, 4000]), max_size=40)


@settings(max_examples=EXAMPLES, deadline=None, database=None)
@given(sizes=sizes, most=st.sampled_from([0, 1, 15, 16, 17, 39, 512]), seed=st.integers(0, 2**64 - 1))
def test_datagrams(sizes: list[int], most: int, seed: int) -> None:
    """The same datagrams in the same order as one by one, those too long cut off, and the error at their end."""
    random = Random(seed)
    sent = [random.randbytes(size) for size in sizes]
    both = []
    for receive in (accelerator.receive, accelerator.receive_singly):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        with ours, theirs:
            ours.setblocking(False)
            for octets in sent:
                theirs.send(octets)
            both.append(receive(ours.fileno(), most))
    assert both[1] == both[0]
    assert [octets[: accelerator.RECEIVE] for octets in sent][:most] == both[0][0]
    assert (errno.EAGAIN if most > len(sent) else 0) == both[0][1]


def test_no_socket() -> None:
    """The error of a descriptor that is closed is returned too."""
    assert ([], errno.EBADF) == accelerator.receive(-1, 5) == accelerator.receive_singly(-1, 5)


# --- The whole.

ERRORS = int(os.environ.get("ACCELERATOR_ERRORS", "20000"))


def test_no_leak() -> None:
    """Replies that are broken, wrong arguments and IDs in use leave no object behind."""
    exchange = exchange_of(some_queries(Random(5)), 1.0)
    waiting = in_flight(exchange)
    flow = waiting[0][0]
    taken = dict(flow.in_flight)
    # Each says that it has nine records and ends after some: the C gives up what it has made of them.
    broken = [
        ident + struct.pack("!HHHHH", 0x8180, 1, 9, 0, 1) + lookup.question + records
        for _, ident, lookup in waiting
        for records in (A_RECORD + b"\1", A_RECORD + b"\1" + A_RECORD + b"\2\xc0", PLAIN["an alias"][1])
    ]
    queries = [Query(index, "", name, "A") for index, name in enumerate(("a..", "a.example.", "a", "b.example."))]
    ident = waiting[0][1]
    wrong: list[Callable[[], object]] = [
        lambda: accelerator.settle([None], taken, {}, [], 1.0, "", "", ""),
        lambda: accelerator.settle(None, taken, {}, [], 1.0, "", "", ""),
        lambda: accelerator.settle(broken, [], {}, [], 1.0, "", "", ""),
        lambda: accelerator.settle(broken, taken, {}, [], 1.0, "", "", "", "", b"", []),
        lambda: accelerator.settle(broken, taken, {}, [], 1.0, "", "", "", b"", b"", ()),
        lambda: launch(queries, b"", taken, {}),
        lambda: accelerator.receive("", ()),  # type: ignore[arg-type]
    ]

    def fail(times: int) -> None:
        for _ in range(times // (len(broken) + len(queries) + len(wrong))):
            assert (broken, [], -1.0, 0) == accelerator.settle(broken, taken, {}, [], 1.0, "", "", "")
            assert (broken, [], -1.0, 0) == accelerator.settle(broken, taken, {}, [], 1.0, "", "", "", b"", b"", [])
            assert ([], queries) == launch(queries, ident * 4, taken, {})
            for call in wrong:
                with pytest.raises((TypeError, SystemError, ValueError)):
                    call()

    fail(2000)
    gc.collect()
    total: Callable[[], int] = getattr(sys, "gettotalrefcount", int)  # of a debug build, msgspec built for it too
    before, counted = sys.getallocatedblocks(), total()
    references = [sys.getrefcount(each) for each in (None, True, Status.NOERROR, Result, InFlight)]
    fail(ERRORS)
    gc.collect()
    after = [sys.getrefcount(each) for each in (None, True, Status.NOERROR, Result, InFlight)]
    assert 100 > abs(total() - counted)
    assert 100 > abs(sys.getallocatedblocks() - before)
    assert 100 > max(abs(one - other) for one, other in zip(references, after, strict=True))


def test_pure() -> None:
    """RESOLVE_PURE=1 leaves the C out."""
    code = "from resolver.wire import accelerator as a; print(a.ACCELERATED, a.settle is a.settle_none)"
    said = [
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "RESOLVE_PURE": pure},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for pure in ("1", "0", "")
    ]
    assert ["False True\n", "True False\n", "True False\n"] == said

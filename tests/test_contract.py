"""The contract, clause by clause, on every engine and backend of the table: one result for every lookup.

`replies` asks the lab once for each of its scripts and keeps what came; most tests look at one of those results. What
needs a nameserver of its own has one in a thread (`Udp`, `Tcp`), or a lab of its own.

No test here depends on how fast the machine is: where a lookup is not to run out its first try waits 2 s, and where one
is to, queries are counted from below, for a reply that is late costs one more.
"""

import contextlib
import ipaddress
import itertools
import math
import os
import select
import socket
import socketserver
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trustme
from command import run_delay, second_look
from conftest import Ask, fresh, lacking

from resolver import Policy, Result, Run, Status, planning, stream
from resolver.batch import Batch
from resolver.engines import Pair
from resolver.input.sources import elements
from resolver.lab import Lab

FORGED = "203.0.113.66"
ANSWERS = {Status.NOERROR, Status.NODATA, Status.NXDOMAIN}

# A script of the lab that answers each query, the status that it must lead to, and how many queries that takes.
PROMPT = [
    ("www", "NOERROR", 1),
    ("slow-100", "NOERROR", 1),
    ("nx", "NXDOMAIN", 1),
    ("nodata", "NODATA", 1),
    ("empty", "NODATA", 1),
    ("servfail", "SERVFAIL", 3),
    ("servfail-1", "NOERROR", 2),
    ("servfail-2", "NOERROR", 3),
    ("servfail-3", "SERVFAIL", 3),
    ("refused", "REFUSED", 3),
    ("notimp", "NOTIMP", 4),
    ("rcode-6", "YXDOMAIN", 3),
    ("rcode-12", "RCODE12", 3),
    ("rcode-16", "BADVERS", 4),
    ("rcode-23", "BADCOOKIE", 3),
    ("rcode-4095", "RCODE4095", 3),
    ("emptyfail", "SERVFAIL", 3),
    ("noquestion", "SERVFAIL", 3),
    ("noopt", "NOERROR", 1),
    ("options", "NOERROR", 1),
    ("dup", "NOERROR", 1),
    ("spoof", "NOERROR", 1),
    ("otherport", "NOERROR", 1),
    ("echo", "NOERROR", 1),
    ("bare", "NOERROR", 1),
    ("case", "NOERROR", 1),
    ("garbage", "NOERROR", 1),
    ("badrdata", "NOERROR", 1),
    ("trailing", "NOERROR", 1),
    ("truncated", "NOERROR", 2),
    ("partial", "NOERROR", 2),
    ("big-200", "NOERROR", 2),
    ("multi-20", "NOERROR", 1),
    ("cname-1", "NOERROR", 1),
    ("cname-9", "NOERROR", 1),
    ("cname-nx", "NXDOMAIN", 1),
    ("cname-nodata", "NODATA", 1),
    ("cname-open", "NODATA", 1),
    ("cname-shuffled", "NOERROR", 1),
    ("cname-binary", "NOERROR", 1),
    ("loop", "NODATA", 1),
    ("loop-self", "NODATA", 1),
    ("dname", "NOERROR", 1),
    ("referral", "NODATA", 1),
    ("upward", "NODATA", 1),
    ("foreign", "NOERROR", 1),
    ("othertype", "NOERROR", 1),
    ("otherclass", "NOERROR", 1),
    ("duprr", "NOERROR", 1),
    ("ttl-7", "NOERROR", 1),
    ("ttl-4294967295", "NOERROR", 1),
]
# The same of those for which tries run out, where the number is the least.
SILENT = [
    ("slow-500", "NOERROR", 2),
    ("hang", "TIMEOUT", 3),
    ("flaky-1", "NOERROR", 2),
    ("flaky-2", "NOERROR", 3),
    ("flaky-9", "TIMEOUT", 3),
    ("spoof-only", "TIMEOUT", 3),
    ("otherport-only", "TIMEOUT", 3),
    ("garbage-only", "TIMEOUT", 3),
    ("badptr", "TIMEOUT", 3),
    ("badcount", "TIMEOUT", 3),
    ("badlength", "TIMEOUT", 3),
]
TRIES = 1.0  # seconds: the longest try where a script must run out; the others wait 0.25 and 0.5
LONG = 8.0  # seconds: the longest where none may; the first waits 2


@pytest.fixture(scope="session")
def replies(ask: Ask) -> dict[str, Result]:
    """What became of each script, by its label."""
    found: dict[str, Result] = {}
    for outcomes, seconds in ((PROMPT, LONG), (SILENT, TRIES)):
        labels = [label for label, _, _ in outcomes]
        found.update(zip(labels, ask(map(fresh, labels), query_timeout=seconds), strict=True))
    return found


# --- What becomes of a lookup.


@pytest.mark.needs("matching")
def test_outcome(replies: dict[str, Result]) -> None:
    """Each behaviour of a nameserver leads to its one status, after as many queries as the retry rules say."""
    assert PROMPT == [(label, str(replies[label].status), replies[label].attempts) for label, _, _ in PROMPT]
    assert SILENT == [
        (label, str(replies[label].status), min(replies[label].attempts or 0, least)) for label, _, least in SILENT
    ]


def test_fields_of_an_answer(replies: dict[str, Result], pair: Pair, lab: Lab) -> None:
    """A result says what was asked, who answered how, with what, and through which engine and backend."""
    result = replies["www"]
    expected = [0, result.input + ".", "A", lab.nameserver, "udp", 1, pair.engine, pair.backend, None]
    assert expected == [
        result.index,
        result.name,
        result.type,
        result.nameserver,
        result.transport,
        result.attempts,
        result.engine,
        result.backend,
        result.error,
    ]
    [record] = result.answers
    assert [result.name, "A", 300] == [record.name, record.type, record.ttl]
    assert [record.data] == result.addresses == [str(ipaddress.IPv4Address(record.data))]
    assert 0 < (result.elapsed or 0)


def test_silence_names_nobody(replies: dict[str, Result], pair: Pair) -> None:
    """A TIMEOUT has no answers, names no nameserver or transport, lasted as long as its tries, and says so."""
    for label in ("hang", "otherport-only", "garbage-only")[: 2 if lacking(pair, "matching") else 3]:
        result = replies[label]
        assert [[], None, None] == [result.answers, result.nameserver, result.transport]
        assert result.error
        assert TRIES * 1.75 - 0.01 <= (result.elapsed or 0)


def test_a_said_no_names_who_said_it(replies: dict[str, Result], lab: Lab, pair: Pair) -> None:
    """An rcode, NXDOMAIN and NODATA come from a nameserver, which the result names; none of them has an error."""
    labels = ("servfail", "refused", "rcode-12", "nx", "nodata", *([] if lacking(pair, "matching") else ["noquestion"]))
    for result in (replies[label] for label in labels):
        assert [[], lab.nameserver, "udp", None] == [result.answers, result.nameserver, result.transport, result.error]


def test_index_follows_the_input(replies: dict[str, Result]) -> None:
    """`index` counts lookups from 0 in input order, whatever became of them."""
    assert [*range(len(PROMPT)), *range(len(SILENT))] == [result.index for result in replies.values()]


@pytest.mark.needs("matching")
def test_nothing_forged_is_believed(replies: dict[str, Result]) -> None:
    """No answer anywhere has the address of the forged records."""
    assert [] == [label for label, result in replies.items() if FORGED in result.addresses]


# --- Answers.


def chain(result: Result) -> list[tuple[str, str]]:
    """Type and data of each answer, where data that is a name beside the one asked is cut to its first label."""
    rest = "." + result.input.partition(".")[2] + "."
    return [
        (record.type, record.data.removesuffix(rest)) if record.type == "CNAME" else (record.type, "")
        for record in result.answers
    ]


CHAINS = {
    "www": [("A", "")],
    "cname-1": [("CNAME", "cname-0"), ("A", "")],
    "cname-9": [*(("CNAME", f"cname-{index}") for index in range(8, -1, -1)), ("A", "")],
    "cname-shuffled": [("CNAME", "cname-2"), ("CNAME", "cname-1"), ("CNAME", "cname-0"), ("A", "")],
    "cname-nx": [("CNAME", "nx")],
    "cname-nodata": [("CNAME", "nodata")],
    "cname-open": [("CNAME", "cname-0")],
    "cname-binary": [("CNAME", r"a\.b\032c\\d\000\255"), ("A", "")],
    "loop": [("CNAME", "loop-back"), ("CNAME", "loop")],
    "loop-self": [("CNAME", "loop-self")],
    "dname": [("CNAME", "dname.renamed.example."), ("A", "")],
    "foreign": [("A", "")],
    "othertype": [("A", "")],
    "otherclass": [("A", "")],
    "duprr": [("A", "")],
    "referral": [],
    "upward": [],
}


def test_answers_belong_to_the_question(replies: dict[str, Result], pair: Pair) -> None:
    """Answers are the chain of CNAMEs, each once, then the records at its end, and nothing foreign."""
    untold = {"cname-nx"} if lacking(pair, "details") else set()
    expected = {label: chained for label, chained in CHAINS.items() if label not in untold}
    assert expected == {label: chain(replies[label]) for label in expected}


def test_owners_follow_the_chain(replies: dict[str, Result]) -> None:
    """Each record is owned by the target of the CNAME before it, the first one by the name that was asked."""
    result = replies["cname-9"]
    targets = [record.data for record in result.answers[:-1]]
    assert [result.name, *targets] == [record.name for record in result.answers]


@pytest.mark.needs("details")
def test_a_referral_says_so(replies: dict[str, Result]) -> None:
    """A referral is NODATA with an error that says what it is; real NODATA has none."""
    for label in ("referral", "upward"):
        assert "referral" in (replies[label].error or "")
    assert None is replies["nodata"].error


def test_many_records(replies: dict[str, Result]) -> None:
    """All addresses of a name come, over UDP where they fit, and over TCP where they do not."""
    expected = [(20, "udp"), (200, "tcp")]
    assert expected == [
        (len({*replies[label].addresses}), replies[label].transport) for label in ("multi-20", "big-200")
    ]


def test_truncation_is_asked_again_over_tcp(replies: dict[str, Result]) -> None:
    """A truncated reply counts for nothing: the whole one comes over TCP, which the result says."""
    for result in (replies["truncated"], replies["partial"]):
        assert ["tcp", 1] == [result.transport, len(result.answers)]


def test_ttl(replies: dict[str, Result]) -> None:
    """A TTL is told as it is; one with the top bit set counts as 0 (RFC 2181 section 8)."""
    assert [7, 0] == [replies[label].answers[0].ttl for label in ("ttl-7", "ttl-4294967295")]


# --- Retries.


@pytest.mark.needs("attempts")
def test_formerr_is_asked_again_without_edns(ask: Ask) -> None:
    """FORMERR to a query with EDNS is followed by one without, which uses up no try; FORMERR to that does."""
    formerr, noedns = ask([fresh("formerr"), fresh("noedns")], query_timeout=1)
    assert ["FORMERR", 4, "NOERROR", 2] == [formerr.status, formerr.attempts, noedns.status, noedns.attempts]


@pytest.mark.needs("attempts")
def test_one_try_with_truncation_and_edns(ask: Ask) -> None:
    """With one try, a repeat over TCP or without EDNS still takes place."""
    run = ask([fresh("truncated"), fresh("noedns"), fresh("servfail"), fresh("flaky-1")], tries=1, query_timeout=0.5)
    expected = [("NOERROR", 2), ("NOERROR", 2), ("SERVFAIL", 1), ("TIMEOUT", 1)]
    assert expected == [(result.status, result.attempts) for result in run]


@pytest.mark.needs("details")
def test_a_broken_connection_takes_no_other_lookup_down(ask: Ask) -> None:
    """Names whose TCP connection is closed or reset end in ERROR; those that share the connection are answered."""
    good = [fresh("truncated") for _ in range(30)]
    bad = [fresh(label) for label in ("notcp", "closetcp", "resettcp", "resettcp")]
    # Tries that are longer than any of this takes: one that ran out would be silence, which outranks what failed here.
    run = ask(good + bad, query_timeout=8)
    assert {"NOERROR": 30, "ERROR": 4} == run.summary.statuses
    assert [] == [result.input for result in run if result.status == "ERROR" and not result.error]


@pytest.mark.needs("attempts")
def test_tcp_that_never_answers(ask: Ask) -> None:
    """Silence over TCP after truncation is silence: TIMEOUT after all tries."""
    [result] = ask([fresh("hangtcp")], query_timeout=0.4)
    assert ["TIMEOUT", 4] == [result.status, result.attempts]


class Udp:
    """A nameserver in a thread. `serve(query, now)` gives what is sent back, and after how many seconds."""

    def __init__(
        self, serve: Callable[[bytes, float], list[tuple[float, bytes]]], address: tuple[str, int] = ("127.0.0.1", 0)
    ) -> None:
        self._serve = serve
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        self._socket.bind(address)
        host, port = self._socket.getsockname()
        self.nameserver = f"{host}:{port}"
        self.seen: list[tuple[float, bytes, int]] = []  # when, what, from which port
        self.peak = 0  # the most queries that were waiting for their reply at once
        self._ending = False
        self._thread = threading.Thread(target=self._work, daemon=True)

    def __enter__(self) -> "Udp":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending = True
        self._thread.join()
        self._socket.close()

    def send(self, octets: bytes, port: int) -> None:
        """Send this to a port of loopback."""
        self._socket.sendto(octets, ("127.0.0.1", port))

    def _work(self) -> None:
        later: list[tuple[float, bytes, Any]] = []
        while not self._ending:
            now = time.monotonic()
            due = [each for each in later if each[0] <= now]
            later = [each for each in later if each[0] > now]
            for _, octets, peer in due:
                self._socket.sendto(octets, peer)
            wait = min((each[0] - now for each in later), default=0.05)
            while select.select([self._socket], [], [], max(0.0, min(wait, 0.05)))[0]:
                octets, peer = self._socket.recvfrom(2048)
                now, wait = time.monotonic(), 0.0
                self.seen.append((now, octets, peer[1]))
                later += [(now + delay, reply, peer) for delay, reply in self._serve(octets, now)]
                self.peak = max(self.peak, len(later))


class Tcp(socketserver.ThreadingTCPServer):
    """A nameserver over TCP that closes each connection after `most` replies."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 512

    def __init__(self, most: int) -> None:
        super().__init__(("127.0.0.1", 0), Connection)
        self.most = most
        self.connections = 0
        self.nameserver = f"tcp://127.0.0.1:{self.server_address[1]}"

    def __enter__(self) -> "Tcp":
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()


class Connection(socketserver.StreamRequestHandler):
    """One connection to a `Tcp`."""

    server: Tcp

    def handle(self) -> None:
        self.server.connections += 1
        with contextlib.suppress(OSError):
            for _ in range(self.server.most):
                size = self.rfile.read(2)
                if len(size) < 2:
                    return
                reply = positive(self.rfile.read(int.from_bytes(size)))
                self.wfile.write(len(reply).to_bytes(2) + reply)


def positive(query: bytes, rcode: int = 0) -> bytes:
    """The reply to a query for A: 192.0.2.1, or none with an error."""
    question = query[12 : query.index(b"\0", 12) + 5]
    answer = b"" if rcode else b"\xc0\x0c\0\1\0\1\0\0\1\x2c\0\4\xc0\0\2\1"
    return query[:2] + bytes((0x81, 0x80 | rcode, 0, 1, 0, not rcode, 0, 0, 0, 0)) + question + answer


def silent(query: bytes, now: float) -> list[tuple[float, bytes]]:
    """A nameserver that never answers."""
    return []


def prompt(query: bytes, now: float) -> list[tuple[float, bytes]]:
    """A nameserver that answers at once."""
    return [(0.0, positive(query))]


def failing(query: bytes, now: float) -> list[tuple[float, bytes]]:
    """A nameserver that answers SERVFAIL at once."""
    return [(0.0, positive(query, 2))]


@pytest.fixture
def closed_port() -> Iterator[str]:
    """An address where nobody listens, and nobody else will."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as unused, socket.socket() as stream:
        while True:
            # Bound over TCP and never listening; over UDP connected to itself, so that it takes from nobody else.
            stream.bind(("127.0.0.1", 0))
            port = stream.getsockname()[1]
            break
        with contextlib.suppress(OSError):
            unused.bind(("127.0.0.1", port))
            unused.connect(("127.0.0.1", port))
        yield f"127.0.0.1:{port}"


def test_waits_double(ask: Ask) -> None:
    """Each try waits half of the next, and the last one the whole query timeout: here 0.1, 0.2 and 0.4 s."""

    def look_up() -> tuple[list[float], float]:
        with Udp(silent) as server:
            [result] = ask([fresh("www")], nameservers=server.nameserver, query_timeout=0.4)
        times = [when for when, _, _ in server.seen]
        assert 3 == len(times)
        assert result.elapsed is not None
        assert 0.7 <= result.elapsed + 1e-6
        late = [later - earlier - wait for (earlier, later), wait in zip(pairwise(times), (0.1, 0.2), strict=True)]
        return late, result.elapsed

    def close(found: tuple[list[float], float]) -> bool:
        # The server may be late to note a time, either one.
        return -0.08 < min(found[0]) <= max(found[0]) < 0.08 and found[1] < 0.9

    found = second_look(look_up, close)
    assert close(found), found


def test_default_waits() -> None:
    """By default three tries wait 0.5, 1 and 2 s."""
    assert [0.5, 1.0, 2.0] == [Policy().wait(attempt) for attempt in (1, 2, 3)]


@pytest.mark.needs("attempts")
def test_tries_go_over_the_nameservers_in_turn(ask: Ask) -> None:
    """Each try of a lookup goes to the next nameserver."""
    with Udp(failing) as first, Udp(failing) as second:
        run = ask([fresh("www") for _ in range(4)], nameservers=[first.nameserver, second.nameserver], tries=4)
    assert {("SERVFAIL", 4)} == {(result.status, result.attempts) for result in run}
    for server in (first, second):
        asked = Counter(octets[12:] for _, octets, _ in server.seen)
        assert {2} == {*asked.values()}


@pytest.mark.needs("attempts")
def test_an_error_is_asked_of_the_next_nameserver(ask: Ask) -> None:
    """What the first nameserver fails to answer the second does, after two queries, and is named for it."""
    with Udp(failing) as bad, Udp(prompt) as good:
        run = ask([fresh("www") for _ in range(20)], nameservers=[bad.nameserver, good.nameserver])
    assert {("NOERROR", good.nameserver)} == {(result.status, result.nameserver) for result in run}
    assert {1, 2} >= {result.attempts for result in run}


def test_an_rcode_outranks_silence(ask: Ask) -> None:
    """After the last try SERVFAIL stands, though silence followed it, and its nameserver is named."""
    with Udp(failing) as bad, Udp(silent) as mute:
        run = ask([fresh("www") for _ in range(4)], nameservers=[bad.nameserver, mute.nameserver], query_timeout=0.4)
    assert {("SERVFAIL", bad.nameserver, "udp")} == {(each.status, each.nameserver, each.transport) for each in run}


def test_silence_outranks_a_local_failure(ask: Ask, closed_port: str) -> None:
    """With one nameserver silent and the other's port closed, the result is TIMEOUT."""
    with Udp(silent) as mute:
        run = ask([fresh("www") for _ in range(4)], nameservers=[mute.nameserver, closed_port], query_timeout=0.4)
    assert {("TIMEOUT", None)} == {(result.status, result.nameserver) for result in run}


def test_an_rcode_outranks_a_local_failure(ask: Ask, closed_port: str) -> None:
    """With one nameserver failing and the other's port closed, the result is what the first one said."""
    with Udp(failing) as bad:
        run = ask([fresh("www") for _ in range(4)], nameservers=[closed_port, bad.nameserver], query_timeout=0.4)
    assert {("SERVFAIL", bad.nameserver, None)} == {(each.status, each.nameserver, each.error) for each in run}


@pytest.mark.parametrize(
    "transport",
    [
        "udp",
        pytest.param("tcp", marks=pytest.mark.needs("streams")),
        pytest.param("tls", marks=pytest.mark.needs("tls")),
    ],
)
def test_a_closed_port_is_an_error(ask: Ask, closed_port: str, transport: str) -> None:
    """Where nobody listens, the local side fails: ERROR with a sentence, and no nameserver."""
    run = ask([fresh("www") for _ in range(20)], nameservers=f"{transport}://{closed_port}", query_timeout=2)
    assert {("ERROR", None, None, 3)} == {(r.status, r.nameserver, r.transport, r.attempts) for r in run}
    assert {f"{transport} to {closed_port} failed: connection refused"} == {result.error for result in run}
    assert run.summary.note is not None


@pytest.mark.parametrize("dead", ["silent", "closed"])
def test_a_dead_nameserver_beside_a_live_one(ask: Ask, closed_port: str, dead: str) -> None:
    """A nameserver that is down costs some lookups a try, and none its answer."""
    with Udp(silent) as mute:
        down = mute.nameserver if dead == "silent" else closed_port
        run = ask([fresh("www") for _ in range(200)], nameservers=[down, ask.lab.nameserver], query_timeout=1.2)
    assert {"NOERROR": 200} == run.summary.statuses
    assert {ask.lab.nameserver} == {result.nameserver for result in run}


@pytest.mark.needs("attempts")
def test_a_late_reply_counts(ask: Ask) -> None:
    """A reply from the first nameserver counts while the second one is being waited for."""

    def other(query: bytes, now: float) -> list[tuple[float, bytes]]:
        _, first, port = late.seen[0]
        late.send(positive(first), port)
        return []

    with Udp(silent) as late, Udp(other) as second:
        [result] = ask([fresh("www")], nameservers=[late.nameserver, second.nameserver], query_timeout=1.2, tries=2)
    assert ["NOERROR", late.nameserver, 2] == [result.status, result.nameserver, result.attempts]


def test_a_nameserver_that_falls_silent_for_a_while(ask: Ask) -> None:
    """Silence shorter than what the tries wait loses no lookup."""
    queries = itertools.count()

    def absent(query: bytes, now: float) -> list[tuple[float, bytes]]:
        return [] if 50 <= next(queries) < 100 else [(0.0, positive(query))]

    with Udp(absent) as server:
        run = ask([fresh("www") for _ in range(200)], nameservers=server.nameserver, rate=500, query_timeout=0.8)
    assert {"NOERROR": 200} == run.summary.statuses
    assert 250 <= next(queries)


def test_a_nameserver_that_dies_and_comes_back(ask: Ask) -> None:
    """What is asked while the port is closed fails or is asked again; once it is back, lookups are answered."""
    # No client's port is of this address: the nameserver's is still free when it comes back.
    host = "127.53.0.53" if sys.platform == "linux" else "127.0.0.1"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as first:
        first.bind((host, 0))
        port = first.getsockname()[1]
    with contextlib.ExitStack() as opened:
        back = threading.Timer(0.1, lambda: opened.enter_context(Udp(prompt, (host, port))))
        back.start()
        run = ask([fresh("www") for _ in range(250)], nameservers=f"{host}:{port}", rate=500, query_timeout=0.8)
        back.join()
    assert 250 == len(run)
    assert {"NOERROR"} == {result.status for result in run[-30:]}
    assert {"NOERROR", "ERROR", "TIMEOUT"} >= run.summary.statuses.keys()


# --- Trust in a reply.


@pytest.mark.needs("matching")
def test_ids_are_random_and_ports_several(ask: Ask) -> None:
    """Queries go out under many IDs and from several source ports, and no two in flight share both."""
    with Udp(prompt) as server:
        run = ask([fresh("www") for _ in range(200)], nameservers=server.nameserver)
    assert {"NOERROR": 200} == run.summary.statuses
    assert len({octets[:2] for _, octets, _ in server.seen}) > 175
    assert len({port for _, _, port in server.seen}) > 1


@pytest.mark.needs("matching")
def test_what_does_not_match_is_dropped(ask: Ask) -> None:
    """A reply that differs in one respect from what was asked is waited past."""
    respects = ["id", "name", "type", "class", "query", "opcode", "questions", "short"]

    def forge(query: bytes) -> bytes:
        reply = bytearray(positive(query, 0))
        end = query.index(b"\0", 12)
        match query[13 : 13 + query[12]].decode().lower():
            case "id":
                reply[0] ^= 1
            case "name":
                reply[13] ^= 1
            case "type":
                reply[end + 2] = 28
            case "class":
                reply[end + 4] = 3
            case "query":
                reply[2] &= 0x7F
            case "opcode":
                reply[2] |= 0x20
            case "questions":
                reply[5] = 2
            case "short":
                del reply[-3:]
        return bytes(reply)

    def serve(query: bytes, now: float) -> list[tuple[float, bytes]]:
        return [(0.0, forge(query)), (0.05, positive(query, 3))]

    with Udp(serve) as server:
        run = ask(map(fresh, respects * 3), nameservers=server.nameserver, query_timeout=LONG)
    assert [(each, "NXDOMAIN", 1) for each in respects * 3] == [
        (result.input.partition(".")[0], result.status, result.attempts) for result in run
    ]


# --- What is asked.


@pytest.mark.needs("types")
def test_several_types(ask: Ask) -> None:
    """Each host and type is one lookup, a host's types one after the other, and each has its own records."""
    types = ["A", "aaaa", "MX", "TXT", "SOA", "NS", "SRV", "CAA", "HTTPS", "TYPE65280"]
    run = ask(["one.example", "two.example"], types=types)
    asked = [each.upper() for each in types]
    assert [*enumerate(["one.example"] * 10 + ["two.example"] * 10)] == [(each.index, each.input) for each in run]
    assert asked * 2 == [result.type for result in run]
    assert asked * 2 == [result.answers[0].type for result in run]


def test_a_type_that_the_name_does_not_have(ask: Ask) -> None:
    """NODATA for a type is no obstacle to the other types of the same name."""
    run = ask([fresh("www")], types=["A", "PTR", "AAAA"])
    assert ["NOERROR", "NODATA", "NOERROR"] == [result.status for result in run]


def test_addresses_are_asked_in_reverse(ask: Ask) -> None:
    """An address is one lookup, PTR of its reverse name, whatever types are asked; IPv4-mapped ones count as IPv4."""
    run = ask(["192.0.2.7", "2001:db8::7", "::ffff:192.0.2.7", "www.example"], types=["A", "MX"])
    nibbles = ".".join("7" + "0" * 23 + "8bd01002") + ".ip6.arpa."
    names = ["7.2.0.192.in-addr.arpa.", nibbles, "7.2.0.192.in-addr.arpa.", "www.example.", "www.example."]
    assert names == [result.name for result in run]
    assert ["PTR", "PTR", "PTR", "A", "MX"] == [result.type for result in run]
    assert {"NOERROR": 5} == run.summary.statuses


def test_names_as_they_are_asked(ask: Ask) -> None:
    """U-labels become A-labels, case and a trailing dot are fine, escapes are RFC 1035's; `input` stays as written."""
    hosts = ["Bücher.example", "WWW.Example.", "_dmarc.example", r"a\.b.example", "0/25.2.0.192.in-addr.arpa"]
    run = ask(hosts)
    assert hosts == [result.input for result in run]
    names = ["xn--bcher-kva.example.", "www.example.", "_dmarc.example.", r"a\.b.example."]
    assert names == [(result.name or "").lower() for result in run][:4]
    assert {"NOERROR", "NODATA"} >= {result.status for result in run}


def test_what_can_only_be_meant_as_a_host(ask: Ask) -> None:
    """Of URLs and of hosts with a port or path the host is asked; a network is a lookup for each of its addresses."""
    hosts = ["https://www.example/a,b", "www.example:443", "[2001:db8::7]:53", "www.example/x", "192.0.2.6/31"]
    run = ask(hosts, types=["A"])
    assert [*hosts[:4], "192.0.2.6", "192.0.2.7"] == [result.input for result in run]
    nibbles = ".".join("7" + "0" * 23 + "8bd01002") + ".ip6.arpa."
    names = [
        "www.example.",
        "www.example.",
        nibbles,
        "www.example.",
        "6.2.0.192.in-addr.arpa.",
        "7.2.0.192.in-addr.arpa.",
    ]
    assert names == [result.name for result in run]
    assert {"NOERROR": 6} == run.summary.statuses


BAD = ["", "a..b", "x" * 64 + ".example", ".".join(["abcdefg"] * 32), "two words", "nul\0.x", "1,www.example", "a;b",
       "a@b.example", "192.0.2.0/33"]  # fmt: skip


def test_what_cannot_be_asked(look_up: Ask) -> None:
    """What is no name is INVALID in its place, with a sentence, and nothing is sent for it; the run goes on."""
    hosts = [host for bad in BAD for host in (bad, "localhost")]
    run = look_up(hosts)
    assert [*enumerate(hosts)] == [(each.index, each.input) for each in run]
    assert {Status.NOERROR} == {each.status for each in run[1::2]}
    assert [(Status.INVALID, None, "A", [], 0, None)] * len(BAD) == [
        (each.status, each.name, each.type, each.answers, each.attempts, each.elapsed) for each in run[::2]
    ]
    assert all(each.error for each in run[::2])


def test_duplicates_have_a_result_each(look_up: Ask) -> None:
    """A line that stands in the input several times has as many results, a host or not."""
    run = look_up(["localhost"] * 300 + ["two words", "two words"])
    assert [*range(302)] == [result.index for result in run]
    assert {"NOERROR": 300, "INVALID": 2} == run.summary.statuses


def test_nothing_to_ask(look_up: Ask) -> None:
    """No hosts: no results, and no failure."""
    run = look_up([])
    assert [[], 0, "complete"] == [list(run), run.summary.lookups, run.summary.ended]


# --- Over TCP, TLS and IPv6.


@pytest.mark.needs("streams")
def test_tcp_nameserver(ask: Ask) -> None:
    """`tcp://`: everything goes over TCP, and the result says so."""
    # One try: a connection for each lookup takes a busy machine a while.
    run = ask([fresh("www") for _ in range(100)], nameservers=f"tcp://{ask.lab.nameserver}", tries=1, query_timeout=10)
    assert {("NOERROR", "tcp", ask.lab.nameserver, 1)} == {
        (result.status, result.transport, result.nameserver, result.attempts) for result in run
    }


@pytest.mark.needs("streams")
@pytest.mark.parametrize("most", [1, 7])
def test_tcp_server_that_closes_again_and_again(ask: Ask, most: int) -> None:
    """A nameserver may close each connection after a few replies: what was left is asked on the next."""
    with Tcp(most) as server:
        run = ask([fresh("www") for _ in range(100)], nameservers=server.nameserver)
        assert {"NOERROR": 100} == run.summary.statuses
        assert math.ceil(100 / most) <= server.connections


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    """Who signs the lab's certificate."""
    return trustme.CA()


@pytest.fixture(scope="session")
def trusted(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A file with the certificate of the authority."""
    file = tmp_path_factory.mktemp("ca") / "ca.pem"
    authority.cert_pem.write_to_path(str(file))
    return str(file)


@pytest.fixture(scope="session")
def secure(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The TLS nameserver of a lab whose certificate is for dns.example and its address."""
    place: Path = tmp_path_factory.mktemp("tls")
    issued = authority.issue_cert("dns.example", "127.0.0.1")
    issued.private_key_pem.write_to_path(str(place / "key.pem"))
    for part in issued.cert_chain_pems:
        part.write_to_path(str(place / "chain.pem"), append=True)
    with Lab(tls=(place / "chain.pem", place / "key.pem")) as lab:
        assert lab.tls_nameserver is not None
        yield lab.tls_nameserver


def over_tls(ask: Ask, nameserver: str, trusted: str | None, hosts: int = 30, seconds: float = 2) -> Run:
    """So many hosts, asked of this nameserver over TLS."""
    policy = Policy(nameservers=(f"tls://{nameserver}",), tls_ca=trusted, query_timeout=seconds)
    return ask([fresh("www") for _ in range(hosts)], policy=policy)


@pytest.mark.needs("tls")
@pytest.mark.parametrize("name", ["", "#dns.example"])
def test_tls_nameserver(ask: Ask, secure: str, trusted: str, name: str) -> None:
    """`tls://`: the certificate is checked against the address, or against the name that follows the #."""
    run = over_tls(ask, secure + name, trusted, seconds=8)  # with a connection a lookup, handshakes take theirs
    assert {("NOERROR", "tls", secure, 1)} == {
        (result.status, result.transport, result.nameserver, result.attempts) for result in run
    }


@pytest.mark.needs("tls")
def test_tls_nameserver_of_another_name(ask: Ask, secure: str, trusted: str) -> None:
    """A certificate for another name is an ERROR with a sentence, and nothing is asked."""
    run = over_tls(ask, f"{secure}#other.example", trusted, 5)
    assert {("ERROR", None)} == {(result.status, result.nameserver) for result in run}
    assert [] == [result.error for result in run if "certificate" not in (result.error or "")]


@pytest.mark.needs("tls")
def test_tls_nameserver_that_nobody_vouches_for(ask: Ask, secure: str) -> None:
    """A certificate whose authority is not known is an ERROR with a sentence."""
    run = over_tls(ask, secure, None, 5)
    assert {("ERROR", None)} == {(result.status, result.nameserver) for result in run}
    assert [] == [result.error for result in run if "certificate" not in (result.error or "")]


@pytest.mark.needs("tls")
def test_tls_towards_a_port_that_speaks_plain(ask: Ask) -> None:
    """A nameserver that does not speak TLS ends in ERROR or TIMEOUT with a sentence, not in a broken run."""
    run = over_tls(ask, ask.lab.nameserver, None, 5, 0.4)
    assert {"ERROR", "TIMEOUT"} >= run.summary.statuses.keys()
    assert [] == [result for result in run if not result.error]


def test_ipv6_nameserver(ask: Ask, lab6: Lab) -> None:
    """A nameserver is asked over IPv6, and named in brackets."""
    run = ask([fresh("www"), fresh("truncated")], nameservers=lab6.nameserver)
    assert [("NOERROR", lab6.nameserver, "udp"), ("NOERROR", lab6.nameserver, "tcp")] == [
        (result.status, result.nameserver, result.transport) for result in run
    ]


# --- How a run ends early.


def timed(ask: Ask, hosts: Iterable[str], **options: Any) -> tuple[Run, float]:
    """A run, and its seconds less those that it waited for a core."""
    waited = run_delay(ask.pid)
    run = ask(hosts, **options)
    return run, run.summary.seconds - (run_delay(ask.pid) - waited)


def test_deadline(ask: Ask) -> None:
    """Against a nameserver that never answers, `timeout` ends the run within 0.2 s, with a result for each lookup."""
    with Udp(silent) as server:
        run, seconds = second_look(
            lambda: timed(ask, [fresh("www") for _ in range(3000)], nameservers=server.nameserver, timeout=0.8,
                          query_timeout=4),
            lambda timed: timed[1] < 1.0,
        )  # fmt: skip
    assert {"DEADLINE": 3000} == run.summary.statuses
    assert 0.8 <= run.summary.seconds
    assert seconds < 1.0
    assert [*range(3000)] == [result.index for result in run]
    asked = [result for result in run if result.attempts]
    assert 100 < len(asked) <= 1000
    assert [] == [r for r in run if (r.elapsed is None) is bool(r.attempts) or not r.error or r.nameserver]
    assert [] == [result for result in asked if not 0 < (result.elapsed or 0) <= run.summary.seconds]
    assert "deadline" == run.summary.ended


def test_deadline_keeps_what_is_done(ask: Ask) -> None:
    """Of 1,200 hosts of which some answer, each has one result when the run ends, and the answers are kept."""
    labels = [("www", "hang", "nx", "www")[index % 4] for index in range(1200)]
    run, seconds = second_look(
        lambda: timed(ask, map(fresh, labels), timeout=0.8, query_timeout=20, concurrency=200),
        lambda timed: timed[1] < 1.0,
    )
    assert [*range(1200)] == [result.index for result in run]
    assert 0.8 <= run.summary.seconds
    assert seconds < 1.0
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for label, result in zip(labels, run, strict=True):
        found[label][result.status] += 1
    assert {"DEADLINE"} == found["hang"].keys()
    assert {"NOERROR", "DEADLINE"} == found["www"].keys()
    assert {"NXDOMAIN", "DEADLINE"} == found["nx"].keys()
    assert [] == [result for result in run if result.status == Status.NOERROR and not result.answers]


def test_deadline_after_the_end_changes_nothing(look_up: Ask) -> None:
    """A run that is done in time is complete, and no result tells of the deadline."""
    run = look_up(["localhost"] * 100, timeout=60)
    assert [{"NOERROR": 100}, "complete", True] == [
        run.summary.statuses,
        run.summary.ended,
        run.summary.input_complete,
    ]


def test_deadline_with_no_time_at_all(ask: Ask) -> None:
    """However short the timeout, each lookup has its result; what was never asked says attempts 0."""
    run = ask([*(fresh("hang") for _ in range(50)), "two words"], timeout=1e-6)
    assert {"DEADLINE": 50, "INVALID": 1} == run.summary.statuses
    assert {(0, None), (1, True)} >= {(r.attempts, None if r.elapsed is None else True) for r in run}


@pytest.mark.needs("in-process")
def test_cancel(ask: Ask) -> None:
    """A cancelled run ends soon: what is done is kept, what is not is CANCELLED, and nothing is left out."""
    policy = Policy(nameservers=(ask.lab.nameserver,), query_timeout=20)

    def ending() -> tuple[float, set[int | None]]:
        """Seconds from then to its end, less those that it waited for a core; and how often the rest was asked."""
        hosts = [fresh(("www", "hang")[index % 2]) for index in range(100)]
        results: list[Result] = []
        source = elements(hosts, whole=True)
        with planning.plan([source], ask.pair.engine, ask.pair.backend, "A", policy) as plan:
            cancelled: list[float] = []

            def cancel() -> None:
                cancelled.append(time.monotonic() - run_delay(ask.pid))
                plan.deadline.cancel()

            timer = threading.Timer(0.3, cancel)

            def take(batch: list[Result]) -> None:
                # An engine may have to start processes first.
                results.extend(batch)
                if len(results) == 50:
                    timer.start()

            summary = Batch(plan, take).run()
            seconds = time.monotonic() - run_delay(ask.pid) - cancelled[0]
        assert {"NOERROR": 50, "CANCELLED": 50} == summary.statuses
        assert [*range(100)] == sorted(result.index for result in results)
        return seconds, {result.attempts for result in results if result.status == Status.CANCELLED}

    # Of another process that is too busy to tell it in time the number is not known.
    seconds, attempts = second_look(ending, lambda found: found[0] < 1 and found[1] == {1})
    assert seconds < 1
    assert {1} == attempts


def test_summary_adds_up(ask: Ask) -> None:
    """Lookups in are results out, and the queries that were sent are those that the nameserver saw."""
    with Udp(lambda query, now: prompt(query, now) if query[13:16] == b"www" else []) as server:
        run = ask([*(fresh("www") for _ in range(200)), *(fresh("hang") for _ in range(3)), "..", "192.0.2.1"],
                  types=["A", "AAAA"], nameservers=server.nameserver, query_timeout=0.4)  # fmt: skip
    summary = run.summary
    assert [205, 409, 409] == [summary.hosts_read, summary.lookups, summary.results_written]
    assert summary.queries_sent == len(server.seen)
    assert sum(summary.statuses.values()) == len(run) == 409


# --- How much at once.


def test_concurrency_is_a_bound(ask: Ask) -> None:
    """Never more lookups are in flight than `concurrency` says, and that many are."""

    def slow(query: bytes, now: float) -> list[tuple[float, bytes]]:
        return [(0.02, positive(query))]

    with Udp(slow) as server:
        run = ask([fresh("www") for _ in range(150)], nameservers=server.nameserver, concurrency=7,
                  query_timeout=LONG)  # fmt: skip
    assert {"NOERROR": 150} == run.summary.statuses
    assert 7 == server.peak


def test_concurrency_of_one(ask: Ask) -> None:
    """One at a time is possible."""
    run = ask([fresh("www"), fresh("flaky-1"), fresh("www")], concurrency=1, query_timeout=0.4)
    assert {"NOERROR": 3} == run.summary.statuses


def test_rate_is_a_bound(ask: Ask) -> None:
    """No more queries are sent in a second than `rate` says, tries again and TCP included."""
    hosts = [fresh(("hang", "www", "truncated")[index % 3]) for index in range(45)]
    before = ask.lab.counts().received
    run = ask(hosts, rate=300, query_timeout=0.2)
    total = ask.lab.counts().received - before
    # A reply that a busy machine brings late costs a query more; and where it comes to a connection too late, the query
    # that was meant for it is counted and never arrives.
    assert run.summary.queries_sent >= total >= 15 * 3 + 15 + 15 * 2
    assert run.summary.seconds > (total - 7) / 300 - 0.01


@pytest.fixture(scope="module")
def slow() -> Iterator[Lab]:
    """A nameserver that takes 2,000 queries a second and drops the rest."""
    with Lab(capacity=2000) as lab:
        yield lab


@pytest.fixture(scope="module")
def lossy() -> Iterator[Lab]:
    """A nameserver that one query in ten does not reach."""
    with Lab(loss=0.1, seed=1) as lab:
        yield lab


def test_a_slow_nameserver_loses_nothing(ask: Ask, slow: Lab) -> None:
    """With the default settings, a nameserver that takes 2,000 queries a second and drops the rest answers all."""
    run = ask([fresh("www") for _ in range(300)], nameservers=slow.nameserver)
    assert {"NOERROR": 300} == run.summary.statuses


def test_a_lossy_path(ask: Ask, lossy: Lab) -> None:
    """Lost datagrams cost tries: of those that lose one in ten, all but about one in a thousand are answered."""
    run = ask([fresh("www") for _ in range(300)], nameservers=lossy.nameserver, query_timeout=0.4)
    assert {Status.NOERROR, Status.TIMEOUT} >= run.summary.statuses.keys()
    assert run.summary.statuses["NOERROR"] > 290


# --- The input.


@pytest.mark.needs("in-process")
def test_input_is_read_as_it_is_used(pair: Pair, ask: Ask) -> None:
    """A generator is asked for no more hosts than fit between the ends, and a stream that is left stops reading."""
    read = 0

    def endless() -> Iterator[str]:
        nonlocal read
        while True:
            read += 1
            yield f"host{read}.example"

    options: dict[str, Any] = {"nameservers": [ask.lab.nameserver], "concurrency": 100}
    results = stream(endless(), engine=pair.engine, backend=pair.backend, **options)
    first = [next(results) for _ in range(100)]
    held = 0
    # Engines that send chunks elsewhere have fifteen thousand out for each core.
    most = 30_000 + 15_000 * (os.cpu_count() or 1) * (pair.engine == "redis")
    while held < min(read, most):
        held = read
        time.sleep(0.3)
    assert held == read
    results.close()
    assert {Status.NOERROR} == {result.status for result in first}
    assert held < most


@pytest.mark.needs("in-process")
def test_an_input_that_waits(look_up: Ask) -> None:
    """What the input has given so far is answered while it makes us wait for more, and a deadline ends that."""

    def slow() -> Iterator[str]:
        for _ in range(5):
            yield "localhost"
            time.sleep(0.05)

    run = look_up(slow())
    assert {"NOERROR": 5} == run.summary.statuses


def test_every_result_can_be_written(replies: dict[str, Result]) -> None:
    """Each result is one JSON object with the contract's keys in their order, its status one of the closed set."""
    keys = ["index", "input", "name", "type", "status", "answers", "nameserver", "transport", "attempts", "elapsed"]
    keys += ["engine", "backend", "error"]
    for result in replies.values():
        written = msgspec.json.decode(msgspec.json.encode(result))
        assert keys == list(written)
        assert [result.status] == [Status(written["status"])]
        assert (result.status in ANSWERS or result.answers == []) is True

"""Nameservers whose connections misbehave: over tcp://, over tls://, and over TCP after truncated datagrams (`udp`).

A failure belongs to the connection that it befell. The nameservers are scripted (scripted.py); what stands in the
docstring of a test is all that is wrong with one.
"""

import math
import os
import select
import socket
from collections.abc import Callable
from pathlib import Path
from subprocess import DEVNULL
from typing import Any, NamedTuple

import pytest
from command import environment, run_delay, second_look, start
from conftest import Ask, row
from plain_client import plain_client
from scripted import FATES, HOST, Counts, Scripted, Stream, Udp, names
from scripted_server import reply_to

from resolver import Policy, Query, Run, Status, resolve
from resolver.engines import pairs
from resolver.tallies import NameserverTallies
from resolver.wire.channel import Channel

TRANSPORTS = ["udp", "tcp", "tls"]
TRUNCATING = Udp(reply="truncated")
WIRE = [each for each in pairs() if each.backend == "wire"]
SHORT = 1.0  # seconds of the last try where tries must run out
TRIES = SHORT * 1.75  # what three tries take then


class Seen(NamedTuple):
    """A run, and what the nameserver saw of it."""

    run: Run
    counts: Counts
    seconds: float  # less those that asking and answering waited for a core


class Way:
    """How a scripted nameserver is asked: over `transport`."""

    def __init__(self, transport: str, secure: tuple[Path, Path]) -> None:
        self.transport = transport
        self.certificate = str(secure[0]) if transport == "tls" else None
        self.authority = str(secure[1]) if transport == "tls" else None

    def server(self, udp: Udp = TRUNCATING, **faults: Any) -> Scripted:
        """A nameserver whose connections have these faults."""
        return Scripted(udp, Stream(certificate=self.certificate, **faults))

    def policy(self, server: Scripted, **fields: Any) -> Policy:
        """What asks it."""
        return Policy(nameservers=(server.over(self.transport),), tls_ca=self.authority, **fields)

    def ask(
        self, hosts: list[str], udp: Udp = TRUNCATING, look_up: Callable[..., Run] = resolve, /, **options: Any
    ) -> Seen:
        """Ask such a nameserver for these hosts; `options` are fields of the policy or faults."""
        fields = {name: options.pop(name) for name in ("query_timeout", "tries", "timeout") if name in options}
        with self.server(udp, **options) as server:
            processes = (os.getpid(), server.pid)
            waited = run_delay(*processes)
            run = look_up(hosts, policy=self.policy(server, **fields))
            waited = run_delay(*processes) - waited
            return Seen(run, server.counts(), run.summary.seconds - waited)

    def all_answered(self, hosts: list[str], seconds: float, **options: Any) -> None:
        """Ask such a nameserver for these hosts: all are answered, in less than so many seconds."""
        good = {"NOERROR": len(hosts)}
        seen = second_look(
            lambda: self.ask(hosts, **options),
            lambda seen: seen.run.summary.statuses == good and seen.seconds < seconds,
        )
        assert good == seen.run.summary.statuses
        assert seen.seconds < seconds


@pytest.fixture(params=TRANSPORTS)
def way(request: pytest.FixtureRequest, secure: tuple[Path, Path]) -> Way:
    """Each of the three ways."""
    return Way(request.param, secure)


def in_ways(cases: dict[str, Any], everywhere: set[str]) -> pytest.MarkDecorator:
    """Each case over TCP, where rules of connections are easiest seen; some of them in the other two ways as well."""
    chosen = [(way, case) for case in cases for way in (TRANSPORTS if case in everywhere else ["tcp"])]
    return pytest.mark.parametrize(
        ("way", "case"),
        [pytest.param(way, cases[case], id=f"{way}-{case}") for way, case in chosen],
        indirect=["way"],
    )


@pytest.fixture
def tcp(secure: tuple[Path, Path]) -> Way:
    """The plain one."""
    return Way("tcp", secure)


@pytest.fixture
def truncated(secure: tuple[Path, Path]) -> Way:
    """The one that plain UDP runs come to."""
    return Way("udp", secure)


# --- (a) Connections that fall silent and stay open.


@in_ways({"1": (1,), "50": (50,), "100": (100,), "0-100": (0, 100), "3-70-1": (3, 70, 1)}, {"50", "3-70-1"})
def test_connections_that_fall_silent(way: Way, case: tuple[int, ...]) -> None:
    """Each connection answers so many queries, then reads on and says nothing: all are answered in time."""
    way.all_answered(names(300), TRIES, answers=case, query_timeout=SHORT)


@pytest.mark.parametrize("pair", WIRE, ids=row, indirect=True)
def test_connections_that_fall_silent_on_every_engine(ask: Ask, truncated: Way) -> None:
    """A run over UDP whose replies are truncated loses nothing to connections that answer 50 queries, then nothing."""
    seen = truncated.ask(names(300), TRUNCATING, ask, answers=(50,), query_timeout=SHORT)
    assert {"NOERROR": 300} == seen.run.summary.statuses


def test_a_connection_that_is_silent_is_given_no_more(tcp: Way) -> None:
    """Connections that answer 20 queries each are asked little more than that once they are known."""
    seen = tcp.ask(names(400), answers=(20,), query_timeout=SHORT)
    assert {"NOERROR": 400} == seen.run.summary.statuses
    assert seen.counts.connections >= 20
    assert seen.counts.stream <= 400 * 3


# --- (b) Connections that are closed after some queries.


CLOSED: dict[str, tuple[int, dict[str, Any], float]] = {
    "after-100": (1500, {"queries": (100,), "latency": 0.02}, 2.0),
    "after-100-and-lossy": (1500, {"queries": (100,), "latency": 0.02, "lost": 0.01}, 6.0),
    "after-1": (400, {"queries": (1,), "latency": 0.005}, 4.0),
    "after-some": (400, {"queries": (7, 1, 30), "latency": 0.005}, 4.0),
    "reset-after-20": (400, {"queries": (20,), "latency": 0.005, "reset": True}, 4.0),
}


@in_ways(CLOSED, {"after-some", "reset-after-20"})
def test_connections_that_are_closed(way: Way, case: tuple[int, dict[str, Any], float]) -> None:
    """A connection that is closed after some answers is opened anew and costs next to nothing."""
    number, faults, seconds = case
    way.all_answered(names(number), seconds, timeout=20, **faults)


def test_connections_that_are_closed_after_100_queries(tcp: Way) -> None:
    """With 20 ms to the nameserver, 3,000 lookups over connections of 100 queries take less than 2 s."""
    tcp.all_answered(names(3000), 2, queries=(100,), latency=0.02, timeout=20)


def test_what_a_connection_takes_is_learnt(tcp: Way) -> None:
    """Nameservers that close after 10 queries are not sent many times what they answer."""
    seen = tcp.ask(names(500), queries=(10,), latency=0.005, timeout=20)
    assert {"NOERROR": 500} == seen.run.summary.statuses
    assert 50 <= seen.counts.connections <= 150
    assert seen.run.summary.queries_sent <= 500 * 3


@pytest.mark.parametrize("pair", WIRE, ids=row, indirect=True)
def test_connections_that_are_closed_on_every_engine(ask: Ask, truncated: Way) -> None:
    """A run over UDP whose replies are truncated loses nothing to connections that are closed after 20 queries."""
    seen = truncated.ask(names(300), TRUNCATING, ask, queries=(20,), latency=0.005, timeout=20)
    assert {"NOERROR": 300} == seen.run.summary.statuses


# --- (c) Connections that are served slowly.


def test_connections_served_one_query_after_the_other(way: Way) -> None:
    """Queries that are served one after the other, 10 ms each, wait for their turn and not for their tries to run out.

    In three tries' time one connection serves 105 of them.
    """
    way.all_answered(names(300), 20, service=0.01, query_timeout=0.6, timeout=20)


@pytest.mark.parametrize("pair", WIRE, ids=row, indirect=True)
def test_connections_served_one_query_after_the_other_on_every_engine(ask: Ask, truncated: Way) -> None:
    """Truncated replies are fetched at the pace at which TCP is served."""
    seen = truncated.ask(names(300), TRUNCATING, ask, service=0.005, query_timeout=0.4, timeout=20)
    assert {"NOERROR": 300} == seen.run.summary.statuses


def test_a_nameserver_that_limits_its_replies(truncated: Way) -> None:
    """Beyond so many replies a second a nameserver says TC: what it says over TCP, 10 ms a query, is waited for."""
    limited = Udp(whole_a_second=40, latency=0.01)
    seen = truncated.ask(names(300), limited, service=0.01, query_timeout=0.4, timeout=20)
    assert {"NOERROR": 300} == seen.run.summary.statuses


# --- (d) Messages that are overlooked.


def test_only_the_first_message_of_a_read_is_answered(way: Way) -> None:
    """A nameserver that looks at one message of each read answers everything in the end."""
    seen = way.ask(names(200), first_of_read=True, query_timeout=SHORT, timeout=20)
    assert {"NOERROR": 200} == seen.run.summary.statuses


# --- (e) Connections that are never read.


@pytest.mark.parametrize("faults", [{"unread": True}, {"answers": (0,)}], ids=["unread", "unanswered"])
def test_connections_that_say_nothing(way: Way, faults: dict[str, Any]) -> None:
    """A nameserver that accepts and never reads, never ends its handshake or never answers is TIMEOUT in time."""

    def look() -> Seen:
        return way.ask(names(100), query_timeout=0.4, timeout=20, **faults)

    seen = second_look(look, lambda seen: seen.seconds < 0.7 + 1)
    assert {"TIMEOUT": 100} == seen.run.summary.statuses
    assert seen.seconds < 0.7 + 1


def peak(*words: str | Path) -> int:
    """The most octets of memory that `resolve WORDS` had, by which nothing was answered."""
    process = start(*words, env=environment(), stdin=DEVNULL, stdout=DEVNULL, stderr=DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert 1 == process.returncode
    return usage.ru_maxrss * 1024


def test_memory_is_bounded_where_nothing_is_read(way: Way, tmp_path: Path) -> None:
    """Six times the lookups take no more memory: not two kilobytes for each that was given up."""
    lists = [tmp_path / "few", tmp_path / "many"]
    for path, number in zip(lists, (1000, 6000), strict=True):
        path.write_text("\n".join(names(number)))
    ca = [] if way.authority is None else ["--tls-ca", way.authority]
    with way.server(unread=True) as server:
        options = ["-n", server.over(way.transport), *ca, "--tries", "1", "--query-timeout", "0.1", "-f", "jsonl"]
        few, many = (peak(path, *options) for path in lists)
    assert many < few + 5000 * 2000


# --- Replies that come while queries go out.


class Handed:
    """Source of a channel's queries: what the test puts into `waiting`."""

    ended = False
    block_sink = None

    def __init__(self, *waiting: Query) -> None:
        self.waiting = [*waiting]
        self.tallies = NameserverTallies()

    def take(self, n: int) -> list[Query]:
        taken, self.waiting[:] = self.waiting[:n], self.waiting[n:]
        return taken

    def max_wait(self) -> float:
        return math.inf


def test_nothing_waits_after_replies_that_came_while_queries_went_out() -> None:
    """Replies that are read as the next queries leave make room for more, so the engine is to ask at once for more."""
    queries = [Query(index, f"ok-{index}.example", f"ok-{index}.example.", "A") for index in range(2)]
    watched: set[int] = set()
    with socket.create_server((HOST, 0)) as listening:
        policy = Policy(nameservers=(f"tcp://{HOST}:{listening.getsockname()[1]}",), concurrency=2)
        source = Handed(queries[0])
        with Channel(source, policy, "threads", lambda fd, *_: watched.add(fd)) as channel:
            assert [] == channel.flush()
            [fd] = watched
            with listening.accept()[0] as connection:
                channel.drain(fd)
                query = connection.recv(512)[2:]
                reply = reply_to(query)
                connection.sendall(len(reply).to_bytes(2) + reply)
                select.select([fd], [], [])
                source.waiting.append(queries[1])
                assert ["ok-0.example"] == [each.input for each in channel.flush()]
                assert 0.0 == channel.timeout()


# --- (f) Everything at random.


def test_each_name_meets_its_own_fate(way: Way) -> None:
    """With one try, names that have their connection closed or get no reply take no other down."""
    hosts = names(140, "ok", "close", "ok", "reset", "broken", "ok", "silent")
    run = way.ask(hosts, by_name=True, query_timeout=3 * SHORT, tries=1, timeout=60).run
    expected = {
        "ok": Status.NOERROR,
        "close": Status.ERROR,
        "reset": Status.ERROR,
        "broken": Status.TIMEOUT,
        "silent": Status.TIMEOUT,
    }
    assert [(host, expected[host.partition("-")[0]]) for host in hosts] == [(each.input, each.status) for each in run]


@in_ways({each: each for each in ("close", "reset", "mute", "short", "broken", "silent")}, {"close", "mute"})
def test_one_bad_name_among_many(way: Way, case: str) -> None:
    """A single name that ends or silences its connection, whenever it comes, has its fate alone, and soon."""
    hosts = names(200)
    hosts[100] = f"{case}-100.example"

    def look() -> tuple[set[str], bool]:
        seen = way.ask(hosts, by_name=True, query_timeout=SHORT / 2, timeout=20)
        return {each.input for each in seen.run if each.status != Status.NOERROR}, seen.seconds < TRIES * 2

    good = ({hosts[100]}, True)
    assert good == second_look(look, lambda seen: seen == good)


def compare_with_a_plain_client(way: Way, hosts: list[str], **faults: Any) -> None:
    """Nearly as many are answered as by a client with a connection for each question, in nearly its time."""
    with way.server(**faults) as server:
        answered, plainly = plain_client(hosts, server.port, 0.5)

    def look() -> Seen:
        return way.ask(hosts, query_timeout=0.5, tries=1, timeout=15, **faults)

    seen = second_look(look, lambda seen: seen.seconds < 1.2 * plainly + 0.5)
    assert seen.run.summary.statuses.get("NOERROR", 0) > 0.9 * answered["NOERROR"]
    assert seen.seconds < 1.2 * plainly + 0.5


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_chance_at_the_pace_of_a_plain_client(transport: str, secure: tuple[Path, Path]) -> None:
    """A mix of closes, silence and broken messages by chance is met as fast as with a connection for each question."""
    compare_with_a_plain_client(Way(transport, secure), names(300), mixed=True)


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_fates_at_the_pace_of_a_plain_client(transport: str, secure: tuple[Path, Path]) -> None:
    """The same where it is the name that decides."""
    compare_with_a_plain_client(Way(transport, secure), names(300, *FATES), by_name=True)

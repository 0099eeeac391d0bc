"""The exchange alone, on a hand-driven clock, against everything that a network may do to it.

`Net` plays the network and the channel at once: it takes what the exchange sends, decides what becomes of each query,
and gives back replies, failures and closed connections at their time. Its clock moves by what `timeout` says, and by
nothing else where nothing is on its way, so that an exchange that forgets to wake up shows as a stall.
"""

import enum
import heapq
import itertools
import math
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from resolver import Policy, Query, Result, Status
from resolver.nameserver import Nameserver
from resolver.wire.exchange import SOCKETS, Exchange
from resolver.wire.inflight import Flow
from resolver.wire.retries import FREE, REPEATS

ANSWERED = {Status.NOERROR, Status.NODATA, Status.NXDOMAIN}


class Fate(enum.Enum):
    """What becomes of one query."""

    ANSWER = enum.auto()
    LATE = enum.auto()
    NXDOMAIN = enum.auto()
    LOSS = enum.auto()
    TWICE = enum.auto()
    SERVFAIL = enum.auto()
    FORMERR = enum.auto()
    NOTIMP = enum.auto()
    TRUNCATED = enum.auto()
    WRONG_ID = enum.auto()
    WRONG_NAME = enum.auto()
    GARBAGE = enum.auto()
    BARE_ERROR = enum.auto()
    FAILED = enum.auto()
    CLOSED = enum.auto()
    UNSENT = enum.auto()
    REFUSED = enum.auto()  # by the kernel, which does not send it
    UNREACHABLE = enum.auto()  # sent, and an error about it comes back


FINAL = {Fate.ANSWER, Fate.LATE, Fate.NXDOMAIN, Fate.TWICE}  # those that end a lookup
Decide = Callable[[Flow, bytes, int], tuple[Fate, float]]


def reply(query: bytes, rcode: int = 0, *, truncated: bool = False) -> bytes:
    """The reply to a query for A, with one address where there is no error."""
    end = query.index(b"\0", 12) + 5
    data = not (rcode or truncated)
    header = bytes((0x83 if truncated else 0x81, 0x80 | rcode, 0, 1, 0, data, 0, 0, 0, 0))
    return query[:2] + header + query[12:end] + b"\xc0\x0c\0\1\0\1\0\0\1\x2c\0\4\xc0\0\2\1" * data


class Net:
    """An exchange with its network. `decide(flow, query, number)` says what becomes of a query, and when."""

    def __init__(
        self,
        policy: Policy,
        decide: Decide,
        *,
        begins: float = 1000.0,
        dry: int = 0,
        seed: int = 0,
        entropy: Callable[[int], bytes] | None = None,
        sockets: int = SOCKETS,
    ) -> None:
        entropy = entropy or random.Random(seed).randbytes
        self.exchange = Exchange(policy, policy.nameservers, "by hand", entropy, sockets=sockets)
        self.policy = policy
        self.now = self.begun = begins
        self.results: list[Result] = []
        self.times: list[float] = []
        self.sends: Counter[bytes] = Counter()  # by question
        self.sent: list[tuple[float, Flow, bytes]] = []
        self.peak = 0
        self.closes: Counter[Flow] = Counter()  # connections that the other side closed
        self._closing: set[Flow] = set()  # and those about to be
        self._decide = decide
        self._dry = dry  # so many times the input has nothing just now
        self._lull = False  # it had nothing
        self._coming: list[tuple[float, int, Flow, bytes | Fate]] = []
        self._order = itertools.count()
        self._waiting: list[Query] = []

    def run(self, hosts: int) -> list[Result]:
        """Look so many hosts up; returns their results in input order."""
        self._waiting = [Query(index, f"h{index}", f"host{index}.example.", "A") for index in range(hosts)]
        for _ in range(400 * hosts + 4000):
            if self.step():
                break
        else:
            raise AssertionError(f"it does not end: {self.now - self.begun} s, {self.exchange.in_flight} in flight")
        return sorted(self.results, key=lambda result: result.index)

    def step(self) -> bool:
        """One turn of an engine's loop; says whether all is done."""
        exchange = self.exchange
        exchange.flush(self.now, self._take)
        while exchange.outbox:
            outbox = exchange.outbox.copy()
            exchange.outbox.clear()
            for flow, messages in outbox:
                self._send(flow, messages)
        self._collect()
        self.check()
        if exchange.idle:
            return True
        wait = exchange.timeout(self.now)
        if self._lull:
            wait = min(wait, 0.01)  # an engine asks again before long
        due = self._coming[0][0] if self._coming else math.inf
        assert min(wait, due - self.now) < math.inf, "nothing is on its way, and nothing will wake it"
        assert wait >= 0
        if due <= self.now + wait:
            exchange.idled += max(0.0, due - self.now)
            self.now = max(self.now, due)
            self._deliver()
        else:
            exchange.idled += wait
            self.now += wait
        return False

    def check(self) -> None:
        """What holds at any time."""
        exchange = self.exchange
        assert 0 <= exchange.in_flight <= self.policy.in_flight
        self.peak = max(self.peak, exchange.in_flight)
        for server in exchange.servers:
            assert server.window.in_flight >= 0

    def settle(self) -> None:
        """What holds in the end: nothing is left anywhere."""
        exchange = self.exchange
        assert 0 == exchange.in_flight
        assert [] == [flow for flow in self.flows if flow.in_flight]
        assert [] == exchange.lookups()
        # What was sent and never answered is presumed lost before long, and fills no window any more.
        for seconds in (0.0, 1.0, 10.0, 100.0):
            for server in exchange.servers:
                server.window.tick(self.now + seconds, exchange.idled)
        assert {0} == {server.window.in_flight for server in exchange.servers}

    @property
    def flows(self) -> set[Flow]:
        """All that were ever sent on."""
        return {flow for _, flow, _ in self.sent}

    def _take(self, n: int) -> list[Query] | None:
        assert n > 0
        self._lull = self._dry > 0
        if self._lull:
            self._dry -= 1
            return []
        if not self._waiting:
            return None
        taken, self._waiting = self._waiting[:n], self._waiting[n:]
        return taken

    def _send(self, flow: Flow, messages: list[bytes]) -> None:
        if not flow.in_flight:
            return  # it failed since these were queued
        refused = []
        failed = False
        for at, message in enumerate(messages):
            assert 0 < len(message) < 512
            assert flow.in_flight.get(message[:2]) is not None
            fate, after = self._decide(flow, message, len(self.sent))
            if fate is Fate.UNSENT and not flow.stream:
                self.exchange.unsent(flow, messages[at:])
                break
            if fate is Fate.REFUSED and not flow.stream:
                refused.append(message)
                continue
            self.sends[message[12:]] += 1
            self.sent.append((self.now, flow, message))
            if flow in self._closing:
                continue  # into a connection that nobody reads any more
            if fate is Fate.FAILED:
                failed = True
            elif fate is Fate.UNREACHABLE and not flow.stream:
                self._later(self.now + after, flow, Fate.UNREACHABLE)
            elif fate is Fate.CLOSED and flow.stream:
                self._closing.add(flow)
                self._later(self.now + 0.01, flow, Fate.CLOSED)
            else:
                for when, octets in self._replies(flow, fate, message, after):
                    self._later(self.now + when, flow, octets)
        if refused:
            self.exchange.refused(flow, refused, "operation not permitted", self.now)
        if failed:
            self.exchange.failed(flow, "the port is closed", self.now)

    def _replies(self, flow: Flow, fate: Fate, query: bytes, after: float) -> list[tuple[float, bytes]]:
        right = reply(query)
        forged = right[:-4] + b"\xcb\0\x71\x42"
        match fate:
            case Fate.TWICE:
                return [(after, right), (after, right), (2 * after, right)]
            case Fate.LATE:
                return [(after + self.policy.wait(1), right)]
            case Fate.NXDOMAIN:
                return [(after, reply(query, 3))]
            case Fate.SERVFAIL:
                return [(after, reply(query, 2))]
            case Fate.FORMERR:
                return [(after, reply(query, 1))]
            case Fate.NOTIMP:
                return [(after, reply(query, 4))]
            case Fate.TRUNCATED:
                return [(after, right if flow.stream else reply(query, truncated=True))]
            case Fate.WRONG_ID:
                return [(after, bytes((query[0] ^ 1, query[1])) + forged[2:])]
            case Fate.WRONG_NAME:
                return [(after, forged[:13] + b"x" + forged[14:])]
            case Fate.GARBAGE:
                return [(after, octets) for octets in (b"", query[:2], query[:11], right[:-3], query)]
            case Fate.BARE_ERROR:
                return [(after, query[:2] + b"\x81\x82" + bytes(8))]
            case Fate.ANSWER:
                return [(after, right)]
            case _:
                return []

    def _later(self, when: float, flow: Flow, octets: bytes | Fate) -> None:
        heapq.heappush(self._coming, (when, next(self._order), flow, octets))

    def _deliver(self) -> None:
        came: dict[Flow, list[bytes]] = {}
        while self._coming and self._coming[0][0] <= self.now:
            _, _, flow, octets = heapq.heappop(self._coming)
            if isinstance(octets, Fate):
                if flow in came:
                    self.exchange.receive(flow, came.pop(flow), self.now)
                if octets is Fate.UNREACHABLE:
                    self.exchange.unreachable(flow, "the port is closed", self.now)
                else:
                    self._closing.discard(flow)
                    self.closes[flow] += 1
                    self.exchange.closed(flow, "it closed the connection", self.now)
            else:
                came.setdefault(flow, []).append(octets)
        for flow, messages in came.items():
            self.exchange.receive(flow, messages, self.now)
        self._collect()

    def _collect(self) -> None:
        results = self.exchange.take_results()
        self.results += results
        self.times += [self.now] * len(results)


def policy(nameservers: int = 1, transport: str = "udp", **fields: Any) -> Policy:
    """A policy that asks so many nameservers."""
    asked = tuple(Nameserver(transport, f"192.0.2.{number + 1}", 53) for number in range(nameservers))
    return Policy(nameservers=asked, **fields)


def always(fate: Fate, after: float = 0.01) -> Decide:
    """The same fate for all."""
    return lambda flow, query, number: (fate, after)


# --- Whatever happens.


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_whatever_happens(data: st.DataObject) -> None:
    """Any mixture of fates: one result each, with bounded attempts, and nothing is left over."""
    choices = data.draw(st.lists(st.sampled_from(Fate), min_size=1, max_size=6), "fates")
    asked = policy(
        nameservers=data.draw(st.integers(1, 3), "nameservers"),
        transport=data.draw(st.sampled_from(["udp", "udp", "tcp"]), "transport"),
        tries=data.draw(st.integers(1, 4), "tries"),
        query_timeout=data.draw(st.sampled_from([0.1, 0.3, 1.0, 2.0]), "query timeout"),
        concurrency=data.draw(st.sampled_from([None, 1, 3, 50]), "concurrency"),
        rate=data.draw(st.sampled_from([None, None, 50.0, 1000.0]), "rate"),
    )
    chance = random.Random(data.draw(st.integers(0, 1 << 32), "seed"))
    # What stays unsent for ever is a full socket that never drains; that one waits for, it does not end.
    unsent = Counter[int]()

    def decide(flow: Flow, query: bytes, number: int) -> tuple[Fate, float]:
        fate = chance.choice(choices)
        if fate in (Fate.UNSENT, Fate.REFUSED):
            unsent[flow.server.number] += 1
            if unsent[flow.server.number] > 20 or asked.rate:
                fate = Fate.LOSS
        return fate, chance.choice([0.0, 0.001, 0.02, 0.02, 0.3, 1.5])

    hosts = data.draw(st.integers(1, 60), "hosts")
    net = Net(asked, decide, begins=data.draw(st.sampled_from([0.0, 0.1, 1e3, 123456.789])), dry=chance.randrange(3))
    results = net.run(hosts)
    net.settle()

    assert [*range(hosts)] == [result.index for result in results]
    assert net.exchange.queries_sent == sum(result.attempts or 0 for result in results)
    if not {Fate.FAILED, Fate.UNREACHABLE, Fate.REFUSED} & {*choices}:
        # A local failure is a query to whoever counts tries, though nothing went out.
        assert net.exchange.queries_sent == sum(net.sends.values())
    for result in results:
        assert result.attempts is not None
        assert 1 <= result.attempts <= asked.tries + REPEATS + FREE
        assert result.elapsed is not None
        assert result.elapsed >= 0
        assert "203.0.113.66" not in result.addresses
        if result.status is Status.NOERROR:
            assert ["192.0.2.1"] == result.addresses
        assert (result.nameserver is None) is (result.status in (Status.TIMEOUT, Status.ERROR))
        assert bool(result.error) is (result.status in (Status.TIMEOUT, Status.ERROR))
    if {*choices} <= FINAL:
        # A reply may come after the last try.
        assert {result.status for result in results} <= ANSWERED | {Status.TIMEOUT}
    if not {*choices} & (FINAL | {Fate.TRUNCATED}):
        assert not {result.status for result in results} & ANSWERED


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1 << 32), servers=st.integers(1, 3), loss=st.floats(0.05, 0.6))
def test_any_order(seed: int, servers: int, loss: float) -> None:
    """Replies in any order, some never: whoever is answered in any of its tries has that answer."""
    chance = random.Random(seed)
    answered: set[bytes] = set()

    def decide(flow: Flow, query: bytes, number: int) -> tuple[Fate, float]:
        if chance.random() < loss:
            return Fate.LOSS, 0.0
        answered.add(query[12:22])
        return Fate.ANSWER, chance.random() * 0.4

    net = Net(policy(servers, query_timeout=2), decide, seed=seed)
    results = net.run(200)
    net.settle()
    lost = [result for result in results if result.status is Status.TIMEOUT]
    assert 200 == len(results)
    assert {*range(3, 3 + REPEATS + 1)} >= {result.attempts for result in lost}
    assert {Status.NOERROR, Status.TIMEOUT} >= {result.status for result in results}
    assert len(answered) == 200 - len(lost)


@settings(max_examples=60, deadline=None)
@given(
    begins=st.floats(0, 1e6, allow_nan=False),
    timeout=st.floats(0.001, 20),
    tries=st.integers(1, 6),
    rate=st.none() | st.floats(1, 5000),
    servers=st.integers(1, 3),
)
def test_silence_ends(begins: float, timeout: float, tries: int, rate: float | None, servers: int) -> None:
    """Where nobody answers, `timeout` alone moves the clock, and every lookup ends when its tries are over."""
    asked = policy(servers, query_timeout=timeout, tries=tries, rate=rate)
    net = Net(asked, always(Fate.LOSS), begins=begins)
    results = net.run(10)
    net.settle()
    assert {(Status.TIMEOUT, tries)} == {(result.status, result.attempts) for result in results}
    if rate is None:
        expected = sum(asked.wait(attempt) for attempt in range(1, tries + 1))
        assert expected == pytest.approx(net.now - begins, abs=1e-3)


# --- One rule each.


def test_ids_are_unique_on_a_path() -> None:
    """However poor the entropy, no two lookups on a flow share an ID."""
    poor = random.Random(1)
    net = Net(
        policy(concurrency=600),
        always(Fate.LOSS),
        entropy=lambda n: bytes(poor.choice((0, poor.randrange(256))) for _ in range(n)),
    )
    net._waiting = [Query(index, "h", f"host{index}.example.", "A") for index in range(600)]
    net.step()
    sent = [(flow, message[:2]) for _, flow, message in net.sent]
    assert len({*sent}) == len(sent)


def test_each_try_leaves_from_another_flow() -> None:
    """What fails may belong to a port: no two tries at one nameserver leave from the same."""
    net = Net(policy(), always(Fate.LOSS))
    [result] = net.run(1)
    assert [3, 3] == [result.attempts, len({flow for _, flow, _ in net.sent})]


def test_a_late_reply_ends_it() -> None:
    """The reply to the first try is taken while the second one waits, and in the attempt count there are two."""
    net = Net(policy(query_timeout=2), always(Fate.LATE, 0.1))
    [result] = net.run(1)
    net.settle()
    assert [Status.NOERROR, 2, 0.6] == [result.status, result.attempts, result.elapsed]


def test_a_late_reply_of_another_nameserver_ends_it() -> None:
    """What the first nameserver says while the second is asked counts, and it is the first that is named."""

    def decide(flow: Flow, query: bytes, number: int) -> tuple[Fate, float]:
        return (Fate.ANSWER, 0.7) if flow.server.number == 0 else (Fate.LOSS, 0.0)

    net = Net(policy(2, query_timeout=2), decide)
    [result] = net.run(1)
    net.settle()
    assert [Status.NOERROR, "192.0.2.1:53", 2, 0.7] == [
        result.status,
        result.nameserver,
        result.attempts,
        result.elapsed,
    ]


@pytest.mark.parametrize(
    ("fates", "expected"),
    [
        ([Fate.SERVFAIL, Fate.LOSS, Fate.FAILED], ("SERVFAIL", "192.0.2.1:53")),
        ([Fate.FAILED, Fate.LOSS, Fate.FAILED], ("TIMEOUT", None)),
        ([Fate.FAILED, Fate.FAILED, Fate.FAILED], ("ERROR", None)),
        ([Fate.LOSS, Fate.FAILED, Fate.SERVFAIL], ("SERVFAIL", "192.0.2.3:53")),
        ([Fate.FAILED, Fate.SERVFAIL, Fate.LOSS], ("SERVFAIL", "192.0.2.2:53")),
        ([Fate.FAILED, Fate.LOSS, Fate.ANSWER], ("NOERROR", "192.0.2.3:53")),
        ([Fate.BARE_ERROR, Fate.LOSS, Fate.LOSS], ("SERVFAIL", "192.0.2.1:53")),
        ([Fate.GARBAGE, Fate.WRONG_ID, Fate.WRONG_NAME], ("TIMEOUT", None)),
    ],
)
def test_what_outranks_what(fates: list[Fate], expected: tuple[str, str | None]) -> None:
    """An rcode outranks silence, silence a local failure, whatever their order; an answer ends it."""
    net = Net(policy(3, query_timeout=1), lambda flow, query, number: (fates[flow.server.number], 0.01))
    [result] = net.run(1)
    net.settle()
    assert expected == (result.status, result.nameserver)
    assert 3 == result.attempts


def test_free_repeats_are_free() -> None:
    """A truncated reply, and FORMERR to EDNS, are each followed by one query more, with one try allowed."""
    net = Net(policy(tries=1), always(Fate.TRUNCATED))
    [result] = net.run(1)
    assert [Status.NOERROR, 2, "tcp"] == [result.status, result.attempts, result.transport]
    net = Net(policy(tries=1), lambda flow, query, number: (Fate.FORMERR if query[11] else Fate.ANSWER, 0.01))
    [result] = net.run(1)
    assert [Status.NOERROR, 2, "udp"] == [result.status, result.attempts, result.transport]
    assert [(0, 1), (0, 0)] == [(message[10], message[11]) for _, _, message in net.sent]


def test_free_repeats_end() -> None:
    """A nameserver that answers FORMERR to everything ends the lookup after its tries and one free repeat each."""
    net = Net(policy(tries=2), always(Fate.FORMERR))
    [result] = net.run(1)
    net.settle()
    assert [Status.FORMERR, 3] == [result.status, result.attempts]


@pytest.mark.parametrize("answered", [1, 3, 10])
def test_a_connection_that_closes_after_some_replies(answered: int) -> None:
    """A nameserver may close each connection after a few replies: all that it left is asked again, until all are in."""
    on: Counter[tuple[Flow, int]] = Counter()

    def decide(flow: Flow, query: bytes, number: int) -> tuple[Fate, float]:
        connection = flow, net.closes[flow]
        on[connection] += 1
        return (Fate.CLOSED if on[connection] > answered else Fate.ANSWER), 0.001

    net = Net(policy(transport="tcp"), decide)
    results = net.run(60)
    net.settle()
    assert {Status.NOERROR} == {result.status for result in results}


def test_a_closed_port_is_not_asked_at_once_again() -> None:
    """Where the port is closed, a lookup pauses between its tries: what is down is not asked in a hot loop."""
    net = Net(policy(query_timeout=2), always(Fate.FAILED))
    results = net.run(50)
    net.settle()
    assert {(Status.ERROR, 3, "the port is closed")} == {(each.status, each.attempts, each.error) for each in results}
    assert 0.4 < net.now - net.begun < 2


def test_unsent_is_not_a_query() -> None:
    """What the socket did not take counts nowhere until it goes, and goes first."""
    state = {"full": 3}

    def decide(flow: Flow, query: bytes, number: int) -> tuple[Fate, float]:
        if state["full"]:
            state["full"] -= 1
            return Fate.UNSENT, 0.0
        return Fate.ANSWER, 0.01

    net = Net(policy(), decide)
    results = net.run(20)
    net.settle()
    assert {(Status.NOERROR, 1)} == {(result.status, result.attempts) for result in results}
    assert 20 == net.exchange.queries_sent == len(net.sent)


def test_an_input_that_has_nothing_just_now() -> None:
    """No hosts for now is not the end: the exchange asks again when it is flushed again."""
    net = Net(policy(), always(Fate.ANSWER), dry=2)
    net._waiting = [Query(0, "h", "host.example.", "A")]
    net.exchange.flush(net.now, net._take)
    assert not net.exchange.idle
    net.exchange.flush(net.now, net._take)
    net.exchange.flush(net.now, net._take)
    assert 1 == net.exchange.in_flight


def test_rate_is_kept_by_tries_too() -> None:
    """In no stretch of time are more queries sent than the rate allows, whatever they are for."""
    chance = random.Random(5)
    fates = [Fate.ANSWER, Fate.LOSS, Fate.SERVFAIL, Fate.TRUNCATED, Fate.FORMERR]
    net = Net(policy(2, rate=100, query_timeout=0.5), lambda flow, query, number: (chance.choice(fates), 0.02))
    net.run(200)
    net.settle()
    times = [when for when, _, _ in net.sent]
    worst = max(
        later - first + 1 - 100 * (times[later] - times[first])
        for first in range(len(times))
        for later in range(first, len(times))
    )
    assert worst <= 3


def test_concurrency_is_kept() -> None:
    """Never more in flight than allowed, and as many as that."""
    net = Net(policy(concurrency=9), always(Fate.ANSWER, 0.05))
    net.run(100)
    assert 9 == net.peak


@pytest.mark.parametrize("sockets", [1, 8, 40])
def test_few_sockets_for_many_nameservers(sockets: int) -> None:
    """Sockets on which nothing is awaited go to those whose turn it is, so that nothing ever stands still."""
    net = Net(policy(250, concurrency=500), always(Fate.ANSWER), sockets=sockets)
    assert {Status.NOERROR} == {result.status for result in net.run(3000)}
    assert net.now - net.begun < 0.01 * 3000 / sockets + 1


def test_no_growth() -> None:
    """After many lookups with losses and renewed ports, what is kept does not grow with their number."""
    chance = random.Random(3)
    net = Net(
        policy(2, query_timeout=0.4),
        lambda flow, query, number: (Fate.LOSS if chance.random() < 0.02 else Fate.ANSWER, 0.001),
    )
    results = net.run(15_000)
    net.settle()
    assert 15_000 == len(results)
    assert 8 >= sum(len(server.flows) for server in net.exchange.servers)
    assert 64 > sum(len(server.window.rounds) for server in net.exchange.servers)
    assert 2 < len(net.flows) < 40


def test_abandoning_notes_how_far_each_came() -> None:
    """When the run ends early, each open query knows how often it was sent, and when first."""
    queries = [Query(index, "h", f"host{index}.example.", "A") for index in range(3)]
    net = Net(policy(concurrency=2, query_timeout=2), always(Fate.LOSS))
    net._waiting = queries.copy()
    for _ in range(8):
        net.step()
        if net.now - net.begun > 0.6:
            break
    net.exchange.abandon()
    assert [2, 2, 0] == [query.attempts for query in queries]
    assert [net.begun, net.begun, None] == [query.asked for query in queries]


def test_wakes_only_for_something() -> None:
    """With as much in flight as allowed, it sleeps until a try runs out, and does not wake over and over."""
    net = Net(
        policy(concurrency=40, query_timeout=2),
        lambda flow, query, number: (Fate.ANSWER if number < 300 else Fate.LOSS, 0.01),
    )
    net._waiting = [Query(index, "h", f"host{index}.example.", "A") for index in range(400)]
    turns = 0
    while not net.step():
        turns += 1
    # 300 answers in batches of 40, and three tries for each of the rest.
    assert turns < 400


@pytest.mark.parametrize(("hosts", "expected"), [(60, [20, 20, 20]), (7, [3, 3, 1]), (1, [1]), (300, [100, 100, 100])])
def test_a_short_list_goes_to_all_nameservers(hosts: int, expected: list[int]) -> None:
    """They share what there is to ask, however much each has room for."""
    net = Net(policy(3), always(Fate.ANSWER))
    net.run(hosts)
    assert expected == sorted(Counter(flow.server for _, flow, _ in net.sent).values(), reverse=True)


def test_one_by_one_goes_to_all_nameservers() -> None:
    """Where hosts come one at a time, the nameservers take turns."""
    exchange = Exchange(policy(3), policy(3).nameservers, "by hand")
    waiting: list[Query] = []
    asked: list[int] = []
    for index in range(6):
        waiting.append(Query(index, "h", f"host{index}.example.", "A"))
        exchange.flush(index / 100, lambda n: [waiting.pop()] if waiting else [])
        asked += [flow.server.number for flow, _ in exchange.outbox]
        exchange.outbox.clear()
    assert [0, 1, 2, 0, 1, 2] == asked


def test_a_reply_in_the_turn_of_its_query() -> None:
    """Reading hosts takes time: a reply that comes in the turn that took its query has taken none, and never less."""
    policy_ = policy(tries=1)
    exchange = Exchange(policy_, policy_.nameservers, "by hand", clock=lambda: 2.0)
    exchange.flush(1.0, lambda n: [Query(0, "h", "h.example.", "A")] if not exchange.outbox else [])
    ((flow, (query,)),) = exchange.outbox
    exchange.receive(flow, [reply(query)], 1.0)
    assert [("NOERROR", 0.0)] == [(result.status, result.elapsed) for result in exchange.take_results()]


def test_a_lookup_that_was_begun_after_the_end() -> None:
    """A thread that is left behind may begin a lookup when its result is made: it took no time, and never less."""
    query = Query(0, "h", "h.example.", "A", 1, asked=2.0)
    assert 0.0 == query.unanswered(Status.DEADLINE, "", "threads", "wire", now=1.0).elapsed


@pytest.mark.parametrize("rcode", [1, 4])
def test_edns_is_not_asked_again_of_who_refuses_it(rcode: int) -> None:
    """A nameserver that refuses EDNS, and answers without, is asked without from then on."""

    def decide(flow: Flow, query: bytes, number: int) -> tuple[Fate, float]:
        refusal = Fate.FORMERR if rcode == 1 else Fate.NOTIMP
        return (refusal if query[11] else Fate.ANSWER), 0.01

    net = Net(policy(concurrency=1, tries=1), decide)
    results = net.run(20)
    assert [Status.NOERROR] * 20 == [result.status for result in results]
    assert [2] + [1] * 19 == [result.attempts for result in results]

"""The window on simulated links: what it makes of a fast server, a policer, loss, silence and small buffers.

A discrete-event simulation around the exchange: no socket, no real clock, the same figures in every run. What the
engine does costs time there too (`COST` a datagram, `TURN` a turn of its loop), for it is what decides whether the
window or the program is what holds a run back. Limits that are asserted leave room; they are no measurements.
"""

import functools
import heapq
import itertools
import math
import random
from collections import Counter
from collections.abc import Callable, Iterable

import pytest

from resolver import Policy, Query, Result, Status
from resolver.congestion import TokenBucket
from resolver.congestion.rtt import INITIAL, MARGIN, RttEstimator
from resolver.congestion.window import FIRST, Window
from resolver.nameserver import Nameserver
from resolver.wire.exchange import Exchange
from resolver.wire.inflight import Flow
from resolver.wire.retries import REPEATS

COST = 3e-6  # seconds that each datagram costs the engine, out or in
TURN = 1e-6  # seconds that each turn of its loop costs
WAKE = 0.1  # seconds: an engine looks at least so often whether the run is over
TICK = 1e-3  # seconds: the steps in which poll and epoll wait
LOOPBACK, NEARBY, FAR = 1e-4, 0.02, 0.1  # seconds of round trip

Gate = Callable[[float], bool]  # does a query that arrives now get through?


class Link:
    """A nameserver and the way to it.

    `trip`: seconds of round trip. `gate`: what lets queries through. `service`: seconds that it takes for one query.
    `buffer`: how many it holds that wait for that. `stalled`: from when to when it answers nothing. `mute`: hosts that
    it never answers for. `jitter`: seconds that a reply may come sooner or later. `closed`: nobody listens on its port.
    """

    def __init__(
        self,
        trip: float,
        gate: Gate | None = None,
        *,
        service: float = 0.0,
        buffer: float = math.inf,
        stalled: tuple[float, float] = (0.0, 0.0),
        mute: Iterable[int] = (),
        jitter: float = 0.0,
        closed: bool = False,
        seed: int = 4,
    ) -> None:
        self.dropped = 0
        self.received = 0
        self.closed = closed
        self._jitter = jitter
        self._chance = random.Random(seed)
        self._trip = trip
        self._gate = gate
        self._service = service
        self._buffer = buffer
        self._stalled = stalled
        self._mute = frozenset(mute)
        self._free = 0.0

    def reply(self, now: float, host: int) -> float | None:
        """When the reply to a query sent now is back; None where there is none."""
        self.received += 1
        arrival = now + self._trip / 2
        waiting = (self._free - arrival) / self._service if self._service else 0.0
        if (self._gate and not self._gate(arrival)) or waiting > self._buffer:
            self.dropped += 1
            return None
        if host in self._mute:
            return None
        if self._stalled[0] < arrival < self._stalled[1]:
            arrival = self._stalled[1]
        self._free = max(self._free, arrival) + self._service
        late = self._chance.uniform(-self._jitter, self._jitter) if self._jitter else 0.0
        return (self._free if self._service else arrival) + self._trip / 2 + late


def bucket(rate: float, depth: float) -> Gate:
    """A policer: so many queries a second, and so many at once after a pause."""
    level, since = depth, 0.0

    def gate(now: float) -> bool:
        nonlocal level, since
        level, since = min(depth, level + (now - since) * rate), now
        if level < 1:
            return False
        level -= 1
        return True

    return gate


def by_the_second(rate: int, phase: float) -> Gate:
    """A policer that counts: so many queries in each second of the clock, and then none until the next."""
    count: Counter[int] = Counter()

    def gate(now: float) -> bool:
        second = math.floor(now + phase)
        count[second] += 1
        return count[second] <= rate

    return gate


def losing(share: float, seed: int = 3) -> Gate:
    """A path that loses that share of the queries, at random."""
    chance = random.Random(seed)
    return lambda now: chance.random() >= share


def nobody(now: float) -> bool:
    """A nameserver that is down."""
    return False


class Client:
    """One exchange on a core of its own, whose clock is the time of its next turn.

    `take`: where its queries come from. `parties`: what it was told of how many there are.
    """

    def __init__(
        self,
        links: tuple[Link, ...],
        policy: Policy,
        take: Callable[[int], list[Query] | None],
        parties: int,
        seed: int,
    ) -> None:
        self.links = links
        self.results: list[Result] = []
        self.times: list[float] = []
        self.rates: list[float] = []  # of the first link's window, as time went by
        self.widest = 0.0
        self.now = 0.0
        self.exchange = Exchange(
            policy, policy.nameservers, "simulated", random.Random(seed).randbytes, parties=parties
        )
        self._take = take
        self._coming: list[tuple[float, int, Flow, bytes | None]] = []
        self._order = itertools.count()

    @property
    def windows(self) -> list[Window]:
        """Those of the links."""
        return [server.window for server in self.exchange.servers]

    def turn(self) -> bool:
        """One turn of the engine's loop: take what came, send what may be sent. Says whether all is done."""
        exchange = self.exchange
        self._receive()
        self.now += TURN
        exchange.flush(self.now, self._take)
        outbox = exchange.outbox.copy()
        exchange.outbox.clear()
        for flow, messages in outbox:
            for message in messages:
                self.now += COST
                link = self.links[flow.server.number]
                back = link.reply(self.now, int(message[14:20]))
                if back is not None:
                    reply = None if link.closed else answer(message)
                    heapq.heappush(self._coming, (back, next(self._order), flow, reply))
        self._collect()
        self.rates.append(self.windows[0].rate)
        self.widest = max(self.widest, self.windows[0].size)
        for window in self.windows:
            assert window.in_flight >= 0
        if exchange.idle:
            return True
        wait = exchange.timeout(self.now)
        due = self._coming[0][0] if self._coming else math.inf
        until = min(due, self.now + math.ceil(wait / TICK) * TICK if wait < math.inf else math.inf)
        assert until < math.inf, "nothing is on its way, and nothing will wake it"
        until = min(until, self.now + WAKE)
        if until > self.now:
            exchange.idled += until - self.now
            self.now = until
        return False

    def _receive(self) -> None:
        came: dict[Flow, list[bytes]] = {}
        while self._coming and self._coming[0][0] <= self.now:
            _, _, flow, message = heapq.heappop(self._coming)
            if message is None:
                self.exchange.failed(flow, "connection refused", self.now)
            else:
                came.setdefault(flow, []).append(message)
        for flow, messages in came.items():
            self.now += COST * len(messages)
            self.exchange.receive(flow, messages, self.now)
        self._collect()

    def _collect(self) -> None:
        results = self.exchange.take_results()
        self.results += results
        self.times += [self.now] * len(results)


class Run:
    """What became of so many hosts, asked over these links: by one exchange with the default policy, or by several.

    `clients`: exchanges that know nothing of each other. `parties`: how many each believes that there are.
    """

    def __init__(
        self,
        hosts: int,
        *links: Link,
        unlimited: bool = False,
        clients: int = 1,
        parties: int | None = None,
        query_timeout: float = 2.0,
        seed: int = 1,
    ) -> None:
        self.links = links
        policy = Policy(
            nameservers=tuple(Nameserver("udp", f"192.0.2.{n + 1}", 53) for n in range(len(links))),
            query_timeout=query_timeout,
        )
        self._queries = [Query(index, "", f"h{index:06d}.example.", "A") for index in range(hosts)][::-1]
        self.clients = [
            Client(links, policy, self._take, parties or clients, 1000 * seed + number) for number in range(clients)
        ]
        if unlimited:
            for client in self.clients:
                for server in client.exchange.servers:
                    server.window = Unlimited(policy.in_flight, 4.0)
        chance = random.Random(seed)
        for client in self.clients[1:]:  # they are not ready at the same time
            client.now = chance.random() * 0.3
        active = self.clients[:]
        while active:
            client = min(active, key=lambda each: each.now)
            if client.turn():
                active.remove(client)
            assert client.now < 1000, f"{len(client.results)} results after {client.now} s"
        self.results = [result for client in self.clients for result in client.results]
        self.times = sorted(when for client in self.clients for when in client.times)
        self.rates = [rate for client in self.clients for rate in client.rates]
        self.widest = max(client.widest for client in self.clients)
        self.windows = [window for client in self.clients for window in client.windows]
        self.queries_sent = sum(client.exchange.queries_sent for client in self.clients)
        self.seconds = max(client.now for client in self.clients)
        self.statuses = Counter(result.status for result in self.results)
        assert [*range(hosts)] == sorted(result.index for result in self.results)

    def answered_until(self, seconds: float) -> int:
        """How many results there were by then."""
        return sum(when <= seconds for when in self.times)

    def _take(self, n: int) -> list[Query] | None:
        if not self._queries:
            return None
        taken = self._queries[-n:][::-1]
        del self._queries[-n:]
        return taken


class Unlimited(Window):
    """No window at all: what the concurrency allows goes out."""

    def allowance(self, now: float) -> int:
        return self.limit

    def wait(self, now: float) -> float:
        return math.inf


def answer(query: bytes) -> bytes:
    """A reply with one address."""
    end = len(query) - 11
    return (
        query[:2]
        + b"\x85\x80\0\1\0\1\0\0\0\1"
        + query[12:end]
        + b"\xc0\x0c\0\1\0\1\0\0\1\x2c\0\4\xc0\0\2\1"
        + query[end:]
    )


@functools.cache
def seconds_of(hosts: int, trip: float) -> float:
    """What a run takes that nothing is in the way of."""
    return Run(hosts, Link(trip)).seconds


# --- Nothing in the way.


@pytest.mark.parametrize(
    ("trip", "hosts"), [(LOOPBACK, 10_000), (1e-3, 8_000), (5e-3, 8_000), (NEARBY, 8_000), (FAR, 6_000)]
)
def test_a_fast_server_is_not_held_back(trip: float, hosts: int) -> None:
    """Without loss nothing is slowed down: most of what the same path gives without any window."""
    run, free = Run(hosts, Link(trip)), Run(hosts, Link(trip), unlimited=True)
    assert {Status.NOERROR: hosts} == run.statuses
    assert {1} == {result.attempts for result in run.results}
    assert {math.inf} == {*run.rates}
    # The round trips in which the window opens, and a little.
    assert run.seconds < 1.3 * free.seconds + 12 * trip + 0.02


def test_the_window_opens_on_a_long_path() -> None:
    """On a path of 20 ms it grows to all that may be in flight, and on loopback it stays within a socket buffer."""
    assert 1000 == Run(6000, Link(NEARBY)).widest
    assert 270 > Run(10_000, Link(LOOPBACK)).widest


@pytest.mark.parametrize("rate", [100_000, 12_000, 5_000])
def test_a_small_socket_buffer_does_not_overflow(rate: int) -> None:
    """A server on loopback that takes its time, and whose buffer holds 270 queries, loses none."""
    link = Link(LOOPBACK, service=1 / rate, buffer=270)
    run = Run(10_000, link)
    assert [0, {Status.NOERROR: 10_000}] == [link.dropped, run.statuses]
    assert run.seconds < 1.2 * 10_000 / rate + 0.1


def test_a_small_buffer_at_the_end_of_a_long_path() -> None:
    """Where the window grows beyond what a buffer far away holds, few are lost, all are answered, and it goes on."""
    link = Link(NEARBY, service=1 / 12_000, buffer=270)
    run = Run(12_000, link)
    assert {Status.NOERROR: 12_000} == run.statuses
    assert link.dropped < 2000
    assert run.seconds < 5


# --- Policers.


@pytest.mark.parametrize("depth", [20, 2000])
@pytest.mark.parametrize("trip", [LOOPBACK, NEARBY], ids=["loopback", "nearby"])
def test_a_policer(trip: float, depth: int) -> None:
    """2,000 a second, the rest dropped: every one of 8,000 lookups is answered, in little more than their 4 s."""
    link = Link(trip, bucket(2000, depth))
    run = Run(8_000, link)
    assert {Status.NOERROR: 8_000} == run.statuses
    assert run.seconds < 5.6
    assert link.dropped < 1600


@pytest.mark.parametrize("phase", [0.3, 0.97])
@pytest.mark.parametrize("trip", [LOOPBACK, NEARBY], ids=["loopback", "nearby"])
def test_a_policer_that_counts_by_the_second(trip: float, phase: float) -> None:
    """2,000 in each second and then nothing: hardly a lookup is lost, though a burst finds the door open first."""
    link = Link(trip, by_the_second(2000, phase))
    run = Run(8_000, link)
    assert run.statuses[Status.TIMEOUT] <= 20
    assert run.seconds < 6.4
    assert link.dropped < 2600


@pytest.mark.parametrize("rate", [500, 5_000])
def test_a_policer_of_any_rate(rate: int) -> None:
    """The rate is found whatever it is, and afterwards kept to."""
    hosts = 10 * rate if rate < 2000 else 2 * rate
    run = Run(hosts, Link(LOOPBACK, bucket(rate, 50)))
    assert {Status.NOERROR: hosts} == run.statuses
    assert run.seconds < 1.4 * hosts / rate + 1
    assert 0.6 * rate < run.windows[0].rate < 1.6 * rate


# --- Loss that is nobody's fault.


@pytest.mark.parametrize("share", [0.01, 0.1])
@pytest.mark.parametrize("trip", [LOOPBACK, NEARBY], ids=["loopback", "nearby"])
def test_random_loss_is_no_reason_to_slow_down(trip: float, share: float) -> None:
    """A path that loses queries at random gives at least 60% of what it would give without a window."""
    hosts = 8_000
    run, free = Run(hosts, Link(trip, losing(share))), Run(hosts, Link(trip, losing(share)), unlimited=True)
    half = free.times[hosts // 2]
    # Since the tries of the last ones take as long as they do, and the beginning is spent on finding out.
    assert run.answered_until(0.6 + half / 0.6) > hosts // 2
    assert run.statuses[Status.TIMEOUT] < hosts * share**3 * 2 + 10


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 0.9])
def test_names_that_nobody_answers(share: float) -> None:
    """Names whose own nameservers are down do not hold up the others, nor run out in single file."""
    chance = random.Random(2)
    mute = [host for host in range(5000) if chance.random() < share]
    run = Run(5000, Link(NEARBY, mute=mute))
    assert {*mute} == {result.index for result in run.results if result.status is Status.TIMEOUT}
    assert 5000 - len(mute) == run.statuses[Status.NOERROR]
    assert run.seconds < 3.5 * math.ceil(len(mute) / 1000) + 8


def test_silence_at_the_end() -> None:
    """The last hundred names are dead: they end about when their tries are over."""
    run = Run(5000, Link(NEARBY, mute=range(4900, 5000)))
    assert {Status.NOERROR: 4900, Status.TIMEOUT: 100} == run.statuses
    assert run.seconds < 3.5 + 2.5


# --- Far away.


@pytest.mark.parametrize(
    ("trip", "query_timeout", "servers"),
    [
        *[(trip, 2.0, 1) for trip in (0.45, 0.55, 0.8, 1.0, 1.2, 2.5)],  # a first try waits half a second then,
        *[(trip, 0.3, 1) for trip in (0.0675, 0.0825, 0.1, 0.15)],  # or 0.075 s
        *[(trip, 2.0, 3) for trip in (0.55, 1.2)],
    ],
)
def test_far_is_not_lossy(trip: float, query_timeout: float, servers: int) -> None:
    """A round trip about as long as a try waits, or longer, is no loss: at most twice the time without a window."""
    links = [Link(trip) for _ in range(servers)]
    run, free = (Run(3000, *links, query_timeout=query_timeout, unlimited=which) for which in (False, True))
    assert [{Status.NOERROR: 3000}, {math.inf}] == [run.statuses, {*run.rates}]
    assert run.seconds < 2 * free.seconds


# --- Several at one nameserver.


@pytest.mark.parametrize(("clients", "seed"), [(1, 1), (2, 1), (4, 2), (8, 3)])
def test_processes_share_a_nameserver(clients: int, seed: int) -> None:
    """600 queries a second, of which 100 wait: none of 3,000 lookups is lost, however many ask; few are repeated."""
    run = Run(3000, Link(0.01, service=1 / 600, buffer=100), clients=clients, seed=seed)
    assert {Status.NOERROR: 3000} == run.statuses
    assert run.queries_sent <= 1.25 * 3000
    assert run.seconds <= 1.5 * 3000 / 600


@pytest.mark.parametrize(("clients", "seed"), [(1, 1), (4, 2)])
def test_a_path_as_people_have_it(clients: int, seed: int) -> None:
    """Three nameservers that can take less than is asked, jitter, a little loss, and a fourth that is closed."""
    links = [
        Link(0.02, losing(0.01, 10 * seed + number), service=1 / 3000, buffer=100, jitter=0.01, seed=10 * seed + number)
        for number in range(3)
    ]
    run = Run(8_000, *links, Link(0.02, closed=True), clients=clients, seed=seed)
    assert {Status.NOERROR: 8_000} == run.statuses
    assert run.queries_sent <= 1.25 * 8_000


def test_a_nameserver_that_falls_silent_is_not_congested() -> None:
    """Where loss has set a rate, and then nothing is answered at all, tries count."""
    gate = bucket(600, 100)
    run = Run(1500, Link(0.01, lambda now: now < 1 and gate(now)))
    assert {Status.NOERROR, Status.TIMEOUT} == {*run.statuses}
    attempts = Counter(result.attempts for result in run.results if result.status is Status.TIMEOUT)
    assert attempts[3] > 0.9 * attempts.total()
    assert run.seconds < 1 + 2 * 3.5 + 2


def test_a_name_that_nobody_answers_at_a_busy_nameserver() -> None:
    """Tries that our own sending may have lost are repeated, and not for ever."""
    mute = range(0, 3000, 100)
    run = Run(3000, Link(NEARBY, bucket(2000, 50), mute=mute))
    lost = [result for result in run.results if result.status is Status.TIMEOUT]
    assert {*mute} == {result.index for result in lost}
    assert {*range(3, 3 + REPEATS + 1)} >= {result.attempts for result in lost}


# --- Nameservers that are down, for a while or for good.


def test_a_dead_server() -> None:
    """10,000 lookups that nobody answers end a thousand at a time: after ten times three tries."""
    run = Run(10_000, Link(NEARBY, nobody))
    assert {Status.TIMEOUT: 10_000} == run.statuses
    assert {3} == {result.attempts for result in run.results}
    assert 35 <= run.seconds < 37


@pytest.mark.parametrize("place", [0, 1], ids=["first", "second"])
@pytest.mark.parametrize("trip", [LOOPBACK, NEARBY], ids=["loopback", "nearby"])
def test_a_dead_server_beside_a_live_one(trip: float, place: int) -> None:
    """It costs the lookups of the first moment a try, and then nothing."""
    hosts = 8_000
    alone = seconds_of(hosts, trip)
    links = [Link(trip), Link(trip)]
    links[place] = Link(trip, nobody)
    run = Run(hosts, *links)
    assert {Status.NOERROR: hosts} == run.statuses
    assert links[place].dropped < 2 * FIRST
    assert run.seconds < 1.1 * alone + 1.0


def test_two_live_servers_share() -> None:
    """Two nameservers are asked about as often as each other."""
    run = Run(8_000, Link(NEARBY), Link(NEARBY))
    names = Counter(result.nameserver for result in run.results)
    assert 2 == len(names)
    assert min(names.values()) > 3200


@pytest.mark.parametrize("trip", [LOOPBACK, NEARBY], ids=["loopback", "nearby"])
@pytest.mark.parametrize("seconds", [0.2, 0.45])
def test_a_server_that_stalls(trip: float, seconds: float) -> None:
    """A server that answers late for a moment is back at once afterwards, since nothing was lost."""
    hosts = 8_000
    smooth = seconds_of(hosts, trip)
    run = Run(hosts, Link(trip, stalled=(0.1, 0.1 + seconds)))
    assert {Status.NOERROR: hosts} == run.statuses
    assert run.seconds < 1.3 * smooth + seconds + 0.2


def test_a_server_that_restarts() -> None:
    """A server that takes nothing for 0.8 s answers all that was asked meanwhile by a later try."""
    down = Link(NEARBY, lambda now: not 0.3 < now < 1.1)
    run = Run(10_000, down)
    assert {Status.NOERROR: 10_000} == run.statuses
    assert run.seconds < 8


def test_a_server_that_comes_back_from_the_dead() -> None:
    """A server that was down from the start and comes up is found, and then asked at full speed."""
    run = Run(12_000, Link(NEARBY, lambda now: now > 5))
    assert run.statuses[Status.NOERROR] > 10_000
    assert run.seconds < 5 + 3.5 + 4
    assert not run.windows[0].dead


# --- The window by itself.


def test_no_wait_is_for_nothing() -> None:
    """While something else holds the queries back, the window does not ask to be woken again and again."""
    window = Window(1000, 4.0)
    window.rate = 500.0
    assert 10 == window.allowance(1.0)
    assert math.inf == window.wait(1.0)


def test_what_was_unsent_is_not_lost() -> None:
    """A round of which nothing went out in the end is no loss, and leaves nothing outstanding."""
    window = Window(1000, 4.0)
    round_ = window.sent(10, 0.0)
    window.answered(round_, 10, 0.01)
    window.tick(1.0, 1.0)
    window.sent(50, 1.0)
    window.unsent(50)
    for now in (1.5, 2.0, 3.0):
        window.tick(now, now)
    assert [0, math.inf] == [window.in_flight, window.rate]
    assert window.size >= FIRST


@pytest.mark.parametrize("limit", [1, 2, 7, 50])
def test_a_small_limit_is_kept(limit: int) -> None:
    """The window never allows more than the concurrency, nor less than one query at times."""
    window = Window(limit, 1.0)
    now = 0.0
    for turn in range(200):
        allowed = window.allowance(now)
        assert 0 <= allowed <= limit
        if allowed:
            round_ = window.sent(allowed, now)
            if turn % 3:
                window.answered(round_, allowed, now + 0.01)
        now += 0.05
        window.tick(now, now)
        assert 0 <= window.in_flight <= limit


def test_a_try_that_ran_out_fills_the_window_no_more() -> None:
    """A query whose try ran out makes room for the next, and its reply still counts for its round."""
    window = Window(1000, 4.0)
    round_ = window.sent(FIRST, 0.0)
    window.answered(round_, FIRST - 1, 0.01)
    window.expired(round_, 0.5)
    assert [0, FIRST - 1] == [window.in_flight, round_.answered]
    window.answered_late(round_, 1, 0.6)
    assert [0, FIRST] == [window.in_flight, round_.answered]


def test_a_query_that_was_withdrawn_is_not_lost() -> None:
    """Where an earlier query was answered, nobody waits for the later one, which says nothing of loss."""
    window = Window(1000, 4.0)
    first = window.sent(1, 0.0)
    window.expired(first, 0.5)
    second = window.sent(1, 0.5)
    window.answered_late(first, 1, 0.6)
    window.withdrawn(second, 1)
    assert [0, 0] == [window.in_flight, second.sent - second.answered]


def test_nothing_is_presumed_lost_before_the_first_sample() -> None:
    """A new estimator waits the second of RFC 6298, and later at least a little more than the usual round trip."""
    estimator = RttEstimator()
    assert INITIAL == estimator.rto
    for _ in range(100):
        estimator.record(2.5)
    assert 2.5 + MARGIN <= estimator.rto < 2.6


def test_a_token_bucket() -> None:
    """A bucket holds a fiftieth of a second's worth, and at least one; what is put back may be spent again."""
    bucket = TokenBucket(500.0)
    assert [1, 10] == [bucket.allowance(1.0), bucket.allowance(2.0)]
    bucket.spend(10)
    assert [0, 0.002] == [bucket.allowance(2.0), bucket.wait()]
    bucket.spend(-3)
    assert [3, 0.0] == [bucket.allowance(2.0), bucket.wait()]
    bucket.drain(2.0)
    assert [0, 1] == [bucket.allowance(2.0), bucket.allowance(2.002)]

"""The throttle of the engines that ask through a library: what holds a try back, and what lets it go."""

import heapq
from types import SimpleNamespace

import pytest
from conftest import fresh

from resolver import Policy, Status
from resolver.attempts import Reply
from resolver.congestion.window import FIRST
from resolver.engines import throttle as throttling
from resolver.engines.throttle import RateLimit, SentTry, Throttle
from resolver.model import Query
from resolver.nameserver import Nameserver

POLICY = Policy(nameservers=("192.0.2.53", "192.0.2.54"))
HERE, THERE = POLICY.nameservers


def full() -> tuple[Throttle, list[tuple[Query, SentTry]]]:
    """A throttle with a full window at HERE, as many more lookups at hand, and what is in flight."""
    throttle = Throttle(POLICY, 300)
    queries = [Query(2 * n, "", fresh("www"), "A") for n in range(2 * FIRST)]
    throttle.extend(queries)
    flying = []
    while (query := throttle.take()) is not None:
        assert 0 == throttle.delay(query, HERE)
        query.attempts = 1
        sent = throttle.sent(query, HERE)
        assert sent is not None
        flying.append((query, sent))
    assert FIRST == len(flying)
    return throttle, flying


def answer(throttle: Throttle, nameserver: Nameserver, query: Query, sent: SentTry) -> None:
    """One of them is answered."""
    throttle.heard(sent, nameserver, Reply(Status.NOERROR, []))


def test_further_tries_pass_the_window() -> None:
    """A further try waits as a first one does, where the window of its nameserver is full, and only there."""
    throttle, flying = full()
    again = Query(1, "", fresh("www"), "A")
    assert throttle.delay(again, HERE) > 0
    assert 0 == throttle.delay(again, THERE)
    answer(throttle, HERE, *flying[0])
    assert 0 == throttle.delay(again, HERE)


def test_further_tries_go_before_new_lookups() -> None:
    """What becomes free is theirs who have been asking already."""
    throttle, flying = full()
    again = Query(1, "", fresh("www"), "A")
    assert throttle.delay(again, HERE) > 0
    answer(throttle, HERE, *flying[0])
    answer(throttle, HERE, *flying[1])
    assert throttle.take() is None
    assert 0 == throttle.delay(again, HERE)
    assert throttle.take() is not None


def test_what_is_granted_counts_until_it_is_sent() -> None:
    """So many may go as the window has room for, though none of them is sent yet; asking again costs nothing."""
    throttle = Throttle(POLICY, 300)
    queries = [Query(2 * n, "", fresh("www"), "A") for n in range(2 * FIRST)]
    assert [0] * FIRST == [throttle.delay(query, HERE) for query in queries[:FIRST]]
    assert 0 == throttle.delay(queries[0], HERE)
    assert throttle.delay(queries[FIRST], HERE) > 0


RATE, LOOKUPS, AT_ONCE = 10.0, 200, 128


@pytest.mark.parametrize("repeats", [0, 1])
def test_those_that_wait_for_the_rate(monkeypatch: pytest.MonkeyPatch, repeats: int) -> None:
    """All pass, at the rate and no slower; and each looks a few times, not whenever there is room for one of them."""
    now = 1000.0
    monkeypatch.setattr(throttling, "time", SimpleNamespace(monotonic=lambda: now))
    limit = RateLimit(RATE)
    waiting = [(now, index) for index in range(AT_ONCE)]
    passed: list[float] = []
    looks = 0
    while waiting:
        now, index = heapq.heappop(waiting)
        looks += 1
        if delay := limit.delay(index):
            heapq.heappush(waiting, (now + delay, index))
            continue
        passed.append(now)
        limit.spend(repeats)
        if len(passed) + len(waiting) < LOOKUPS:
            heapq.heappush(waiting, (now, len(passed) + len(waiting)))
    assert LOOKUPS == len(passed)
    seconds = passed[-1] - passed[0]
    assert (LOOKUPS - 1) * (1 + repeats) / RATE - 0.001 <= seconds < 1.02 * LOOKUPS * (1 + repeats) / RATE
    assert looks < LOOKUPS * (3 + 12 * repeats)

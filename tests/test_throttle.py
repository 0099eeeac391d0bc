"""The lanes of the engines that ask through a library: what holds a try back, and what lets it go."""

from conftest import fresh

from resolver import Policy, Status
from resolver.attempts import Reply
from resolver.congestion import Round
from resolver.congestion.window import FIRST
from resolver.engines.throttle import Lanes
from resolver.model import Query
from resolver.nameserver import Nameserver

POLICY = Policy(nameservers=("192.0.2.53", "192.0.2.54"))  # type: ignore[arg-type]  # texts are taken too
HERE, THERE = POLICY.nameservers


def full() -> tuple[Lanes, list[tuple[Query, Round]]]:
    """Lanes with a full window at HERE, as many more lookups at hand, and what is in flight."""
    lanes = Lanes(POLICY, 300)
    queries = [Query(2 * n, "", fresh("www"), "A") for n in range(2 * FIRST)]
    lanes.extend(queries)
    flying = []
    while (query := lanes.take()) is not None:
        assert 0 == lanes.delay(query, HERE)
        query.attempts = 1
        flying.append((query, lanes.asked(query, HERE)))
    assert FIRST == len(flying)
    return lanes, flying


def answer(lanes: Lanes, nameserver: Nameserver, query: Query, round_: Round) -> None:
    """One of them is answered."""
    lanes.told(Reply(Status.NOERROR, []), query, nameserver, round_, 0.01)


def test_further_tries_pass_the_window() -> None:
    """A further try waits as a first one does, where the window of its nameserver is full, and only there."""
    lanes, flying = full()
    again = Query(1, "", fresh("www"), "A")
    assert lanes.delay(again, HERE) > 0
    assert 0 == lanes.delay(again, THERE)
    answer(lanes, HERE, *flying[0])
    assert 0 == lanes.delay(again, HERE)


def test_further_tries_go_before_new_lookups() -> None:
    """What becomes free is theirs who have been asking already."""
    lanes, flying = full()
    again = Query(1, "", fresh("www"), "A")
    assert lanes.delay(again, HERE) > 0
    answer(lanes, HERE, *flying[0])
    answer(lanes, HERE, *flying[1])
    assert lanes.take() is None
    assert 0 == lanes.delay(again, HERE)
    assert lanes.take() is not None


def test_what_is_granted_counts_until_it_is_sent() -> None:
    """So many may go as the window has room for, though none of them is sent yet; asking again costs nothing."""
    lanes = Lanes(POLICY, 300)
    queries = [Query(2 * n, "", fresh("www"), "A") for n in range(2 * FIRST)]
    assert [0] * FIRST == [lanes.delay(query, HERE) for query in queries[:FIRST]]
    assert 0 == lanes.delay(queries[0], HERE)
    assert lanes.delay(queries[FIRST], HERE) > 0

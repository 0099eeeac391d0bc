"""What the coordinator makes of a Redis that was away, of words that were lost, and of what it has not read yet."""

import pytest
from play import Play, indexes

from resolver.distributed.coordinator import GRACE, STALE, SUSPECT


def test_a_redis_that_was_away_is_no_death() -> None:
    """Beats that are not there yet when the Redis is back tell nothing; those that never come do."""
    play = Play(a=1)
    order = play.launch(8)
    play.on_report(order)
    play.now += 30.0
    play.workers = {}
    play.wait()
    play.wait(GRACE)
    assert [] == play.resends()
    play.wait(1.0)
    assert [order.number] == [each.number for each in play.resends()]


def test_a_redis_that_lost_what_it_held() -> None:
    """Also where it was away for less than anyone would notice."""
    play = Play(a=1)
    order = play.launch(8)
    play.on_report(order)
    play.workers = {}
    play.wait(GRACE - 1.0)
    play.coordinator.on_redis_back(play.now)
    play.wait(GRACE)
    assert [] == play.resends()
    play.wait(1.0)
    assert [order.number] == [each.number for each in play.resends()]


def test_the_word_of_a_chunk_s_end_is_lost() -> None:
    """A worker that lives and has it in hand no more has done it, or lost it: it is sent again."""
    play = Play(one=1, two=1)
    order = play.launch(8)
    play.on_report(order, worker="one")
    play.held = {"one": [order.number], "two": []}
    play.wait(2 * STALE)
    assert [] == play.resends(), "it is in hand"
    play.on_report(order, worker="one")
    play.held = {"one": [], "two": []}
    play.wait(STALE)
    assert [] == play.resends(), "the beat may be older than what was heard"
    play.behind = 1.0
    play.wait(0.5)
    assert [] == play.resends(), "the word may be among what waits to be read"
    play.behind = 0.0
    play.wait()
    [again] = play.resends()
    assert [list(range(8)), ["chunk 0 was done, and the word of it was lost (one); 8 of 8 lookups are sent again"]] == [
        indexes(again),
        play.coordinator.recovered,
    ]
    assert 8 == len(play.done(again, "two"))
    assert [True, []] == [play.coordinator.idle, play.done(order, "one")]


@pytest.mark.parametrize(("behind", "copies"), [(0.0, 1), (60.0, 0)])
def test_what_waits_to_be_read_is_not_lost(behind: float, copies: int) -> None:
    """A chunk that is not in the queue was begun, perhaps, and the report of that has not been read."""
    play = Play(a=1)
    play.launch(8)
    play.behind = behind
    play.wait(3 * GRACE)
    assert copies == bool(play.resends())


def test_a_suspect_goes_to_one_worker_at_a_time() -> None:
    """Idle workers get copies of what takes long at the end, of what a worker died with SUSPECT seconds later."""
    for deaths, copies in ((0, 1), (1, 0)):
        play = Play(zero=1, one=1, two=1)
        order = play.launch(8)
        play.coordinator.exhausted = True
        if deaths:
            play.on_report(order, worker="zero")
            play.die("zero")
            play.wait(1.0)
            [order] = play.resends()
        play.on_report(order, worker="one")
        play.wait(SUSPECT - 5.0)
        assert copies == bool(play.resends())
    play.wait(SUSPECT)
    assert play.resends()

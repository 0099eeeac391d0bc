"""What the coordinator makes of a Redis that was away, of words that were lost, and of what it has not read yet."""

import pytest
from play import Play, indexes

from resolver.distributed.coordinator import GRACE, STALE


def test_a_redis_that_was_away_is_no_death() -> None:
    """Beats that are not there yet when the Redis is back tell nothing; those that never come do."""
    play = Play(a=1)
    order = play.launch(8)
    play.hear(order)
    play.now += 30.0
    play.workers = {}
    play.look()
    play.look(GRACE)
    assert [] == play.again()
    play.look(1.0)
    assert [order.number] == [each.number for each in play.again()]


def test_a_redis_that_lost_what_it_held() -> None:
    """Also where it was away for less than anyone would notice."""
    play = Play(a=1)
    order = play.launch(8)
    play.hear(order)
    play.workers = {}
    play.look(GRACE - 1.0)
    play.mind.returned(play.now)
    play.look(GRACE)
    assert [] == play.again()
    play.look(1.0)
    assert [order.number] == [each.number for each in play.again()]


def test_the_word_of_a_chunk_s_end_is_lost() -> None:
    """A worker that lives and has it in hand no more has done it, or lost it: it is sent again."""
    play = Play(one=1, two=1)
    order = play.launch(8)
    play.hear(order, worker="one")
    play.held = {"one": [order.number], "two": []}
    play.look(2 * STALE)
    assert [] == play.again(), "it is in hand"
    play.hear(order, worker="one")
    play.held = {"one": [], "two": []}
    play.look(STALE)
    assert [] == play.again(), "the beat may be older than what was heard"
    play.behind = 1.0
    play.look(0.5)
    assert [] == play.again(), "the word may be among what waits to be read"
    play.behind = 0.0
    play.look()
    [again] = play.again()
    assert [list(range(8)), ["chunk 0 was done, and the word of it was lost (one); 8 of 8 lookups are sent again"]] == [
        indexes(again),
        play.mind.recovered,
    ]
    assert 8 == len(play.done(again, "two"))
    assert [True, []] == [play.mind.idle, play.done(order, "one")]


@pytest.mark.parametrize(("behind", "copies"), [(0.0, 1), (60.0, 0)])
def test_what_waits_to_be_read_is_not_lost(behind: float, copies: int) -> None:
    """A chunk that is not in the queue was begun, perhaps, and the report of that has not been read."""
    play = Play(a=1)
    play.launch(8)
    play.behind = behind
    play.look(3 * GRACE)
    assert copies == bool(play.again())


def test_a_suspect_goes_to_one_worker_at_a_time() -> None:
    """Idle workers get copies of what takes long at the end, but not of what a worker died with."""
    for deaths, copies in ((0, 1), (1, 0)):
        play = Play(zero=1, one=1, two=1)
        order = play.launch(8)
        play.mind.exhausted = True
        if deaths:
            play.hear(order, worker="zero")
            play.die("zero")
            play.look(1.0)
            [order] = play.again()
        play.hear(order, worker="one")
        play.look(50.0)
        assert copies == bool(play.again())

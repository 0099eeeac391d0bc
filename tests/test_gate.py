"""The gate of the engines that ask through a library: queries at the run's rate, and little waking in between."""

import heapq
from types import SimpleNamespace

import pytest

from resolver import Policy, Query
from resolver import attempts as tries
from resolver.attempts import Gate, Tries

RATE, LOOKUPS, AT_ONCE = 10.0, 200, 128


@pytest.mark.parametrize("repeats", [0, 1])
def test_those_that_wait_for_the_rate(monkeypatch: pytest.MonkeyPatch, repeats: int) -> None:
    """All pass, at the rate and no slower; and each looks a few times, not whenever there is room for one of them."""
    now = 1000.0
    monkeypatch.setattr(tries, "time", SimpleNamespace(monotonic=lambda: now, sleep=None))
    policy = Policy(nameservers=("192.0.2.53",), rate=RATE)
    gate = Gate(policy, lambda query, nameserver: 0.0)
    waiting = [(now, index) for index in range(AT_ONCE)]
    passed: list[float] = []
    looks = 0
    while waiting:
        now, index = heapq.heappop(waiting)
        looks += 1
        if delay := gate.delay(Tries(Query(index, "", f"h{index}.example.", "A"), policy, index)):
            heapq.heappush(waiting, (now + delay, index))
            continue
        passed.append(now)
        gate.repeated(repeats)
        if len(passed) + len(waiting) < LOOKUPS:
            heapq.heappush(waiting, (now, len(passed) + len(waiting)))
    assert LOOKUPS == len(passed)
    seconds = passed[-1] - passed[0]
    assert (LOOKUPS - 1) * (1 + repeats) / RATE - 0.001 <= seconds < 1.02 * LOOKUPS * (1 + repeats) / RATE
    assert looks < LOOKUPS * (3 + 12 * repeats)

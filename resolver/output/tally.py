"""Counts for the page about a run (`--report`), of whole results: how long they took, and why they were not answered.

Memory is bounded however long the list is, and counts of parts of a run can be added up (`merge`): they travel as they
are. What a run counts anyway (statuses, queries, nameservers) stands in its Summary and not here.
"""

from __future__ import annotations

import random
import re
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec

from resolver.model import ANSWERED, Result
from resolver.tallies import count_time, middle_of, percentile

if TYPE_CHECKING:
    from collections.abc import Mapping

    from resolver.blocks import ResultBlock

REASONS = 40  # reasons that are told apart; what comes later is counted together
EXAMPLES = 3  # of each reason
_LONGEST = 200  # characters of a reason, and of a name in an example

# Of a long run a sample is measured, or counting would be felt: each of so many results, each fourth of so many, then
# each sixteenth.
_EACH, _EACH_FOURTH = 4_000, 40_000

OTHER = "other reasons"
_ADDRESS = re.compile(r"\[[0-9A-Fa-f:.%\w]+\]:\d+|\b\d+\.\d+\.\d+\.\d+:\d+")


class Example(msgspec.Struct, frozen=True, array_like=True):
    """A lookup that was not answered."""

    input: str
    type: str
    nameserver: str | None


class Failures(msgspec.Struct, array_like=True):
    """Lookups that were not answered for one reason: how many, and the first few of them."""

    status: str
    reason: str
    count: int
    examples: list[Example]


class RunTally(msgspec.Struct, array_like=True):
    """Counts of the results of a run, or of a part of it.

    Attributes:
        measured: Answered ones whose time was counted.
        times: Answers by the bucket of their time (tallies.py); each measured one stands for those near it.
        failures: By status and reason.
        seen: Results that were added here, which says how many of the next ones are measured.
    """

    measured: int = 0
    times: dict[int, int] = {}
    failures: dict[str, Failures] = {}
    seen: int = 0

    def add(self, results: list[Result], statuses: Mapping[str, int]) -> None:
        """Count these results, of which so many have each status."""
        sample = self._sample(len(results))
        measured = results[sample]
        if not statuses.keys() <= ANSWERED:
            measured = [result for result in measured if result.status in _ANSWERED]
            for result in results:
                if result.status not in _ANSWERED:
                    self._fail(result)
        self._measure(measured, sample.step)

    def add_block(self, block: ResultBlock) -> None:
        """Count the results of a block, as they were counted where it was made, or else by its lines, in JSON.

        What a line of another machine says beside its index was not looked at by anyone: where it is no result's, the
        block is not counted.
        """
        if block.tally:
            self.merge(_DECODER.decode(block.tally))
        elif block.elapsed:
            for seconds, count in block.elapsed:
                count_time(self.times, seconds, count)
            self.measured += block.count
        elif block.statuses.keys() <= ANSWERED:
            sample = self._sample(block.count)
            with suppress(msgspec.DecodeError):
                self._measure(block.results(sample), sample.step)
        else:
            with suppress(msgspec.DecodeError):
                self.add(block.results(), block.statuses)

    def _sample(self, count: int) -> slice:
        """Return which of the next so many results are measured.

        The first of them is one of chance: types and nameservers take turns, and each of them is to be measured.
        """
        stride = 1 if self.seen < _EACH else 4 if self.seen < _EACH_FOURTH else 16
        self.seen += count
        return slice(_chance.randrange(stride), None, stride)

    def _measure(self, answered: list[Result], stride: int) -> None:
        times = [result.elapsed for result in answered if result.elapsed is not None]
        for seconds in times:
            count_time(self.times, seconds, stride)
        self.measured += len(times)

    def take(self) -> bytes:
        """Return the counts since the last call, for a block."""
        octets = _ENCODER.encode(self)
        self.times, self.failures, self.measured = {}, {}, 0
        return octets

    def merge(self, other: RunTally) -> None:
        """Add the counts of another part of the run."""
        self.measured += other.measured
        for bucket, count in other.times.items():
            self.times[bucket] = self.times.get(bucket, 0) + count
        for each in other.failures.values():
            mine = self._group(each.status, each.reason)
            mine.count += each.count
            mine.examples += each.examples[: EXAMPLES - len(mine.examples)]

    def _fail(self, result: Result) -> None:
        group = self._group(result.status.value, _reason(result.error))
        group.count += 1
        if len(group.examples) < EXAMPLES:
            group.examples.append(Example(result.input[:_LONGEST], result.type, result.nameserver))

    def _group(self, status: str, reason: str) -> Failures:
        key = f"{status} {reason}"
        group = self.failures.get(key)
        if group is None:
            if len(self.failures) >= REASONS:
                key, reason = f"{status} {OTHER}", OTHER
            group = self.failures.setdefault(key, Failures(status, reason, 0, []))
        return group

    def percentiles(self) -> dict[str, float]:
        """Return the seconds within which 50, 95 and 99 of 100 answers came; empty: none was measured."""
        found = {f"p{share}": percentile(self.times, share / 100) for share in (50, 95, 99)}
        return {name: seconds for name, seconds in found.items() if seconds is not None}

    def curve(self) -> list[tuple[float, float]]:
        """Return the share of the answers (of 1) that came within so many seconds, as (seconds, share) upwards."""
        whole = sum(self.times.values())
        points = []
        below = 0
        for bucket, count in sorted(self.times.items()):
            below += count
            points.append((middle_of(bucket), below / whole))
        return points


_chance = random.Random(1)
_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(RunTally)
_ANSWERED = tuple(ANSWERED)  # compared one by one, in C: a set would call Enum's __hash__, in Python


def _reason(error: str | None) -> str:
    """Return the sentence without what differs from one lookup to the next: which nameserver it was."""
    return _ADDRESS.sub("a nameserver", error[:_LONGEST]) if error else "no reason was given"

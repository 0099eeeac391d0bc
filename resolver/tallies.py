"""Figures of each nameserver: what it was sent, what came of it, and how long its replies took.

They are counted where replies come in (wire/, engines/throttle.py), apart in each process, and added up where results
meet. Round-trip times stand in a histogram of buckets that are a sixteenth as wide as their time, so that a nameserver
takes no more room the more it is asked.
"""

from __future__ import annotations

import threading
from collections import Counter
from math import frexp
from typing import TYPE_CHECKING, Annotated

import msgspec

from resolver.model import Status

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

MOST_SHOWN = 1000  # nameservers in a summary: those that were asked most
MOST_MERGED = 1 << 16  # nameservers that other processes may name
MOST_RCODES = 64  # of one nameserver

_Count = Annotated[int, msgspec.Meta(ge=0, le=1 << 62)]
_Change = Annotated[int, msgspec.Meta(ge=-(1 << 62), le=1 << 62)]
_Bucket = Annotated[int, msgspec.Meta(ge=0, lt=1024)]
_Buckets = Annotated[dict[_Bucket, _Count], msgspec.Meta(max_length=1024)]
_Rcodes = Annotated[dict[Annotated[str, msgspec.Meta(max_length=32)], _Count], msgspec.Meta(max_length=MOST_RCODES)]


class NameserverFigures(msgspec.Struct):
    """Figures of one nameserver in the summary of a run, in the order of their keys.

    Attributes:
        nameserver: Its address, as results name it.
        queries: Queries sent to it.
        replies: Those of its replies that could be read and matched a query; late ones and truncated ones included.
        timeouts: Tries that ran out.
        errors: Tries that the local side failed in: port closed, no route, a connection that broke.
        rcodes: How many replies had each rcode, by its IANA name.
        rtt_p50, rtt_p95: Seconds that half of the replies, and 95 of 100, took at most; None without any.
    """

    nameserver: str
    queries: int
    replies: int
    timeouts: int
    errors: int
    rcodes: dict[str, int]
    rtt_p50: float | None
    rtt_p95: float | None

    @property
    def useless(self) -> float:
        """The share of its queries that brought neither records nor the word that there are none."""
        good = self.rcodes.get("NOERROR", 0) + self.rcodes.get("NXDOMAIN", 0)
        return 1 - min(1.0, good / self.queries) if self.queries else 0.0


class AskedLast(msgspec.Struct):
    """A nameserver that is asked last.

    Attributes:
        nameserver: Its address, as results name it.
        reason: `lies`: trusted nameservers took back what it had said. `fails`: of its latest tries nearly all failed.
    """

    nameserver: str
    reason: str


class NameserverTally(msgspec.Struct, array_like=True):
    """Counts of one nameserver.

    Attributes:
        nameserver: Its address, as results name it.
        queries, replies, timeouts, errors, rcodes: As NameserverFigures has them.
        rtts: Replies by the bucket of their round-trip time.
        failing: In how many processes it is asked last, since of its latest tries nearly all failed.
    """

    nameserver: Annotated[str, msgspec.Meta(max_length=320)]
    queries: _Count = 0
    replies: _Count = 0
    timeouts: _Count = 0
    errors: _Count = 0
    rcodes: _Rcodes = {}
    rtts: _Buckets = {}
    failing: _Change = 0

    def replied(self, seconds: Sequence[float], rcodes: Sequence[Status] = (), *, timed: bool = True) -> None:
        """Count replies, at least one.

        Args:
            seconds: For each the time that it took.
            rcodes: Those that are not NOERROR.
            timed: Their times are those of one query and its reply, and count as round-trip times.
        """
        self.replies += len(seconds)
        if good := len(seconds) - len(rcodes):
            self._count_rcode("NOERROR", good)
        if rcodes:
            for status, times in Counter(rcodes).items():
                self._count_rcode("NOERROR" if status is Status.NODATA else status.value, times)
        if not timed:
            return
        for alike, times in Counter(seconds).items():  # what went out together took equally long
            count_time(self.rtts, alike, times)

    def answered(self, seconds: float, times: int) -> None:
        """Count replies that are NOERROR and took equally long."""
        self.replies += times
        self._count_rcode("NOERROR", times)
        count_time(self.rtts, seconds, times)

    def failed(self, status: Status) -> None:
        """Count a try without a reply: TIMEOUT or ERROR. Of any other status there is a reply, which was counted."""
        if status is Status.TIMEOUT:
            self.timeouts += 1
        elif status is Status.ERROR:
            self.errors += 1

    def add(self, other: NameserverTally) -> None:
        """Add the counts of another place."""
        self.queries += other.queries
        self.replies += other.replies
        self.timeouts += other.timeouts
        self.errors += other.errors
        self.failing += other.failing
        for rcode, times in other.rcodes.items():
            self._count_rcode(rcode, times)
        for bucket, times in other.rtts.items():
            self.rtts[bucket] = self.rtts.get(bucket, 0) + times

    def take(self) -> NameserverTally:
        """Return the counts, and begin anew."""
        taken = NameserverTally(self.nameserver)
        for field in self.__struct_fields__[1:]:
            empty = getattr(taken, field)
            setattr(taken, field, getattr(self, field))
            setattr(self, field, empty)
        return taken

    def _count_rcode(self, rcode: str, times: int) -> None:
        if rcode in self.rcodes or len(self.rcodes) < MOST_RCODES:
            self.rcodes[rcode] = self.rcodes.get(rcode, 0) + times


class NameserverTallies:
    """The tallies of a run.

    Attributes:
        lock: Held by whoever counts or reads where several threads do.
        distrusted: Nameservers that were found to lie. Whoever asks looks there now and then, and asks them last.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.distrusted: set[str] = set()
        self._by_name: dict[str, NameserverTally] = {}
        self._elsewhere: list[NameserverTally] = []

    def watch(self, tallies: Iterable[NameserverTally]) -> None:
        """Have tallies read that are counted in by others, on the thread that reads."""
        self._elsewhere += tallies

    def of(self, nameserver: str) -> NameserverTally:
        """Return the tally to count in for a nameserver."""
        found = self._by_name.get(nameserver)
        if found is None:
            found = self._by_name[nameserver] = NameserverTally(nameserver)
        return found

    def merge(self, tallies: Iterable[NameserverTally]) -> None:
        """Add the counts of another process."""
        with self.lock:
            for each in tallies:
                if each.nameserver in self._by_name or len(self._by_name) < MOST_MERGED:
                    self.of(each.nameserver).add(each)

    def take(self) -> list[NameserverTally]:
        """Return what was counted since the last call."""
        with self.lock:
            counted = [*self._by_name.values(), *self._elsewhere]
            return [each.take() for each in counted if each != NameserverTally(each.nameserver)]

    def figures(self) -> list[NameserverFigures]:
        """Return the figures of those that were asked, the ones asked most first, MOST_SHOWN at most."""
        return [
            NameserverFigures(
                each.nameserver,
                each.queries,
                each.replies,
                each.timeouts,
                each.errors,
                dict(sorted(each.rcodes.items(), key=lambda rcode: -rcode[1])),
                percentile(each.rtts, 0.50),
                percentile(each.rtts, 0.95),
            )
            for each in self._asked()[:MOST_SHOWN]
        ]

    def asked_last(self) -> list[AskedLast]:
        """Return those that are asked last by now: liars first, then the ones asked most, MOST_SHOWN at most."""
        liars = [AskedLast(name, "lies") for name in sorted(self.distrusted)]
        failing = [each.nameserver for each in self._asked() if each.failing > 0]
        return [*liars, *(AskedLast(name, "fails") for name in failing if name not in self.distrusted)][:MOST_SHOWN]

    def _asked(self) -> list[NameserverTally]:
        """Return the counts of those that were asked, each once, the ones asked most first."""
        with self.lock:
            whole: dict[str, NameserverTally] = {}
            for each in (*self._by_name.values(), *self._elsewhere):
                if each.queries or each.replies:
                    whole.setdefault(each.nameserver, NameserverTally(each.nameserver)).add(each)
        return sorted(whole.values(), key=lambda each: -each.queries)


def bucket_of(seconds: float) -> int:
    """Return the bucket of a time: microseconds up to 31, then sixteen buckets from each power of 2 to the next."""
    if 0.000032 <= seconds < 1e12:  # in the inner loop of every run
        fraction, exponent = frexp(seconds * 1e6)
        return 16 * exponent + int(32 * fraction) - 80
    if seconds <= 0:
        return 0
    return int(seconds * 1e6) if seconds < 1 else 1023


def count_time(buckets: dict[int, int], seconds: float, times: int) -> None:
    """Count what took so long in its bucket."""
    bucket = bucket_of(seconds)
    buckets[bucket] = buckets.get(bucket, 0) + times


def middle_of(bucket: int) -> float:
    """Return the seconds in the middle of a bucket."""
    shift = bucket // 16 - 1
    number = bucket + 0.5 if shift <= 0 else ((bucket % 16 + 16.5) * (1 << shift))
    return round(number / 1e6, 6)


def percentile(buckets: dict[int, int], share: float) -> float | None:
    """Return the seconds that this share of what is in the buckets took at most, to some 3 %; None: there is nothing.

    The rank is the nearest one, and the time that of the middle of its bucket.
    """
    left = share * sum(buckets.values())
    for bucket in sorted(buckets):
        left -= buckets[bucket]
        if left <= 0:
            return middle_of(bucket)
    return None

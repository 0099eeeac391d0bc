"""The stage of `--follow`: the addresses of the targets that MX, NS, SRV, SVCB and HTTPS records name.

Each target is looked up once, its A and its AAAA, and remembered: mail servers and nameservers are shared by many
hosts.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING

from resolver.model import ANSWERED, Result, Status, Target

if TYPE_CHECKING:
    from collections.abc import Iterator

    from resolver.model import Record
    from resolver.policy import Deadline
    from resolver.stages import FurtherLookups, Sink

REMEMBERED = 100_000  # targets
MOST = 20  # targets of one result
TYPES = ("A", "AAAA")
# Where the target stands among the words of the rdata: RFC 1035 section 3.3, RFC 2782, RFC 9460.
_PLACES = {"MX": 1, "NS": 0, "SRV": 3, "SVCB": 1, "HTTPS": 1}


class Follow:
    """The stage. A result waits until the addresses of all its targets are known."""

    def __init__(self, further: FurtherLookups, sink: Sink, deadline: Deadline) -> None:
        self._further = further
        self._sink = sink
        self._deadline = deadline
        self._known = lru_cache(REMEMBERED)(self._look_up)  # results that wait for one that is forgotten keep it
        # Those that wait for targets, each by its name as a record has it.
        self.held: dict[int, tuple[Result, dict[str, FollowedTarget]]] = {}

    def __call__(self, results: list[Result]) -> None:
        """Take results; those that name targets wait until these are known."""
        finished = []
        for result in results:
            if result.status is not Status.NOERROR or result.type not in _PLACES:
                result.follow = None
                finished.append(result)
                continue
            names: dict[str, str] = {}
            for name in targets(result):
                names.setdefault(name.lower(), name)
            like = self._further.like(result.index)
            found = {name: self._known(lower, like) for lower, name in islice(names.items(), MOST)}
            self.held[result.index] = result, found
            for target in found.values():
                if not target.known:
                    target.waiting.append(result.index)
            finished += self._released([result.index])
        self._sink(finished)

    def tick(self) -> None:
        """Do nothing: only replies bring it on."""

    def finish(self) -> None:
        """Pass on what is held; a target that was not answered has the status that the run's end gives."""
        missing = (
            Status.CANCELLED if self._deadline.cancelled else Status.DEADLINE if self._deadline.passed else Status.ERROR
        )
        held, self.held = list(self.held.values()), {}
        for result, found in held:
            result.follow = [target.told(name, missing) for name, target in found.items()]
            self._further.leave(result, "all of its targets were looked up")
        self._sink([result for result, _ in held])

    def _look_up(self, name: str, like: int) -> FollowedTarget:
        target = FollowedTarget()
        for type_ in TYPES:
            self._further.ask(name, type_, lambda result: self._answered(target, result), like=like)
        return target

    def _answered(self, target: FollowedTarget, answer: Result) -> None:
        target.outcomes.append((answer.type, answer.status, answer.addresses))
        if not target.known:
            return
        waiting, target.waiting = target.waiting, []
        self._sink(self._released(waiting))

    def _released(self, indices: list[int]) -> list[Result]:
        """Return the results of these indices whose targets are all known, and hold them no more."""
        released = []
        for index in indices:
            result, found = self.held.get(index, (None, {}))
            if result is not None and all(each.known for each in found.values()):
                del self.held[index]
                result.follow = [each.told(name) for name, each in found.items()]
                released.append(result)
        return released


class FollowedTarget:
    """A target, and what was found of it. `waiting`: indices of results; `outcomes`: type, status and addresses."""

    __slots__ = ("outcomes", "waiting")

    def __init__(self) -> None:
        self.waiting: list[int] = []
        self.outcomes: list[tuple[str, Status, list[str]]] = []

    @property
    def known(self) -> bool:
        """Both of its lookups have their results."""
        return len(self.outcomes) == len(TYPES)

    def told(self, name: str, missing: Status = Status.ERROR) -> Target:
        """Return it as results have it, by this name. `missing`: the status of a lookup without a result."""
        outcomes = sorted(self.outcomes)
        statuses = [status for _, status, _ in outcomes] + [missing] * (len(TYPES) - len(outcomes))
        addresses = [address for _, _, found in outcomes for address in found]
        if addresses:
            status = Status.NOERROR
        else:  # what is wrong says more than that there is none
            status = next((each for each in statuses if each not in ANSWERED), statuses[0])
        return Target(name, status, addresses)


def targets(result: Result) -> Iterator[str]:
    """Yield the names that the records of a result lead to, in their order.

    "." is a target of none but the service mode of SVCB and HTTPS, where it is the owner (RFC 9460 section 2.5.2; else
    RFC 7505, RFC 2782).
    """
    for record in result.answers:
        if record.type == result.type and (name := _target(record)) is not None:
            yield name


def _target(record: Record) -> str | None:
    words = record.data.split()
    place = _PLACES[record.type]
    if len(words) <= place or words[0] == "\\#":  # rdata that cannot be read
        return None
    if words[place] != ".":
        return words[place]
    return record.name if record.type in ("SVCB", "HTTPS") and words[0] != "0" else None

"""How often, how long, of whom: everything about a lookup that no way of waiting may decide for itself.

`Policy` is the user's choice. `wait`, `final` and `outranks` are the one retry rule; the exchange and the two drivers
all follow it, so that every engine and backend gives up, goes on and reports alike. Nothing here does I/O, and time
comes in from outside.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

import msgspec

from resolver.model import ANSWERED, Status
from resolver.nameserver import Nameserver, parse_all

if TYPE_CHECKING:
    from collections.abc import Callable

MOST_TRIES = 100  # the wait doubles from one to the next: no lookup needs, and no nameserver deserves more
CONCURRENCY = 1000  # the most lookups in flight where the user names no number


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """Who is asked, how often and how long.

    nameservers: texts as the command's `-n` takes them, or Nameserver; empty: the system's.
    timeout: seconds until the whole run ends; None: never.
    query_timeout: seconds that the last try waits; each earlier one waits half of the next.
    tries: tries for one lookup, over the nameservers in turn.
    concurrency: the most lookups in flight; None: adapts, up to 1,000.
    rate: the most queries sent in a second; None: no limit.
    tls_ca: a file of certificates that tls:// and https:// nameservers are checked against; None: the system's.

    Raises ValueError or TypeError for a value that is out of range or no number.
    """

    nameservers: tuple[Nameserver, ...] = ()
    timeout: float | None = None
    query_timeout: float = 2.0
    tries: int = 3
    concurrency: int | None = None
    rate: float | None = None
    tls_ca: str | None = None

    def __post_init__(self) -> None:
        for name in ("timeout", "query_timeout", "rate"):
            _check_number(name, getattr(self, name), (int, float), optional=name != "query_timeout")
        for name in ("tries", "concurrency"):
            _check_number(name, getattr(self, name), (int,), optional=name != "tries")
        if self.tries > MOST_TRIES:
            raise ValueError(f"tries must be at most {MOST_TRIES}, not {self.tries}")
        given: Any = self.nameservers
        texts = (given,) if isinstance(given, str | Nameserver) else given
        # The one place where a frozen Policy is completed: users give texts, the rooms behind want nameservers.
        msgspec.structs.force_setattr(self, "nameservers", parse_all(texts or ()))

    @property
    def in_flight(self) -> int:
        """The most lookups in flight."""
        return CONCURRENCY if self.concurrency is None else self.concurrency

    def wait(self, attempt: int) -> float:
        """Seconds that try `attempt` (from 1) waits for its reply: the last the whole query_timeout, others halves."""
        return math.ldexp(self.query_timeout, attempt - self.tries)


def final(status: Status) -> bool:
    """Is this the end of the lookup? An answer is; an rcode that tells of an error, silence and failure are not."""
    return status in ANSWERED


def outranks(new: Status, old: Status | None) -> bool:
    """After the last try an rcode outranks silence, and silence a local failure; of equals the later stands."""
    return old is None or _rank(new) >= _rank(old)


def refuses_edns(status: Status) -> bool:
    """May this be about EDNS, and not the question (RFC 6891 section 7)? Then it is asked once more without."""
    return status in _EDNS_REFUSED


_EDNS_REFUSED = frozenset({Status.FORMERR, Status.NOTIMP, Status.BADVERS})


def silence(tries: int, unread: str | None) -> str:
    """The `error` of TIMEOUT after so many tries. `unread`: what is to be said of replies that came and were none."""
    said = f"no valid reply in {tries} {'try' if tries == 1 else 'tries'}"
    return said if unread is None else f"{said}; {unread}"


def _rank(status: Status) -> int:
    if status is Status.ERROR:
        return 0
    return 1 if status is Status.TIMEOUT else 2


class Deadline:
    """When a run ends early: a span of seconds that begins at `start()`, or a cancellation at any time.

    `cancel()` may be called from a signal handler or any thread; engines ask `over` at least every tenth of a second.
    """

    def __init__(self, seconds: float | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self.seconds = seconds
        self.cancelled = False
        self._clock = clock
        self._end: float | None = None

    def start(self) -> None:
        """The engine is ready to take the first host: from here the seconds count. Later calls change nothing."""
        if self._end is None:
            self._end = math.inf if self.seconds is None else self._clock() + self.seconds

    def cancel(self) -> None:
        """End the run now."""
        self.cancelled = True

    @property
    def passed(self) -> bool:
        """The seconds are over."""
        return self._end is not None and self._clock() >= self._end

    @property
    def ended(self) -> bool:
        """The run ends now, by either cause."""
        return self.cancelled or self.passed

    def remaining(self) -> float:
        """Seconds left, never below 0; infinite where no timeout was given."""
        if self._end is None:
            return math.inf if self.seconds is None else self.seconds
        return max(0.0, self._end - self._clock())


def _check_number(name: str, value: object, kinds: tuple[type, ...], *, optional: bool) -> None:
    if value is None and optional:
        return
    if isinstance(value, bool) or not isinstance(value, kinds):
        raise TypeError(f"{name} must be a {'number' if float in kinds else 'whole number'}, not {value!r}")
    if not (value > 0 and math.isfinite(value)):  # type: ignore[operator,arg-type]  # one of `kinds`
        raise ValueError(f"{name} must be above 0, not {value!r}")

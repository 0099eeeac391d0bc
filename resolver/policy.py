"""Policy of a lookup: how often, how long and of which nameservers; no way of waiting decides any of it for itself.

`Policy` is the user's choice. `wait` and `outranks` are the one retry rule, with which statuses are answers (model.py);
the exchange and `Tries` follow it, so that every engine and backend gives up, goes on and reports alike. Nothing here
does I/O, and time comes in from outside.
"""

from __future__ import annotations

import ipaddress
import math
import os
import time
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

import msgspec

from resolver.dns.form import QueryForm, query_form
from resolver.model import Status
from resolver.nameserver import Nameserver, parse_all, system

if TYPE_CHECKING:
    from collections.abc import Callable

MOST_TRIES = 100  # the wait doubles from one to the next: no lookup needs, and no nameserver deserves more
USELESS = 8  # tries that fail at a nameserver which never answered, until it is asked last
FAILING = 0.9  # share of the latest tries that fail at one which has answered, until it is asked last
MEMORY = 1 / 16  # weight of one try in that share
CONCURRENCY = 1000  # the most lookups in flight where the user names no number


class PolicyFields(TypedDict, total=False):
    """Keywords of a Policy, which `resolve` takes too; there None is as if it were not given."""

    nameservers: Iterable[str | Nameserver] | str | None
    timeout: float | None
    query_timeout: float | None
    tries: int | None
    concurrency: int | None
    rate: float | None
    tls_ca: str | os.PathLike[str] | None
    detail: bool
    dnssec: bool
    cd: bool
    no_recurse: bool
    nsid: bool
    subnet: Iterable[str] | str | None
    each_nameserver: bool
    source: Iterable[str] | str | None


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """Which nameservers are asked, how often and how long.

    Args:
        nameservers: Texts as the command's `-n` takes them, or Nameserver; empty: the system's.
        timeout: Seconds until the whole run ends; None: never.
        query_timeout: Seconds that the last try waits; each earlier one waits half of the next.
        tries: Tries for one lookup, over the nameservers in turn.
        concurrency: The most lookups in flight; None: adapts, up to 1,000.
        rate: The most queries sent in a second; None: no limit.
        tls_ca: A file of certificates that tls:// and https:// nameservers are checked against; None: the system's.
        detail: Each result tells how its reply looked.
        dnssec, cd, no_recurse, nsid: Bits and options of every query (dns/form.py).
        subnet: Networks that are asked for (RFC 7871), in a lookup each; empty: none.
        each_nameserver: Every nameserver is asked every question, and no other one in its place.
        source: Local addresses to ask from, in turn, those of a nameserver's own family; empty: the system's choice.

    Raises:
        ValueError: A number is out of range, or a text names no nameserver.
        TypeError: A value is of another kind.
        OSError: A list of nameservers (`@FILE`) cannot be read.
    """

    nameservers: tuple[Nameserver, ...] = ()
    timeout: float | None = None
    query_timeout: float = 2.0
    tries: int = 3
    concurrency: int | None = None
    rate: float | None = None
    tls_ca: str | None = None
    detail: bool = False
    dnssec: bool = False
    cd: bool = False
    no_recurse: bool = False
    nsid: bool = False
    subnet: tuple[str, ...] = ()
    each_nameserver: bool = False
    source: tuple[str, ...] = ()

    if TYPE_CHECKING:
        # For callers: texts become nameservers. The types above say what the fields hold afterwards.
        def __init__(self, **fields: Unpack[PolicyFields]) -> None: ...

    def __post_init__(self) -> None:
        for name in ("timeout", "query_timeout", "rate"):
            _check_number(name, getattr(self, name), (int, float), optional=name != "query_timeout")
        for name in ("tries", "concurrency"):
            _check_number(name, getattr(self, name), (int,), optional=name != "tries")
        for name in ("detail", "dnssec", "cd", "no_recurse", "nsid", "each_nameserver"):
            if not isinstance(getattr(self, name), bool):
                raise TypeError(f"{name} must be True or False, not {getattr(self, name)!r}")
        if self.tries > MOST_TRIES:
            raise ValueError(f"tries must be at most {MOST_TRIES}, not {self.tries}")
        if self.tls_ca is not None:
            msgspec.structs.force_setattr(self, "tls_ca", os.fspath(self.tls_ca))
        given: Any = self.nameservers
        texts = (given,) if isinstance(given, str | Nameserver) else given
        # The one place where a frozen Policy is completed: users give texts, the rooms behind want nameservers.
        msgspec.structs.force_setattr(self, "nameservers", parse_all(texts or ()))
        subnets = _read_each("subnet", self.subnet, partial(ipaddress.ip_network, strict=False))
        msgspec.structs.force_setattr(self, "subnet", subnets)
        msgspec.structs.force_setattr(self, "source", _read_each("source", self.source, ipaddress.ip_address))

    @property
    def forms(self) -> tuple[QueryForm, ...]:
        """The forms of its queries: one, or one for each subnet."""
        return tuple(
            query_form(dnssec=self.dnssec, cd=self.cd, no_recurse=self.no_recurse, nsid=self.nsid, subnet=subnet)
            for subnet in self.subnet or (None,)
        )

    @property
    def variants(self) -> list[tuple[int | None, int]]:
        """The variants of each lookup, in their order: the number of the only nameserver to ask, and of a subnet."""
        nameservers = range(len(self.nameservers)) if self.each_nameserver else (None,)
        return [(nameserver, subnet) for nameserver in nameservers for subnet in range(len(self.subnet) or 1)]

    @property
    def unusual(self) -> list[str]:
        """Options in force, of queries and replies, that not every backend can honour."""
        names = ("detail", "dnssec", "cd", "no_recurse", "nsid", "subnet", "each_nameserver", "source")
        return [name.replace("_", "-") for name in names if getattr(self, name)]

    @property
    def in_flight(self) -> int:
        """The most lookups in flight."""
        return CONCURRENCY if self.concurrency is None else self.concurrency

    def with_nameservers(self) -> Policy:
        """Return it with the nameservers that will be asked: the system's where it names none.

        Raises:
            LookupError: There is none at all.
        """
        return self if self.nameservers else msgspec.structs.replace(self, nameservers=system())

    def wait(self, number: int) -> float:
        """Return the seconds that try `number` (from 1) waits: the last the whole query_timeout, each earlier half."""
        return math.ldexp(self.query_timeout, number - self.tries)


def outranks(new: Status, old: Status | None) -> bool:
    """Tell whether `new` stands after the last try: an rcode outranks silence, and silence a local failure."""
    return old is None or _rank(new) >= _rank(old)


def refuses_edns(status: Status) -> bool:
    """Tell whether this may be about EDNS, not the question (RFC 6891 section 7): it is asked once more without."""
    return status in _EDNS_REFUSED


_EDNS_REFUSED = frozenset({Status.FORMERR, Status.NOTIMP, Status.BADVERS})


def silence(tries: int, unread: str | None) -> str:
    """Return the `error` of TIMEOUT after so many tries; `unread` says why replies that came could not be read."""
    said = f"no valid reply in {tries} {'try' if tries == 1 else 'tries'}"
    return said if unread is None else f"{said}; {unread}"


def _rank(status: Status) -> int:
    if status is Status.ERROR:
        return 0
    return 1 if status is Status.TIMEOUT else 2


def _read_each(name: str, given: Any, read: Callable[[str], object]) -> tuple[str, ...]:
    """Return what a field holds as ipaddress writes it, each once. Raises ValueError for a text that is none."""
    texts = (given,) if isinstance(given, str) else given or ()
    try:
        return tuple(dict.fromkeys(str(read(text)) for text in texts))
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


class Deadline:
    """Early end of a run: so many seconds after `start()`, or a cancellation at any time.

    `cancel()` may be called from a signal handler or any thread; engines ask `over` at least every tenth of a second.
    """

    def __init__(self, seconds: float | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self.seconds = seconds
        self.cancelled = False
        self._clock = clock
        self._end: float | None = None

    def start(self) -> None:
        """Count the seconds from here: the engine is ready to take the first host. Later calls change nothing."""
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
        """Return the seconds left, never below 0; infinite where no timeout was given."""
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

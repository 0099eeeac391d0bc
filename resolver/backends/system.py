"""The backend `system`: the C library's getaddrinfo, and getnameinfo for addresses, as every program here resolves.

It honours /etc/hosts, nsswitch.conf and resolv.conf, which name the nameservers and how long one may take. A call
cannot be given a timeout nor be cancelled. It blocks its thread for as long as the C library likes (glibc: 5 seconds
for each nameserver, twice; `options timeout:` in resolv.conf). Therefore each call has a daemon thread; where it is not
back in time, the try has run out, and the thread is left to it. A result in the time of a later try of the same lookup
counts, as a late reply does.

Not told by the C library:
- TTLs, CNAMEs, the nameserver and the transport. Answers bear the name that was asked.
- Other types than addresses. Of the names of an address getnameinfo gives one.
- How many queries it sent: a call counts as one.
- Whether EAI_NONAME is NXDOMAIN. glibc and newer versions of musl have EAI_NODATA for a name that exists; but macOS,
  nss-resolve before systemd 254, and /etc/hosts with an address of the other family say EAI_NONAME for it all the same.
  Therefore the other family is asked then, and what is found makes NODATA. For an address (getnameinfo) there is
  nothing more to be asked: NXDOMAIN. So is a name that the C library takes for no host name, and asks nobody about.
- What EAI_AGAIN stands for: SERVFAIL, REFUSED or silence. It is taken for silence if it took the try's whole wait.

A name is asked as it is written in the list: a trailing dot keeps the search list away, and, with glibc, /etc/hosts.
Without it a name that does not exist is looked for in the domains of resolv.conf's `search`.
"""

from __future__ import annotations

import queue
import socket
import time
from typing import TYPE_CHECKING, NamedTuple

import dns.exception
import dns.name
import dns.reversename

from resolver.attempts import BLOCKING_CONCURRENCY, Reply
from resolver.daemons import LEFT, Daemons
from resolver.descriptors import descriptors_left
from resolver.model import Record, Status

if TYPE_CHECKING:
    from collections.abc import Iterable

    from resolver.model import Query
    from resolver.nameserver import Nameserver
    from resolver.policy import Policy

_FAMILIES = {"A": socket.AF_INET, "AAAA": socket.AF_INET6}
_TYPES = (*_FAMILIES, "PTR")


def _codes(*names: str) -> frozenset[int]:
    """The error codes of these names, as far as this platform has them."""
    return frozenset(getattr(socket, name) for name in names if hasattr(socket, name))


_NO_NAME = _codes("EAI_NONAME")
_NO_DATA = _codes("EAI_NODATA", "EAI_ADDRFAMILY") - _NO_NAME  # some platforms have one code for both
_AGAIN = _codes("EAI_AGAIN")
_FAILED = _codes("EAI_FAIL")


class System(NamedTuple):
    """Asks the nameservers of the system's configuration."""

    name: str = "system"

    def prepare(self, policy: Policy) -> Policy:
        """Return the policy as it is. Raises ValueError where it says whom to ask: that is the system's to know."""
        if policy.nameservers:
            raise ValueError(
                "a nameserver, a lab too, means nothing with backend system, which asks those of the system's "
                "configuration; backends that take one: wire, dnspython, aiodns, twisted"
            )
        if policy.tls_ca is not None:
            raise ValueError("certificates mean nothing with backend system")
        return policy

    def check_types(self, types: Iterable[str]) -> None:
        """Raise ValueError for a record type that the C library does not look up."""
        for each in types:
            if each not in _TYPES:
                raise ValueError(f"backend system cannot look up {each}; valid: {', '.join(_TYPES)} (PTR of addresses)")

    def open(self, policy: Policy) -> Calls:
        """The calls of a run, on daemon threads."""
        return Calls(policy)

    def ask(self, query: Query, nameserver: Nameserver | None, timeout: float) -> Reply:
        """Call the C library once, or twice where it says EAI_NONAME, however long that takes.

        Args:
            query: What is asked.
            nameserver: None: the system knows whom to ask.
            timeout: Seconds of the try, which tell what a late failure is called.
        """
        family = _FAMILIES.get(query.type)
        began = time.monotonic()
        try:
            if family is None:
                found = _names(query.name)
            else:
                found = _addresses(_as_written(query), family)
        except socket.gaierror as error:
            status = _status(error, time.monotonic() - began >= timeout)
            if status is Status.NXDOMAIN and family is not None and _exists(_as_written(query), family):
                status = Status.NODATA
            return Reply(status, [], None if status.answered else _sentence(error))
        except OSError as error:
            return Reply(Status.ERROR, [], _sentence(error))
        except LookupError as error:
            return Reply(Status.ERROR, [], str(error), queries=0)
        records = [Record(query.name, query.type, None, data) for data in dict.fromkeys(found)]
        return Reply(Status.NOERROR if records else Status.NODATA, records)


class Calls:
    """The calls of a run. As many at once as descriptors are left for: each takes two at most."""

    concurrency = BLOCKING_CONCURRENCY

    def __init__(self, policy: Policy) -> None:
        calls = (policy.concurrency or BLOCKING_CONCURRENCY) + LEFT
        self._daemons = Daemons(max(1, min(calls, descriptors_left() // 2)))
        self._outcomes: dict[int, queue.SimpleQueue[Reply | BaseException]] = {}  # by the index of the lookup

    async def ask(self, query: Query, nameserver: Nameserver | None, timeout: float) -> Reply:
        """Have the C library called, and wait `timeout` seconds at most for this call or an earlier one.

        The time is that of the call: in a busy process it may wait for its thread.
        """
        outcomes = self._outcomes.setdefault(query.index, queue.SimpleQueue())
        began: float | None = None  # the call, on the monotonic clock
        given_up = False

        def call() -> Reply:
            nonlocal began
            if given_up:
                return Reply(Status.TIMEOUT, [], queries=0)
            began = time.monotonic()
            return backend.ask(query, None, timeout)

        self._daemons.submit(call, outcomes.put)
        outcome: Reply | BaseException | None = None
        wait = timeout
        while outcome is None and wait > 0:
            try:
                outcome = outcomes.get(timeout=wait)
            except queue.Empty:
                wait = 0.0 if began is None else began + timeout - time.monotonic()
        if outcome is None:
            given_up = True  # what did not get a thread in all that time was never asked, and need not be
            return Reply(Status.TIMEOUT, [], queries=0 if began is None else 1)
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    def done(self, query: Query) -> None:
        """Wait for no call of this lookup any more."""
        self._outcomes.pop(query.index, None)

    async def close(self) -> None:
        """Leave what still runs."""
        self._daemons.close()


def _as_written(query: Query) -> bytes:
    # Octets: a text would go through Python's IDNA 2003, and its errors.
    name = query.name if query.input.endswith(".") else query.name.removesuffix(".")
    return (name or ".").encode("ascii")


def _addresses(name: bytes, family: socket.AddressFamily) -> list[str]:
    # With a type of socket each address comes once. An address in /etc/hosts may have a zone, which no record has.
    found = socket.getaddrinfo(name, None, family, socket.SOCK_STREAM)
    return [str(sockaddr[0]).partition("%")[0] for *_, sockaddr in found]


def _names(name: str) -> list[str]:
    try:
        address = dns.reversename.to_address(dns.name.from_text(name))
    except dns.exception.DNSException:
        raise LookupError("backend system looks up PTR of addresses only") from None
    host, _ = socket.getnameinfo((address, 0), socket.NI_NAMEREQD)
    return [host.removesuffix(".") + "."]


def _exists(name: bytes, family: socket.AddressFamily) -> bool:
    other = socket.AF_INET if family is socket.AF_INET6 else socket.AF_INET6
    try:
        _addresses(name, other)
    except socket.gaierror as error:
        return error.errno in _NO_DATA
    return True


def _status(error: socket.gaierror, late: bool) -> Status:
    if error.errno in _NO_NAME:
        return Status.NXDOMAIN
    if error.errno in _NO_DATA:
        return Status.NODATA
    if error.errno in _AGAIN:
        return Status.TIMEOUT if late else Status.SERVFAIL
    return Status.SERVFAIL if error.errno in _FAILED else Status.ERROR


def _sentence(error: OSError) -> str:
    return f"the C library says: {(error.strerror or str(error)).lower()}"


backend = System()

"""The messages: a Query goes in, a Result comes out, and nothing else moves between the rooms.

All four are msgspec Structs: cheap to make, and written to JSON or MessagePack in C. The order of Result's fields is
the order of the keys in JSON Lines; scripts rely on it.
"""

from __future__ import annotations

import enum
import re
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence


class Status(enum.StrEnum):
    """The outcome of one lookup: the closed set of the contract, and every rcode by its IANA name.

    An rcode without a name of its own is `RCODE12`; `Status("RCODE12")` makes it when it is first needed.
    """

    NOERROR = "NOERROR"
    NODATA = "NODATA"
    NXDOMAIN = "NXDOMAIN"

    TIMEOUT = "TIMEOUT"
    DEADLINE = "DEADLINE"
    CANCELLED = "CANCELLED"
    INVALID = "INVALID"
    ERROR = "ERROR"

    FORMERR = "FORMERR"
    SERVFAIL = "SERVFAIL"
    NOTIMP = "NOTIMP"
    REFUSED = "REFUSED"
    YXDOMAIN = "YXDOMAIN"
    YXRRSET = "YXRRSET"
    NXRRSET = "NXRRSET"
    NOTAUTH = "NOTAUTH"
    NOTZONE = "NOTZONE"
    DSOTYPENI = "DSOTYPENI"
    BADVERS = "BADVERS"
    BADKEY = "BADKEY"
    BADTIME = "BADTIME"
    BADMODE = "BADMODE"
    BADNAME = "BADNAME"
    BADALG = "BADALG"
    BADTRUNC = "BADTRUNC"
    BADCOOKIE = "BADCOOKIE"

    @classmethod
    def of_rcode(cls, rcode: int) -> Status:
        """Return the status of a 12-bit rcode (RFC 6895 section 2.3). 0 is NOERROR: the codec tells NODATA from it."""
        return _RCODES.get(rcode) or cls(f"RCODE{rcode}")

    @property
    def answered(self) -> bool:
        """Whether a nameserver answered the question: NOERROR, NODATA or NXDOMAIN. These are never asked again."""
        return self in ANSWERED

    @classmethod
    def _missing_(cls, value: object) -> Status | None:
        if not (isinstance(value, str) and re.fullmatch(r"RCODE[1-9][0-9]{0,3}", value)):
            return None
        member = str.__new__(cls, value)
        member._name_ = member._value_ = value
        return cls._value2member_map_.setdefault(value, member)  # type: ignore[return-value]  # typed as Enum


ANSWERED = frozenset({Status.NOERROR, Status.NODATA, Status.NXDOMAIN})
_USUAL = [(status, str(status)) for status in (Status.NOERROR, Status.NXDOMAIN, Status.NODATA)]


def count_statuses(statuses: Sequence[str]) -> dict[str, int]:
    """Return how many there are of each of these statuses."""
    counts = {}
    left = len(statuses)
    for status, word in _USUAL:  # by list.count, which compares in C: a set would call Enum's __hash__, in Python
        if left and (count := statuses.count(status)):
            counts[word] = count
            left -= count
    if left:
        for word in [str(status) for status in statuses]:
            if word not in ANSWERED:
                counts[word] = counts.get(word, 0) + 1
    return counts


# IANA "DNS RCODEs". 16 is BADVERS in an OPT record (RFC 6891) and BADSIG only inside TSIG, which is never asked for.
_RCODES = {
    0: Status.NOERROR,
    1: Status.FORMERR,
    2: Status.SERVFAIL,
    3: Status.NXDOMAIN,
    4: Status.NOTIMP,
    5: Status.REFUSED,
    6: Status.YXDOMAIN,
    7: Status.YXRRSET,
    8: Status.NXRRSET,
    9: Status.NOTAUTH,
    10: Status.NOTZONE,
    11: Status.DSOTYPENI,
    16: Status.BADVERS,
    17: Status.BADKEY,
    18: Status.BADTIME,
    19: Status.BADMODE,
    20: Status.BADNAME,
    21: Status.BADALG,
    22: Status.BADTRUNC,
    23: Status.BADCOOKIE,
}


class Query(msgspec.Struct, gc=False, array_like=True):
    """One lookup: a name and a type, and where in the input it stood.

    Attributes:
        index: Its place in the input, from 0.
        input: The line or element that it was made of.
        name: The absolute name that is asked, in presentation format.
        type: The record type, by its mnemonic.
        attempts: Queries sent, filled in where the lookup is abandoned before it has a result; None: cannot be known.
        asked: When the first one was sent, filled in as `attempts` is: seconds on the monotonic clock of this process;
            None: never.
        question: Its question section (RFC 1035 section 4.1.2), where it has been encoded already.
        nameserver: The number of the only nameserver that may be asked; None: any.
        subnet: The number of the subnet that is asked for, among the policy's.
    """

    index: int
    input: str
    name: str
    type: str
    attempts: int | None = 0
    asked: float | None = None
    question: bytes | None = None
    nameserver: int | None = None
    subnet: int = 0

    def result(
        self,
        status: Status,
        *,
        engine: str,
        backend: str,
        answers: list[Record] | None = None,
        nameserver: str | None = None,
        transport: str | None = None,
        attempts: int | None,
        elapsed: float | None,
        error: str | None,
    ) -> Result:
        """Return the result of this lookup."""
        return Result(
            index=self.index,
            input=self.input,
            name=self.name,
            type=self.type,
            status=status,
            answers=[] if answers is None else answers,
            nameserver=nameserver,
            transport=transport,
            attempts=attempts,
            elapsed=elapsed,
            engine=engine,
            backend=backend,
            error=error,
        )

    def unanswered(self, status: Status, error: str, engine: str, backend: str, now: float | None = None) -> Result:
        """Return the result where no nameserver gave one.

        Args:
            status, error, engine, backend: As the result has them.
            now: Seconds on the clock of `asked`; None: `elapsed` is not told.
        """
        # A thread that is left behind may have begun it after `now`.
        elapsed = None if self.asked is None or now is None else round(max(0.0, now - self.asked), 6)
        return self.result(status, engine=engine, backend=backend, attempts=self.attempts, elapsed=elapsed, error=error)


class Record(msgspec.Struct, gc=False, frozen=True):
    """One resource record of an answer.

    Attributes:
        name: Its owner.
        type: Its type, by the mnemonic.
        ttl: Seconds; None where the backend does not tell.
        data: The rdata in presentation format (RFC 1035 section 5.1; RFC 3597 for types without one).
    """

    name: str
    type: str
    ttl: int | None
    data: str


class ExtendedError(msgspec.Struct, gc=False, frozen=True):
    """An extended DNS error (RFC 8914): its info-code, and what the nameserver adds to it."""

    code: int
    text: str


class Subnet(msgspec.Struct, gc=False):
    """The network that was asked for, and the prefix length that the answer is good for (RFC 7871; None: not told)."""

    address: str
    scope: int | None


class Detail(msgspec.Struct, gc=False):
    """The look of the reply that gave a result (`detail`).

    Attributes:
        time: When it came, UTC (RFC 3339).
        rcode: The whole rcode, of 12 bits (RFC 6891 section 6.1.3).
        flags: In the order of the header: qr aa tc rd ra ad cd.
        authority: The records of the authority section.
        additional: Those of the additional section, without the OPT record.
        nsid: The identifier of the nameserver's instance (RFC 5001), in hexadecimal where it is no text.
        subnet: What was asked for with `subnet`, and what came back.
        ede: Extended errors.
        octets: The size of the message.
    """

    time: str
    rcode: int
    flags: list[str]
    authority: list[Record]
    additional: list[Record]
    nsid: str | None
    subnet: Subnet | None
    ede: list[ExtendedError]
    octets: int


class EdnsDetail(Detail, gc=False):
    """The look of a reply with an OPT record, which is in none of its sections: in the process that read it."""


class Target(msgspec.Struct, gc=False):
    """A name that a record leads to (`follow`).

    Attributes:
        name: The name.
        status: NOERROR, or why there are no addresses: NODATA, NXDOMAIN, or what went wrong.
        addresses: Those of A before those of AAAA.
    """

    name: str
    status: Status
    addresses: list[str]


class First(msgspec.Struct, gc=False):
    """The first reply of a lookup of which a trusted nameserver said something else."""

    nameserver: str | None
    status: Status
    answers: list[Record]


class Result(msgspec.Struct, gc=False):
    """The one result of one lookup. `elapsed` in seconds from the first query sent; `error` is one plain sentence.

    What stands behind `error` is UNSET, and no key of JSON Lines, but where the run was asked for it.

    Attributes:
        wildcard: The owner of the wildcard that made it, False for none, None where that was not tested (`wildcards`).
        first: The first reply, where a trusted nameserver said something else; else None (`trusted`).
        detail: The look of the reply; None where nobody answered (`detail`).
        follow: The targets of its records and their addresses; None where there can be none (`follow`).
        row: The row of CSV that the host stood in, by the names of the header, or a list without one (`keep`).
    """

    index: int
    input: str
    name: str | None
    type: str
    status: Status
    answers: list[Record]
    nameserver: str | None
    transport: str | None
    attempts: int | None
    elapsed: float | None
    engine: str
    backend: str
    error: str | None
    wildcard: str | bool | msgspec.UnsetType | None = msgspec.UNSET
    first: First | msgspec.UnsetType | None = msgspec.UNSET
    detail: Detail | msgspec.UnsetType | None = msgspec.UNSET
    follow: list[Target] | msgspec.UnsetType | None = msgspec.UNSET
    row: dict[str, str | None] | list[str] | msgspec.UnsetType | None = msgspec.UNSET

    @property
    def answered(self) -> bool:
        """A nameserver answered the question: the status is NOERROR, NODATA or NXDOMAIN."""
        return self.status in ANSWERED

    @property
    def addresses(self) -> list[str]:
        """The addresses in the answer, in its order: the data of its A and AAAA records, as far as it can be read."""
        found = [record.data for record in self.answers if record.type in ("A", "AAAA")]
        return [data for data in found if not data.startswith("\\#")]  # of an rdata that cannot be read


# Begins the error of a result that stands, and of which the run's end left something unfound (resolver/stages).
UNFINISHED = "the run ended before"

KEYS = Result.__struct_fields__[: Result.__struct_fields__.index("error") + 1]  # those that every result has

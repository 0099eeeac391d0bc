"""Scripts of a nameserver in trouble: silence, delay, error codes, trouble with EDNS."""

from .message import FORMERR, NXDOMAIN, ROOT, SERVFAIL, SOA, bare, encode, record
from .script import Ask, Step, positive
from .zone import soa

# The longest that a reply is kept for later, in milliseconds.
_LONGEST = 3_600_000


def slow(ask: Ask, number: int) -> list[Step]:
    return [Step(ask.right(), delay=min(number, _LONGEST) / 1000)]


def hang(ask: Ask, number: int) -> list[Step]:
    return []


def flaky(ask: Ask, number: int) -> list[Step]:
    return [] if ask.seen_before() < number else [Step(ask.right())]


def nxdomain(ask: Ask, number: int) -> list[Step]:
    return [Step(encode(ask.query, NXDOMAIN, authority=[record(SOA, soa(ROOT), owner=ROOT)]))]


def nodata(ask: Ask, number: int) -> list[Step]:
    return [Step(positive(ask.query, []))]


def empty(ask: Ask, number: int) -> list[Step]:
    return [Step(encode(ask.query))]


def rcode(ask: Ask, number: int, *, rcode: int) -> list[Step]:
    return [Step(encode(ask.query, rcode))]


def any_rcode(ask: Ask, number: int) -> list[Step]:
    return rcode(ask, 0, rcode=number & 0xFFF)


def servfail_first(ask: Ask, number: int) -> list[Step]:
    return [Step(encode(ask.query, SERVFAIL) if ask.seen_before() < number else ask.right())]


def emptyfail(ask: Ask, number: int) -> list[Step]:
    return [Step(bare(ask.data, SERVFAIL))]


def noquestion(ask: Ask, number: int) -> list[Step]:
    return [Step(encode(ask.query, SERVFAIL, question=b""))]


def noedns(ask: Ask, number: int) -> list[Step]:
    return [Step(encode(ask.query, FORMERR, options=None) if ask.query.edns else ask.right())]


def noopt(ask: Ask, number: int) -> list[Step]:
    return [Step(encode(ask.query, answer=ask.records(), options=None))]


def options(ask: Ask, number: int) -> list[Step]:
    # Codes from the range for experiments (RFC 6891 section 9), one of them empty, and 16 octets of padding (RFC 7830).
    extra = b"\xfd\xe9\0\0" + b"\xfd\xea\0\3\0\xff\x80" + b"\0\x0c\0\x10" + bytes(16)
    return [Step(encode(ask.query, answer=ask.records(), options=extra))]

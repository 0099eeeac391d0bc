"""Scripts of answers that have to be read with care: CNAME chains, DNAME, referrals, records that do not belong.

The names in a chain keep the rest of the name that was asked: `cname-2.a.example` leads over `cname-1.a.example` to
`cname-0.a.example`, and each of them, asked by itself, is answered in the same way.
"""

from itertools import pairwise

from .message import A, ANY, CNAME, DNAME, NS, NXDOMAIN, PTR, QNAME, ROOT, SOA, TXT, Query, encode, fit, label, record
from .script import Ask, Step, positive
from .transport import forged
from .zone import address4, records, soa

_MOST = 1000
_FOREIGN = label("foreign") + label("example") + ROOT
_RENAMED = label("renamed") + label("example") + ROOT


def chain(ask: Ask, number: int) -> list[Step]:
    query = ask.query
    hops = _hops(query, number)
    if not hops:
        return [Step(ask.right())]
    if query.type in (CNAME, ANY):
        # A CNAME that is asked for is the answer; nothing is followed (RFC 1034 section 3.6.2).
        return [Step(encode(query, answer=hops[:1]))]
    end = _end(query)
    target = label("cname-0") + query.rest_pointer
    authority = [] if end else [record(SOA, soa(target), owner=target)]
    return [Step(fit(query, encode(query, answer=[*hops, *end], authority=authority)))]


def to_nxdomain(ask: Ask, number: int) -> list[Step]:
    hop = record(CNAME, label("nx") + ask.query.rest_pointer)
    return [Step(encode(ask.query, NXDOMAIN, [hop], [record(SOA, soa(ROOT), owner=ROOT)]))]


def to_nodata(ask: Ask, number: int) -> list[Step]:
    target = label("nodata") + ask.query.rest_pointer
    return [Step(encode(ask.query, answer=[record(CNAME, target)], authority=[record(SOA, soa(target), owner=target)]))]


def open_end(ask: Ask, number: int) -> list[Step]:
    return [Step(encode(ask.query, answer=[record(CNAME, label("cname-0") + ask.query.rest_pointer)]))]


def shuffled(ask: Ask, number: int) -> list[Step]:
    hops = _hops(ask.query, 3)
    return [Step(fit(ask.query, encode(ask.query, answer=[*_end(ask.query), *hops[::-1]])))]


def binary_name(ask: Ask, number: int) -> list[Step]:
    target = label(b"a.b c\\d\0\xff") + ask.query.rest_pointer
    return [Step(encode(ask.query, answer=[record(CNAME, target), *records(ROOT, ask.query.type, target)]))]


def loop(ask: Ask, number: int) -> list[Step]:
    here, there = (b"loop", b"loop-back") if ask.query.first == b"loop" else (b"loop-back", b"loop")
    rest = ask.query.rest_pointer
    back = record(CNAME, label(here) + rest, owner=label(there) + rest)
    return [Step(encode(ask.query, answer=[record(CNAME, label(there) + rest), back]))]


def loop_self(ask: Ask, number: int) -> list[Step]:
    return [Step(encode(ask.query, answer=[record(CNAME, QNAME)]))]


def dname(ask: Ask, number: int) -> list[Step]:
    # RFC 6672 section 3.1: the rest of the name is renamed, and the CNAME spares a resolver to know about it.
    query = ask.query
    if query.rest == _RENAMED:
        return [Step(ask.right())]
    target = label("dname") + _RENAMED
    renamed = [record(DNAME, _RENAMED, owner=query.rest_pointer), record(CNAME, target)]
    return [Step(encode(query, answer=[*renamed, *records(target, query.type, target)]))]


def referral(ask: Ask, number: int) -> list[Step]:
    nameserver = label("ns") + QNAME
    glue = record(A, address4(label("ns") + ask.query.key), owner=nameserver)
    return [Step(encode(ask.query, authority=[record(NS, nameserver)], additional=[glue], aa=False))]


def upward(ask: Ask, number: int) -> list[Step]:
    nameserver = label("a") + label("root-servers") + label("net") + ROOT
    return [Step(encode(ask.query, authority=[record(NS, nameserver, owner=ROOT)], aa=False))]


def foreign(ask: Ask, number: int) -> list[Step]:
    before = [_FOREIGN + forged(ask.query.type)[2:], record(CNAME, _FOREIGN, owner=ask.query.rest_pointer)]
    after = [record(PTR, _FOREIGN, owner=_FOREIGN), label("x") + QNAME + forged(ask.query.type)[2:]]
    return [Step(encode(ask.query, answer=[*before, *ask.records(), *after]))]


def other_type(ask: Ask, number: int) -> list[Step]:
    extra = record(PTR if ask.query.type == TXT else TXT, label("other") + ROOT)
    return [Step(encode(ask.query, answer=[extra, *ask.records()]))]


def other_class(ask: Ask, number: int) -> list[Step]:
    # Hesiod, since in class CH an address has another form, and the message would count as broken.
    stray = record(ask.query.type, forged(ask.query.type)[12:], cls=4)
    return [Step(encode(ask.query, answer=[stray, *ask.records()]))]


def doubled(ask: Ask, number: int) -> list[Step]:
    return [Step(positive(ask.query, [one for one in ask.records() for _ in range(2)]))]


def with_ttl(ask: Ask, number: int) -> list[Step]:
    ttl = min(number, 0xFFFFFFFF).to_bytes(4)
    return [Step(positive(ask.query, [one[:6] + ttl + one[10:] for one in ask.records()]))]


def binary_txt(ask: Ask, number: int) -> list[Step]:
    strings = (
        b'say "hi"',
        b"back\\slash",
        bytes((0, 9, 10, 127, 128, 255)),
        b"semi;colon $x @y (z)",
        b"",
        "é".encode(),
    )
    return _txt(ask, b"".join(map(label, strings)))


def long_txt(ask: Ask, number: int) -> list[Step]:
    return _txt(ask, b"".join(label(letter * 255) for letter in (b"%c" % octet for octet in b"abcdefghij")))


def _txt(ask: Ask, rdata: bytes) -> list[Step]:
    if ask.query.type != TXT:
        return [Step(ask.right())]
    return [Step(positive(ask.query, [record(TXT, rdata)]))]


def _hops(query: Query, number: int) -> list[bytes]:
    """A chain of CNAMEs from the name that was asked to `cname-0` beside it."""
    rest = query.rest_pointer
    names = [QNAME, *(label(f"cname-{index}") + rest for index in range(min(number, _MOST) - 1, -1, -1))]
    return [record(CNAME, target, owner=owner) for owner, target in pairwise(names)]


def _end(query: Query) -> list[bytes]:
    """The records of `cname-0` beside the name that was asked."""
    return records(label("cname-0") + query.rest, query.type, label("cname-0") + query.rest_pointer)

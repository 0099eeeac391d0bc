"""Scripts of answers that have to be read with care: CNAME chains, DNAME, referrals, records that do not belong.

The names in a chain keep the rest of the name that was asked: `cname-2.a.example` leads over `cname-1.a.example` to
`cname-0.a.example`, and each of them, asked by itself, is answered in the same way.
"""

from itertools import pairwise

from .octets import A, ANY, CNAME, DNAME, NS, PTR, QNAME, ROOT, SOA, TXT, encode, fit, label, record
from .records import address4, forged, records, soa
from .script import Ask, Table, nxdomain, positive

_MOST = 1000
_FOREIGN = label("foreign") + label("example") + ROOT
_RENAMED = label("renamed") + label("example") + ROOT
_ROOT_SERVER = label("a") + label("root-servers") + label("net") + ROOT
_STRINGS = (b'say "hi"', b"back\\slash", bytes((0, 9, 10, 127, 128, 255)), b"semi;colon $x @y (z)", b"", "é".encode())
_LONG_STRINGS = [b"%c" % octet * 255 for octet in b"abcdefghij"]


def _chain(ask: Ask) -> bytes:
    query, hops = ask.query, _hops(ask, ask.number)
    if not hops:
        return ask.right()
    if query.type in (CNAME, ANY):
        # A CNAME that is asked for is the answer; nothing is followed (RFC 1034 section 3.6.2).
        return encode(query, answer=hops[:1])
    end, target = _end(ask), label("cname-0") + query.rest_pointer
    authority = [] if end else [record(SOA, soa(target), owner=target)]
    return fit(query, encode(query, answer=[*hops, *end], authority=authority))


def _hops(ask: Ask, number: int) -> list[bytes]:
    """Return a chain of CNAMEs from the name that was asked to `cname-0` beside it."""
    rest = ask.query.rest_pointer
    names = [QNAME, *(label(f"cname-{index}") + rest for index in range(min(number, _MOST) - 1, -1, -1))]
    return [record(CNAME, target, owner=owner) for owner, target in pairwise(names)]


def _end(ask: Ask) -> list[bytes]:
    """Return the records of `cname-0` beside the name that was asked."""
    first = label("cname-0")
    return records(first + ask.query.rest, ask.query.type, first + ask.query.rest_pointer)


def _to_nodata(ask: Ask) -> bytes:
    target = label("nodata") + ask.query.rest_pointer
    return ask.encode(answer=[record(CNAME, target)], authority=[record(SOA, soa(target), owner=target)])


def _loop(ask: Ask) -> bytes:
    first, rest = ask.query.first, ask.query.rest_pointer
    here, there = label(first) + rest, label("loop-back" if first == b"loop" else "loop") + rest
    return ask.encode(answer=[record(CNAME, there), record(CNAME, here, owner=there)])


def _dname(ask: Ask) -> bytes:
    # RFC 6672 section 3.1: the rest of the name is renamed, and the CNAME spares a resolver to know about it.
    if ask.query.rest == _RENAMED:
        return ask.right()
    target = label("dname") + _RENAMED
    renamed = [record(DNAME, _RENAMED, owner=ask.query.rest_pointer), record(CNAME, target)]
    return ask.encode(answer=[*renamed, *records(target, ask.query.type, target)])


def _binary_name(ask: Ask) -> bytes:
    target = label(b"a.b c\\d\0\xff") + ask.query.rest_pointer
    return ask.encode(answer=[record(CNAME, target), *records(ROOT, ask.query.type, target)])


def _referral(ask: Ask) -> bytes:
    nameserver = label("ns") + QNAME
    glue = record(A, address4(label("ns") + ask.query.key), owner=nameserver)
    return ask.encode(authority=[record(NS, nameserver)], additional=[glue], aa=False)


def _foreign(ask: Ask) -> bytes:
    stray = forged(ask.query.type)[2:]
    before = [_FOREIGN + stray, record(CNAME, _FOREIGN, owner=ask.query.rest_pointer)]
    return ask.encode(answer=[*before, *ask.records(), record(PTR, _FOREIGN, _FOREIGN), label("x") + QNAME + stray])


def _other_type(ask: Ask) -> bytes:
    extra = record(PTR if ask.query.type == TXT else TXT, label("other") + ROOT)
    return ask.encode(answer=[extra, *ask.records()])


def _other_class(ask: Ask) -> bytes:
    # Hesiod, since in class CH an address has another form, and the message would count as broken.
    stray = record(ask.query.type, forged(ask.query.type)[12:], cls=4)
    return ask.encode(answer=[stray, *ask.records()])


def _with_ttl(ask: Ask) -> bytes:
    ttl = min(ask.number, 0xFFFFFFFF).to_bytes(4)
    return positive(ask.query, [one[:6] + ttl + one[10:] for one in ask.records()])


def _txt(ask: Ask, *strings: bytes) -> bytes:
    rdata = b"".join(map(label, strings))
    return positive(ask.query, [record(TXT, rdata)]) if ask.query.type == TXT else ask.right()


SCRIPTS: Table = (
    ("cname-N", "a chain of N CNAMEs, then the records", _chain),
    ("cname-nx", "a CNAME to a name that does not exist",
     lambda ask: nxdomain(ask.query, [record(CNAME, label("nx") + ask.query.rest_pointer)])),
    ("cname-nodata", "a CNAME to a name without records of the type", _to_nodata),
    ("cname-open", "a CNAME, and the records of its target left out",
     lambda ask: ask.encode(answer=[record(CNAME, label("cname-0") + ask.query.rest_pointer)])),
    ("cname-shuffled", "a chain of 3 CNAMEs, last record first",
     lambda ask: fit(ask.query, ask.encode(answer=[*_end(ask), *_hops(ask, 3)[::-1]]))),
    ("cname-binary", "a CNAME to a name with a dot, a blank, a backslash and NUL in a label", _binary_name),
    ("loop", "two CNAMEs that name each other", _loop),
    ("loop-self", "a CNAME that names itself", lambda ask: ask.encode(answer=[record(CNAME, QNAME)])),
    ("dname", "a DNAME, the CNAME made from it, the records", _dname),
    ("referral", "not authoritative, no answer, the NS of a child zone", _referral),
    ("upward", "not authoritative, no answer, the NS of the root",
     lambda ask: ask.encode(authority=[record(NS, _ROOT_SERVER, owner=ROOT)], aa=False)),
    ("foreign", "the answer section also has records of other names", _foreign),
    ("othertype", "the answer section also has records of another type", _other_type),
    ("otherclass", "the answer section also has an address in class HS", _other_class),
    ("duprr", "each record twice", lambda ask: positive(ask.query, [one for one in ask.records() for _ in range(2)])),
    ("ttl-N", "records with TTL N, up to 4294967295", _with_ttl),
    ("txt", "TXT: quotes, backslashes, controls and octets over 127", lambda ask: _txt(ask, *_STRINGS)),
    ("longtxt", "TXT: one record of 10 strings of 255 octets", lambda ask: _txt(ask, *_LONG_STRINGS)),
)  # fmt: skip

"""The codec against dnspython: whatever octets come, the same answers, or `Malformed`, and never slow."""

from __future__ import annotations

import string
import struct
import subprocess
import sys
from itertools import pairwise
from random import Random
from typing import Any

import dns.edns
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from resolver.dns import message as codec
from resolver.dns import name as names
from resolver.dns.form import query_form
from resolver.model import Query, Record, Status

Answer = tuple[Status, list[Record], str | None]
NAME = "www.Example.com."

# --- The oracle: the rules of the interface once more, over what dnspython parsed.


def oracle(wire: bytes, query: Query) -> Answer:
    """What `read` must say of a message that dnspython accepts; raises whatever dnspython raises."""
    message = dns.message.from_wire(wire, one_rr_per_rrset=True)
    asked, wanted = dns.name.from_text(query.name), dns.rdatatype.from_text(query.type)
    rcode = int(message.rcode())
    texts = [(rrset, rrset[0].to_text()) for rrset in message.answer if rrset.rdclass == dns.rdataclass.IN]
    if rcode not in (0, 3):
        return Status.of_rcode(rcode), [], None
    answers: list[Record] = []
    visited: set[dns.name.Name] = set()
    owner, found = asked, False
    while owner not in visited and not found:
        visited.add(owner)
        target = None
        for rrset, data in texts:
            if rrset.name == owner and (wanted in (dns.rdatatype.ANY, rrset.rdtype)):
                found = True
                _add(answers, rrset, data, asked, query)
        for rrset, data in texts:
            if rrset.name == owner and rrset.rdtype == dns.rdatatype.CNAME and not found and target is None:
                target = rrset[0].target
                _add(answers, rrset, data, asked, query)
        owner = target or owner
    if rcode == 3:
        return Status.NXDOMAIN, answers, None
    return Status.NOERROR if found else Status.NODATA, answers, _referral(message, asked)


def _add(answers: list[Record], rrset: Any, data: str, asked: dns.name.Name, query: Query) -> None:
    same = [
        dns.name.from_text(old.name) == rrset.name for old in answers if old.data == data and old.type == type_of(rrset)
    ]
    if not any(same):
        name = query.name if rrset.name == asked else rrset.name.to_text()
        answers.append(Record(name, type_of(rrset), rrset.ttl, data))


def type_of(rrset: Any) -> str:
    return dns.rdatatype.to_text(rrset.rdtype)


def _referral(message: dns.message.Message, asked: dns.name.Name) -> str | None:
    authority = [rrset for rrset in message.authority if rrset.rdclass == dns.rdataclass.IN]
    zones = [r.name for r in authority if r.rdtype == dns.rdatatype.NS and asked.is_subdomain(r.name)]
    soa = any(rrset.rdtype == dns.rdatatype.SOA for rrset in authority)
    if message.answer or soa or not zones or message.flags & dns.flags.AA:
        return None
    if zones[0] == dns.name.root:
        return "upward referral to the nameservers of the root: the nameserver asked does not recurse"
    return f"referral to the nameservers of {zones[0].to_text()}: the nameserver asked does not recurse"


def read(wire: bytes, query: Query, start: int | None = None) -> Answer | None:
    """What the codec says, or None for `Malformed`. Any other exception is a failed test."""
    try:
        return codec.read(wire, start or 12 + len(codec.question(query.name, query.type)), query)
    except codec.Malformed:
        return None


# --- Messages, built by dnspython.

NAMES = [
    NAME,
    "WWW.example.COM.",
    "example.com.",
    "com.",
    ".",
    "a.b.www.example.com.",
    "cdn.example.net.",
    "CDN.example.net.",
    "alias.example.net.",
    "other.",
    r"sp\032ace.\"q\;uo\(te.d\.ot.at\@.dol\$lar.b\\s.\000\200\255.example.",
    "x" * 63 + "." + "y" * 63 + "." + "Z" * 63 + "." + "w" * 61 + ".",
    ".".join("b" * 127) + ".",
]
WRITTEN = ["A", "AAAA", "CNAME", "NS", "PTR", "DNAME", "MX", "SOA", "TXT", "SRV", "CAA", "HTTPS", "TYPE65280", "RP"]
TYPES = [*WRITTEN, "ANY"]

name = st.sampled_from(NAMES) | st.sampled_from(NAMES[:2] + NAMES[6:9])
octets = st.binary(max_size=20) | st.text(string.printable, max_size=20).map(str.encode)
uint16 = st.integers(0, 65535)
uint32 = st.integers(0, 2**32 - 1)
address = st.sampled_from([b"\0\0\0\0", b"\xc0\0\2\7", b"\xff\xff\xff\xff"]) | st.binary(min_size=4, max_size=4)
group = st.sampled_from([b"\0\0", b"\0\0", b"\0\0", b"\xff\xff", b"\0\1", b"\x20\x01", b"\x0d\xb8"])
address6 = st.lists(group, min_size=8, max_size=8).map(b"".join) | st.binary(min_size=16, max_size=16)
labels = name.map(lambda text: dns.name.from_text(text).to_wire() or b"")
strings = st.lists(octets.map(lambda data: bytes((len(data),)) + data), min_size=1, max_size=3).map(b"".join)
packed = {size: st.binary(min_size=size, max_size=size) for size in (1, 2, 6, 20)}
RDATA: dict[str, st.SearchStrategy[bytes]] = {
    "A": address,
    "AAAA": address6,
    **dict.fromkeys(["CNAME", "NS", "PTR", "DNAME"], labels),
    "MX": st.builds(bytes.__add__, packed[2], labels),
    "SOA": st.builds(lambda mname, rname, times: mname + rname + times, labels, labels, packed[20]),
    "TXT": strings,
    "SRV": st.builds(bytes.__add__, packed[6], labels),
    "CAA": st.builds(lambda flags, value: flags + b"\5issue" + value, packed[1], octets),
    "HTTPS": st.builds(lambda target: b"\0\1" + target + b"\0\1\0\3\2h2", labels),
    "TYPE65280": octets,
    "RP": st.builds(bytes.__add__, labels, labels),
}


@st.composite
def rrset(draw: st.DrawFn, types: list[str], owners: st.SearchStrategy[str] = name) -> Any:
    """One record, nearly always of class IN."""
    type = draw(st.sampled_from(types))
    rdclass = dns.rdataclass.IN
    wire = draw(RDATA[type])
    rdata = dns.rdata.from_wire(rdclass, dns.rdatatype.from_text(type), wire, 0, len(wire))
    if draw(st.integers(0, 19)) == 0:
        rdclass = dns.rdataclass.HS
        rdata = dns.rdata.from_wire(rdclass, dns.rdatatype.from_text(type), wire, 0, len(wire))
    result = dns.rrset.from_rdata(draw(owners), 0, rdata)
    result.ttl = draw(st.sampled_from([0, 300, 2**31 - 1]))
    return result


@st.composite
def replies(draw: st.DrawFn) -> tuple[bytes, Query]:
    """A reply and its query: half of them as nameservers write them, half with everything that may be wrong."""
    strange = draw(st.booleans())
    asked = draw(st.sampled_from([NAME, *NAMES] if strange else NAMES[:6]))
    query = Query(0, "", asked, draw(st.sampled_from(["A", "A", *TYPES])))
    message = dns.message.make_response(dns.message.make_query(query.name, query.type))
    message.flags |= draw(st.sampled_from([0, dns.flags.AA, dns.flags.RA]))
    message.authority = draw(st.lists(rrset(["NS", "NS", "SOA", "TXT"], st.sampled_from(NAMES[:6])), max_size=2))
    if strange or draw(st.booleans()):
        message.answer = draw(strange_answers(query) if strange else chains(query, st.just(0)))
        message.authority = draw(st.lists(rrset(["NS", "SOA", "TXT"]), max_size=3))
        message.additional = draw(st.lists(rrset(["A", "AAAA"]), max_size=2))
    rcode = draw(st.sampled_from([0, 0, 0, 0, 0, 3, 3, 2, 12]))
    if draw(st.booleans()):
        cookie: list[dns.edns.Option] = [dns.edns.GenericOption("COOKIE", b"cookie12")]
        message.use_edns(0, options=draw(st.sampled_from([[], cookie])))
        rcode = draw(st.sampled_from([rcode, rcode, 16, 19, 4095])) if strange else rcode
    message.set_rcode(dns.rcode.Rcode(rcode))
    return (uncompressed if strange and draw(st.booleans()) else compressed)(message), query


@st.composite
def strange_answers(draw: st.DrawFn, query: Query) -> list[Any]:
    """Foreign owners, types that nobody asked for, loops, duplicates, records out of order."""
    fitting = [query.type if query.type in RDATA else "A", "CNAME"]
    any_record = rrset(WRITTEN) | rrset(fitting) | rrset(fitting, st.just(query.name))
    records = draw(chains(query, st.integers(0, 1)) | st.lists(any_record, max_size=5))
    if records:
        records += draw(st.lists(st.sampled_from(records), max_size=2))
    return draw(st.permutations(records)) if draw(st.booleans()) else records


@st.composite
def chains(draw: st.DrawFn, query: Query, loop: st.SearchStrategy[int]) -> list[Any]:
    """CNAMEs one after the other, then records of the type."""
    path = [query.name, *draw(st.lists(name, max_size=3)), *[query.name] * draw(loop)]
    type = query.type if query.type in RDATA else "A"
    cnames = [dns.rrset.from_text(a, 60, "IN", "CNAME", b) for a, b in pairwise(path)]
    return cnames + draw(st.lists(rrset([type], st.just(path[-1])), max_size=3))


def compressed(message: dns.message.Message) -> bytes:
    return message.to_wire(max_size=65535)


def uncompressed(message: dns.message.Message) -> bytes:
    opt = [message.opt] if message.opt else []
    counts = len(message.answer), len(message.authority), len(message.additional) + len(opt)
    parts = [struct.pack("!HHHHHH", 0, int(message.flags), 1, *counts), message.question[0].name.to_wire() or b""]
    parts.append(struct.pack("!HH", message.question[0].rdtype, 1))
    for rrset in [*message.answer, *message.authority, *message.additional, *opt]:
        data = rrset[0].to_wire() or b""
        fixed = struct.pack("!HHIH", rrset.rdtype, rrset.rdclass, rrset.ttl, len(data))
        parts += [rrset.name.to_wire() or b"", fixed, data]
    return b"".join(parts)


# --- Against dnspython.


def quick(examples: int) -> settings:
    """The same examples each time, in a few seconds."""
    health = [HealthCheck.too_slow]
    return settings(max_examples=examples, derandomize=True, deadline=None, database=None, suppress_health_check=health)


@quick(200)
@given(replies())
def test_reads_what_dnspython_reads(case: tuple[bytes, Query]) -> None:
    """Status, answers and error of any reply are those that the rules give over dnspython's parsed message."""
    wire, query = case
    assert oracle(wire, query) == read(wire, query)


@quick(100)
@given(replies(), st.integers(0, 2**32))
def test_mutated_messages(case: tuple[bytes, Query], seed: int) -> None:
    """Of broken octets the codec says `Malformed`, or what it says of a sound message; never less than dnspython."""
    wire, query = case
    question = codec.question(query.name, query.type)
    random = Random(seed)
    for _ in range(20):
        broken = mutated(wire, random)
        start = codec.match(broken, question)
        answer = read(broken, query, start)
        try:
            expected = oracle(broken, query)
        except Exception:
            continue
        if start is not None:
            assert expected == answer, broken.hex()


def mutated(wire: bytes, random: Random) -> bytes:
    """Octets flipped, cut, inserted, left out; counts changed; pointers planted. Mostly behind the question."""
    octets = bytearray(wire)
    for _ in range(random.choice([1, 1, 2, 5])):
        at = random.randrange(random.choice([0, 2, 6, 12, 12, 12]), len(octets)) if len(octets) > 12 else 0
        kind = random.randrange(6)
        if kind == 0:
            octets[at : at + 1] = bytes([random.randrange(256)])
        elif kind == 1:
            octets[at : at + 1] = bytes([octets[at] ^ 1 << random.randrange(8)]) if octets else b""
        elif kind == 2:
            octets[at : at + 2] = struct.pack("!H", 0xC000 | random.randrange(len(octets) + 4))
        elif kind == 3:
            octets[at:at] = random.randbytes(random.randrange(1, 4))
        elif kind == 4:
            del octets[at : at + random.randrange(1, 4)]
        elif random.randrange(3) == 0:
            del octets[at:]
        else:
            count = random.choice([7, 9, 11])
            octets[count : count + 1] = bytes([random.randrange(5)])
    return bytes(octets)


@quick(60)
@given(replies(), st.integers(0, 2**32))
def test_fast_path_is_the_walk(case: tuple[bytes, Query], seed: int) -> None:
    """Where the fast path answers, it answers as the walk does, on sound and on broken messages."""
    wire, query = case
    question = codec.question(query.name, query.type)
    random = Random(seed)
    for message in [wire, *(mutated(wire, random) for _ in range(10))]:
        start = codec.match(message, question)
        if start is None:
            continue
        try:
            fast = codec.fast(message, start, query)
        except codec.UNPARSABLE:
            continue
        if fast is not None:
            assert codec.walk(message, start, query) == fast, message.hex()


# --- By example: what no oracle can be trusted with.

SOA = "example.com. 3600 IN SOA ns1.example.com. hostmaster.example.com. 1 2 3 4 5"


def reply(*records: str, type: str = "A", authority: tuple[str, ...] = (), rcode: int = 0) -> tuple[bytes, Query]:
    """A reply to `NAME` of records in master file format."""
    message = dns.message.make_response(dns.message.make_query(NAME, type, id=4242))
    for section, lines in ((message.answer, records), (message.authority, authority)):
        for line in lines:
            owner, ttl, rdclass, rdtype, text = line.split(" ", 4)
            section.append(dns.rrset.from_text(owner, int(ttl), rdclass, rdtype, text))
    message.set_rcode(dns.rcode.Rcode(rcode))
    return message.to_wire(), Query(0, NAME, NAME, type)


def summary(answer: Answer | None) -> tuple[str, list[str]]:
    """Status and answers on one line each."""
    assert answer is not None
    return str(answer[0]), [f"{r.name} {r.ttl} {r.type} {r.data}" for r in answer[1]]


A = f"{NAME} 300 IN A 192.0.2.7"
CNAME = f"{NAME} 300 IN CNAME web.example.net."


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        (reply(A), ("NOERROR", [f"{NAME} 300 A 192.0.2.7"])),
        (reply(A, A), ("NOERROR", [f"{NAME} 300 A 192.0.2.7"])),
        (reply("other.example. 300 IN A 192.0.2.7"), ("NODATA", [])),
        (reply(f"{NAME} 300 CH TXT x", type="TXT"), ("NODATA", [])),
        (reply(CNAME, authority=(SOA,), rcode=3), ("NXDOMAIN", [f"{NAME} 300 CNAME web.example.net."])),
        (reply(CNAME, authority=(SOA,)), ("NODATA", [f"{NAME} 300 CNAME web.example.net."])),
        (reply(CNAME, type="CNAME"), ("NOERROR", [f"{NAME} 300 CNAME web.example.net."])),
        (reply(CNAME, type="ANY"), ("NOERROR", [f"{NAME} 300 CNAME web.example.net."])),
        (reply("web.example.net. 60 IN A 192.0.2.7", CNAME), ("NOERROR", [
            f"{NAME} 300 CNAME web.example.net.", "web.example.net. 60 A 192.0.2.7"])),
        (reply(CNAME, f"web.example.net. 60 IN CNAME {NAME}"), ("NODATA", [
            f"{NAME} 300 CNAME web.example.net.", f"web.example.net. 60 CNAME {NAME}"])),
        (reply("example.com. 9 IN DNAME example.net.", f"{NAME} 0 IN CNAME www.example.net.",
               "www.example.net. 60 IN A 192.0.2.7"), ("NOERROR", [
            f"{NAME} 0 CNAME www.example.net.", "www.example.net. 60 A 192.0.2.7"])),
        (reply(f"{NAME} 1 IN TYPE65280 \\# 4 0a000001", type="TYPE65280"), ("NOERROR", [
            f"{NAME} 1 TYPE65280 \\# 4 0a000001"])),
        (reply(A, rcode=2), ("SERVFAIL", [])),
        (reply(rcode=16), ("BADVERS", [])),
        (reply(rcode=3841), ("RCODE3841", [])),
    ],
)  # fmt: skip
def test_answers(case: tuple[bytes, Query], expected: tuple[str, list[str]]) -> None:
    """The chain, then the records of the type; no strangers, no duplicates, nothing of an error."""
    assert expected == summary(read(*case))


@pytest.mark.parametrize(
    ("owner", "expected"),
    [
        ("com.", "referral to the nameservers of com.: the nameserver asked does not recurse"),
        (NAME, f"referral to the nameservers of {NAME}: the nameserver asked does not recurse"),
        (".", "upward referral to the nameservers of the root: the nameserver asked does not recurse"),
        ("example.net.", None),
        ("w.example.com.", None),
    ],
)
def test_referral(owner: str, expected: str | None) -> None:
    """Nameservers of a zone that encloses the name, and nothing else: the sentence says where they lead."""
    case = reply(authority=(f"{owner} 60 IN NS ns.example.net.",))
    assert (Status.NODATA, [], expected) == read(*case)


def test_referral_needs_silence_of_the_zone() -> None:
    """With an SOA, an answer or the AA bit, NS records are no referral; records of another class do not count."""
    ns = "Example.com. 60 IN NS ns.example.com."
    wire, query = reply(authority=(ns,))
    authoritative = wire[:2] + bytes([wire[2] | 4]) + wire[3:]
    foreign = reply(authority=(ns.replace("IN", "CH"),)), reply(authority=(SOA.replace("IN", "CH"), ns))
    cases = [(authoritative, query), reply(authority=(ns, SOA)), reply(CNAME, authority=(ns,)), *foreign]
    sentence = "referral to the nameservers of Example.com.: the nameserver asked does not recurse"
    assert [None, None, None, None, sentence] == [(read(*case) or ("", "", "Malformed"))[2] for case in cases]


def header(answers: int, authority: int = 0, additional: int = 0, type: str = "A") -> bytes:
    counts = struct.pack("!HHHH", 1, answers, authority, additional)
    return b"\0\0\x84\0" + counts + codec.question(NAME, type)


def changed(wire: bytes, at: int, octet: int) -> bytes:
    return wire[:at] + bytes([octet]) + wire[at + 1 :]


def record(owner: bytes, type: int, rdata: bytes, ttl: int = 60) -> bytes:
    return owner + struct.pack("!HHIH", type, 1, ttl, len(rdata)) + rdata


HERE, ROOT_OPT = b"\xc0\x0c", record(b"\0", 41, b"", ttl=0)
FIRST = len(header(0)) + 12  # the offset of the first rdata, where its owner is a pointer


def pointer(to: int) -> bytes:
    return struct.pack("!H", 0xC000 | to)


@pytest.mark.parametrize(
    "wire",
    [
        header(1),
        header(1) + record(HERE, 1, b"\1\2\3\4")[:-1],
        header(2) + record(HERE, 1, b"\1\2\3\4"),
        header(1, 1) + record(HERE, 1, b"\1\2\3\4"),
        header(1, 0, 1) + record(HERE, 1, b"\1\2\3\4"),
        header(1) + record(HERE, 5, b"\1a\0\0"),
        header(2) + record(HERE, 5, b"\1a\0\0")[:-1] + record(pointer(FIRST), 1, b"\1\2\3\4"),
        header(1, 0, 1) + record(HERE, 1, b"\1\2\3\4\5")[:-1] + ROOT_OPT,
        header(1) + record(HERE, 5, pointer(FIRST)),
        header(1) + record(HERE, 5, pointer(FIRST + 2) + b"\0"),
        header(1) + record(HERE, 5, b"\1a" + pointer(FIRST)),
        header(1) + record(HERE, 5, b"\x40a\0"),
        header(1) + record(HERE, 5, b"\x80a\0"),
        header(1) + record(HERE, 5, b"\1a" * 128 + b"\0"),
        header(1) + record(HERE, 5, b"\1a" * 120 + HERE),
        header(1) + record(pointer(FIRST - 12), 1, b"\1\2\3\4"),
        header(0, 1) + record(pointer(FIRST - 12), 2, b"\0"),
        header(0, 1) + record(b"\1a" * 128 + b"\0", 2, b"\0"),
        header(0, 1) + record(b"\1a" * 128 + HERE, 2, b"\0"),
        header(0, 0, 2) + ROOT_OPT + ROOT_OPT,
    ],
)
def test_malformed(wire: bytes) -> None:
    """Sections that end early, a CNAME that cannot be followed, names that are none."""
    number = int.from_bytes(wire[FIRST - 16 : FIRST - 14], "big")
    query = Query(0, NAME, NAME, dns.rdatatype.to_text(dns.rdatatype.RdataType(number)))
    with pytest.raises(codec.Malformed):
        codec.read(wire, FIRST - 12, query)


@pytest.mark.parametrize(
    ("type", "rdata"),
    [
        ("A", b"\1\2\3"),
        ("A", b"\1\2\3\4\5"),
        ("A", b""),
        ("AAAA", b"\1\2\3\4"),
        ("TXT", b""),
        ("TXT", b"\3ab"),
        ("MX", b"\0"),
        ("MX", b"\0\1" + pointer(FIRST + 2)),
        ("CNAME", b"\1a\0\0"),
        ("CNAME", pointer(FIRST)),
        ("SOA", b"\0\0" + bytes(19)),
        ("SOA", b"\0\0" + bytes(21)),
        ("CAA", b"\0"),
        ("LOC", b"\1" + bytes(15)),
        ("HTTPS", b"\0\0\1t\0\0\1\0\3\2h2"),
        ("SVCB", b"\0\1"),
        ("DS", b"\1"),
    ],
)
@pytest.mark.parametrize("asked", ["its type", "ANY"])
def test_rdata_that_cannot_be_read(type: str, rdata: bytes, asked: str) -> None:
    """It is written as RFC 3597 has it, for its own type as for ANY; its neighbours are unharmed."""
    number = dns.rdatatype.from_text(type)
    good = [record(HERE, 1, b"\1\2\3\4")] if asked == "ANY" else []
    wire = header(1 + 2 * len(good)) + b"".join([record(HERE, number, rdata), *good, *good]) + ROOT_OPT
    wire = wire.replace(b"\0\0\0\0\3www", b"\0\0\0\1\3www")
    expected = [f"{NAME} 60 {type} \\# {len(rdata)} {rdata.hex()}".rstrip()]
    expected += [f"{NAME} 60 A 1.2.3.4"] * len(good)
    query = Query(0, NAME, NAME, "ANY" if asked == "ANY" else type)
    answer = read(wire, query)
    assert ("NOERROR", [line.rstrip() for line in expected]) == summary(answer)


@pytest.mark.parametrize("junk", [b"\0", b"\0\0\0\0", b"\xc0\x0c", b"trailing", bytes(600)])
@pytest.mark.parametrize(
    ("case", "expected"),
    [
        (header(1) + record(HERE, 1, b"\1\2\3\4"), ("NOERROR", [f"{NAME} 60 A 1.2.3.4"])),
        (header(1, 0, 1) + record(HERE, 1, b"\1\2\3\4") + ROOT_OPT, ("NOERROR", [f"{NAME} 60 A 1.2.3.4"])),
        (header(2) + record(HERE, 5, b"\1a\0") + record(pointer(FIRST), 1, b"\1\2\3\4"),
         ("NOERROR", [f"{NAME} 60 CNAME a.", "a. 60 A 1.2.3.4"])),
        (header(0), ("NODATA", [])),
        (header(0, 0, 1) + ROOT_OPT, ("NODATA", [])),
        (changed(header(0, 1) + record(HERE, 6, b"\0\0" + bytes(20)), 3, 3), ("NXDOMAIN", [])),
        (changed(header(0), 3, 2), ("SERVFAIL", [])),
    ],
)  # fmt: skip
def test_octets_behind_the_last_record(case: bytes, expected: tuple[str, list[str]], junk: bytes) -> None:
    """One or many, they are left out, whatever kind of reply it is."""
    assert expected == summary(read(case + junk, Query(0, NAME, NAME, "A")))


def option(code: int, data: bytes) -> bytes:
    return struct.pack("!HH", code, len(data)) + data


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (b"", None),
        (option(10, b"cookie12"), None),
        (option(15, b"\0\6"), "extended DNS error 6 (DNSSEC Bogus)"),
        (option(15, b"\0\6no \xc3\xbc\x1b[31m\n\0key\xff"),
         "extended DNS error 6 (DNSSEC Bogus): no \xfc [31m key\ufffd"),
        (option(15, b"\xc0\0a"), "extended DNS error 49152: a"),
        (option(10, b"cookie12") + option(15, b"\0\x12") * 2 + option(15, b"\0\0x"),
         "extended DNS error 18 (Prohibited); extended DNS error 0 (Other Error): x"),
        (option(15, b"\0"), None),
        (option(15, b"\0\6abc")[:-1], None),
        (option(15, b"\0\6") + b"\0\x0f\xff", "extended DNS error 6 (DNSSEC Bogus)"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("answers", [0, 1])
def test_extended_errors(options: bytes, expected: str | None, answers: int) -> None:
    """What RFC 8914 says stands in the error of an rcode that tells of one, and not in that of an answer."""
    one = record(HERE, 1, b"\1\2\3\4") * answers
    wire = header(answers, 1, 2) + one + record(HERE, 2, b"\0") + record(b"\0", 1, bytes(4))
    wire += record(b"\0", 41, options, ttl=0)
    query = Query(0, NAME, NAME, "A")
    said = [(read(changed(wire, 3, rcode), query) or ("", [], "Malformed"))[::2] for rcode in (2, 5, 3)]
    assert [("SERVFAIL", expected), ("REFUSED", expected), ("NXDOMAIN", None)] == said


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (b"\0\0\x81", "replies came that could not be read: the message ends too early"),
        (b"", "replies came that could not be read: the message ends too early"),
        (b"\0\0\1\0" + bytes(8), "what came was a query, and no reply"),
        (b"\0\0\x81\0" + bytes(8), "what came was no reply to this question"),
    ],
)
def test_why_a_message_is_no_reply(message: bytes, expected: str) -> None:
    """What `match` does not take has a sentence."""
    assert (None, expected) == (codec.match(message, codec.question(NAME, "A")), codec.mismatch(message))


@pytest.mark.parametrize(
    ("type", "rdata"),
    [
        *(("AAAA", bytes.fromhex(zeros + "00" * (16 - len(zeros) // 2 - len(end) // 2) + end))
          for zeros in ("", "0000", "0001", "0000ffff", "2001", "2001000000000001", "20010000000100020003")
          for end in ("", "01", "0102", "c0000207", "ffffc0000207", "00010000")),
        ("TXT", b'\x0da b\\c"d\0e\x7ff\x80g' + b"\0" + b"\2 ~"),
        ("MX", b"\xff\xff\0"),
        ("SRV", b"\0\1\xff\xff\0\0\4a b.\0"),
        ("SOA", b"\1$\0\1@\0" + bytes.fromhex("ffffffff 00000001 80000000 00000000 7fffffff")),
        ("NS", b"\x3f" + b"a" * 63 + b"\x03x y\0"),
    ],
)  # fmt: skip
def test_text_of_rdata(type: str, rdata: bytes) -> None:
    """The writing is dnspython's: zeros in addresses, quotes, escapes, numbers with the top bit."""
    number = dns.rdatatype.from_text(type)
    expected = dns.rdata.from_wire(dns.rdataclass.IN, number, rdata, 0, len(rdata)).to_text()
    answer = read(header(1, type=type) + record(HERE, number, rdata), Query(0, NAME, NAME, type))
    assert ("NOERROR", [f"{NAME} 60 {type} {expected}"]) == summary(answer)


def test_letter_case_of_owners() -> None:
    """A name that equals the question has the query's text; others have their own; neither case decides who is who."""
    query = Query(0, NAME, "wWw.eXample.com.", "A")
    owner = b"\3WWW\7EXAMPLE\3com\0"
    wire = header(3) + record(owner, 5, b"\1a\0") + record(b"\1A\0", 5, b"\1B\0") + record(b"\1b\0", 1, b"\1\2\3\4")
    expected = ["wWw.eXample.com. 60 CNAME a.", "A. 60 CNAME B.", "b. 60 A 1.2.3.4"]
    assert ("NOERROR", expected) == summary(read(wire, query))


def test_loop_with_records() -> None:
    """A chain that comes back to the name: the name has records of the type, so its CNAME is not followed at all."""
    back = record(pointer(FIRST), 5, b"\3www\7example\3COM\0")
    wire = header(3) + record(HERE, 5, b"\1a\0") + back + record(pointer(FIRST + 15), 1, b"\1\2\3\4")
    assert ("NOERROR", [f"{NAME} 60 A 1.2.3.4"]) == summary(read(wire, Query(0, NAME, NAME, "A")))


def test_rcode_of_one_record_and_opt() -> None:
    """The most common layout, but with an error: in the header, in the OPT record, in both."""
    wire, query = header(1, 0, 1) + record(HERE, 1, b"\1\2\3\4") + ROOT_OPT, Query(0, NAME, NAME, "A")
    in_opt = changed(wire, len(wire) - 6, 1)
    wires = [wire, changed(wire, 3, 2), changed(wire, 3, 3), in_opt, changed(in_opt, 3, 7)]
    expected = [("NOERROR", 1), ("SERVFAIL", 0), ("NXDOMAIN", 1), ("BADVERS", 0), ("BADCOOKIE", 0)]
    answers = [summary(read(wire, query)) for wire in wires]
    assert expected == [(status, len(records)) for status, records in answers]


def test_ttl_with_the_top_bit() -> None:
    """It counts as 0 (RFC 2181 section 8): in the one-record path, the fast path and the walk, as in dnspython."""
    query = Query(0, NAME, NAME, "A")
    one, two = (record(HERE, 1, bytes([1, 2, 3, last]), 2**31) for last in (4, 5))
    cname = record(HERE, 5, b"\1a\0", 2**32 - 1)
    wires = [header(1, 0, 1) + one + ROOT_OPT, header(2) + one + two, header(3) + one + one + two, header(1) + cname]
    assert [oracle(wire, query) for wire in wires] == [read(wire, query) for wire in wires]
    assert [{0}] * 4 == [{r.ttl for r in (read(wire, query) or ("", [], ""))[1]} for wire in wires]


class Counted(bytes):
    """Octets that count how often they are looked at."""

    looks = 0

    def __getitem__(self, key: Any) -> Any:
        Counted.looks += 1
        return super().__getitem__(key)


class CountedList(list[str]):
    """Texts that count how often they are looked up."""

    looks = 0

    def __getitem__(self, key: Any) -> Any:
        self.looks += 1
        return super().__getitem__(key)


LABELS = (b"\1\1" * 125 + b"\0\0\0") * 63  # a name of up to 126 labels from nearly every octet on
CHAIN = b"\0\0" + b"".join(pointer(FIRST + 2 * i) for i in range(7900))  # each pointer to the one before


@pytest.mark.parametrize(
    ("type", "first", "make"),
    [
        ("A", LABELS, lambda i: record(pointer(FIRST + i), 5, pointer(FIRST + i + 1))),
        ("A", LABELS, lambda i: record(pointer(FIRST + i - 1) if i else HERE, 5, pointer(FIRST + i))),
        ("NS", LABELS, lambda i: record(HERE, 2, pointer(FIRST + 15000 - i))),
        ("ANY", LABELS, lambda i: record(HERE, 15, b"\0\1" + pointer(FIRST + i))),
        ("SOA", LABELS, lambda i: record(HERE, 6, pointer(FIRST + i) + pointer(FIRST + i * 7 % 15000) + bytes(20))),
        ("A", CHAIN, lambda i: record(pointer(FIRST + 15000 - i % 2 * 2), 1, bytes(4))),
        ("PTR", CHAIN, lambda i: record(HERE, 12, pointer(FIRST + 15000 - i % 3000 * 2))),
        ("A", b"", lambda i: record(HERE, 1, struct.pack("!I", i))),
        ("A", b"", lambda i: record(HERE, 1, bytes(4))),
        ("TXT", b"", lambda i: record(HERE, 16, bytes(255))),
    ],
)  # fmt: skip
def test_linear_time(type: str, first: bytes, make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """64 kB of the worst that compression allows: each octet is looked at and escaped a few times, not thousands."""
    escaped = CountedList(names.ESCAPED)
    monkeypatch.setattr(names, "ESCAPED", escaped)
    records = [record(HERE, 65281, first)]
    length = FIRST + len(first)
    while length + len(more := make(len(records) - 1)) < 65535:
        records.append(more)
        length += len(more)
    wire = Counted(header(len(records), type=type) + b"".join(records))
    Counted.looks = 0
    status, _, _ = codec.read(wire, FIRST - 12, Query(0, NAME, NAME, type))
    assert status in (Status.NOERROR, Status.NODATA)
    assert len(wire) * 4 > Counted.looks
    assert len(wire) > escaped.looks


# --- Questions.


@given(st.lists(st.binary(min_size=1, max_size=63), max_size=4), st.sampled_from(TYPES))
@quick(200)
def test_question_is_what_dnspython_writes(labels: list[bytes], type: str) -> None:
    """Any name that fits, escapes and all, comes out as dnspython's octets; `read` has its text back."""
    absolute = dns.name.Name([*labels, b""]) if sum(map(len, labels)) + len(labels) < 255 else dns.name.root
    expected = absolute.to_wire() or b""
    tail = struct.pack("!HH", dns.rdatatype.from_text(type), 1)
    assert expected + tail == codec.question(absolute.to_text(), type)
    assert absolute.to_text() == names.to_text(expected)


@pytest.mark.parametrize("plain", ["www.example.com.", "_x._TCP.a-b.", "a/b.0.", "com.", ".", "a" * 63 + "."])
def test_question_of_plain_names(plain: str) -> None:
    """The names that nearly all lists hold, letter case kept."""
    assert dns.name.from_text(plain).to_wire() == codec.question(plain, "A")[:-4]


@given(st.lists(st.tuples(st.sampled_from([*NAMES, "net.", r"a\.b.com.", r"b.a\.b."]), st.sampled_from(TYPES[:3]))))
@example([(".", "A"), ("com.", "A"), ("net.", "A")])
@quick(100)
def test_questions_by_the_batch(asked: list[tuple[str, str]]) -> None:
    """Each is what `question` says, whatever was encoded before it; names that are none raise as there."""
    codec.TAILS.clear()
    queries = [Query(0, "", name, type) for name, type in asked]
    assert [codec.question(name, type) for name, type in asked] == codec.questions(queries)
    for query in queries[::2]:
        query.question = b"encoded"
    expected = [query.question or codec.question(query.name, query.type) for query in queries]
    assert expected == codec.questions(queries)


@pytest.mark.parametrize("bad", ["", "a..com.", ".com.", "a" * 64 + ".com.", "ab." * 86, "ü.com.", r"\999.com."])
def test_batch_with_what_is_no_name(bad: str) -> None:
    """The memory of what follows a first label lets no bad label through."""
    codec.questions([Query(0, "", "www.com.", "A")])
    with pytest.raises(ValueError, match="is not a name that DNS can be asked"):
        codec.questions([Query(0, "", bad, "A")])


@pytest.mark.parametrize(
    "bad", ["", "a..b.", "..", ".a.", "a" * 64 + ".", "x." + "a" * 64 + ".", "ab." * 86, r"\999.", "a\\", "ü.example."]
)
def test_question_of_what_is_no_name(bad: str) -> None:
    """Empty or long labels, long names, broken escapes, U-labels: a `ValueError` that names it."""
    with pytest.raises(ValueError, match="is not a name that DNS can be asked"):
        codec.question(bad, "A")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a", "A"),
        ("TYPE1", "A"),
        ("type65280", "TYPE65280"),
        ("Https", "HTTPS"),
        ("any", "ANY"),
        ("nsap-ptr", "NSAP-PTR"),
    ],
)
def test_rdtype(text: str, expected: str) -> None:
    """Any case, mnemonic or number: one writing."""
    assert expected == codec.rdtype(text)


@pytest.mark.parametrize(
    "text", ["AXFR", "ixfr", "OPT", "TSIG", "TKEY", "MAILA", "MAILB", "TYPE0", "TYPE41", "TYPE128"]
)
def test_rdtype_that_cannot_be_asked(text: str) -> None:
    """Transfers, pseudo-records and meta types are no lookups."""
    with pytest.raises(ValueError, match="cannot be asked as a lookup"):
        codec.rdtype(text)


@pytest.mark.parametrize("text", ["", "B", "TYPE65536", "TYPE-1", "TYPE", "A A", "ſoa"])
def test_rdtype_that_is_none(text: str) -> None:
    """An unknown type is named in the sentence."""
    with pytest.raises(ValueError, match="is not a record type"):
        codec.rdtype(text)


def test_whole_queries() -> None:
    """With and without EDNS, a query is octet for octet dnspython's."""
    edns = dns.message.make_query(NAME, "MX", use_edns=0, payload=1232, id=258).to_wire()
    plain = dns.message.make_query(NAME, "MX", id=258).to_wire()
    question = codec.question(NAME, "MX")
    assert edns == b"\1\2" + query_form().head + question + query_form().opt
    assert plain == b"\1\2" + query_form().plain_head + question


# --- Matching.


REPLY = reply(A)[0]
REPLY6 = reply(f"{NAME} 300 IN AAAA 2001:db8::1", type="AAAA")[0]


@pytest.mark.parametrize(
    ("wire", "expected"),
    [
        (REPLY, FIRST - 12),
        (REPLY.replace(b"Example", b"eXAMPLE"), FIRST - 12),
        (REPLY.replace(b"Example", b"Exbmple"), None),
        (changed(REPLY, FIRST - 15, 28), None),  # another type
        (changed(REPLY, FIRST - 13, 3), None),  # another class
        (changed(REPLY, 2, 0x01), None),  # a query
        (changed(REPLY, 2, 0xA8), None),  # opcode UPDATE
        (changed(REPLY, 2, 0x87), FIRST - 12),  # AA, TC, RD
        (changed(REPLY, 5, 2), None),
        (changed(REPLY, 4, 1), None),
        (changed(REPLY, 5, 0), None),  # NOERROR without a question
        (REPLY[:12], None),
        (REPLY[:11], None),
        (b"", None),
        (bytes.fromhex("0000 8001 0000 0000 0000 0000"), 12),
        (bytes.fromhex("0000 8005 0000 0000 0000 0000"), 12),
        (bytes.fromhex("0000 8003 0000 0000 0000 0000"), None),
        (bytes.fromhex("0000 0005 0000 0000 0000 0000"), None),
    ],
)
def test_match(wire: bytes, expected: int | None) -> None:
    """The same question in any letter case; or none at all, with an error."""
    assert expected == codec.match(wire, codec.question(NAME, "A"))


def test_one_address_is_match_and_read() -> None:
    """Of the most common reply and all that differ from it in one octet: what it answers, those two answer."""
    query, question = Query(0, NAME, NAME, "A"), codec.question(NAME, "A")
    usual = header(1, 0, 1) + record(HERE, 1, b"\1\2\3\4") + ROOT_OPT
    changes = [changed(usual, at, octet) for at in range(len(usual)) for octet in range(256)]
    answered = 0
    for wire in [usual, *changes, usual[:-1], usual + b"\0"]:
        answers = codec.one_address(wire, question, query)
        if answers is not None:
            answered += 1
            assert FIRST - 12 == codec.match(wire, question)
            assert (False, (Status.NOERROR, answers, None)) == (codec.truncated(wire), read(wire, query))
    # Any octet may stand in ID, TTL, address and payload; in the first of the flags AA and RD are free, in the second
    # all but the rcode. Each other octet must be what it is.
    any_octet = 2 + 4 + 4 + 2
    assert 1 + 256 * any_octet + 4 + 16 + (len(usual) - any_octet - 2) == answered
    assert codec.one_address(usual, codec.question(NAME, "AAAA"), Query(0, NAME, NAME, "AAAA")) is None


def test_letter_case_counts_outside_the_name() -> None:
    """Type and class are numbers: 0x41 and 0x61 are not one letter in two cases."""
    question = codec.question(NAME, "TYPE65")
    wire = b"\0\0\x80\0\0\1\0\0\0\0\0\0" + question
    lower = wire[:-3] + b"\x61" + wire[-2:]
    assert [FIRST - 12, None] == [codec.match(wire, question), codec.match(lower, question)]


def test_error_with_an_empty_question() -> None:
    """It is read as the error that it is."""
    wire = bytes.fromhex("0000 8001 0000 0000 0000 0000")
    assert (Status.FORMERR, [], None) == read(wire, Query(0, NAME, NAME, "A"), 12)


def test_truncated() -> None:
    """The TC bit and no other."""
    assert [True, False] == [codec.truncated(changed(REPLY, 2, flags)) for flags in (0x82, 0x85)]


def test_dnspython_is_imported_when_first_needed() -> None:
    """Neither import nor the common types load it; others do."""
    code = f"""
import sys
from resolver.model import Query
from resolver.dns import message as codec
codec.question({NAME!r}, codec.rdtype("a"))
codec.read({REPLY!r}, {FIRST - 12}, Query(0, {NAME!r}, {NAME!r}, "A"))
codec.read({REPLY6!r}, {FIRST - 12}, Query(0, {NAME!r}, {NAME!r}, "AAAA"))
common = "dns" in sys.modules
codec.rdtype("caa")
print(common, "dns" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "False True\n" == done.stdout

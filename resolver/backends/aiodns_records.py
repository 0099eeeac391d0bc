"""Records from the fields of Python objects that c-ares returns, written the way all other backends write them.

Each rdata is put together again as octets and read by the wire backend's readers, so that one place decides how data
looks. pycares loses the boundaries between the strings of a TXT record (it joins them; they are cut every 255 octets
here), and the octets behind a NUL in a CAA value.
"""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING, Any

import pycares

from resolver.dns import chain, rdata
from resolver.dns import name as names
from resolver.model import Query, Record

if TYPE_CHECKING:
    from collections.abc import Callable

# By mnemonic: what may be asked, all that pycares knows.
_PREFIX = "QUERY_TYPE_"
NUMBERS: dict[str, int] = {
    name.removeprefix(_PREFIX): number for name, number in sorted(vars(pycares).items()) if name.startswith(_PREFIX)
}
_LONGEST_TTL = 0x7FFFFFFF  # RFC 2181 section 8: with the top bit set it counts as 0


def answers(records: list[pycares.DNSRecord], query: Query) -> tuple[list[Record], bool]:
    """Return the records that belong to the question (dns/chain.py), and whether one is of the wanted type.

    Raises:
        ValueError: Data cannot be read.
    """
    if (
        len(records) == 1
        and records[0].type == rdata.A
        and query.type == "A"
        and records[0].record_class == pycares.QUERY_CLASS_IN
        and f"{records[0].name}." == query.name
    ):
        ttl, data = records[0].ttl, records[0].data
        return [Record(query.name, "A", ttl if ttl <= _LONGEST_TTL else 0, data.addr)], True  # type: ignore[union-attr]  # of type A
    wanted = NUMBERS[query.type]
    by_owner: dict[bytes, list[tuple[bytes, int, pycares.DNSRecord]]] = {}
    for each in records:
        if each.record_class == pycares.QUERY_CLASS_IN and (
            each.type == rdata.CNAME or wanted in (each.type, rdata.ANY)
        ):
            owner = _name(each.name)
            by_owner.setdefault(owner.lower(), []).append((owner, each.type, each))
    asked = names.from_text(query.name).lower()
    followed, complete = chain.follow(asked, by_owner, wanted, lambda cname: _name(cname[2].data.cname))  # type: ignore[union-attr]  # of type CNAME
    found: dict[tuple[bytes, int, str], Record] = {}
    for key, (owner, number, each) in followed:
        record = _record(query.name if key == asked else names.to_text(owner), each)
        found.setdefault((key, number, record.data), record)
    return list(found.values()), complete


def _record(owner: str, record: pycares.DNSRecord) -> Record:
    data: Any = record.data
    if record.type == rdata.A:
        text = data.addr
    else:
        octets = _OCTETS[record.type](data)
        text = rdata.reader(record.type)(octets, 0, len(octets), {})
    return Record(owner, rdata.mnemonic(record.type), record.ttl if record.ttl <= _LONGEST_TTL else 0, text)


def _name(text: str) -> bytes:
    return names.from_text(f"{text}.")


def _string(text: str | bytes) -> bytes:
    octets = _long(text)
    return bytes([len(octets)]) + octets


def _long(text: str | bytes) -> bytes:
    return text.encode() if isinstance(text, str) else text


def _txt(data: Any) -> bytes:
    octets: bytes = data.data
    return b"".join(_string(octets[at : at + 255]) for at in range(0, len(octets) or 1, 255))


def _soa(data: Any) -> bytes:
    times = struct.pack("!5I", data.serial, data.refresh, data.retry, data.expire, data.minimum)
    return _name(data.mname) + _name(data.rname) + times


def _naptr(data: Any) -> bytes:
    strings = _string(data.flags) + _string(data.service) + _string(data.regexp)
    return struct.pack("!HH", data.order, data.preference) + strings + _name(data.replacement)


def _https(data: Any) -> bytes:
    parameters = b"".join(struct.pack("!HH", key, len(value)) + value for key, value in data.params)
    return struct.pack("!H", data.priority) + _name(data.target) + parameters


_OCTETS: dict[int, Callable[[Any], bytes]] = {
    pycares.QUERY_TYPE_AAAA: lambda data: socket.inet_pton(socket.AF_INET6, data.addr),
    pycares.QUERY_TYPE_CAA: lambda data: bytes([data.critical]) + _string(data.tag) + _long(data.value),
    pycares.QUERY_TYPE_CNAME: lambda data: _name(data.cname),
    pycares.QUERY_TYPE_HTTPS: _https,
    pycares.QUERY_TYPE_MX: lambda data: struct.pack("!H", data.priority) + _name(data.exchange),
    pycares.QUERY_TYPE_NAPTR: _naptr,
    pycares.QUERY_TYPE_NS: lambda data: _name(data.nsdname),
    pycares.QUERY_TYPE_PTR: lambda data: _name(data.dname),
    pycares.QUERY_TYPE_SOA: _soa,
    pycares.QUERY_TYPE_SRV: lambda data: (
        struct.pack("!HHH", data.priority, data.weight, data.port) + _name(data.target)
    ),
    pycares.QUERY_TYPE_TLSA: lambda data: (
        bytes([data.cert_usage, data.selector, data.matching_type]) + data.cert_association_data
    ),
    pycares.QUERY_TYPE_TXT: _txt,
    pycares.QUERY_TYPE_URI: lambda data: struct.pack("!HH", data.priority, data.weight) + _long(data.target),
}

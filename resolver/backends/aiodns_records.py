"""What c-ares returns as fields of Python objects, written the way all other backends write it.

Each rdata is put together again as octets and read by the wire backend's readers, so that one place decides how data
looks. What pycares has lost on the way is lost: the boundaries between the strings of a TXT record (it joins them; they
are cut every 255 octets here) and what follows a NUL in a CAA value.
"""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING, Any

import pycares

from resolver.dns import name as names
from resolver.dns import rdata
from resolver.model import Query, Record

if TYPE_CHECKING:
    from collections.abc import Callable

# By mnemonic: what may be asked, all that pycares knows.
NUMBERS = {
    "A": pycares.QUERY_TYPE_A,
    "AAAA": pycares.QUERY_TYPE_AAAA,
    "ANY": pycares.QUERY_TYPE_ANY,
    "CAA": pycares.QUERY_TYPE_CAA,
    "CNAME": pycares.QUERY_TYPE_CNAME,
    "HTTPS": pycares.QUERY_TYPE_HTTPS,
    "MX": pycares.QUERY_TYPE_MX,
    "NAPTR": pycares.QUERY_TYPE_NAPTR,
    "NS": pycares.QUERY_TYPE_NS,
    "PTR": pycares.QUERY_TYPE_PTR,
    "SOA": pycares.QUERY_TYPE_SOA,
    "SRV": pycares.QUERY_TYPE_SRV,
    "TLSA": pycares.QUERY_TYPE_TLSA,
    "TXT": pycares.QUERY_TYPE_TXT,
    "URI": pycares.QUERY_TYPE_URI,
}
_LONGEST_TTL = 0x7FFFFFFF  # RFC 2181 section 8: with the top bit set it counts as 0


def answers(records: list[pycares.DNSRecord], query: Query) -> tuple[list[Record], bool]:
    """The records that belong to the question, as the codec chooses them, and whether one is of the wanted type.

    The CNAME chain from the name, each CNAME once, then the records of the type at its end. Raises ValueError for data
    that cannot be read.
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
    by_owner: dict[bytes, list[pycares.DNSRecord]] = {}
    for each in records:
        if each.record_class == pycares.QUERY_CLASS_IN:
            by_owner.setdefault(_name(each.name).lower(), []).append(each)
    wanted = NUMBERS[query.type]
    owner = names.from_text(query.name).lower()
    found: dict[tuple[bytes, int, str], Record] = {}
    name = query.name
    while here := by_owner.pop(owner, None):  # used up on the way, so loops end
        last = here if wanted == rdata.ANY else [each for each in here if each.type == wanted]
        chain = [each for each in here if each.type == rdata.CNAME][:1]
        for each in last or chain:
            record = _record(name, each)
            found.setdefault((owner, each.type, record.data), record)
        if last:
            return list(found.values()), True
        if not chain:
            break
        target = _name(chain[0].data.cname)  # type: ignore[union-attr]  # of type CNAME
        owner, name = target.lower(), names.to_text(target)
    return list(found.values()), False


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
    octets = text.encode() if isinstance(text, str) else text
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

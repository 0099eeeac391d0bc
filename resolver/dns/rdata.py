"""Types and rdata: mnemonic <-> number, octets -> presentation format.

Own code for the types that nearly every lookup asks for; dnspython, imported when the first other one comes, for the
rest. The texts are dnspython's, octet for octet: the tests hold the one against the other.

A reader gets octets of a stranger. It may read past its rdata, but not return
a text then; and dnspython takes up to 0.5 ms for one rdata, so no type that is asked in bulk should be left to it.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterator

from resolver.dns import name as names
from resolver.dns.name import Malformed
from resolver.spelling import meant

IN = 1
A, NS, CNAME, SOA, AAAA, OPT, ANY = 1, 2, 5, 6, 28, 41, 255

MISFIT = "the length of an rdata does not fit its content"

Reader = Callable[[bytes, int, int, dict[int, bytes]], str]


def records(message: bytes, at: int, count: int) -> Iterator[tuple[int, int, int, int, int, int]]:
    """Yield of each of so many records where its owner is, its type, class and TTL, and offset and octets of its rdata.

    Raises what `reader` raises where there are not so many; that the last rdata is whole is not looked at.
    """
    for _ in range(count):
        owner, at = at, names.skip(message, at)
        number, cls, ttl, size = fixed(message, at)
        yield owner, number, cls, ttl, at + 10, size
        at += 10 + size


fixed = struct.Struct("!HHIH").unpack_from  # type, class, TTL, octets of rdata: what follows each owner


def reader(number: int) -> Reader:
    """Return the reader of a type's rdata: `(message, offset, octets, known as in names.read)` -> presentation.

    It raises `Malformed` where the rdata does not fit its type exactly, or `IndexError` and `struct.error` where the
    message ends too early.
    """
    return _READERS.get(number) or _by_dnspython(number)


def _a(message: bytes, at: int, size: int, known: dict[int, bytes]) -> str:
    if size != 4:
        raise Malformed(MISFIT)
    d = DECIMAL
    return f"{d[message[at]]}.{d[message[at + 1]]}.{d[message[at + 2]]}.{d[message[at + 3]]}"


def _aaaa(message: bytes, at: int, size: int, known: dict[int, bytes]) -> str:
    address = message[at : at + size]
    if len(address) != 16:
        raise Malformed(MISFIT)
    if message[at] or message[at + 1]:
        return _inet_ntop(_AF_INET6, address)
    # C libraries differ on which of these carry an IPv4 address, and on how that is written.
    import dns.ipv6

    return dns.ipv6.inet_ntoa(address)


def generic(number: int, octets: bytes) -> str:
    r"""Rdata of a type that cannot be read as such (RFC 3597 section 5): `\# 4 c0000201`."""
    import dns.rdata
    import dns.rdataclass
    import dns.rdatatype

    type = dns.rdatatype.RdataType(number)
    return dns.rdata.GenericRdata(dns.rdataclass.IN, type, octets).to_text().rstrip()


DECIMAL = [str(octet) for octet in range(256)]
_inet_ntop, _AF_INET6 = socket.inet_ntop, socket.AF_INET6


def _name(message: bytes, at: int, size: int, known: dict[int, bytes]) -> str:
    name, end = names.read(message, at, known)
    if end != at + size:
        raise Malformed(MISFIT)
    return names.to_text(name)


def _mx(message: bytes, at: int, size: int, known: dict[int, bytes]) -> str:
    return f"{message[at] << 8 | message[at + 1]} {_name(message, at + 2, size - 2, known)}"


def _srv(message: bytes, at: int, size: int, known: dict[int, bytes]) -> str:
    priority, weight, port = _SRV(message, at)
    return f"{priority} {weight} {port} {_name(message, at + 6, size - 6, known)}"


def _soa(message: bytes, at: int, size: int, known: dict[int, bytes]) -> str:
    mname, middle = names.read(message, at, known)
    rname, end = names.read(message, middle, known)
    if end + 20 != at + size:
        raise Malformed(MISFIT)
    serial, refresh, retry, expire, minimum = _TIMES(message, end)
    return f"{names.to_text(mname)} {names.to_text(rname)} {serial} {refresh} {retry} {expire} {minimum}"


def _txt(message: bytes, at: int, size: int, known: dict[int, bytes]) -> str:
    end = at + size
    strings = []
    while at < end:
        start, at = at + 1, at + 1 + message[at]
        strings.append(message[start:at])
    if at != end or size == 0:
        raise Malformed(MISFIT)
    return " ".join([f'"{_quotable(string)}"' for string in strings])


_SRV = struct.Struct("!HHH").unpack_from
_TIMES = struct.Struct("!IIIII").unpack_from

_QUOTED = [
    f"\\{chr(octet)}" if octet in b'"\\' else chr(octet) if 0x20 <= octet < 0x7F else f"\\{octet:03d}"
    for octet in range(256)
]
_UNQUOTED = bytes(octet for octet in range(256) if len(_QUOTED[octet]) == 1)


def _quotable(string: bytes) -> str:
    if not string.translate(None, _UNQUOTED):
        return string.decode("ascii")
    return "".join([_QUOTED[octet] for octet in string])


_TYPES: list[tuple[str, int, Reader]] = [
    ("A", A, _a),
    ("NS", NS, _name),
    ("CNAME", CNAME, _name),
    ("SOA", SOA, _soa),
    ("PTR", 12, _name),
    ("MX", 15, _mx),
    ("TXT", 16, _txt),
    ("AAAA", AAAA, _aaaa),
    ("SRV", 33, _srv),
    ("DNAME", 39, _name),
]
_READERS = {number: read for _, number, read in _TYPES}


def _by_dnspython(number: int) -> Reader:
    import dns.rdata
    import dns.rdataclass
    import dns.rdatatype

    type = dns.rdatatype.RdataType(number)

    def read(message: bytes, at: int, size: int, known: dict[int, bytes]) -> str:
        try:
            return dns.rdata.from_wire(dns.rdataclass.IN, type, message, at, size).to_text()
        except Exception as error:  # of a hundred parsers of foreign octets, whatever it is: the octets are at fault
            raise Malformed(f"rdata of type {mnemonic(number)} cannot be read: {error}") from error

    return _READERS.setdefault(number, read)


# -- types --

_NUMBERS = {text: number for text, number, _ in _TYPES} | {"ANY": ANY}
_MNEMONICS = {number: text for text, number in _NUMBERS.items()}


def number(mnemonic: str) -> int:
    """The number of a type's mnemonic in capitals, or of `TYPE65280` (RFC 3597). `ValueError` for an unknown one."""
    if mnemonic not in _NUMBERS:
        import dns.exception
        import dns.rdatatype

        try:
            _NUMBERS[mnemonic] = int(dns.rdatatype.from_text(mnemonic))
        except (dns.exception.DNSException, ValueError) as error:
            raise ValueError(no_type(mnemonic)) from error
    return _NUMBERS[mnemonic]


def mnemonics() -> list[str]:
    """Return the mnemonics of the types that are known and can be asked, in the order of their numbers."""
    import dns.rdatatype

    numbers = sorted(set(map(int, dns.rdatatype.RdataType)) - {0, OPT})
    return [mnemonic(each) for each in numbers if not 128 <= each < ANY]


def no_type(text: str) -> str:
    """Sentence for somebody who asks for a record type that there is not."""
    usual = "A, AAAA, CAA, CNAME, DS, HTTPS, MX, NS, PTR, SOA, SRV, TXT"
    said = f"{text!r} is not a record type; valid: {usual}, any other of IANA's list, or TYPE and a number"
    return said + meant(text, usual.split(", "))


def mnemonic(number: int) -> str:
    """The IANA mnemonic of a type, or `TYPE65280` (RFC 3597 section 5)."""
    if number not in _MNEMONICS:
        import dns.rdatatype

        _MNEMONICS[number] = dns.rdatatype.to_text(dns.rdatatype.RdataType(number))
    return _MNEMONICS[number]

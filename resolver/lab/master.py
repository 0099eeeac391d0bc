"""Zones from master files (RFC 1035 section 5), answered as an authoritative server does (RFC 1034 section 4.3.2).

dnspython reads the files and writes the messages, names compressed; the search is here. Names are kept absolute.
"""

import contextlib
import re
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import dns.exception
import dns.message
import dns.name
import dns.rrset
import dns.zone
from dns.flags import Flag
from dns.name import Name
from dns.rcode import Rcode
from dns.rdataclass import RdataClass
from dns.rdatatype import RdataType

from .octets import PAYLOAD, ReceivedQuery, truncated

# The first record of a file that names no origin: its owner, where that is absolute and the type is SOA.
_SOA_OWNER = re.compile(r"^(\S*\.)\s(?:[^;\n]*\s)?SOA\s", re.MULTILINE | re.IGNORECASE)

# As many CNAMEs as are followed within a zone; more than that is a loop or a joke.
_CHAIN_MOST = 50


def read_zones(files: Iterable[str], origin: str | None) -> list["Zone"]:
    """Return the zones of these files, the longest origin first: a name belongs to the zone that it is deepest in.

    Raises `ValueError` for a file that cannot be used, `OSError` for one that cannot be read.
    """
    return sorted((Zone(file, origin) for file in files), key=lambda zone: -len(zone.origin))


class Zone:
    """One zone. `origin`: its name as octets, in lower case."""

    def __init__(self, file: str, origin: str | None) -> None:
        self._zone = _read(file, origin)
        assert self._zone.origin is not None
        self._apex = self._zone.origin
        self.origin = self._apex.canonicalize().to_wire() or b""
        # Every name that exists, those without records of their own that lie between too (RFC 8020 section 2).
        self._existing = {above for name in self._zone.nodes for above in _upwards(name, self._apex)}

    def holds(self, key: bytes) -> bool:
        """Return whether a name, in lower case, is in or below the zone."""
        return key.endswith(self.origin) and dns.name.from_wire(key, 0)[0].is_subdomain(self._apex)

    def answer(self, query: ReceivedQuery) -> bytes:
        """Return the reply to a query, truncated where the client takes no more."""
        name, rtype = dns.name.from_wire(query.name, 0)[0], RdataType.make(query.type)
        reply = dns.message.QueryMessage(int.from_bytes(query.id))
        reply.flags = Flag.QR | Flag.AA | query.flags & (Flag.RD | Flag.CD)
        reply.question.append(dns.rrset.RRset(name, RdataClass.IN, rtype))
        if query.edns:
            reply.use_edns(0, int.from_bytes(query.edns.flags), PAYLOAD)
        _Search(self._zone, self._apex, self._existing, reply).run(name, rtype)
        for _ in range(2):
            with contextlib.suppress(dns.exception.TooBig):
                return reply.to_wire(max_size=query.limit)
            # Addresses that nobody asked for go first (RFC 2181 section 9).
            reply.additional = []
        return truncated(query)


class _Search:
    """One search through a zone, its finds added to a reply."""

    def __init__(self, zone: dns.zone.Zone, apex: Name, existing: set[Name], reply: dns.message.Message) -> None:
        self._zone, self._apex, self._existing, self._reply = zone, apex, existing, reply

    def run(self, name: Name, rtype: RdataType) -> None:
        """Look the name up, and what the CNAMEs lead to while they stay in the zone."""
        onward: Name | None = name
        for _ in range(_CHAIN_MOST):
            if onward is None or not onward.is_subdomain(self._apex):
                return
            onward = self._step(onward, rtype)

    def _step(self, name: Name, rtype: RdataType) -> Name | None:
        """Go down from the apex to the name; return where an alias leads."""
        for above in reversed(list(_upwards(name, self._apex))):
            if above != self._apex and not (above == name and rtype == RdataType.DS) and self._refer(above):
                return None
            if above != name and (renamed := self._rename(name, above)):
                return renamed
        if name in self._existing:
            return self._records(name, name, rtype)
        # The closest name above that exists may have a wildcard below it (RFC 4592 section 3.3.1).
        encloser = next(above for above in _upwards(name, self._apex) if above in self._existing)
        wildcard = Name((b"*", *encloser.labels))
        if wildcard in self._existing:
            return self._records(wildcard, name, rtype)
        self._reply.set_rcode(Rcode.NXDOMAIN)
        self._deny()
        return None

    def _records(self, node: Name, owner: Name, rtype: RdataType) -> Name | None:
        found = self._rrsets(node, rtype, owner)
        if found:
            self._reply.answer += found
            for rrset in found:
                self._add_addresses(rrset)
            return None
        aliases = self._rrsets(node, RdataType.CNAME, owner)
        if not aliases:
            self._deny()
            return None
        if aliases[0] in self._reply.answer:
            return None
        self._reply.answer += aliases
        return _target(aliases[0])

    def _rename(self, name: Name, above: Name) -> Name | None:
        """Add a DNAME above the name, and the CNAME made from it (RFC 6672 section 3.1)."""
        renamed = None
        for redirection in self._rrsets(above, RdataType.DNAME, above):
            self._reply.answer.append(redirection)
            try:
                renamed = name.relativize(above) + _target(redirection)
            except dns.name.NameTooLong:
                self._reply.set_rcode(Rcode.YXDOMAIN)
                continue
            alias = dns.rrset.from_text(name, redirection.ttl, RdataClass.IN, RdataType.CNAME, renamed.to_text())
            self._reply.answer.append(alias)
        return renamed

    def _refer(self, cut: Name) -> bool:
        """Name the nameservers of the child zone at a delegation. Return whether it was one."""
        delegation = self._rrsets(cut, RdataType.NS, cut)
        if not delegation:
            return False
        if not self._reply.answer:
            self._reply.flags &= ~Flag.AA
        self._reply.authority += delegation + self._rrsets(cut, RdataType.DS, cut)
        self._add_addresses(delegation[0])
        return True

    def _deny(self) -> None:
        """Add the SOA, with the time that a negative answer may be kept (RFC 2308 section 3)."""
        for rrset in self._rrsets(self._apex, RdataType.SOA, self._apex):
            rdata: Any = rrset[0]
            rrset.ttl = min(rrset.ttl, rdata.minimum)
            self._reply.authority.append(rrset)

    def _add_addresses(self, rrset: dns.rrset.RRset) -> None:
        """Add the addresses of nameservers and mail exchangers, those below a delegation too: glue."""
        field = {RdataType.MX: "exchange", RdataType.NS: "target"}.get(rrset.rdtype)
        for target in [getattr(rdata, field) for rdata in rrset] if field else ():
            for rtype in (RdataType.A, RdataType.AAAA):
                self._reply.additional += self._rrsets(target, rtype, target)

    def _rrsets(self, node: Name, rtype: RdataType, owner: Name) -> list[dns.rrset.RRset]:
        """Return the records of a node, as those of `owner`. Signatures are a set for each type that they cover."""
        found = []
        for rdataset in self._zone.nodes.get(node, ()):
            if rtype in (rdataset.rdtype, RdataType.ANY):
                rrset = dns.rrset.RRset(owner, rdataset.rdclass, rdataset.rdtype, rdataset.covers)
                rrset.update(rdataset)  # type: ignore[no-untyped-call]
                found.append(rrset)
        return found


def _target(alias: dns.rrset.RRset) -> Name:
    rdata: Any = alias[0]
    target: Name = rdata.target
    return target


def _upwards(name: Name, apex: Name) -> Iterator[Name]:
    """Yield the name, and those above it up to the apex."""
    while name != apex:
        yield name
        name = name.parent()
    yield apex


def _read(file: str, origin: str | None) -> dns.zone.Zone:
    """Read a zone that has an SOA. The origin is the owner of the SOA where neither file nor caller names it."""
    try:
        text = Path(file).read_text(encoding="utf-8")
        parse = partial(
            dns.zone.from_text, text, relativize=False, filename=file, allow_include=True, check_origin=False
        )
        try:
            zone = parse(origin)
        except dns.zone.UnknownOrigin:
            owner = _SOA_OWNER.search(text)
            if not owner:
                raise ValueError(f"{file}: no $ORIGIN and no absolute SOA owner; name the origin") from None
            zone = parse(owner[1])
    except dns.exception.DNSException as error:
        raise ValueError(f"{file}: {error}") from error
    except UnicodeDecodeError:
        raise ValueError(f"{file}: not UTF-8") from None
    if zone.origin is None or zone.get_rdataset(zone.origin, RdataType.SOA) is None:
        raise ValueError(f"{file}: no SOA at {zone.origin}; name the origin")
    return zone

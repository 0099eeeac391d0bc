"""Nameservers: the text that a user gives for one, and its meaning."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import os
import re
import socket
import sys
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterable

_IP_BIND_ADDRESS_NO_PORT = 24  # linux/in.h
PEM = "-----BEGIN "  # certificates as text (RFC 7468), where others are named by their file
_PORTS = {"udp": 53, "tcp": 53, "tls": 853, "https": 443}
TEMPLATE = "{?dns}"  # at the end of a URL (RFC 8484 section 3)
_FORMS = "ADDR, ADDR:PORT, [V6]:PORT, with udp://, tcp:// or tls:// before it, tls://ADDR#NAME, or https://…"


class Nameserver(msgspec.Struct, frozen=True):
    """Nameserver, as `parse` makes it of a text.

    Attributes:
        transport: `udp` (TCP where a reply is truncated), `tcp`, `tls` or `https`.
        host: An IP address; of https also a host name.
        port: A port from 1 to 65535.
        name: The name that its certificate must be for (tls); None: the address.
        url: The whole address (https); `{?dns}` at its end: asked by GET, else by POST (RFC 8484).
        addresses: Those that the system knows for a host that is a name, in the order to try; none: not looked up.
    """

    transport: str
    host: str
    port: int
    name: str | None = None
    url: str | None = None
    addresses: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Nameserver:
        """Read `192.0.2.53`, `[2001:db8::1]:5353`, `tcp://192.0.2.53`, `tls://192.0.2.53#dns.example`, `https://…`.

        Args:
            text: One of these forms.

        Raises:
            ValueError: It is none; the sentence lists the forms.
        """
        text = text.strip()
        try:
            return cls._of_url(text) if text[:8].lower() == "https://" else cls._of_address(text)
        except ValueError as error:
            raise ValueError(f"{text!r} is no nameserver: {error}; valid: {_FORMS}") from None

    @classmethod
    def _of_address(cls, text: str) -> Nameserver:
        scheme, separator, rest = text.partition("://")
        if not separator:
            scheme, rest = "udp", text
        scheme = scheme.lower()
        if scheme not in _PORTS:
            raise ValueError(f"{scheme}:// is not known")
        name = None
        if scheme == "tls" and "#" in rest:
            rest, _, name = rest.partition("#")
            name = name.removesuffix(".") or name
            if not name:
                raise ValueError("no name follows the #")
            if not _can_be_certified(name):
                raise ValueError(f"no certificate is for {name!r}")
        host, port = _address(rest)
        return cls(scheme, host, _PORTS[scheme] if port is None else port, name)

    @classmethod
    def _of_url(cls, text: str) -> Nameserver:
        bare = text.removesuffix(TEMPLATE)
        url = urlsplit(bare)
        if not url.hostname:
            raise ValueError("the URL names no host")
        if "%" in url.hostname:
            raise ValueError("no URL has an address with a zone")
        if not _can_be_certified(url.hostname.removesuffix(".")):
            raise ValueError(f"{url.hostname!r} is not the name of a host")
        if "{" in bare or "}" in bare or (bare != text and url.query):
            raise ValueError(f"the one template is {TEMPLATE}, behind the path")
        return cls("https", url.hostname, url.port or _PORTS["https"], None, text)

    @property
    def bare_url(self) -> str:
        """Its URL without the template."""
        return (self.url or "").removesuffix(TEMPLATE)

    @property
    def by_get(self) -> bool:
        """Say whether it is asked by GET."""
        return (self.url or "").endswith(TEMPLATE)

    def at(self, number: int) -> Nameserver:
        """Return it at one of the addresses of its name, each in turn."""
        if not self.addresses:
            return self
        return msgspec.structs.replace(
            self, host=self.addresses[number % len(self.addresses)], name=self.host, addresses=()
        )

    @property
    def certified(self) -> str:
        """Name that its certificate must be for: its name, or its address without a zone."""
        return self.name or self.host.partition("%")[0]

    @property
    def is_address(self) -> bool:
        """Its host is an address, and no name."""
        return self.transport != "https" or _is_address(self.host)

    def check(self) -> None:
        """Raise ValueError with a sentence where `parse` would not have made it."""
        text = self.url
        if text is None:
            text = f"{self.transport}://{self}" + (f"#{self.name}" if self.name is not None else "")
        if Nameserver.parse(text) != msgspec.structs.replace(self, addresses=()) or not all(
            map(_is_address, self.addresses)
        ):
            raise ValueError(f"{text!r} is not how it is written")

    def address(self) -> tuple[socket.AddressFamily, tuple[str, int] | tuple[str, int, int, int]]:
        """Return the address family and the address of its socket. Raises OSError for a zone that this machine has not.

        getaddrinfo is not asked: under gevent that goes to a pool of threads, which is then there to stay.
        """
        if ":" not in self.host:
            return socket.AF_INET, (self.host, self.port)
        host, _, zone = self.host.partition("%")  # RFC 4007 section 11
        return socket.AF_INET6, (host, self.port, 0, _scope(zone) if zone else 0)

    def __str__(self) -> str:
        """`192.0.2.1:53`, `[2001:db8::1]:53`: how results name it."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_all(texts: Iterable[str | Nameserver]) -> tuple[Nameserver, ...]:
    """Return the nameservers that these texts name, in order; `@FILE` stands for the lines of a list.

    Raises ValueError for a text that is none, OSError for a list that cannot be read.
    """
    found: list[Nameserver] = []
    for text in texts:
        if isinstance(text, Nameserver):
            found.append(text)
        elif not isinstance(text, str):
            raise TypeError(f"a nameserver is a text such as '192.0.2.53:53', not {text!r}")
        elif text.startswith("@"):
            found += _of_file(text[1:])
        else:
            found.append(Nameserver.parse(text))
    return tuple(dict.fromkeys(found))


class Sources:
    """The local addresses that a run asks from: for each socket the next one of its nameserver's family, in turn."""

    def __init__(self, addresses: Iterable[str]) -> None:
        self._of_family: dict[int, list[str]] = {4: [], 6: []}
        for each in addresses:
            self._of_family[6 if ":" in each else 4].append(each)
        self._turns: dict[Nameserver, int] = {}

    def next(self, nameserver: Nameserver) -> str | None:
        """Return the address that a new socket towards this nameserver is to have; None: the system chooses."""
        those = self._of_family[6 if ":" in nameserver.host else 4]
        if not those:
            return None
        turn = self._turns.get(nameserver, len(self._turns))
        self._turns[nameserver] = turn + 1
        return those[turn % len(those)]

    def several(self, nameserver: Nameserver) -> int:
        """Return how many addresses take turns towards this nameserver."""
        return len(self._of_family[6 if ":" in nameserver.host else 4])


def bind(to: socket.socket, source: str | None) -> None:
    """Have a socket send from this local address, and any port. Raises OSError where it is none of this machine's."""
    if source is not None:
        if to.type == socket.SOCK_STREAM and sys.platform == "linux":
            # The port is chosen when it connects: one port may then serve towards several nameservers.
            with contextlib.suppress(OSError):  # Linux before 4.2
                to.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
        to.bind(Nameserver("udp", source, 0).address()[1])


def check_sources(sources: Iterable[str], nameservers: Iterable[Nameserver]) -> None:
    """Raise ValueError for an address that is not this machine's, and for a nameserver that none of them can ask."""
    families = set()
    for source in sources:
        family, _ = Nameserver("udp", source, 0).address()
        families.add(family)
        with socket.socket(family, socket.SOCK_DGRAM) as trial:
            try:
                bind(trial, source)
            except OSError as error:
                reason = (error.strerror or str(error)).lower()
                raise ValueError(f"{source} is no address of this machine to ask from: {reason}") from None
    for nameserver in nameservers if families else ():
        if nameserver.is_address and nameserver.address()[0] not in families:
            kind = "IPv6" if ":" in nameserver.host else "IPv4"
            raise ValueError(f"{nameserver} cannot be asked: no {kind} address to ask from is given (source)")


def tls_context(authority: str | None) -> ssl.SSLContext:
    """Return a context that checks certificates, always by name.

    Args:
        authority: Those that they are checked against, as a file, or their text in PEM: that is how they travel to
            other machines; None: the system's.

    Raises:
        OSError: The file cannot be read, or there is no certificate.
    """
    import ssl  # loaded only where there is TLS

    text = authority if authority is not None and PEM in authority else None
    return ssl.create_default_context(cafile=authority if text is None else None, cadata=text)


def authority_name(authority: str) -> str:
    """Return how an error names certificates: by their file, and never by their text."""
    return "the run's tls_ca" if PEM in authority else authority


RESOLV_CONF = "/etc/resolv.conf"


def system() -> tuple[Nameserver, ...]:
    """Return the nameservers that this machine is set up to ask, over UDP. Raises LookupError where there is none.

    Of resolv.conf(5) only the lines `nameserver ADDRESS` are consulted: whatever else it says, and what of these cannot
    be read, is passed over, as the C library does.
    """
    try:
        with open(RESOLV_CONF, "rb") as file:
            lines = file.read().decode("ascii", "replace").split("\n")
    except OSError as error:
        what = (error.strerror or str(error)).lower()
        raise LookupError(f"{RESOLV_CONF} cannot be read ({what}); name a nameserver with -n") from None
    found = [_of_line(match[1]) for line in lines if (match := re.match(r"nameserver[ \t]+([^ \t]+)", line))]
    known = tuple(dict.fromkeys(filter(None, found)))
    if not known:
        raise LookupError(f"{RESOLV_CONF} names no nameserver that can be asked; name one with -n")
    return known


def _of_line(text: str) -> Nameserver | None:
    """Read an address as the C library does: IPv4 in any form of inet_aton(3), or IPv6."""
    with contextlib.suppress(OSError):
        return Nameserver("udp", socket.inet_ntoa(socket.inet_aton(text.rstrip("\r"))), _PORTS["udp"])
    with contextlib.suppress(ValueError):
        return Nameserver("udp", str(ipaddress.IPv6Address(text.rstrip("\r"))), _PORTS["udp"])
    return None


def _of_file(path: str) -> list[Nameserver]:
    if not path:
        raise ValueError("'@' is no nameserver: no file follows the @")
    found = []
    try:
        with open(path, encoding="utf-8-sig", errors="replace") as file:
            lines = file.read().splitlines()
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from None
    for number, line in enumerate(lines, 1):
        # As in a list of hosts, # begins a comment at the start or after white space; tls://ADDR#NAME keeps its own.
        text = re.split(r"(?:^|\s)#", line, maxsplit=1)[0].strip()
        if text:
            try:
                found.append(Nameserver.parse(text))
            except ValueError as error:
                raise ValueError(f"{path}, line {number}: {error}") from None
    if not found:
        raise ValueError(f"{path} names no nameserver")
    return found


def _scope(zone: str) -> int:
    """Return the number of an interface. Raises OSError where this machine has none of that name or number."""
    try:
        if not (zone.isascii() and zone.isdigit()):
            return socket.if_nametoindex(zone)
        socket.if_indextoname(int(zone))
    except (OSError, OverflowError):
        raise OSError(errno.ENODEV, os.strerror(errno.ENODEV)) from None
    return int(zone)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _can_be_certified(name: str) -> bool:
    """Tell whether a certificate can be for it: a host name, or an address."""
    if _is_address(name):
        return True
    try:
        ascii = name.encode("idna").decode("ascii")
    except UnicodeError:  # empty labels, and those over 63 octets
        return False
    return len(ascii) <= 253 and re.fullmatch(r"[A-Za-z0-9_.-]*[A-Za-z0-9_-]", ascii) is not None


def _address(text: str) -> tuple[str, int | None]:
    bracketed = re.fullmatch(r"\[([^\]]+)\](?::(.*))?", text)
    if bracketed:
        host, port = bracketed.groups()
    elif text.count(":") == 1:
        host, port = text.split(":")
    else:
        host, port = text, None
    if not _is_address(host):
        raise ValueError(f"{host!r} is not an IP address")
    if bracketed and ":" not in host:
        raise ValueError("brackets are for IPv6 addresses")
    if port is not None and not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise ValueError(f"{port!r} is not a port from 1 to 65535")
    return str(ipaddress.ip_address(host)), None if port is None else int(port)

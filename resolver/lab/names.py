"""A host's name as it is written in a list, to the octets that a query for it carries."""

import contextlib
import ipaddress


def to_wire(text: str) -> bytes:
    """The name in lower case, uncompressed (RFC 1035 section 3.1); an address becomes its reverse name.

    Relative names are taken as absolute. U-labels are mapped by UTS 46, non-transitional; a label that IDNA 2008 has no
    place for (emoji) is mapped and written in Punycode all the same. Raises `ValueError` where DNS cannot ask the name.
    """
    text = text.strip()
    if text[:1].isdigit() or ":" in text:
        with contextlib.suppress(ValueError):
            text = _reverse(text)
    if not text.isascii() or "\\" in text:
        return _by_dnspython(text)
    return _join(text.lower().removesuffix(".").encode("ascii").split(b"."))


def _join(parts: list[bytes]) -> bytes:
    wire = b"".join([bytes((len(part),)) + part for part in parts if 0 < len(part) < 64]) + b"\0"
    if len(wire) != sum(map(len, parts)) + len(parts) + 1 or len(wire) > 255 or b" " in wire:
        raise ValueError("not a name that DNS can be asked")
    return wire


def _reverse(text: str) -> str:
    address = ipaddress.ip_address(text)
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).reverse_pointer


def _by_dnspython(text: str) -> bytes:
    # Imported here: few lists need them, and a lab should start at once.
    import dns.exception
    import dns.name
    import idna

    try:
        try:
            name = dns.name.from_text(text, idna_codec=dns.name.IDNA_2008_Practical)
        except dns.name.IDNAException:
            mapped = idna.uts46_remap(text, std3_rules=False, transitional=False)
            name = dns.name.from_text(".".join(map(_a_label, mapped.split("."))))
        return name.canonicalize().to_wire() or b""
    except (dns.exception.DNSException, UnicodeError) as error:
        raise ValueError(f"not a name that DNS can be asked: {error}") from error


def _a_label(label: str) -> str:
    return label if label.isascii() else "xn--" + label.encode("punycode").decode("ascii")

"""The options of a reply's OPT record (RFC 6891), and what its extended errors (RFC 8914) say as a sentence.

Nothing here is on the way of an ordinary answer. Whoever reads options has
stepped over all sections before, so that the message is known to be whole; an option may still be cut short.
"""

from __future__ import annotations

from resolver.dns import rdata

EDE = 15

# IANA "Extended DNS Error Codes".
NAMES = (
    "Other Error",
    "Unsupported DNSKEY Algorithm",
    "Unsupported DS Digest Type",
    "Stale Answer",
    "Forged Answer",
    "DNSSEC Indeterminate",
    "DNSSEC Bogus",
    "Signature Expired",
    "Signature Not Yet Valid",
    "DNSKEY Missing",
    "RRSIGs Missing",
    "No Zone Key Bit Set",
    "NSEC Missing",
    "Cached Error",
    "Not Ready",
    "Blocked",
    "Censored",
    "Filtered",
    "Prohibited",
    "Stale NXDomain Answer",
    "Not Authoritative",
    "Not Supported",
    "No Reachable Authority",
    "Network Error",
    "Invalid Data",
    "Signature Expired before Valid",
    "Too Early",
    "Unsupported NSEC3 Iterations Value",
    "Unable to conform to policy",
    "Synthesized",
    "Invalid Query Type",
)


def _options(message: bytes, at: int) -> list[tuple[int, bytes]]:
    """Return the options of a whole message whose answer section begins at `at`, as `read_options` does."""
    count = sum(message[count] << 8 | message[count + 1] for count in (6, 8, 10))
    for _, number, _, _, begin, size in rdata.records(message, at, count):
        if number == rdata.OPT:
            return read_options(message[begin : begin + size])
    return []


def errors(options: list[tuple[int, bytes]]) -> list[tuple[int, str]]:
    """Return the info-code and text of each extended error among options. The text has no control characters."""
    return [(data[0] << 8 | data[1], _plain(data[2:])) for code, data in options if code == EDE and len(data) > 1]


def sentence(message: bytes, at: int) -> str | None:
    """Put the extended errors into words; None where there are none."""
    if len(message) - at < 15 or not (message[10] or message[11]):
        return None  # there is no OPT record, or none with an option
    said = []
    for code, text in errors(_options(message, at)):
        name = f" ({NAMES[code]})" if code < len(NAMES) else ""
        said.append(f"extended DNS error {code}{name}" + (f": {text}" if text else ""))
    return "; ".join(dict.fromkeys(said)) or None


def read_options(octets: bytes) -> list[tuple[int, bytes]]:
    """Return code and data of each option in an OPT record's rdata; one that is cut short is left out."""
    found, at = [], 0
    while len(octets) - at >= 4:
        code, size = octets[at] << 8 | octets[at + 1], octets[at + 2] << 8 | octets[at + 3]
        at += 4 + size
        if at <= len(octets):
            found.append((code, octets[at - size : at]))
    return found


def _plain(octets: bytes) -> str:
    text = octets.decode("utf-8", "replace")
    return " ".join("".join(each if each.isprintable() else " " for each in text).split())

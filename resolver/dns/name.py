"""Domain names: presentation format <-> uncompressed octets <-> compressed octets in a message (RFC 1035 sections 3.1,
4.1.4 and 5.1).

In between, a name is always its uncompressed octets: length octets, labels, the root's zero. Lower case of those octets
is what names are compared by: a length octet is below 64 and so never an ASCII letter.

A message is written by a stranger. Every pointer points before the segment it
stands in, so loops end; and what a pointer leads to is resolved once in a message (`known`), so 64 kB of long chains
and of thousands of names with one tail cost no more than 64 kB of anything else.
"""

from __future__ import annotations

import functools

LONGEST = 255
TOO_LONG = "a name is longer than 255 octets"


class Malformed(ValueError):
    """Octets that cannot be parsed as a DNS message. The caller drops the message and waits on."""


def read(message: bytes, start: int, known: dict[int, bytes]) -> tuple[bytes, int]:
    """Return a name as uncompressed octets, and where it ends in the message.

    Args:
        message: The whole message.
        start: Where the name begins.
        known: What earlier calls resolved in the same message, by offset; it is added to.

    Raises:
        Malformed: There is no name.
        IndexError: The message ends within it.
    """
    at = start
    while 0 < (length := message[at]) < 64:
        at += length + 1
    if at - start >= LONGEST:
        raise Malformed(TOO_LONG)
    if length == 0:
        name = known[start] = message[start : at + 1]
        return name, at + 1
    name = message[start:at] + _at_target(message, _target(message, at, start), known)
    if len(name) > LONGEST:
        raise Malformed(TOO_LONG)
    known[start] = name
    return name, at + 2


def _at_target(message: bytes, at: int, known: dict[int, bytes]) -> bytes:
    """The name that a pointer leads to. Known afterwards from each of its labels on, and from each pointer in it."""
    start, passed = at, []
    while at not in known:
        length = message[at]
        passed.append(at)
        if length > 63:
            start = at = _target(message, at, start)
        elif length:
            at += length + 1
        else:
            known[at] = b"\0"
    name = known[at]
    # Not by recursion: a chain of pointers may be thousands long.
    for at in reversed(passed):
        length = message[at]
        if 0 < length < 64:
            name = message[at : at + length + 1] + name
            if len(name) > LONGEST:
                raise Malformed(TOO_LONG)
        known[at] = name
    return name


def skip(message: bytes, start: int) -> int:
    """Return where the name at `start` ends. Of its pointer it is only checked that it leads backward."""
    at = start
    while length := message[at]:
        if length > 63:
            if (length & 63) << 8 | message[at + 1] >= start or length < 192 or at - start >= LONGEST:
                _target(message, at, start)
                raise Malformed(TOO_LONG)
            return at + 2
        at += length + 1
    if at - start >= LONGEST:
        raise Malformed(TOO_LONG)
    return at + 1


def ancestors(name: bytes) -> set[bytes]:
    """The name itself and all that it is below, the root too; `name` may go on behind its end."""
    end = 0
    starts = [0]
    while length := name[end]:
        end += length + 1
        starts.append(end)
    return {name[start : end + 1] for start in starts}


def _target(message: bytes, at: int, start: int) -> int:
    if message[at] < 192:
        raise Malformed("a label has a type that is not in use")  # RFC 6891 section 5
    target = (message[at] & 63) << 8 | message[at + 1]
    if target >= start:
        raise Malformed("a compression pointer does not point backward")
    return target


# RFC 1035 section 5.1, with the choices of dnspython: what a zone file would misread is escaped.
ESCAPED = [
    f"\\{chr(octet)}" if octet in b'"().;\\@$' else chr(octet) if 0x20 < octet < 0x7F else f"\\{octet:03d}"
    for octet in range(256)
]
_UNESCAPED = bytes(octet for octet in range(256) if len(ESCAPED[octet]) == 1)


def to_text(name: bytes) -> str:
    """Return the presentation format of an uncompressed name, absolute: `www.example.`; letter case is kept."""
    if name == b"\0":
        return "."
    if len(name) > 64:
        return _long(name)
    labels = []
    at = 0
    while length := name[at]:
        labels.append(name[at + 1 : at + 1 + length])
        at += length + 1
    labels.append(b"")
    if b"".join(labels).translate(None, _UNESCAPED):
        return _long(name)
    return b".".join(labels).decode("ascii")


@functools.lru_cache(maxsize=4096)
def _long(name: bytes) -> str:
    """Label by label, and remembered from each on: a large message may hold thousands of names with one tail."""
    end = name[0] + 1
    label = "".join([ESCAPED[octet] for octet in name[1:end]])
    return f"{label}." if end == len(name) - 1 else f"{label}.{_long(name[end:])}"


PREFIX = {length: bytes((length,)) for length in range(1, 64)}


def from_text(text: str) -> bytes:
    """Return the uncompressed octets of an absolute name in presentation format; letter case is kept.

    Raises:
        ValueError: There is no such name: empty labels, labels over 63 octets, names over 255.
    """
    # A list has many names in few zones: what follows the first label is likely to have been encoded before.
    if "\\" not in text:
        label, _, parent = text.partition(".")
        try:
            name = PREFIX[len(label)] + label.encode("ascii") + _plain(parent)
        except (KeyError, UnicodeEncodeError):
            name = b""
        if 0 < len(name) <= LONGEST:
            return name
    return _escaped(text)


@functools.lru_cache(maxsize=4096)
def _plain(text: str) -> bytes:
    labels = text.encode("ascii").removesuffix(b".").split(b".") if text else []
    return b"".join([PREFIX[len(label)] + label for label in labels]) + b"\0"


def _escaped(text: str) -> bytes:
    """By dnspython: names with escapes, the root, and the sentence for what is no name."""
    import dns.exception
    import dns.name

    try:
        octets = dns.name.from_text(text.encode("ascii")).to_wire() if text else None
    except (dns.exception.DNSException, UnicodeEncodeError) as error:
        raise ValueError(f"{text!r} is not a name that DNS can be asked: {error}") from error
    if octets is None:
        raise ValueError("an empty string is not a name that DNS can be asked")
    return octets

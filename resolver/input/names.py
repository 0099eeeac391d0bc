"""Text of a host -> the name that DNS is asked.

`name_of` knows every rule and serves any text. `stretches` serves many lines at once and is why a million ordinary
names cost little more than the queries made of them; both go by the one pattern of an ordinary name. idna and
dnspython are imported when the first text needs them.
"""

from __future__ import annotations

import re
import string
from typing import TYPE_CHECKING

from resolver.input.forms import check_letters, host_of
from resolver.input.lookups import HostGroup
from resolver.input.networks import reverse_name

if TYPE_CHECKING:
    from collections.abc import Iterator

_VISIBLE = 253  # characters of a name of 255 octets (RFC 1035 section 2.3.4), without its last dot
_ESCAPED = 4 * 255  # characters of the longest name that can be, each octet written \DDD

# Letters, digits, hyphens and underscores in labels of 63 octets (RFC 1035 section 2.3.4): asked as it stands.
_LABELS = r"[A-Za-z0-9_-]{1,63}+(?:\.[A-Za-z0-9_-]{1,63}+)*+\.?"
_ORDINARY = re.compile(_LABELS)
_SHORT = 63  # octets of a line none of whose labels is too long
_ORDINARY_OCTETS = (string.ascii_letters + string.digits + "._-\n").encode()
_DIGITS_AS_0 = bytes.maketrans(string.digits.encode(), b"0" * 10)
_OCTET = r"(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
# Lines that follow one another: of ordinary names that end in no digit, so cannot be addresses; of IPv4 addresses; or
# one line of another kind.
_STRETCH = re.compile(rf"((?:{_LABELS}(?<![0-9])\n)++)|((?:{_OCTET}(?:\.{_OCTET}){{3}}\n)++)|([^\n]*)\n")

_BAD_ESCAPE = "a backslash is followed neither by three digits up to 255 nor by another character"


def name_of(text: str) -> tuple[str, str | None]:
    r"""Return the absolute name to ask, and the only type to ask it for: PTR for an IP address, else None.

    The name is in lower case and in presentation format with A-labels, as dnspython prints it. U-labels are mapped by
    UTS 46 (non-transitional) and encoded by RFC 3492 without asking what registries accept; `\.` and `\032` are the
    escapes of RFC 1035 section 5.1; an address is asked by its reverse name (RFC 1035 section 3.5, RFC 3596 section
    2.5).

    Args:
        text: One host, stripped of white space, in any of the forms of forms.py; octets that were no UTF-8 stand in it
            as U+FFFD.

    Raises:
        ValueError: One plain sentence: DNS cannot be asked for it.
    """
    if not _is_ordinary(text):
        _check(text)
        host = host_of(text)
        if host != text:
            text = host
            _check(text)
        text = _ascii(text)
    reverse = reverse_name(text) if text[-1].isdigit() or ":" in text else None
    return (_canonical(text), None) if reverse is None else (reverse, "PTR")


def stretches(lines: str, types: tuple[str, ...]) -> Iterator[HostGroup | str]:
    r"""Yield the lines, each ended by `\n`, in order: stretches of ordinary names, to be asked for these types, and of
    IPv4 addresses, and every other line alone, for its reader and `name_of`.
    """
    if (texts := _ordinary_texts(lines)) is not None:
        yield _stretch_of(texts, lines, types)
        return
    for match in _STRETCH.finditer(lines):
        names, addresses, other = match.groups()
        if names is not None:
            texts = names.splitlines()  # of letters, digits, dots, hyphens and underscores
            if max(map(len, texts)) > _VISIBLE:
                yield from texts
            else:
                yield _stretch_of(texts, names, types)
        elif addresses is not None:
            texts = addresses.splitlines()
            reverse = [".".join(text.split(".")[::-1]) + ".in-addr.arpa." for text in texts]
            yield HostGroup(texts, reverse, ("PTR",))
        else:
            yield other


def _stretch_of(texts: list[str], lines: str, types: tuple[str, ...]) -> HostGroup:
    return HostGroup(texts, lines.lower().replace(".\n", "\n").replace("\n", ".\n").splitlines(), types)


def _ordinary_texts(lines: str) -> list[str] | None:
    r"""Return these lines where a look at all of them at once shows that they are ordinary names, and no addresses.

    In most lists they are, and the pattern takes six times as long to say so.
    """
    octets = lines.encode("utf-8", "replace")
    if not octets or octets.translate(None, _ORDINARY_OCTETS) or octets[0] in b".\n":
        return None
    ends = octets.translate(_DIGITS_AS_0)
    if any(wrong in ends for wrong in (b"\n\n", b"\n.", b"..", b"0\n", b"0.\n")):
        return None
    texts = lines.splitlines()
    return texts if max(map(len, texts)) <= _SHORT else None


def canonical(labels: str) -> str:
    """Return the absolute name of labels as they are written, in none of the other forms. Raises as `name_of` does."""
    _check(labels)
    check_letters(labels)
    return _canonical(_ascii(labels))


def octets_of_name(name: str) -> int:
    """Return how many octets an absolute name has in a message (RFC 1035 section 3.1)."""
    if "\\" not in name:
        return len(name) + (name != ".")
    import dns.name

    return len(dns.name.from_text(name).to_wire() or b"")


def _ascii(text: str) -> str:
    if len(text) > _ESCAPED:
        raise ValueError("the name is longer than 255 octets")
    if text.isascii():
        return text
    text = _with_a_labels(text)
    check_letters(text)
    return text


def _is_ordinary(text: str) -> bool:
    return _ORDINARY.fullmatch(text) is not None and len(text) <= _VISIBLE


def _canonical(text: str) -> str:
    if _is_ordinary(text):
        return text.lower().removesuffix(".") + "."

    import dns.name

    try:
        return dns.name.from_text(text).canonicalize().to_text()
    except dns.name.LabelTooLong:
        raise ValueError("a label is longer than 63 octets") from None
    except dns.name.EmptyLabel:
        raise ValueError("a label is empty") from None
    except dns.name.NameTooLong:
        raise ValueError("the name is longer than 255 octets") from None
    except dns.name.BadEscape:
        raise ValueError(_BAD_ESCAPE) from None


_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x9f]")


def _check(text: str) -> None:
    if not text:
        raise ValueError("the host is empty")
    if "\ufffd" in text:
        raise ValueError("the line is not UTF-8")
    if "\ufeff" in text:
        raise ValueError("a byte order mark is in the line, as where two files are joined without a line's end between")
    control = _CONTROL.search(text)
    if control:
        raise ValueError(f"a control character (U+{ord(control[0]):04X}) is in the line")
    if len(text.split(None, 1)) > 1:
        raise ValueError(r"two words are on one line (a space inside a name is written \032)")


# A label in presentation format: characters and escapes up to the next dot that is not escaped.
_LABEL = re.compile(r"(?:[^.\\]|\\.)+")
_ESCAPE = re.compile(r"\\(?:([0-9]{3})|([^0-9])|)")


def _with_a_labels(text: str) -> str:
    import idna

    try:
        mapped = idna.uts46_remap(text, std3_rules=False)
    except idna.IDNAError as error:
        raise ValueError(f"UTS 46 allows no U+{error.codepoint or 0:04X} in a name") from None
    if not mapped:
        raise ValueError("a label is empty")
    if " " in mapped:
        raise ValueError("UTS 46 maps a character of the name to a space")
    return _LABEL.sub(_a_label, mapped)


def _a_label(match: re.Match[str]) -> str:
    label = match[0]
    if label.isascii():
        return label
    label = _ESCAPE.sub(_unescaped, label).lower()
    encoded = "xn--" + label.encode("punycode").decode("ascii")
    return re.sub(r"[^A-Za-z0-9-]", lambda special: f"\\{ord(special[0]):03d}", encoded)


def _unescaped(match: re.Match[str]) -> str:
    digits, character = match.groups()
    if character is not None:
        return str(character)
    if digits is None:
        raise ValueError(_BAD_ESCAPE)
    if int(digits) > 127:
        raise ValueError(r"an escape above \127 is in a label that is not ASCII")
    return chr(int(digits))

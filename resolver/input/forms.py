"""Forms that a host comes in besides its name: a URL, HOST:PORT, [V6]:PORT, HOST/path; and what is no host.

Only what cannot be meant as a name is taken for something else. What stands behind a backslash is a part of the name
(RFC 1035 section 5.1), so that any name can still be asked for.
"""

from __future__ import annotations

import re

from resolver.input.networks import is_address, network_of

_URL = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.-]*+:)?//([^/?#\\]*)")  # RFC 3986 section 3
_BRACKETS = re.compile(r"\[([^]]*)\](?::([0-9]*))?(/.*)?")
_HOST_PORT = re.compile(r"((?:[^\\:]|\\.)++):([0-9]*)")
_NOT_ESCAPED = r"(?<!\\)(?:\\\\)*"
_SLASH = re.compile(rf"{_NOT_ESCAPED}/")
# RFC 2317 section 4 names parts of a network by labels such as 0/25.
_PART = re.compile(r"(?<=[0-9])/(?=[0-9]+\.)")
_NO_LETTER = re.compile(rf"{_NOT_ESCAPED}([,;@])")
_ADDRESS = 15  # characters of an IPv4 address at most
_MARKS = {
    ",": r"a comma is in the line: of CSV, --column says where the host stands (in a name a comma is written \044)",
    ";": r"a semicolon is in the line: of CSV, --column says where the host stands (in a name it is written \059)",
    "@": r"an @ is in the line: the host alone can be asked (in a name an @ is written \064)",
}


def host_of(text: str) -> str:
    """Return the host that a text means: its own, or that of the URL, HOST:PORT or HOST/path that it is.

    Raises:
        ValueError: One plain sentence: it has no host, or one with a comma, a semicolon or an @.
    """
    url = _URL.match(text)
    if url is not None:
        host = _host_of_authority(url[1])
    elif text.startswith("["):
        brackets = _BRACKETS.fullmatch(text)
        if brackets is None:
            raise ValueError("what begins with a bracket is no [V6]:PORT")
        host = _in_brackets(*brackets.group(1, 2))
    else:
        slash = first_slash(text)
        host = _before_port(text if slash is None else text[:slash])
        if not host:
            raise ValueError("a path stands without a host")
    check_letters(host)
    return host


def check_letters(text: str) -> None:
    """Raise ValueError where a comma, a semicolon or an @ is in it that is not written as an escape."""
    found = _NO_LETTER.search(text)
    if found is not None:
        raise ValueError(_MARKS[found[1]])


def is_literal(text: str) -> bool:
    """Tell whether a text with a slash can be meant as it is: a URL, a network, or a name with a label such as 0/25.

    Raises ValueError, one plain sentence, for what looks like a network and is none.
    """
    text = text.strip()
    return _URL.match(text) is not None or network_of(text) is not None or first_slash(text) is None


def _host_of_authority(authority: str) -> str:
    host = authority.rpartition("@")[2]
    brackets = _BRACKETS.fullmatch(host)
    if brackets is not None:
        return _in_brackets(*brackets.group(1, 2))
    host = _before_port(host)
    if "%" in host:
        from urllib.parse import unquote

        host = unquote(host, errors="replace")
        if "\ufffd" in host:
            raise ValueError("the host of the URL is not UTF-8")
    if not host:
        raise ValueError("the URL names no host")
    return host


def _in_brackets(host: str, port: str | None) -> str:
    if not (":" in host and is_address(host)):
        raise ValueError(f"{host[:100]!r} in brackets is no IPv6 address")
    _check_port(port)
    return host


def _before_port(text: str) -> str:
    if text.count(":") > 1 and is_address(text):
        return text
    found = _HOST_PORT.fullmatch(text)
    if found is None:
        return text
    _check_port(found[2])
    return found[1]


def _check_port(port: str | None) -> None:
    if port and (len(port) > 5 or int(port) > 65535):
        raise ValueError(f"{port[:100]} is no port: the highest is 65535")


def first_slash(text: str) -> int | None:
    """Return where the path of HOST/path begins; None: there is none, no slash or only those of labels such as 0/25."""
    port = text.find(":")
    for found in _SLASH.finditer(text):
        at = found.end() - 1
        if _PART.match(text, at) is None or 0 <= port < at or (at <= _ADDRESS and is_address(text[:at])):
            return at
    return None

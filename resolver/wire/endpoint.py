"""Requests to a nameserver over HTTPS: header blocks that are encoded once (RFC 8484, 7541).

What a request says is the same for every query but for the length of its body. Nothing of it is put into HPACK's
dynamic table, whose size is set to 0, so that a block fits every connection.
"""

from __future__ import annotations

import string
from base64 import b64encode, urlsafe_b64encode
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit

from hpack import Encoder, NeverIndexedHeaderTuple

if TYPE_CHECKING:
    from resolver.nameserver import Nameserver

MEDIA = "application/dns-message"


class Endpoint:
    """Requests at the URL of a nameserver: by POST, or by GET where it ends with the template `{?dns}`."""

    def __init__(self, nameserver: Nameserver) -> None:
        url = urlsplit(nameserver.bare_url)
        user, _, authority = url.netloc.rpartition("@")
        if not authority.isascii():
            authority = authority.encode("idna").decode()
        path = quote(url.path or "/", safe=string.punctuation) + f"?{url.query}" * bool(url.query)
        self._path = path if nameserver.by_get else None
        self._encoder = Encoder()
        self._encoder.header_table_size = 0
        self.resized = self._encoder.encode([])  # how a connection's first block says so (RFC 7541 section 4.2)
        self._front = self._encode(
            (":method", "GET" if self._path else "POST"), (":scheme", "https"), (":authority", authority)
        )
        more = [("authorization", "Basic " + b64encode(unquote(user).encode()).decode())] if user else []
        self._back = self._encode(("accept", MEDIA), ("user-agent", "resolve"), *more)
        self._post = self._encode((":path", path)), self._encode(("content-type", MEDIA))
        self._posts: dict[int, bytes] = {}  # by the length of the body

    def request(self, message: bytes) -> tuple[bytes, bytes]:
        """Return the header block and the body of the request for a message."""
        if self._path is not None:
            text = urlsafe_b64encode(message).rstrip(b"=").decode()
            return self._front + self._encode((":path", f"{self._path}?dns={text}"), huffman=False) + self._back, b""
        block = self._posts.get(len(message))
        if block is None:
            path, kind = self._post
            block = self._front + path + kind + self._encode(("content-length", str(len(message)))) + self._back
            self._posts[len(message)] = block
        return block, message

    def _encode(self, *headers: tuple[str, str], huffman: bool = True) -> bytes:
        return self._encoder.encode([NeverIndexedHeaderTuple(*header) for header in headers], huffman=huffman)

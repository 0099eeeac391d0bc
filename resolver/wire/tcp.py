"""One TCP or TLS connection to a nameserver: queries are pipelined on it, replies come in any order (RFC 7766, 7858).

Non-blocking throughout: connecting, the handshake, reading and writing all go on when the socket is ready. TLS runs
between two memory buffers, so that both kinds share the same few lines of I/O.
"""

from __future__ import annotations

import errno
import os
import socket
import ssl
from typing import TYPE_CHECKING

from resolver.nameserver import bind

if TYPE_CHECKING:
    from resolver.wire.inflight import Flow

CHUNK = 65536  # octets


class Closed(Exception):
    """The other side closed the connection in order."""


class Stream:
    """The connection of a flow.

    context: for TLS; the certificate must be the nameserver's name or address. source: the local address; None: the
    system's choice.

    Raises OSError where no connection can be begun; `progress` raises what the connection fails of later.
    """

    def __init__(self, flow: Flow, context: ssl.SSLContext | None, source: str | None = None) -> None:
        nameserver = flow.server.nameserver
        family, address = nameserver.address()
        self.flow = flow
        self._out = bytearray()
        self._in = bytearray()
        self._connected = False
        self._shaken = context is None
        self._tls: ssl.SSLObject | None = None
        if context is not None:
            self._cipher_in, self._cipher_out = ssl.MemoryBIO(), ssl.MemoryBIO()
            self._tls = context.wrap_bio(self._cipher_in, self._cipher_out, server_hostname=nameserver.certified)
        self._plain = bytearray()  # framed queries that wait for the handshake
        self._socket = socket.socket(family, socket.SOCK_STREAM)
        try:
            self._socket.setblocking(False)
            bind(self._socket, source)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            code = self._socket.connect_ex(address)
            if code not in (0, errno.EINPROGRESS, errno.EWOULDBLOCK):
                raise OSError(code, os.strerror(code))
        except OSError:
            self._socket.close()
            raise
        self.fd = self._socket.fileno()

    @property
    def established(self) -> bool:
        """Say whether the connection was made, and the handshake with it."""
        return self._connected and self._shaken

    @property
    def wants_write(self) -> bool:
        """Say whether something waits for the socket to be writable."""
        return not self._connected or bool(self._out)

    def send(self, messages: list[bytes]) -> None:
        """Queue these queries, each with its length before it (RFC 1035 section 4.2.2)."""
        for message in messages:
            self._plain += len(message).to_bytes(2, "big") + message

    def progress(self) -> list[bytes]:
        """Go on as far as the socket lets us; returns the whole messages that came.

        Raises Closed at the end of the stream, OSError (ssl.SSLError among them) for a failure. What came before
        either is returned first; the end is told by the next call.
        """
        if not self._connected and not self._connect():
            return []
        end: Exception | None = None
        try:
            self._fill()
        except (OSError, Closed) as error:
            end = error
        try:
            self._turn_tls()
            self._drain()
        except OSError as error:
            end = error
        messages = self._messages()
        if end is not None and not messages:
            raise end
        return messages

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def _connect(self) -> bool:
        code = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            raise OSError(code, os.strerror(code))
        try:
            self._socket.getpeername()
        except OSError as error:
            if error.errno == errno.ENOTCONN:
                return False
            raise
        self._connected = True
        return True

    def _fill(self) -> None:
        """Read what is there."""
        while True:
            try:
                data = os.read(self.fd, CHUNK)
            except BlockingIOError:
                return
            if not data:
                raise Closed
            if self._tls is None:
                self._in += data
            else:
                self._cipher_in.write(data)
            if len(data) < CHUNK:
                return

    def _turn_tls(self) -> None:
        """Move octets through TLS in both directions; without it, just move the queries on."""
        tls = self._tls
        if tls is None:
            self._out += self._plain
            self._plain.clear()
            return
        try:
            if not self._shaken:
                tls.do_handshake()
                self._shaken = True
            if self._plain:
                tls.write(bytes(self._plain))
                self._plain.clear()
            while data := tls.read(CHUNK):
                self._in += data
        except ssl.SSLWantReadError:
            pass
        finally:
            # Also after a failure: the alert tells the nameserver why.
            if self._cipher_out.pending:
                self._out += self._cipher_out.read()

    def _drain(self) -> None:
        """Write what the socket takes."""
        while self._out:
            try:
                sent = os.write(self.fd, bytes(self._out[:CHUNK]))
            except BlockingIOError:
                return
            del self._out[:sent]

    def _messages(self) -> list[bytes]:
        buffer, at, messages = self._in, 0, []
        while len(buffer) - at >= 2:
            end = at + 2 + (buffer[at] << 8 | buffer[at + 1])
            if end > len(buffer):
                break
            messages.append(bytes(buffer[at + 2 : end]))
            at = end
        del buffer[:at]
        return messages

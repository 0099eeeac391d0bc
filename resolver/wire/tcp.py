"""One TCP or TLS connection to a nameserver: queries are pipelined on it, replies come in any order (RFC 7766, 7858).

How messages stand in it is its framing's to know: with their lengths before them, or in HTTP/2 (https.py).
Non-blocking throughout: connecting, the handshake, reading and writing all go on when the socket is ready. TLS runs
between two memory buffers, so that both kinds share the same few lines of I/O.
"""

from __future__ import annotations

import errno
import os
import socket
from typing import TYPE_CHECKING

from resolver.nameserver import bind

if TYPE_CHECKING:
    import ssl  # at run time where there is TLS: it takes a twelfth of a command's start

    from resolver.nameserver import Nameserver
    from resolver.wire.https import HttpFraming
    from resolver.wire.inflight import Flow

CHUNK = 65536  # octets


class Closed(OSError):
    """The other side closed the connection in order."""


class LengthFraming:
    """Messages with their length before them (RFC 1035 section 4.2.2). HTTP/2 has the same face (https.py).

    Attributes:
        out: Octets to be sent, taken and emptied by the connection.
        alpn: The protocol that TLS is to agree on (RFC 7301); None: that goes without saying.
        no_replies: Message IDs of queries to which no reply comes, taken and emptied by the channel, and why: what the
            nameserver did; None: it has not looked at them.
        leaving: The nameserver takes no more queries on this connection.
    """

    alpn: str | None = None
    leaving = False

    def __init__(self) -> None:
        self.out = bytearray()
        self.no_replies: list[tuple[bytes, str | None]] = []
        self._in = b""

    def send(self, messages: list[bytes]) -> None:
        """Have these queries sent."""
        for message in messages:
            self.out += len(message).to_bytes(2, "big") + message

    def receive(self, octets: bytes) -> list[bytes]:
        """Take what came; returns the replies that are whole."""
        data, at, messages = self._in + octets, 0, []
        while len(data) - at >= 2:
            end = at + 2 + (data[at] << 8 | data[at + 1])
            if end > len(data):
                break
            messages.append(data[at + 2 : end])
            at = end
        self._in = data[at:]
        return messages


class Stream:
    """The connection of a flow.

    Args:
        flow: The one.
        nameserver: Where it goes.
        framing: That of its messages.
        context: For TLS; the certificate must be the nameserver's name or address.
        source: The local address; None: the system's choice.
        sessions: TLS sessions to go on with (RFC 8446 section 2.2), by nameserver; its own is put there.

    Raises:
        OSError: No connection can be begun; `progress` raises what the connection fails of later.
    """

    def __init__(
        self,
        flow: Flow,
        nameserver: Nameserver,
        framing: LengthFraming | HttpFraming,
        context: ssl.SSLContext | None,
        source: str | None = None,
        sessions: dict[Nameserver, ssl.SSLSession | None] | None = None,
    ) -> None:
        family, address = nameserver.address()
        self.flow = flow
        self.framing = framing
        self.connected = False
        self.further = 0  # addresses that may be tried in place of this one
        self._nameserver = nameserver
        self._out = bytearray()
        self._in = bytearray()
        self._shaken = context is None
        self._tls: ssl.SSLObject | None = None
        self._sessions = {} if sessions is None else sessions
        if context is not None:
            import ssl

            self._cipher_in, self._cipher_out = ssl.MemoryBIO(), ssl.MemoryBIO()
            self._tls = context.wrap_bio(
                self._cipher_in,
                self._cipher_out,
                server_hostname=nameserver.certified,
                session=self._sessions.pop(nameserver, None),
            )
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
        return self.connected and self._shaken

    @property
    def wants_write(self) -> bool:
        """Say whether something waits for the socket to be writable."""
        return not self.connected or bool(self._out)

    def progress(self) -> list[bytes]:
        """Go on as far as the socket lets us; returns the whole messages that came.

        Raises Closed at the end of the stream, OSError (ssl.SSLError among them) for a failure. What came before
        either is returned first; the end is told by the next call.
        """
        if not self.connected and not self._connect():
            return []
        end: OSError | None = None
        messages: list[bytes] = []
        try:
            self._fill()
        except OSError as error:
            end = error
        try:
            if self._tls is not None:
                self._decipher(self._tls)
        except OSError as error:
            end = error
        try:
            if self._in:
                came = bytes(self._in)
                self._in.clear()
                messages = self.framing.receive(came)
            self._encipher(failed=end is not None)
            self._drain()
        except OSError as error:
            end = error
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
        self.connected = True
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

    def _decipher(self, tls: ssl.SSLObject) -> None:
        """Go on with the handshake, then read what came."""
        import ssl

        try:
            if not self._shaken:
                tls.do_handshake()
                if self.framing.alpn not in (None, tls.selected_alpn_protocol()):
                    raise OSError(errno.EPROTO, "it does not speak HTTP/2")
                self._shaken = True
            while data := tls.read(CHUNK):
                if self._nameserver not in self._sessions:
                    self._sessions[self._nameserver] = tls.session
                self._in += data
        except ssl.SSLWantReadError:
            pass

    def _encipher(self, *, failed: bool) -> None:
        """Move on what is to be sent."""
        if self._tls is None:
            self._out += self.framing.out
            self.framing.out.clear()
            return
        if self._shaken and self.framing.out and not failed:
            self._tls.write(bytes(self.framing.out))
            self.framing.out.clear()
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

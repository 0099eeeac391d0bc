"""DNS over TCP (RFC 7766) and over TLS (RFC 7858): many queries on a connection, replies in the order they are ready.

A connection never blocks the loop. One that does not read its replies is no longer read from, one that does nothing is
closed, and where there are too many, the one that was quiet longest makes room.
"""

import contextlib
import socket
import ssl
import struct
import time
from collections.abc import Callable, Iterator
from typing import Protocol

from .loop import READ, WRITE, Loop
from .script import How, Step

_CONNECTIONS_MOST = 500
_IDLE_SECONDS = 30.0
_SWEEP_SECONDS = 5.0
# Octets that wait to be sent, and replies that are not due yet, above which a connection is not read from.
_UNSENT_MOST = 1 << 18
_PENDING_MOST = 10_000
_READ = 1 << 16
# Connections that are accepted, and reads from one of them, before the loop turns to others.
_BATCH = 16
_NOT_NOW = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
_DRIBBLE_OCTETS, _DRIBBLE_SECONDS = 7, 0.001


class Asked(Protocol):
    """Who answers: plans the steps of one query, calls `send` with each that is due, and returns how many there are."""

    def __call__(self, data: bytes, send: Callable[[Step], None]) -> int: ...


class Streams:
    """All connections of a lab."""

    def __init__(self, loop: Loop, ask: Asked) -> None:
        self._loop = loop
        self._ask = ask
        # In the order of last activity, so the quiet ones come first.
        self._connections: dict[_Connection, float] = {}
        self._sweeping = False

    def listen(self, listener: socket.socket, tls: ssl.SSLContext | None = None) -> None:
        """Accept connections; with a context, TLS ones."""
        self._loop.watch(listener, READ, lambda mask: self._accept(listener, tls))

    def close(self) -> None:
        for connection in list(self._connections):
            connection.close()

    def touch(self, connection: "_Connection") -> None:
        """Note that a connection did something."""
        self._connections.pop(connection, None)
        self._connections[connection] = time.monotonic()

    def forget(self, connection: "_Connection") -> None:
        self._connections.pop(connection, None)

    def _accept(self, listener: socket.socket, tls: ssl.SSLContext | None) -> None:
        for _ in range(_BATCH):
            try:
                peer, _ = listener.accept()
            except BlockingIOError:
                return
            except OSError:
                # Out of descriptors, or the client left at once; in the first case one has to go.
                self._close_quietest()
                return
            peer.setblocking(False)
            with contextlib.suppress(OSError):
                peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if tls:
                peer = tls.wrap_socket(peer, server_side=True, do_handshake_on_connect=False)
            if len(self._connections) >= _CONNECTIONS_MOST:
                self._close_quietest()
            self.touch(_Connection(self._loop, peer, self._ask, self))
            if not self._sweeping:
                self._sweeping = self._loop.later(_SWEEP_SECONDS, self._sweep)

    def _close_quietest(self) -> None:
        if self._connections:
            next(iter(self._connections)).close()

    def _sweep(self) -> None:
        limit = time.monotonic() - _IDLE_SECONDS
        for connection, active in list(self._connections.items()):
            if active > limit:
                break
            if not connection.pending:
                connection.close()
        self._sweeping = bool(self._connections) and self._loop.later(_SWEEP_SECONDS, self._sweep)


class _Connection:
    """One connection: octets in, messages out of them; steps in, octets out of them."""

    def __init__(self, loop: Loop, peer: socket.socket, ask: Asked, streams: Streams) -> None:
        self._loop, self._socket, self._ask, self._streams = loop, peer, ask, streams
        self._tls = peer if isinstance(peer, ssl.SSLSocket) else None
        self._shaken = self._tls is None
        self._unread, self._unsent = bytearray(), bytearray()
        self._ended = self._closed = self._reading = False
        self._dribbles = self._dripping = False
        # Nothing more is said after what waits to be sent.
        self._last = False
        self._wants, self._watched = READ, 0
        self.pending = 0
        """Replies that are not due yet."""
        self._finish()

    def close(self) -> None:
        """Close at once; what is not sent yet is lost."""
        if not self._closed:
            self._closed = True
            self._loop.watch(self._socket, 0, self._ready)
            self._socket.close()
            self._streams.forget(self)

    def _ready(self, mask: int) -> None:
        if self._closed:
            return
        self._streams.touch(self)
        with self._guarded():
            if not self._shaken:
                self._shake()
            # Without regard to the mask: TLS may have to read in order to write, and the other way round.
            if self._shaken:
                self._read()
                self._write()

    @contextlib.contextmanager
    def _guarded(self) -> Iterator[None]:
        """Whatever is wrong with a connection ends that connection alone."""
        try:
            yield
            self._finish()
        except OSError:
            self.close()

    def _finish(self) -> None:
        """Close what is done with, and wait for what can happen next."""
        if self._closed:
            return
        if not self._unsent and (self._last or (self._ended and self.pending <= 0)):
            self.close()
            return
        if self._shaken:
            self._wants = 0 if self._ended or self._clogged() else READ
            if self._unsent and not self._dripping:
                self._wants |= WRITE
        if self._wants != self._watched:
            self._watched = self._wants
            self._loop.watch(self._socket, self._watched, self._ready)

    def _shake(self) -> None:
        assert self._tls is not None
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._wants = READ
        except ssl.SSLWantWriteError:
            self._wants = WRITE
        else:
            self._shaken = True

    def _read(self) -> None:
        self._reading = True
        self._split()
        for _ in range(_BATCH):
            if self._ended or self._closed or self._clogged():
                break
            try:
                octets = self._socket.recv(_READ)
            except _NOT_NOW:
                break
            self._ended = not octets
            self._unread += octets
            self._split()
        self._reading = False

    def _split(self) -> None:
        """Take the whole messages out of what was read: two octets of length, then the message."""
        unread, at = self._unread, 0
        while len(unread) >= at + 2 and not (self._closed or self._clogged()):
            end = at + 2 + int.from_bytes(unread[at : at + 2])
            if len(unread) < end:
                break
            # Two statements: what is due at once is sent, and counted off, before this is counted on.
            planned = self._ask(bytes(unread[at + 2 : end]), self._send)
            self.pending += planned
            at = end
        del unread[:at]

    def _clogged(self) -> bool:
        return self._last or len(self._unsent) > _UNSENT_MOST or self.pending > _PENDING_MOST

    def _send(self, step: Step) -> None:
        """One step is due. While queries are being read, what is due at once goes out together after them."""
        self.pending -= 1
        if self._closed or self._last:
            return
        if step.how in (How.CLOSE, How.RESET):
            if step.how is How.RESET:
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close()
            return
        message = len(step.octets).to_bytes(2) + step.octets
        self._last = step.how is How.HALF
        self._dribbles |= step.how is How.DRIBBLE
        self._unsent += message[: len(message) // 2] if self._last else message
        if not self._reading:
            self._push()

    def _push(self) -> None:
        """Send outside a read; afterwards there may be room again for what was read before."""
        with self._guarded():
            self._write()
            if self._unread and not self._clogged():
                self._read()
                self._write()

    def _write(self) -> None:
        while self._unsent and not (self._closed or self._dripping):
            try:
                sent = self._socket.send(self._unsent[:_DRIBBLE_OCTETS] if self._dribbles else self._unsent)
            except _NOT_NOW:
                return
            del self._unsent[:sent]
            if self._dribbles:
                self._dripping = self._loop.later(_DRIBBLE_SECONDS, self._drip)

    def _drip(self) -> None:
        self._dripping = False
        if not self._closed:
            self._push()

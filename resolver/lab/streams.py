"""DNS over TCP (RFC 7766) and over TLS (RFC 7858): many queries on a connection, replies in the order they are ready.

A connection that does not read its replies is no longer read from, one that does nothing is closed, and where there are
too many, the one that was quiet longest makes room.
"""

import asyncio
import socket
import ssl
import struct
import time
from collections.abc import Callable
from typing import Any, cast

from .script import How, PlannedReply

_CONNECTIONS_MOST = 500
_IDLE_SECONDS = 30.0
_SWEEP_SECONDS = 5.0
# Octets that wait to be sent, and replies that are not due yet, above which a connection is not read from.
_UNSENT_MOST = 1 << 18
_PENDING_MOST = 10_000
_DRIBBLE_OCTETS, _DRIBBLE_SECONDS = 7, 0.001

# Plan the steps of one query, call the function with each that is due, and return how many there are.
Plan = Callable[[bytes, Callable[[PlannedReply], None]], int]


class Streams:
    """All connections of a lab."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._loop = asyncio.get_running_loop()
        # In the order of last activity: the quiet ones come first.
        self._connections: dict[StreamConnection, float] = {}
        self._listeners: list[asyncio.Server] = []
        self._loop.set_exception_handler(self._on_fault)
        self._loop.call_later(_SWEEP_SECONDS, self._sweep)

    async def listen(self, listener: socket.socket, tls: ssl.SSLContext | None = None) -> None:
        """Accept connections; with a context, TLS ones."""
        self._listeners.append(
            await self._loop.create_server(
                lambda: StreamConnection(self),
                sock=listener,
                ssl=tls,
                ssl_handshake_timeout=_IDLE_SECONDS if tls else None,
            )
        )

    def close(self) -> None:
        """Close all listeners and connections."""
        for listener in self._listeners:
            listener.close()
        for connection in list(self._connections):
            connection.close()

    def touch(self, connection: "StreamConnection") -> None:
        """Note that a connection did something, or is new."""
        self._connections.pop(connection, None)
        if len(self._connections) >= _CONNECTIONS_MOST:
            self._close_quietest()
        self._connections[connection] = time.monotonic()

    def forget(self, connection: "StreamConnection") -> None:
        """Note that a connection has ended."""
        self._connections.pop(connection, None)

    def _on_fault(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Make room where descriptors are used up, and end at any other fault: it is a bug of the lab."""
        if "accept" in context["message"]:
            self._close_quietest()
            return
        loop.default_exception_handler(context)
        loop.stop()

    def _close_quietest(self) -> None:
        if self._connections:
            next(iter(self._connections)).close()

    def _sweep(self) -> None:
        limit = time.monotonic() - _IDLE_SECONDS
        for connection, active in list(self._connections.items()):
            if active < limit and not connection.pending:
                connection.close()
        self._loop.call_later(_SWEEP_SECONDS, self._sweep)


class StreamConnection(asyncio.Protocol):
    """One connection: octets in, messages out of them; steps in, octets out of them."""

    def __init__(self, streams: Streams) -> None:
        self._streams = streams
        self._unread, self._unsent = bytearray(), bytearray()
        self._ended = self._stalled = self._splitting = self._dribbles = False
        self._drip: asyncio.TimerHandle | None = None
        self.pending = 0
        """Replies that are not due yet."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(_UNSENT_MOST)
        self._streams.touch(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._streams.forget(self)

    def data_received(self, data: bytes) -> None:
        self._streams.touch(self)
        self._unread += data
        self._go_on()

    def eof_received(self) -> bool:
        """Keep the connection while replies are due: without TLS the client may have ended its own direction only."""
        self._ended = True
        return not self._close_if_done() and self._transport.get_extra_info("sslcontext") is None

    def pause_writing(self) -> None:
        self._stalled = True

    def resume_writing(self) -> None:
        self._stalled = False
        self._go_on()

    def close(self) -> None:
        """Close at once; what is not sent yet is lost."""
        self._streams.forget(self)
        self._unsent.clear()
        self._transport.abort()

    def _clogged(self) -> bool:
        return self._stalled or len(self._unsent) > _UNSENT_MOST or self.pending > _PENDING_MOST

    def _go_on(self) -> None:
        """Answer what was read, while the client takes the replies."""
        self._splitting = True
        while self._split():
            self._write()
        self._splitting = False
        self._write()
        if self._transport.is_closing() or self._close_if_done():
            return
        if self._clogged():
            self._transport.pause_reading()
        elif not self._ended:
            self._transport.resume_reading()

    def _split(self) -> bool:
        """Take whole messages out of what was read: two octets of length, then the message. Return whether any came."""
        unread, at = self._unread, 0
        while len(unread) >= at + 2 and not (self._clogged() or self._transport.is_closing()):
            end = at + 2 + int.from_bytes(unread[at : at + 2])
            if len(unread) < end:
                break
            # Two statements: what is due at once is sent, and counted off, before this is counted on.
            planned = self._streams.plan(bytes(unread[at + 2 : end]), self._send)
            self.pending += planned
            at = end
        del unread[:at]
        return at > 0

    def _send(self, reply: PlannedReply) -> None:
        """Send a reply that is due. While queries are taken, what is due at once goes out together after them."""
        self.pending -= 1
        if self._transport.is_closing():
            return
        if reply.how in (How.CLOSE, How.RESET):
            if reply.how is How.RESET:
                peer = self._transport.get_extra_info("socket")
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close()
            return
        message = len(reply.octets).to_bytes(2) + reply.octets
        self._dribbles |= reply.how is How.DRIBBLE
        if reply.how is How.HALF:
            self._transport.write(self._unsent + message[: len(message) // 2])
            self._unsent.clear()
            self._transport.close()
            return
        self._unsent += message
        if not self._splitting:
            self._go_on()

    def _write(self) -> None:
        if self._unsent and not self._drip and not self._transport.is_closing():
            size = _DRIBBLE_OCTETS if self._dribbles else len(self._unsent)
            self._transport.write(bytes(self._unsent[:size]))
            del self._unsent[:size]
            if self._dribbles:
                self._drip = asyncio.get_running_loop().call_later(_DRIBBLE_SECONDS, self._dripped)

    def _dripped(self) -> None:
        self._drip = None
        self._go_on()

    def _close_if_done(self) -> bool:
        """Close a connection whose client sends nothing more, once it has its replies. Return whether it was closed."""
        done = self._ended and self.pending <= 0 and not (self._unsent or self._stalled)
        if done:
            self._transport.close()
        return done

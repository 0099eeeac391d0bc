"""DNS over TCP (RFC 7766) and over TLS (RFC 7858): many queries on a connection, replies in the order they are ready.

A connection that does not read its replies is no longer read from, one that does nothing is closed, and where there are
too many, the one that was quiet longest makes room.
"""

import asyncio
import contextlib
import socket
import ssl
import struct
import time
from collections.abc import Callable
from typing import Any

from .script import How, PlannedReply

_CONNECTIONS_MOST = 500
_IDLE_SECONDS = 30.0
_SWEEP_SECONDS = 5.0
# Octets that wait to be sent, and replies that are not due yet, above which a connection is not read from.
_UNSENT_MOST = 1 << 18
_PENDING_MOST = 10_000
_READ = 1 << 16  # octets that are read at once
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
            await asyncio.start_server(
                lambda reader, writer: StreamConnection(self, reader, writer).serve(),
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


class StreamConnection:
    """One connection: octets in, messages out of them; steps in, octets out of them."""

    def __init__(self, streams: Streams, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._streams, self._reader, self._writer = streams, reader, writer
        self._unsent = bytearray()
        self._dribbles = False
        self._moved = asyncio.Event()  # replies were sent, or the connection is closed
        self.pending = 0
        """Replies that are not due yet."""
        writer.transport.set_write_buffer_limits(_UNSENT_MOST)

    async def serve(self) -> None:
        """Answer what is read, to the end of the connection; where the client ends its own direction, all is sent."""
        unread = b""
        self._streams.touch(self)
        # Broken by the client, TLS too; cancelled by the end of the lab.
        with contextlib.suppress(OSError, asyncio.CancelledError):
            while data := await self._reader.read(_READ):
                self._streams.touch(self)
                unread = await self._answer(unread + data)
            while (self.pending > 0 or self._unsent) and not self._writer.is_closing():
                await self._next_move()
        self._streams.forget(self)
        self._writer.close()

    def close(self) -> None:
        """Close at once; what is not sent yet is lost."""
        self._streams.forget(self)
        self._unsent.clear()
        self._writer.transport.abort()
        self._moved.set()

    async def _answer(self, octets: bytes) -> bytes:
        """Answer whole messages, while the client takes the replies; return the octets that are left."""
        at = 0
        while len(octets) >= at + 2 and not self._writer.is_closing():
            end = at + 2 + int.from_bytes(octets[at : at + 2])
            if len(octets) < end:
                break
            # Two statements: what is due at once is sent, and counted off, before this is counted on.
            planned = self._streams.plan(octets[at + 2 : end], self._send)
            self.pending += planned
            at = end
            if len(self._unsent) > _UNSENT_MOST or self.pending > _PENDING_MOST:
                await self._make_room()
        await self._make_room()
        return octets[at:]

    async def _make_room(self) -> None:
        """Wait while the client does not take the replies, or too many are not due yet."""
        await self._writer.drain()
        while len(self._unsent) > _UNSENT_MOST or self.pending > _PENDING_MOST:
            await self._next_move()
            await self._writer.drain()

    async def _next_move(self) -> None:
        self._moved.clear()
        await self._moved.wait()

    def _send(self, reply: PlannedReply) -> None:
        """Send a reply that is due; those that are due together go out together."""
        self.pending -= 1
        self._moved.set()
        if self._writer.is_closing():
            return
        if reply.how in (How.CLOSE, How.RESET):
            if reply.how is How.RESET:
                peer = self._writer.get_extra_info("socket")
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close()
            return
        message = len(reply.octets).to_bytes(2) + reply.octets
        self._dribbles |= reply.how is How.DRIBBLE
        if reply.how is How.HALF:
            self._writer.write(self._unsent + message[: len(message) // 2])
            self._unsent.clear()
            self._writer.close()
            return
        if not self._unsent:
            asyncio.get_running_loop().call_soon(self._write)
        self._unsent += message

    def _write(self) -> None:
        """Write what waits, or where it dribbles a part of that, and more a little later."""
        if not self._writer.is_closing():
            size = _DRIBBLE_OCTETS if self._dribbles else len(self._unsent)
            self._writer.write(bytes(self._unsent[:size]))
            del self._unsent[:size]
            self._moved.set()
            if self._unsent:
                asyncio.get_running_loop().call_later(_DRIBBLE_SECONDS, self._write)

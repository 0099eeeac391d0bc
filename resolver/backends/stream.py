"""A connection over TCP or TLS, of backends whose library makes the messages."""

from __future__ import annotations

import errno
import os
import select
import socket
import ssl
import time
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from resolver.nameserver import bind

if TYPE_CHECKING:
    from collections.abc import Callable

    from resolver.attempts import Reply
    from resolver.backends.lookup import LibraryMessage
    from resolver.backends.waits import Waits
    from resolver.nameserver import Nameserver

Done = TypeVar("Done")


class KeptStream:
    """A TCP connection, or one of TLS, to be connected."""

    def __init__(self, nameserver: Nameserver, source: str | None, waits: Waits) -> None:
        self._nameserver = nameserver
        self._waits = waits
        self._source = source
        self._socket = socket.socket(nameserver.address()[0], socket.SOCK_STREAM)
        self._socket.setblocking(False)

    async def connect(self, context: ssl.SSLContext | None, end: float) -> None:
        """Connect, with TLS where there is a context: the certificate must be for the nameserver's name or address.

        Args:
            context: What certificates are checked with.
            end: Until when, in seconds on the monotonic clock.

        Raises:
            TimeoutError: It takes longer.
            OSError: It fails.
        """
        try:
            bind(self._socket, self._source)
            refused = self._socket.connect_ex(self._nameserver.address()[1])
            if refused == errno.EINPROGRESS:
                await self._wait(select.POLLOUT, end)
                refused = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if refused:
                raise OSError(refused, os.strerror(refused))
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if context is not None:
                secure = self._socket = context.wrap_socket(
                    self._socket, do_handshake_on_connect=False, server_hostname=self._nameserver.certified
                )
                await self._do(secure.do_handshake, select.POLLIN, end)
        except BaseException:
            self.close()
            raise

    async def ask(self, message: LibraryMessage, end: float) -> Reply:
        """Return the reply; anything else is waited past. Raises EOFError, ConnectionError or SSLError at its end."""
        octets = len(message.octets).to_bytes(2, "big") + message.octets
        while octets:
            sent = await self._do(partial(self._socket.send, octets), select.POLLOUT, end)
            octets = octets[sent:]
        while True:
            octets = await self._read(int.from_bytes(await self._read(2, end), "big"), end)
            if (reply := message.read(octets)) is not None:
                return reply

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    async def _read(self, size: int, end: float) -> bytes:
        octets = b""
        while len(octets) < size:
            part = await self._do(partial(self._socket.recv, size - len(octets)), select.POLLIN, end)
            if not part:
                raise EOFError
            octets += part
        return octets

    async def _do(self, step: Callable[[], Done], event: int, end: float) -> Done:
        """Return the outcome of a step that may have to wait, for this event where TLS names no other one."""
        while True:
            try:
                return step()
            except BlockingIOError:
                wanted = event
            except ssl.SSLWantReadError:
                wanted = select.POLLIN
            except ssl.SSLWantWriteError:
                wanted = select.POLLOUT
            await self._wait(wanted, end)

    async def _wait(self, event: int, end: float) -> None:
        if not await self._waits.ready([self._socket.fileno()], event, max(0.0, end - time.monotonic())):
            raise TimeoutError

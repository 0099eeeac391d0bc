"""One UDP socket, connected and non-blocking: the kernel drops what comes from anyone but the nameserver.

It works on the descriptor with os.read and os.write, which no library patches: under a monkey-patched gevent a method
of a socket would wait, and cost several times as much.
"""

from __future__ import annotations

import errno
import os
import socket
from typing import TYPE_CHECKING

from resolver.wire.exchange import RECEIVE

if TYPE_CHECKING:
    from resolver.wire.flight import Path

MOST = 512  # datagrams taken in one go, so that sending gets its turn
BUFFER = 1 << 20  # octets asked of the kernel for what waits to be read; it grants what its limits allow


class Datagram:
    """The socket of a path. Raises OSError where none can be made: too many open files, no route."""

    def __init__(self, path: Path) -> None:
        nameserver = path.server.nameserver
        family, kind, protocol, _, address = socket.getaddrinfo(
            nameserver.host, nameserver.port, type=socket.SOCK_DGRAM, flags=socket.AI_NUMERICHOST
        )[0]
        self.path = path
        self._socket = socket.socket(family, kind, protocol)
        try:
            self._socket.setblocking(False)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
            self._socket.connect(address)
        except OSError:
            self._socket.close()
            raise
        self.fd = self._socket.fileno()

    def send(self, messages: list[bytes]) -> int:
        """Send until the kernel takes no more; returns how many went. Raises OSError for a failure."""
        fd, write = self.fd, os.write
        sent = 0
        try:
            for message in messages:
                write(fd, message)
                sent += 1
        except BlockingIOError:
            pass
        except OSError as error:
            # macOS says so where Linux says EAGAIN.
            if error.errno != errno.ENOBUFS:
                raise
        return sent

    def receive(self) -> list[bytes]:
        """All datagrams that are there, up to a bound. Raises OSError for a failure, such as a closed port."""
        fd, read = self.fd, os.read
        messages: list[bytes] = []
        append = messages.append
        try:
            for _ in range(MOST):
                append(read(fd, RECEIVE))
        except BlockingIOError:
            pass
        except OSError:
            # What came before the failure counts; the failure is reported by the next call, or by silence.
            if not messages:
                raise
        return messages

    def close(self) -> None:
        """Give the port back."""
        self._socket.close()

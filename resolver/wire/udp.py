"""One UDP socket, connected and non-blocking: the kernel drops what comes from anyone but the nameserver.

It works on the descriptor with os.read and os.write, which no library patches: under a monkey-patched gevent a method
of a socket would wait, and cost several times as much. Batches go out in a few calls where the kernel can.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import sys
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

from resolver.nameserver import bind
from resolver.wire import accelerator

if TYPE_CHECKING:
    from resolver.wire.inflight import Flow

# Generic segmentation offload for UDP, Linux 4.18: one call to the kernel sends many datagrams of one size. Names are
# seldom much longer or shorter than each other, so that a batch falls into a few groups. Measured on loopback: 0.7 us
# a datagram in place of 4.5, which is more than all of the Python code that a lookup costs.
UDP_SEGMENT = 103  # linux/udp.h
SEGMENTS = 64  # datagrams in one call: UDP_MAX_SEGMENTS
FEW = 4  # below it, calls one by one cost no more
# Reported about a datagram that went out earlier, by whatever call comes next.
UNREACHABLE = (errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN, errno.EPROTO)
# The socket takes no more for now. macOS says ENOBUFS where Linux says EAGAIN; Linux where a device's queue is full.
FULL = (errno.EAGAIN, errno.EWOULDBLOCK, errno.ENOBUFS)
# What an old kernel, or a device that cannot, says of segmentation.
UNABLE = (errno.EINVAL, errno.EIO, errno.EOPNOTSUPP, errno.ENOPROTOOPT, errno.EMSGSIZE)
_SIZE = struct.Struct("H")
ERRORS = 64  # errors read past in one go
MOST = 512  # datagrams taken in one go, so that sending gets its turn
BUFFER = 1 << 20  # octets asked of the kernel for what waits to be read; it grants what its limits allow


class Outcome(NamedTuple):
    """Outcome of a batch.

    Attributes:
        unsent: Messages that did not go for now.
        refused: Those that the kernel refused.
        error: With what; alone, it was reported about something that went out earlier.
    """

    unsent: list[bytes]
    refused: list[bytes]
    error: OSError | None


class Datagram:
    """The socket of a flow.

    Args:
        flow: The one.
        source: The local address; None: the system's choice.

    Raises:
        OSError: None can be made: too many open files, no route.
    """

    def __init__(self, flow: Flow, source: str | None = None) -> None:
        nameserver = flow.server.nameserver
        family, address = nameserver.address()
        self.flow = flow
        self._socket = socket.socket(family, socket.SOCK_DGRAM)
        try:
            self._socket.setblocking(False)
            bind(self._socket, source)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
            self._socket.connect(address)
        except OSError:
            self._socket.close()
            raise
        self.fd = self._socket.fileno()
        self._segments = sys.platform == "linux"
        # The C type's own method: where gevent has patched, the socket is gevent's, and its method may wait.
        self._send_message = getattr(self._socket, "_sock", self._socket).sendmsg

    def send(self, messages: list[bytes]) -> Outcome:
        """Send until the kernel takes no more. An error costs the one message that it is about."""
        if not self._segments or len(messages) < FEW:
            return self._send_singly(messages)
        messages = sorted(messages, key=len)
        refused: list[bytes] = []
        error = None
        done = 0
        for size, same in groupby(messages, key=len):
            alike = list(same)
            for at in range(0, len(alike), SEGMENTS):
                part = alike[at : at + SEGMENTS]
                try:
                    self._send_message(part, [(socket.IPPROTO_UDP, UDP_SEGMENT, _SIZE.pack(size))])
                except OSError as failure:
                    if failure.errno in FULL:
                        return Outcome(messages[done:], refused, error)
                    self._segments = failure.errno not in UNABLE
                    # All of it was refused, and one of them may be the reason: one by one, as everywhere else.
                    single = self._send_singly(part)
                    refused += single.refused
                    error = single.error or error or (failure if failure.errno in UNREACHABLE else None)
                    if single.unsent:
                        return Outcome(single.unsent + messages[done + len(part) :], refused, error)
                done += len(part)
        return Outcome([], refused, error)

    def _send_singly(self, messages: list[bytes]) -> Outcome:
        fd, write = self.fd, os.write
        refused: list[bytes] = []
        error = None
        for at, message in enumerate(messages):
            try:
                write(fd, message)
            except OSError as failure:
                if failure.errno in FULL:
                    return Outcome(messages[at:], refused, error)
                error = failure
                if failure.errno in UNREACHABLE:
                    # It was about another one: this one has not been tried.
                    try:
                        write(fd, message)
                        continue
                    except OSError as again:
                        if again.errno in FULL:
                            return Outcome(messages[at:], refused, error)
                        error = again
                refused.append(message)
        return Outcome([], refused, error)

    def receive(self) -> tuple[list[bytes], OSError | None]:
        """Take all datagrams that are there, up to a bound, and the last error that was reported among them."""
        messages: list[bytes] = []
        error = None
        for _ in range(ERRORS):
            came, number = accelerator.receive(self.fd, MOST)
            messages += came
            if number in (0, errno.EAGAIN, errno.EWOULDBLOCK):
                break
            error = OSError(number, os.strerror(number))
        return messages, error

    def close(self) -> None:
        """Give the port back."""
        self._socket.close()

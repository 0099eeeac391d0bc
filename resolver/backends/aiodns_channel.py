"""c-ares for one nameserver, on the event loop's own thread.

aiodns lets c-ares have a thread for its sockets, wherever that can be; each reply then waits until that thread gets the
interpreter, and each query until it gives it back, which takes longer than all the rest. Where there is no such thread,
aiodns has the loop watch the sockets; this asks for that (`_make_channel`). A second gain: the socket that a reply came
in on is known, and so whether it came over UDP or TCP.

c-ares calls back in the middle of `process_fd`, or of `query` for answers out of its cache. The callback only notes the
outcome.
"""

from __future__ import annotations

import asyncio
import socket
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import aiodns
import pycares
from pycares import errno

from resolver.backends import aiodns_records as records

if TYPE_CHECKING:
    from resolver.model import Query
    from resolver.nameserver import Nameserver
    from resolver.policy import Policy

_NONE: int = pycares.ARES_SOCKET_BAD
LOOK = 0.005  # seconds between looks whether something has come just before a try is given up


class CaresOutcome(NamedTuple):
    """An outcome as c-ares tells it: a result or the number of an error. `transport` None: from c-ares itself."""

    result: pycares.DNSResult | None
    code: int | None
    transport: str | None
    broke: bool  # with it, a connection that had stood


class CaresChannel(aiodns.DNSResolver):
    """A channel without tries, search list and /etc/hosts. To be closed.

    Args:
        nameserver: The one that is asked.
        policy: The run's.
        source: The local address; None: the system's choice.
        edns: Queries have EDNS.

    Attributes:
        replies: Answers that it has had.
        waiting: Queries that c-ares has not told of yet.
    """

    def __init__(self, nameserver: Nameserver, policy: Policy, source: str | None = None, *, edns: bool = True) -> None:
        self.replies = 0
        self.waiting = 0
        flags = pycares.ARES_FLAG_EDNS if edns else 0
        flags |= pycares.ARES_FLAG_NOSEARCH | pycares.ARES_FLAG_NO_DFLT_SVR
        if nameserver.transport == "tcp":
            flags |= pycares.ARES_FLAG_USEVC | pycares.ARES_FLAG_STAYOPEN
        self._transports: dict[int, str] = {}
        self._standing: set[int] = set()
        self._unsent: list[tuple[Query, asyncio.Future[CaresOutcome], asyncio.TimerHandle]] = []
        self._looked = 0.0
        super().__init__(
            [str(nameserver)],
            loop=asyncio.get_running_loop(),
            flags=flags,
            timeout=policy.query_timeout,
            tries=1,
            rotate=False,
            lookups="b",
            local_ip=source,
        )

    def ask(self, query: Query, end: float) -> asyncio.Future[CaresOutcome]:
        """Ask; to be awaited. TimeoutError at the loop's time `end`."""
        loop: asyncio.AbstractEventLoop = self.loop
        future: asyncio.Future[CaresOutcome] = loop.create_future()
        self.waiting += 1
        # Sent one right behind the other, they cost half: whoever reads them need not be woken for each.
        if not self._unsent:
            loop.call_soon(self._send)
        self._unsent.append((query, future, loop.call_at(end, self._expire, future)))
        return future

    def _send(self) -> None:
        unsent, self._unsent = self._unsent, []
        for query, future, alarm in unsent:
            if future.done():
                self.waiting -= 1
                continue
            settle = partial(self._settle, future, alarm)
            try:
                # The name is absolute and in presentation format, as c-ares wants it.
                self._channel.query(query.name, records.NUMBERS[query.type], callback=settle)
            except pycares.AresError as error:
                settle(None, error.args[0] if error.args else errno.ARES_EFORMERR)
            except RuntimeError:
                return  # it was closed

    def _settle(
        self,
        future: asyncio.Future[CaresOutcome],
        alarm: asyncio.TimerHandle,
        result: pycares.DNSResult | None,
        code: int | None,
    ) -> None:
        alarm.cancel()
        self.replies += code in (None, errno.ARES_ENOTFOUND, errno.ARES_ENODATA)
        self.waiting -= 1
        if not future.done():
            at: int = self._channel.at  # type: ignore[attr-defined]  # a _Pycares
            if code == errno.ARES_ECONNREFUSED:
                # A truncated reply over UDP may be what it was asked again after, on a connection that breaks.
                at = next((fd for fd, transport in self._transports.items() if transport == "tcp"), at)
            future.set_result(CaresOutcome(result, code, self._transports.get(at), at in self._standing))

    def _expire(self, future: asyncio.Future[CaresOutcome]) -> None:
        now = self.loop.time()
        if now - self._looked > LOOK and not future.done():
            # The loop may come late, and sees its sockets after that: what has come is read before a try is given up.
            self._looked = now
            for fd in list(self._transports):
                self._channel.process_fd(fd, _NONE)
        if not future.done():
            future.set_exception(TimeoutError())

    def _make_channel(self, **options: Any) -> tuple[bool, pycares.Channel]:
        return False, _Pycares(sock_state_cb=self._sock_state_cb, timeout=self._timeout, **options)

    def _sock_state_cb(self, fd: int, readable: bool, writable: bool) -> None:
        """Watch a socket, or (both False) no longer. Called by c-ares; once closed, from a thread of its own."""
        super()._sock_state_cb(fd, readable, writable)
        if not writable and fd in self._write_fds:
            # aiodns forgets that; the loop would never rest.
            self._write_fds.discard(fd)
            self.loop.remove_writer(fd)
        if not readable and not writable:
            self._transports.pop(fd, None)
            self._standing.discard(fd)
        elif fd not in self._transports:
            known = socket.socket(fileno=fd)
            self._transports[fd] = "tcp" if known.type == socket.SOCK_STREAM else "udp"
            known.detach()
        elif not writable and self._transports[fd] == "tcp":
            # There is nothing left to send, so there is a connection.
            self._standing.add(fd)


class _Pycares(pycares.Channel):
    """Knows which socket it is at."""

    at = _NONE

    def process_fd(self, read_fd: int, write_fd: int) -> None:
        """This socket is ready."""
        self.at = write_fd if read_fd == _NONE else read_fd
        try:
            super().process_fd(read_fd, write_fd)
        finally:
            self.at = _NONE

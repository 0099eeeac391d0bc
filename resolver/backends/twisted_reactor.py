"""The reactor of the run on this thread, and its sockets: set by the engine `twisted`, asked for by the backend."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IReadDescriptor, IWriteDescriptor
from zope.interface import implementer  # type: ignore[import-untyped]

if TYPE_CHECKING:
    from collections.abc import Callable


class _Here(threading.local):
    reactor: Any = None


HERE = _Here()


def running_reactor() -> Any:
    """Return the reactor of this thread's run, as asyncio.get_running_loop does. Raises LookupError without one."""
    if HERE.reactor is None:
        raise LookupError("no run of the engine twisted on this thread")
    return HERE.reactor


@implementer(IReadDescriptor, IWriteDescriptor)
class ReactorSocket:
    """A socket as the reactor knows sockets. It stays its owner's; `ready` is called with its descriptor."""

    def __init__(self, fd: int, ready: Callable[[int], None], reactor: Any) -> None:
        self._fd = fd
        self._ready = ready
        self._reactor = reactor
        self._wanted = (False, False)

    def wait(self, read: bool, write: bool) -> None:
        """Wait until it can be read, or written; for neither, forget it."""
        self._wanted = (read, write)
        (self._reactor.addReader if read else self._reactor.removeReader)(self)
        (self._reactor.addWriter if write else self._reactor.removeWriter)(self)

    def fileno(self) -> int:
        return self._fd

    def logPrefix(self) -> str:
        return "resolve"

    def doRead(self) -> None:
        self._ready(self._fd)

    doWrite = doRead

    def connectionLost(self, reason: object) -> None:
        """Wait for the socket again, which the reactor forgets on an error: a UDP socket of a closed port lives on."""
        self._ready(self._fd)
        self.wait(*self._wanted)

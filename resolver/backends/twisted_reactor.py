"""The reactor of the run on this thread: set by the engine `twisted`, asked for by the backend."""

from __future__ import annotations

import threading
from typing import Any


class _Here(threading.local):
    reactor: Any = None


HERE = _Here()


def running_reactor() -> Any:
    """Return the reactor of this thread's run, as asyncio.get_running_loop does. Raises LookupError without one."""
    if HERE.reactor is None:
        raise LookupError("no run of the engine twisted on this thread")
    return HERE.reactor

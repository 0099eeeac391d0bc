"""The engine `threads`: waiting as the operating system offers it, blocking the thread that waits.

For a backend of the poll style the calling thread waits on all sockets at once with poll(2); more threads would only
take turns at the interpreter lock.
"""

from __future__ import annotations

import select
from typing import TYPE_CHECKING, NamedTuple

from resolver.engines.polling import by_poll

if TYPE_CHECKING:
    from collections.abc import Callable

    from resolver.engines.base import Backend, Queries
    from resolver.message import Result
    from resolver.policy import Policy


class Threads(NamedTuple):
    """Blocking calls, on the calling thread."""

    name: str = "threads"

    def run(self, queries: Queries, policy: Policy, backend: Backend, deliver: Callable[[list[Result]], None]) -> None:
        by_poll(select.poll(), queries, policy, backend, self.name, deliver)


engine = Threads()

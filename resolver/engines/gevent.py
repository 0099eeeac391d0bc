"""The engine `gevent`: green threads that wait in gevent's hub, where others run meanwhile.

A backend of the poll style needs no monkey-patching: its channel works on descriptors, and this engine waits for them
with gevent's own poll.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gevent import select

from resolver.engines.polling import by_poll

if TYPE_CHECKING:
    from collections.abc import Callable

    from resolver.engines.base import Backend, Queries
    from resolver.message import Result
    from resolver.policy import Policy


class Gevent(NamedTuple):
    """Green threads of the calling thread's hub."""

    name: str = "gevent"

    def run(self, queries: Queries, policy: Policy, backend: Backend, deliver: Callable[[list[Result]], None]) -> None:
        by_poll(select.poll(), queries, policy, backend, self.name, deliver)


engine = Gevent()

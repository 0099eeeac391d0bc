"""The engine `gevent`: green threads that wait in gevent's hub, where others run meanwhile.

A backend of the poll style needs no monkey-patching: its channel works on descriptors, and this engine waits for them
with gevent's own poll.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import gevent
from gevent import select
from gevent._hub_local import get_hub_if_exists

from resolver.engines.polling import by_poll

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from resolver.engines.base import Backend, Queries
    from resolver.message import Result
    from resolver.policy import Policy


class Gevent(NamedTuple):
    """Green threads of the calling thread's hub."""

    name: str = "gevent"

    def run(self, queries: Queries, policy: Policy, backend: Backend, deliver: Callable[[list[Result]], None]) -> None:
        with _hub():
            by_poll(select.poll(), queries, policy, backend, self.name, deliver)


@contextmanager
def _hub() -> Iterator[None]:
    """The calling thread's hub; one that is made for this run ends with it, with its descriptors and threads."""
    # gevent has no public way to ask whether there is one without making one.
    before = get_hub_if_exists()
    try:
        yield
    finally:
        if before is None and threading.current_thread() is not threading.main_thread():
            gevent.get_hub().destroy(destroy_loop=True)


engine = Gevent()

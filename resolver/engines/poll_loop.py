"""The loop of the engines that wait with a poll object: the standard library's, or gevent's with the same face."""

from __future__ import annotations

import math
import select
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from resolver.engines.watchers import Watchers
    from resolver.model import Result
    from resolver.policy import Policy
    from resolver.seam import PollBackend, Queries


def run_poll_loop(
    poll: select.poll | Watchers,
    queries: Queries,
    policy: Policy,
    backend: PollBackend,
    engine: str,
    deliver: Callable[[list[Result]], None],
) -> None:
    """Run a channel of this backend until it is idle or the run is over.

    Args:
        poll: Waits for the channel's sockets.
        queries, policy, backend, deliver: As `Engine.run` has them.
        engine: The engine's name.
    """

    def watch(fd: int, read: bool, write: bool) -> None:
        if read or write:
            poll.register(fd, read * select.POLLIN | write * select.POLLOUT)
        else:
            poll.unregister(fd)

    with backend.channel(queries, policy, engine, watch) as channel:
        while True:
            if results := channel.flush():
                deliver(results)
            if channel.idle or queries.ended:
                return
            # Milliseconds, and up: a wait that ends before its time would have to be begun again.
            for fd, _ in poll.poll(math.ceil(1000 * min(channel.timeout(), queries.max_wait()))):
                channel.drain(fd)

"""The engine `asyncio`: one task in an event loop that calls back when a socket is ready.

`run` has a loop of its own, which never becomes the thread's current one, and takes a thread of its own where a loop
is running already. `rounds` is the same for a caller who has a loop: an asynchronous generator of batches, which
suspends for as long as its consumer takes.
"""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from resolver.engines.base import Backend, Queries
    from resolver.message import Result
    from resolver.policy import Policy


class Asyncio(NamedTuple):
    """A loop of its own for `run`, the caller's for `rounds`."""

    name: str = "asyncio"

    def run(self, queries: Queries, policy: Policy, backend: Backend, deliver: Callable[[list[Result]], None]) -> None:
        async def main() -> None:
            rounds = self.rounds(queries, policy, backend)
            try:
                async for results in rounds:
                    if results:
                        deliver(results)
            finally:
                await rounds.aclose()

        if not _in_a_loop():
            _run(main())
            return
        # A loop cannot run inside another one of the same thread.
        failures: list[BaseException] = []

        def work() -> None:
            try:
                _run(main())
            except BaseException as error:  # to be raised where it can be caught
                failures.append(error)

        thread = threading.Thread(target=work, name="resolve-asyncio", daemon=True)
        thread.start()
        thread.join()
        if failures:
            raise failures[0]

    async def rounds(self, queries: Queries, policy: Policy, backend: Backend) -> AsyncGenerator[list[Result], None]:
        """The results in batches as they come, some of them empty, from the loop that is running."""
        loop = asyncio.get_running_loop()
        ready: set[int] = set()
        waiter: asyncio.Future[None] | None = None

        def wake(fd: int | None = None) -> None:
            if fd is not None:
                ready.add(fd)
            if waiter is not None and not waiter.done():
                waiter.set_result(None)

        def watch(fd: int, read: bool, write: bool) -> None:
            if read:
                loop.add_reader(fd, wake, fd)
            else:
                loop.remove_reader(fd)
            if write:
                loop.add_writer(fd, wake, fd)
            else:
                loop.remove_writer(fd)

        with backend.channel(queries, policy, self.name, watch) as channel:
            while True:
                yield channel.flush()
                if channel.idle or queries.over:
                    return
                waiter = loop.create_future()
                timer = loop.call_later(min(channel.timeout(), queries.patience()), wake)
                try:
                    await waiter
                finally:
                    timer.cancel()
                while ready:
                    channel.drain(ready.pop())


def _run(main: object) -> None:
    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(main)  # type: ignore[arg-type]  # a coroutine
        loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        loop.close()


def _in_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


engine = Asyncio()

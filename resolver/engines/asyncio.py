"""The engine `asyncio`: one task in an event loop that calls back when a socket is ready.

`run` has a loop of its own, which never becomes the thread's current one, and takes a thread of its own where a loop
is running already. `rounds` is the same for a caller who has a loop: an asynchronous generator of batches, which
suspends for as long as its consumer takes. When it is closed it leaves nothing behind: no task, no reader, no socket.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

from resolver.daemons import Daemons
from resolver.engines.async_workers import AsyncWorkers, open_session
from resolver.seam import PollBackend

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine

    from resolver.model import Result
    from resolver.policy import Policy
    from resolver.seam import Backend, PollChannel, Queries


class Asyncio(NamedTuple):
    """A loop of its own for `run`, the caller's for `rounds`."""

    name: str = "asyncio"

    def check(self, backend: Backend) -> None:
        """Raises ValueError where another green thread's event loop runs: a thread of the system has only one."""
        patching = sys.modules.get("gevent.monkey")
        green = patching is not None and patching.is_module_patched("threading")
        if green and _in_a_loop() and asyncio.current_task() is None:
            raise ValueError(
                "engine asyncio runs in one green thread of a program at a time, and it runs in another just now; "
                "use engine gevent, or give all hosts to one call"
            )

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
        ended: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
        with Daemons(1) as thread:
            thread.submit(lambda: _run(main()), ended.put)
            if (error := ended.get()) is not None:
                raise error

    async def rounds(self, queries: Queries, policy: Policy, backend: Backend) -> AsyncGenerator[list[Result], None]:
        """The results in batches as they come, some of them empty, from the loop that is running."""
        loop = asyncio.get_running_loop()
        ready: set[int] = set()
        wanted: dict[int, tuple[bool, bool]] = {}  # what is waited for of each descriptor
        waiter: asyncio.Future[None] | None = None
        consuming = False  # the consumer has the results, and takes its time

        def wake(fd: int | None = None) -> None:
            if fd is not None:
                ready.add(fd)
                if consuming:  # else the loop would tell of it again and again until the consumer is back
                    listen(fd, False, False)
            if waiter is not None and not waiter.done():
                waiter.set_result(None)

        def watch(fd: int, read: bool, write: bool) -> None:
            if read or write:
                wanted[fd] = read, write
            else:
                wanted.pop(fd, None)
            listen(fd, read, write)

        def listen(fd: int, read: bool, write: bool) -> None:
            if read:
                loop.add_reader(fd, wake, fd)
            else:
                loop.remove_reader(fd)
            if write:
                loop.add_writer(fd, wake, fd)
            else:
                loop.remove_writer(fd)

        async with self._channel(queries, policy, backend, watch, wake) as channel:
            while True:
                results = channel.flush()
                consuming = True
                yield results
                consuming = False
                for fd in ready & wanted.keys():
                    listen(fd, *wanted[fd])
                if channel.idle or queries.ended:
                    return
                waiter = loop.create_future()
                timer = loop.call_later(min(channel.timeout(), queries.max_wait()), wake)
                try:
                    await waiter
                finally:
                    timer.cancel()
                while ready:
                    channel.drain(ready.pop())

    @contextlib.asynccontextmanager
    async def _channel(
        self,
        queries: Queries,
        policy: Policy,
        backend: Backend,
        watch: Callable[[int, bool, bool], None],
        wake: Callable[[], None],
    ) -> AsyncIterator[PollChannel | AsyncWorkers]:
        """The backend's own channel, or one of tasks that await it."""
        if isinstance(backend, PollBackend):
            with backend.channel(queries, policy, self.name, watch) as channel:
                yield channel
            return
        loop = asyncio.get_running_loop()
        tasks: set[asyncio.Task[None]] = set()

        def start(work: Coroutine[object, object, None]) -> None:
            task = loop.create_task(work)
            tasks.add(task)
            task.add_done_callback(tasks.discard)

        session = open_session(backend, policy, _waiter)

        async def end() -> None:
            await asyncio.gather(*tasks, return_exceptions=True)
            await session.close()

        try:
            yield AsyncWorkers(queries, policy, session, self.name, backend.name, start, asyncio.sleep, wake)
        finally:
            for task in tasks:
                task.cancel()
            # A task of its own: where asyncio.run ends with a stream that was left, it cancels whoever ends that, and
            # an asynchronous generator that then waits here could not go on (Python 3.11).
            ending = loop.create_task(end())
            _ENDING.add(ending)
            ending.add_done_callback(_ENDING.discard)
            current = asyncio.current_task()
            if current is not None and not current.cancelling():
                await asyncio.shield(ending)


_ENDING: set[asyncio.Task[None]] = set()  # the loop itself keeps no task alive


def _waiter() -> tuple[Awaitable[object], Callable[[], object]]:
    loop, event = asyncio.get_running_loop(), asyncio.Event()
    return event.wait(), lambda: loop.call_soon_threadsafe(event.set)


def _run(main: Coroutine[Any, Any, None]) -> None:
    loop = asyncio.new_event_loop()
    task = loop.create_task(main)
    try:
        loop.run_until_complete(task)
    finally:
        if not task.done():  # KeyboardInterrupt leaves it as it is
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                loop.run_until_complete(task)
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


def _in_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


engine = Asyncio()

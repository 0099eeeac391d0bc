"""Reading an asynchronous iterable ahead of the run, in a task of the running event loop (readahead.py).

Its own file, since asyncio takes a tenth of a command's start, which does not need it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Callable

    from resolver.input.readahead import ReadAhead

_TASKS: set[asyncio.Task[None]] = set()  # the loop itself keeps no task alive


class InTask:
    """Reads an asynchronous iterable in a task of the event loop that is running when it is begun."""

    def __init__(self, items: AsyncIterable[object]) -> None:
        self._items = items
        self._room: asyncio.Event
        self._task: asyncio.Task[None]
        self._ahead: ReadAhead

    def start(self, ahead: ReadAhead) -> None:
        """Begin to read."""
        self._ahead = ahead
        self._room = asyncio.Event()
        self._task = asyncio.get_running_loop().create_task(self._work())
        _TASKS.add(self._task)
        self._task.add_done_callback(_TASKS.discard)

    def wake(self) -> None:
        """Go on: there is room again, or nothing more is to be read; then cancel the task where it waits."""
        if self._ahead.closed:
            self._task.cancel()
        self._room.set()

    def wait(self, condition: Callable[[], bool], seconds: float) -> None:
        """Return at once: the loop would stand still."""

    async def _work(self) -> None:
        ahead = self._ahead
        try:
            async for item in self._items:
                room = ahead.put(item)
                while not room:
                    self._room.clear()
                    ahead.reader_waits = True
                    await self._room.wait()
                    ahead.reader_waits = False
                    room = not ahead.full
        except BaseException as error:  # raised again where hosts are taken
            ahead.end(error)
            if isinstance(error, asyncio.CancelledError):
                raise
        else:
            ahead.end()

"""Waiting, for backends whose library makes the messages: on a thread, or in the event loop that is running.

What waits stands once, as coroutines, and is given a way of waiting. On a thread its coroutines never suspend
(`at_once` in attempts.py). The third way, in a reactor, is that of the backend `twisted`.
"""

from __future__ import annotations

import asyncio
import math
import select
import time
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class Waits(Protocol):
    """A way of waiting."""

    async def sleep(self, seconds: float) -> None:
        """Wait for so long."""

    async def ready(self, descriptors: Sequence[int], event: int, seconds: float) -> list[int]:
        """Wait until some can be read (POLLIN) or written (POLLOUT), for so long at most; return those that can."""


class OnThread:
    """Waiting that blocks the calling thread, or green thread."""

    async def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    async def ready(self, descriptors: Sequence[int], event: int, seconds: float) -> list[int]:
        return poll(descriptors, event, seconds)


class InEventLoop:
    """Waiting in the event loop of asyncio that is running."""

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def ready(self, descriptors: Sequence[int], event: int, seconds: float) -> list[int]:
        loop = asyncio.get_running_loop()
        came: asyncio.Future[None] = loop.create_future()

        def wake() -> None:
            if not came.done():
                came.set_result(None)

        reading = event == select.POLLIN
        for each in descriptors:
            (loop.add_reader if reading else loop.add_writer)(each, wake)
        timer = loop.call_later(seconds, wake)
        try:
            await came
        finally:
            timer.cancel()
            for each in descriptors:
                (loop.remove_reader if reading else loop.remove_writer)(each)
        return poll(descriptors, event)


def poll(descriptors: Iterable[int], event: int, seconds: float = 0.0) -> list[int]:
    """Return the descriptors that are ready for this event, after blocking for so long at most until one is."""
    polled = select.poll()
    for each in descriptors:
        polled.register(each, event)
    return [each for each, _ in polled.poll(math.ceil(1000 * seconds))]

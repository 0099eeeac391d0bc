"""Order of the results: that of the input (`--order input`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from resolver.model import Result


class InOrder:
    """Sink that passes results on in the order of their index.

    Args:
        sink: Gets the results.
        next_open: Returns the first index from one on that a result will come of.

    Attributes:
        held: Results that wait for an earlier one, by index.
    """

    def __init__(self, sink: Callable[[list[Result]], None], next_open: Callable[[int], int]) -> None:
        self._sink = sink
        self._next_open = next_open
        self._next = next_open(0)
        self.held: dict[int, Result] = {}

    def __call__(self, results: list[Result]) -> None:
        held = self.held
        held.update({result.index: result for result in results})
        ready = []
        while (result := held.pop(self._next, None)) is not None:
            ready.append(result)
            self._next = self._next_open(self._next + 1)
        if ready:
            self._sink(ready)

"""Results as lines of JSON, written by the accelerator where their replies come in, and never made Results at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from resolver.blocks import ResultBlock
from resolver.model import Result, Status

if TYPE_CHECKING:
    from resolver.blocks import BlockSink


class PlainLines:
    """Lines of plain replies that are not in the sink yet.

    Attributes:
        lines, indices: Grow with each result.
        queries: That were sent for them.
        elapsed: Seconds, and how many of them took these.
    """

    def __init__(self, sink: BlockSink) -> None:
        self.lines: list[bytes] = []
        self.indices: list[int] = []
        self.queries = 0
        self.elapsed: list[tuple[float, int]] = []
        self._sink = sink
        self._ends: dict[tuple[str, str], tuple[bytes, bytes]] = {}

    def more(self, nameserver: str, transport: str, engine: str) -> tuple[bytes, bytes, list[int]]:
        """Return what the accelerator needs to know of these lines (accelerator.settle_none)."""
        ends = self._ends.get((nameserver, transport))
        if ends is None:
            result = Result(0, "", "", "", Status.NOERROR, [], nameserver, transport, 1, 0.5, engine, "wire", None)
            _, _, after = msgspec.json.encode(result).partition(b'"answers":[')
            head, _, tail = after.partition(b'1,"elapsed":0.5')
            ends = self._ends[nameserver, transport] = head, tail + b"\n"
        return *ends, self.indices

    def write(self) -> None:
        """Put these lines into the sink."""
        if self.lines:
            count, body = len(self.lines), b"".join(self.lines)
            statuses = {Status.NOERROR.value: count}
            block = ResultBlock(count, self.indices, statuses, self.queries, count, True, b"", self.elapsed, body)
            self.lines, self.indices, self.queries, self.elapsed = [], [], 0, []
            self._sink.write(block)

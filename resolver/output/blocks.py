"""Lines of results, written where the results are made: who may write them, and how."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from resolver.blocks import LineFormat, ResultBlock
from resolver.output.formats import GROUPED
from resolver.output.lines import EACH_TEXT, ENCODERS, csv_encoder
from resolver.output.selection import Selection

if TYPE_CHECKING:
    from collections.abc import Sequence

    from resolver.model import Result
    from resolver.output.lines import Encoder
    from resolver.output.selection import Differing
    from resolver.output.tally import RunTally


def line_format(
    format: str,
    *,
    selection: Selection | Differing | None = None,
    group: Sequence[str] = (),
    more: Sequence[str] = (),
    keep: bool = False,
    each: bool = False,
    tallied: bool = False,
) -> LineFormat | None:
    """Return the format in which each result can be written by itself, wherever it is made; None: it must come here.

    Args:
        format, selection, group, more, keep, each: As `open_writer` takes them.
        tallied: The results are counted for a page about the run, too.
    """
    if format not in ENCODERS or keep or (group and format in GROUPED):
        return None
    if each and format == "text":
        format = EACH_TEXT
    if selection is None:
        return LineFormat(format, tuple(more), tallied=tallied)
    return LineFormat(format, tuple(more), selection.words, tallied) if isinstance(selection, Selection) else None


class Encoded(NamedTuple):
    """Results as octets, and of how many of them these are."""

    octets: bytes
    shown: int


class BlockMaker:
    """Results that are encoded as they come, until there are enough for a block.

    Held as they are until then, each would be read again when the processor has long forgotten it.

    Attributes:
        octets: Of the results so far.
    """

    def __init__(self, lines: LineFormat | None) -> None:
        """Args: lines: The format of their lines; None: they are wanted as they are."""
        self.octets = 0
        self._as_lines = lines is not None
        self._parts: list[bytes] = []
        self._block = ResultBlock(lines=self._as_lines)
        self._indices: list[int] = []
        self._selection = Selection(lines.only) if lines is not None and lines.only else None
        self._tally: RunTally | None = None
        if lines is not None and lines.tallied:
            from resolver.output.tally import RunTally  # here: few runs have a page

            self._tally = RunTally()
        self._encode: Encoder = _elements
        if lines is not None:
            self._encode = csv_encoder(lines.more) if lines.name == "csv" else ENCODERS[lines.name]

    def __len__(self) -> int:
        """Return how many results there are."""
        return len(self._indices)

    def encode(self, results: list[Result]) -> Encoded:
        """Return these results encoded, to be added or not."""
        chosen = results if self._selection is None else self._selection.of(results)
        return Encoded(self._encode(chosen), len(chosen))

    def add(self, results: list[Result], encoded: Encoded) -> None:
        """Add these results."""
        if encoded.octets:
            self._parts.append(encoded.octets)
        self.octets += len(encoded.octets)
        statuses = self._block.add(results, encoded.shown)
        self._indices += map(_index, results)
        if self._tally is not None:
            self._tally.add(results, statuses)

    def add_lines(self, indices: list[int], block: ResultBlock) -> None:
        """Add results of these indices that are lines of the format already."""
        self._indices += indices
        self._parts.append(block.body)
        self.octets += len(block.body)
        self._block.merge(block)
        if self._tally is not None:
            self._tally.add_block(block)

    def take(self) -> tuple[ResultBlock, list[bytes]]:
        """Return the block without its body, and that in parts; the next result begins another."""
        block, parts = self._block, self._parts
        block.number(self._indices)
        if not self._as_lines:
            parts.insert(0, b"\xdd" + block.count.to_bytes(4, "big"))  # MessagePack's array 32
        if self._tally is not None:
            block.tally = self._tally.take()
        self._block, self._indices, self._parts, self.octets = ResultBlock(lines=self._as_lines), [], [], 0
        return block, parts


_to_msgpack = msgspec.msgpack.Encoder()
_index = attrgetter("index")


def _elements(results: list[Result]) -> bytes:
    """Encode the results as MessagePack, without the header of the list that they will stand in."""
    return _to_msgpack.encode(results)[_header(len(results)) :]


def _header(length: int) -> int:
    return 1 if length < 16 else 3 if length < 1 << 16 else 5

"""Lines of results, written where the results are made: who may write them, and how."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resolver.blocks import LineFormat, ResultBlock
from resolver.output.formats import GROUPED
from resolver.output.lines import ENCODERS, csv_encoder
from resolver.output.selection import Selection
from resolver.output.tally import RunTally

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from resolver.model import Result
    from resolver.output.selection import Differing


def line_format(
    format: str,
    *,
    selection: Selection | Differing | None = None,
    group: Sequence[str] = (),
    more: Sequence[str] = (),
    keep: bool = False,
    tallied: bool = False,
) -> LineFormat | None:
    """Return the format in which each result can be written by itself, wherever it is made; None: it must come here.

    Args:
        format, selection, group, more, keep: As `open_writer` takes them.
        tallied: The results are counted for a page about the run, too.
    """
    if format not in ENCODERS or keep or (group and format in GROUPED):
        return None
    if selection is None:
        return LineFormat(format, tuple(more), tallied=tallied)
    return LineFormat(format, tuple(more), selection.words, tallied) if isinstance(selection, Selection) else None


def block_encoder(lines: LineFormat | None) -> Callable[[list[Result]], ResultBlock]:
    """Return what puts results into blocks: as lines of this format, or (None) as they are."""
    if lines is None:
        return ResultBlock.of
    encode = csv_encoder(lines.more) if lines.name == "csv" else ENCODERS[lines.name]
    selection = Selection(lines.only) if lines.only else None

    tally = RunTally() if lines.tallied else None

    def block(results: list[Result]) -> ResultBlock:
        chosen = results if selection is None else selection.of(results)
        made = ResultBlock.of(results, encode(chosen), len(chosen))
        if tally is not None:
            tally.add(results)
            made.tally = tally.take()
        return made

    return block

"""Results as blocks of them, as those who look them up make them."""

from collections.abc import Callable

from resolver.blocks import LineFormat, ResultBlock
from resolver.model import Result
from resolver.output.blocks import BlockMaker


def block_encoder(lines: LineFormat | None) -> Callable[[list[Result]], ResultBlock]:
    """Return what puts results into blocks: as lines of this format, or (None) as they are."""
    maker = BlockMaker(lines)

    def block(results: list[Result]) -> ResultBlock:
        maker.add(results, maker.encode(results))
        made, parts = maker.take()
        made.body = b"".join(parts)
        return made

    return block

"""Kinds of statuses, each with one colour wherever a page shows them.

The colours are Okabe and Ito's, which the colour-blind tell apart; text on them has a contrast of 4.5 or more, on light
pages and on dark ones. A colour never says more than the word beside it.
"""

from __future__ import annotations

from typing import NamedTuple

from resolver.model import Status


class Colour(NamedTuple):
    """Colour of a kind, and of text on it."""

    fill: str
    text: str


# Of lines in a picture that has several; the last is for light pages alone.
SERIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")

COLOURS = {
    "found": Colour("#0072b2", "#ffffff"),
    "absent": Colour("#56b4e9", "#000000"),
    "failed": Colour("#b84a00", "#ffffff"),
    "ended": Colour("#cc79a7", "#000000"),
}
_KINDS = {
    Status.NOERROR: "found",
    Status.NODATA: "absent",
    Status.NXDOMAIN: "absent",
    Status.DEADLINE: "ended",
    Status.CANCELLED: "ended",
}


def kind(status: str) -> str:
    """Return the kind of a status: found, absent (an answer too), ended (with the run), or failed."""
    return _KINDS.get(Status(status), "failed")

"""The CNAME chain: which records of an answer section belong to the question."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from resolver.dns import rdata

if TYPE_CHECKING:
    from collections.abc import Callable

Found = TypeVar("Found", bound=tuple[Any, ...])


def follow(
    owner: bytes, records: dict[bytes, list[Found]], wanted: int, target: Callable[[Found], bytes]
) -> tuple[list[tuple[bytes, Found]], bool]:
    """Return the records reachable from `owner`, each with its owner, and whether the wanted type is among them.

    A name that has records of the type needs no CNAME; of several CNAMEs at one name the first is followed.

    Args:
        owner: the name that was asked, in lower case.
        records: tuples of owner, type, ..., by owner in lower case; of the wanted type (all, for ANY) and CNAMEs only.
            The dict is used up on the way, so loops end.
        wanted: the number of the type.
        target: the name that a CNAME record points to.
    """
    chain: list[tuple[bytes, Found]] = []
    while here := records.pop(owner, None):
        found = here if wanted == rdata.ANY else [record for record in here if record[1] == wanted]
        chain += [(owner, record) for record in found or here[:1]]
        if found:
            return chain, True
        owner = target(here[0]).lower()
    return chain, False

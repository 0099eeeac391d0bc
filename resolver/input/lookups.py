"""Lookups of a run as a batch reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from resolver.model import Query, Result, Status

if TYPE_CHECKING:
    from resolver.blocks import HostLines

    # A row of CSV: by the names of its header, or a list where there is none; None where it cannot be read.
    Row = dict[str, str | None] | list[str] | None


class LookupSource(Protocol):
    """Source of the lookups that a batch reads: Hosts, or what wraps it. Hosts says what each of these is."""

    def take(self, n: int) -> tuple[list[Query], list[Result]] | None: ...
    def take_lines(self, n: int) -> HostLines | None: ...
    def stop(self) -> None: ...
    def next_open(self, index: int) -> int: ...
    def position(self) -> tuple[int, int] | None: ...
    @property
    def rows(self) -> dict[int, Row] | None: ...
    @property
    def silent(self) -> bool: ...
    @property
    def passed_over(self) -> int: ...
    @property
    def complete(self) -> bool: ...
    @property
    def hosts_read(self) -> int: ...
    @property
    def lookups(self) -> int: ...


def invalid_result(index: int, text: str, type_: str, error: str, engine: str, backend: str) -> Result:
    """Return the result of a line that cannot be asked."""
    result = Query(index, text, "", type_).unanswered(Status.INVALID, error, engine, backend)
    result.name = None
    return result

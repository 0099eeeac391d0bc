"""Hosts as a caller of the library gives them: a list, or an iterable of hosts."""

from __future__ import annotations

import io
import os
from collections.abc import AsyncIterable, Iterable
from typing import TYPE_CHECKING, Any

from resolver.input.sources import elements, path
from resolver.input.textfile import text_file

if TYPE_CHECKING:
    from resolver.input.columns import HostColumn
    from resolver.input.sources import Source


def source(hosts: Any, *, whole: bool = False, column: HostColumn | None = None) -> Source:
    """Return the source that reads what a caller gave as hosts.

    Args:
        hosts: As `resolve` takes them.
        whole: An iterator is read to its end even where the run ends early, unless it waits.
        column: Where the host stands in a list that is CSV.

    Raises:
        TypeError: It is neither a list nor hosts.
        ValueError: It is no list and there is a column, or its header does not name the column.
        OSError: It cannot be opened.
    """
    if isinstance(hosts, os.PathLike):
        return path(hosts, column)
    if isinstance(hosts, io.TextIOBase):
        return text_file(hosts, column)
    if column is not None:
        raise ValueError("column is for lists: a path or an open text file; each element of an iterable is a host")
    if isinstance(hosts, str):
        # Its letters would be hosts else.
        return elements([hosts])
    if isinstance(hosts, AsyncIterable):
        raise TypeError(f"{type(hosts).__name__} is an asynchronous iterable, which only astream reads")
    if isinstance(hosts, bytes | bytearray) or not isinstance(hosts, Iterable):
        raise TypeError(f"hosts is a path, an open text file or an iterable of names, not {type(hosts).__name__}")
    return elements(hosts, whole=whole)

"""Hosts as a caller of the library gives them: a list, or an iterable of hosts."""

from __future__ import annotations

import io
import os
from collections.abc import AsyncIterable, Iterable, Sized
from itertools import islice
from typing import TYPE_CHECKING, Any

from resolver.input.groups import octets_of
from resolver.input.readahead import InThread, ReadAhead
from resolver.input.sources import LineSource, elements, path
from resolver.input.textfile import text_file

if TYPE_CHECKING:
    from collections.abc import Callable

    from resolver.input.columns import HostColumn
    from resolver.input.sources import Source

_WORDS = 1000  # words of a collection that are read at once


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


def word_list(words: Any, *, whole: bool = False) -> LineSource:
    """Return the list of words that a caller gave.

    Args:
        words: A path (a str too), an open text file, or an iterable of words, each as a line of such a list.
        whole: As `source` has it.

    Raises:
        TypeError: It is none of these.
        OSError: It cannot be opened.
    """
    if isinstance(words, str | os.PathLike):
        return path(words)
    if isinstance(words, io.TextIOBase):
        return text_file(words)
    if isinstance(words, bytes | bytearray) or not isinstance(words, Iterable):
        raise TypeError(f"words is a path, an open text file or an iterable of words, not {type(words).__name__}")
    if not isinstance(words, Sized):
        return LineSource(ahead=ReadAhead(InThread(map(_line, words)), whole=whole))
    for word in words:
        _check_word(word)
    return _collection(words, lambda: _collection(words))


def _collection(words: Iterable[str], twin: Callable[[], LineSource] | None = None) -> LineSource:
    lines = map(_line, words)
    return LineSource(lambda: octets_of("".join(islice(lines, _WORDS))), twin=twin)


def _check_word(word: object) -> None:
    if not isinstance(word, str):
        raise TypeError(f"a word is a str, not {type(word).__name__}")


def _line(word: str) -> str:
    _check_word(word)
    return word.replace("\n", "\r") + "\n"  # a CR no name may hold either, and it ends no line

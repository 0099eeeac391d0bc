"""Words of a command line that name hosts, and standard input where there are none."""

from __future__ import annotations

import os
import stat
from contextlib import contextmanager
from itertools import groupby
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from resolver.input.columns import HostColumn
    from resolver.input.sources import Source


def is_input(fd: int) -> bool:
    """Tell whether this is a pipe, a file or a socket, as opposed to a terminal, /dev/null or nothing at all."""
    try:
        mode = os.fstat(fd).st_mode
    except OSError:
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISREG(mode) or stat.S_ISSOCK(mode)


@contextmanager
def rewound(fd: int) -> Iterator[None]:
    """Read a file on this descriptor from where it stood before once more, after this; a pipe goes on."""
    try:
        where = os.lseek(fd, 0, os.SEEK_CUR)
    except OSError:
        yield
        return
    try:
        yield
    finally:
        os.lseek(fd, where, os.SEEK_SET)


def sources_of(hosts: Sequence[str], column: HostColumn | None = None, words: str | None = None) -> list[Source]:
    """Return the sources that HOSTS name: an existing file is a list, - is standard input, anything else is one host.

    With a column the lists are CSV; with a list of words each host is a domain. Raises OSError for what cannot be read,
    and ValueError for one with a path separator that is no file, URL or network, and for standard input as both lists.
    """
    if words is not None:
        return [_words_before(words, hosts, column)]
    from resolver.input.forms import is_literal
    from resolver.input.sources import descriptor, elements, path

    sources: list[Source] = []
    for listed, alike in groupby(hosts or ["-"], _is_list):
        if listed:
            sources += [descriptor(0, column=column) if name == "-" else path(name, column) for name in alike]
            continue
        names = list(alike)
        for name in names:
            if os.sep in name and not is_literal(name):
                raise ValueError(f"{name}: there is no such file, and it is no host, URL or network")
        sources.append(elements(names))
    return sources


def _words_before(words: str, hosts: Sequence[str], column: HostColumn | None) -> Source:
    from resolver.input.sources import descriptor, path
    from resolver.input.words import Words

    if words == "-" and "-" in (hosts or ["-"]):
        raise ValueError("standard input is the list of words, and cannot be that of the domains too: name them")
    listed = descriptor(0) if words == "-" else path(words)
    try:
        return Words(listed, sources_of(hosts, column))
    except BaseException:
        listed.close()
        raise


def _is_list(word: str) -> bool:
    return word == "-" or (os.path.exists(word) and not os.path.isdir(word))

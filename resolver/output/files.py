"""Files that a run writes: opened, and kept apart from its other files and from other runs."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from collections.abc import Sequence


class OtherInput(ValueError):
    """Error: the input is not the one that the file was made with (`--resume`)."""


def format_of(format: str | None, output: str | None) -> str | None:
    """Return the format that was chosen, or that the name of the output chooses; None: neither says."""
    return format or {".jsonl": "jsonl", ".csv": "csv"}.get(os.path.splitext(output or "")[1].lower())


def check_other_file(path: str | int, others: Sequence[str | int]) -> None:
    """Raise ValueError for a file that is one of the run's others: what it holds would be lost, or read without end."""
    if any(same_file(path, 0 if other == "-" else other) for other in others):
        name = "standard output" if path == 1 else path
        raise ValueError(f"{name} is another file of this run, and would be overwritten")


def open_output(path: str | int, others: Sequence[str | int], *, locked: bool = False) -> BinaryIO:
    """Open a file for writing, unbuffered: a batch is one write, and what was written can be seen.

    Args:
        path: A name; `-` or 1: standard output.
        others: The other files of the run.
        locked: No other run may write it meanwhile.

    Raises:
        ValueError: Another run writes it, or it is one of the others.
        OSError: It cannot be opened.
    """
    if path == "-":
        path = 1
    check_other_file(path, others)
    if isinstance(path, int) or not locked or (os.path.exists(path) and not os.path.isfile(path)):
        return open(path, "wb", buffering=0, closefd=path != 1)
    # What is locked holds another run's results: only then is it known that they may be cut off.
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
    file = open(fd, "wb", buffering=0)  # noqa: SIM115  # the caller's to close
    try:
        lock(fd, path)
        file.truncate(0)
    except BaseException:
        file.close()
        raise
    return file


def same_file(path: str | int, other: str | int) -> bool:
    """Tell whether these, by name or descriptor, are one regular file."""
    try:
        # Only regular files: a terminal is read from and written to, and so is /dev/null.
        return os.path.samefile(path, other) and stat.S_ISREG(os.stat(path).st_mode)
    except OSError:
        return False


def lock(fd: int, path: str) -> None:
    """Raise ValueError where another run has this file open to write it; else have it until it is closed."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise ValueError(f"{path} is written by another run; wait for its end, or write to another file") from None
    except OSError as error:
        # A file system without locks: nobody can be kept out, and nobody need be.
        if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL):
            raise

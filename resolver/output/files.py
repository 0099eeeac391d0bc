"""Files that a run writes: opened, and kept apart from its other files and from other runs."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from contextlib import suppress
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
    file = open_locked(path, os.O_WRONLY)
    file.truncate(0)
    return file


def open_locked(path: str, access: int = os.O_RDWR) -> BinaryIO:
    """Open a file unbuffered, and as it is; one that is not there is made, and empty.

    Raises OSError, and ValueError where another run writes it: the lock lasts as long as the file is open.
    """
    while True:
        fd = os.open(path, access | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY, 0o666)
        file = open(fd, "r+b", buffering=0)  # noqa: SIM115  # the caller's to close
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise ValueError(f"{path} is no regular file, and cannot be resumed; --output names one")
            lock(fd, path)
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(fd), os.stat(path)):
                    return file
        except BaseException:
            file.close()
            raise
        # Another run's new file took its place between the two calls.
        file.close()


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

"""Progress of a run, for machines (`--status`): a JSON object a second, on a line of its own, and one at the end.

It must never end a run, nor hold it up: a reader that is gone, or a full disk, silences it and nothing else, and where
a pipe is full because nobody reads, what there is to say is left out.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import stat
import time
from typing import TYPE_CHECKING

import msgspec

from resolver.output.files import check_other_file, open_output

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import BinaryIO

    from resolver.input.lookups import LookupSource
    from resolver.output.summary import Summary

INTERVAL = 1.0  # seconds


class RunStatus(msgspec.Struct, kw_only=True):
    """Progress of a run so far, in the order of the keys; None where it is not known.

    Attributes:
        done: Lookups that have their result.
        total: Lookups of the whole run; of a list that is still being read, as its size so far makes expect; of words
            before domains, as these were counted.
        rate: Results a second, since the first host was taken.
        in_flight: Lookups that were begun and are not done.
        statuses: How many results each status has.
        seconds_left: What the rest takes at this rate.
        workers: Of an engine whose work is done elsewhere: how many do it now.
    """

    done: int
    total: int | None
    rate: float | None
    in_flight: int | None
    statuses: dict[str, int]
    seconds_left: float | None
    workers: int | msgspec.UnsetType | None = msgspec.UNSET


def running(
    hosts: LookupSource, *, all_read: bool, results: int, in_flight: int, statuses: dict[str, int], seconds: float
) -> RunStatus:
    """Return the progress of a run that goes on.

    Args:
        hosts: What is looked up.
        all_read: They were read to their end.
        results: Results of this run.
        in_flight: Lookups without one.
        statuses: What the results are.
        seconds: Seconds since the first host was taken.
    """
    done, total = results + hosts.passed_over, hosts.lookups if all_read else _total(hosts)
    rate = results / seconds if seconds else 0.0
    return RunStatus(
        done=done,
        total=total,
        rate=round(rate, 1) if seconds else None,
        in_flight=in_flight,
        statuses=statuses,
        seconds_left=None if total is None or not rate else round(max(0, total - done) / rate, 1),
    )


def ended(figures: Summary) -> RunStatus:
    """Return the progress of a run at its end."""
    return RunStatus(
        done=figures.results_written,
        total=figures.lookups,
        rate=figures.lookups_per_second,
        in_flight=0,
        statuses=figures.statuses,
        seconds_left=0.0,
    )


def _total(hosts: LookupSource) -> int | None:
    position = hosts.position()
    if position is None or not position[0]:
        return None
    read, whole = position
    return hosts.lookups if read >= whole else max(hosts.lookups, hosts.lookups * whole // read)


class StatusFeed:
    """Lines of progress for a program that reads along.

    Args:
        target: The name of a file, `-` for standard output, or the number of a descriptor that is open.
        others: The other files of the run.

    `workers` tells how many an engine has whose work is done elsewhere, where that is to be told too.

    Raises:
        ValueError: It is one of the others.
        OSError: It cannot be opened.
    """

    def __init__(self, target: str, others: Sequence[str | int]) -> None:
        self.workers: Callable[[], int | None] | None = None
        opened = _descriptor(int(target), others) if target.isdecimal() else open_output(target, others)
        self._file: BinaryIO | None = opened
        self._regular = stat.S_ISREG(os.fstat(opened.fileno()).st_mode)
        self._next = time.monotonic() + INTERVAL

    def tick(self, status: Callable[[], RunStatus]) -> None:
        """Write what `status` says, if it is time. To be called often: it costs next to nothing where it is not."""
        now = time.monotonic()
        if now >= self._next:
            self._next = now + INTERVAL
            self._write(status())

    def close(self, status: RunStatus) -> None:
        """Write the last line. Another call does nothing."""
        self._write(status)
        if self._file is not None:
            self._file.close()
            self._file = None

    def _write(self, status: RunStatus) -> None:
        if self._file is None:
            return
        if self.workers is not None:
            status.workers = self.workers()
        try:
            if self._takes():
                self._file.write(msgspec.json.encode(status) + b"\n")
        except OSError:
            self._file.close()
            self._file = None

    def _takes(self) -> bool:
        """Tell whether a line can be written without waiting: what poll calls writable takes 512 octets at least."""
        assert self._file is not None
        if self._regular:
            return True
        poll = select.poll()
        poll.register(self._file, select.POLLOUT)
        return bool(poll.poll(0))


def _descriptor(number: int, others: Sequence[str | int]) -> BinaryIO:
    try:
        # What this program has opened itself is closed on exec; what its caller has left open for it cannot be.
        own = fcntl.fcntl(number, fcntl.F_GETFD) & fcntl.FD_CLOEXEC
    except (OSError, OverflowError):
        own = True
    if own:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF), f"descriptor {number}")
    check_other_file(number, others)
    return open(number, "wb", buffering=0, closefd=False)

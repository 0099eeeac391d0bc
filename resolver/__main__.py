"""Start of the application."""

from __future__ import annotations

import atexit
import gc
import os
import sys


def main() -> None:
    """Run the command, and end the process with its exit status."""
    # What is imported stays: looking through it every 700 objects takes a twentieth of a command's start.
    gc.set_threshold(50_000)
    from resolver.commands import cli
    from resolver.descriptors import raise_descriptors

    raise_descriptors()
    try:
        cli.main(prog_name="resolve")
    except SystemExit as end:
        _leave(end.code)
        raise


def _leave(status: object) -> None:
    """End the process here, where nothing is left to do but to take the interpreter down.

    After a long run that costs up to a tenth of a second. Returns where it should happen all the same: the status is a
    sentence, the last words cannot be written, or somebody traces or profiles the program.
    """
    if not isinstance(status, int) or sys.gettrace() or sys.getprofile():
        return
    atexit._run_exitfuncs()
    try:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
    except (OSError, ValueError):
        return
    os._exit(status)


if __name__ == "__main__":
    main()

"""The application starts here. Nothing of the package that looks anything up is imported before `prepare` was called.

gevent's monkey-patching must come before what it patches is imported by anyone, so it stands here and nowhere else,
and only for runs on the engine gevent: the library never patches.
"""

from __future__ import annotations

import atexit
import os
import sys


def prepare(engine: str) -> None:
    """Make the process ready for a run on this engine, before anything else of the package is imported."""
    if engine == "gevent":
        try:
            from gevent import events
        except ImportError:
            # The table of engines says so in a sentence, with the cure.
            return
        # gevent looks through all installed packages for plugins that want to know, once for each module it patches:
        # up to a fifth of a second at every start, and this command has none. Whoever subscribed is still told.
        events.notify_and_call_entry_points = events.notify
        from gevent import monkey

        monkey.patch_all()


def main() -> None:
    """Run the command; ends the process with its exit status."""
    from resolver.commands import cli
    from resolver.descriptors import raise_descriptors

    raise_descriptors()
    try:
        cli.main(prog_name="resolve", obj=prepare)
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

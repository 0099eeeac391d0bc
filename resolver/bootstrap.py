"""Preparing the process for an engine: the one place that monkey-patches.

gevent's patching must come before what it patches is imported by anyone, so nothing of the package that waits is
imported before `prepare` was called. Only programs of our own call it: the library never patches.
"""

from __future__ import annotations


def prepare(engine: str, backend: str | None = None) -> None:
    """Make the process ready for a run, before anything else of the package is imported.

    Args:
        engine: The engine's name.
        backend: The only backend that the process will use, where that is known.
    """
    if engine != "gevent":
        return
    try:
        from gevent import events
    except ImportError:
        # The table of engines says so in a sentence, with the cure.
        return
    # gevent looks through all installed packages for plugins that want to know, once for each module it patches:
    # up to a fifth of a second at every start, and this command has none. Whoever subscribed is still told.
    events.notify_and_call_entry_points = events.notify
    from gevent import monkey

    # TLS of the backend wire goes through memory, where nothing waits; loading it is a twelfth of a command's start.
    monkey.patch_all(ssl=backend != "wire")

"""The worker of a run that has a Redis of its own; it ends when its standard input does.

`python -m resolver.distributed.local ENGINE BACKEND`; the Redis stands in RESOLVE_REDIS.
"""

from __future__ import annotations

import _thread
import logging
import os
import shutil
import sys
import tempfile


def main() -> None:
    """Work for one run."""
    tempfile.tempdir = tempfile.mkdtemp(prefix="resolve-worker-")
    _thread.start_new_thread(_watch, (tempfile.tempdir,))
    from resolver.distributed.broker import Broker
    from resolver.distributed.command import slots_here
    from resolver.distributed.limits import WorkerLimits
    from resolver.distributed.worker import work

    logging.basicConfig(level=logging.WARNING, format="resolve worker: %(message)s")
    # A Redis that is gone is the run's end, which ends this process too.
    for name in ("celery", "kombu", "resolver.distributed.outage"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    broker = Broker.parse(os.environ.pop("RESOLVE_REDIS"))
    inner, backend = sys.argv[1:]
    work(broker, inner, slots_here(), WorkerLimits(), backend=backend)
    _leave(tempfile.tempdir)


def _watch(directory: str) -> None:
    """Wait for the end of standard input, and end the process with it."""
    try:
        while os.read(0, 4096):
            pass
    finally:
        _leave(directory)


def _leave(directory: str) -> None:
    shutil.rmtree(directory, ignore_errors=True)
    os._exit(0)


if __name__ == "__main__":
    main()

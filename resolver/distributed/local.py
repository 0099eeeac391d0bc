"""The worker of a run that has a Redis of its own; it ends when its standard input does.

`python -m resolver.distributed.local ENGINE BACKEND`; the Redis stands in RESOLVE_REDIS.
"""

from __future__ import annotations

import logging
import os
import sys

from resolver.subprocesses import end_with_parent


def main() -> None:
    """Work for one run."""
    end_with_parent()
    from resolver.distributed.broker import Broker
    from resolver.distributed.worker import work
    from resolver.policy import Policy
    from resolver.processes.engine import cores

    logging.basicConfig(level=logging.WARNING, format="resolve worker: %(message)s")
    # A Redis that is gone is the run's end, which ends this process too.
    for name in ("celery", "kombu", "resolver.distributed.outage"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    broker = Broker.parse(os.environ.pop("RESOLVE_REDIS"))
    inner, backend = sys.argv[1:]
    work(broker, inner, cores(), Policy(), backend=backend)
    os._exit(0)


if __name__ == "__main__":
    main()

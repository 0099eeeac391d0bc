"""The workers, as Celery's own tools see them: `celery -A resolver.distributed.monitor inspect active`, or Flower.

The Redis stands in RESOLVE_REDIS, as for every command. No chunk goes through here: `app` knows the broker and has no
task of its own.
"""

from __future__ import annotations

import os

from resolver.distributed.broker import Broker

url = os.environ.get("RESOLVE_REDIS")
if not url:
    raise SystemExit("RESOLVE_REDIS must hold the address of the Redis, redis://… or rediss://…")
try:
    app = Broker.parse(url).app()
except ValueError as error:
    raise SystemExit(str(error)) from None

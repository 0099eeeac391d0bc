"""The run in the child: the joinall of `resolve run`, with a file that takes the results as they come.

Nothing is made of the results while the clock runs. A batch is written away in one go: an engine is kept as busy, and
needs as much memory, as in a run of its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec

from resolver.compare.spec import Began, Event, Finished, Spec
from resolver.input.sources import path
from resolver.model import Result
from resolver.planning import plan
from resolver.policy import Deadline, Policy
from resolver.seam import Backend, Engine, Queries
from resolver.subprocesses import encode_frame


def run(spec: Spec, tell: Callable[[Event], None]) -> Finished:
    """Look everything up, and tell when it begins. Raises what `plan` raises, OSError where the spool is full."""
    planned = plan([path(spec.hosts)], spec.engine, spec.backend, spec.types, spec.policy)
    start = ToldStart(spec.policy.timeout, lambda: tell(Began(time.process_time())))
    noted = NotedEngine(planned.engine)
    with planned, open(spec.spool, "wb", buffering=0) as spool:
        encode_into = msgspec.msgpack.Encoder().encode_into

        def sink(results: list[Result]) -> None:
            spool.write(encode_frame((time.monotonic() - start.began, results), encode_into))

        planned._replace(engine=noted, deadline=start).batch(sink).run()
        return Finished(time.monotonic() - start.began, noted.error)


class ToldStart(Deadline):
    """A deadline that tells when it begins: when the engine is ready. `began` is seconds on the monotonic clock."""

    def __init__(self, seconds: float | None, told: Callable[[], None]) -> None:
        super().__init__(seconds)
        self.began = 0.0
        self._told = told

    def start(self) -> None:
        if not self.began:
            self._told()
            self.began = time.monotonic()
        super().start()


class NotedEngine:
    """An engine, and what it raised: the joinall makes results of that, a comparison makes it a row's error."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.name = engine.name
        self.error: str | None = None

    def run(self, queries: Queries, policy: Policy, backend: Backend, deliver: Callable[[list[Result]], None]) -> None:
        try:
            self._engine.run(queries, policy, backend, deliver)
        except Exception as error:
            self.error = f"the engine broke: {type(error).__name__}: {error}"
            raise

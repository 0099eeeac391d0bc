"""One run, in a process of its own: the joinall of `resolve run`, with a file that takes the results as they come.

A Spec comes as one line on standard input; two Events go out, a line each. The results go into a file, the spool,
as blocks of seconds and a list of Result. Nothing is made of them while the clock runs: an engine is kept as busy, and
needs as much memory, as in a run of its own. When standard input ends, because the run is over and was looked at, or
because the parent is gone, this process ends at once, wherever it is. Seconds that travel are spans, never timestamps.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from io import BufferedReader

import msgspec

from resolver.batch import Batch
from resolver.input.sources import path
from resolver.model import Result
from resolver.planning import plan
from resolver.policy import Deadline, Policy
from resolver.subprocesses import FrameDecoder, Parent, encode_frame, wait_for_end


class Spec(msgspec.Struct, frozen=True):
    """One run. `hosts` and `spool` are paths."""

    engine: str
    backend: str
    types: list[str]
    policy: Policy
    hosts: str
    spool: str


class Event(msgspec.Struct, frozen=True):
    """First, that the engine is ready to take the first host; second, that the run is over.

    Attributes:
        seconds: First, those that getting there took of a processor; second, those since then.
        error: Why the run broke, or there was none.
    """

    seconds: float = 0.0
    error: str | None = None


def read_spool(file: BufferedReader) -> Iterator[tuple[float, list[Result]]]:
    """Yield each batch of results, with the seconds since the run began. A block cut off at the end is left out."""
    frames = FrameDecoder(msgspec.msgpack.Decoder(tuple[float, list[Result]]).decode, 1 << 20)
    while octets := file.readinto(frames.room()):
        yield from frames.received(octets)


def main() -> None:
    """Run what standard input says, and wait to be looked at."""
    # Standard output carries the events: what a library prints must not get in between.
    events = os.dup(1)
    os.dup2(2, 1)

    def tell(event: Event) -> None:
        os.write(events, msgspec.json.encode(event) + b"\n")

    try:
        tell(run(msgspec.json.decode(sys.stdin.buffer.readline(), type=Spec), tell))
    except Exception as error:  # whatever it is, it is this row's error and not the comparison's
        tell(Event(error=f"{type(error).__name__}: {error}"))
    wait_for_end(Parent())


def run(spec: Spec, tell: Callable[[Event], None]) -> Event:
    """Look everything up, and tell when it begins. Raises what `plan` raises, OSError where the spool is full."""
    planned = plan([path(spec.hosts)], spec.engine, spec.backend, spec.types, spec.policy)
    start = ToldStart(spec.policy.timeout, lambda: tell(Event(time.process_time())))
    with planned, open(spec.spool, "wb", buffering=0) as spool:
        encode_into = msgspec.msgpack.Encoder().encode_into

        def sink(results: list[Result]) -> None:
            spool.write(encode_frame((batch.seconds(), results), encode_into))

        batch = Batch(planned._replace(deadline=start), sink)
        batch.run()
        return Event(batch.seconds(), batch.engine_error)


class ToldStart(Deadline):
    """A deadline that tells when it begins: when the engine is ready."""

    def __init__(self, seconds: float | None, told: Callable[[], None]) -> None:
        super().__init__(seconds)
        self._told = told

    def start(self) -> None:
        self._told()
        super().start()

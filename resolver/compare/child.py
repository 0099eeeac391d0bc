"""The process of one run of a comparison: `python -m resolver.compare.child ENGINE`.

A Spec comes as one line on standard input, events go to standard output (spec.py). When standard input ends, because
the run is over and was looked at, or because the parent is gone, this process ends at once, wherever it is.

`prepare` must come before whatever gevent patches is imported: nothing else of the package but subprocesses.py stands
at the top. Everything up to the first host is start-up, and timed apart.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from resolver.subprocesses import end_with_parent, wait_for_end

if TYPE_CHECKING:
    from resolver.compare.spec import Event


def main() -> None:
    """Run what standard input says, and wait to be looked at."""
    from resolver.bootstrap import prepare

    # Standard output carries the events: what a library prints must not get in between.
    events = os.dup(1)
    os.dup2(2, 1)
    octets = _line()
    end_with_parent()
    prepare(sys.argv[1])
    import msgspec

    from resolver.compare.run import run
    from resolver.compare.spec import Aborted, Spec

    def tell(event: Event) -> None:
        os.write(events, msgspec.json.encode(event) + b"\n")

    try:
        tell(run(msgspec.json.decode(octets, type=Spec), tell))
    except Exception as error:  # whatever it is, it is this row's error and not the comparison's
        tell(Aborted(f"{type(error).__name__}: {error}"))
    wait_for_end()


def _line() -> bytes:
    octets = b""
    while not octets.endswith(b"\n") and (more := os.read(0, 1 << 16)):
        octets += more
    return octets


if __name__ == "__main__":
    main()

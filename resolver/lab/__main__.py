"""The child: settings in, one line that says where it listens, and serving until standard input ends.

Standard input ends when the parent closes it, or is gone for whatever reason: no lab outlives its program.
"""

import gc
import os

import msgspec

from resolver.subprocesses import end_with_parent

from .server import report, serve
from .settings import LabReport, Settings


def main() -> int:
    """Read the settings from standard input, and serve. The exit status is 0, or 1 where serving could not begin."""
    end_with_parent()
    try:
        settings = msgspec.json.decode(_line(), type=Settings)
        # Replies that wait for their time are many and hold no cycles: looking through them costs a tenth of the speed.
        gc.set_threshold(100_000, 50, 100)
        serve(settings, lambda address: report(LabReport(address=address)), control=0)
        return 0
    except OSError as error:
        report(LabReport(error=error.strerror or str(error), errno=error.errno or 0, filename=error.filename))
    except ValueError as error:
        report(LabReport(error=str(error)))
    return 1


def _line() -> bytes:
    """Read one line of standard input, without a buffer: what follows is for the loop."""
    line = bytearray()
    while not line.endswith(b"\n") and (octets := os.read(0, 1 << 16)):
        line += octets
    return bytes(line)


if __name__ == "__main__":
    raise SystemExit(main())

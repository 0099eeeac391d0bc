"""Has the kernel refuse a share of the sends and reads of a program's UDP sockets: refusals.c, compiled and loaded."""

import shutil
import subprocess
from pathlib import Path

Refused = tuple[int, float]  # an errno, and the share of the calls that it comes from
SOURCE = Path(__file__).with_suffix(".c")


def compile_into(directory: Path) -> Path:
    """The library that refuses. Raises OSError with a sentence where none can be made."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise OSError("there is no C compiler that could make what refuses sends and reads")
    library = directory / "refusals.so"
    made = subprocess.run(
        [compiler, "-shared", "-fPIC", "-O1", "-o", library, SOURCE, "-ldl"], capture_output=True, text=True
    )
    if made.returncode != 0:
        raise OSError(f"the C compiler makes nothing that can be loaded before Linux' C library: {made.stderr[:200]}")
    return library


def settings(
    library: Path,
    port: int,
    sends: tuple[int, float] = (0, 0),
    reads: tuple[int, float] = (0, 0),
    log: Path | None = None,
) -> dict[str, str]:
    """The environment of a program to which this errno comes from that share of the calls on sockets to this port.

    log: a file that gets an octet for each that was refused.
    """
    return {
        "LD_PRELOAD": str(library),
        "REFUSE_PORT": str(port),
        "REFUSE_SENDS": "{}:{}".format(*sends),
        "REFUSE_READS": "{}:{}".format(*reads),
        **({} if log is None else {"REFUSE_LOG": str(log)}),
    }

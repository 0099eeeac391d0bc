"""The accelerator's tests under AddressSanitizer and UBSan: `python tests/sanitized.py [ARGUMENTS OF PYTEST]`.

The C is built anew by gcc, in a copy of the checkout, and any word of a sanitizer ends the tests.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
FLAGS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer", "-g", "-O1"]


def main() -> int:
    """Build, test, and return pytest's exit status."""
    with tempfile.TemporaryDirectory(prefix="sanitized-") as name:
        copy = Path(name)
        for part in ("resolver", "tests", "benchmarks"):
            shutil.copytree(ROOT / part, copy / part, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
        shutil.copy(ROOT / "pyproject.toml", copy)
        wire = copy / "resolver" / "wire"
        built = wire / f"_accelerate{sysconfig.get_config_var('EXT_SUFFIX')}"
        include = sysconfig.get_paths()["include"]
        subprocess.run(
            ["gcc", *FLAGS, "-Wall", "-shared", "-fPIC", f"-I{include}", wire / "_accelerate.c", "-o", built],
            check=True,
        )
        library = subprocess.run(["gcc", "-print-file-name=libasan.so"], capture_output=True, text=True, check=True)
        # Python's own allocator would hide what is wrong; and what it keeps until its end is no leak.
        settings = {"LD_PRELOAD": library.stdout.strip(), "PYTHONMALLOC": "malloc", "ASAN_OPTIONS": "detect_leaks=0"}
        command = [sys.executable, "-m", "pytest", "-n", "0", "--timeout", "0", "-p", "no:cacheprovider"]
        done = subprocess.run(
            [*command, *sys.argv[1:], "tests/test_accelerator.py"],
            cwd=copy,
            env={**os.environ, **settings, "PYTHONPATH": str(copy)},
            check=False,
        )
        return done.returncode


if __name__ == "__main__":
    sys.exit(main())

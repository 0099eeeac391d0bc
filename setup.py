"""The one part that is built: the accelerator in C. All metadata stands in setup.cfg.

RESOLVE_PURE=1 leaves it out, and makes a wheel for every platform. Where there is no compiler it is left out too.
"""

import os

from setuptools import Extension, setup

PURE = os.environ.get("RESOLVE_PURE", "0") not in ("", "0")
ACCELERATOR = Extension("resolver.wire._accelerate", ["resolver/wire/_accelerate.c"], optional=True)

setup(ext_modules=[] if PURE else [ACCELERATOR])

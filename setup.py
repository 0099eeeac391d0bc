"""The one part that is built: the accelerator in C. All metadata stands in setup.cfg.

RESOLVE_PURE=1 leaves it out; where there is no compiler it is left out too. A wheel without it is for every platform.
"""

import os

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel

PURE = os.environ.get("RESOLVE_PURE", "0") not in ("", "0")
SOURCES, INCLUDED = ["resolver/wire/_accelerate.c"], ["resolver/wire/_reply.h"]
ACCELERATOR = Extension("resolver.wire._accelerate", SOURCES, depends=INCLUDED, optional=True)


class Wheel(bdist_wheel):
    """Wheel that is tagged by what was built, not by what was to be built."""

    def run(self) -> None:
        """Build the accelerator first; where nothing came of it, there is no such part."""
        if self.distribution.has_ext_modules():
            self.run_command("build_ext")
            if not any(map(os.path.exists, self.get_finalized_command("build_ext").get_outputs())):
                self.distribution.ext_modules = []
                self.root_is_pure = True
        super().run()


setup(ext_modules=[] if PURE else [ACCELERATOR], cmdclass={"bdist_wheel": Wheel})

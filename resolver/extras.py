"""Libraries that come with an extra: the error where one is not installed, and the cure."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

DISTRIBUTION = "resolve-dns"


class NotInstalled(LookupError, ImportError):
    """Error: a library that an engine, a backend or an option needs is not installed; it names what installs it."""


def cure(extra: str | None) -> str:
    """Return the command that installs this extra; None: the package itself, with all that it needs."""
    return f"pip install '{DISTRIBUTION}[{extra}]'" if extra else f"pip install '{DISTRIBUTION}'"


def require(library: str, extra: str | None, what: str, otherwise: str = "") -> None:
    """Raise NotInstalled where this library is missing.

    Args:
        library: The module to import.
        extra: The extra that installs it; None: the package itself does.
        what: The engine, backend or option that needs it.
        otherwise: How it goes without.
    """
    if not installed(library):
        raise NotInstalled(f"{what} needs {library}, which is not installed: {cure(extra)}{otherwise}")


def installed(library: str) -> bool:
    """Tell whether a library can be imported."""
    return importlib.util.find_spec(library) is not None


def versions(names: Iterable[str]) -> dict[str, str]:
    """Return our own version, and those of the distributions of these names that are installed."""
    from importlib import metadata

    found = {}
    for name in (DISTRIBUTION, *names):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            pass
    return found

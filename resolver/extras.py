"""Libraries that come with an extra: the error where one is not installed, and the cure."""

from __future__ import annotations

DISTRIBUTION = "resolve-dns"


class NotInstalled(LookupError, ImportError):
    """Error: a library that an engine, a backend or an option needs is not installed; it names what installs it."""


def cure(extra: str | None) -> str:
    """Return the command that installs this extra; None: the package itself, with all that it needs."""
    return f"pip install '{DISTRIBUTION}[{extra}]'" if extra else f"pip install '{DISTRIBUTION}'"

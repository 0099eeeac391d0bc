"""Bulk DNS lookups: many hosts at once, on the concurrency engine of your choice, exactly one result for each.

    from resolver import resolve

    for result in resolve(["python.org", "pypi.org"], engine="gevent", timeout=5):
        print(result.input, result.addresses)

Importing this package patches nothing, starts nothing, and loads nothing but what the names below need when used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from resolver.api import astream, resolve, stream
    from resolver.model import Query, Record, Result, Status
    from resolver.nameserver import Nameserver
    from resolver.output.run import Run
    from resolver.output.summary import Summary
    from resolver.policy import Policy

_MODULES = {
    "Nameserver": "nameserver",
    "Policy": "policy",
    "Query": "model",
    "Record": "model",
    "Result": "model",
    "Run": "output.run",
    "Status": "model",
    "Summary": "output.summary",
    "astream": "api",
    "resolve": "api",
    "stream": "api",
}
__all__ = [
    "Nameserver",
    "Policy",
    "Query",
    "Record",
    "Result",
    "Run",
    "Status",
    "Summary",
    "astream",
    "resolve",
    "stream",
]


def __getattr__(name: str) -> object:
    # Loaded when first used (PEP 562): the command must be able to patch before anything is imported, and
    # `resolve --help` needs none of it.
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

"""The table: which engine runs which backend, how it waits, and which extra installs a missing library.

Everything that depends on there being several engines reads this table: the commands, the library, the tests.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, NamedTuple

from resolver.extras import installed, require
from resolver.spelling import check, meant

if TYPE_CHECKING:
    from collections.abc import Iterator

    from resolver.seam import Backend, Engine


class _Backend(NamedTuple):
    module: str
    needs: str | None = None  # the library to import
    extra: str | None = None  # the extra that installs it; None: it comes with the package
    honours: frozenset[str] = frozenset()  # options of queries and replies, by the names that Policy.unusual has


class _Engine(NamedTuple):
    module: str
    styles: dict[str, str]  # backend -> how this engine waits on it
    needs: str | None = None
    extra: str | None = None


_CALL = {"wire": "poll", "system": "call", "dnspython": "call"}
_CHUNKS = dict.fromkeys(_CALL, "chunks")
_ASYNCIO = {"wire": "poll", "system": "threads", "dnspython": "await", "aiodns": "await"}
_TWISTED = {"wire": "poll", "system": "threads", "twisted": "await"}
ENGINES = {
    "gevent": _Engine("resolver.engines.gevent", _CALL, "gevent"),
    "asyncio": _Engine("resolver.engines.asyncio", _ASYNCIO),
    "threads": _Engine("resolver.engines.threads", _CALL),
    "processes": _Engine("resolver.processes.engine", _CHUNKS),
    "twisted": _Engine("resolver.engines.twisted", _TWISTED, "twisted", "twisted"),
    "redis": _Engine("resolver.distributed.engine", _CHUNKS, "celery", "redis"),
}
_ROUTES = frozenset({"each-nameserver", "source"})
_ALL = _ROUTES | {"detail", "dnssec", "cd", "no-recurse", "nsid", "subnet"}
BACKENDS = {
    "wire": _Backend("resolver.wire", honours=_ALL),
    "system": _Backend("resolver.backends.system"),
    "dnspython": _Backend("resolver.backends.dnspython", "dns", honours=_ALL),
    "aiodns": _Backend("resolver.backends.aiodns", "aiodns", honours=_ROUTES),
    "twisted": _Backend("resolver.backends.twisted", "twisted", "twisted", _ALL),
}
DEFAULT = "gevent"


class Pair(NamedTuple):
    """An engine and a backend that go together. `extra` is to be installed where `installed` is False."""

    engine: str
    backend: str
    style: str
    installed: bool
    extra: str | None


def pairs() -> Iterator[Pair]:
    """Yield every engine with every backend that it can wait on, in the table's order."""
    for name, engine in ENGINES.items():
        for backend, style in engine.styles.items():
            missing = [
                each for each in (engine, BACKENDS[backend]) if each.needs is not None and not installed(each.needs)
            ]
            yield Pair(name, backend, style, not missing, (missing or [engine])[0].extra)


def find(engine: str, backend: str, inner: str | None = None) -> tuple[Engine, Backend]:
    """Return the engine and the backend of these names, imported.

    Args:
        engine: the engine's name.
        backend: the backend's name.
        inner: the engine in the other processes, of an engine that carries chunks to some; None: that engine's choice.

    Raises:
        ValueError: unknown names, and pairs that do not go together; the sentence says what is valid.
        NotInstalled: a library that is not installed; the sentence says how to install it.
    """
    check("engine", engine, ENGINES)
    check("backend", backend, BACKENDS)
    if backend not in ENGINES[engine].styles:
        raise ValueError(
            f"engine {engine} cannot wait on backend {backend}; "
            f"backends of {engine}: {', '.join(ENGINES[engine].styles)}; "
            f"engines of {backend}: {', '.join(each for each in ENGINES if backend in ENGINES[each].styles)}"
        )
    for kind, name, entry in (("engine", engine, ENGINES[engine]), ("backend", backend, BACKENDS[backend])):
        if entry.needs is not None:
            require(entry.needs, entry.extra, f"{kind} {name}")
    found = importlib.import_module(ENGINES[engine].module).engine
    if inner is not None:
        if not carries(engine):
            carriers = ", ".join(filter(carries, ENGINES))
            raise ValueError(f"engine {engine} has no inner engine; those that have one: {carriers}")
        local = [name for name in ENGINES if not carries(name) and backend in ENGINES[name].styles]
        if inner not in local:
            raise ValueError(
                f"{inner!r} cannot be the inner engine; valid with backend {backend}: {', '.join(local)}"
                + meant(inner, local)
            )
        find(inner, backend)
        found = found.around(inner)
    return found, importlib.import_module(BACKENDS[backend].module).backend


def check_options(backend: str, options: list[str]) -> None:
    """Raise ValueError for options, as Policy.unusual names them, that this backend cannot honour; it says who can."""
    if lacking := [each for each in options if each not in BACKENDS[backend].honours]:
        able = [name for name in BACKENDS if BACKENDS[name].honours.issuperset(lacking)]
        raise ValueError(f"backend {backend} cannot honour {', '.join(lacking)}; backends that can: {', '.join(able)}")


def carries(engine: str) -> bool:
    """Return whether this engine carries chunks of queries to other processes, each with an inner engine."""
    return engine in ENGINES and "chunks" in ENGINES[engine].styles.values()

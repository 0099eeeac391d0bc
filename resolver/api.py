"""The library: `resolve` (the joinall), `stream` (results as they come) and `astream` (the same in an event loop).

All three plan a run the same way, and so does the command; what differs is who waits for the results. A bad argument
raises at the call, before anything is asked; after that nothing does, whatever becomes of a host.
"""

from __future__ import annotations

import contextlib
import io
import ipaddress
import os
import queue
import threading
import weakref
from collections.abc import AsyncGenerator, AsyncIterable, Generator, Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import msgspec

from resolver import engines
from resolver.batch import Batch, Summary
from resolver.dns.message import rdtype
from resolver.input.hosts import Hosts
from resolver.input.sources import async_elements, elements, path, text_file
from resolver.model import Result
from resolver.nameserver import Nameserver
from resolver.policy import Deadline, Policy
from resolver.seam import ConditionalEngine, LimitedBackend, Remote

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TextIO

    from resolver.input.hosts import Lookups
    from resolver.input.sources import Source
    from resolver.seam import Backend, Engine
    from resolver.wire.oneway import Forgetful

    Hostlike = str | ipaddress.IPv4Address | ipaddress.IPv6Address
    Input = os.PathLike[str] | TextIO | Iterable[Hostlike]

G = TypeVar("G", Generator[Result, None, None], AsyncGenerator[Result, None])

BATCHES = 8  # batches of results that a stream holds for a slow consumer


class Run(list[Result]):
    """The results of a run in input order, and its figures in `summary`."""

    def __init__(self, results: Iterable[Result], summary: Summary) -> None:
        super().__init__(results)
        self.summary = summary


def resolve(
    hosts: Input,
    *,
    engine: str = engines.DEFAULT,
    backend: str = "wire",
    inner: str | None = None,
    types: Sequence[str] | str = ("A",),
    policy: Policy | None = None,
    nameservers: Sequence[str | Nameserver] | str | None = None,
    timeout: float | None = None,
    query_timeout: float | None = None,
    tries: int | None = None,
    concurrency: int | None = None,
    rate: float | None = None,
    lab: bool = False,
    redis: str | None = None,
) -> Run:
    """Look every host up and return when each has its result: the joinall.

    hosts: a path or an open text file is a list (one host a line); of any other iterable each element is one host. One
        that has no length, such as a generator, may wait: a thread reads it, a little ahead of the run, and what it
        gave is looked up meanwhile. When the run ends early it is read on to its end, unless it waits.
    engine, backend: who waits, and who speaks DNS.
    inner: the engine inside the child processes of the engine processes; None: the fastest.
    types: record types; each host and type is one lookup with one result.
    policy: who is asked and how often; or, one by one, its fields: nameservers (texts as the command's `-n` takes),
        timeout (seconds: the whole run ends then; what is not done is reported DEADLINE), query_timeout (seconds that
        the last try waits), tries, concurrency (the most lookups in flight), rate (the most queries a second).
    lab: ask a nameserver that is started on loopback for this run.
    redis: the broker of engine redis, as redis://… or rediss://…; None: one of the run's own, with a worker on this
        machine.

    Raises ValueError or TypeError for a bad argument, LookupError for an engine that is not installed (or where the
    system names no nameserver), OSError for a list that cannot be read or a Redis that cannot be reached. It never
    raises for a host.
    """
    fields = _fields(policy, nameservers, timeout, query_timeout, tries, concurrency, rate)
    results: list[Result] = []
    with plan(
        [source(hosts, whole=True)], engine, backend, types, fields, inner=inner, lab=lab, redis=redis
    ) as prepared:
        summary = prepared.batch(results.extend).run()
    results.sort(key=lambda result: result.index)
    return Run(results, summary)


def stream(
    hosts: Input,
    *,
    engine: str = engines.DEFAULT,
    backend: str = "wire",
    inner: str | None = None,
    types: Sequence[str] | str = ("A",),
    policy: Policy | None = None,
    nameservers: Sequence[str | Nameserver] | str | None = None,
    timeout: float | None = None,
    query_timeout: float | None = None,
    tries: int | None = None,
    concurrency: int | None = None,
    rate: float | None = None,
    lab: bool = False,
    redis: str | None = None,
) -> Generator[Result, None, None]:
    """The results of `resolve` one by one as they come, in bounded memory; leaving early stops what runs.

    The run goes on in a thread of its own (in a green thread where the program is monkey-patched). A consumer that is
    slow slows the reading of hosts. Takes and raises what `resolve` does; but an iterator is not read on when the run
    ends early: what it gave by then has its results.
    """
    fields = _fields(policy, nameservers, timeout, query_timeout, tries, concurrency, rate)
    prepared = plan([source(hosts)], engine, backend, types, fields, inner=inner, lab=lab, redis=redis)
    return _closed_with(_pull(prepared), prepared)


def astream(
    hosts: Input | AsyncIterable[Hostlike],
    *,
    engine: str = "asyncio",
    backend: str = "wire",
    types: Sequence[str] | str = ("A",),
    policy: Policy | None = None,
    nameservers: Sequence[str | Nameserver] | str | None = None,
    timeout: float | None = None,
    query_timeout: float | None = None,
    tries: int | None = None,
    concurrency: int | None = None,
    rate: float | None = None,
    lab: bool = False,
    redis: str | None = None,
) -> AsyncGenerator[Result, None]:
    """The results of `resolve` as they come, in the caller's own event loop: for `async for`.

    The engine is asyncio. `hosts` may be an asynchronous iterable too, which is read in a task of that loop. Leaving
    early stops what runs, at once where the generator is closed (`contextlib.aclosing`). Takes and raises what
    `stream` does.
    """
    if engine != "asyncio":
        raise ValueError(f"astream runs in the caller's asyncio loop; engine {engine!r} cannot, valid: asyncio")
    fields = _fields(policy, nameservers, timeout, query_timeout, tries, concurrency, rate)
    given = async_elements(hosts) if isinstance(hosts, AsyncIterable) else source(hosts)
    prepared = plan([given], engine, backend, types, fields, lab=lab, redis=redis)
    return _closed_with(_apull(prepared), prepared)


class Plan(NamedTuple):
    """A run that is ready to begin; as a context it closes what was opened for it."""

    engine: Engine
    backend: Backend
    policy: Policy
    hosts: Lookups
    deadline: Deadline
    opened: contextlib.ExitStack

    def __enter__(self) -> Plan:
        return self

    def __exit__(self, *_: object) -> None:
        self.opened.close()

    def batch(
        self,
        sink: Callable[[list[Result]], None],
        *,
        ordered: bool = False,
        tick: Callable[[], None] | None = None,
    ) -> Batch:
        """The joinall over it."""
        return Batch(
            self.hosts, self.engine, self.backend, self.policy, self.deadline, sink, ordered=ordered, tick=tick
        )


def plan(
    sources: Sequence[Source],
    engine: str,
    backend: str,
    types: Sequence[str] | str,
    policy: Policy,
    *,
    inner: str | None = None,
    lab: bool = False,
    redis: str | None = None,
    forgetful: Forgetful | None = None,
) -> Plan:
    """Check that all of this goes together, and make it ready. Raises what `resolve` does.

    forgetful: what takes the place of the backend where no reply is awaited (forget.py).
    """
    with contextlib.ExitStack() as opened:
        for each in sources:
            opened.callback(each.close)
        waiter, asker = engines.find(engine, backend, inner)
        if isinstance(waiter, Remote):
            waiter = waiter.at(redis)
        elif redis is not None:
            raise ValueError(f"redis is the broker of engine redis; it means nothing with engine {engine}")
        if forgetful is not None:
            if backend != forgetful.name:
                raise ValueError(f"no-wait needs backend {forgetful.name}, not {backend}")
            asker = forgetful
        asked = record_types(types)
        if isinstance(waiter, ConditionalEngine):
            waiter.check(asker)
        if isinstance(asker, LimitedBackend):
            asker.check_types(asked)
        if lab:
            if policy.nameservers:
                raise ValueError("lab is a nameserver of this run's own; it does not go with nameservers")
            from resolver.lab import Lab

            served = opened.enter_context(Lab())
            policy = msgspec.structs.replace(policy, nameservers=(served.nameserver,))
        if policy.nameservers or redis is None:
            policy = asker.prepare(policy)  # else the workers' own nameservers are asked
        hosts = Hosts(sources, asked, waiter.name, asker.name)
        return Plan(waiter, asker, policy, hosts, Deadline(policy.timeout), opened.pop_all())


def record_types(types: Sequence[str] | str) -> list[str]:
    """The types that are asked, each once. Raises ValueError for what is none, and where there is none."""
    asked = list(dict.fromkeys(rdtype(each) for each in ([types] if isinstance(types, str) else types)))
    if not asked:
        raise ValueError("no record type was given")
    return asked


def source(hosts: Any, *, whole: bool = False) -> Source:
    """What a caller gave as hosts; `whole`: an iterator is read to its end even where the run ends early, if it can be.

    Raises TypeError for what is neither a list nor hosts, OSError as `open` does.
    """
    if isinstance(hosts, os.PathLike):
        return path(hosts)
    if isinstance(hosts, io.TextIOBase):
        return text_file(hosts)
    if isinstance(hosts, str):
        # Its letters would be hosts else.
        return elements([hosts])
    if isinstance(hosts, AsyncIterable):
        raise TypeError(f"{type(hosts).__name__} is an asynchronous iterable, which only astream reads")
    if isinstance(hosts, bytes | bytearray) or not isinstance(hosts, Iterable):
        raise TypeError(f"hosts is a path, an open text file or an iterable of names, not {type(hosts).__name__}")
    return elements(hosts, whole=whole)


def _fields(policy: Policy | None, nameservers: Any, *rest: Any) -> Policy:
    names = ("nameservers", "timeout", "query_timeout", "tries", "concurrency", "rate")
    given = {name: value for name, value in zip(names, (nameservers, *rest), strict=True) if value is not None}
    if policy is None:
        return Policy(**given)
    if given:
        raise ValueError(f"policy already says who is asked and how often; it does not go with {', '.join(given)}")
    if not isinstance(policy, Policy):
        raise TypeError(f"policy is a Policy, not {type(policy).__name__}")
    return policy


def _closed_with(results: G, prepared: Plan) -> G:
    """A generator that is forgotten before it was begun runs none of its code; so what it opened is closed here."""
    weakref.finalize(results, prepared.opened.close)
    return results


class _Left(Exception):
    """The consumer of a stream has left."""


def _pull(prepared: Plan) -> Generator[Result, None, None]:
    # What travels through the queue: a batch, an exception to be raised, or None at the end.
    box: queue.Queue[list[Result] | BaseException | None] = queue.Queue(BATCHES)
    left = threading.Event()

    def put(item: list[Result] | BaseException | None) -> None:
        while not left.is_set():
            try:
                box.put(item, timeout=0.1)
                return
            except queue.Full:
                pass
        raise _Left

    def work() -> None:
        end: BaseException | None = None
        try:
            with prepared:
                prepared.batch(put).run()
        except BaseException as error:  # raised again where the consumer can see it
            end = error
        with contextlib.suppress(_Left):
            put(end)

    thread = threading.Thread(target=work, name="resolve-stream", daemon=True)
    thread.start()
    try:
        while (item := box.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield from item
    finally:
        left.set()
        prepared.deadline.cancel()
        thread.join()


async def _apull(prepared: Plan) -> AsyncGenerator[Result, None]:
    from resolver.engines.asyncio import engine

    ready: list[Result] = []

    def emptied() -> Iterator[Result]:
        taken = ready.copy()
        ready.clear()
        return iter(taken)

    with prepared:
        batch = prepared.batch(ready.extend)
        rounds = engine.rounds(batch, prepared.policy, prepared.backend)
        async with contextlib.aclosing(rounds):
            try:
                async for results in rounds:
                    batch.deliver(results)
                    for result in emptied():
                        yield result
            except Exception as error:
                batch.engine_failed(error)
        for _ in batch.finish():
            for result in emptied():
                yield result

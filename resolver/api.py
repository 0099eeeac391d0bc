"""The library: `resolve` (the joinall), `stream` (results as they come) and `astream` (the same in an event loop).

All three plan a run the same way, and so does the command; they differ in who waits for the results. A bad argument
raises at the call, before anything is asked; after that nothing does, whatever becomes of a host.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import queue
import threading
import weakref
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Generator, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, Unpack

from resolver.batch import Batch
from resolver.input.columns import HostColumn
from resolver.input.given import source, word_list
from resolver.input.sources import async_elements
from resolver.input.words import Words
from resolver.model import Result
from resolver.output.run import Run
from resolver.planning import BackendName, EngineName, RunFields, plan
from resolver.policy import Policy, PolicyFields

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TextIO

    from resolver.batch import Plan
    from resolver.input.sources import Source

    Host = str | ipaddress.IPv4Address | ipaddress.IPv6Address
    Input = os.PathLike[str] | TextIO | Iterable[Host]
    WordList = str | os.PathLike[str] | TextIO | Iterable[str]

G = TypeVar("G", Generator[Result, None, None], AsyncGenerator[Result, None])

BATCHES = 8  # batches of results that a stream holds for a slow consumer


class Keywords(PolicyFields, RunFields, total=False):
    """Keywords of `resolve`, `stream` and `astream`; the first one's docstring says what they mean."""

    engine: EngineName
    backend: BackendName
    types: Sequence[str] | str
    policy: Policy | None
    column: int | str | None
    words: WordList | None


def resolve(hosts: Input, **keywords: Unpack[Keywords]) -> Run:
    """Look every host up and return when each has its result: the joinall.

    Args:
        hosts: A path or an open text file is a list, one host a line; of any other iterable each element is one host,
            URL or network. One that has no length, such as a generator, may wait: a thread reads it, a little ahead of
            the run, and what it gave is looked up meanwhile. When the run ends early it is read on to its end, unless
            it waits.
        engine: The way of waiting: "gevent" (the default), "asyncio", "threads", "processes", "twisted" or "redis".
        backend: The stub resolver: "wire" (built in, the default), "system" (getaddrinfo), "dnspython", "aiodns" or
            "twisted"; `resolve engines` prints which goes with which engine.
        inner: The engine inside the children of the engines processes and redis; None: the fastest.
        types: Record types; each host and type is one lookup with one result. Default: "A".
        nameservers: Texts as the command's `-n` takes them, or Nameserver; None: the system's.
        timeout: Seconds: the whole run ends then, and what is not done is reported DEADLINE. None: never.
        query_timeout: Seconds that the last try waits; each earlier one waits half of the next. Default: 2.
        tries: Tries for one lookup, over the nameservers in turn. Default: 3.
        concurrency: The most lookups in flight; None: adapts, up to 1,000.
        rate: The most queries sent in a second; None: no limit.
        tls_ca: A file of certificates that tls:// and https:// nameservers are checked against; None: the system's.
        detail: Tell of each result how the reply looked, in its `detail`: flags, sections, extended errors, NSID.
        dnssec: Ask for DNSSEC records (the bit DO); `detail` shows AD and the other sections.
        cd: Ask the nameserver not to validate (the bit CD).
        no_recurse: Ask only for what the nameserver knows itself (the bit RD is off).
        nsid: Ask which of its instances a nameserver is (RFC 5001); `detail` shows it.
        subnet: Networks to ask for (EDNS client subnet, RFC 7871), in one lookup each; `detail` shows which.
        each_nameserver: Ask every nameserver every question, in one lookup each, and no other one in its place.
        source: Local addresses to ask from, in turn: a nameserver from those of its family. None: the system's choice.
        policy: A Policy, in place of the fields before.
        lab: Ask a nameserver that is started on loopback for this run.
        redis: The broker of the engine redis, as redis://… or rediss://…; None: one of the run's own, with a worker on
            this machine.
        column: The lists are CSV, and the host stands in this column: a number from 1, or a name of the header.
        keep: With a column: each result has its row, in `row`: by the header's names, or a list without a header.
        words: A list of words, a path or an open text file, or an iterable of words: each host is a domain, and every
            word is looked up before it, or in place of the * in it ("api-*.example.com"); a result's input is the name
            that was made. Domains are read first and kept, words are read as they are used.
        prefix: Labels that are put before each name, such as "_dmarc".
        wildcards: Say of each result whether a wildcard made it, in its `wildcard`.
        follow: Look up the addresses of the targets of MX, NS, SRV, SVCB and HTTPS records too, into `follow`.
        trusted: Nameservers whose verdict counts: what was answered with records is asked once more of them.
        trusted_rate: The most queries sent to them in a second; None: no limit.

    Returns:
        The results in input order, a list; its `summary` has the figures of the run, `rows()` are for data frames.

    Raises:
        ValueError: An argument is wrong, or does not go with another.
        TypeError: An argument is of a wrong kind.
        LookupError: The system names no nameserver; or, an ImportError too, something is not installed.
        OSError: A list cannot be read, or a Redis cannot be reached.

    Nothing is raised for a host, whatever becomes of it.
    """
    results: list[Result] = []
    with _prepare(lambda column: source(hosts, whole=True, column=column), whole=True, **keywords) as prepared:
        summary = Batch(prepared, results.extend).run()
    results.sort(key=lambda result: result.index)
    return Run(results, summary)


def stream(hosts: Input, **keywords: Unpack[Keywords]) -> Generator[Result, None, None]:
    """Yield the results as they come, in bounded memory; leaving early stops what runs.

    The run goes on in a thread of its own (in a green thread where the program is monkey-patched). A consumer that is
    slow slows the reading of hosts.

    Args:
        hosts: As `resolve` takes them; but an iterator is not read on when the run ends early: what it gave by then has
            its results.
        **keywords: Those of `resolve`.

    Returns:
        A generator of results, in the order in which they come.

    Raises:
        ValueError, TypeError, LookupError, OSError: At the call, as `resolve` raises them.
    """
    prepared = _prepare(lambda column: source(hosts, column=column), **keywords)
    return _closed_with(_pull(prepared), prepared)


def astream(hosts: Input | AsyncIterable[Host], **keywords: Unpack[Keywords]) -> AsyncGenerator[Result, None]:
    """Yield the results as they come, in the caller's own event loop: for `async for`.

    Leaving early stops what runs, at once where the generator is closed (`contextlib.aclosing`).

    Args:
        hosts: As `stream` takes them; or an asynchronous iterable, which is read in a task of that loop.
        **keywords: Those of `resolve`; `engine` is "asyncio", which is the default here.

    Returns:
        An asynchronous generator of results, in the order in which they come.

    Raises:
        ValueError, TypeError, LookupError, OSError: At the call, as `resolve` raises them.
    """
    engine = keywords.setdefault("engine", "asyncio")
    if engine != "asyncio":
        raise ValueError(f"astream runs in the caller's asyncio loop; engine {engine!r} cannot, valid: asyncio")
    prepared = _prepare(
        lambda column: (
            async_elements(hosts)
            if isinstance(hosts, AsyncIterable) and column is None
            else source(hosts, column=column)
        ),
        **keywords,
    )
    return _closed_with(_apull(prepared), prepared)


def _prepare(
    opened: Callable[[HostColumn | None], Source],
    *,
    engine: EngineName = "gevent",
    backend: BackendName = "wire",
    types: Sequence[str] | str = ("A",),
    policy: Policy | None = None,
    column: int | str | None = None,
    words: WordList | None = None,
    whole: bool = False,
    **keywords: Any,
) -> Plan:
    """Plan a run with the keywords of `resolve`; the hosts are opened when the policy is right.

    whole: An iterator of words is read to its end even where the run ends early.
    """
    if unknown := keywords.keys() - Keywords.__optional_keys__:
        valid = ", ".join(sorted(Keywords.__optional_keys__))
        raise TypeError(f"there is no keyword {', '.join(sorted(unknown))}; valid: {valid}")
    fields = {name: keywords.pop(name) for name in list(keywords) if name in PolicyFields.__optional_keys__}
    given = {name: value for name, value in fields.items() if value is not None}
    if policy is None:
        policy = Policy(**given)
    elif given:
        raise ValueError(f"policy already says who is asked and how often; it does not go with {', '.join(given)}")
    elif not isinstance(policy, Policy):
        raise TypeError(f"policy is a Policy, not {type(policy).__name__}")
    where = HostColumn.of(column, keep=keywords.get("keep", False))
    listed = None if words is None else word_list(words, whole=whole)
    try:
        hosts = opened(where)
    except BaseException:
        if listed is not None:
            listed.close()
        raise
    sources = [hosts if listed is None else Words(listed, [hosts])]
    return plan(sources, engine, backend, types, policy, **keywords)


def _closed_with(results: G, prepared: Plan) -> G:
    """Close what was opened with the generator: one that is forgotten before it was begun runs none of its code."""
    weakref.finalize(results, prepared.opened.close)
    return results


class _Left(Exception):
    """Consumer of a stream has left."""


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
                Batch(prepared, put).run()
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

    ready: deque[Result] = deque()
    with prepared:
        batch = Batch(prepared, ready.extend)
        rounds = engine.rounds(batch, prepared.policy, prepared.backend)
        async with contextlib.aclosing(rounds):
            try:
                async for results in rounds:
                    batch.deliver(results)
                    while ready:
                        yield ready.popleft()
            except Exception as error:
                batch.engine_failed(error)
        for _ in batch.finish():
            while ready:
                yield ready.popleft()

"""The seam between engines, backends and the batch: what an engine is given, and what it owes.

An engine is only a way of waiting. It is a small frozen object with a name and one method, `run`. It takes queries
from `queries`, lets the backend ask them, and hands each result to `deliver`, in batches, on the calling thread, once.
It returns when all are in, or when `queries.ended` says that the run ends: then it abandons the rest. It decides
nothing: how often and of whom is asked stands in the policy, what a reply means with the backend, and what an
abandoned lookup gets with the batch.

It pushes, because an event loop cannot yield to a caller who does not know it. A consumer that is slow inside
`deliver` slows the engine by that, and thereby the reading of hosts.

How it waits depends on the backend's style. `poll`: sockets in a channel; the engine waits until one is ready, with
whatever its library waits, and calls the channel. This is the style of the wire backend, and fits every engine.
`call`: a session whose `ask` blocks; the engine has workers, each of which follows the tries of one lookup at a time
(attempts.py). `await`: the same with an `ask` that gives way while it waits. throttle.py says when a try of these two
may go. How each engine waits on each backend stands in the table (engines/__init__.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import TracebackType

    from resolver.attempts import Session
    from resolver.blocks import BlockSink, HostLines
    from resolver.model import Query, Result
    from resolver.policy import Policy
    from resolver.tallies import NameserverTallies

    Deliver = Callable[[list[Result]], None]


class Queries(Protocol):
    """The source of an engine's work, and where it counts what became of its queries at each nameserver."""

    @property
    def tallies(self) -> NameserverTallies:
        """The counts of the run so far."""

    def take(self, n: int) -> list[Query] | None:
        """Return up to `n` queries; an empty list where there is none just now, None where no more will come."""

    @property
    def block_sink(self) -> BlockSink | None:
        """Where an engine may give results by the block, in place of `deliver`; None: nowhere just now."""

    @property
    def ended(self) -> bool:
        """Whether the run ends now, and the engine is to return. To be asked at least every tenth of a second."""

    def max_wait(self) -> float:
        """Return the seconds that an engine may wait at most before it asks again, whatever its sockets do."""


@runtime_checkable
class LineQueries(Queries, Protocol):
    """A source of work for an engine that hands lines on unopened."""

    def take_lines(self, n: int) -> HostLines | None:
        """Return up to `n` queries as the lines that they stand in; None: ask `take`."""

    def put_back(self, queries: list[Query]) -> None:
        """Keep these, which say how far they came, in place of the lines that they were taken in."""


class PollChannel(Protocol):
    """A run's sockets, of a backend of the poll style; a context that closes them."""

    def __enter__(self) -> PollChannel: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...

    @property
    def idle(self) -> bool:
        """Whether all queries were taken, and each has its result."""

    def flush(self) -> list[Result]:
        """Take the queries that may be sent, and send them; returns the results since the last call."""

    def drain(self, fd: int) -> None:
        """Read from or write to a socket that is ready."""

    def timeout(self) -> float:
        """Return the seconds to wait for a socket at most; may be infinite."""


class Backend(Protocol):
    """A stub resolver. It is a PollBackend, a CallBackend or an AwaitBackend, or several of them."""

    @property
    def name(self) -> str: ...

    def prepare(self, policy: Policy) -> Policy:
        """Return the policy with the nameservers that will be asked. Raises ValueError or LookupError."""


@runtime_checkable
class PollBackend(Backend, Protocol):
    """A backend with sockets to wait on."""

    def channel(
        self, queries: Queries, policy: Policy, engine: str, watch: Callable[[int, bool, bool], None]
    ) -> PollChannel:
        """Open a channel.

        Args:
            queries: The source of work.
            policy: One that was prepared.
            engine: The engine's name, for results.
            watch: Told what to wait for, as (descriptor, to read?, to write?); neither: forget it.
        """


@runtime_checkable
class CallBackend(Backend, Protocol):
    """A backend that blocks while it asks one question."""

    def open(self, policy: Policy) -> Session:
        """Open a session for a run with this policy."""


@runtime_checkable
class AwaitBackend(Backend, Protocol):
    """A backend that is awaited while it asks one question."""

    def open_async(self, policy: Policy) -> Session:
        """Open a session in the event loop that is running."""


@runtime_checkable
class LimitedBackend(Backend, Protocol):
    """A backend that cannot look up every record type."""

    def check_types(self, types: Iterable[str]) -> None:
        """Raises ValueError for a record type that it cannot look up."""


class Engine(Protocol):
    """A way of waiting."""

    @property
    def name(self) -> str: ...

    def run(self, queries: Queries, policy: Policy, backend: Backend, deliver: Deliver) -> None:
        """Ask every query; return when all results are in, or soon after `queries.ended`.

        Args:
            queries: The source of work.
            policy: One that the backend has prepared.
            backend: Asks.
            deliver: Gets each result once, in batches, on the calling thread.
        """


@runtime_checkable
class ConditionalEngine(Engine, Protocol):
    """An engine that not every program can run."""

    def check(self, backend: Backend) -> None:
        """Raises ValueError where this program cannot run it with this backend, as it is."""


class WorkersSeen(Protocol):
    """Number of workers, None until it is known; as text, a few words for a display."""

    @property
    def workers(self) -> int | None: ...

    def __str__(self) -> str: ...


@runtime_checkable
class Remote(Protocol):
    """An engine whose work is done by workers elsewhere, whom it meets at a broker."""

    @property
    def worker_count(self) -> WorkersSeen:
        """How many workers there are."""

    def at(self, url: str | None) -> Engine:
        """Return the engine for one run, at the broker of this address. Raises ValueError, LookupError or OSError."""

    def portable(self, policy: Policy) -> Policy:
        """Return the policy as it means the same elsewhere. Raises ValueError or OSError where there is none such."""

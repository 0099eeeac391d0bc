"""Hosts from an iterator that waits, as one does that gets them from somewhere else: it holds nothing up.

Each of these iterators truly waits, for an Event that is set when what it gave before has its results, or never.
"""

import asyncio
import contextlib
import gc
import os
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from command import environment, wait_for

from resolver import Result, Status, astream, resolve, stream
from resolver.engines import ENGINES
from resolver.input import readahead

engines = pytest.mark.parametrize("engine", ENGINES)
FIRST, LAST = ["a.example", "b.example"], "last.example"
LONG = 30.0  # seconds after which an iterator that waits in vain goes on, and the test fails


class Waiting:
    """Hosts: the first of them, and one more when `going` is set. `read`: how many were asked for; `closed`."""

    def __init__(self) -> None:
        self.going = threading.Event()
        self.read = 0
        self.closed = threading.Event()

    def __iter__(self) -> Iterator[str]:
        try:
            for self.read, host in enumerate(FIRST, 1):
                yield host
            assert self.going.wait(LONG), "it waited in vain"
            self.read += 1
            yield LAST
        finally:
            self.closed.set()

    def __enter__(self) -> "Waiting":
        return self

    def __exit__(self, *_: object) -> None:
        self.going.set()
        assert self.closed.wait(LONG)


def reading() -> list[threading.Thread]:
    """The threads that read an iterator."""
    return [thread for thread in threading.enumerate() if thread.name == "resolve-read-ahead"]


@engines
def test_results_come_while_it_waits(at: str, engine: str, elsewhere: dict[str, Any]) -> None:
    """A stream gives the results of what came before; the program may ask about what it learned."""
    answered = []
    with Waiting() as hosts:
        for result in stream(hosts, engine=engine, **elsewhere, nameservers=[at]):
            answered.append((result.input, result.status))
            if len(answered) == len(FIRST):
                assert not hosts.going.is_set()
                hosts.going.set()
    assert [(host, Status.NOERROR) for host in (*FIRST, LAST)] == [*sorted(answered[:2]), *answered[2:]]


@engines
def test_the_deadline_holds_while_it_waits(at: str, engine: str, elsewhere: dict[str, Any]) -> None:
    """`resolve` ends at its timeout: what came before has its results, and the summary says that there was more."""
    with Waiting() as hosts:
        run = resolve(hosts, engine=engine, **elsewhere, nameservers=[at], timeout=1)
        assert not hosts.closed.is_set()
    assert [(host, Status.NOERROR) for host in FIRST] == [(result.input, result.status) for result in run]
    assert ("deadline", False, 2, 2) == (
        run.summary.ended, run.summary.input_complete, run.summary.lookups, run.summary.results_written,
    )  # fmt: skip


@engines
def test_leaving_while_it_waits(at: str, engine: str, elsewhere: dict[str, Any]) -> None:
    """What runs is stopped at once; the iterator is closed when it stops waiting, and nothing more is asked of it."""
    with Waiting() as hosts:
        results = stream(hosts, engine=engine, **elsewhere, nameservers=[at])
        assert Status.NOERROR == next(results).status
        results.close()
        assert not hosts.closed.is_set()
    assert len(FIRST) + 1 == hosts.read
    wait_for(lambda: not reading(), "the end of the thread")


@engines
def test_it_raises_after_it_waited(at: str, engine: str, elsewhere: dict[str, Any]) -> None:
    """What it raises comes through as it is, after the results of what came before."""
    going = threading.Event()

    def hosts() -> Iterator[str]:
        yield "a.example"
        assert going.wait(LONG)
        raise ZeroDivisionError

    results = stream(hosts(), engine=engine, **elsewhere, nameservers=[at])
    assert "a.example" == next(results).input
    going.set()
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_an_open_file_that_waits(at: str) -> None:
    """So it is with the rest of a pipe of which the program has read a line, and the file holds what follows."""
    reader, writer = os.pipe()
    os.write(writer, b"a header\na.example\n")
    with open(reader, encoding="utf-8") as file:
        assert "a header\n" == file.readline()
        results = stream(file, engine="threads", nameservers=[at])
        assert "a.example" == next(results).input
        os.write(writer, b"last.example\n")
        assert "last.example" == next(results).input
        os.close(writer)
        assert [] == list(results)


@pytest.mark.parametrize("kind", [list, tuple, set, deque, dict.fromkeys])
def test_a_collection_costs_no_thread(
    at: str, kind: Callable[[list[str]], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A collection cannot wait, and is read where it is needed."""
    monkeypatch.setattr(readahead.InThread, "start", None)
    assert [Status.NOERROR] * 2 == [each.status for each in resolve(kind(FIRST), engine="threads", nameservers=[at])]


def test_the_interpreter_ends_while_it_waits(at: str) -> None:
    """An iterator that never goes on does not keep a program from its end."""
    program = """
import sys, threading
from resolver import resolve
def hosts():
    yield "a.example"
    threading.Event().wait()
print(resolve(hosts(), engine="threads", nameservers=[sys.argv[1]], timeout=0.5)[0].status)
"""
    done = subprocess.run([sys.executable, "-c", program, at], env=environment(), capture_output=True, text=True,
                          timeout=LONG, check=False)  # fmt: skip
    assert (0, "NOERROR\n", "") == (done.returncode, done.stdout, done.stderr)


@engines
def test_it_waits_for_green_threads(at: str, engine: str, elsewhere: dict[str, Any]) -> None:
    """In a program that gevent has patched an iterator may wait for what other green threads do; these go on."""
    program = """
from gevent import monkey; monkey.patch_all()
import sys, gevent, gevent.event
from resolver import resolve, stream
engine, at, *redis = sys.argv[1:]
more = {"engine": engine, "nameservers": [at], **({"redis": redis[0]} if redis else {})}
going = gevent.event.Event()
def hosts():
    yield "a.example"
    assert going.wait(30)
    yield "last.example"
for result in stream(hosts(), **more):
    print(result.input, result.status, going.is_set())
    going.set()
going.clear()
run = resolve(hosts(), timeout=1, **more)
print(*[result.input for result in run], run.summary.ended)
gevent.spawn_later(0.1, going.set)
print(*[result.input for result in resolve(hosts(), **more)])
"""
    done = subprocess.run([sys.executable, "-c", program, engine, at, *elsewhere.values()], env=environment(),
                          capture_output=True, text=True, timeout=60, check=False)  # fmt: skip
    expected = [
        "a.example NOERROR False", "last.example NOERROR True", "a.example deadline", "a.example last.example",
    ]  # fmt: skip
    assert (0, expected, "") == (done.returncode, done.stdout.splitlines(), done.stderr)


# --- In the caller's event loop.


def test_the_loop_goes_on_while_it_waits(at: str) -> None:
    """The iterator goes on because the caller's loop does; a consumer that takes its time is served."""

    async def main(hosts: Waiting) -> list[tuple[str, Status]]:
        answered = []
        async for result in astream(hosts, nameservers=[at]):
            answered.append((result.input, result.status))
            await asyncio.sleep(0.05)
            if len(answered) == len(FIRST):
                asyncio.get_running_loop().call_later(0.1, hosts.going.set)
        return answered

    with Waiting() as hosts:
        answered = asyncio.run(main(hosts))
    assert [(host, Status.NOERROR) for host in (*FIRST, LAST)] == [*sorted(answered[:2]), *answered[2:]]


def test_a_slow_consumer_costs_nothing(at: str) -> None:
    """While a consumer takes its time, replies that are there wait, and the loop does not run in circles for them."""

    async def main() -> tuple[float, list[Status]]:
        statuses, spent = [], 0.0
        async for result in astream([f"slow-{20 * n}.example" for n in range(1, 21)], nameservers=[at]):
            statuses.append(result.status)
            before = time.thread_time()
            await asyncio.sleep(0.05)
            spent += time.thread_time() - before
        return spent, statuses

    spent, statuses = asyncio.run(main())
    assert [Status.NOERROR] * 20 == statuses
    assert spent < 0.1, "of a second in which there is nothing to do"


def test_the_deadline_of_an_astream_holds_while_it_waits(at: str) -> None:
    """The stream ends at its timeout."""

    async def main(hosts: Waiting) -> list[Status]:
        return [result.status async for result in astream(hosts, nameservers=[at], timeout=0.5)]

    with Waiting() as hosts:
        assert [Status.NOERROR] * len(FIRST) == asyncio.run(main(hosts))
        assert not hosts.closed.is_set()


class Asynchronous:
    """The same hosts from an asynchronous generator."""

    def __init__(self) -> None:
        self.going = asyncio.Event()
        self.closed = False

    async def __aiter__(self) -> AsyncIterator[str]:
        try:
            for host in FIRST:
                yield host
            async with asyncio.timeout(LONG):
                await self.going.wait()
            yield LAST
        finally:
            self.closed = True


def test_an_asynchronous_iterable(at: str) -> None:
    """`astream` reads it in its loop, and looks up what it gave while it waits."""

    async def main() -> list[tuple[str, Status]]:
        hosts = Asynchronous()
        answered = []
        async for result in astream(hosts, nameservers=[at]):
            answered.append((result.input, result.status))
            if len(answered) == len(FIRST):
                hosts.going.set()
        return answered

    answered = asyncio.run(main())
    assert [(host, Status.NOERROR) for host in (*FIRST, LAST)] == [*sorted(answered[:2]), *answered[2:]]


def test_leaving_an_asynchronous_iterable(at: str) -> None:
    """Where the stream is closed it is closed too, and no task is left."""

    async def main() -> tuple[bool, int]:
        hosts = Asynchronous()
        async with contextlib.aclosing(astream(hosts, nameservers=[at])) as results:
            await anext(results)
        while len(asyncio.all_tasks()) > 1:
            await asyncio.sleep(0)
        gc.collect()  # a generator that its task has left is closed when it is forgotten
        await asyncio.sleep(0)
        return hosts.closed, len(asyncio.all_tasks())

    assert (True, 1) == asyncio.run(main())


def test_an_asynchronous_iterable_that_raises(at: str) -> None:
    """What it raises comes through as it is, after the results of what came before."""

    async def main() -> Result:
        going = asyncio.Event()

        async def hosts() -> AsyncIterator[str]:
            yield "a.example"
            await going.wait()
            raise ZeroDivisionError

        results = astream(hosts(), nameservers=[at])
        first = await anext(results)
        going.set()
        with pytest.raises(ZeroDivisionError):
            await anext(results)
        return first

    assert "a.example" == asyncio.run(main()).input


def test_an_asynchronous_iterable_is_read_a_little_ahead(at: str) -> None:
    """One without an end is read no further than there is room, and goes on when there is."""

    async def main() -> tuple[int, int]:
        read = 0

        async def hosts() -> AsyncIterator[str]:
            nonlocal read
            while True:
                read += 1
                yield f"n{read}.example"

        came = 0
        async with contextlib.aclosing(astream(hosts(), nameservers=[at])) as results:
            async for _ in results:
                came += 1
                if came == 3 * readahead.MOST:
                    break
        return came, read

    came, read = asyncio.run(main())
    # What is in flight, and a batch of results, are a thousand each at most.
    assert came <= read < came + readahead.MOST + 2000


@pytest.mark.parametrize("call", [resolve, stream])
def test_an_asynchronous_iterable_elsewhere(at: str, call: Callable[..., Any]) -> None:
    """Without a loop it cannot be read, and the sentence says where it can."""
    with pytest.raises(TypeError, match="Asynchronous is an asynchronous iterable, which only astream reads"):
        call(Asynchronous(), nameservers=[at])

"""Backpressure and fire-and-forget, on every engine that runs the wire backend.

Backpressure: a slow reader of the results slows the reading of the hosts, and nothing piles up between. Fire-and-forget
is its counterpart: no reply, so nothing to be held back by but the rate.
"""

import os
import select
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest
from command import inside, start, wait_for

from resolver.engines import Pair, pairs
from resolver.lab import Lab

PATIENCE = 30.0  # seconds until a test that waits for something fails
SECONDS = 1.5  # that a test looks at a run
LINES = 1000  # a second that the slow reader takes

WIRE = [each for each in pairs() if each.backend == "wire"]


@pytest.fixture(params=WIRE, ids=[each.engine for each in WIRE])
def engine(request: pytest.FixtureRequest) -> str:
    """Every engine that runs the wire backend."""
    pair: Pair = request.param
    if not pair.installed:
        pytest.skip(f"{pair.engine} needs the extra {pair.extra}")
    return pair.engine


def family(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """The command and its children."""
    parent = psutil.Process(process.pid)
    return [parent, *parent.children(recursive=True)]


def memory(process: subprocess.Popen[bytes]) -> int:
    """Octets that the command and its children hold."""
    return sum(each.memory_info().rss for each in family(process))


def busy(process: subprocess.Popen[bytes]) -> float:
    """Seconds of processor time that the command and its children have used."""
    return sum(sum(each.cpu_times()[:2]) for each in family(process))


class Feeder:
    """Writes hosts into a pipe for as long as it is open; `fed` is how many it took."""

    def __init__(self, fd: int) -> None:
        self.fed = 0
        self._fd = fd
        self._thread = threading.Thread(target=self._feed, daemon=True)
        self._thread.start()

    def _feed(self) -> None:
        try:
            while True:
                # Each write is less than PIPE_BUF: the pipe takes all of it, or has us wait.
                block = "".join(f"h{number:07}.example\n" for number in range(self.fed, self.fed + 50))
                os.write(self._fd, block.encode())
                self.fed += 50
        except OSError:  # nobody reads any more
            pass


def test_a_slow_reader_slows_the_reading_of_hosts(engine: str, env: dict[str, str], lab: Lab) -> None:
    """Results that are taken at 1,000 lines a second: the hosts are read as slowly, and the memory stays flat."""
    process = start("-e", engine, "-n", lab.nameserver, "-f", "text", stderr=subprocess.DEVNULL, env=env)
    assert process.stdin
    assert process.stdout
    try:
        feeder = Feeder(process.stdin.fileno())
        out = process.stdout.fileno()
        assert select.select([out], [], [], PATIENCE)[0]
        begun = time.monotonic()
        taken = 0
        looks: list[tuple[int, int, int]] = []  # lines taken, hosts fed, octets held
        while (passed := time.monotonic() - begun) < SECONDS:
            if taken < passed * LINES:
                # Some ten lines; a machine that was busy elsewhere makes us take more, never less.
                taken += os.read(out, 400).count(b"\n")
            else:
                time.sleep(0.005)
            if not looks and passed > SECONDS / 2:
                looks.append((taken, feeder.fed, memory(process)))
        looks.append((taken, feeder.fed, memory(process)))
    finally:
        process.kill()
        process.communicate()
    (early, read_early, held_early), (late, read_late, held_late) = looks
    assert late - early > SECONDS / 2 * LINES * 0.5
    # What fits between the ends: two pipes, a block of input, what is in flight, and a chunk or two a child. Without
    # backpressure a run gets through several times as many in the time.
    assert read_late - late < 20_000
    # By then all of that is full, and a host is read for a line that is taken; pipes move on by the page, and children
    # by the chunk of a thousand.
    assert read_late - read_early < 2 * (late - early) + 8000
    assert held_late - held_early < 8 << 20


def work(process: subprocess.Popen[bytes], seconds: float) -> float:
    """Return the processor time that it takes in the next so many seconds."""
    before = busy(process)
    time.sleep(seconds)
    return busy(process) - before


class Sink:
    """A nameserver that says nothing; `seen` has the time and the question of each query."""

    def __init__(self) -> None:
        self.seen: list[tuple[float, bytes]] = []
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.nameserver = "{}:{}".format(*self._socket.getsockname())
        threading.Thread(target=self._receive, daemon=True).start()

    def _receive(self) -> None:
        while (query := self._socket.recv(512)) != b"end":
            self.seen.append((time.monotonic(), query[12:]))

    def wait(self, queries: int) -> None:
        """Until so many have come."""
        end = time.monotonic() + PATIENCE
        while len(self.seen) < queries:
            assert time.monotonic() < end, f"{len(self.seen)} of {queries} queries came"
            time.sleep(0.005)

    def close(self) -> None:
        self._socket.sendto(b"end", self._socket.getsockname())


@contextmanager
def sink() -> Iterator[Sink]:
    """A Sink while the block runs."""
    opened = Sink()
    try:
        yield opened
    finally:
        opened.close()


def test_fire_and_forget(engine: str, env: dict[str, str]) -> None:
    """--no-wait sends every query once, no faster than --rate, waits for no reply, and reports how many went out."""
    hosts = "".join(f"f{number}.example\n" for number in range(120))
    with sink() as silent:
        done = inside("--no-wait", "-e", engine, "-n", silent.nameserver, "--rate", "400", text=hosts, env=env)
        expected = f"120 of 120 queries sent to {silent.nameserver}; no reply was awaited\n"
        assert (0, expected, "") == done
        silent.wait(120)
        times, questions = zip(*silent.seen, strict=True)
    assert (120, 120) == (len(questions), len(set(questions)))
    # A fiftieth of a second's worth may go out at once.
    assert times[-1] - times[0] > (120 - 400 / 50) / 400 - 0.05


@pytest.mark.parametrize("options", [[], ["--rate", "1000"]], ids=["unlimited", "rate"])
def test_fire_and_forget_sleeps_while_its_input_is_silent(engine: str, env: dict[str, str], options: list[str]) -> None:
    """While a pipe gives no hosts, the run uses next to no processor time; what comes then goes out."""
    with sink() as silent:
        process = start("--no-wait", "-e", engine, "-n", silent.nameserver, *options, env=env)
        assert process.stdin
        try:
            process.stdin.write(b"a.example\n")
            silent.wait(1)
            # Once all of the engine has started, and whatever starts only when there is work.
            wait_for(lambda: work(process, 0.3) < 0.05, "it to rest")
            out, err = process.communicate(b"b.example\n", PATIENCE)
        finally:
            process.kill()
            process.wait()
        assert f"2 of 2 queries sent to {silent.nameserver}; no reply was awaited\n" == out.decode()
        assert (0, b"") == (process.returncode, err)
        silent.wait(2)

"""One child, watched from outside: how long it took to start, the most it used, and its end where it hangs.

Sampling costs. The processor's time comes from the kernel at the end (getrusage); memory, threads and descriptors are
sampled a few dozen times a second, and the list of the child's own children, for which every process of the machine has
to be read, less often.
"""

from __future__ import annotations

import contextlib
import os
import resource
import select
import time
from collections.abc import Callable, Sequence
from typing import BinaryIO, NamedTuple

import msgspec
import psutil

from resolver.compare.child import Event, Spec
from resolver.subprocesses import end, spawn

INTERVAL = 0.03  # seconds between two samples of a child
CHILDREN_INTERVAL = 0.15  # seconds between two searches for its children
CHILD = ("-m", "resolver.compare")


class WaitLimits(NamedTuple):
    """Seconds that a child is waited for: until it begins, after its deadline, and from one result to the next."""

    start: float = 60.0
    late: float = 15.0
    silent: float = 60.0


class Cost(NamedTuple):
    """The cost of a child, as the figures have it; the last three are the most that its processes had in one sample."""

    seconds: float
    startup_seconds: float
    cpu_seconds: float
    peak_memory: int
    threads: int
    descriptors: int


class ChildFailed(Exception):
    """The run failed; a sentence says why."""


class Interrupted(Exception):
    """The user wants no more runs."""


def watch(spec: Spec, limits: WaitLimits, tick: Callable[[], None], command: Sequence[str] = CHILD) -> Cost:
    """Run it in a fresh child, of which nothing is left behind, however it ends.

    Args:
        spec: The run.
        limits: How long the child is waited for.
        tick: Called again and again; it may raise to end the run.
        command: The child's arguments, before the engine's name.

    Raises:
        ChildFailed: The child does not start, breaks, hangs or dies.
    """
    with open(f"{spec.spool}.err", "w+b") as complaints:
        child = WatchedChild([*command, spec.engine], spec, complaints, tick)
        try:
            return child.follow(limits)
        finally:
            child.end()


class WatchedChild:
    """A child in the middle of its run."""

    def __init__(self, command: Sequence[str], spec: Spec, complaints: BinaryIO, tick: Callable[[], None]) -> None:
        self._spec = spec
        self._complaints = complaints
        self._tick = tick
        self._spawned = time.monotonic()
        self._process = spawn(*command, stderr=complaints)
        self._usage = PeakUsage(self._process.pid)
        self._unread = b""
        self._cpu = 0.0

    def follow(self, limits: WaitLimits) -> Cost:
        """Watch it to its end."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(msgspec.json.encode(self._spec) + b"\n")
            self._process.stdin.flush()
        started = self._event(self._spawned + limits.start, "it did not begin")
        startup = time.monotonic() - self._spawned
        # The peak of getting ready is the start-up's and not the lookups' (the memory stays).
        self._usage.sample(force=True)
        timeout = self._spec.policy.timeout
        latest = float("inf") if timeout is None else time.monotonic() + timeout + limits.late
        seconds = self._event(latest, "it did not end", limits.silent)
        self._usage.sample(force=True)
        self.end()
        peak = self._usage
        cpu = max(0.0, self._cpu - started)
        return Cost(seconds, startup, cpu, peak.memory, peak.threads, peak.descriptors)

    def end(self) -> None:
        """End it, if it has not ended, and what it started; the kernel says what processor time it took."""
        if self._process.returncode is None:
            self._usage.find_children()
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            end(self._process, seconds=1.0)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            self._cpu = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
            self._usage.kill_children()

    def _event(self, latest: float, complaint: str, silent: float = float("inf")) -> float:
        """Return the seconds of its next event. Raises ChildFailed where it has an error, or does not come in time.

        Args:
            latest: When it must be there.
            complaint: What is said of the child where it is not.
            silent: Seconds that the spool may stay as it is meanwhile.
        """
        assert self._process.stdout is not None
        fd = self._process.stdout.fileno()
        written, heard = -1, time.monotonic()
        while b"\n" not in self._unread:
            if select.select([fd], [], [], INTERVAL)[0]:
                octets = os.read(fd, 1 << 16)
                if not octets:
                    raise ChildFailed(self._death())
                self._unread += octets
                continue
            now = time.monotonic()
            self._usage.sample()
            self._tick()
            if (size := _size(self._spec.spool)) != written:
                written, heard = size, now
            if now > latest:
                raise ChildFailed(f"{complaint} in time, and was killed after {now - self._spawned:.0f} seconds")
            if now > heard + silent:
                raise ChildFailed(f"it gave no result for {silent:.0f} seconds, and was killed")
        line, _, self._unread = self._unread.partition(b"\n")
        event = msgspec.json.decode(line, type=Event)
        if event.error:
            raise ChildFailed(event.error)
        return event.seconds

    def _death(self) -> str:
        self.end()
        status = self._process.returncode
        how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
        self._complaints.seek(0)
        lines = self._complaints.read().decode(errors="replace").strip().splitlines()
        return f"its process {how}{': ' + lines[-1].strip() if lines else ''}"


class PeakUsage:
    """The most that a process and its children had: memory in octets, threads, descriptors."""

    def __init__(self, pid: int) -> None:
        self.memory = self.threads = self.descriptors = 0
        self._process = psutil.Process(pid)
        self._children: list[psutil.Process] = []
        self._found = time.monotonic()

    def sample(self, force: bool = False) -> None:
        """Sample them now. A process that is gone meanwhile counts for nothing."""
        if force or time.monotonic() - self._found > CHILDREN_INTERVAL:
            self.find_children()
        memory, threads, descriptors = 0, -1, 0  # one thread is the child's that waits for our end
        for process in (self._process, *self._children):
            with contextlib.suppress(psutil.Error), process.oneshot():
                threads += process.num_threads()
                memory += process.memory_info().rss
                descriptors += process.num_fds()
        self.memory = max(self.memory, memory)
        self.threads = max(self.threads, threads)
        self.descriptors = max(self.descriptors, descriptors)

    def find_children(self) -> None:
        """Look for its children, and theirs."""
        with contextlib.suppress(psutil.Error):
            self._children = self._process.children(recursive=True)
        self._found = time.monotonic()

    def kill_children(self) -> None:
        """Kill its children where they have not ended with it."""
        for process in psutil.wait_procs(self._children, 1.0)[1] if self._children else ():
            with contextlib.suppress(psutil.Error):
                process.kill()


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return -1

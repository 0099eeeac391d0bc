"""One child, seen from outside: how long it took to start, what it used at most, and its end where it hangs.

The one thing to know before changing anything here: looking costs. The processor's time comes from the kernel at the
end (wait4); memory, threads and descriptors are looked at a few dozen times a second, and the list of the child's own
children, for which every process of the machine has to be read, less often.
"""

from __future__ import annotations

import contextlib
import os
import select
import time
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

import msgspec
import psutil

from resolver.compare.spec import Began, Ended, Event, Failed, Spec
from resolver.subprocesses import close_pipes, spawn

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

LOOK = 0.03  # seconds between two looks at a child
RELATIONS = 0.15  # seconds between two looks for its children
CHILD = ("-m", "resolver.compare.child")


class Patience(NamedTuple):
    """Seconds that a child is waited for: until it begins, after its deadline, and from one result to the next."""

    start: float = 60.0
    late: float = 15.0
    silent: float = 60.0


class Seen(NamedTuple):
    """What a child took. `seconds` of the lookups, `startup` before them; `cpu` of the lookups, children included.

    `memory` (octets), `threads` and `descriptors` are the most that all its processes had at one look.
    """

    seconds: float
    startup: float
    cpu: float
    memory: int
    threads: int
    descriptors: int


class ChildFailed(Exception):
    """The run came to nothing; a sentence says why."""


class Interrupted(Exception):
    """The user has seen enough."""


def watch(
    spec: Spec,
    patience: Patience,
    tick: Callable[[], None] | None = None,
    command: Sequence[str] = CHILD,
) -> Seen:
    """Run it in a fresh child; `tick` is called again and again, and may raise to end it.

    Raises ChildFailed where the child does not start, breaks, hangs or dies; no child is left behind in any case.
    """
    with open(f"{spec.spool}.err", "w+b") as complaints:
        child = _Child([*command, spec.engine], spec, complaints)
        try:
            return child.follow(patience, tick)
        finally:
            child.end()


class _Child:
    def __init__(self, command: Sequence[str], spec: Spec, complaints: BinaryIO) -> None:
        self._spec = spec
        self._complaints = complaints
        self._spawned = time.monotonic()
        self._process = spawn(*command, stderr=complaints)
        self._looks = _Looks(self._process.pid)
        self._unread = b""
        self._cpu = 0.0

    def follow(self, patience: Patience, tick: Callable[[], None] | None) -> Seen:
        """See it through."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(msgspec.json.encode(self._spec) + b"\n")
            self._process.stdin.flush()
        began = self._await(self._spawned + patience.start, "it did not begin", None, tick)
        startup = time.monotonic() - self._spawned
        if not isinstance(began, Began):
            raise ChildFailed(_reason(began))
        # What getting ready took at its height is the start-up's and not the lookups' (the memory stays).
        self._looks.look(force=True)
        timeout = self._spec.policy.timeout
        end = float("inf") if timeout is None else time.monotonic() + timeout + patience.late
        ended = self._await(end, "it did not end", patience.silent, tick)
        if not isinstance(ended, Ended) or ended.error:
            raise ChildFailed(_reason(ended))
        self._looks.look(force=True)
        looks = self._looks
        self.end()
        cpu = max(0.0, self._cpu - began.cpu)
        return Seen(ended.seconds, startup, cpu, looks.memory, looks.threads, looks.descriptors)

    def end(self) -> None:
        """End it, if it has not ended, and what it started; the kernel says what processor time it took."""
        process = self._process
        if process.returncode is not None:
            return
        close_pipes(process)
        self._looks.relations()
        if not self._ends_by_itself():
            process.kill()
            self._reap(0)
        self._looks.kill_rest()

    def _await(
        self, end: float, complaint: str, silent: float | None, tick: Callable[[], None] | None
    ) -> Began | Ended | Failed:
        """Its next word. Raises ChildFailed where none comes in time."""
        assert self._process.stdout is not None
        fd = self._process.stdout.fileno()
        written, heard = -1, time.monotonic()
        while b"\n" not in self._unread:
            if select.select([fd], [], [], LOOK)[0]:
                octets = os.read(fd, 1 << 16)
                if not octets:
                    raise ChildFailed(self._death())
                self._unread += octets
                continue
            now = time.monotonic()
            self._looks.look()
            if tick is not None:
                tick()
            if silent is not None and (size := _size(self._spec.spool)) != written:
                written, heard = size, now
            if now > end:
                raise ChildFailed(f"{complaint} in time, and was killed after {now - self._spawned:.0f} seconds")
            if silent is not None and now > heard + silent:
                raise ChildFailed(f"it gave no result for {silent:.0f} seconds, and was killed")
        line, _, self._unread = self._unread.partition(b"\n")
        return msgspec.json.decode(line, type=Event)  # type: ignore[no-any-return]  # one of them

    def _death(self) -> str:
        self._reap(0)
        status = self._process.returncode
        how = f"was killed by signal {-status}" if status is not None and status < 0 else f"ended with status {status}"
        self._complaints.seek(0)
        lines = self._complaints.read().decode(errors="replace").strip().splitlines()
        return f"its process {how}{': ' + lines[-1].strip() if lines else ''}"

    def _ends_by_itself(self) -> bool:
        end = time.monotonic() + 1.0
        while not self._reap(os.WNOHANG):
            if time.monotonic() > end:
                return False
            time.sleep(0.002)
        return True

    def _reap(self, options: int) -> bool:
        if self._process.returncode is None:
            pid, status, usage = os.wait4(self._process.pid, options)
            if not pid:
                return False
            self._process.returncode = os.waitstatus_to_exitcode(status)
            self._cpu = usage.ru_utime + usage.ru_stime
        return True


class _Looks:
    """What a process and its children had at most: memory in octets, threads, descriptors."""

    def __init__(self, pid: int) -> None:
        self.memory = self.threads = self.descriptors = 0
        self._processes = [psutil.Process(pid)]
        self._related = time.monotonic()

    def look(self, force: bool = False) -> None:
        """Look at them now. What is gone meanwhile has nothing any more."""
        if force or time.monotonic() - self._related > RELATIONS:
            self.relations()
        memory, threads, descriptors = 0, -1, 0  # one thread is the child's that waits for our end
        for process in self._processes:
            with contextlib.suppress(psutil.Error), process.oneshot():
                threads += process.num_threads()
                memory += process.memory_info().rss
                descriptors += process.num_fds()
        self.memory = max(self.memory, memory)
        self.threads = max(self.threads, threads)
        self.descriptors = max(self.descriptors, descriptors)

    def relations(self) -> None:
        """Look for its children."""
        first = self._processes[0]
        with contextlib.suppress(psutil.Error):
            self._processes = [first, *first.children(recursive=True)]
        self._related = time.monotonic()

    def kill_rest(self) -> None:
        """Its children end with it; those that do not are killed."""
        _, alive = psutil.wait_procs(self._processes[1:], 1.0) if self._processes[1:] else ([], [])
        for process in alive:
            with contextlib.suppress(psutil.Error):
                process.kill()


def _reason(event: Event) -> str:
    return str(getattr(event, "error", None) or "it said nothing that makes sense")


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return -1

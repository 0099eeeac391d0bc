"""Runs of the engine `processes` whose children a test can get at, and spoil."""

import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import psutil
import pytest

from resolver import Policy, Result, Status, Summary
from resolver.batch import Batch, Plan
from resolver.blocks import BlockSink, LineFormat
from resolver.input.given import source
from resolver.lab import Lab
from resolver.planning import plan
from resolver.processes.engine import Processes
from resolver.subprocesses import FrameDecoder

T = TypeVar("T")
PATIENCE = 20.0  # seconds until a test that waits for something fails


def feed(frames: FrameDecoder[T], octets: bytes) -> list[T]:
    """The messages that are whole with these octets."""
    messages: list[T] = []
    while octets:
        room = frames.room()
        size = min(len(room), len(octets))
        room[:size] = octets[:size]
        messages += frames.received(size)
        octets = octets[size:]
    return messages


def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it never came to it"
        time.sleep(0.01)


def children_of(parent: int | None = None) -> list[psutil.Process]:
    """The engine's children of this process, or of another one."""
    found = []
    for child in psutil.Process(parent).children():
        try:
            if "resolver.processes.child" in child.cmdline():
                found.append(child)
        except psutil.NoSuchProcess:
            pass
    return found


def gone(processes: list[psutil.Process]) -> bool:
    return not any(each.is_running() and each.status() != psutil.STATUS_ZOMBIE for each in processes)


def ready(lab: Lab, hosts: list[str] | Path, children: int = 2, parties: int = 1, **policy: object) -> Plan:
    asked = Policy(nameservers=(lab.nameserver,), **policy)  # type: ignore[arg-type]  # a text, and keywords
    prepared = plan([source(hosts)], "processes", "wire", ("A",), asked)
    return prepared._replace(engine=Processes(children=children, parties=parties))


class Running:
    """A plan that runs in a thread, so that the test can interfere. `lines`: its results may come as JSON Lines."""

    def __init__(self, prepared: Plan, *, lines: bool = False) -> None:
        self.results: list[tuple[int, Status, int | None, str | None]] = []
        self.summary: Summary
        self._plan = prepared
        self._lines = BlockSink(LineFormat("jsonl"), lambda block: self._take(block.results())) if lines else None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        with self._plan:
            self.summary = Batch(self._plan, self._take, lines=self._lines).run()

    def _take(self, results: list[Result]) -> None:
        self.results.extend((each.index, each.status, each.attempts, each.error) for each in results)

    def join(self) -> None:
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()

    @property
    def statuses(self) -> Counter[Status]:
        return Counter(status for _, status, _, _ in self.results)


def python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: str) -> None:
    """Have every child run these lines first."""
    program = tmp_path / "python"
    lines = f"import os, time\nfrom resolver.processes import child\n{first}\nchild.main()"
    # The child is called as: python -P -m resolver.processes.child ENGINE BACKEND
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -P -c \'{lines}\' "$4" "$5"\n')
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))


POISON = """
take = child.ChildQueries.take
def poisoned(self, n):
    queries = take(self, n)
    if any(query.name == "poison.example." for query in queries or ()):
        os._exit(9)
    return queries
child.ChildQueries.take = poisoned
"""

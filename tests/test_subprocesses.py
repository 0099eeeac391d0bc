"""Children that end by themselves, that are ended, and whose parent dies."""

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from resolver.subprocesses import end, spawn

ROOT = Path(__file__).parents[1]
BUSY = """
from resolver.subprocesses import end_with_parent
end_with_parent()
print("here", flush=True)
while True: pass
"""
PARENT = """
import os, sys
from resolver.subprocesses import spawn
child = spawn("-c", sys.argv[1])
child.stdout.readline()
if sys.argv[2] != "forked" or os.fork():
    print(child.pid, flush=True)
os.read(0, 1)  # until the test ends, or kills it
"""


def test_a_child_ends_when_its_pipe_is_closed() -> None:
    """It ends in order, whatever it does just then."""
    children = [spawn("-c", BUSY) for _ in "ab"]
    for child in children:
        assert child.stdout is not None
        assert b"here\n" == child.stdout.readline()
    end(*children, seconds=20.0)
    assert [0, 0] == [child.returncode for child in children]


def test_a_child_that_does_not_end_is_killed() -> None:
    """It has the seconds that it is given, and no more."""
    child = spawn("-c", "import signal; signal.pause()")
    end(child, seconds=0.1)
    assert -9 == child.returncode


@pytest.mark.parametrize("how", ["alone", "forked"])
def test_a_child_ends_when_its_parent_is_killed(how: str) -> None:
    """Also where a fork of the parent lives on, which holds the other end of the child's pipe."""
    arguments = [sys.executable, "-c", PARENT, BUSY, how]
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environ) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        forks = [each for each in psutil.Process(parent.pid).children() if each != child]
        assert (how == "forked") == bool(forks)
        parent.kill()
        parent.wait()
        deadline = time.monotonic() + 20.0
        while child.is_running() and child.status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        alive = [each for each in forks if each.is_running()]
        for fork in alive:
            fork.kill()
        assert forks == alive

"""The engine `twisted`: its reactor is the run's own, comes and goes with it, and is nobody else's business.

What concerns a whole program (which modules are imported, an application's own running reactor, Ctrl-C) is shown in
child processes.
"""

import os
import subprocess
import sys
import threading
from typing import Any

import pytest
from command import second_look
from conftest import fresh

from resolver import Run, resolve, stream
from resolver.lab import Lab

pytest.importorskip("twisted", reason="needs the extra twisted")
BACKENDS = ["wire", "twisted"]

# A program whose own reactor runs in the main thread, with a ticking clock and a look-up in one of its threads.
APPLICATION = """
import sys, threading
from twisted.internet import reactor, task, threads
from twisted.python import threadable
from resolver import resolve

ticks = []
clock = task.LoopingCall(lambda: ticks.append(threadable.isInIOThread()))

def look_up():
    before = threadable.ioThread
    run = resolve([f"slow-100.n{{n}}.example" for n in range(20)], engine="twisted", backend={backend!r},
                  nameservers={nameserver!r}, concurrency=5)
    assert not threadable.isInIOThread() and threadable.ioThread == before
    return run.summary.statuses

def done(statuses):
    print(statuses, len(ticks) > 10, set(ticks), reactor.running)
    reactor.stop()

def start():
    clock.start(0.02)
    threads.deferToThread(look_up).addBoth(done)

reactor.callWhenRunning(start)
reactor.run()
print(sys.modules["twisted.internet.reactor"] is reactor)
"""
# A program of ours: no global reactor comes into being, no signal handler is changed.
OURS = """
import signal, sys
from resolver import resolve
handlers = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD)]
for _ in range(2):
    for hosts in (["www.example", "truncated.example"], ["hang.example"]):
        run = resolve(hosts, engine="twisted", backend={backend!r}, nameservers={nameserver!r}, timeout=0.3)
        print(run.summary.statuses)
print("twisted.internet.reactor" in sys.modules)
print(handlers == [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD)])
"""
INTERRUPTED = """
import _thread, threading
from resolver import resolve
resolve(["www.example"], engine="twisted", backend={backend!r}, nameservers={nameserver!r})
threading.Timer(0.3, _thread.interrupt_main).start()
try:
    resolve(["hang.example"], engine="twisted", backend={backend!r}, nameservers={nameserver!r}, query_timeout=20)
except KeyboardInterrupt:
    print("interrupted")
"""


def program(text: str, lab: Lab, backend: str) -> list[str]:
    """The lines that a program prints; it prints nothing on standard error."""
    code = text.format(backend=backend, nameserver=lab.nameserver)
    done = subprocess.run([sys.executable, "-X", "dev", "-c", code], capture_output=True, text=True, timeout=60)
    assert "" == done.stderr
    return done.stdout.splitlines()


def ask(lab: Lab, backend: str, *labels: str, **options: Any) -> Run:
    """The run of these labels, each in a zone of its own."""
    hosts = [fresh(label) for label in labels]
    return resolve(hosts, engine="twisted", backend=backend, nameservers=lab.nameserver, **options)


@pytest.mark.parametrize("backend", BACKENDS)
def test_beside_a_running_reactor(lab: Lab, backend: str) -> None:
    """In a thread of a Twisted application, whose reactor goes on running and stays the global one."""
    assert ["{'NOERROR': 20} True {True} True", "True"] == program(APPLICATION, lab, backend)


@pytest.mark.parametrize("backend", BACKENDS)
def test_no_global_reactor(lab: Lab, backend: str) -> None:
    """Runs in one process, done and cut short, leave no global reactor and no signal handler behind."""
    runs = ["{'NOERROR': 2}", "{'DEADLINE': 1}"] * 2
    assert [*runs, "False", "True"] == program(OURS, lab, backend)


@pytest.mark.parametrize("backend", BACKENDS)
def test_ctrl_c(lab: Lab, backend: str) -> None:
    """KeyboardInterrupt reaches the caller of the library, though reactors log what is raised in them and go on."""
    assert ["interrupted"] == program(INTERRUPTED, lab, backend)


@pytest.mark.parametrize("backend", BACKENDS)
def test_in_threads_at_once(lab: Lab, backend: str) -> None:
    """Several runs in threads at the same time each have a reactor of their own."""
    runs: list[Run] = []
    threads = [
        threading.Thread(target=lambda: runs.append(ask(lab, backend, *["slow-100"] * 10, "nx"))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [{"NOERROR": 10, "NXDOMAIN": 1}] * 4 == [run.summary.statuses for run in runs]


@pytest.mark.parametrize("backend", BACKENDS)
def test_no_descriptor_is_left(lab: Lab, backend: str) -> None:
    """50 runs, half of them cut short, leave no more descriptors open than there were before."""
    before = len(os.listdir("/dev/fd"))
    for turn in range(50):
        ask(lab, backend, "www", "truncated", "hang", timeout=0.02 if turn % 2 else None, query_timeout=0.01)
    # Not equal: what an earlier test of another backend left to close by itself may be gone by now.
    assert before >= len(os.listdir("/dev/fd"))


@pytest.mark.parametrize("backend", BACKENDS)
def test_deadline(lab: Lab, backend: str) -> None:
    """A deadline of half a second ends a run of silent names there."""
    run = second_look(
        lambda: ask(lab, backend, "www", *["hang"] * 50, timeout=0.5), lambda run: run.summary.seconds < 0.7
    )
    assert {"NOERROR": 1, "DEADLINE": 50} == run.summary.statuses
    assert 0.5 <= run.summary.seconds < 0.7


@pytest.mark.parametrize("transport", ["udp", "tcp"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_closed_port(backend: str, transport: str) -> None:
    """A socket with an error is closed by Twisted behind our back: the run goes on, and says what it was."""
    run = resolve(
        ["a.example", "b.example"], engine="twisted", backend=backend, nameservers=f"{transport}://127.0.0.1:1"
    )
    expected = {("ERROR", 3, f"{transport} to 127.0.0.1:1 failed: connection refused")}
    assert expected == {(each.status, each.attempts, each.error) for each in run}


def test_what_delivery_raises_comes_out(lab: Lab) -> None:
    """An exception out of the consumer ends the run and is the caller's, not the reactor's log's."""

    def failing() -> Any:
        yield fresh("www")
        raise OSError("the list is gone")

    with pytest.raises(OSError, match="the list is gone"):
        list(stream(failing(), engine="twisted", nameservers=lab.nameserver))


@pytest.mark.parametrize(
    ("label", "error"),
    [
        ("notcp", "{} closed the connection"),
        ("closetcp", "{} closed the connection"),
        ("resettcp", "tcp to {} failed: connection reset by peer"),
    ],
)
def test_a_connection_that_breaks_takes_nobody_down(lab: Lab, label: str, error: str) -> None:
    """What is asked over TCP beside a question that the nameserver will not have is answered all the same."""
    run = ask(lab, "twisted", *["truncated"] * 20, label, query_timeout=8)
    assert {"NOERROR": 20, "ERROR": 1} == run.summary.statuses
    assert error.format(lab.nameserver) == run[-1].error


def test_a_connection_that_is_stuck_is_left(lab: Lab) -> None:
    """After a question that hangs over TCP, others get a connection that works."""
    run = ask(lab, "twisted", "hangtcp", *["truncated"] * 20, query_timeout=1.0)
    assert {"NOERROR": 20, "TIMEOUT": 1} == run.summary.statuses

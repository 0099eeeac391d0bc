"""How a run ends before its input does: Ctrl-C, SIGTERM, the deadline, a silent pipe. Nothing stays behind."""

import fcntl
import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from command import COMMAND, Done, end, in_order, inside, line, run, run_delay, second_look, start, wait_for

from resolver import resolve
from resolver.console import TOGETHER, signals
from resolver.engines import ENGINES
from resolver.lab import Lab

HOSTS = 2000


@pytest.fixture
def silent() -> Iterator[socket.socket]:
    """A nameserver that never answers."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound


@pytest.fixture
def hosts(tmp_path: Path) -> Path:
    """A list of which each second host gets no reply."""
    path = tmp_path / "hosts"
    path.write_text("".join(f"{'hang' if number % 2 else 'www'}.n{number}.example\n" for number in range(HOSTS)))
    return path


def where(bound: socket.socket) -> str:
    """Its address, as -n takes it."""
    return "{}:{}".format(*bound.getsockname())


def wait_for_a_query(bound: socket.socket) -> None:
    """Wait until the run asks."""
    assert [bound] == select.select([bound], [], [], 20)[0]


@pytest.mark.parametrize(
    ("engine", "number", "status"),
    [(each, signal.SIGINT, 130) for each in ENGINES] + [("threads", signal.SIGTERM, 143)],
)
def test_signal(
    lab: Lab, hosts: Path, tmp_path: Path, engine: str, env: dict[str, str], number: int, status: int
) -> None:
    """Soon after the signal the run is over; each line has its result, and what was done is kept."""
    output, figures = tmp_path / "results.jsonl", tmp_path / "summary"
    words = ["-e", engine, "-n", lab.nameserver, "--tries", "1", "--query-timeout", "60", "--concurrency", "600"]
    with start(*words, "-o", output, "--summary", figures, hosts, stdin=subprocess.DEVNULL, env=env) as process:
        wait_for(lambda: output.exists() and output.stat().st_size, "a result")
        process.send_signal(number)
        sent = time.monotonic()
        done = end(process)
        assert time.monotonic() - sent < 20, "the tries would take 60"
    results = in_order(output.read_text().splitlines())
    assert [(status, "", ""), list(range(HOSTS))] == [done, [result["index"] for result in results]]
    assert {"NOERROR", "CANCELLED"} == {result["status"] for result in results}
    summary = json.loads(figures.read_text())
    assert ["cancelled", HOSTS, HOSTS, True] == [
        summary[key] for key in ("ended", "lookups", "results_written", "input_complete")
    ]


@pytest.mark.parametrize("engine", ENGINES)
def test_signal_while_a_pipe_is_silent(lab: Lab, tmp_path: Path, engine: str, env: dict[str, str]) -> None:
    """What was read of the pipe has its result, reading stops, and the summary says so."""
    with start(
        "-e", engine, "-n", lab.nameserver, "-f", "jsonl", "--progress", "--summary", tmp_path / "s", env=env
    ) as process:
        assert process.stdin is not None
        process.stdin.write(b"a.example\nb.example\nhang.example\nno line fe")
        first = [line(process.stdout), line(process.stdout)]
        process.send_signal(signal.SIGINT)
        process.wait(30)  # before the pipe is closed, whose end would make a line of what was begun
        done = end(process)
    results = in_order([*first, *done.out.splitlines()])
    assert [130, ["NOERROR", "NOERROR", "CANCELLED"]] == [done.status, [result["status"] for result in results]]
    assert "The input was not read to its end." in done.err
    summary = json.loads((tmp_path / "s").read_text())
    assert ["cancelled", False, 3, 3] == [
        summary[key] for key in ("ended", "input_complete", "lookups", "results_written")
    ]


@pytest.mark.parametrize(
    ("engine", "gap"), [(each, 0.001) for each in ENGINES] + [("threads", 0.0002), ("threads", 0.01)]
)
def test_two_signals_are_one(
    lab: Lab, hosts: Path, tmp_path: Path, engine: str, env: dict[str, str], gap: float
) -> None:
    """SIGTERM to the process and, a moment later, to its group ends the run in order: each line has its result."""
    output, figures = tmp_path / "results.jsonl", tmp_path / "summary"
    words = ["-e", engine, "-n", lab.nameserver, "--tries", "1", "--query-timeout", "60", "--concurrency", "600"]
    with start(
        *words, "-o", output, "--summary", figures, hosts, stdin=subprocess.DEVNULL, env=env, start_new_session=True
    ) as process:
        wait_for(lambda: output.exists() and output.stat().st_size, "a result")
        process.send_signal(signal.SIGTERM)
        time.sleep(gap)
        os.killpg(process.pid, signal.SIGTERM)
        done = end(process)
    results = in_order(output.read_text().splitlines())
    assert [(143, "", ""), list(range(HOSTS))] == [done, [result["index"] for result in results]]
    assert ["cancelled", HOSTS] == [json.loads(figures.read_text())[key] for key in ("ended", "results_written")]


def test_timeout_of_a_run_with_its_own_redis(lab: Lab, hosts: Path, tmp_path: Path) -> None:
    """`timeout N resolve` sends its signal twice, also where a Redis and a worker were started for the run."""
    output = tmp_path / "results.jsonl"
    words = ["-e", "redis", "-n", lab.nameserver, "--tries", "1", "--query-timeout", "60", "--concurrency", "600"]
    seconds = iter([3, 6, 9, 12, 15])  # a busy machine takes a while to start all of it

    def statuses() -> set[str]:
        done = run(*words, "-o", output, hosts, command=["timeout", str(next(seconds)), *COMMAND])
        if not output.exists():
            return set()  # it had not come as far as to take a signal
        results = in_order(output.read_text().splitlines())
        assert [(124, "", ""), list(range(HOSTS))] == [done, [result["index"] for result in results]]
        return {result["status"] for result in results}

    assert {"NOERROR", "CANCELLED"} == second_look(statuses, lambda found: "NOERROR" in found)


@pytest.mark.parametrize(("later", "expected"), [(TOGETHER - 0.01, []), (TOGETHER + 0.01, [128 + signal.SIGINT])])
def test_signals_by_the_clock(monkeypatch: pytest.MonkeyPatch, later: float, expected: list[int]) -> None:
    """A second signal is the first one's within half a second of it, and ends the process at once afterwards."""
    exits: list[int] = []
    begun: list[float] = []
    times = iter([100.0, 100.0 + later])
    monkeypatch.setattr(os, "_exit", exits.append)
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with signals(lambda: begun.append(0.0), lambda: next(times)) as caught:
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGINT)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert [[signal.SIGTERM], [0.0], expected] == [caught, begun, exits]


def test_second_signal_ends_at_once(lab: Lab) -> None:
    """Where the results are not taken, the first Ctrl-C cannot end the run; the second does, with what there is."""
    names = "".join(f"host-{number}.example\n" for number in range(20_000)).encode()
    with start("-e", "threads", "-n", lab.nameserver, "-f", "jsonl", "-") as process:
        assert process.stdin is not None
        process.stdin.write(names[: 60 * 1024])
        process.stdin.close()
        wait_for(lambda: _is_blocked(process), "a full pipe")
        process.send_signal(signal.SIGINT)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(TOGETHER + 0.1)
        process.send_signal(signal.SIGINT)
        assert 130 == process.wait(2)


def test_signals_before_and_after_the_run(lab: Lab) -> None:
    """While the command starts, a signal ends it as it ends any program: with no traceback."""
    with start("-e", "threads", "-n", lab.nameserver, "-") as process:
        # Before it reads its input: as soon as the interpreter runs, and then at any time.
        wait_for(lambda: len(psutil.Process(process.pid).memory_maps()) > 20, "the interpreter")
        time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        done = end(process, b"")
    assert ["", True] == [done.err, done.status in (143, -signal.SIGTERM, 0)]


def _is_blocked(process: subprocess.Popen[bytes]) -> bool:
    """Is there output in its pipe, and did neither that nor the time that it has worked grow for a while?"""

    def state() -> tuple[int, float]:
        assert process.stdout is not None
        waiting = fcntl.ioctl(process.stdout, termios.FIONREAD, bytes(4))
        return int.from_bytes(waiting, sys.byteorder), psutil.Process(process.pid).cpu_times().user

    before = state()
    time.sleep(0.2)
    return before[0] > 0 and before == state()


@pytest.mark.parametrize("engine", ENGINES)
def test_slow_pipe(lab: Lab, engine: str, env: dict[str, str]) -> None:
    """The result of a line is there before the next line is written."""
    with start("-e", engine, "-n", lab.nameserver, "-f", "text", env=env) as process:
        assert process.stdin is not None
        for host in ("a.example", "b.example", "x y"):
            process.stdin.write(f"{host}\n".encode())
            assert [host] == line(process.stdout).split("\t")[:1]
        assert 1 == end(process).status


@pytest.mark.parametrize("engine", ENGINES)
def test_deadline_on_a_silent_pipe(lab: Lab, tmp_path: Path, engine: str, env: dict[str, str]) -> None:
    """--timeout ends a run whose input has not ended."""
    words = ["-e", engine, "-n", lab.nameserver, "-f", "jsonl", "--timeout", "0.4", "--summary", str(tmp_path / "s")]
    with start(*words, env=env) as process:
        assert process.stdin is not None
        process.stdin.write(b"a.example\n")
        assert '"NOERROR"' in line(process.stdout)
        # The pipe stays open: nothing but the deadline can end this.
        assert 3 == process.wait(10)
    summary = json.loads((tmp_path / "s").read_text())
    assert ["deadline", False, 1] == [summary[key] for key in ("ended", "input_complete", "results_written")]
    assert 0.4 <= summary["seconds"]


@pytest.mark.parametrize("engine", ENGINES)
def test_deadline_where_nobody_answers(silent: socket.socket, tmp_path: Path, engine: str, env: dict[str, str]) -> None:
    """--timeout 1 is over within 0.2 s of the deadline; each of 2,000 hosts has its result."""
    # Other processes than the one that is measured wait for a core too.
    most = 1.0 if engine in ("processes", "redis") else 0.2
    output = tmp_path / "results.jsonl"
    (tmp_path / "hosts").write_text("".join(f"host-{number}.example\n" for number in range(HOSTS)))
    words = ["-e", engine, "-n", where(silent), "--timeout", "1", "-o", str(output), str(tmp_path / "hosts")]

    def lateness() -> float:
        with start(*words, stdin=subprocess.DEVNULL, env=env) as process:
            # The time of the run begins just before its first query.
            wait_for_a_query(silent)
            begun, waited = time.monotonic(), run_delay(process.pid)
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
            late = time.monotonic() - begun - 1 - (run_delay(process.pid) - waited)
            done = end(process)
        while select.select([silent], [], [], 0)[0]:
            silent.recv(512)
        results = in_order(output.read_text().splitlines())
        assert [3, HOSTS, {"DEADLINE"}] == [done.status, len(results), {result["status"] for result in results}]
        assert "No nameserver answered" in done.err
        assert [result["elapsed"] is None for result in results] == [result["attempts"] == 0 for result in results]
        return late

    assert second_look(lateness, lambda late: late < most) < most


def test_deadline_keeps_what_is_done(lab: Lab, hosts: Path) -> None:
    """What was answered before the deadline stays answered."""
    done = inside(
        "-e", "threads", "-n", lab.nameserver, "--timeout", "0.9", "--query-timeout", "30", "-f", "jsonl", hosts
    )
    statuses = [result["status"] for result in done.results]
    assert [3, HOSTS, {"NOERROR", "DEADLINE"}] == [done.status, len(statuses), set(statuses)]
    assert {"DEADLINE"} == set(statuses[1::2])


def test_signal_outranks_the_deadline(silent: socket.socket) -> None:
    """A run that Ctrl-C ended before its deadline is CANCELLED, 130."""
    with start("-e", "threads", "-n", where(silent), "--timeout", "60", "-f", "jsonl", "a.example") as process:
        wait_for_a_query(silent)
        process.send_signal(signal.SIGINT)
        done = end(process)
    assert [130, ["CANCELLED"]] == [done.status, [result["status"] for result in done.results]]


APART = ["unshare", "--pid", "--fork", *(["--user", "--map-root-user"] * (os.geteuid() != 0))]  # as in a container


@pytest.mark.skipif(subprocess.run([*APART, "true"], capture_output=True).returncode != 0, reason="no namespaces here")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_process_of_a_container(silent: socket.socket, number: int) -> None:
    """A signal ends it, also where no run takes it: what process 1 does not handle, the kernel drops."""
    with start("nameservers", where(silent), command=[*APART, *COMMAND]) as process:
        wait_for_a_query(silent)
        (first,) = psutil.Process(process.pid).children()
        first.send_signal(number)
        assert Done(128 + number, "", "") == end(process)


@pytest.mark.parametrize("how", ["done", signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_lab_leaves_nothing_behind(how: str | signal.Signals) -> None:
    """--lab is a child process, which is gone when the run is, however that ended."""
    with start("--lab", "-e", "threads", "--query-timeout", "60", "-f", "jsonl", "-") as process:
        assert process.stdin is not None
        process.stdin.write(b"a.example\n" + (b"" if how == "done" else b"hang.example\n"))
        assert '"NOERROR"' in line(process.stdout)
        children = psutil.Process(process.pid).children(recursive=True)
        if isinstance(how, signal.Signals):
            process.send_signal(how)
        end(process)
    assert [1, []] == [len(children), psutil.wait_procs(children, 5)[1]]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_lab_command(number: int) -> None:
    """It says where it listens, and that it is on loopback only; it answers; a signal ends it with exit status 0."""
    with start("lab", "--listen", "127.0.0.1:0", "known.example", stdin=subprocess.DEVNULL) as process:
        said = line(process.stdout)
        found = re.fullmatch(r"(127\.0\.0\.1:\d+) serves 1 names? \(on loopback only\)", said)
        assert found is not None, said
        results = resolve(["known.example", "other.example"], engine="threads", nameservers=[found[1]])
        assert ["NOERROR", "NXDOMAIN"] == [result.status for result in results]
        process.send_signal(number)
        done = end(process)
    assert [0, "", True] == [done.status, done.err, f"-n {found[1]}" in done.out]


def test_lab_command_on_other_addresses() -> None:
    """Outside loopback it listens only when told to, and says who can ask it."""
    refused = inside("lab", "--listen", "0.0.0.0:0")
    assert [2, True] == [refused.status, "loopback only; 0.0.0.0 would let other machines ask it" in refused.err]
    with start("lab", "--listen", "0.0.0.0:0", "--public", stdin=subprocess.DEVNULL) as process:
        assert line(process.stdout).endswith("serves every name (any machine can ask it)")
        process.terminate()
        assert 0 == end(process).status


def test_lab_command_whose_port_is_taken(lab: Lab) -> None:
    """The sentence names the address."""
    done = inside("lab", "--listen", lab.nameserver)
    assert [2, True] == [done.status, f"port {lab.nameserver.partition(':')[2]}" in done.err]

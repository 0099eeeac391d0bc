"""Measuring of the benchmarks: whole child processes in adjacent pairs, and every answer checked afterwards.

Two programs are compared by running them A A B, B A A, A A B ... in one session and taking the ratio inside each
pair of A and B that stand side by side: what else the machine does changes from minute to minute, and a pair shares it.
The median of those ratios is what counts. The ratio of the two A, the same program twice, is the control: it says what
noise alone does. Nothing is verified while a clock runs.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import click
import msgspec

from benchmarks.nameserver import NAMES, Nameserver, host_address, host_name

CHECKOUT = Path(__file__).resolve().parent.parent
RESOLVE = (sys.executable, "-m", "resolver")
# Installed programs find their modules compiled: a checkout that may not keep them so would compile them in every run.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


@dataclass(frozen=True)
class Timing:
    """One run of a child process, in seconds; `hosts` is what it was given to look up.

    `cpu` is processor time, that of its own children included; `children` is theirs. `working` are the seconds without
    the start, for those who are told them.
    """

    hosts: int
    wall: float
    cpu: float
    working: float | None = None
    children: float = 0.0

    @property
    def rate(self) -> float:
        """Lookups a second, start-up and all."""
        return self.hosts / self.wall

    @property
    def own(self) -> float:
        """Processor time without that of the children."""
        return self.cpu - self.children


@dataclass(frozen=True)
class Checked:
    """Results of the hosts: `right` answers, `wrong` ones, `lost` (no result), `surplus` (more than one result)."""

    right: int
    wrong: int
    lost: int
    surplus: int

    @property
    def perfect(self) -> bool:
        return not (self.wrong or self.lost or self.surplus)

    def __str__(self) -> str:
        if self.perfect:
            return f"all {self.right:,} answers right"
        return f"{self.right:,} right, {self.wrong:,} wrong, {self.lost:,} lost, {self.surplus:,} more than once"


class _Record(msgspec.Struct):
    data: str


class _Line(msgspec.Struct):
    index: int
    input: str
    status: str
    answers: list[_Record]


def resolve_command(hosts: Path | str, server: Nameserver | str, output: Path, *options: str) -> list[str]:
    """The command line of `resolve` for this list and server, JSON Lines to `output`."""
    return [*RESOLVE, "run", str(hosts), "-n", str(server), "-f", "jsonl", "-o", str(output), "-q", *options]


def child_environment() -> dict[str, str]:
    """Our environment without the settings of `resolve` that a user may have made there.

    Byte code is kept, as pip keeps it when it installs: the runs that do not count compile what the others load.
    """
    dropped = "RESOLVE_", "PYTHONDONTWRITEBYTECODE"
    return {key: value for key, value in os.environ.items() if key == "RESOLVE_PURE" or not key.startswith(dropped)}


def timed(command: Sequence[str | Path], hosts: int = 1, output: Path | None = None) -> Timing:
    """Run the command to its end and time all of it. Raises click.ClickException where it fails.

    With `output`, status 1 (some lookups were not answered) is no failure if that file was written: checking the
    answers says more. What the command wrote to standard error is shown then.
    """
    began = time.perf_counter()
    process = subprocess.Popen(
        command,
        cwd=CHECKOUT,
        env=child_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    try:
        assert process.stderr is not None  # asked for, above
        said = process.stderr.read()
        children = _children_seconds(process.pid)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
    finally:
        if process.returncode is None:
            process.kill()
            process.wait()
    if process.returncode:
        text = f"{' '.join(map(str, command))} ended with status {process.returncode}\n{said.decode(errors='replace')}"
        if process.returncode != 1 or output is None or not output.exists():
            raise click.ClickException(text)
        click.echo(text, err=True)
    return Timing(hosts, wall, usage.ru_utime + usage.ru_stime, children=children)


def _children_seconds(pid: int) -> float:
    """Wait for the end of this child, and leave it to be reaped; its children's processor time, where /proc says it."""
    if not Path("/proc/self/stat").exists():
        return 0.0
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    # Behind the name, which may have spaces in it: utime and stime stand 12th and 13th, those of the children then.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[13]) + int(fields[14])) / os.sysconf("SC_CLK_TCK")


def microseconds(many: Sequence[float], one: Sequence[float], hosts: int) -> float:
    """Microseconds of a lookup, from the processor times of runs of so many hosts and of runs of one."""
    return 1e6 * (statistics.median(many) - statistics.median(one)) / hosts


@dataclass(frozen=True)
class Duel:
    """Runs of two programs, round by round; `control` is the first program once more, beside `ours`."""

    ours: list[Timing]
    theirs: list[Timing]
    control: list[Timing]

    @property
    def speed(self) -> list[float]:
        """Our lookups a second over theirs."""
        return [a.rate / b.rate for a, b in zip(self.ours, self.theirs, strict=True)]

    @property
    def processor(self) -> list[float]:
        """Our processor time over theirs."""
        return [a.cpu / b.cpu for a, b in zip(self.ours, self.theirs, strict=True)]

    @property
    def without_start(self) -> Duel:
        """The same runs by their `working` seconds."""
        return Duel(*(list(map(_working, runs)) for runs in (self.ours, self.theirs, self.control)))

    def show(self, ours: str, theirs: str, asked: str = "") -> None:
        """Print a line for each program, and the ratios with the control beside them."""
        show(ours, self.ours)
        show(theirs, self.theirs)
        same = Duel(self.ours, self.control, self.control)
        for what, found, control in (
            ("speed", self.speed, same.speed),
            ("processor time", self.processor, same.processor),
        ):
            click.echo(f"    {what:<20} {quartiles(found)} of {theirs}; of itself {quartiles(control)}")
        click.echo(f"    {asked}\n" if asked else "")


def _working(timing: Timing) -> Timing:
    assert timing.working is not None  # who asks for it has measured it
    return replace(timing, wall=timing.working)


def duel(rounds: int, ours: Callable[[], Timing], theirs: Callable[[], Timing]) -> Duel:
    """Run A A B, B A A, A A B, ..., `rounds` times, after one run of each that does not count."""
    ours(), theirs()
    found = Duel([], [], [])
    for number in range(rounds):
        if number % 2:
            found.theirs.append(theirs())
            found.ours.append(ours())
            found.control.append(ours())
        else:
            found.control.append(ours())
            found.ours.append(ours())
            found.theirs.append(theirs())
    return found


def check(answers: Iterable[tuple[int, str | None]], count: int, names: int = NAMES) -> Checked:
    """Compare (number of the lookup, the one address it gave or None) with the zone: of each lookup exactly one.

    Lookup i is that of host i modulo `names`.
    """
    seen = bytearray(count)
    right = wrong = surplus = 0
    for index, address in answers:
        if not 0 <= index < count or seen[index]:
            surplus += 1
            continue
        seen[index] = 1
        if address == host_address(index % names):
            right += 1
        else:
            wrong += 1
    return Checked(right, wrong, seen.count(0), surplus)


def resolve_answers(path: Path, names: int = NAMES) -> Iterator[tuple[int, str | None]]:
    """Return what `check` wants to know, from the JSON Lines that `resolve` wrote."""
    decoder = msgspec.json.Decoder(_Line)
    with path.open("rb") as lines:
        for octets in lines:
            line = decoder.decode(octets)
            answered = line.status == "NOERROR" and line.input == host_name(line.index % names)
            yield line.index, line.answers[0].data if answered and len(line.answers) == 1 else None


def spread(values: Sequence[float], form: str = ",.0f") -> str:
    """The median, and the lowest and highest value."""
    return f"{statistics.median(values):{form}} ({min(values):{form}} .. {max(values):{form}})"


def quartiles(values: Sequence[float], form: str = ".2f") -> str:
    """The median, and the quartiles on both sides of it."""
    low, middle, high = statistics.quantiles([*values, *values], n=4, method="inclusive")
    return f"{middle:{form}} ({low:{form}} .. {high:{form}})"


def show(label: str, timings: Sequence[Timing]) -> None:
    """One line of figures for one contestant."""
    rates = spread([timing.rate for timing in timings])
    walls = spread([timing.wall for timing in timings], ".2f")
    cpu = statistics.median(timing.cpu for timing in timings)
    click.echo(f"{label:<24} {rates:<32} lookups/s   wall {walls} s   cpu {cpu:.2f} s")


def verdict(failures: Sequence[str], passed: str = "every limit met") -> None:
    """End the program: 1 and each limit that was not met, or 0 and what can be said then."""
    for failure in failures:
        click.echo(f"NOT MET: {failure}")
    if failures:
        raise SystemExit(1)
    click.echo(f"passed: {passed}")

"""Resident memory of `resolve` while it reads two million lines from a pipe: small, and flat from 200,000 results on.

The lines are made as they are read, by a thread that the pipe blocks; the results go to a file of JSON Lines, whose
growth tells how many there are. The memory is that of all processes of the tree, summed; pages that they share count
in each. The lists' names repeat where there are more lines than names in the zone.
"""

import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import click
import psutil

from benchmarks.measure import CHECKOUT, check, child_environment, resolve_answers, resolve_command, verdict
from benchmarks.nameserver import NAMES, host_name, serve

MEGABYTE = 1_000_000
LIMIT = 120 * MEGABYTE
FLAT_FROM = 200_000
GROWTH = 1.10
INTERVAL = 0.2
_LINES_IN_A_WRITE = 1_000
_OCTETS_IN_A_READ = 1 << 20


@dataclass(frozen=True)
class Sample:
    """`resident` octets in so many processes when so many results stood in the file, `seconds` after the start."""

    seconds: float
    results: int
    resident: int
    processes: int


def feed(pipe: IO[bytes], lines: int) -> None:
    """Write that many lines into the pipe and close it."""
    try:
        with closing(pipe):
            for begin in range(0, lines, _LINES_IN_A_WRITE):
                numbers = range(begin, min(begin + _LINES_IN_A_WRITE, lines))
                pipe.write("".join(f"{host_name(number % NAMES)}\n" for number in numbers).encode())
    except BrokenPipeError:
        pass  # its status and what it said are reported


def resident(tree: psutil.Process) -> tuple[int, int]:
    """The octets of resident memory of a process and all below it, and how many processes that are."""
    octets = processes = 0
    for process in [tree, *tree.children(recursive=True)]:
        try:
            octets += process.memory_info().rss
            processes += 1
        except psutil.NoSuchProcess:
            pass
    return octets, processes


def watch(
    command: Sequence[str], output: Path, lines: int, also: Callable[[float, int], None] = lambda *_: None
) -> list[Sample]:
    """Run `resolve` over a pipe of so many lines, and sample it until it ends.

    Args:
        command: Its words.
        output: The file that its results go to.
        lines: How many are fed to it.
        also: Called with the seconds and the results of each sample.

    Raises:
        click.ClickException: It fails.
    """
    output.touch()
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(
            command,
            cwd=CHECKOUT,
            env=child_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=said,
        )
        assert process.stdin is not None  # asked for, above
        try:
            threading.Thread(target=feed, args=(process.stdin, lines), daemon=True).start()
            samples = _samples(process, output, also)
        finally:
            process.kill()
            process.wait()
        said.seek(0)
        if process.returncode not in (0, 1):  # 1: some were not answered, of which the check says more
            raise click.ClickException(f"resolve ended with status {process.returncode}: {said.read()[-2000:]}")
    return samples


def _samples(process: subprocess.Popen[bytes], output: Path, also: Callable[[float, int], None]) -> list[Sample]:
    began = time.monotonic()
    tree = psutil.Process(process.pid)
    samples = []
    results = 0
    with output.open("rb") as lines:
        while process.poll() is None:
            while octets := lines.read(_OCTETS_IN_A_READ):
                results += octets.count(b"\n")
            try:
                octets_resident, processes = resident(tree)
            except psutil.NoSuchProcess:
                break
            if octets_resident:  # a process that has just ended has none
                samples.append(Sample(time.monotonic() - began, results, octets_resident, processes))
                also(time.monotonic() - began, results)
            time.sleep(INTERVAL)
    return samples


def judge(samples: list[Sample]) -> list[str]:
    """Print what was seen, and return the limits that were not met."""
    peak = max(samples, key=lambda sample: sample.resident)
    settled = [sample for sample in samples if sample.results >= FLAT_FROM]
    click.echo(f"peak               {describe(peak)}, less than {LIMIT // MEGABYTE} MB is asked")
    failures = []
    if peak.resident >= LIMIT:
        failures.append(f"{peak.resident / MEGABYTE:.1f} MB, not less than {LIMIT // MEGABYTE} MB")
    if not settled:
        return [*failures, f"no sample after {FLAT_FROM:,} results: give it more lines"]
    highest = max(settled, key=lambda sample: sample.resident)
    growth = highest.resident / settled[0].resident
    click.echo(f"from {FLAT_FROM:,} on    {describe(settled[0])}")
    click.echo(f"highest after that {describe(highest)}: {growth:.2f} times, less than {GROWTH:.2f} is asked")
    click.echo(f"last               {describe(settled[-1])}")
    if growth >= GROWTH:
        failures.append(f"memory grows to {growth:.2f} times what it was at {FLAT_FROM:,} results")
    return failures


def describe(sample: Sample) -> str:
    processes = "process" if sample.processes == 1 else "processes"
    amount = f"{sample.resident / MEGABYTE:6.1f} MB in {sample.processes} {processes}"
    return f"{amount} at {sample.results:,} results, {sample.seconds:.1f} s"


@click.command()
@click.option("-e", "--engine", default="gevent", show_default=True)
@click.option("--lines", type=click.IntRange(1), default=2_000_000, show_default=True)
@click.option("--verbose", is_flag=True, help="Print every sample.")
def main(engine: str, lines: int, verbose: bool) -> None:
    """Watch the memory of `resolve` over a long pipe."""
    with tempfile.TemporaryDirectory(prefix="memory-") as name, serve() as server:
        output = Path(name) / "resolve.jsonl"
        samples = watch(resolve_command("-", server, output, "-e", engine), output, lines)
        checked = check(resolve_answers(output), lines)
    if verbose:
        for sample in samples:
            click.echo(describe(sample))
    click.echo(f"resolve -e {engine}, {lines:,} lines: {checked}")
    verdict(judge(samples) + ([] if checked.perfect else [str(checked)]))


if __name__ == "__main__":
    main()

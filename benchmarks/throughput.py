"""Lookups a second of `resolve` and of massdns, and of the engines beside each other: 200,000 hosts, JSON Lines.

massdns runs with the settings that a search found to be its fastest against one nameserver on loopback. With its own
defaults (10,000 in flight, 500 ms between tries) it overruns the receive buffer of a single nameserver, then waits for
each loss, and is slower. `RESOLVE_PURE=1` measures without the accelerator.
"""

import os
import shlex
import shutil
import statistics
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import click
import msgspec

from benchmarks.measure import (
    Checked,
    Duel,
    Timing,
    check,
    duel,
    microseconds,
    resolve_answers,
    resolve_command,
    timed,
    verdict,
)
from benchmarks.nameserver import NAMES, Nameserver, host_name, serve, write_hosts

DEFAULT_ENGINE = "gevent"
ENGINES = (DEFAULT_ENGINE, "asyncio", "threads", "twisted", "processes")
# Of massdns at its best settings; and of the default engine, for the others.
LIMIT_SPEED, LIMIT_PROCESSOR = 1.15, 0.85
LIMIT_OTHER = 0.9
LIMIT_PARENT = 1.2  # microseconds of a lookup in the parent of the engine processes: it bounds all children together

# 100 lookups in flight stay within the server's receive buffer; 100 ms between tries make the few losses cheap; the
# busy loop saves the waiting calls.
FASTEST = "--hashmap-size 100 --interval 100 --busy-poll"
_HOST_NUMBER = slice(1, host_name(0).index("."))


class _Rdata(msgspec.Struct):
    data: str


class _Sections(msgspec.Struct):
    answers: list[_Rdata] = []


class _MassdnsLine(msgspec.Struct):
    name: str
    data: _Sections = msgspec.field(default_factory=_Sections)


def massdns_answers(path: Path) -> Iterator[tuple[int, str | None]]:
    """The number of the host and its address, from massdns' JSON Lines."""
    decoder = msgspec.json.Decoder(_MassdnsLine)
    with path.open("rb") as lines:
        for octets in lines:
            line = decoder.decode(octets)
            answers = line.data.answers
            yield int(line.name[_HOST_NUMBER]), answers[0].data if len(answers) == 1 else None


def massdns_command(program: str, hosts: Path, resolvers: Path, output: Path, options: str) -> list[str | Path]:
    """The command line of massdns for this list and these nameservers, JSON Lines to `output`."""
    rights = ["--root"] if os.geteuid() == 0 else []  # it would give up root, and not read our temporary directory
    return [program, "-r", resolvers, "-t", "A", "-o", "J", "-w", output, "-q", *shlex.split(options), *rights, hosts]


class Contest:
    """One nameserver, one list, and the runs over it; what was answered wrongly gathers in `faults`."""

    def __init__(self, directory: Path, server: Nameserver, hosts: int) -> None:
        self.server = server
        self.hosts = hosts
        self.faults: list[str] = []
        self._directory = directory
        self._list = directory / "hosts.txt"
        self._resolvers = directory / "resolvers.txt"
        write_hosts(self._list, hosts)
        self._resolvers.write_text(f"{server}\n")

    def resolve(self, engine: str) -> Timing:
        output = self._directory / "resolve.jsonl"
        timing = timed(resolve_command(self._list, self.server, output, "-e", engine), self.hosts, output)
        self._note(f"resolve -e {engine}", check(resolve_answers(output), self.hosts))
        output.unlink()
        return timing

    def alone(self) -> "Contest":
        """The same with a list of one host, for what a start costs."""
        directory = self._directory / "one"
        directory.mkdir(exist_ok=True)
        return Contest(directory, self.server, 1)

    def massdns(self, program: str, options: str) -> Timing:
        output = self._directory / "massdns.jsonl"
        timing = timed(massdns_command(program, self._list, self._resolvers, output, options), self.hosts)
        self._note("massdns", check(massdns_answers(output), self.hosts))
        output.unlink()
        return timing

    def _note(self, who: str, checked: Checked) -> None:
        if not checked.perfect:
            self.faults.append(f"{who}: {checked}")


def judged(found: Duel, what: str, speed: float, processor: float | None = None) -> list[str]:
    """Return the limits that the medians of a duel did not meet."""
    missed = []
    median = statistics.median(found.speed)
    if median < speed:
        missed.append(f"{what}: {median:.2f} of the speed, not {speed}")
    if processor is not None and (median := statistics.median(found.processor)) > processor:
        missed.append(f"{what}: {median:.2f} of the processor time, not {processor}")
    return missed


def parent(contest: Contest, found: Duel, engine: str) -> list[str]:
    """Show what a lookup costs the parent of an engine's children and these, and return the limit that was not met."""
    one = contest.alone()
    starts = [one.resolve(engine) for _ in found.ours]
    usual = [one.resolve(DEFAULT_ENGINE) for _ in found.theirs]
    own = microseconds([run.own for run in found.ours], [run.own for run in starts], contest.hosts)
    children = microseconds([run.children for run in found.ours], [run.children for run in starts], contest.hosts)
    other = microseconds([run.cpu for run in found.theirs], [run.cpu for run in usual], contest.hosts)
    click.echo(
        f"    a lookup             parent {own:.2f} µs, its children {children:.2f}; {DEFAULT_ENGINE} {other:.2f}; "
        f"without the start\n    at most {LIMIT_PARENT} µs in the parent are asked\n"
    )
    return [] if own <= LIMIT_PARENT else [f"{engine}: {own:.2f} µs a lookup in the parent, not {LIMIT_PARENT}"]


@click.command()
@click.option("-e", "--engine", "engines", multiple=True, help=f"Repeatable.  [default: {', '.join(ENGINES)}]")
@click.option("--massdns", "program", help="The massdns binary.  [default: the one on PATH]")
@click.option("--massdns-options", default=FASTEST, show_default=True, help="How massdns is run.")
@click.option("--hosts", type=click.IntRange(1, NAMES), default=200_000, show_default=True)
@click.option("--rounds", type=click.IntRange(1), default=12, show_default=True, help="Pairs for each engine.")
@click.option("--udp-workers", type=click.IntRange(1), default=2, show_default=True, help="Of the nameserver.")
def main(
    engines: tuple[str, ...], program: str | None, massdns_options: str, hosts: int, rounds: int, udp_workers: int
) -> None:
    """Compare the default engine with massdns, and each other engine with it."""
    massdns = shutil.which(program or "massdns")
    if program is not None and massdns is None:
        raise click.BadParameter(f"{program} is no program", param_hint="--massdns")
    failures = []
    with tempfile.TemporaryDirectory(prefix="throughput-") as name, serve(NAMES, udp_workers) as server:
        contest = Contest(Path(name), server, hosts)
        for engine in engines or ENGINES:
            run = partial(contest.resolve, engine)
            if engine != DEFAULT_ENGINE:
                found = duel(rounds, run, partial(contest.resolve, DEFAULT_ENGINE))
                found.show(f"resolve -e {engine}", DEFAULT_ENGINE, f"at least {LIMIT_OTHER} of the speed")
                failures += judged(found, engine, LIMIT_OTHER)
                if engine == "processes":
                    failures += parent(contest, found, engine)
            elif massdns is not None:
                found = duel(rounds, run, partial(contest.massdns, massdns, massdns_options))
                asked = (
                    f"at least {LIMIT_SPEED} of the speed, at most {LIMIT_PROCESSOR} of the processor time are asked"
                )
                found.show(f"resolve -e {engine}", "massdns", asked)
                failures += judged(found, engine, LIMIT_SPEED, LIMIT_PROCESSOR)
            else:
                click.echo("massdns is neither on PATH nor named with --massdns: left out")
        failures += contest.faults
    verdict(failures)


if __name__ == "__main__":
    main()

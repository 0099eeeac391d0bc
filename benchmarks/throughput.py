"""Lookups a second of `resolve` and of massdns: 200,000 hosts, JSON Lines to a file, in turns.

massdns runs twice: with as many lookups in flight as `resolve` allows itself, which is what the limits are for, and
with the settings that a search found to be its fastest against one nameserver on loopback, for whoever wants to know
what is left. With its own defaults (10,000 in flight, 500 ms between tries) it overruns the receive buffer of a single
nameserver, then waits for each loss, and is slower than with either.
"""

import os
import shlex
import shutil
import statistics
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import click
import msgspec

from benchmarks.measure import (
    Checked,
    Timing,
    check,
    in_turns,
    ratios,
    resolve_answers,
    resolve_command,
    show,
    spread,
    timed,
    verdict,
)
from benchmarks.nameserver import NAMES, Nameserver, host_name, serve, write_hosts

DEFAULT_ENGINE = "gevent"
ENGINES = (DEFAULT_ENGINE, "asyncio", "threads")
LIMIT_DEFAULT, LIMIT_OTHER = 0.8, 0.7

SAME_IN_FLIGHT = "--hashmap-size 1000"
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

    def massdns(self, program: str, options: str) -> Timing:
        output = self._directory / "massdns.jsonl"
        command: list[str | Path] = [
            program,
            "-r",
            self._resolvers,
            "-t",
            "A",
            "-o",
            "J",
            "-w",
            output,
            "-q",
            *shlex.split(options),
        ]
        if os.geteuid() == 0:  # it would give up root, and then may not read our temporary directory
            command.append("--root")
        timing = timed([*command, self._list], self.hosts)
        self._note("massdns", check(massdns_answers(output), self.hosts))
        output.unlink()
        return timing

    def _note(self, who: str, checked: Checked) -> None:
        if not checked.perfect:
            self.faults.append(f"{who}: {checked}")


def compare(contest: Contest, rounds: int, engine: str, massdns: Callable[[], Timing], *, judged: bool) -> str | None:
    """Run one engine in turns with massdns, print the figures, and return the limit that was not met, if any."""
    ours, theirs = in_turns(rounds, lambda: contest.resolve(engine), massdns)
    show(f"resolve -e {engine}", ours)
    show("massdns" if judged else "massdns, fastest", theirs)
    found = ratios(ours, theirs)
    if not judged:
        click.echo(f"{'':<24} ratio {spread(found, '.2f')}\n")
        return None
    limit = LIMIT_DEFAULT if engine == DEFAULT_ENGINE else LIMIT_OTHER
    click.echo(f"{'':<24} ratio {spread(found, '.2f')}, at least {limit} is asked\n")
    median = statistics.median(found)
    return None if median >= limit else f"{engine}: {median:.2f} of massdns, not {limit}"


@click.command()
@click.option("-e", "--engine", "engines", multiple=True, help=f"Repeatable.  [default: {', '.join(ENGINES)}]")
@click.option("--massdns", "program", help="The massdns binary.  [default: the one on PATH]")
@click.option("--massdns-options", help="How massdns is run, and the limits judged; nothing else then.")
@click.option("--hosts", type=click.IntRange(1, NAMES), default=200_000, show_default=True)
@click.option("--rounds", type=click.IntRange(1), default=7, show_default=True, help="Pairs for each engine.")
@click.option("--udp-workers", type=click.IntRange(1), default=2, show_default=True, help="Of the nameserver.")
def main(
    engines: tuple[str, ...],
    program: str | None,
    massdns_options: str | None,
    hosts: int,
    rounds: int,
    udp_workers: int,
) -> None:
    """Compare the lookups a second of each engine with those of massdns."""
    massdns = shutil.which(program or "massdns")
    if program is not None and massdns is None:
        raise click.BadParameter(f"{program} is no program", param_hint="--massdns")
    failures = []
    with tempfile.TemporaryDirectory(prefix="throughput-") as name, serve(NAMES, udp_workers) as server:
        contest = Contest(Path(name), server, hosts)
        for engine in engines or ENGINES:
            if massdns is not None:
                for options in [massdns_options] if massdns_options else [SAME_IN_FLIGHT, FASTEST]:
                    run = partial(contest.massdns, massdns, options)
                    failure = compare(contest, rounds, engine, run, judged=options != FASTEST)
                    failures += [failure] if failure else []
            else:
                show(f"resolve -e {engine}", [contest.resolve(engine) for _ in range(rounds + 1)][1:])
        failures += contest.faults
    if massdns is None:
        verdict(
            failures, "all answers right; nothing was compared, massdns is neither on PATH nor named with --massdns"
        )
    else:
        verdict(failures)


if __name__ == "__main__":
    main()

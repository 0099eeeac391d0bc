"""Lookups a second of `resolve` and of the Python libraries that one would otherwise drive by hand.

All are run in every round, one after the other; the ratio that counts is, round by round, that of ours to the best of
them. Ours is the whole process, start-up and JSON Lines and all; a peer is timed from its first query on, and gets
fewer hosts, so that a slow one takes seconds, not minutes. `benchmarks.peer_lookups` says how each is driven.
"""

import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import click

from benchmarks.measure import (
    CHECKOUT,
    Checked,
    Timing,
    check,
    child_environment,
    quartiles,
    resolve_answers,
    resolve_command,
    spread,
    timed,
    verdict,
)
from benchmarks.nameserver import NAMES, Nameserver, host_name, serve, write_hosts
from benchmarks.peer_lookups import LOOKUPS

LIMIT = 5.0
SECONDS_FOR_A_PEER = 300.0

# Some seconds' work for each.
HOSTS = {
    "aiodns": 20_000,
    "dnspython-threads": 5_000,
    "dnspython-gevent": 5_000,
    "dnspython-asyncio": 5_000,
    "twisted": 5_000,
    "blastdns": 50_000,
    "presolv": 10_000,
}
NUMBERS = {host_name(index): index for index in range(max(HOSTS.values()))}


def peer_answers(path: Path) -> Iterator[tuple[int, str]]:
    """The number of the host and its address, from what `benchmarks.peer_lookups` wrote."""
    with path.open() as lines:
        for line in lines:
            host, _, address = line.rstrip("\n").partition(" ")
            yield NUMBERS[host], address


def run_peer(name: str, server: Nameserver, directory: Path, count: int) -> tuple[Timing, Checked]:
    """Look so many hosts up under a name that `benchmarks.peer_lookups` knows; the seconds, and what was answered."""
    hosts, output = directory / f"{name}.txt", directory / f"{name}.out"
    write_hosts(hosts, count)
    command = [sys.executable, "-m", "benchmarks.peer_lookups", name, str(hosts), str(server.port), str(output)]
    done = subprocess.run(
        command, cwd=CHECKOUT, env=child_environment(), capture_output=True, text=True, timeout=SECONDS_FOR_A_PEER
    )
    if done.returncode:
        raise click.ClickException(f"{name} failed: {done.stderr.strip()[-2000:]}")
    wall, cpu = map(float, done.stdout.split())
    return Timing(count, wall, cpu), check(peer_answers(output), count)


def run_ours(engine: str, server: Nameserver, directory: Path, hosts: int) -> float:
    """The lookups a second of `resolve`. A wrong or lost answer raises click.ClickException."""
    listed, output = directory / "hosts.txt", directory / "resolve.jsonl"
    write_hosts(listed, hosts)
    timing = timed(resolve_command(listed, server, output, "-e", engine), hosts, output)
    checked = check(resolve_answers(output), hosts)
    output.unlink()
    if not checked.perfect:
        raise click.ClickException(f"resolve -e {engine}: {checked}")
    return timing.rate


def installed(peer: str) -> str | None:
    """The version of the library that this peer drives, or None."""
    try:
        return version(peer.partition("-")[0])
    except PackageNotFoundError:
        return None


@click.command()
@click.option("-e", "--engine", default="gevent", show_default=True, help="Our engine.")
@click.option("--peer", "peers", multiple=True, type=click.Choice(list(LOOKUPS)), help="Repeatable.  [default: all]")
@click.option("--hosts", type=click.IntRange(1, NAMES), default=200_000, show_default=True, help="For ours.")
@click.option("--rounds", type=click.IntRange(1), default=3, show_default=True)
def main(engine: str, peers: tuple[str, ...], hosts: int, rounds: int) -> None:
    """Compare the lookups a second of `resolve` with those of other libraries."""
    chosen = [peer for peer in peers or LOOKUPS if installed(peer)]
    absent = [peer for peer in peers or LOOKUPS if peer not in chosen]
    if not chosen:
        raise click.ClickException(f"not installed: {', '.join(absent)}")
    rates: dict[str, list[float]] = {peer: [] for peer in chosen}
    fates: dict[str, str] = {}
    ours: list[float] = []
    control: list[float] = []
    with tempfile.TemporaryDirectory(prefix="peers-") as name, serve() as server:
        directory = Path(name)
        for _ in range(rounds):
            control.append(run_ours(engine, server, directory, hosts))
            ours.append(run_ours(engine, server, directory, hosts))
            for peer in chosen:
                timing, checked = run_peer(peer, server, directory, HOSTS[peer])
                rates[peer].append(checked.right / timing.wall)
                fates[peer] = str(checked)

    click.echo(f"{'resolve -e ' + engine:<26} {spread(ours):<30} lookups/s  of {hosts:,}, all answers right")
    for peer in chosen:
        label = f"{peer} {installed(peer)}"
        click.echo(f"{label:<26} {spread(rates[peer]):<30} lookups/s  of {HOSTS[peer]:,}, {fates[peer]}")
    for peer in absent:
        click.echo(f"{peer:<26} not installed, left out")
    click.echo(f"ratio to itself            {quartiles([a / b for a, b in zip(ours, control, strict=True)])}")
    found = [rate / max(rates[peer][number] for peer in chosen) for number, rate in enumerate(ours)]
    click.echo(f"ratio to the best peer     {quartiles(found, '.1f')}, at least {LIMIT:.0f} is asked")
    median = statistics.median(found)
    passed = f"the best of {', '.join(chosen)}"
    verdict(
        [] if median >= LIMIT else [f"{engine}: {median:.1f} times the best peer, not {LIMIT:.0f}"],
        f"at least {LIMIT:.0f} times {passed}",
    )


if __name__ == "__main__":
    main()

"""Lookups a second of our engines with the libraries as backends, and of the same libraries driven by hand.

What our frame costs: the tries, the statuses, the full results. Both sides run in a process of their own, in turns, on
the same hosts; their clocks start when all is imported. `benchmarks.peer_lookups` says how each is driven by hand.
"""

import statistics
import tempfile
from functools import partial
from pathlib import Path

import click

from benchmarks.measure import Timing, duel, verdict
from benchmarks.nameserver import NAMES, Nameserver, serve
from benchmarks.peer_lookups import OURS
from benchmarks.peers import installed, run_peer

LIMIT = 0.85
# Engine and backend of ours, and what drives the same library by hand.
PAIRS = {
    "threads:dnspython": "dnspython-threads",
    "gevent:dnspython": "dnspython-gevent",
    "asyncio:dnspython": "dnspython-asyncio",
    "asyncio:aiodns": "aiodns",
    "twisted:twisted": "twisted",
}


def compare(pair: str, server: Nameserver, directory: Path, hosts: int, rounds: int) -> list[str]:
    """Run one pair in turns with its library by hand, print the figures, and return what was not met."""
    failures = []

    def run(name: str) -> Timing:
        timing, checked = run_peer(name, server, directory, hosts)
        if not checked.perfect:
            failures.append(f"{name}: {checked}")
        return timing

    found = duel(rounds, partial(run, f"{OURS}:{pair}"), partial(run, PAIRS[pair]))
    found.show(f"resolve {pair}", f"{PAIRS[pair]} by hand", f"at least {LIMIT} of the speed")
    median = statistics.median(found.speed)
    return failures if median >= LIMIT else [*failures, f"{pair}: {median:.2f} of the library by hand, not {LIMIT}"]


@click.command()
@click.option("--pair", "pairs", multiple=True, type=click.Choice(list(PAIRS)), help="Repeatable.  [default: all]")
@click.option("--hosts", type=click.IntRange(1, NAMES), default=10_000, show_default=True)
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True)
def main(pairs: tuple[str, ...], hosts: int, rounds: int) -> None:
    """Compare the lookups a second of the library backends with those of the same libraries driven by hand."""
    chosen = [pair for pair in pairs or PAIRS if installed(PAIRS[pair])]
    for absent in sorted({*(pairs or PAIRS)} - {*chosen}):
        click.echo(f"{absent}: not installed, left out")
    failures = []
    with tempfile.TemporaryDirectory(prefix="stubs-") as name, serve() as server:
        for pair in chosen:
            failures += compare(pair, server, Path(name), hosts, rounds)
    verdict(failures)


if __name__ == "__main__":
    main()

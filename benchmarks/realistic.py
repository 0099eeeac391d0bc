"""`resolve` and massdns, each at its defaults, on a path as people have it: what is found, and how soon.

Four nameservers, 20 ms away give or take 10, each takes 3,000 queries a second and loses one of a hundred; the port of
the fourth is closed. The nameservers are those of the tests (tests/scripted.py).
"""

import shutil
import statistics
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import click
import msgspec

from benchmarks.measure import CHECKOUT, RESOLVE, Timing, duel, timed, verdict
from benchmarks.throughput import massdns_command

sys.path.insert(0, str(CHECKOUT / "tests"))

from scripted import Scripted, Udp, names  # the tests' modules stand in a directory, not in a package

LIMIT = 2.0
PATH = Udp(service=1 / 3000, queue=100, latency=0.02, jitter=0.01, lost=0.01)
OPEN = 3


class _Line(msgspec.Struct):
    status: str


def found(output: Path) -> int:
    """Return for how many names the JSON Lines have an answer, and drop the file."""
    lines = output.read_bytes().splitlines()
    output.unlink()
    return sum(msgspec.json.decode(line, type=_Line).status == "NOERROR" for line in lines)


@click.command()
@click.option("--massdns", "program", help="The massdns binary.  [default: the one on PATH]")
@click.option("--hosts", "count", type=click.IntRange(1), default=20_000, show_default=True)
@click.option("--rounds", type=click.IntRange(1), default=3, show_default=True, help="Pairs.")
def main(program: str | None, count: int, rounds: int) -> None:
    """Compare `resolve` and massdns where packets are lost and a nameserver is gone."""
    massdns = shutil.which(program or "massdns")
    if massdns is None:
        raise click.ClickException("massdns is neither on PATH nor named with --massdns")
    missing: dict[str, list[int]] = {"resolve": [], "massdns": []}
    with tempfile.TemporaryDirectory(prefix="realistic-") as name, ExitStack() as servers:
        hosts, resolvers, output = (Path(name) / each for each in ("hosts", "resolvers", "output"))
        hosts.write_text("".join(f"{each}\n" for each in names(count)))
        closed = servers.enter_context(Scripted())
        closed.close()
        open_ = [servers.enter_context(Scripted(PATH)) for _ in range(OPEN)]
        resolvers.write_text("".join(f"{server.udp}\n" for server in [*open_, closed]))
        ours_command = [*RESOLVE, "run", str(hosts), "-n", f"@{resolvers}", "-f", "jsonl", "-o", str(output), "-q"]

        def ours() -> Timing:
            timing = timed(ours_command, count, output)
            missing["resolve"].append(count - found(output))
            return timing

        def theirs() -> Timing:
            timing = timed(massdns_command(massdns, hosts, resolvers, output, ""), count)
            missing["massdns"].append(count - found(output))
            return timing

        runs = duel(rounds, ours, theirs)
    runs.show("resolve", "massdns", f"at least {LIMIT} times the speed, and no name lost")
    for who, lost in missing.items():
        click.echo(f"{who:<24} lost {statistics.median(lost):.0f} of {count:,} names, at most {max(lost)}")
    speed = statistics.median(runs.speed)
    failures = [f"{speed:.2f} times the speed, not {LIMIT}"] if speed < LIMIT else []
    verdict(failures + ([f"{max(missing['resolve'])} names lost"] if any(missing["resolve"]) else []))


if __name__ == "__main__":
    main()

"""Finding what exists: 100,000 words, with wildcards in the zone, and through a list of nameservers of which some lie.

`wildcards`: a zone of 1,000,000 names in 1,000 parents, of which half are written down and half are made by the
wildcard that each parent has; the words name as many of either. Knot DNS serves it.

`massdns`: 500 nameservers, of which 10 % are silent, 5 % have an address for every name and 10 % answer 200 queries a
second, asked by `resolve` with five trusted ones and by massdns, which has none. One word in fifty exists. The
nameservers are those of the tests (tests/scripted.py).
"""

import shutil
import statistics
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import msgspec

from benchmarks.measure import CHECKOUT, RESOLVE, Timing, duel, timed, verdict
from benchmarks.nameserver import ZONE, serve
from benchmarks.throughput import massdns_command

sys.path.insert(0, str(CHECKOUT / "tests"))

from scripted import Scripted, Udp, exists  # the tests' modules stand in a directory, not in a package
from scripted_server import chance

PARENTS, BESIDE = 1000, 500  # wildcards, and names beside each
QUERIES = 1.3  # a word, at most
NAMESERVERS, TRUSTED = 500, 5
KINDS = Udp(everywhere=True, silent=0.1, lying=0.05, limited=0.1, exist=0.02)
TRUTH = ["192.0.2.1"]


def results(path: Path) -> Iterator[dict[str, Any]]:
    """Return the objects of JSON Lines, and drop the file."""
    with path.open("rb") as lines:
        yield from map(msgspec.json.decode, lines)
    path.unlink()


def wildcards(directory: Path, words: int) -> list[str]:
    """Return what is wrong with a run over names of which half are made by wildcards."""
    listed, output, summary = (directory / each for each in ("words", "results.jsonl", "summary.json"))
    parents = range(PARENTS)
    zone = [f"*.p{parent} A 192.0.2.{parent % 250}\n" for parent in parents]
    zone += [f"h{number}.p{parent} A 198.51.100.{number % 250}\n" for parent in parents for number in range(BESIDE)]
    each = words // (2 * PARENTS)
    listed.write_text("".join(f"{k}{n}.p{parent}\n" for parent in parents for n in range(each) for k in "hm"))
    with serve(1, more=zone) as server:
        timing = timed([*RESOLVE, "-w", str(listed), ZONE, "-n", str(server), "--wildcards", "-f", "jsonl", "-q",
                        "-o", str(output), "--summary", str(summary)], words)  # fmt: skip
    failures = []
    marked = unmarked = 0
    for line in results(output):
        real, parent = line["input"].startswith("h"), line["input"].partition(".")[2]
        marked += real and line["wildcard"] is not False
        unmarked += not real and line["wildcard"] != f"*.{parent}."
    queries = msgspec.json.decode(summary.read_bytes())["queries_sent"] / (2 * each * PARENTS)
    click.echo(f"{2 * each * PARENTS:,} words: {marked} real names marked, {unmarked} made ones not, {queries:.2f} "
               f"queries a word, {timing.wall:.1f} s, cpu {timing.cpu:.1f} s")  # fmt: skip
    failures += [f"{marked} real names marked"] if marked else []
    failures += [f"{unmarked} names of wildcards unmarked"] if unmarked else []
    return failures + ([f"{queries:.2f} queries a word"] if queries > QUERIES else [])


def beside_massdns(directory: Path, words: int, massdns: str, rounds: int) -> list[str]:
    """Return what is wrong with the names that are found, or with the time that it takes."""
    listed, hosts, resolvers, output = (directory / each for each in ("words", "hosts", "resolvers", "output"))
    names = [f"w{number}.{ZONE}" for number in range(words)]
    truth = {name for name in names if exists(name, KINDS.exist)}
    listed.write_text("".join(f"{name.partition('.')[0]}\n" for name in names))
    hosts.write_text("".join(f"{name}\n" for name in names))
    tally: dict[str, list[tuple[int, int]]] = {"resolve": [], "massdns": []}

    def note(who: str, found: dict[str, list[str]]) -> None:
        right = sum(name in truth and data == TRUTH for name, data in found.items())
        tally[who].append((len(truth) - right, len(found) - right))

    with Scripted(KINDS) as server:
        addresses = server.addresses(2 * NAMESERVERS)
        resolvers.write_text("".join(f"{each}\n" for each in addresses[:NAMESERVERS]))
        good = [each for each in addresses[NAMESERVERS:] if _chance(each) > 0.5][:TRUSTED]
        command = [*RESOLVE, "-w", str(listed), ZONE, "-n", f"@{resolvers}", "-f", "jsonl", "-o", str(output), "-q"]
        command += [word for each in good for word in ("--trusted", each)]

        def ours() -> Timing:
            timing = timed(command, words, output)
            note("resolve", {each["input"]: [record["data"] for record in each["answers"]] for each in results(output)
                             if each["status"] == "NOERROR"})  # fmt: skip
            return timing

        def theirs() -> Timing:
            timing = timed(massdns_command(massdns, hosts, resolvers, output, ""), words)
            note("massdns", {each["name"].rstrip("."): [record["data"] for record in each["data"]["answers"]]
                             for each in results(output) if each["data"].get("answers")})  # fmt: skip
            return timing

        runs = duel(rounds, ours, theirs)
    runs.show("resolve", "massdns", "at least its speed, all names found and none wrong")
    for who, faults in tally.items():
        lost, wrong = (max(column) for column in zip(*faults, strict=True))
        click.echo(f"{who:<24} lost {lost} of {len(truth):,} names, found {wrong:,} wrong ones, at most")
    speed = statistics.median(runs.speed)
    failures = [f"{speed:.2f} of massdns' speed"] if speed < 1 else []
    return failures + ([f"lost and wrong: {tally['resolve']}"] if any(map(any, tally["resolve"])) else [])


def _chance(address: str) -> float:
    return chance(bytes(map(int, address.partition(":")[0].split("."))))


@click.command()
@click.option("--massdns", "program", help="The massdns binary.  [default: the one on PATH]")
@click.option("--words", "count", type=click.IntRange(2 * PARENTS), default=100_000, show_default=True)
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True, help="Pairs.")
def main(program: str | None, count: int, rounds: int) -> None:
    """Find the names that exist behind wildcards, and through nameservers that lie."""
    massdns = shutil.which(program or "massdns")
    if program is not None and massdns is None:
        raise click.BadParameter(f"{program} is no program", param_hint="--massdns")
    with tempfile.TemporaryDirectory(prefix="finding-") as name:
        failures = wildcards(Path(name), count)
        if massdns is None:
            click.echo("massdns is neither on PATH nor named with --massdns: left out")
        else:
            failures += beside_massdns(Path(name), count, massdns, rounds)
    verdict(failures)


if __name__ == "__main__":
    main()

"""How much longer `resolve --help` takes than a bare interpreter: what is imported before it is needed shows here."""

import statistics
import subprocess
import sys

import click

from benchmarks.measure import CHECKOUT, RESOLVE, child_environment, duel, quartiles, timed, verdict

LIMIT = 0.2
HELP = [*RESOLVE, "--help"]
BARE = [sys.executable, "-c", "pass"]


@click.command()
@click.option("--rounds", type=click.IntRange(1), default=20, show_default=True, help="Pairs.")
@click.option("--imports", type=click.IntRange(0), default=0, help="Also list so many of the slowest imports.")
def main(rounds: int, imports: int) -> None:
    """Compare `python -m resolver --help` with `python -c pass`."""
    found = duel(rounds, lambda: timed(HELP), lambda: timed(BARE))
    differences = [a.wall - b.wall for a, b in zip(found.ours, found.theirs, strict=True)]
    again = [a.wall - b.wall for a, b in zip(found.ours, found.control, strict=True)]
    for label, runs in ("resolve --help", found.ours), ("python -c pass", found.theirs):
        wall, cpu = [run.wall for run in runs], [run.cpu for run in runs]
        click.echo(f"{label:<17} {quartiles(wall, '.3f')} s   cpu {quartiles(cpu, '.3f')} s")
    click.echo(f"difference        {quartiles(differences, '.3f')} s, at most {LIMIT} is allowed")
    click.echo(f"of itself         {quartiles(again, '.3f')} s")
    if imports:
        show_slowest_imports(imports)
    median = statistics.median(differences)
    verdict([] if median <= LIMIT else [f"resolve --help takes {median:.3f} s more than a bare interpreter"])


def show_slowest_imports(count: int) -> None:
    """Print the modules that cost most by themselves, with what each brought in, in milliseconds."""
    command = [sys.executable, "-X", "importtime", *HELP[1:]]
    done = subprocess.run(command, cwd=CHECKOUT, env=child_environment(), capture_output=True, text=True, check=True)
    rows = []
    for line in done.stderr.splitlines():
        own, _, rest = line.removeprefix("import time:").partition("|")
        total, _, module = rest.partition("|")
        if own.strip().isdigit():  # not so in the heading
            rows.append((int(own) / 1000, int(total) / 1000, module.strip()))
    click.echo("\n    own   total  milliseconds")
    for own_time, total_time, module in sorted(rows, reverse=True)[:count]:
        click.echo(f"{own_time:7.1f} {total_time:7.1f}  {module}")


if __name__ == "__main__":
    main()

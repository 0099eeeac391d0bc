"""The engine `redis` with real workers and a real Redis: what it costs, whether two do twice as much, what it holds.

    overhead   one worker of one slot, and the same engine without it, on the same nameserver, in turns: processor time
    scaling    two workers and one, each bounded to a number of lookups in flight, on a nameserver 20 ms away
    memory     coordinator, worker and Redis over two million lines from a pipe
    traffic    commands, octets and processor time, for each 1,000 hosts

Redis and workers are there before a run begins, as they are on machines of their own; the coordinator's start-up is its
own. Two figures are given where that matters: of the whole process, and of the run without its start (the summary's).
"""

import statistics
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import click
import msgspec

from benchmarks.cluster import Cluster, cluster, on_cores, seconds_of
from benchmarks.measure import (
    Timing,
    check,
    duel,
    microseconds,
    resolve_answers,
    resolve_command,
    timed,
    verdict,
)
from benchmarks.memory import FLAT_FROM, GROWTH, MEGABYTE, Sample, describe, resident, watch
from benchmarks.nameserver import NAMES, Nameserver, host_address, serve, write_hosts
from resolver.lab import Lab

WORKER_LIMIT = 1.3  # times the processor time of the engine alone
COORDINATOR_LIMIT = 2.5  # microseconds of processor time for a lookup
SCALING_LIMIT = 1.9
LATENCY = 0.02
IN_FLIGHT = 100
SLACK = 8 * MEGABYTE  # a chunk more or less on its way
FIFTH = 5  # memory is flat where the last of so many parts has what the first had


class _Summary(msgspec.Struct):
    seconds: float


class Contest:
    """One list, the runs over it, and what was answered wrongly."""

    def __init__(self, directory: Path, hosts: int) -> None:
        self.hosts = hosts
        self.faults: list[str] = []
        self._directory = directory
        self._list = directory / "hosts.txt"
        write_hosts(self._list, hosts)

    def run(self, label: str, server: Nameserver, *options: str) -> Timing:
        """One run of `resolve` with these options, timed; every answer is checked."""
        output, summary = self._directory / "resolve.jsonl", self._directory / "summary.json"
        command = resolve_command(self._list, server, output, "--summary", str(summary), *options)
        timing = timed(command, self.hosts, output)
        checked = check(self._answers(output, server), self.hosts)
        if not checked.perfect:
            self.faults.append(f"{label}: {checked}")
        seconds = msgspec.json.decode(summary.read_bytes(), type=_Summary).seconds
        output.unlink()
        return replace(timing, working=seconds)

    def compare(
        self, rounds: int, labels: tuple[str, str], first: Callable[[], Timing], second: Callable[[], Timing]
    ) -> tuple[float, float]:
        """Run both in pairs and print the figures; the medians of the ratios of speed, whole and without the start."""
        found = duel(rounds, first, second)
        found.show(*labels)
        bare = found.without_start
        bare.show(*(f"{label}, no start" for label in labels))
        return statistics.median(found.speed), statistics.median(bare.speed)

    @staticmethod
    def _answers(output: Path, server: Nameserver) -> Iterator[tuple[int, str | None]]:
        """A lab has addresses of its own, always the same for a name: there, any one is right."""
        for index, address in resolve_answers(output):
            yield index, address if server.names or address is None else host_address(index)


def overhead(directory: Path, hosts: int, rounds: int, engine: str) -> list[str]:
    """One worker beside the local engine, by the processor time of each process.

    On cores that five processes share, the clock says little about the work.
    """
    coordinator: list[float] = []
    redis: list[float] = []
    (directory / "one").mkdir()
    with serve() as server, cluster(1, "-e", engine) as around:
        contest, one = Contest(directory, hosts), Contest(directory / "one", 1)
        options = ("-e", "redis", "--redis", around.url)

        def remote() -> Timing:
            before = _traffic(around)
            timing = contest.run("redis, one worker", server, *options)
            after = _traffic(around)
            coordinator.append(timing.cpu)
            redis.append(after["redis"] - before["redis"])
            return replace(timing, cpu=after["worker"] - before["worker"])

        remote()
        starts = [one.run("redis", server, *options).cpu for _ in range(rounds)]
        start = statistics.median(one.run(engine, server, "-e", engine).cpu for _ in range(rounds))

        def local() -> Timing:
            timing = contest.run(engine, server, "-e", engine)
            return replace(timing, cpu=timing.cpu - start)

        found = duel(rounds, remote, local)
    found.show("worker", f"{engine}, no start", f"at most {WORKER_LIMIT} times its processor time is asked")
    nothing = [0.0] * rounds
    cost = microseconds(coordinator, starts, hosts)
    click.echo(
        f"overhead: a lookup is {cost:.2f} µs in the coordinator, at most {COORDINATOR_LIMIT} are asked; "
        f"{microseconds([run.cpu for run in found.ours], nothing, hosts):.2f} in the worker, "
        f"{microseconds(redis, nothing, hosts):.2f} in the Redis, "
        f"{microseconds([run.cpu for run in found.theirs], nothing, hosts):.2f} in {engine}\n"
    )
    failures = contest.faults + one.faults
    if (ratio := statistics.median(found.processor)) > WORKER_LIMIT:
        failures.append(f"overhead: {ratio:.2f} times the processor time of {engine} in the worker, not {WORKER_LIMIT}")
    if cost > COORDINATOR_LIMIT:
        failures.append(f"overhead: {cost:.2f} µs of a lookup in the coordinator, not {COORDINATOR_LIMIT}")
    return failures


def scaling(directory: Path, hosts: int, rounds: int, engine: str) -> list[str]:
    """Two workers beside one. What is compared is the run without its start, which is the same for both."""
    bound = ("-e", engine, "--concurrency", str(IN_FLIGHT))
    with on_cores(2), Lab(latency=LATENCY) as lab, cluster(1, *bound) as one, cluster(2, *bound) as two:
        address, _, port = lab.nameserver.rpartition(":")
        server = Nameserver(address, int(port), 0)
        contest = Contest(directory, hosts)
        whole, bare = contest.compare(
            rounds,
            ("two workers", "one worker"),
            lambda: contest.run("two workers", server, "-e", "redis", "--redis", two.url),
            lambda: contest.run("one worker", server, "-e", "redis", "--redis", one.url),
        )
    most = IN_FLIGHT / LATENCY
    click.echo(f"scaling: {bare:.2f} times one worker, {whole:.2f} with the start; at least {SCALING_LIMIT} is asked")
    click.echo(f"         {IN_FLIGHT} in flight, {1000 * LATENCY:.0f} ms: a worker can make {most:,.0f} lookups/s\n")
    met = bare >= SCALING_LIMIT
    return contest.faults + ([] if met else [f"scaling: {bare:.2f} times one worker, not {SCALING_LIMIT}"])


def memory(directory: Path, hosts: int, _rounds: int, engine: str) -> list[str]:
    """Measure what each process holds, from the first 200,000 results on (of fewer hosts: from the first tenth on)."""
    output = directory / "resolve.jsonl"
    with serve() as server, cluster(1, "-e", engine) as around:
        others: dict[str, list[Sample]] = {"worker": [], "redis": [], "redis, used": []}

        def also(seconds: float, results: int) -> None:
            held = {
                "worker": resident(around.workers[0]),
                "redis": resident(around.server),
                "redis, used": (around.info("memory")["used_memory"], 1),
            }
            for name, (octets, processes) in held.items():
                others[name].append(Sample(seconds, results, octets, processes))

        command = resolve_command("-", server, output, "-e", "redis", "--redis", around.url)
        samples = {"coordinator": watch(command, output, hosts, also), **others}
    checked = check(resolve_answers(output), hosts)
    output.unlink()
    click.echo(f"memory over {hosts:,} lines: {checked}")
    flat_from = min(FLAT_FROM, hosts // 10)
    failures = [] if checked.perfect else [f"memory: {checked}"]
    for name, its in samples.items():
        failures += judge(name, [each for each in its if each.results >= flat_from])
    click.echo()
    return failures


def judge(name: str, settled: list[Sample]) -> list[str]:
    """Print what a process held, and return the limit that was not met: the last part holds no more than the first."""
    part = len(settled) // FIFTH
    if not part:
        return [f"memory of {name}: too few samples, give it more hosts"]
    first = statistics.median(each.resident for each in settled[:part])
    last = statistics.median(each.resident for each in settled[-part:])
    click.echo(f"{name:<12} {first / MEGABYTE:6.1f} MB in the first fifth, {last / MEGABYTE:6.1f} MB in the last")
    click.echo(f"{'':<12} highest {describe(max(settled, key=lambda sample: sample.resident))}")
    if last <= max(GROWTH * first, first + SLACK):
        return []
    return [f"memory of {name} grows to {last / first:.2f} times what it was, {GROWTH} is asked"]


def traffic(directory: Path, hosts: int, _rounds: int, engine: str) -> list[str]:
    """Count what a run asks of the Redis, and of every process."""
    with serve() as server, cluster(1, "-e", engine) as around:
        contest = Contest(directory, hosts)
        contest.run("redis", server, "-e", "redis", "--redis", around.url)
        (directory / "one").mkdir()
        start = Contest(directory / "one", 1).run("redis", server, "-e", "redis", "--redis", around.url)
        before = _traffic(around)
        timing = contest.run("redis", server, "-e", "redis", "--redis", around.url)
        after = _traffic(around)
    thousands = hosts / 1000
    found = {name: (value - before.get(name, 0)) / thousands for name, value in after.items()}
    commands = {name: count for name, count in found.items() if name.startswith("cmdstat_") and count > 0}
    chunks = commands["cmdstat_lpush"] * thousands
    click.echo(
        f"traffic of {hosts:,} hosts in {chunks:,.0f} chunks, {timing.rate:,.0f} lookups/s; for each 1,000 hosts:"
    )
    ordered = sorted(commands.items(), key=lambda item: -item[1])
    listed = ", ".join(f"{name.removeprefix('cmdstat_')} {count:.2f}" for name, count in ordered)
    click.echo(f"commands     {sum(commands.values()):.2f}: {listed}")
    click.echo(f"octets       {found['in']:,.0f} into the Redis, {found['out']:,.0f} out of it")
    each = (timing.cpu - start.cpu) / thousands
    click.echo(
        f"processor    coordinator {1000 * each:.1f} ms, and {start.cpu:.2f} s to start; worker "
        f"{1000 * found['worker']:.1f} ms, redis {1000 * found['redis']:.1f} ms\n"
    )
    return contest.faults


def _traffic(around: Cluster) -> dict[str, float]:
    """The Redis's and the worker's counters."""
    commands = {name: float(told["calls"]) for name, told in around.info("commandstats").items()}
    octets, used = around.info("stats"), around.info("cpu")
    return {
        **commands,
        "in": octets["total_net_input_bytes"],
        "out": octets["total_net_output_bytes"],
        "redis": used["used_cpu_sys"] + used["used_cpu_user"],
        "worker": sum(map(seconds_of, around.workers)),
    }


# Each part, and its hosts where the command does not say.
PARTS: dict[str, tuple[Callable[[Path, int, int, str], list[str]], int]] = {
    "overhead": (overhead, 200_000),
    "scaling": (scaling, 100_000),
    "memory": (memory, 2_000_000),
    "traffic": (traffic, 200_000),
}


@click.command()
@click.argument("parts", nargs=-1, type=click.Choice(list(PARTS)))
@click.option("-e", "--engine", default="gevent", show_default=True, help="Of the worker, and beside it.")
@click.option("--hosts", type=click.IntRange(1_000), help="In each part; above 500,000 for memory only.")
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True, help="Pairs, where two are compared.")
def main(parts: tuple[str, ...], engine: str, hosts: int | None, rounds: int) -> None:
    """Measure the engine `redis`: all PARTS, or those that are named."""
    failures = []
    for part in parts or PARTS:
        measure, usual = PARTS[part]
        count = hosts or usual
        with tempfile.TemporaryDirectory(prefix="distributed-") as name:
            failures += measure(Path(name), count if part == "memory" else min(count, NAMES), rounds, engine)
    verdict(failures)


if __name__ == "__main__":
    main()

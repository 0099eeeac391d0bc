"""Lookups of nameservers, kernels and networks that misbehave, at the size at which each was met.

One line a case: what was asked, what became of it, how long it took, how many queries a lookup cost, and the limit.
The nameservers are those of the tests (tests/scripted.py), the kernel's refusals come from tests/refusals.c. A case
ends after `--patience` seconds; what is not done then is DEADLINE.
"""

from __future__ import annotations

import errno
import fnmatch
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import click
import msgspec
import trustme

from benchmarks.measure import CHECKOUT, RESOLVE, child_environment, verdict

sys.path.insert(0, str(CHECKOUT / "tests"))

from plain_client import plain_client  # the tests' modules stand in a directory, not in a package
from refusals import compile_into, settings
from scripted import FATES, Restart, Scripted, Stream, Udp, names

TRUNCATING = Udp(reply="truncated")
WAYS = ("udp", "tcp", "tls")
MEGABYTE = 1_000_000


@dataclass
class Outcome:
    """Outcome of a case. `seconds`: of all of the command; `peak`: octets of its resident memory."""

    statuses: Counter[str]
    errors: Counter[str]
    seconds: float
    queries: int
    peak: int
    slowest: float
    processor: float


@dataclass
class Limit:
    """Limits of a case: a share of NOERROR, statuses that must not occur, seconds, octets, queries a lookup.

    ideal: seconds for all lookups at best, besides what the command takes for one with the same words; `times` so much.
    """

    share: float = 1.0
    never: tuple[str, ...] = ()
    seconds: float | None = None
    peak: int | None = None
    slowest: float | None = None
    queries: float | None = None
    ideal: float | None = None
    times: float = 1.0

    def missed(self, outcome: Outcome) -> list[str]:
        """Return what was not met, in words."""
        total = outcome.statuses.total()
        found = [f"{outcome.statuses[each]} {each}" for each in self.never if outcome.statuses[each]]
        if outcome.statuses["NOERROR"] < self.share * total:
            found.append(f"{outcome.statuses['NOERROR'] / total:.2%} NOERROR")
        if self.seconds is not None and outcome.seconds > self.seconds:
            found.append(f"{outcome.seconds:.1f} s")
        if self.peak is not None and outcome.peak > self.peak:
            found.append(f"{outcome.peak / MEGABYTE:.0f} MB")
        if self.slowest is not None and outcome.slowest > self.slowest:
            found.append(f"a lookup of {outcome.slowest:.1f} s")
        if self.queries is not None and outcome.queries > self.queries * total:
            found.append(f"{outcome.queries / total:.2f} queries a lookup")
        return found

    def __str__(self) -> str:
        parts = [f"{self.share:.2%} NOERROR"] if self.share else []
        parts += [f"no {each}" for each in self.never]
        parts += [] if self.seconds is None else [f"{self.seconds:.1f} s"]
        parts += [] if self.peak is None else [f"{self.peak / MEGABYTE:.0f} MB"]
        parts += [] if self.slowest is None else [f"each in {self.slowest:.1f} s"]
        parts += [] if self.queries is None else [f"{self.queries:.2f} queries"]
        return ", ".join(parts)


@dataclass
class Case:
    """A nameserver and what is asked of it."""

    name: str
    lookups: int
    limit: Limit = field(default_factory=Limit)
    udp: Udp = field(default_factory=Udp)
    stream: Stream = field(default_factory=Stream)
    way: str = "udp"
    words: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    nameservers: int = 0  # of one that is everywhere
    alike: int = 1  # nameservers of this kind
    beside_closed: bool = False  # and one more, whose port is closed
    descriptors: int | None = None
    sends: tuple[int, float] = (0, 0.0)
    reads: tuple[int, float] = (0, 0.0)
    away: float | None = 0.0  # seconds; None: for good
    closed: bool = False  # from the start


class _Line(msgspec.Struct):
    status: str
    attempts: int | None
    elapsed: float | None
    error: str | None


class Bench:
    """Runs cases, each with a nameserver of its own and the command in a process of its own."""

    def __init__(self, directory: Path, patience: float) -> None:
        self._directory, self._patience = directory, patience
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(directory / "authority.pem"))
        authority.issue_cert("127.0.0.1", "127.53.0.53").private_key_and_cert_chain_pem.write_to_path(
            str(directory / "both.pem")
        )
        try:
            self._library: Path | None = compile_into(directory)
        except OSError as error:
            click.echo(f"{error}; cases 2 are left out")
            self._library = None
        self._starts: dict[tuple[str, ...], float] = {}

    def able(self, case: Case) -> bool:
        """Is everything here that the case needs?"""
        return self._library is not None or not (case.sends[0] or case.reads[0])

    def run(self, case: Case) -> tuple[Outcome, Limit]:
        """Run it; what became of it, and its limit."""
        hosts, output = self._directory / "hosts", self._directory / "results.jsonl"
        hosts.write_text("\n".join(names(case.lookups, *case.labels)))
        stream = case.stream
        if case.way == "tls":
            stream = Stream(**{**vars(stream), "certificate": str(self._directory / "both.pem")})
        limit = case.limit
        if limit.ideal is not None:
            limit = Limit(**{**vars(limit), "seconds": limit.times * (limit.ideal + self._start(case.words))})
        with Scripted(case.udp, stream) as server, ExitStack() as others:
            if case.labels or stream.mixed:
                _, plainly = plain_client(names(case.lookups, *case.labels), server.port, 2.0)
                limit = Limit(**{**vars(limit), "seconds": plainly + 0.5})
            if case.closed:
                server.close()
            addresses = server.addresses(case.nameservers) or [server.over(case.way)]
            addresses += [others.enter_context(Scripted(case.udp, stream)).over(case.way) for _ in range(1, case.alike)]
            if case.beside_closed:
                closed = others.enter_context(Scripted())
                closed.close()
                addresses.append(closed.over(case.way))
            (self._directory / "nameservers").write_text("\n".join(addresses))
            return self._command(case, server, hosts, output), limit

    def _start(self, words: tuple[str, ...]) -> float:
        """Return the seconds that the command takes for one lookup with these words."""
        if words not in self._starts:
            hosts, output = self._directory / "one-host", self._directory / "one-result"
            hosts.write_text("\n".join(names(1)))
            with Scripted() as server:
                (self._directory / "nameservers").write_text(server.udp)
                self._starts[words] = self._command(Case("one", 1, words=words), server, hosts, output).seconds
        return self._starts[words]

    def _command(self, case: Case, server: Scripted, hosts: Path, output: Path) -> Outcome:
        nameserver = f"@{self._directory / 'nameservers'}"
        command = [*RESOLVE, "run", str(hosts), "-n", nameserver, "-f", "jsonl", "-o", str(output), "-q", *case.words]
        command += ["--timeout", str(self._patience)]
        if case.way == "tls":
            command += ["--tls-ca", str(self._directory / "authority.pem")]
        env = child_environment()
        if self._library is not None and (case.sends[0] or case.reads[0]):
            env |= settings(self._library, server.port, case.sends, case.reads)

        def limit() -> None:
            if case.descriptors is not None:
                resource.setrlimit(resource.RLIMIT_NOFILE, (case.descriptors, case.descriptors))

        began = time.monotonic()
        with Restart(server, case.away, 2000) if case.away != 0.0 else nullcontext():
            process = subprocess.Popen(
                command, cwd=CHECKOUT, env=env, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, preexec_fn=limit
            )
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.monotonic() - began
        lines = [msgspec.json.decode(line, type=_Line) for line in output.read_bytes().splitlines()]
        return Outcome(
            Counter(line.status for line in lines),
            Counter(line.error for line in lines if line.error and line.status != "NOERROR"),
            seconds,
            sum(line.attempts or 0 for line in lines),
            usage.ru_maxrss * 1024,
            max((line.elapsed or 0.0 for line in lines), default=0.0),
            usage.ru_utime + usage.ru_stime,
        )


def cases(full: bool) -> Iterator[Case]:
    """Every case, in the order of the issues that they come from; with `full`, those that take minutes too."""
    yield from streams(full)
    yield from refusals()
    yield from flows()
    yield from far()
    yield from shared(full)
    yield from many()
    yield Case("7 closed for 3 s", 30_000, Limit(0, ("ERROR",)), words=("--rate", "4000"), away=3.0)
    yield Case(
        "7 closed for good", 8_000, Limit(0, (), 2 + 4.5 * (1 + 6), slowest=4.0), words=("--rate", "4000"), away=None
    )


def streams(full: bool) -> Iterator[Case]:
    """Connections that misbehave: over TCP after truncation, over tcp://, over tls://."""

    def case(name: str, lookups: int, limit: Limit, ways: tuple[str, ...] = WAYS, **faults: object) -> Iterator[Case]:
        for way in ways:
            stream = Stream(**faults)  # type: ignore[arg-type]  # its fields
            yield Case(f"{name}, {way}", lookups, limit, TRUNCATING, stream, way)

    for answers in (1, 50, 100):
        yield from case(f"1a silent after {answers}", 300, Limit(seconds=3.5 + 0.5), answers=(answers,))
    yield from case("1b closes after 100, 20 ms", 3000, Limit(seconds=2.0), queries=(100,), latency=0.02)
    yield from case("1b and loses 1 %", 3000, Limit(seconds=6.0), queries=(100,), latency=0.02, lost=0.01)
    yield from case("1b closes after 1, 5 ms", 1000, Limit(seconds=4.0), queries=(1,), latency=0.005)
    yield from case("1c one by one, 5 ms each", 2000, Limit(), service=0.005)
    limited = Udp(whole_a_second=200, latency=0.01)
    yield Case("1c limits its replies, TCP 10 ms each", 3000, Limit(), limited, Stream(service=0.01))
    yield Case("1c limits its replies, TCP 10 ms away", 3000, Limit(), limited, Stream(latency=0.01))
    yield from case("1d first message of a read", 300, Limit(), first_of_read=True)
    for way in WAYS:
        words = ("--tries", "1", "--query-timeout", "0.1")
        limit = Limit(0, ("ERROR", "DEADLINE"), peak=120 * MEGABYTE)
        yield Case(f"1e never read, {way}", 100_000, limit, TRUNCATING, Stream(unread=True), way, words)
    once = ("--tries", "1")
    for way in ("udp", "tcp"):
        mixed, named = Stream(mixed=True), Stream(by_name=True)
        yield Case(f"1f by chance, {way}", 500, Limit(0.2), TRUNCATING, mixed, way, once)
        yield Case(f"1f by name, {way}", 500, Limit(0.25), TRUNCATING, named, way, once, FATES)
        yield Case(f"1f by name, no silence, {way}", 500, Limit(0.5), TRUNCATING, named, way, once, ("ok", "close"))
        if full:
            yield Case(f"1f by chance, {way}", 20_000, Limit(0.2), TRUNCATING, mixed, way, once)


def refusals() -> Iterator[Case]:
    """A kernel that says no now and then, and one that says so from the start."""
    far = Udp(latency=0.02)
    for number in (errno.EPERM, errno.EACCES, errno.ENOBUFS):
        for share in (0.005, 0.05, 0.1):
            yield Case(f"2 {errno.errorcode[number]} of {share:.1%} of sends", 3000, udp=far, sends=(number, share))
    for share in (0.01, 0.05):
        reads = (errno.ECONNREFUSED, share)
        yield Case(f"2 ECONNREFUSED of {share:.1%} of reads", 3000, udp=far, reads=reads)
        yield Case("2 the same, --rate 4000", 3000, udp=far, reads=reads, words=("--rate", "4000"))
    yield Case("2 closed from the start", 3000, Limit(0, ("TIMEOUT",), slowest=0.9), closed=True)


def flows() -> Iterator[Case]:
    """Source ports that are pinned to what is dead."""
    for name, udp in {
        "the first port": Udp(dead="first"),
        "one of four ports": Udp(dead="fourth"),
        "a quarter, by hash": Udp(dead="hashed"),
        "silent after 20": Udp(replies_a_port=20),
    }.items():
        for lookups in (1, 3000):
            yield Case(f"3 {name}", lookups, udp=udp)


def far() -> Iterator[Case]:
    """A long round trip and no loss: at most twice the time of a window that is always full, which takes three."""
    for trip, words in [
        *((trip, ()) for trip in (0.45, 0.55, 0.8, 1.2, 2.5)),
        (0.1, ("--query-timeout", "0.3")),
    ]:
        limit = Limit(ideal=3 * trip, times=2)
        yield Case(f"4 {trip} s away {' '.join(words)}", 3000, limit, Udp(latency=trip), words=words)


def shared(full: bool) -> Iterator[Case]:
    """Nameservers that take less than is asked, and all processes of a run ask them."""
    slow = Udp(service=1 / 600, queue=100, latency=0.01)
    for engine in ("gevent", "asyncio", "threads", "twisted", "processes", "redis"):
        limit = Limit(queries=1.25, ideal=3000 / 600, times=1.5)
        yield Case(f"5 600 queries a second, {engine}", 3000, limit, slow, words=("--engine", engine))
    usual = Udp(service=1 / 3000, queue=100, latency=0.02, jitter=0.01, lost=0.01)
    for engine, runs in (("gevent", 20), ("processes", 5)):
        for _ in range(runs if full else 1):
            name, words = f"5 three of 3,000 a second, one closed, {engine}", ("--engine", engine)
            yield Case(name, 20_000, udp=usual, words=words, alike=3, beside_closed=True)


def many() -> Iterator[Case]:
    """Many nameservers, few descriptors."""
    everywhere, partly = Udp(everywhere=True), Udp(everywhere=True, silent=0.3, refused=0.2)
    for nameservers in (2000, 10_000):
        for descriptors in (256, 1024, None):
            name = f"6 {nameservers} nameservers, {descriptors or 'unlimited'} descriptors"
            yield Case(name, 20_000, udp=everywhere, nameservers=nameservers, descriptors=descriptors)
    for descriptors in (256, None):
        name = f"6 2000, half of them bad, {descriptors or 'unlimited'}"
        yield Case(name, 20_000, Limit(0.9995), partly, nameservers=2000, descriptors=descriptors)
    words = ("--concurrency", "1")
    for nameservers in (30, 3000):
        yield Case(
            f"6 {nameservers} nameservers, one by one", 500, udp=everywhere, nameservers=nameservers, words=words
        )


@click.command()
@click.option("--case", "patterns", multiple=True, help="Only those whose name matches, such as '1b*'; repeatable.")
@click.option("--full", is_flag=True, help="Also what takes minutes by itself.")
@click.option("--patience", type=float, default=60.0, show_default=True, help="Seconds until a case is given up.")
def main(patterns: tuple[str, ...], full: bool, patience: float) -> None:
    """Look hosts up where nameservers, kernel and network misbehave, and compare with what is asked of each case."""
    failures = []
    click.echo(f"{'case':<52} {'lookups':>7} {'s':>6} {'cpu':>6} {'MB':>4} {'queries':>7}  statuses; limit")
    with tempfile.TemporaryDirectory(prefix="misbehaving-") as name:
        bench = Bench(Path(name), patience)
        for case in cases(full):
            wanted = not patterns or any(fnmatch.fnmatch(case.name, pattern) for pattern in patterns)
            if not wanted or not bench.able(case):
                continue
            outcome, limit = bench.run(case)
            missed = limit.missed(outcome)
            failures += [f"{case.name}: {each}" for each in missed]
            statuses = " ".join(f"{status} {number}" for status, number in outcome.statuses.most_common())
            click.echo(
                f"{case.name:<52} {case.lookups:>7} {outcome.seconds:>6.2f} {outcome.processor:>6.2f} "
                f"{outcome.peak / MEGABYTE:>4.0f} {outcome.queries / case.lookups:>7.2f}  {statuses}; "
                f"{limit}{' MISSED' if missed else ''}"
            )
    verdict(failures)


if __name__ == "__main__":
    main()

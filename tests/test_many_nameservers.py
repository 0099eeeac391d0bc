"""Thousands of nameservers, few descriptors: none fails for want of a socket, and those that fail are left.

One process answers on all addresses of 127.0.0.0/8 (scripted.py). Descriptors are counted by the kernel, so most of
this is the command, in a process that may have so many.
"""

import resource
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from subprocess import DEVNULL

import pytest
from command import Done, end, environment, start, wait_for
from scripted import Scripted, Udp, names

from resolver import resolve
from resolver.engines import pairs

WIRE = [each.engine for each in pairs() if each.backend == "wire"]


@pytest.fixture(scope="module")
def everywhere() -> Iterator[Scripted]:
    """Nameservers that all answer."""
    with Scripted(Udp(everywhere=True)) as server:
        yield server


@pytest.fixture(scope="module")
def partly() -> Iterator[Scripted]:
    """Nameservers of which 30 in 100 are silent, and 20 in 100 say REFUSED."""
    with Scripted(Udp(everywhere=True, silent=0.3, refused=0.2)) as server:
        yield server


class Limited:
    """Runs the command with so many nameservers and descriptors."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def words(self, server: Scripted, nameservers: int, lookups: int) -> list[str | Path]:
        """What it is told."""
        (self._directory / "nameservers").write_text("\n".join(server.addresses(nameservers)))
        (self._directory / "hosts").write_text("\n".join(names(lookups)))
        return [self._directory / "hosts", "-n", f"@{self._directory / 'nameservers'}", "-f", "jsonl"]

    def __call__(self, server: Scripted, nameservers: int, lookups: int, soft: int, hard: int, *words: str) -> Done:
        """How it ends, with these limits."""

        def limit() -> None:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

        arguments = self.words(server, nameservers, lookups)
        with start(*arguments, *words, env=environment(), preexec_fn=limit, stdin=DEVNULL) as process:
            try:
                return end(process)
            finally:
                process.kill()


@pytest.fixture
def limited(tmp_path: Path) -> Limited:
    """The command with few descriptors."""
    return Limited(tmp_path)


def statuses(done: Done) -> Counter[tuple[str, str | None]]:
    """How many ended in which way, for which reason."""
    return Counter((each["status"], each["error"]) for each in done.results)


@pytest.mark.parametrize(("nameservers", "descriptors"), [(300, 64), (300, 256), (2000, 64), (2000, 1024)])
def test_more_nameservers_than_descriptors(
    limited: Limited, everywhere: Scripted, nameservers: int, descriptors: int
) -> None:
    """However few descriptors there may be, all lookups are answered."""
    done = limited(everywhere, nameservers, 2000, descriptors, descriptors)
    assert {("NOERROR", None): 2000} == statuses(done)
    assert 0 == done.status


def test_ten_thousand_nameservers(limited: Limited, everywhere: Scripted) -> None:
    """A list of 10,000 works with 256 descriptors, and more of them are asked than fit into those at once."""
    done = limited(everywhere, 10_000, 5000, 256, 256)
    assert {("NOERROR", None): 5000} == statuses(done)
    assert len({each["nameserver"] for each in done.results}) > 256


@pytest.mark.parametrize("engine", WIRE)
def test_few_descriptors_on_every_engine(limited: Limited, everywhere: Scripted, engine: str) -> None:
    """The same on every engine, whatever descriptors of its own it needs."""
    done = limited(everywhere, 500, 1000, 128, 128, "-e", engine)
    assert {("NOERROR", None): 1000} == statuses(done)


def test_silent_nameservers_with_few_descriptors(limited: Limited, partly: Scripted) -> None:
    """Where half of 1,000 nameservers answer, 256 descriptors are enough to find them."""
    done = limited(partly, 1000, 3000, 256, 256, "--query-timeout", "0.8")
    found = statuses(done)
    assert [] == [each for each in found if each[0] == "ERROR"]
    assert found["NOERROR", None] >= 0.9995 * 3000


@pytest.mark.parametrize("nameservers", [10, 100, 1000])
def test_silent_and_refusing_nameservers(partly: Scripted, nameservers: int) -> None:
    """Of nameservers 30 % are silent and 20 % say REFUSED: lookups do not spend all their tries on those."""
    run = resolve(names(4000), nameservers=partly.addresses(nameservers), query_timeout=0.8)
    assert run.summary.statuses.get("NOERROR", 0) >= 0.9995 * 4000


def test_the_soft_limit_is_raised(limited: Limited, everywhere: Scripted) -> None:
    """The command raises its soft limit to the hard one."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (128, 4096))

    words = limited.words(everywhere, 10, 1000)
    with start(*words, "--rate", "500", env=environment(), preexec_fn=limit, stdin=DEVNULL) as process:
        limits = Path(f"/proc/{process.pid}/limits")

        def soft() -> bool:
            [line] = [each for each in limits.read_text().splitlines() if each.startswith("Max open files")]
            return "4096" == line.split()[3]

        try:
            wait_for(lambda: everywhere.counts().udp, "queries")
            wait_for(soft, "the soft limit", 1.5)
        finally:
            process.kill()


def test_the_library_leaves_the_limit_alone(everywhere: Scripted) -> None:
    """A program that looks hosts up keeps its own limit."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resolve(names(100), nameservers=everywhere.addresses(50))
    assert before == resource.getrlimit(resource.RLIMIT_NOFILE)


def test_nameservers_that_are_not_in_use_cost_nothing(everywhere: Scripted) -> None:
    """Lookups one after the other, each at another nameserver, do about as much for 3,000 of them as for 300."""

    def calls(nameservers: int, lookups: int) -> int:
        """How many functions were called."""
        addresses, called = everywhere.addresses(nameservers), 0

        def note(_frame: object, event: str, _what: object) -> None:
            nonlocal called
            called += event in ("call", "c_call")

        sys.setprofile(note)
        try:
            run = resolve(names(lookups), nameservers=addresses, concurrency=1, engine="threads")
        finally:
            sys.setprofile(None)
        assert {"NOERROR": lookups} == run.summary.statuses
        return called

    few, many = (calls(nameservers, 300) - calls(nameservers, 100) for nameservers in (300, 3000))
    assert many < 2 * few

"""A kernel that refuses a send or a read now and then: what the errno was about, it may cost that, and nothing else.

EPERM and EACCES come from full tables of a firewall, ENOBUFS from a full queue, ECONNREFUSED from one of several
machines behind an address. A library that is loaded before the C library says them (refusals.c), so that it does not
matter by which call a datagram goes.
"""

import errno
from pathlib import Path
from typing import NamedTuple

import pytest
from command import Done, environment, run, second_look
from conftest import Ask, row
from refusals import compile_into, settings
from scripted import Counts, Scripted, Udp, names

from resolver import Result
from resolver.engines import pairs

WIRE = [each for each in pairs() if each.backend == "wire"]
NUMBER = 1500


@pytest.fixture(scope="session")
def refusals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library."""
    try:
        return compile_into(tmp_path_factory.mktemp("refusals"))
    except OSError as error:
        pytest.skip(str(error))


def name(value: float) -> str:
    """An errno or a share, as tests are named."""
    return errno.errorcode[value] if isinstance(value, int) else str(value)


class Seen(NamedTuple):
    """How the command ended, what the nameserver saw, and how many calls were refused."""

    done: Done
    counts: Counts
    refused: int

    @property
    def unlike(self) -> list[tuple[str, str | None]]:
        """What did not become NOERROR, and why."""
        return [(each["status"], each["error"]) for each in self.done.results if each["status"] != "NOERROR"]

    @property
    def attempts(self) -> int:
        """The queries that were sent."""
        return sum(each["attempts"] for each in self.done.results)


class Kernel:
    """Runs the command where such a share of sends and of reads is refused."""

    def __init__(self, library: Path, directory: Path) -> None:
        self._library = library
        self._log = directory / "refused"
        self._list = directory / "list"
        self._list.write_text("\n".join(names(NUMBER)))

    def __call__(self, *words: str, sends: tuple[int, float] = (0, 0), reads: tuple[int, float] = (0, 0)) -> Seen:
        # A little far, so that each socket has many queries in flight when one call fails.
        with Scripted(Udp(latency=0.02)) as server:
            env = environment(**settings(self._library, server.port, sends, reads, self._log))
            done = run(self._list, "-n", server.udp, "-f", "jsonl", *words, env=env)
            return Seen(done, server.counts(), self._log.stat().st_size if self._log.exists() else 0)


@pytest.fixture
def kernel(refusals: Path, tmp_path: Path) -> Kernel:
    """A kernel that can be told what to refuse."""
    return Kernel(refusals, tmp_path)


def test_a_kernel_that_refuses_nothing(kernel: Kernel) -> None:
    """Without refusals each lookup is one query: what the tests below see is the kernel's doing."""
    seen = kernel()
    assert [0, NUMBER, NUMBER] == [seen.refused, seen.attempts, seen.counts.udp]


@pytest.mark.parametrize(
    ("number", "share"),
    [(errno.EPERM, 0.02), (errno.EPERM, 0.1), (errno.EACCES, 0.05), (errno.ENOBUFS, 0.1)],
    ids=name,
)
def test_refused_sends(kernel: Kernel, number: int, share: float) -> None:
    """A send that is refused is made again: all lookups are answered, with hardly a query more."""
    # A few at a time, so that there are calls enough for the smallest share.
    seen = kernel("--rate", "4000", sends=(number, share))
    assert seen.refused > 0
    assert [] == seen.unlike
    assert seen.attempts <= 1.5 * NUMBER


def test_refused_batches(kernel: Kernel) -> None:
    """The same where many queries go out in one call."""
    seen = kernel(sends=(errno.EPERM, 0.3))
    assert seen.refused > 0
    assert [] == seen.unlike


@pytest.mark.parametrize(
    ("number", "share"),
    [(errno.ECONNREFUSED, 0.01), (errno.ECONNREFUSED, 0.1), (errno.EHOSTUNREACH, 0.05)],
    ids=name,
)
def test_refused_reads(kernel: Kernel, number: int, share: float) -> None:
    """An ICMP error that a read tells of takes none of the lookups down whose replies come all the same."""
    seen = kernel("--rate", "4000", reads=(number, share))
    assert seen.refused > 0
    assert [] == seen.unlike
    assert seen.attempts <= 1.5 * NUMBER


def test_refused_reads_at_full_speed(kernel: Kernel) -> None:
    """The same where hundreds are in flight."""
    seen = kernel(reads=(errno.ECONNREFUSED, 0.2))
    assert seen.refused > 0
    assert [] == seen.unlike


def test_refused_sends_and_reads(kernel: Kernel) -> None:
    """Both at once."""
    seen = kernel("--rate", "4000", sends=(errno.EPERM, 0.05), reads=(errno.ECONNREFUSED, 0.05))
    assert [] == seen.unlike


@pytest.mark.parametrize("engine", ["asyncio", "threads", "twisted", "processes"])  # workers run one of these
def test_refusals_on_every_engine(kernel: Kernel, engine: str) -> None:
    """It is the same on every engine, processes of its own included."""
    seen = kernel("-e", engine, "--rate", "4000", sends=(errno.EPERM, 0.02), reads=(errno.ECONNREFUSED, 0.02))
    assert seen.refused > 0
    assert [] == seen.unlike


@pytest.mark.parametrize("pair", WIRE, ids=row, indirect=True)
def test_a_port_that_was_never_open_is_told_at_once(ask: Ask) -> None:
    """Where a port is closed and has answered nothing in this run, that is ERROR within a fraction of a second."""
    with Scripted() as server:
        server.close()
        hosts = names(500)
        seen = second_look(lambda: ask(hosts, nameservers=server.udp), lambda seen: max_elapsed(seen) < 0.9)
    assert {"ERROR": 500} == seen.summary.statuses
    assert max_elapsed(seen) < 0.9
    assert {f"udp to {server.udp} failed: connection refused"} == {each.error for each in seen}


def max_elapsed(results: list[Result]) -> float:
    """The seconds of the slowest."""
    return max(each.elapsed or 0.0 for each in results)

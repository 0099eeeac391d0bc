"""`--trusted`: what the many found is asked once more of the few, on real authoritative servers that disagree."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from authoritative import knot
from command import environment, wait_for
from command import inside as command
from conftest import Ask
from msgspec import UnsetType

from resolver import resolve
from resolver.model import First, Status

SOA = "@ SOA ns hostmaster 1 3600 600 86400 300\n@ NS ns\nns A 192.0.2.1\n"


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """A nameserver that lies, and one that knows."""
    lies = f"{SOA}same A 192.0.2.7\nchanged A 192.0.2.66\n*.ghost A 192.0.2.66\nhidden TXT x\n"
    truth = f"{SOA}same A 192.0.2.7\nchanged A 192.0.2.8\nhidden A 192.0.2.9\n*.made A 192.0.2.10\n"
    lies += "a.made A 192.0.2.10\n"
    directory = tmp_path_factory.mktemp("trusted")
    with knot(directory / "lies", {"example": lies}) as liar, knot(directory / "truth", {"example": truth}) as honest:
        yield liar, honest


@pytest.fixture
def silent() -> Iterator[str]:
    """A nameserver that never says anything."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{udp.getsockname()[1]}"


NAMES = ["same.example", "changed.example", "a.ghost.example", "hidden.example", "missing.example"]


def test_verdicts(ask: Ask, servers: tuple[str, str]) -> None:
    """The verdict of the trusted nameserver is the result's, on every engine and backend; `first` shows the lie."""
    liar, honest = servers
    run = ask(NAMES, nameservers=liar, trusted=honest)

    def told(first: First | UnsetType | None) -> tuple[str | None, Status, list[str]] | None:
        return (first.nameserver, first.status, [each.data for each in first.answers]) if first else None

    assert [
        ("NOERROR", ["192.0.2.7"], honest, None),
        ("NOERROR", ["192.0.2.8"], honest, (liar, "NOERROR", ["192.0.2.66"])),
        ("NXDOMAIN", [], honest, (liar, "NOERROR", ["192.0.2.66"])),
        ("NODATA", [], liar, None),
        ("NXDOMAIN", [], liar, None),
    ] == [(each.status, each.addresses, each.nameserver, told(each.first)) for each in run]
    assert {"NOERROR": 2, "NODATA": 1, "NXDOMAIN": 2} == run.summary.statuses
    assert (5, 5) == (run.summary.lookups, run.summary.results_written)


def test_queries_are_counted(servers: tuple[str, str]) -> None:
    """A result that was asked twice was asked twice, of whomever."""
    liar, honest = servers
    run = resolve(NAMES, nameservers=liar, trusted=[honest])
    assert [2, 2, 2, 1, 1] == [result.attempts for result in run]
    assert 8 == run.summary.queries_sent


def test_nobody_trusted_answers(servers: tuple[str, str], silent: str) -> None:
    """Where no trusted nameserver answers, the first reply stands, and says so."""
    run = resolve(["same.example"], nameservers=servers[0], trusted=silent, tries=1, query_timeout=0.2)
    (result,) = run
    error = "no trusted nameserver answered: no valid reply in 1 try"
    assert (Status.NOERROR, ["192.0.2.7"], error, None) == (result.status, result.addresses, result.error, result.first)


def test_deadline(servers: tuple[str, str], silent: str) -> None:
    """At the deadline the first replies are kept, each says so, and the summary says what ended the run."""
    run = resolve(["same.example"] * 50, nameservers=servers[0], trusted=silent, timeout=0.5)
    assert ({"NOERROR": 50}, "deadline", True) == (run.summary.statuses, run.summary.ended, run.summary.seconds < 3)
    assert {"the run ended before a trusted nameserver answered"} == {str(result.error) for result in run}


def test_resume(servers: tuple[str, str], silent: str, tmp_path: Path) -> None:
    """A first reply that the run's end left without a verdict is not done: the run that goes on asks for it."""
    liar, honest = servers
    file = tmp_path / "results.jsonl"
    words: list[str | Path] = [*NAMES, "-n", liar, "-o", file, "--resume", "-q"]
    begun = command(*words, "--trusted", silent, "--timeout", "1")
    first = [each["answers"][0]["data"] for each in jsonl(file) if each["status"] == "NOERROR"]
    assert (3, ["192.0.2.7", "192.0.2.66", "192.0.2.66"]) == (begun.status, first)
    assert 3 == command(*words, "--trusted", silent, "--timeout", "1").status
    done = command(*words, "--trusted", honest, "--summary", tmp_path / "summary")
    figures = json.loads((tmp_path / "summary").read_text())
    assert (0, 6, {"NOERROR": 2, "NODATA": 1, "NXDOMAIN": 2}) == (
        done.status,
        figures["queries_sent"],
        figures["statuses"],
    )
    assert [
        ("NOERROR", honest, None),
        ("NOERROR", honest, liar),
        ("NXDOMAIN", honest, liar),
        ("NODATA", liar, None),
        ("NXDOMAIN", liar, None),
    ] == [(each["status"], each["nameserver"], each["first"] and each["first"]["nameserver"]) for each in jsonl(file)]


def jsonl(file: Path) -> list[dict[str, Any]]:
    """The results in a file, in input order."""
    return sorted(map(json.loads, file.read_text().splitlines()), key=lambda each: int(each["index"]))


def test_with_wildcards(servers: tuple[str, str]) -> None:
    """Probes go to those who are trusted: a liar's wildcards are none."""
    liar, honest = servers
    run = resolve(
        ["same.example", "a.ghost.example", "a.made.example"], nameservers=liar, trusted=honest, wildcards=True
    )
    assert [False, None, "*.made.example."] == [result.wildcard for result in run]
    assert run.summary.queries_sent == sum(result.attempts or 0 for result in run) + int(run.summary.probes or 0)


def test_their_own_pace(servers: tuple[str, str]) -> None:
    """`trusted_rate` holds for them alone."""
    liar, honest = servers
    run = resolve(["same.example"] * 40, nameservers=liar, trusted=honest, trusted_rate=50)
    assert ({"NOERROR": 40}, True) == (run.summary.statuses, 0.3 < run.summary.seconds)


def test_a_pace_for_nobody_in_the_environment() -> None:
    """The environment speaks to every run; that this one trusts nobody is no mistake."""
    done = command("a.example", "--lab", "-q", env=environment(RESOLVE_TRUSTED_RATE="5"))
    assert (0, "") == (done.status, done.err)


def test_a_pace_for_nobody() -> None:
    """A pace of trusted nameservers without any is a mistake that is told."""
    with pytest.raises(ValueError, match="none is named"):
        resolve(["a.example"], nameservers="127.0.0.1:9", trusted_rate=5)


def test_a_run_that_breaks_off(servers: tuple[str, str], silent: str) -> None:
    """Where the input cannot be read on, the second run ends with the first, and leaves no thread."""

    def hosts() -> Iterator[str]:
        yield from ["same.example"] * 20
        while not any(thread.name == "resolve-trusted" for thread in threading.enumerate()):
            time.sleep(0.01)
        raise OSError(5, "the list is gone")

    with pytest.raises(OSError, match="the list is gone"):
        resolve(hosts(), nameservers=servers[0], trusted=silent)
    wait_for(lambda: not any(each.name == "resolve-trusted" for each in threading.enumerate()), "its end")

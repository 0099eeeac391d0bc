"""Progress for programs: --status."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from cluster import Server, Worker
from command import environment, inside, start, wait_for

from resolver.input.hosts import Hosts
from resolver.input.sources import elements, path
from resolver.lab import Lab
from resolver.output.status import RunStatus, StatusFeed, running

KEYS = ["done", "total", "rate", "in_flight", "statuses", "seconds_left"]


@pytest.fixture(scope="module")
def at(lab: Lab) -> list[str]:
    """The options that have a nameserver asked, on the engine that starts soonest."""
    return ["-e", "threads", "-n", lab.nameserver]


def status(done: int) -> RunStatus:
    """What a feed may have to say."""
    return RunStatus(done=done, total=None, rate=None, in_flight=0, statuses={}, seconds_left=None)


def objects(text: str) -> list[dict[str, Any]]:
    """The lines, each with the keys in their order."""
    found = [json.loads(line) for line in text.splitlines()]
    assert [KEYS] * len(found) == [list(each)[:6] for each in found]
    return found


def test_an_object_a_second_and_at_the_end(at: list[str], tmp_path: Path) -> None:
    """While the run goes on there is a line each second, and the last one says how it ended."""
    done = inside(*at, "--status", tmp_path / "s", "-f", "hosts", "a.example", "slow-1300.example")
    first, last = objects((tmp_path / "s").read_text())
    assert (0, "a.example\nslow-1300.example\n", "") == done
    assert [1, 2, 1, {"NOERROR": 1}] == [first[key] for key in ("done", "total", "in_flight", "statuses")]
    assert [2, 2, 0, {"NOERROR": 2}, 0.0] == [last[key] for key in KEYS if key != "rate"]
    assert 0 < first["rate"] <= 1.1
    assert 0 < first["seconds_left"] < 2


def test_descriptor(at: list[str]) -> None:
    """The number of a descriptor that is open writes there; of one that is not, it is an error."""
    reading, writing = os.pipe()
    with start(*at, "--status", str(writing), "--only", "NODATA", "nx.example", pass_fds=[writing]) as process:
        os.close(writing)
        with open(reading) as pipe:
            (last,) = objects(pipe.read())
        assert 0 == process.wait(10)
    assert [1, 1, {"NXDOMAIN": 1}] == [last[key] for key in ("done", "total", "statuses")]


def test_standard_output(at: list[str], tmp_path: Path) -> None:
    """`-` is standard output for figures and progress, where results go elsewhere."""
    out = tmp_path / "out.jsonl"
    done = inside(*at, "--summary", "-", "-o", out, "a.example")
    assert (0, {"NOERROR": 1}) == (done.status, json.loads(done.out)["statuses"])
    done = inside(*at, "--status", "-", "-o", out, "a.example")
    assert (0, {"NOERROR": 1}) == (done.status, objects(done.out)[-1]["statuses"])


@pytest.mark.parametrize("number", [3, 8, 77, 1 << 40])
def test_descriptor_that_is_not_open(at: list[str], tmp_path: Path, number: int) -> None:
    """One that the caller has not opened is an error, also where the program has opened something there itself."""
    (tmp_path / "l").write_text("a.example\n")
    done = inside("-e", "gevent", *at[2:], "--status", str(number), "-o", tmp_path / "o", tmp_path / "l")
    assert [2, True] == [done.status, f"Error: descriptor {number}: Bad file descriptor" in done.err]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")
def test_full_disk_is_no_end(at: list[str]) -> None:
    """What cannot be written ends nothing, and changes nothing."""
    assert (0, "a.example\n", "") == inside(*at, "--status", "/dev/full", "-f", "hosts", "a.example")


def test_closed_pipe_is_no_end(at: list[str]) -> None:
    """Nor does a reader that is gone."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        os.set_inheritable(writing, True)
        done = inside(*at, "--status", str(writing), "-f", "hosts", "a.example")
    finally:
        os.close(writing)
    assert (0, "a.example\n", "") == done


def test_reader_that_does_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipe that is full holds nothing up: what there is to say is left out until it is read again."""
    monkeypatch.setattr("resolver.output.status.INTERVAL", 0.0)
    reading, writing = os.pipe()
    os.set_inheritable(writing, True)
    feed = StatusFeed(str(writing), [])
    for number in range(5000):
        feed.tick(lambda number=number: status(number))  # type: ignore[misc]
    before = os.read(reading, 1 << 20)
    feed.close(status(5000))
    after = os.read(reading, 1 << 20)
    os.close(reading)
    os.close(writing)
    said = [each["done"] for each in objects(before.decode())]
    assert [0, True] == [said[0], len(said) < 5000]
    assert [5000] == [each["done"] for each in objects(after.decode())]


@pytest.mark.parametrize("other", ["-o", "--summary", "list"])
def test_other_files_of_the_run(at: list[str], tmp_path: Path, other: str) -> None:
    """A file that is another one of the run is refused."""
    (tmp_path / "f").write_text("a.example\n")
    words = [tmp_path / "f"] if other == "list" else [other, tmp_path / "f", "a.example"]
    done = inside(*at, "--status", tmp_path / "f", *words)
    assert [2, True] == [done.status, "is another file of this run" in done.err]


def test_total(tmp_path: Path) -> None:
    """A list's total is estimated by its size while it is read, and known at its end; a pipe's only then."""
    (tmp_path / "l").write_text("".join(f"h{number:06}.example\n" for number in range(100_000)))
    hosts = Hosts([path(tmp_path / "l")], ["A", "MX"], "", "")
    figures: dict[str, Any] = {"in_flight": 0, "statuses": {}, "seconds": 1.0}
    hosts.take(20_000)
    said = running(hosts, all_read=False, results=10_000, **figures)
    assert [10_000, True, True] == [
        said.done, 180_000 < (said.total or 0) < 220_000, 17 < (said.seconds_left or 0) < 21,
    ]  # fmt: skip
    while hosts.take(1000) is not None:
        pass
    assert 200_000 == running(hosts, all_read=True, results=0, **figures).total
    unknown = Hosts([elements(iter(["a.example"]))], ["A"], "", "")
    unknown.take(1)
    said = running(unknown, all_read=False, results=1, **{**figures, "seconds": 0.0})
    assert [None] * 3 == [said.total, said.rate, said.seconds_left]


@pytest.mark.parametrize("engine", ["redis"])
def test_workers_of_redis(at: list[str], tmp_path: Path, env: dict[str, str], engine: str) -> None:
    """Engine redis adds its workers."""
    inside(*at, "-e", engine, "--status", tmp_path / "s", "a.example", env=env)
    assert [*KEYS, "workers"] == list(objects((tmp_path / "s").read_text())[-1])


def test_without_replies(at: list[str], tmp_path: Path) -> None:
    """With --no-wait what was sent is done, and so is what is no name."""
    done = inside(*at, "--no-wait", "--status", tmp_path / "s", "a.example", "b.example", "a b")
    assert [1, [3, 3, 0, {"INVALID": 1}, 0.0]] == [
        done.status, [objects((tmp_path / "s").read_text())[-1][key] for key in KEYS if key != "rate"],
    ]  # fmt: skip


def test_comparison(at: list[str], tmp_path: Path) -> None:
    """A comparison counts the lookups of the runs that are over, of all its runs."""
    words = ["-e", "threads", "-e", "asyncio", "--repeat", "1", *at[2:], "--status", str(tmp_path / "s")]
    done = inside("compare", *words, "a.example", "slow-1200.example", "-f", "csv")
    said = objects((tmp_path / "s").read_text())
    assert [0, "", 3] == [done.status, done.err, len(done.out.splitlines())]
    assert [0, 4, None, {}, None] == [said[0][key] for key in KEYS if key != "rate"]
    assert [4, 4, 0, {"NOERROR": 4}, 0.0] == [said[-1][key] for key in KEYS if key != "rate"]
    assert 0 < said[-1]["rate"] < 2
    assert {0, 2, 4} >= {each["done"] for each in said}
    refused = inside("compare", *words, "-o", tmp_path / "s", "a.example")
    assert [2, True] == [refused.status, "is another file of this run" in refused.err]


def test_worker(tmp_path: Path) -> None:
    """A worker says how much it has done, and goes on where that cannot be written."""
    with Server(tmp_path / "redis") as server, Lab() as lab:
        ask = ["-e", "redis", "-n", lab.nameserver, "a.example", "nx.example"]
        env = environment(RESOLVE_REDIS=server.url)
        with Worker(server.url, "--slots", "1", "--status", str(tmp_path / "s")) as worker:
            assert 0 == inside(*ask, env=env).status
            said = wait_for(
                lambda: [each for each in objects((tmp_path / "s").read_text()) if each["done"]], "a status"
            )
            assert [2, None, {"NOERROR": 1, "NXDOMAIN": 1}, None] == [
                said[0][key] for key in KEYS if key not in ("rate", "in_flight")
            ]
            assert 0 == worker.end()
        assert [2, 0] == [objects((tmp_path / "s").read_text())[-1][key] for key in ("done", "in_flight")]
        with Worker(server.url, "--slots", "1", "--status", "/dev/full") as worker:
            assert [0, 0] == [inside(*ask, env=env).status, worker.end()]

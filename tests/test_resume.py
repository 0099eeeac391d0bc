"""A run that something interrupts, and is resumed: what the file holds is kept, and what it does not is looked up."""

import json
import random
import resource
import subprocess
import sys
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from cluster import cluster
from command import Done, end, environment, inside, run, start, wait_for

from resolver.lab import Lab
from resolver.output.kept import Kept, KeptRow

HOSTS = 300
IN_FLIGHT = "20"
SLOWLY = "--rate", "300"  # so that a run takes a second, in the middle of which it is looked at
# Results come to the file from this process, from children that have written the lines, or from workers.
WRITING = ["threads", "processes", "redis"]
KILLS = 3  # of each


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """A nameserver that takes a moment for each reply, and counts the queries."""
    with Lab(latency=0.02) as running:
        yield running


@pytest.fixture
def hosts(tmp_path: Path) -> Path:
    """A list."""
    return listed(tmp_path / "hosts", [f"n{number}.example" for number in range(HOSTS)])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The results of that list."""
    directory = tmp_path_factory.mktemp("made")
    names = [f"n{number}.example" for number in range(HOSTS)]
    inside(
        "-e", "threads", "--lab", listed(directory / "hosts", names), "-o", directory / "r.jsonl", "--order", "input"
    )
    return (directory / "r.jsonl").read_bytes()


@pytest.fixture
def at(lab: Lab) -> list[str]:
    """What most commands here begin with."""
    return ["-e", "threads", "-n", lab.nameserver, "--query-timeout", "30", "-q"]


def by(engine: str, lab: Lab, *words: str | Path) -> list[str | Path]:
    """The words of a command that asks the lab, a few lookups at a time and each once."""
    return ["-e", engine, "-n", lab.nameserver, "--concurrency", IN_FLIGHT, "--query-timeout", "60", *words]


def listed(path: Path, names: list[str]) -> Path:
    """A list of these names."""
    path.write_text("".join(f"{name}\n" for name in names))
    return path


def lines(path: Path) -> list[bytes]:
    """The lines that a file holds whole."""
    octets = path.read_bytes() if path.exists() else b""
    return octets[: octets.rfind(b"\n") + 1].splitlines(keepends=True)


def results(path: Path) -> list[dict[str, Any]]:
    """What is in a file whose lines are all whole, in input order."""
    return sorted(map(json.loads, path.read_bytes().splitlines()), key=lambda result: int(result["index"]))


def statuses(path: Path) -> list[str]:
    """What became of each lookup, in input order, of which each has one result."""
    found = results(path)
    assert list(range(len(found))) == [result["index"] for result in found]
    return [result["status"] for result in found]


def figures(path: Path) -> list[object]:
    """What the summary says: lookups, results, and the queries of this run."""
    summary = json.loads(path.read_text())
    return [summary[key] for key in ("lookups", "results_written", "queries_sent")]


def killed(output: Path, moment: int, *words: str | Path, env: dict[str, str] | None = None) -> list[bytes]:
    """Run, and kill -9 when the file has so many lines; the lines that it holds then."""
    with start(*words, "-o", output, stdin=subprocess.DEVNULL, env=env) as process:
        wait_for(lambda: len(lines(output)) >= moment or process.poll() is not None, f"{moment} lines")
        process.kill()
    return lines(output)


def full_at(octets: int) -> Callable[[], None]:
    """What makes a command find that the disk is full when a file has so many octets."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (octets, octets))


# --- Killed, and resumed.


@pytest.mark.parametrize("engine", ["threads", "processes"])
def test_killed_again_and_again(lab: Lab, hosts: Path, tmp_path: Path, engine: str) -> None:
    """However often a run is killed, each index has one result, none of it was changed, and nothing was asked twice."""
    output, summary = tmp_path / "r.jsonl", tmp_path / "summary"
    words = by(engine, lab, hosts, "--resume")
    before = lab.counts().received
    kept: list[bytes] = []
    for moment in sorted(random.Random(engine).sample(range(1, HOSTS), KILLS)):
        held = killed(output, moment, *words)
        assert kept == held[: len(kept)]
        kept = held
    asked = settled(lab) - before
    done = inside(*words, "-o", output, "--summary", summary)
    assert [Done(0, "", ""), ["NOERROR"] * HOSTS] == [done, statuses(output)]
    assert [kept, [HOSTS, HOSTS, HOSTS - len(kept)]] == [lines(output)[: len(kept)], figures(summary)]
    # In flight were those without a reply, and those whose replies were just being written.
    assert asked <= len(kept) + KILLS * 2 * int(IN_FLIGHT)
    assert HOSTS - len(kept) == lab.counts().received - before - asked


def settled(lab: Lab) -> int:
    """Wait until the queries of a process that was killed have arrived; how many the lab has received by then."""
    received = -1
    while received != (received := lab.counts().received):
        time.sleep(0.1)
    return received


def test_child_killed_and_resumed(lab: Lab, hosts: Path, tmp_path: Path) -> None:
    """A run whose children are killed ends in order; resumed, it has nothing left to ask."""
    output, summary = tmp_path / "r.jsonl", tmp_path / "summary"
    words = by("processes", lab, hosts)
    with start(*words, "-o", output, "-q", stdin=subprocess.DEVNULL) as process:
        for moment in sorted(
            random.sample(range(1, HOSTS - int(IN_FLIGHT)), 2)
        ):  # a third may concern the same lookups
            wait_for(lambda at=moment: len(lines(output)) >= at, f"{moment} lines")  # type: ignore[misc]  # a default
            children = wait_for(psutil.Process(process.pid).children, "a child")  # after the first kill a new one
            random.choice(children).kill()
        assert Done(0, "", "") == end(process)
    whole = output.read_bytes()
    assert ["NOERROR"] * HOSTS == statuses(output)
    assert 0 == inside(*words, "-o", output, "--resume", "--summary", summary).status
    assert [whole, [HOSTS, HOSTS, 0]] == [output.read_bytes(), figures(summary)]


def test_coordinator_killed_and_resumed(lab: Lab, hosts: Path, tmp_path: Path) -> None:
    """Engine redis: a coordinator that is killed loses nothing that the file holds; another one asks the rest."""
    output, summary = tmp_path / "r.jsonl", tmp_path / "summary"
    words = by("redis", lab, hosts, "--resume")
    with cluster(tmp_path / "redis") as server:
        env = environment(RESOLVE_REDIS=server.url)
        kept: list[bytes] = []
        for moment in sorted(random.sample(range(1, HOSTS // 2), 2)):
            held = killed(output, moment, *words, env=env)
            assert kept == held[: len(kept)]
            kept = held
        assert Done(0, "", "") == inside(*words, "-o", output, "--summary", summary, env=env)
        assert [["NOERROR"] * HOSTS, kept] == [statuses(output), lines(output)[: len(kept)]]
        assert [HOSTS, HOSTS, HOSTS - len(kept)] == figures(summary)


@pytest.mark.parametrize("engine", WRITING)
def test_a_result_is_there_at_once(lab: Lab, tmp_path: Path, engine: str) -> None:
    """After kill -9 a result is in the file though no other came after it."""
    words = by(engine, lab, "www.example", "hang.example")
    assert ["www.example"] == [json.loads(line)["input"] for line in killed(tmp_path / "r.jsonl", 1, *words)]


@pytest.mark.parametrize("engine", WRITING)
def test_results_are_there_within_a_second(tmp_path: Path, many: Path, engine: str) -> None:
    """After kill -9 at 20,000 lookups a second the file has all that was answered a second before."""
    output = tmp_path / "r.jsonl"
    with (
        Lab() as lab,
        start(
            "-e", engine, "-n", lab.nameserver, "--rate", "20000", "-o", output, many, stdin=subprocess.DEVNULL
        ) as process,
    ):
        answered = wait_for(lambda: lab.counts().answered > 2000 and lab.counts().answered, "some answers")
        wait_for(lambda: answered <= len(lines(output)), "their results", seconds=5.0)  # a second, on a busy machine
        process.kill()
        process.wait()
        assert answered <= len(lines(output))


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A list that takes some seconds at that rate."""
    return listed(tmp_path_factory.mktemp("many") / "hosts", [f"n{number}.example" for number in range(100_000)])


# --- What the file may look like.


@pytest.mark.parametrize(
    ("change", "missing"),
    [
        (lambda octets: b"", HOSTS),
        (lambda octets: None, HOSTS),
        (lambda octets: octets, 0),
        (lambda octets: octets[:-20], 1),
        (lambda octets: octets[: octets.rfind(b"{") + 3], 1),
        (lambda octets: octets[:-20] + bytes(4096), 1),
        (lambda octets: octets + bytes(4096), 0),
        (lambda octets: octets[:-1], 0),
        (lambda octets: octets[octets.find(b"\n") + 1 :], 1),
        (lambda octets: b"".join(octets.splitlines(keepends=True)[::-3]), HOSTS - HOSTS // 3),
    ],
    ids=["empty", "none", "whole", "torn", "torn-early", "zeros-torn", "zeros", "no-line-feed", "gap", "gaps"],
)
def test_file(
    at: list[str],
    lab: Lab,
    hosts: Path,
    made: bytes,
    tmp_path: Path,
    change: Callable[[bytes], bytes | None],
    missing: int,
) -> None:
    """Each line that the file holds whole is kept as it is, and the rest is looked up."""
    output, summary = tmp_path / "r.jsonl", tmp_path / "summary"
    octets = change(made)
    if octets is not None:
        output.write_bytes(octets)
    kept = [line.strip(b"\0\n") for line in (octets or b"").splitlines() if line.strip(b"\0").endswith(b"}")]
    before = lab.counts().received
    assert Done(0, "", "") == inside(*at, hosts, "-o", output, "--resume", "--summary", summary)
    assert [kept, ["NOERROR"] * HOSTS] == [output.read_bytes().splitlines()[: len(kept)], statuses(output)]
    assert [missing, [HOSTS, HOSTS, missing]] == [lab.counts().received - before, figures(summary)]


def test_list_that_became_longer(at: list[str], hosts: Path, made: bytes, tmp_path: Path) -> None:
    """The new lines are looked up, and the exit status speaks for the whole file."""
    output, summary = tmp_path / "r.jsonl", tmp_path / "summary"
    output.write_bytes(made.replace(b'"NOERROR"', b'"SERVFAIL"', 1))
    kept = lines(output)
    done = inside(*at, hosts, "new.example", "nx.example", "-o", output, "--resume", "--summary", summary)
    assert [1, ["SERVFAIL", *["NOERROR"] * HOSTS, "NXDOMAIN"]] == [done.status, statuses(output)]
    assert [kept, [HOSTS + 2, HOSTS + 2, 2]] == [lines(output)[:HOSTS], figures(summary)]
    assert {"SERVFAIL": 1, "NOERROR": HOSTS, "NXDOMAIN": 1} == json.loads(summary.read_text())["statuses"]


REFUSED: list[tuple[str, Callable[[bytes], bytes], list[str], str]] = [
    ("no-results", lambda octets: b"a.example\nb.example\n", [], "octet 0 begins a line that is no result"),
    ("one-line", lambda octets: b"a.example", [], "octet 0 begins a line that is no result"),
    ("other-json", lambda octets: octets + b'{"index":9}\n', [], "begins a line that is no result"),
    ("blank-line", lambda octets: octets + b"\n", [], "begins a line that is no result"),
    ("no-status", lambda octets: octets.replace(b'"NOERROR"', b'"FINE"'), [], "'FINE' is no status"),
    ("twice", lambda octets: octets + octets, [], "has two results of index 0"),
    ("thinned", lambda octets: octets.replace(b'{"index":2', b'{"index":98765432'), [], "results were taken out"),
    ("other-list", lambda octets: octets.replace(b'"n1.', b'"z.'), [], "lookup 1 is 'n1.example' A now"),
    ("other-types", lambda octets: octets, ["-t", "AAAA"], "lookup 0 is 'n0.example' AAAA now"),
    ("more-types", lambda octets: octets, ["-t", "A", "-t", "AAAA"], "lookup 1 is 'n0.example' AAAA now"),
    ("shorter", lambda octets: octets + octets.splitlines(True)[0].replace(b":0,", b":3,"), [], "there are 3 lookups"),
    ("order", lambda octets: octets[octets.find(b"\n") + 1 :] + octets[: octets.find(b"\n") + 1], ["--order", "input"],
     "are not in input order; leave --order out"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "options", "sentence", "through"),
    [(*case[1:], "file") for case in REFUSED] + [(*case[1:], "pipe") for case in REFUSED if "lookup" in case[3]],
    ids=[case[0] for case in REFUSED] + [f"{case[0]}-of-a-pipe" for case in REFUSED if "lookup" in case[3]],
)
def test_refused(
    at: list[str],
    lab: Lab,
    made: bytes,
    tmp_path: Path,
    change: Callable[[bytes], bytes],
    options: list[str],
    sentence: str,
    through: str,
) -> None:
    """A file that is not this run's is left as it was, and nothing is asked where that is seen beforehand."""
    names = ["n0.example", "n1.example", "n2.example"]
    output, text = tmp_path / "r.jsonl", "\n".join(names)
    # The last line is torn too: not even that is cut off.
    octets = change(b"".join(made.splitlines(keepends=True)[:3])) + b'{"index":'
    output.write_bytes(octets if sentence != "octet 0 begins a line that is no result" else change(b""))
    octets = output.read_bytes()
    before = lab.counts().received
    source = ["-"] if through == "pipe" else [listed(tmp_path / "list", names)]
    done = inside(*at, *source, *options, "-o", output, "--resume", text=text if through == "pipe" else None)
    assert [2, octets, True] == [done.status, output.read_bytes(), sentence in done.err], done.err
    assert through == "pipe" or before == lab.counts().received
    assert {output.name, "list"} >= {path.name for path in tmp_path.iterdir()}


@pytest.mark.parametrize("engine", WRITING)
def test_refused_as_a_pipe_is_read(
    lab: Lab, made: bytes, tmp_path: Path, engine: str, request: pytest.FixtureRequest
) -> None:
    """A pipe that goes on otherwise than it did is refused when that is seen, and the file is put back."""
    env = environment(RESOLVE_REDIS=request.getfixturevalue("broker")) if engine == "redis" else None
    at = ["-e", engine, "-n", lab.nameserver]
    output = tmp_path / "r.jsonl"
    # The second lookup is missing: it is made before the last line is seen.
    first, _, third, *_ = made.splitlines(keepends=True)
    octets = first + third + b'{"ind'
    output.write_bytes(octets)
    with start(*at, "-", "-o", output, "--resume", env=env) as process:
        assert process.stdin is not None
        process.stdin.write(b"n0.example\nn1.example\n")
        wait_for(lambda: b'"n1.example"' in output.read_bytes(), "the missing result")
        process.stdin.write(b"other.example\n")
        done = end(process)
    assert [2, octets] == [done.status, output.read_bytes()]
    assert "lookup 2 is 'other.example' A now, and was another" in done.err


def test_redo_refused_as_a_pipe_is_read(at: list[str], made: bytes, tmp_path: Path) -> None:
    """Where results were to be replaced, nothing is left of what was found until then."""
    output, journal = tmp_path / "r.jsonl", tmp_path / "r.jsonl.resume"
    output.write_bytes(made)
    with start(*at, "-", "-o", output, "--resume", "--redo", "NOERROR") as process:
        assert process.stdin is not None
        process.stdin.write(b"n0.example\n")
        wait_for(lambda: b'"n0.example"' in journal.read_bytes() if journal.exists() else False, "a result")
        done = end(process)
    assert [2, made, ["r.jsonl"]] == [done.status, output.read_bytes(), [path.name for path in tmp_path.iterdir()]]
    assert "there are 1 lookups now, and were 300 or more" in done.err


def test_list_on_standard_input(at: list[str], hosts: Path, made: bytes, tmp_path: Path) -> None:
    """A file on standard input is compared beforehand, and read from where it stood."""
    output, summary = tmp_path / "r.jsonl", tmp_path / "summary"
    output.write_bytes(made[:-20])
    with hosts.open("rb") as stdin:
        assert 0 == inside(*at, "-o", output, "--resume", "--summary", summary, stdin=stdin).status
    assert [["NOERROR"] * HOSTS, [HOSTS, HOSTS, 1]] == [statuses(output), figures(summary)]


# --- Looked up again.


def test_redo(at: list[str], lab: Lab, tmp_path: Path) -> None:
    """What --redo names is looked up again and replaced; the other lines stay as they are."""
    output, summary = tmp_path / "r.jsonl", tmp_path / "summary"
    names = ["a.example", "servfail-2.redo.example", "refused.example", "x y", "b.example", "nx.example"]
    words: list[str | Path] = [*at, "--tries", "1", *names, "-o", output, "--summary", summary]
    assert 1 == inside(*words).status
    assert ["NOERROR", "SERVFAIL", "REFUSED", "INVALID", "NOERROR", "NXDOMAIN"] == statuses(output)
    before = lines(output)

    def again(*options: str) -> list[object]:
        done = inside(*words, "--resume", *options)
        changed = [json.loads(line)["index"] for line in lines(output) if line not in before]
        return [done.status, statuses(output)[1], sorted(changed), figures(summary)[2]]

    # A result that is the same to the last octet but its time: it was asked again.
    assert [1, "SERVFAIL", [], 0] == again()
    assert [1, "SERVFAIL", [1], 1] == again("--redo", "servfail", "--redo", "TIMEOUT")
    assert [1, "NOERROR", [1, 2], 2] == again("--redo", "unanswered")
    assert [1, "NOERROR", [1, 2], 0] == again("--redo", "FORMERR")
    assert {"r.jsonl", "summary"} == {path.name for path in tmp_path.iterdir()}
    assert 0o644 == output.stat().st_mode & 0o777 & ~0o022


@pytest.mark.parametrize("engine", WRITING)
def test_interrupted_and_resumed(lab: Lab, tmp_path: Path, engine: str, request: pytest.FixtureRequest) -> None:
    """What a deadline left is looked up when the run is resumed; the exit status then speaks for the whole file."""
    env = environment(RESOLVE_REDIS=request.getfixturevalue("broker")) if engine == "redis" else None
    output, summary = tmp_path / "r.jsonl", tmp_path / "summary"
    names = [f"{'flaky-1.' * (number % 2)}n{number}.{engine}.example" for number in range(20)]
    words: list[str | Path] = [listed(tmp_path / "hosts", names), "-e", engine, "-n", lab.nameserver, "-q"]
    words += ["--query-timeout", "30", "--tries", "1", "-o", output, "--summary", summary]
    assert 3 == inside(*words, "--timeout", "0.6", env=env).status
    kept = [line for line in lines(output) if b'"NOERROR"' in line]
    assert Counter(NOERROR=10, DEADLINE=10) == Counter(statuses(output))
    assert Done(0, "", "") == inside(*words, "--resume", env=env)
    assert [["NOERROR"] * 20, [20, 20, 10]] == [statuses(output), figures(summary)]
    assert set(kept) <= set(lines(output))


def test_redo_that_is_cut_short(at: list[str], tmp_path: Path) -> None:
    """A result is not given up for one that only says that the run ended."""
    output, summary = tmp_path / "r.jsonl", tmp_path / "summary"
    names = ["servfail.example", "flaky-1.short.example", "hang.example"]
    words: list[str | Path] = [*at[:-3], "-q", *names, "-o", output, "--summary", summary, "--tries", "1"]
    assert 1 == inside(*words, "--query-timeout", "0.1").status
    before = lines(output)
    assert 3 == inside(*words, "--resume", "--redo", "TIMEOUT", "--query-timeout", "9", "--timeout", "0.5").status
    assert ["SERVFAIL", "NOERROR", "TIMEOUT"] == statuses(output)
    assert {"NOERROR": 1, "SERVFAIL": 1, "TIMEOUT": 1} == json.loads(summary.read_text())["statuses"]
    assert 2 == len({*before} & {*lines(output)})


def test_redo_that_is_killed(at: list[str], hosts: Path, made: bytes, tmp_path: Path) -> None:
    """While results are replaced the file stays whole; what was found by then is not asked again."""
    output, journal, summary = tmp_path / "r.jsonl", tmp_path / "r.jsonl.resume", tmp_path / "summary"
    words: list[str | Path] = [*at, hosts, "--concurrency", IN_FLIGHT, "--resume", "--redo", "NOERROR"]
    output.write_bytes(made)
    before = lines(output)
    with start(*words, "-o", output, *SLOWLY, stdin=subprocess.DEVNULL) as process:
        wait_for(lambda: len(lines(journal)) > HOSTS // 3, "a third of the results")
        process.kill()
    found = lines(journal)[1:]
    assert before == lines(output)
    # Nothing is to be asked again now; what was found has taken its place.
    assert Done(0, "", "") == inside(*at, hosts, "-o", output, "--resume", "--summary", summary)
    assert [["NOERROR"] * HOSTS, [HOSTS, HOSTS, 0]] == [statuses(output), figures(summary)]
    assert [True, len(found)] == [{*found} <= {*lines(output)}, len({*lines(output)} - {*before})]
    assert not journal.exists()


@pytest.mark.parametrize(
    ("step", "order"),
    [
        ("os.fsync = end", "input"),
        ("os.replace = end", "completion"),
        ("os.replace = end", "input"),
        ("unlink = os.unlink; os.unlink = lambda at: (end if '.new' not in at else unlink)(at)", "completion"),
    ],
    ids=["sync", "replace", "replace-in-order", "remove"],
)
def test_killed_while_the_file_is_rewritten(
    at: list[str], hosts: Path, made: bytes, tmp_path: Path, step: str, order: str
) -> None:
    """Before whichever step the end comes, the file is whole, and nothing has to be asked again."""
    output, summary = tmp_path / "r.jsonl", tmp_path / "summary"
    output.write_bytes(made[:-20])
    words: list[str | Path] = [*at, hosts, "-o", output, "--resume", "--order", order]
    code = f"import os; from resolver.__main__ import main; end = lambda *_: os._exit(9); {step}; main()"
    redo: list[str | Path] = ["--redo", "NOERROR"]
    assert 9 == run(*words, *redo, command=[sys.executable, "-c", code]).status
    assert ["unlink" not in step, True] == [output.read_bytes() == made[:-20], (tmp_path / "r.jsonl.resume").exists()]
    assert Done(0, "", "") == inside(*words, "--summary", summary)
    assert [["NOERROR"] * HOSTS, [HOSTS, HOSTS, 0]] == [statuses(output), figures(summary)]
    assert set() == {*made.splitlines()} & {*output.read_bytes().splitlines()}
    assert {"r.jsonl", "hosts", "summary"} == {path.name for path in tmp_path.iterdir()}
    indices = [result["index"] for result in map(json.loads, lines(output))]
    assert order == "completion" or indices == sorted(indices)


def test_killed_with_few_results_of_many(at: list[str], hosts: Path, made: bytes, tmp_path: Path) -> None:
    """What is left of a long file's last line alone, with its high index, is a part of that file."""
    output, summary = tmp_path / "r.jsonl", tmp_path / "summary"
    output.write_bytes(made)
    words: list[str | Path] = [*at, hosts, "-o", output, "--resume", "--summary", summary]
    code = (
        "import os; from resolver.output import kept; from resolver.__main__ import main; "
        "kept._IN_FLIGHT = 0; {}; main()"
    )
    last = made.splitlines(keepends=True)[-1].replace(b'"NOERROR"', b'"REFUSED"')
    output.write_bytes(made[: made[:-1].rfind(b"\n") + 1] + last)
    stopped = [sys.executable, "-c", code.format("os.replace = lambda *_: os._exit(9)")]
    assert 9 == run(*words, "--redo", "REFUSED", command=stopped).status
    assert Done(0, "", "") == run(*words, command=[sys.executable, "-c", code.format("pass")])
    assert [["NOERROR"] * HOSTS, [HOSTS, HOSTS, 0]] == [statuses(output), figures(summary)]


def test_left_behind_by_another_file(at: list[str], hosts: Path, made: bytes, tmp_path: Path) -> None:
    """What a killed run left is no part of a file that was made since; what no run left is not touched."""
    output, journal = tmp_path / "r.jsonl", tmp_path / "r.jsonl.resume"
    output.write_bytes(made)
    words: list[str | Path] = [*at, hosts, "-o", output, "--resume", "--redo", "NOERROR"]
    with start(*words, *SLOWLY, stdin=subprocess.DEVNULL) as process:
        wait_for(lambda: len(lines(journal)) > HOSTS // 3, "a third of the results")
        process.kill()
    output.write_bytes(made.replace(b'"attempts":1', b'"attempts":2', 1))
    before = lines(output)
    assert Done(0, "", "") == inside(*at, hosts, "-o", output, "--resume")
    assert [before, False] == [lines(output), journal.exists()]
    journal.write_text("my notes\n")
    assert "r.jsonl.resume is in the way" in inside(*at, hosts, "-o", output, "--resume").err
    assert [before, "my notes\n"] == [lines(output), journal.read_text()]


@pytest.mark.parametrize("order", ["completion", "input"])
def test_full_disk_while_the_file_is_rewritten(
    at: list[str], hosts: Path, made: bytes, tmp_path: Path, order: str
) -> None:
    """The old file stays whole, and what was found is put into it when there is room again."""
    output, summary = tmp_path / "r.jsonl", tmp_path / "summary"
    words: list[str | Path] = [*at, hosts, "-o", output, "--order", order]
    octets = made
    output.write_bytes(octets)
    redo: list[str | Path] = [*words, "--resume", "--redo", "NOERROR"]
    done = run(*redo, preexec_fn=full_at(len(octets) * 9 // 10))
    assert [4, octets] == [done.status, output.read_bytes()]
    assert "writing the results failed: File too large" in done.err
    assert Done(0, "", "") == inside(*words, "--resume", "--summary", summary)
    assert ["NOERROR"] * HOSTS == statuses(output)
    assert {"r.jsonl", "hosts", "summary"} == {path.name for path in tmp_path.iterdir()}


def test_full_disk_while_results_are_added(at: list[str], hosts: Path, tmp_path: Path) -> None:
    """What was written by then is kept, and the rest is looked up when there is room again."""
    output, summary = tmp_path / "r.jsonl", tmp_path / "summary"
    done = run(*at, hosts, "-o", output, "--resume", preexec_fn=full_at(20_000))
    assert [4, 20_000] == [done.status, output.stat().st_size]
    kept = lines(output)
    assert Done(0, "", "") == inside(*at, hosts, "-o", output, "--resume", "--summary", summary)
    assert [["NOERROR"] * HOSTS, kept] == [statuses(output), lines(output)[: len(kept)]]
    assert [HOSTS, HOSTS, HOSTS - len(kept)] == figures(summary)


@pytest.mark.parametrize(
    ("missing", "redo"),
    [
        ({0}, []),
        ({5, 6, 200}, []),
        ({5, 6, 200}, ["--redo", "NXDOMAIN"]),
        ({HOSTS - 1}, ["--redo", "NXDOMAIN"]),
        (set(range(100, HOSTS)), []),
    ],
)
def test_input_order(
    at: list[str], hosts: Path, made: bytes, tmp_path: Path, missing: set[int], redo: list[str]
) -> None:
    """A file in input order is in input order afterwards, wherever results were missing or are replaced."""
    output, summary = tmp_path / "r.jsonl", tmp_path / "summary"
    octets = b"".join(
        line.replace(b'"NOERROR"', b'"NXDOMAIN"') if index % 50 == 7 else line
        for index, line in enumerate(made.splitlines(keepends=True))
        if index not in missing
    )
    output.write_bytes(octets)
    words: list[str | Path] = [*at, hosts, "-o", output, "--order", "input", "--summary", summary]
    assert Done(0, "", "") == inside(*words, "--resume", *redo)
    assert list(range(HOSTS)) == [json.loads(line)["index"] for line in lines(output)]
    again = missing | ({index for index in range(HOSTS) if index % 50 == 7} if redo else set())
    assert [HOSTS, HOSTS, len(again)] == figures(summary)


# --- One run at a time, and what does not go together.


@pytest.mark.parametrize("first", [[], ["--resume"]])
@pytest.mark.parametrize("second", [[], ["--resume"]])
def test_two_runs_at_once(at: list[str], tmp_path: Path, first: list[str], second: list[str]) -> None:
    """The second run on a file is refused, and spoils nothing of the first one's."""
    output = tmp_path / "r.jsonl"
    with start(*at, "-", "-o", output, *first) as process:
        assert process.stdin is not None
        process.stdin.write(b"a.example\n")
        wait_for(lambda: lines(output), "a result")
        refused = inside(*at, "a.example", "-o", output, *second)
        done = end(process, b"b.example\n")
    assert [2, True] == [refused.status, "r.jsonl is written by another run; wait for its end" in refused.err]
    assert [0, ["NOERROR", "NOERROR"]] == [done.status, statuses(output)]


def test_a_link_stays_one(at: list[str], tmp_path: Path) -> None:
    """Where -o names a link, the file that it leads to is replaced."""
    output, link = tmp_path / "r.jsonl", tmp_path / "link.jsonl"
    link.symlink_to(output)
    inside(*at, "a.example", "-o", link)
    before = lines(output)
    assert 0 == inside(*at, "a.example", "-o", link, "--resume", "--redo", "noerror").status
    assert [True, ["NOERROR"], True] == [link.is_symlink(), statuses(output), before != lines(output)]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--resume"], "name it with -o FILE.jsonl"),
        (["--resume", "-o", "-"], "name it with -o FILE.jsonl"),
        (["--resume", "-o", "r.csv"], "not with csv: write them with -o FILE.jsonl or -f jsonl"),
        (["--resume", "-o", "r.txt"], "not with text: write them with -o FILE.jsonl or -f jsonl"),
        (["--resume", "-o", "r.jsonl", "-f", "table"], "not with table: write them with -o FILE.jsonl or -f jsonl"),
        (["--resume", "-o", "/dev/null", "-f", "jsonl"], "/dev/null is no regular file"),
        (["--resume", "-o", "/nonexistent/r.jsonl"], "/nonexistent/r.jsonl: No such file or directory"),
        (["--resume", "-o", "r.jsonl", "--redo", "LATER"], "'LATER' is no status; valid: unanswered, NOERROR, "),
        (["--redo", "TIMEOUT", "-o", "r.jsonl"], "needs --resume with -o FILE"),
        (["--no-wait", "--resume"], "--resume means nothing with --no-wait"),
    ],
    ids=" ".join,
)
def test_what_does_not_go_together(
    tmp_path: Path, words: list[str], sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit status 2, with a sentence that names the cure; no file is made."""
    monkeypatch.chdir(tmp_path)
    done = inside("-n", "127.0.0.1", *words, "a.example")
    assert [2, True, []] == [done.status, sentence in done.err, list(tmp_path.iterdir())], done.err


def test_redo_of_the_environment(at: list[str], tmp_path: Path) -> None:
    """RESOLVE_REDO speaks to runs that are resumed, and is no mistake in another."""
    env = environment(RESOLVE_REDO="TIMEOUT NXDOMAIN")
    output, summary = tmp_path / "r.jsonl", tmp_path / "summary"
    words: list[str | Path] = [*at, "a.example", "nx.example", "-o", output, "--summary", summary]
    assert [0, [2, 2, 2]] == [inside(*words, env=env).status, figures(summary)]
    assert [0, [2, 2, 1]] == [inside(*words, "--resume", env=env).status, figures(summary)]


def test_memory() -> None:
    """What is kept of a file is a few octets for each lookup."""
    lookups = 30_000
    tracemalloc.start()
    try:
        kept = Kept("r.jsonl")
        for first in range(0, lookups, 1000):
            kept.add(
                [KeptRow(index, f"n{index}", "A", "NOERROR") for index in range(first, first + 1000)], 100 * lookups
            )
        kept.settle()
        octets = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert [lookups, True] == [kept.end, octets < 8 * lookups]

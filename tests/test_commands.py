"""The command through pipes: what its arguments, options and environment do, and what it writes where."""

import csv
import json
import os
import re
import socket
import sys
from pathlib import Path

import click
import pytest
from command import HOME, Done, complaint, environment, in_order, inside, run, second_look

from resolver.commands import cli
from resolver.engines import ENGINES
from resolver.lab import Lab
from resolver.options import Group
from resolver.settings import Setting
from resolver.wire.accelerator import ACCELERATED

KEYS = ["index", "input", "name", "type", "status", "answers", "nameserver", "transport", "attempts", "elapsed"]
KEYS += ["engine", "backend", "error"]


@pytest.fixture(scope="module")
def at(lab: Lab) -> list[str]:
    """The options that have the lab asked, on the engine that starts soonest."""
    return ["-e", "threads", "-n", lab.nameserver]


def inputs(done: Done) -> list[str]:
    """The hosts of text results, in the order in which they came."""
    return [line.split("\t")[0] for line in done.out.splitlines()]


def test_run_is_the_default_command(at: list[str]) -> None:
    """`resolve HOST` and `resolve run HOST` are the same; the default engine is gevent."""
    expected = Done(0, run("run", *at, "www.example").out, "")
    assert expected == run(*at, "www.example") == run(*at[2:], "www.example")
    assert ["gevent"] == [result["engine"] for result in run(*at[2:], "-f", "jsonl", "www.example").results]


def test_hosts_of_every_kind(at: list[str], tmp_path: Path) -> None:
    """A file is a list, - is standard input, anything else one host; the order is that of the arguments."""
    (tmp_path / "list.txt").write_text("b.example\nc.example\n")
    words = [*at, "--order", "input", "a.example", "list.txt", "d.example", "-", "f.example"]
    done = inside(*words, text="e.example\n", cwd=tmp_path)
    assert [0, [f"{letter}.example" for letter in "abcdef"]] == [done.status, inputs(done)]


def test_standard_input_without_arguments(at: list[str], tmp_path: Path) -> None:
    """Without HOSTS a pipe is read, and so is a file, from where it stands."""
    assert ["a.example"] == inputs(inside(*at, text="a.example\n"))
    (tmp_path / "list").write_text("header\nb.example\n")
    with (tmp_path / "list").open("rb", buffering=0) as file:
        file.seek(len("header\n"))
        assert ["b.example"] == inputs(inside(*at, stdin=file))


def test_help_without_input() -> None:
    """Without HOSTS and with nothing on standard input there is help, and it is the help of --help."""
    expected = inside("--help")
    assert [0, "Usage: resolve [run] [OPTIONS] [HOSTS]"] == [expected.status, expected.out.split("...")[0]]
    assert expected == inside()


def test_empty_input(at: list[str]) -> None:
    """No host at all is no failure."""
    assert Done(0, "", "") == inside(*at, text="")


def test_word_that_looks_like_a_path() -> None:
    """A word with a path separator that is no file is an error, not a host."""
    assert "Error: lists/hosts.txt: there is no such file" in complaint(inside("lists/hosts.txt", "-e", "threads"))


def test_words_that_are_no_files(at: list[str]) -> None:
    """A URL, HOST:PORT or network is taken as such; what looks like a network and is none is an error."""
    done = inside(*at, "--json", "https://a.example/x", "b.example:443", "192.0.2.6/31", "0/25.2.0.192.in-addr.arpa")
    names = ["a.example.", "b.example.", "6.2.0.192.in-addr.arpa.", "7.2.0.192.in-addr.arpa.",
             "0/25.2.0.192.in-addr.arpa."]  # fmt: skip
    assert names == [result["name"] for result in done.results]
    assert "looks like a network and is none" in complaint(inside(*at, "192.0.2.0/33"))


def test_directory_as_list(tmp_path: Path) -> None:
    """A directory cannot be read as a list."""
    assert f"Error: {tmp_path}: " in complaint(inside(tmp_path, "-e", "threads"))


def test_list_named_as_a_command(at: list[str], tmp_path: Path) -> None:
    """A list that is called as a command is: ./engines, or follows run."""
    (tmp_path / "engines").write_text("a.example\n")
    assert ["a.example"] == inputs(inside("./engines", *at, cwd=tmp_path))
    assert ["a.example"] == inputs(inside("run", "engines", *at, cwd=tmp_path))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable_list(tmp_path: Path) -> None:
    """A list without permission to read is an error."""
    (tmp_path / "list").touch(mode=0)
    assert "Permission denied" in complaint(inside(tmp_path / "list", "--lab"))


@pytest.mark.parametrize("engine", ENGINES)
def test_json_lines(at: list[str], engine: str, env: dict[str, str]) -> None:
    """One object a lookup, with the contract's keys in its order; each host and type has its own."""
    done = inside(*at, "-e", engine, "-t", "a", "-t", "Aaaa", "-f", "jsonl", "a.example", "x y", "192.0.2.1", env=env)
    assert [KEYS] * 5 == [list(result) for result in done.results]
    seen = [(one["index"], one["input"], one["type"], one["status"], one["engine"]) for one in done.results]
    assert [
        (0, "a.example", "A", "NOERROR", engine),
        (1, "a.example", "AAAA", "NOERROR", engine),
        (2, "x y", "A", "INVALID", engine),
        (3, "x y", "AAAA", "INVALID", engine),
        (4, "192.0.2.1", "PTR", "NOERROR", engine),
    ] == seen


def test_text_is_the_format_of_a_pipe(at: list[str]) -> None:
    """Host, type, status and answers, with tabs between."""
    ((host, type_, status, answer),) = [line.split("\t") for line in inside(*at, "a.example").out.splitlines()]
    assert ["a.example", "A", "NOERROR", 3] == [host, type_, status, answer.count(".")]


def test_csv(at: list[str]) -> None:
    """A header and a row for each result."""
    header, *rows = csv.reader(inside(*at, "-f", "csv", "--order", "input", "a.example", "nx.example").out.splitlines())
    assert [KEYS, ["NOERROR", "NXDOMAIN"]] == [header, [row[4] for row in rows]]


def test_table(at: list[str]) -> None:
    """A table in the order of the input, also where it goes into a pipe."""
    done = inside(*at, "-f", "table", "slow-100.example", "b.example")
    assert ["host", "slow-100.example", "b.example"] == [
        line.split()[0] for line in done.out.splitlines() if line.strip("─ ") and "nameserver" not in line
    ]


@pytest.mark.parametrize(("name", "expected"), [("r.jsonl", '{"index":0,'), ("r.csv", "index,input"), ("r", "a.exam")])
def test_output_file_chooses_the_format(at: list[str], tmp_path: Path, name: str, expected: str) -> None:
    """-o FILE takes the results; its name chooses the format; what it held is replaced."""
    (tmp_path / name).write_text("something longer than the results " * 100)
    assert Done(0, "", "") == inside(*at, "-o", tmp_path / name, "a.example")
    text = (tmp_path / name).read_text()
    assert [expected, False] == [text[: len(expected)], "something" in text]


def test_format_outranks_the_name_of_the_output(at: list[str], tmp_path: Path) -> None:
    """--format says what is written into FILE.csv."""
    inside(*at, "-o", tmp_path / "r.csv", "-f", "jsonl", "a.example")
    assert ["a.example"] == [one["input"] for one in in_order((tmp_path / "r.csv").read_text().splitlines())]


@pytest.mark.parametrize(
    ("order", "expected"),
    [("input", ["slow-300.example", "b.example"]), ("completion", ["b.example", "slow-300.example"])],
)
def test_order(at: list[str], order: str, expected: list[str]) -> None:
    """Results come as they are found, or in the order of the input."""
    assert expected == inputs(inside(*at, "--order", order, "slow-300.example", "b.example"))


def test_summary(at: list[str], tmp_path: Path) -> None:
    """The figures are one JSON object, and they add up."""
    path = tmp_path / "summary.json"
    hosts = ["a.example", "nx.example", "nodata.example", "flaky-1.summary.example", "x y"]
    done = inside(*at, "-t", "A", "-t", "AAAA", "--query-timeout", "0.4", "--summary", path, "-f", "jsonl", *hosts)
    figures = json.loads(path.read_text())
    statuses = {"INVALID": 2, "NODATA": 2, "NOERROR": 4, "NXDOMAIN": 2}
    assert [5, 10, 10, statuses] == [figures[key] for key in ("hosts_read", "lookups", "results_written", "statuses")]
    assert [True, "complete", "threads", "wire", None] == [
        figures[key] for key in ("input_complete", "ended", "engine", "backend", "note")
    ]
    assert figures["queries_sent"] == sum(result["attempts"] for result in done.results) == 10
    assert figures["seconds"] > 0


@pytest.mark.parametrize(
    ("hosts", "options", "expected"),
    [
        (["a.example", "nx.example", "nodata.example"], [], 0),
        (["a.example", "nx.example"], ["--strict"], 1),
        (["a.example", "nodata.example"], ["--strict"], 1),
        (["a.example"], ["--strict"], 0),
        (["servfail.example"], [], 1),
        (["a.example", "x y"], [], 1),
        (["hang.example", "a.example"], ["--timeout", "0.2"], 3),
    ],
)
def test_exit_status(at: list[str], hosts: list[str], options: list[str], expected: int) -> None:
    """0 every lookup was answered, 1 some were not, 3 the deadline ended the run; --strict wants data."""
    assert expected == inside(*at, *options, *hosts, "-q").status


def test_types_are_asked_once(at: list[str]) -> None:
    """A type that is named twice, in whatever case, is one lookup."""
    assert 1 == len(inside(*at, "-t", "mx", "-t", "MX", "a.example").out.splitlines())


def test_nameservers_of_a_file(lab: Lab, tmp_path: Path) -> None:
    """-n @FILE reads a list of nameservers, with comments."""
    (tmp_path / "servers").write_text(f"# ours\n\nudp://{lab.nameserver}  # the lab\ntcp://{lab.nameserver}\n")
    done = inside(
        "-e", "threads", "-n", f"@{tmp_path / 'servers'}", "-f", "jsonl", "-t", "A", "--concurrency", "1", *"abcdef"
    )
    assert [{lab.nameserver}, {"udp", "tcp"}] == [
        {result[key] for result in done.results} for key in ("nameserver", "transport")
    ]


def test_tries_and_query_timeout(at: list[str], tmp_path: Path) -> None:
    """--tries 2 asks twice; the last try waits --query-timeout, the one before half of it."""
    words = [*at, "--tries", "2", "--query-timeout", "0.2", "-f", "jsonl", "hang.example"]
    (result,) = second_look(lambda: inside(*words).results, lambda results: results[0]["elapsed"] < 0.6)
    assert ["TIMEOUT", 2, True] == [result["status"], result["attempts"], 0.3 <= result["elapsed"] < 0.6]


def test_rate(at: list[str], tmp_path: Path) -> None:
    """--rate 20 takes most of half a second for 10 queries."""
    inside(*at, "--rate", "20", "--summary", tmp_path / "s", *"abcdefghij")
    assert 0.4 < json.loads((tmp_path / "s").read_text())["seconds"]


def test_concurrency(at: list[str], tmp_path: Path) -> None:
    """--concurrency 1 asks one after the other: three replies of 100 ms take 300."""
    inside(*at, "--concurrency", "1", "--summary", tmp_path / "s", *(f"slow-100.{x}.example" for x in "abc"))
    assert 0.3 <= json.loads((tmp_path / "s").read_text())["seconds"]


def test_no_wait(tmp_path: Path) -> None:
    """--no-wait sends each query once, waits for nothing, and tells how many went out; no results, exit status 0."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        silent.settimeout(5)
        where = "{}:{}".format(*silent.getsockname())
        done = inside("--no-wait", "-e", "threads", "-n", where, "--summary", tmp_path / "s", "a.example", "b.example")
        expected = Done(0, f"2 of 2 queries sent to {where}; no reply was awaited\n", "")
        assert [expected, 2] == [done, len([silent.recv(512) for _ in range(2)])]
        silent.setblocking(False)
        with pytest.raises(BlockingIOError):
            silent.recv(512)
    figures = json.loads((tmp_path / "s").read_text())
    assert [2, 2, 0] == [figures[key] for key in ("lookups", "queries_sent", "results_written")]


def test_no_wait_refuses_what_it_cannot_mean() -> None:
    """Options about replies and results mean nothing where none are awaited; all that are given are named."""
    options = ["--query-timeout=1", "--tries=2", "--concurrency=9", "--format=csv", "--output=x", "--order=input"]
    expected = f"{', '.join(each.split('=')[0] for each in options)}, --strict means nothing with --no-wait"
    assert f"Error: {expected}" == complaint(inside("--no-wait", "-e", "threads", "--strict", *options, "a.example"))


def test_lab_option() -> None:
    """--lab starts a nameserver for the run; it does not go with others."""
    done = inside("--lab", "-e", "asyncio", "-f", "jsonl", "a.example")
    assert [0, "NOERROR", True] == [
        done.status, done.results[0]["status"], done.results[0]["nameserver"].startswith("127.0.0.1:"),
    ]  # fmt: skip
    assert "lab" in complaint(inside("--lab", "-n", "127.0.0.1", "a.example"))


@pytest.mark.parametrize("option", ["--progress", "--no-progress", "-q --progress", None])
def test_progress_in_a_pipe(at: list[str], option: str | None) -> None:
    """Where standard error is no terminal there is a summary with --progress only, and -q outranks it."""
    done = inside(*at, *(option.split() if option else []), "a.example")
    assert (["1 host, 1 lookup, 1 result in"] if option == "--progress" else []) == [
        line.partition(" 0.")[0] for line in done.err.splitlines()[:1]
    ]


def test_nobody_answers() -> None:
    """One sentence on standard error names --lab; nothing falls back to it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        where = "{}:{}".format(*silent.getsockname())
        done = inside("-e", "threads", "-n", where, "--tries", "1", "--query-timeout", "0.1", "a.example")
        assert [1, ["a.example"], 1] == [done.status, inputs(done), done.err.count("\n")]
        assert f"resolve: No nameserver answered ({where}); --lab " in done.err


def test_version() -> None:
    """--version names ours, and those of what it stands on; after other arguments too."""
    done = inside("--version")
    names = [line.split()[0] for line in done.out.splitlines()]
    assert [0, ["resolve", "Python", "gevent", "dnspython", "aiodns", "msgspec", "click", "rich", "accelerator"]] == [
        done.status,
        names,
    ]
    assert f"accelerator {'in use' if ACCELERATED else 'not in use'}" == done.out.splitlines()[-1]
    assert done == inside("a.example", "--version") == inside("run", "--version")


def test_engines() -> None:
    """One object for each pair, with these keys; the table has the same rows."""
    pairs = [json.loads(line) for line in inside("engines", "-f", "jsonl").out.splitlines()]
    assert [["engine", "backend", "style", "installed", "extra"]] * len(pairs) == [list(pair) for pair in pairs]
    assert [(engine, backend) for engine, entry in ENGINES.items() for backend in entry.styles] == [
        (pair["engine"], pair["backend"]) for pair in pairs
    ]
    rows = [line.split()[:3] for line in inside("engines").out.splitlines()[1:]]
    assert [[pair["engine"], pair["backend"], pair["style"]] for pair in pairs] == rows


@pytest.mark.parametrize("word", [[], ["lab"], ["engines"], ["run"], ["compare"], ["worker"]])
def test_help_is_quick(word: list[str]) -> None:
    """Help loads none of the libraries that look up or draw."""
    heavy = ("gevent", "dns", "rich", "aiodns", "msgspec", "asyncio", "ssl", "psutil", "matplotlib", "celery", "redis")
    code = (
        "import sys; from resolver.commands import cli\n"
        "try: cli.main(prog_name='resolve')\n"
        f"finally: print(*[name for name in {heavy} if name in sys.modules], file=sys.stderr)"
    )
    done = run(*word, "--help", command=[sys.executable, "-c", code])
    # The lab's help lists its scripts, which stand in the server's modules.
    unneeded = [name for name in done.err.split() if word != ["lab"]]
    assert [0, "Usage: resolve", []] == [done.status, done.out[:14], unneeded]


@pytest.mark.parametrize("word", [[], *([name] for name in cli.commands)])
def test_short_help(word: list[str]) -> None:
    """-h is --help, for every command."""
    expected = inside(*word, "--help")
    assert [0, "Usage: resolve", expected] == [expected.status, expected.out[:14], inside(*word, "-h")]


@pytest.mark.parametrize("word", ["run", "compare", "lab", "worker"])
def test_help_in_groups(word: str) -> None:
    """Each option stands in the group that it names; the groups stand in one order, and their texts in one column."""
    text = inside(word, "-h").out
    heads = [head for head in re.findall(r"^(\S.*):$", text, re.M) if head in [*Group, "Options"]]
    assert sorted(heads, key=[*Group, "Options"].index) == heads
    for option in cli.commands[word].params:
        if isinstance(option, Setting):
            shown = text.partition(f"{option.group or 'Options'}:\n")[2].partition("\n\n")[0]
            assert re.search(rf"^ .*{max(option.opts, key=len)}\b", shown, re.M), f"{option.opts} in {option.group}"
    columns = {len(row[0]) for row in re.findall(r"^(  -\S.*?  +)\S", text, re.M)}
    assert 1 == len(columns), f"the texts begin in columns {columns}"


@pytest.mark.parametrize("word", [[], *([name] for name in cli.commands)])
@pytest.mark.parametrize("columns", [80, 120])
def test_help_is_laid_out(word: list[str], columns: int) -> None:
    """The help fits the terminal, up to 110 columns, and no short default is broken in two."""
    text = inside(*word, "-h", env=environment(COLUMNS=str(columns))).out
    assert max(map(len, text.splitlines())) <= min(columns, 110)
    assert [] == re.findall(r"\[default:(?:\n +|[^\]\n]{,9}\n +)[^\]]{,9}\]", text)
    assert "\u00a0" not in text


def test_environment_sets_every_option() -> None:
    """RESOLVE_ and the option's long name, the same for every command."""
    for command in ("run", "compare", "lab", "worker"):
        for option in cli.commands[command].params:
            if isinstance(option, click.Option) and option.name not in ("help", "version"):
                name = max(option.opts, key=len).lstrip("-").upper().replace("-", "_")
                assert f"RESOLVE_{name}" == option.envvar


def test_environment(lab: Lab, tmp_path: Path) -> None:
    """The environment does what the options do, repeatable ones with white space between."""
    env = environment(
        RESOLVE_ENGINE="threads", RESOLVE_BACKEND="wire", RESOLVE_TYPE="aaaa mx", RESOLVE_TRIES="1", RESOLVE_STRICT="1",
        RESOLVE_NAMESERVER=f"{lab.nameserver} tcp://{lab.nameserver}", RESOLVE_OUTPUT=str(tmp_path / "r.jsonl"),
        RESOLVE_ORDER="input", RESOLVE_SUMMARY=str(tmp_path / "s"), RESOLVE_QUERY_TIMEOUT="1", RESOLVE_PROGRESS="1",
        RESOLVE_CONCURRENCY="5", RESOLVE_RATE="100", RESOLVE_TIMEOUT="20",
    )  # fmt: skip
    done = inside("a.example", "nx.example", env=env)
    results = [json.loads(line) for line in (tmp_path / "r.jsonl").read_text().splitlines()]
    assert [1, "", "2 hosts, 4 lookups, 4 results"] == [done.status, done.out, done.err.partition(" in ")[0]]
    assert [("AAAA", "threads"), ("MX", "threads")] * 2 == [(one["type"], one["engine"]) for one in results]
    assert [0, 1, 2, 3] == [one["index"] for one in results]
    assert 4 == json.loads((tmp_path / "s").read_text())["lookups"]


def test_command_line_outranks_environment(lab: Lab) -> None:
    """What both set, the command line decides; what the environment sets wrongly is told like an argument."""
    env = environment(RESOLVE_ENGINE="nope", RESOLVE_TYPE="MX", RESOLVE_LAB="1")
    (result,) = inside("-e", "asyncio", "-t", "A", "-f", "jsonl", "a.example", env=env).results
    assert ["asyncio", "A"] == [result["engine"], result["type"]]
    assert "there is no engine 'nope'; valid: gevent, " in complaint(inside("a.example", env=env))


def test_every_format_has_the_same_results(at: list[str]) -> None:
    """Text, table and CSV tell the answer that JSON Lines does."""
    answer = inside(*at, "-f", "jsonl", "a.example").results[0]["answers"][0]["data"]
    formats = ["text", "table", "csv"]
    assert formats == [each for each in formats if answer in inside(*at, "-f", each, "a.example").out]


def test_a_run_of_many(at: list[str], tmp_path: Path) -> None:
    """5,000 hosts through a pipe: each line has its result once, in its order."""
    hosts = [f"host-{number}.example" for number in range(5000)]
    done = inside(*at, "--order", "input", text="\n".join(hosts))
    assert [0, hosts] == [done.status, inputs(done)]


def test_from_a_checkout(at: list[str]) -> None:
    """`python cli.py` is the same command."""
    words = [sys.executable, str(HOME / "cli.py")]
    assert inside(*at, "a.example") == run(*at, "a.example", command=words)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["-e", "asynci", "a.example"], "did you mean asyncio?"),
        (["-e", "processes", "--inner", "thread", "a.example"], "did you mean threads?"),
        (["-b", "dnspyton", "a.example"], "did you mean dnspython?"),
        (["-t", "cnmae", "a.example"], "did you mean CNAME?"),
        (["--only", "NXDOMIAN", "a.example"], "did you mean NXDOMAIN?"),
        (["--only", "difering", "a.example"], "did you mean differing?"),
        (["worker", "--redis", "redis://127.0.0.1:1", "-e", "asynci"], "did you mean asyncio?"),
        (["config", "-f", "jsonl", "--enigne", "x"], "Did you mean one of: '--config', '--engine', '--inner'?)"),
        (["--redo", "unaswered", "--resume", "-o", "r.jsonl", "a.example"], "did you mean unanswered?"),
        (["--enigne", "gevent", "a.example"], "Did you mean one of: '--config', '--engine', '--inner'?)"),
        (["compare", "-e", "threds", "--lab", "a.example"], "did you mean threads?"),
        (["compare", "-b", "wir", "--lab", "a.example"], "did you mean wire?"),
        (["-f", "josnl", "a.example"], "did you mean jsonl?"),
        (["--order", "inptu", "a.example"], "did you mean input?"),
        (["compare", "-f", "jsno", "--lab", "a.example"], "did you mean json?"),
        (["nameservers", "-f", "nameserver", "--lab"], "did you mean nameservers?"),
        (["engines", "-f", "txt"], "did you mean text?"),
        (["completion", "bsh"], "did you mean bash?"),
    ],
)
def test_mistyped(words: list[str], expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was mistyped is asked back for, at the end of the sentence."""
    monkeypatch.chdir(tmp_path)
    assert expected == complaint(inside(*words))[-len(expected) :]


def test_nothing_was_meant() -> None:
    """A word that is near to none is not guessed at."""
    assert "did you mean" not in complaint(inside("-e", "zzzzzz", "a.example"))


def test_mistyped_command(at: list[str], tmp_path: Path) -> None:
    """A first word that is nearly a command is looked up, for it may be a host, and asked back for; a file is not."""
    done = inside("engins", *at, cwd=tmp_path)
    assert ["engins", "resolve: engins is taken for a host; did you mean engines?\n"] == [*inputs(done), done.err]
    (tmp_path / "engins").write_text("a.example\n")
    assert [["a.example"], ""] == [inputs(done := inside("engins", *at, cwd=tmp_path)), done.err]
    for host in ("localhost", "compare.example", "engines1"):
        assert "" == inside(host, *at, cwd=tmp_path).err

"""What is wrong with arguments, lists and files: a sentence on standard error, the right exit status, nothing lost."""

import json
import os
import subprocess
from pathlib import Path

import pytest
from command import COMMAND, Done, complaint, environment, in_order, inside, run, start

from resolver.engines import BACKENDS, ENGINES
from resolver.extras import DISTRIBUTION
from resolver.lab import Lab

NUMBERS = ["0", "-1", "nan", "inf", "abc", ""]
FULL = Path("/dev/full")


@pytest.fixture(scope="module")
def at(lab: Lab) -> list[str]:
    """The options that have a nameserver asked that answers for every name, on the engine that starts soonest."""
    return ["-e", "threads", "-n", lab.nameserver]


@pytest.mark.parametrize("option", ["--timeout", "--query-timeout", "--tries", "--concurrency", "--rate"])
def test_numbers_must_be_above_zero(option: str) -> None:
    """Every numeric option takes what is above 0 and finite, and says which option and value were wrong."""
    kind = "whole number" if option in ("--tries", "--concurrency") else "number"
    for value in NUMBERS:
        said = complaint(inside(f"{option}={value}", "--lab", "a.example"))
        assert said.endswith(f"Invalid value for '{option}': {value!r} is not a {kind} above 0")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["-e", "nope"], f"there is no engine 'nope'; valid: {', '.join(ENGINES)}"),
        (["-b", "nope"], f"there is no backend 'nope'; valid: {', '.join(BACKENDS)}"),
        (["-t", "NOPE"], "'NOPE' is not a record type"),
        (["-t", ""], "'' is not a record type"),
        (["-f", "xml"], "'xml' is not one of 'text', 'table', 'jsonl', 'csv'"),
        (["--order", "random"], "'random' is not one of 'completion', 'input'"),
        (["-n", "dns.example"], "'dns.example' is not an IP address; valid: ADDR, ADDR:PORT, [V6]:PORT"),
        (["-n", "192.0.2.1:0"], "'0' is not a port from 1 to 65535; valid: ADDR"),
        (["-n", "[2001:db8::1]:53x"], "'53x' is not a port from 1 to 65535; valid: ADDR"),
        (["-n", "@"], "'@' is no nameserver: no file follows the @"),
        (["-n", "quic://192.0.2.1"], "quic:// is not known; valid: ADDR"),
        (["-n", "https://192.0.2.1/{dns}"], "the one template is {?dns}, behind the path"),
        (["-n", ""], "is no nameserver"),
        (["-n", "@/nonexistent/servers"], "/nonexistent/servers: No such file or directory"),
        (["-o", "/nonexistent/r.jsonl"], "/nonexistent/r.jsonl: No such file or directory"),
        (["-o", "/"], "/: Is a directory"),
        (["-o", ""], "'': No such file or directory"),
        (["--summary", "/nonexistent/s"], "/nonexistent/s: No such file or directory"),
        (["--nope"], "No such option '--nope'"),
        (["nonexistent/list"], "nonexistent/list: there is no such file"),
    ],
    ids=" ".join,
)
def test_arguments(options: list[str], sentence: str) -> None:
    """What is wrong is named, and where there is a choice, what is valid."""
    nameserver = [] if "-n" in options else ["-n", "127.0.0.1"]
    assert sentence in complaint(inside("-e", "threads", *options, *nameserver, "a.example"))


@pytest.mark.parametrize("words", [["nope/list"], ["--listen", "nope"], ["--latency", "soon"], ["--loss", "200%"],
                                   ["--capacity", "0"], ["--zone", "/nonexistent"], ["--tls-cert", "x"]])  # fmt: skip
def test_arguments_of_the_lab(words: list[str]) -> None:
    """The lab's arguments are checked before it listens."""
    assert "Error: " in complaint(inside("lab", "--listen", "127.0.0.1:0", *words))


def test_list_of_bad_nameservers(tmp_path: Path) -> None:
    """In a list of nameservers the line is named that is wrong; an empty list names none."""
    (tmp_path / "servers").write_text("127.0.0.1\nnope\n")
    assert "servers, line 2: 'nope' is no nameserver" in complaint(
        inside("-n", f"@{tmp_path / 'servers'}", "a.example")
    )
    (tmp_path / "servers").write_text("# nobody\n")
    assert "servers names no nameserver" in complaint(inside("-n", f"@{tmp_path / 'servers'}", "a.example"))


def test_engine_that_is_not_installed(tmp_path: Path) -> None:
    """The sentence says what to install; other engines run; the list of engines says which is missing."""
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "class Without:\n"
        "    def __init__(self, finder): self.finder = finder\n"
        "    def find_spec(self, name, *rest):\n"
        "        return None if name.split('.')[0] == 'gevent' else self.finder.find_spec(name, *rest)\n"
        "    def __getattr__(self, name): return getattr(self.finder, name)\n"
        "sys.meta_path[:] = map(Without, sys.meta_path)\n"
    )
    env = environment(PYTHONPATH=str(tmp_path))
    expected = f"Error: engine gevent needs gevent, which is not installed: pip install '{DISTRIBUTION}'"
    assert expected == complaint(run("--lab", "a.example", env=env))
    pairs = [json.loads(line) for line in run("engines", "-f", "jsonl", env=env).out.splitlines()]
    assert {name: name != "gevent" for name in ENGINES} == {pair["engine"]: pair["installed"] for pair in pairs}
    assert f"no: pip install '{DISTRIBUTION}" in run("engines", env=env).out
    assert 0 == run("--lab", "-e", "threads", "a.example", env=env).status


@pytest.mark.parametrize(
    ("through", "engine"), [("pipe", "threads"), ("pipe", "processes"), ("pipe", "redis"), ("file", "threads")]
)
def test_lines(at: list[str], tmp_path: Path, engine: str, env: dict[str, str], through: str) -> None:
    """Each line has its result, whatever it holds: BOM, CRLF, bad octets, NUL, long labels, names and lines, blanks."""
    label = "x" * 63
    lines = [
        ("\ufefffirst.example\r".encode(), "first.example", "NOERROR"),
        (b"# a comment\r", None, ""),
        (b" \t\r", None, ""),
        (b"dos.example\r", "dos.example", "NOERROR"),
        (b"b\xfccher.example", "b\ufffdcher.example", "INVALID"),
        (b"nul\x00.example", "nul\x00.example", "INVALID"),
        (f"x{label}.example".encode(), f"x{label}.example", "INVALID"),
        (f"{label}.example".encode(), f"{label}.example", "NOERROR"),
        (".".join([label] * 4).encode(), ".".join([label] * 4), "INVALID"),
        (b"two words", "two words", "INVALID"),
        (b"empty..label", "empty..label", "INVALID"),
        (b"y" * 1_000_000, "y" * 1_000_000, "INVALID"),
        (b"z" * 3_000_000, "z" * (1 << 20), "INVALID"),
        ("bücher.example # with a comment".encode(), "bücher.example", "NOERROR"),
        (b"under_score.example.", "under_score.example.", "NOERROR"),
        (b"twice.example", "twice.example", "NOERROR"),
        (b"twice.example", "twice.example", "NOERROR"),
        (b"last.example", "last.example", "NOERROR"),  # no line feed follows
    ]
    octets = b"\n".join(line for line, _, _ in lines)
    (tmp_path / "list").write_bytes(octets)
    words = [*at, "-e", engine, "-f", "jsonl"]
    done = inside(*words, text=octets, env=env) if through == "pipe" else inside(*words, tmp_path / "list", env=env)
    assert [1, ""] == [done.status, done.err]
    assert [(text, status) for _, text, status in lines if text is not None] == [
        (result["input"], result["status"]) for result in done.results
    ]
    assert [result["status"] == "INVALID" for result in done.results] == [
        result["name"] is None and bool(result["error"]) for result in done.results
    ]


@pytest.mark.parametrize("format_", ["text", "table", "csv"])
def test_lines_in_every_format(at: list[str], format_: str) -> None:
    """Bad lines break no format, and none of their octets reaches a terminal as a control character."""
    done = inside(*at, "-f", format_, text=b"b\xfc.example\nnul\x00.example\n\x1b]0;title\x07.example\nok.example\n")
    assert [1, ""] == [done.status, done.err]
    if format_ != "csv":
        assert [False, False] == [mark in done.out for mark in ("\x1b", "\x00")]
    assert [4, True] == [sum(".example" in line for line in done.out.splitlines()), "ok.example" in done.out]


def test_host_arguments(at: list[str]) -> None:
    """An argument that is no host is INVALID, as a line would be: empty, blank, octets that are not UTF-8."""
    words = [*at, "-f", "jsonl", "", " ", "a b", b"b\xfc.example".decode("utf-8", "surrogateescape")]
    done = inside(*words)
    assert [1, ["", "", "a b", "b\ufffd.example"]] == [done.status, [result["input"] for result in done.results]]
    assert {"INVALID"} == {result["status"] for result in done.results}


def test_hash_begins_no_comment_in_an_argument(at: list[str]) -> None:
    """An argument is one host, whole: a comment is for lists."""
    (result,) = inside(*at, "-f", "jsonl", "#a.example").results
    assert "#a.example" == result["input"]


@pytest.mark.parametrize("option", ["-o", "--summary"])
def test_output_that_is_an_input(at: list[str], option: str, tmp_path: Path) -> None:
    """A list is never overwritten, by whatever name it is called, nor read while it grows."""
    (tmp_path / "list").write_text("a.example\n")
    os.link(tmp_path / "list", tmp_path / "other")
    assert "other is another file of this run" in complaint(inside(*at, "list", option, "other", cwd=tmp_path))
    with (tmp_path / "list").open("rb") as file:
        assert "list is another file of this run" in complaint(inside(*at, option, "list", stdin=file, cwd=tmp_path))
    assert "a.example\n" == (tmp_path / "list").read_text()


def test_standard_output_that_is_an_input(at: list[str], tmp_path: Path) -> None:
    """`resolve list >> list` would read what it writes, and is refused."""
    (tmp_path / "list").write_text("a.example\n")
    with (tmp_path / "list").open("ab") as file:
        done = inside(*at, tmp_path / "list", stdout=file)
    assert [2, True] == [done.status, "standard output is another file of this run" in done.err]
    assert "a.example\n" == (tmp_path / "list").read_text()


def test_summary_into_the_output(at: list[str], tmp_path: Path) -> None:
    """The results and the figures cannot have the same file."""
    assert "another file" in complaint(inside(*at, "a.example", "-o", "x", "--summary", "x", cwd=tmp_path))


@pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("format_", ["text", "table", "jsonl", "csv"])
def test_full_disk(at: list[str], format_: str) -> None:
    """Where results cannot be written the exit status is 4, with a sentence, for -o and for standard output."""
    expected = Done(4, "", "resolve: writing the results failed: No space left on device\n")
    if format_ == "jsonl":
        assert expected == run(*at, "-f", format_, "-o", FULL, "a.example")
    with FULL.open("wb") as full:
        assert expected == run(*at, "-f", format_, "a.example", stdout=full)


@pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")
def test_full_disk_for_the_summary(at: list[str]) -> None:
    """The results are there; the exit status is 4 for the figures that are not."""
    done = inside(*at, "--summary", FULL, "-f", "jsonl", "a.example")
    assert [4, "NOERROR"] == [done.status, done.results[0]["status"]]
    assert "resolve: writing the summary failed: No space left on device\n" == done.err


@pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize(
    "words", [["--help"], ["--version"], ["engines"], ["lab", "--help"], ["--no-wait", "--lab", "a"]]
)
def test_full_disk_for_other_output(words: list[str]) -> None:
    """What is no result is told the same way."""
    with FULL.open("wb") as full:
        assert Done(4, "", "resolve: writing failed: No space left on device\n") == run(*words, stdout=full)


@pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")
def test_standard_error_that_takes_nothing(at: list[str]) -> None:
    """Where the progress and the summary cannot be shown, the results and the exit status are as ever."""
    with FULL.open("wb") as full:
        done = inside(*at, "--progress", "-f", "jsonl", "a.example", stderr=full)
    assert [0, ["NOERROR"]] == [done.status, [result["status"] for result in done.results]]


@pytest.mark.parametrize("engine", ENGINES)
def test_closed_pipe(at: list[str], tmp_path: Path, engine: str, env: dict[str, str]) -> None:
    """`resolve list | head -1` ends quietly, and soon."""
    (tmp_path / "list").write_text("".join(f"host-{number}.example\n" for number in range(20_000)))
    with start(*at, "-e", engine, tmp_path / "list", stdin=subprocess.DEVNULL, env=env) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith(b"host-")
        process.stdout.close()
        assert [b"", 0] == [process.stderr.read(), process.wait(10)]


def test_closed_ends(at: list[str], tmp_path: Path) -> None:
    """Without standard error the results come all the same; without standard output the run is refused."""
    shell = ["sh", "-c", 'closed=$1; shift; eval "exec \\"\\$@\\" $closed"', "sh"]
    done = run(*at, "-f", "jsonl", "a.example", command=[*shell, "2>&-", *COMMAND])
    assert ["NOERROR"] == [result["status"] for result in done.results]
    refused = run(*at, "a.example", "--summary", tmp_path / "s", command=[*shell, ">&-", *COMMAND])
    assert "Error: standard output is closed; --output writes to a file" == complaint(refused)
    done = run(*at, "-o", tmp_path / "r.jsonl", "a.example", command=[*shell, ">&-", *COMMAND])
    assert [0, 1] == [done.status, len(in_order((tmp_path / "r.jsonl").read_text().splitlines()))]
    assert "Bad file descriptor" in complaint(run(*at, "-", command=[*shell, "<&-", *COMMAND]))

"""The documentation, tested against the command: what README.md shows is run, what it lists is all there is."""

import csv
import ipaddress
import json
import os
import re
import shutil
import signal
import subprocess
from itertools import takewhile
from pathlib import Path

import click
import msgspec
import pytest
from command import environment, inside, line, start
from examples import ROOT, blocks, lines, python, shell

from resolver import Result, Status, console
from resolver.commands import cli
from resolver.compare.figures import FIGURES
from resolver.compare.show import COLUMNS
from resolver.engines import BACKENDS, ENGINES
from resolver.lab import SCRIPTS
from resolver.model import KEYS
from resolver.output.formats import FORMATS

README = (ROOT / "README.md").read_text(encoding="utf-8")
DETAIL = (ROOT / "docs" / "in-detail.md").read_text(encoding="utf-8")
COOKBOOK = (ROOT / "docs" / "cookbook.md").read_text(encoding="utf-8")
LISTED = [each for each in (ROOT / "hosts.txt").read_text(encoding="utf-8").splitlines() if each and each[0] != "#"]
ADDRESSES = 2  # of which it holds so many, each one lookup whatever types are asked


def section(title: str) -> str:
    """What stands under a heading, up to the next."""
    return re.split(r"^#{2,3} ", README.partition(f" {title}\n")[2], maxsplit=1, flags=re.M)[0]


def rows(title: str, heading: str) -> list[list[str]]:
    """The rows of the table in this section whose first column is headed so."""
    _, table = section(title).split(f"| {heading} |", 1)
    shown = takewhile(lambda each: each.startswith("|"), table.splitlines()[2:])
    return [[cell.strip() for cell in each.strip("|").split("|")] for each in shown]


def quoted(text: str) -> list[str]:
    """What stands in backquotes."""
    return re.findall(r"`([^`]+)`", text)


def between(name: str) -> str:
    """What stands between the marks."""
    return (README + DETAIL + COOKBOOK).partition(f"<!-- {name} -->")[2].partition("<!-- end -->")[0]


def marked(name: str) -> str:
    """The one line of shell between the marks."""
    (block,) = blocks("sh", between(name))
    return block.strip()


def options(command: str) -> set[str]:
    """All names of a command's options."""
    found = [each for each in cli.commands[command].params if isinstance(each, click.Option)]
    return {name for each in found for name in (*each.opts, *each.secondary_opts)} | {"-h", "--help"}


def tour() -> list[str]:
    """The lines of the tour, without their comments."""
    (block,) = blocks("sh", README.partition("## A tour\n")[2].partition("### ")[0])
    return lines(block)


# --- What is listed.


def test_options() -> None:
    """README's table has every option of `resolve run`, and no other."""
    listed = {name for option, *_ in rows("Options", "option") for name in quoted(option)}
    assert options("run") == listed


def test_options_of_the_help() -> None:
    """`resolve --help` and `resolve run --help` show every option."""
    for words in (["--help"], ["run", "--help"]):
        assert options("run") == {
            name for name in re.findall(r"(?<![\w-])--?[a-z][a-z-]*", inside(*words).out.partition("The list:")[2])
        } & options("run")


def test_no_other_option_is_named() -> None:
    """Wherever the pages write an option of the command, there is one of that name."""
    known = set[str]().union(*map(options, cli.commands))
    others = re.compile(r"^(celery|redis-cli|systemctl|install) .*", re.M)  # have options of their own
    pages = [ROOT / "docs" / f"{name}.md" for name in ("index", "first-steps", "in-detail", "comparing", "distributed")]
    for page in (ROOT / "README.md", ROOT / "CHANGELOG.md", *pages):
        text = others.sub("", page.read_text(encoding="utf-8"))
        named = {word for quote in quoted(text) for word in re.findall(r"(?:^| )(--[a-z][a-z-]+)", quote)}
        assert [page.name, set()] == [page.name, named - known]


def test_defaults() -> None:
    """What README says of an option's default is its default."""
    stated = {quoted(option)[-1]: default for option, _, default in rows("Options", "option")}
    for option in cli.commands["run"].params:
        longest = max(option.opts, key=len)
        if isinstance(option, click.Option) and isinstance(option.default, (str, int, float)) and not option.is_flag:
            assert [longest, f"{option.default:g}" if isinstance(option.default, float) else str(option.default)] == [
                longest, stated[longest].strip("`"),
            ]  # fmt: skip


def test_engines_and_backends() -> None:
    """README names the engines and backends that there are."""
    meanings = {quoted(option)[-1]: quoted(meaning) for option, meaning, _ in rows("Options", "option")}
    assert [list(ENGINES), list(BACKENDS), set(FORMATS)] == [
        meanings["--engine"], meanings["--backend"], set(meanings["--format"]),
    ]  # fmt: skip


def test_formats() -> None:
    """Each format is explained."""
    assert set(FORMATS) == set(re.findall(r"^- `(\w+)`:", section("Formats"), re.M))


def test_exit_statuses() -> None:
    """README's table has the exit statuses that the command gives."""
    expected = [console.ANSWERED, console.UNANSWERED, console.UNREADABLE, console.DEADLINE, console.UNWRITABLE]
    expected += [128 + signal.SIGINT, 128 + signal.SIGTERM]
    assert expected == [int(number) for first, _ in rows("Exit status", "status") for number in first.split(",")]


def test_exit_statuses_of_the_help() -> None:
    """The help has the same ones."""
    said = " ".join(inside("run", "--help").out.split()).partition("Exit status: ")[2].partition(". ")[0]
    assert ["0", "1", "2", "3", "4", "130", "143"] == re.findall(r"\b\d+\b", said)


def test_json_fields() -> None:
    """The example has the fields of a Result in their order, and so has the table."""
    (block,) = blocks("json", README)
    fields = list(KEYS)
    assert [fields, fields] == [
        list(json.loads(block)), [name for cell, _ in rows("JSON fields", "field") for name in quoted(cell)],
    ]  # fmt: skip
    example = msgspec.json.decode(block, type=Result)
    assert [Status.NOERROR, ["192.0.2.7"]] == [example.status, example.addresses]


def test_statuses() -> None:
    """The statuses that README explains are those that a result can have; of the rcodes it names four."""
    listed = [name for cell, _ in rows("JSON fields", "status") for name in quoted(cell)]
    ours = ["NOERROR", "NODATA", "NXDOMAIN", "SERVFAIL", "REFUSED", "FORMERR", "NOTIMP"]
    assert (
        [*ours, "TIMEOUT", "DEADLINE", "CANCELLED", "INVALID", "ERROR"] == listed == [Status(each) for each in listed]
    )


def test_scripts_of_the_lab() -> None:
    """The scripts that README shows are among those that the lab has, and its help lists all."""
    patterns = {re.sub(r"\d+$", "", label) for label in re.findall(r"`([a-z0-9-]+)\.example`", section("The lab"))}
    assert [True, set()] == [
        len(patterns) >= 5, patterns - {re.sub("(N|MS)$", "", pattern) for pattern in SCRIPTS},
    ]  # fmt: skip
    shown = inside("lab", "--help").out
    assert [] == [pattern for pattern in SCRIPTS if f"  {pattern} " not in shown]


@pytest.mark.parametrize(
    "page",
    [
        "README.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "benchmarks/README.md",
        "docs/comparing.md",
        "docs/distributed.md",
        "docs/notebook.md",
    ],
)
def test_links(page: str) -> None:
    """What the pages link to in the checkout exists, headings too."""
    text = (ROOT / page).read_text(encoding="utf-8")
    anchors = {
        re.sub(r"[^\w -]", "", title).strip().lower().replace(" ", "-") for title in re.findall(r"^#+ (.*)", text, re.M)
    }
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]
    files = [link.partition("#")[0] for link in links if not link.startswith("#")]
    assert [] == [link for link in links if link.startswith("#") and link[1:] not in anchors]
    assert [] == [each for each in files if not ((ROOT / page).parent / each).exists()]


def test_columns_of_a_comparison() -> None:
    """The page about comparing explains every column, in their order, and no other."""
    table = (ROOT / "docs" / "comparing.md").read_text(encoding="utf-8").partition("| column | meaning |\n")[2]
    explained = [name for row in table.splitlines()[1:] if row.startswith("|") for name in quoted(row.split("|")[1])]
    assert [FIGURES[name].heading for name in COLUMNS] == explained


def test_benchmarks() -> None:
    """The benchmarks that their page tells to run exist."""
    page = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    modules = re.findall(r"-m benchmarks\.([a-z]+)", page)
    assert [True, []] == [
        bool(modules),
        [each for each in modules if not (ROOT / "benchmarks" / f"{each}.py").exists()],
    ]


# --- What is shown is run.


@pytest.mark.parametrize("example", tour())
def test_tour(at: str, checkout: Path, example: str) -> None:
    """Each line of the tour does what it shows: it asks, and ends with 0, or with 1 for the list's bad line."""
    done = shell(example, checkout, at)
    types = max(1, example.count(" -t "))
    lookups = (len(LISTED) - ADDRESSES) * types + ADDRESSES if "hosts.txt" in example else 0
    assert [1 if lookups else 0, ""] == [done.returncode, done.stderr]
    shown = (checkout / "results.jsonl").read_text() if "results.jsonl" in example else done.stdout
    written = [each for each in shown.splitlines() if re.search("NOERROR|NXDOMAIN|INVALID", each)]
    assert lookups == len(written) or ((not lookups or "--group" in example or "--only" in example) and shown)


def test_thinned(at: str, checkout: Path) -> None:
    """What was not answered is written as a list and looked up again, by the commands that README shows."""
    (block,) = blocks("sh", between("thinned"))
    invalid = ["two words"]
    shown = []
    for command in lines(block):
        done = shell(command, checkout, at)
        assert [1 if "sort" not in command else 0, ""] == [done.returncode, done.stderr]
        shown.append(done.stdout.splitlines())
    assert invalid == (checkout / "again.txt").read_text().splitlines()
    assert [[], invalid] == [shown[0], [each.split("\t")[0] for each in shown[1]]]
    assert {4, 6} == {ipaddress.ip_address(each).version for each in shown[2] if not each.endswith(".")}
    assert len(LISTED) + 1 == len((checkout / "hosts.csv").read_text().splitlines())


def test_spreadsheet(at: str, checkout: Path) -> None:
    """A spreadsheet is looked up, and its rows come out, as shown."""
    (checkout / "assets.csv").write_text('owner,host,asset\nAnn,a.example,1\nBob,"b c",2\n')
    (block,) = blocks("sh", between("spreadsheet"))
    shown = []
    for command in lines(block):
        done = shell(command, checkout, at)
        assert [1, ""] == [done.returncode, done.stderr]
        shown.append(done.stdout.splitlines())
    found = (checkout / "found.csv").read_text().splitlines()
    assert ["Ann,a.example,1", "Ann,a.example,1", "Bob,b c,2", "Bob,b c,2", "owner,host,asset"] == sorted(
        ",".join(each.split(",")[:3]) for each in found
    )
    assert ["owner,host,asset,input,A,AAAA,PTR", 3] == [shown[1][0], len(shown[1])]


def test_asked_again(at: str, checkout: Path) -> None:
    """What of a spreadsheet was not answered is written as a list, each host once, and asked again, as shown."""
    (checkout / "assets.csv").write_text(
        "owner;host;asset\nAnn;a.example;1\nBob;flaky-4.again.example;2\nCid;https://b.example/x;3\nDan;d e;4\n"
    )
    (block,) = blocks("sh", between("asked again"))
    first, second, third = lines(block)
    done = shell(f"{first} --tries 1 --query-timeout 0.1", checkout, at)
    assert [1, "", ""] == [done.returncode, done.stdout, done.stderr]
    found = [row["owner"] + row["status"] for row in csv.DictReader((checkout / "found.csv").open())]
    assert sorted(2 * ["AnnNOERROR", "BobTIMEOUT", "CidNOERROR", "DanINVALID"]) == sorted(found)
    done = shell(second.replace("-f hosts", "-f hosts --tries 1 --query-timeout 0.1"), checkout, at)
    assert [0, ""] == [done.returncode, done.stderr]
    assert ["d e", "flaky-4.again.example"] == (checkout / "again.txt").read_text().splitlines()
    done = shell(third.replace("-timeout 5", "-timeout 1"), checkout, at)
    assert [1, "", ["host", "A", "AAAA"]] == [done.returncode, done.stderr, done.stdout.split()[:3]]
    assert re.search(r"^flaky-4\.again\.example +\d+\.\S+ +2001:", done.stdout, re.M)


def test_proxy(at: str, checkout: Path) -> None:
    """Of a proxy's log of URLs every address comes out once."""
    (block,) = blocks("sh", between("proxy"))
    done = shell(block, checkout, at)
    found = done.stdout.splitlines()
    assert [0, "", 4] == [done.returncode, done.stderr, len(found)]
    assert [4, 4, 6, 6] == sorted(ipaddress.ip_address(each).version for each in found)


def test_network(at: str, checkout: Path) -> None:
    """The names of all addresses of a network."""
    (block,) = blocks("sh", between("network"))
    done = shell(block, checkout, at)
    assert [0, "", ""] == [done.returncode, done.stdout, done.stderr]
    rows = list(csv.DictReader((checkout / "names.csv").open()))
    expected = [str(each) for each in ipaddress.ip_network("192.0.0.0/22")]
    assert [1024, {"PTR"}] == [len(rows), {row["type"] for row in rows}]
    assert sorted(expected) == sorted(row["input"] for row in rows)


def test_words(at: str, checkout: Path) -> None:
    """The names that words and domains make are looked up, by the commands of the page."""
    (checkout / "words.txt").write_text("www\nnx\n")
    (checkout / "domains.txt").write_text("a.example\nb.example\n")
    (block,) = blocks("sh", between("words"))
    shown = []
    for command in lines(block):
        done = shell(command, checkout, at)
        assert [0, ""] == [done.returncode, done.stderr]
        shown.append(sorted(each.split("\t")[0] for each in done.stdout.splitlines()))
    assert [
        ["api-nx.example.org", "api-www.example.org", "nx.example.com", "www.example.com"],
        ["www.a.example", "www.b.example"],
        ["www.example.com"],
    ] == shown


def test_try_command(checkout: Path) -> None:
    """The command to try the tool first, once it is installed: a result for each line, without a network."""
    *setup, command = marked("try command").split(" && ")
    assert ["python3 -m venv .venv", ".venv/bin/pip install -q ."] == setup
    (checkout / ".venv").mkdir()
    (checkout / "bin").rename(checkout / ".venv" / "bin")
    done = subprocess.run(command.split(), cwd=checkout, env=environment(), stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=30, check=False)  # fmt: skip
    results = [each.split("\t") for each in done.stdout.splitlines()]
    assert [1, "", len(LISTED)] == [done.returncode, done.stderr, len(results)]
    assert {"there-is-no-such-host.invalid": "NXDOMAIN", "two words": "INVALID"} == {
        host: status for host, _, status, _ in results if status != "NOERROR"
    }


def test_lab_example(checkout: Path) -> None:
    """The lab is started as shown (at another port), and serves the list."""
    commands = [each for block in blocks("sh", README) for each in lines(block)]
    (example,) = [each for each in commands if each.startswith("resolve lab ")]
    env = environment(RESOLVE_LISTEN="127.0.0.1:0")
    with start(*example.split()[1:], env=env, cwd=checkout, stdin=subprocess.DEVNULL) as process:
        address, serves, *_ = line(process.stdout).split()
        asked = inside("-n", address, "-q", "-f", "jsonl", "github.com", "not-in-the-list.example")
        process.send_signal(signal.SIGINT)
        assert [0, "serves"] == [process.wait(10), serves]
    assert ["NOERROR", "NXDOMAIN"] == [result["status"] for result in asked.results]


@pytest.mark.parametrize("number", range(len(blocks("python", README))))
def test_python_examples(at: str, checkout: Path, number: int) -> None:
    """Each example in Python prints something for each host; the system's nameserver is the lab, as is 192.0.2.53."""
    example = blocks("python", README)[number]
    done = python(example, checkout, at)
    shown = done.stdout.splitlines()
    assert [0, "", len(LISTED) if "hosts.txt" in example else 2] == [done.returncode, done.stderr, len(shown)]
    assert "hosts.txt" in example or ["pypi.org", "python.org"] == sorted(each.split()[0] for each in shown)


def test_ci_runs_the_command_of_the_readme(tmp_path: Path) -> None:
    """`.ci/run` takes the test command from README.md, as it stands there, and fails where it fails."""
    (tmp_path / ".ci").mkdir()
    shutil.copy(ROOT / ".ci" / "run", tmp_path / ".ci")
    (tmp_path / ".ci" / "apt-packages.txt").write_text("# none\n")
    shutil.copy(ROOT / "README.md", tmp_path)
    (tmp_path / "python3").write_text('#!/bin/sh\n[ "$1" = --version ] && exit 0\nexit 7\n')
    (tmp_path / "python3").chmod(0o755)

    def ci() -> subprocess.CompletedProcess[str]:
        env = {**os.environ, "PATH": os.pathsep.join([str(tmp_path), os.environ["PATH"]])}
        return subprocess.run([tmp_path / ".ci" / "run"], env=env, capture_output=True, text=True, check=False)

    done = ci()
    assert [7, f"+ {marked('test command')}\n"] == [done.returncode, done.stdout]
    (tmp_path / "README.md").write_text(README.replace("<!-- test command -->", ""))
    done = ci()
    assert [1, "", True] == [done.returncode, done.stdout, "README.md must hold one line" in done.stderr]


def test_test_command() -> None:
    """The test command makes an environment, installs what the tests need, and runs all of them."""
    expected = "python3 -m venv .venv && .venv/bin/pip install -q -e '.[test]' && .venv/bin/python -m pytest"
    assert expected == marked("test command")

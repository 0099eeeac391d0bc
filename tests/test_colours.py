"""Colours and control codes: NO_COLOR, FORCE_COLOR and TERM=dumb, at a real terminal and in a pipe."""

import re
from pathlib import Path
from typing import Any

import pexpect
import pytest
from cluster import Server, wait_for_workers
from command import COMMAND, environment, inside

from resolver.lab import Lab

COLOUR = re.compile(r"\x1b\[(?:\d+;)*(?:3[0-8]|4[0-8]|9[0-7]|10[0-7])(?:;\d+)*m")
COMMANDS = {
    "table": ["-f", "table", "--no-progress", "a.example", "nx.example"],
    "progress": ["-f", "hosts", "--progress", "a.example", "slow-700.example"],
    "compare": ["compare", "-e", "threads", "--repeat", "1", "a.example", "slow-500.example"],
    "nameservers": ["nameservers", "-f", "table"],
    "help": ["-h"],
    "mistake": ["-e", "nope", "a.example"],
}
COLOURED = {"table", "progress", "compare"}


def words(name: str, lab: Lab) -> list[str]:
    """The words of one of the commands, on the engine that starts soonest."""
    if name in ("table", "progress"):
        return ["-e", "threads", "-n", lab.nameserver, *COMMANDS[name]]
    return COMMANDS[name] + {"compare": ["-n", lab.nameserver], "nameservers": [lab.nameserver]}.get(name, [])


def at_terminal(words: list[str], **settings: str) -> str:
    """What a terminal is sent."""
    env = environment(**{"TERM": "xterm-256color", "NO_COLOR": "", **settings})
    shown: str = pexpect.run(
        " ".join([*COMMAND, *words]), env=env, dimensions=(40, 100), encoding="utf-8", timeout=30
    )  # fmt: skip
    return shown


@pytest.mark.parametrize("name", COMMANDS)
def test_terminal(lab: Lab, name: str) -> None:
    """At a terminal there are colours where the command has any."""
    assert (name in COLOURED) is bool(COLOUR.search(at_terminal(words(name, lab))))


@pytest.mark.parametrize("name", COMMANDS)
def test_no_color(lab: Lab, name: str) -> None:
    """NO_COLOR leaves them out, and outranks FORCE_COLOR."""
    shown = at_terminal(words(name, lab), NO_COLOR="1", FORCE_COLOR="1")
    assert [True, []] == [bool(shown.strip()), COLOUR.findall(shown)]


@pytest.mark.parametrize("name", COMMANDS)
def test_dumb_terminal(lab: Lab, name: str) -> None:
    """A terminal that takes no control codes is sent none: no colour, and no line that is drawn anew."""
    shown = at_terminal(words(name, lab), TERM="dumb")
    assert [True, False, False] == [bool(shown.strip()), "\x1b" in shown, "\r" in shown.replace("\r\n", "")]


def test_progress_of_a_dumb_terminal(lab: Lab) -> None:
    """There progress is a line of its own."""
    assert re.search(r"^ *\d+% 00:00 .* answered .*\r$", at_terminal(words("progress", lab), TERM="dumb"), re.M)


@pytest.mark.parametrize("term", ["dumb", "xterm"])
def test_worker(term: str, tmp_path: Path) -> None:
    """A worker draws its line anew where that can be, and else says a sentence at a time, with the time of day."""
    with Server(tmp_path) as server:
        words = [*COMMAND, "worker", "--redis", server.url, "--slots", "1", "-e", "threads"]
        terminal: Any = pexpect.spawn(words[0], words[1:], env=environment(TERM=term), encoding="utf-8", timeout=30)
        terminal.expect("end it with Ctrl-C\r\n")
        if term == "xterm":
            terminal.expect("0 chunks in hand")
        wait_for_workers(server)
        terminal.sendintr()
        terminal.expect(pexpect.EOF)
        said = terminal.before.replace("^C", "")
        terminal.close()
    stamped = re.search(r"^\d{4}-\d\d-\d\d .*leaving: ", said, re.M)
    drawn = term == "xterm"
    assert [0, drawn, drawn, not drawn] == [
        terminal.exitstatus,
        "\x1b" in said,
        "\r" in said.replace("\r\n", ""),
        bool(stamped),
    ]


@pytest.mark.parametrize("name", COMMANDS)
def test_pipe(lab: Lab, name: str) -> None:
    """In a pipe there are styles with FORCE_COLOR, and not without; the line of progress has none."""
    plain, forced = (inside(*words(name, lab), env=environment(FORCE_COLOR=force, NO_COLOR="")) for force in ("", "1"))
    assert [False, name in ("table", "compare", "nameservers")] == [
        "\x1b[" in done.out + done.err for done in (plain, forced)
    ]

"""Colours and control codes: NO_COLOR, FORCE_COLOR and TERM=dumb, at a real terminal and in a pipe."""

import re
from collections.abc import Iterator

import pexpect
import pytest
from command import COMMAND, environment, run

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


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """A nameserver that answers for every name."""
    with Lab() as running:
        yield running


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


@pytest.mark.parametrize("name", COMMANDS)
def test_pipe(lab: Lab, name: str) -> None:
    """In a pipe there are styles with FORCE_COLOR, and not without; the line of progress has none."""
    plain, forced = (run(*words(name, lab), env=environment(FORCE_COLOR=force, NO_COLOR="")) for force in ("", "1"))
    assert [False, name in ("table", "compare", "nameservers")] == [
        "\x1b[" in done.out + done.err for done in (plain, forced)
    ]

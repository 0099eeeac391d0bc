"""Completion in real shells, at a terminal: what Tab makes of a line that was begun."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pexpect
import pytest
from command import COMMAND, HOME, environment, inside

SHELLS = {
    "bash": ["bash", "--norc", "--noprofile", "-i"],
    "zsh": ["zsh", "--no-rcs", "-i"],
    "fish": ["fish", "--no-config", "-i"],
}
Complete = Callable[[str], str]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with lists in it, the command on its `bin`, and what each shell is to read."""
    directory = tmp_path_factory.mktemp("home")
    (directory / "bin").mkdir()
    (directory / "bin" / "resolve").write_text(f'#!/bin/sh\nexec {" ".join(COMMAND)} "$@"\n')
    (directory / "bin" / "resolve").chmod(0o755)
    for name in ("list.txt", "my hosts", "results.jsonl", "zone.example"):
        (directory / name).touch()
    (directory / "folder").mkdir()
    for shell in SHELLS:
        (directory / f"resolve.{shell}").write_text(inside("completion", shell).out)
    return directory


@pytest.fixture(scope="module", params=SHELLS)
def complete(home: Path, request: pytest.FixtureRequest) -> Iterator[Complete]:
    """Complete a line in this shell: the line as it stands after Tab."""
    shell = request.param
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell}")
    env = environment(
        PATH=f"{home / 'bin'}:/usr/local/bin:/usr/bin:/bin", TERM="dumb", HOME=str(home), PYTHONPATH=str(HOME)
    )
    terminal: Any = pexpect.spawn(
        SHELLS[shell][0], SHELLS[shell][1:], env=env, cwd=str(home), dimensions=(40, 200), encoding="utf-8", timeout=20
    )
    if shell == "zsh":
        terminal.sendline("PROMPT=; autoload -Uz compinit; compinit -u -D")
    terminal.sendline(f". ./resolve.{shell}; echo rea''dy")
    terminal.expect("ready")

    def completed(line: str) -> str:
        # The line is printed instead of being run. The words of it are counted to see where one ends.
        terminal.send(f"{line}\t")
        terminal.send("\x01printf '<%s>' \x05 '' e''nd\r")
        terminal.expect(r"((?:<[^>\r\n]*>)+)<><end>")
        return str(terminal.match[1])

    yield completed
    terminal.close(force=True)


EVERYWHERE = [
    ("resolve la", "<resolve><lab>"),
    ("resolve my", "<resolve><my hosts>"),
    ("resolve --engine=twi", "<resolve><--engine=twisted>"),
    ("resolve --output=resu", "<resolve><--output=results.jsonl>"),
    ("resolve -t HTT", "<resolve><-t><HTTPS>"),
    ("resolve -n @lis", "<resolve><-n><@list.txt>"),
]
# What completes a line is the same program for all shells.
IN_ONE = [
    ("resolve comple", "<resolve><completion>"),
    ("resolve completion fi", "<resolve><completion><fish>"),
    ("resolve lis", "<resolve><list.txt>"),
    ("resolve run lis", "<resolve><run><list.txt>"),
    ("resolve -e gev", "<resolve><-e><gevent>"),
    ("resolve list.txt -b dns", "<resolve><list.txt><-b><dnspython>"),
    ("resolve -t nsec3p", "<resolve><-t><nsec3param>"),
    ("resolve --only unans", "<resolve><--only><unanswered>"),
    ("resolve --redo SERVF", "<resolve><--redo><SERVFAIL>"),
    ("resolve -f js", "<resolve><-f><jsonl>"),
    ("resolve --query-t", "<resolve><--query-timeout>"),
    ("resolve -o resu", "<resolve><-o><results.jsonl>"),
    ("resolve lab --zone zo", "<resolve><lab><--zone><zone.example>"),
    ("resolve worker -e asy", "<resolve><worker><-e><asyncio>"),
    ("resolve compare list.txt -e asy", "<resolve><compare><list.txt><-e><asyncio>"),
    ("resolve config compa", "<resolve><config><compare>"),
    ("resolve config --query-t", "<resolve><config><--query-timeout>"),
    ("resolve config compare --repe", "<resolve><config><compare><--repeat>"),
    ("resolve config compare -e asy", "<resolve><config><compare><-e><asyncio>"),
]


@pytest.mark.parametrize(("line", "expected"), EVERYWHERE)
def test_completion(complete: Complete, line: str, expected: str) -> None:
    """Commands, files, options and the words that they take are completed, and the word ends where it is unique."""
    assert expected == complete(line)


@pytest.mark.parametrize("complete", ["bash"], indirect=True)
@pytest.mark.parametrize(("line", "expected"), IN_ONE)
def test_more_lines(complete: Complete, line: str, expected: str) -> None:
    """The same of other options and commands."""
    assert expected == complete(line)


@pytest.mark.parametrize("shell", SHELLS)
def test_how_to_install_it(shell: str) -> None:
    """The script says at its top how to install it."""
    text = inside("completion", shell).out
    assert 1 == sum(line.startswith(f"# Install it: resolve completion {shell} > ") for line in text.splitlines()[:2])


def test_unknown_shell() -> None:
    """Another shell is an error that lists the valid ones."""
    done = inside("completion", "tcsh")
    assert [2, True] == [done.status, all(shell in done.err for shell in SHELLS)]

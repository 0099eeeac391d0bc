"""The command at a real terminal: what is shown while it runs and at its end, and the keys that end it."""

import re
from pathlib import Path
from typing import Any

import pexpect
import psutil
import pytest
from command import COMMAND, environment, run, wait_for

from resolver.lab import Lab

SUMMARY = r"(\d+) hosts?, (\d+) lookups?, (\d+) results? in "


def at_terminal(*words: str | Path, shell: str | None = None, columns: int = 100) -> Any:
    """The command at a terminal."""
    words = ("sh", "-c", shell, "sh", *COMMAND, *words) if shell else (*COMMAND, *words)
    return pexpect.spawn(
        str(words[0]), [*map(str, words[1:])], env=environment(TERM="xterm-256color"), dimensions=(40, columns),
        encoding="utf-8", timeout=20,
    )  # fmt: skip


def ended(terminal: Any) -> tuple[int | None, str]:
    """Its exit status, and what it showed until its end."""
    terminal.expect(pexpect.EOF)
    terminal.close()
    return terminal.exitstatus, terminal.before


def plain(text: str) -> str:
    """The text without the terminal's controls."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text).replace("\r", "")


def test_table_for_a_short_list(lab: Lab) -> None:
    """A terminal gets a table in the order of the input, and a summary."""
    status, shown = ended(at_terminal("-e", "threads", "-n", lab.nameserver, "slow-100.example", "b.example", "x y"))
    lines = [line.split() for line in plain(shown).splitlines() if line.strip()]
    assert [1, ["host", "type", "status", "answers", "ms"]] == [status, lines[0]]
    assert [["slow-100.example", "NOERROR"], ["b.example", "NOERROR"]] == [[line[0], line[2]] for line in lines[2:4]]
    assert "x y" in plain(shown)
    assert [("3", "3", "3")] == re.findall(SUMMARY, shown)


@pytest.mark.parametrize(("columns", "whole"), [(80, True), (60, False)])
def test_hosts_stay_whole(lab: Lab, columns: int, whole: bool) -> None:
    """A host that takes two fifths of the terminal is on one line, however long the answers; a longer one is broken."""
    host = f"{'h' * 23}.example"
    status, shown = ended(at_terminal("-n", lab.nameserver, host, "two words", columns=columns))
    assert [1, whole] == [status, f"\n{host} " in plain(shown)]


@pytest.mark.parametrize(("count", "table"), [(100, True), (101, False)])
def test_table_up_to_100_lookups(lab: Lab, tmp_path: Path, count: int, table: bool) -> None:
    """100 lookups are a table, 101 are text."""
    (tmp_path / "hosts").write_text("".join(f"host-{number}.example\n" for number in range(count)))
    status, shown = ended(at_terminal("-e", "threads", "-n", lab.nameserver, tmp_path / "hosts"))
    text = plain(shown)
    assert [0, table, count] == [status, "answers" in text, len(re.findall(r"^host-\d+\.example", text, re.M))]
    assert [(str(count),) * 3] == re.findall(SUMMARY, text)


def test_format_outranks_the_terminal(lab: Lab) -> None:
    """--format is what is written, also at a terminal."""
    _, shown = ended(at_terminal("-e", "threads", "-n", lab.nameserver, "-f", "jsonl", "-q", "a.example"))
    assert '{"index":0,"input":"a.example"' == shown[:30]


@pytest.mark.parametrize("option", ["-q", "--no-progress"])
def test_without_progress(lab: Lab, option: str) -> None:
    """-q and --no-progress leave the display and the summary out."""
    _, shown = ended(at_terminal("-e", "threads", "-n", lab.nameserver, option, "-f", "text", "slow-400.example"))
    assert ["slow-400.example", 1] == [shown.split("\t")[0], shown.count("\n")]


def test_progress(lab: Lab) -> None:
    """While the run goes on there is one line, with the counts; it is gone at the end."""
    terminal = at_terminal(
        "-e", "threads", "-n", lab.nameserver, "-f", "text", "a.example", "hang.example", "--tries=1"
    )
    terminal.expect("a.example\tA\tNOERROR")
    terminal.expect(r"\d\d:\d\d.*\d+/s")
    status, rest = ended(terminal)
    assert 1 == status
    last_line_drawn = rest.rpartition("\x1b[2K")[2]
    assert ["hang.example\tA\tTIMEOUT", True] == [
        last_line_drawn.partition("\tno valid")[0], bool(re.search(SUMMARY, last_line_drawn)),
    ]  # fmt: skip


def test_progress_where_only_results_are_piped(lab: Lab, tmp_path: Path) -> None:
    """The display is for standard error: with results in a file it is shown, and none of it is in the file."""
    terminal = at_terminal(
        "-e", "threads", "-n", lab.nameserver, "slow-700.example", tmp_path / "r",
        shell='eval "file=\\${$#}"; exec "$@" >"$file.out" </dev/null',
    )  # fmt: skip
    (tmp_path / "r").write_text("b.example\n")
    terminal.expect(r"\d\d:\d\d.*\d+/s")
    status, rest = ended(terminal)
    written = (tmp_path / "r.out").read_text().splitlines()
    assert [0, 2, False] == [status, len(written), any("\x1b" in line for line in written)]
    assert [("2", "2", "2")] == re.findall(SUMMARY, rest)


def test_help_at_a_terminal() -> None:
    """Without HOSTS a terminal is not read: there is help."""
    status, shown = ended(at_terminal())
    assert [0, run("--help", env=environment(COLUMNS="100")).out.split()] == [status, plain(shown).split()]


def test_typed_hosts(lab: Lab) -> None:
    """`-` reads the terminal; a typed line has its result before the next is typed; Ctrl-D ends the input."""
    terminal = at_terminal("-e", "threads", "-n", lab.nameserver, "-f", "text", "-q", "-")
    for host in ("a.example", "b.example"):
        terminal.sendline(host)
        terminal.expect(f"{host}\tA\tNOERROR")
    terminal.sendeof()
    assert 0 == ended(terminal)[0]


def test_ctrl_c(lab: Lab) -> None:
    """Ctrl-C at the terminal ends the run in order, and its lab is not hit by it."""
    terminal = at_terminal("--lab", "-f", "text", "a.example", "hang.example", "--query-timeout", "60")
    terminal.expect("a.example\tA\tNOERROR")
    terminal.sendintr()
    status, rest = ended(terminal)
    assert [130, True] == [status, "hang.example\tA\tCANCELLED" in plain(rest)]
    assert ["The run was interrupted", ("2", "2", "2")] == [
        *re.findall("The run was interrupted", rest), *re.findall(SUMMARY, rest),
    ]  # fmt: skip


def test_ctrl_c_ends_the_lab_command() -> None:
    """Ctrl-C is how `resolve lab` ends: exit status 0, and no traceback."""
    terminal = at_terminal("lab", "--listen", "127.0.0.1:0")
    terminal.expect("Ctrl-C\r\n")
    terminal.sendintr()
    status, rest = ended(terminal)
    assert [0, "^C"] == [status, rest.strip() or "^C"]


def test_no_terminal_controls_without_a_terminal(lab: Lab) -> None:
    """The same run in a pipe has no escape sequence in it."""
    done = run("-e", "threads", "-n", lab.nameserver, "--progress", "-f", "table", "slow-400.example")
    assert [0, False] == [done.status, "\x1b" in done.out + done.err]


def test_terminal_that_is_gone(lab: Lab) -> None:
    """A terminal that closes while the run goes on leaves no process behind."""
    terminal = at_terminal("-e", "threads", "-n", lab.nameserver, "-f", "text", "a.example", "hang.example")
    terminal.expect("a.example\tA\tNOERROR")
    terminal.close(force=False)
    wait_for(lambda: not terminal.isalive(), "the end of the command")
    assert not psutil.pid_exists(terminal.pid)

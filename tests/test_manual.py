"""The man pages: each command has its own, as the commands are now, and roff takes nothing in it for a command."""

import re
import runpy
import shutil
import subprocess
from pathlib import Path

import click
import pytest

from resolver.commands import cli

ROOT = Path(__file__).parents[1]
PAGES = ROOT / "docs" / "man"


def shown(page: str) -> str:
    """The page as a reader sees it, in one line of plain text, without hyphenation."""
    if shutil.which("groff") is None:
        pytest.skip("there is no groff")
    command = ["groff", "-ww", "-man", "-Tascii", "-P-c", "-rHY=0", "-rLL=1000n", "-"]
    done = subprocess.run(command, input=page, capture_output=True, text=True, check=True)
    assert "" == done.stderr
    return " ".join(re.sub(r".\x08", "", done.stdout).split())


def test_pages_are_current() -> None:
    """The pages are those that `python docs/manual.py` writes: one of all, and one of each command."""
    made = dict(runpy.run_path(str(ROOT / "docs" / "manual.py"))["pages"]())
    assert ["resolve.1", *(f"resolve-{name}.1" for name in sorted(cli.commands))] == list(made)
    assert made == {path.name: path.read_text(encoding="utf-8") for path in PAGES.iterdir()}


@pytest.mark.parametrize("name", ["", *cli.commands])
def test_what_a_reader_sees(name: str) -> None:
    """Every option is there with its help, and so is whatever the command says of itself."""
    command = cli.commands[name] if name else cli
    text = shown((PAGES / f"resolve{name and '-'}{name}.1").read_text(encoding="utf-8"))
    said = [*(command.help or "").split("\n\n"), "~/.config/resolve/config.toml"]
    for option in (cli.commands["run"] if not name else command).params:
        if isinstance(option, click.Option):
            said += [max(option.opts, key=len), option.help or ""]
    plain = [" ".join(each.replace("`", "").split()).replace("...", "...") for each in said]
    assert [] == [each for each in plain if each not in text]


def test_text_that_roff_would_take_for_its_own() -> None:
    """A line that begins with a full stop or an apostrophe, a backslash and a hyphen come out as they are."""
    manual = runpy.run_path(str(ROOT / "docs" / "manual.py"))
    page = manual["Roff"]()
    page.write('.TH X 1 "" "" ""\n.SH DESCRIPTION\n')
    page.write_text(".jsonl and `-o`\n\n'quoted' \\044 ~user --keep")
    assert ".jsonl and -o 'quoted' \\044 ~user --keep" in shown(page.getvalue())

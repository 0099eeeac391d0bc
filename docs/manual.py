"""Write the man pages, docs/man/*.1, from the commands as they are: `python docs/manual.py`.

click writes the help of a command with a formatter; this one writes roff. (click-man, which is made for this, escapes
nothing, cuts the line that `apropos` shows, and knows no groups of options.)
"""

from __future__ import annotations

import configparser
import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from resolver.commands import cli

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ROOT = Path(__file__).parents[1]
PAGES = ROOT / "docs" / "man"

_ENVIRONMENT = """\
RESOLVE_ and the name of an option sets it for every command that has it: RESOLVE_QUERY_TIMEOUT=5. Where an option may
be repeated, white space stands between the values. The command line comes first, then the environment, then the
settings file. NO_COLOR, FORCE_COLOR and TERM=dumb are honoured."""
_FILE = """\
The settings file, or what --config or RESOLVE_CONFIG names: TOML, with the options as keys, and tables for commands.
`resolve config` shows what is in force."""


class Roff(click.HelpFormatter):
    """Formatter that writes the source of a man page, where click's writes text for a terminal."""

    def write_usage(self, prog: str, args: str = "", prefix: str | None = None) -> None:
        self.write(f".SH SYNOPSIS\n.B {_escaped(prog)}\n{_escaped(args)}\n")

    def write_heading(self, heading: str) -> None:
        self.write(f".SS {_escaped(heading)}\n")

    def write_paragraph(self) -> None:
        """Write nothing: each of the others begins a paragraph."""

    def write_text(self, text: str) -> None:
        for paragraph in text.split("\n\n"):
            self.write(f".PP\n{_text(paragraph)}\n")

    def write_dl(self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2) -> None:
        for name, text in rows:
            self.write(f".TP\n{_marked(name.strip())}\n{_text(text)}\n")


def pages() -> Iterator[tuple[str, str]]:
    """Yield the name and the text of each page: one of all, with the options of `run`, and one of each command."""
    top = click.Context(cli, info_name="resolve", **cli.context_settings)
    yield "resolve.1", _page(cli, top)
    for name, command in sorted(cli.commands.items()):
        yield f"resolve-{name}.1", _page(command, click.Context(command, top, name))


def _page(command: click.Command, context: click.Context) -> str:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    name = context.command_path.replace(" ", "-")
    said = " ".join((command.help or "").split("\n\n")[0].split()).rstrip(".")
    others = [each for each in ("resolve", *(f"resolve-{each}" for each in sorted(cli.commands))) if each != name]
    page = Roff()
    page.write(f'.TH {name.upper()} 1 "" "resolve {setup["metadata"]["version"]}" "resolve manual"\n')
    page.write(f".SH NAME\n{_escaped(name)} \\- {_escaped(said[0].lower() + said[1:])}\n")
    command.format_usage(context, page)
    page.write(".SH DESCRIPTION\n")
    command.format_help_text(context, page)
    page.write(".SH OPTIONS\n")
    command.format_options(context, page)
    command.format_epilog(context, page)
    page.write(f".SH ENVIRONMENT\n{_text(_ENVIRONMENT)}\n")
    page.write(f".SH FILES\n.TP\n.I \\(ti/.config/resolve/config.toml\n{_text(_FILE)}\n")
    page.write(
        ".SH SEE ALSO\n" + ",\n".join(f".BR {_escaped(each)} (1)" for each in others).replace("),", ") ,") + "\n"
    )
    return page.getvalue()


def _escaped(text: str) -> str:
    """Return text that roff takes for nothing but text."""
    return text.replace("\\", "\\e").replace("-", "\\-").replace("~", "\\(ti")


def _text(text: str) -> str:
    """Return a paragraph on one line, which begins with no character of roff's; what stands in backquotes is bold."""
    parts = re.split(r"`([^`]*)`", _escaped(" ".join(text.split())))
    line = "".join(f"\\fB{part}\\fR" if at % 2 else part for at, part in enumerate(parts))
    return f"\\&{line}" if line[:1] in (".", "'") else line


def _marked(names: str) -> str:
    """Return the names of an option in bold, and what it takes in italics."""
    words = re.split(r"([ ,/]+)", _escaped(names))
    return "".join(
        f"\\f{'I' if word.isupper() else 'B'}{word}\\fR" if re.search(r"\w", word) else word for word in words
    )


if __name__ == "__main__":
    PAGES.mkdir(exist_ok=True)
    for old in PAGES.glob("*.1"):
        old.unlink()
    for file, page in pages():
        (PAGES / file).write_text(page, encoding="utf-8")

"""Parts of the site's pages that come from the program as it is: the options of a command, and its exit statuses."""

from __future__ import annotations

import re
from html import escape
from itertools import groupby
from pathlib import Path
from typing import Any

import click

from resolver.commands import cli
from resolver.options import Group
from resolver.settings import Setting

_ROOT = Path(__file__).parents[1]
_STATUS = re.compile(r"Exit status: (.*?)\.(?: |$)")
_MARKS = str.maketrans({mark: f"&#{ord(mark)};" for mark in "|*_[]`:"})  # of Markdown; a colon, for it makes links


def define_env(environment: Any) -> None:
    """Name what a page may ask for, as {{ options("run") }}."""
    environment.macro(options)
    environment.macro(statuses)
    environment.macro(commands)
    environment.macro(changes)
    environment.macro(readme)


def commands() -> str:
    """Return a section for each command, with its options as tables."""
    return "\n\n".join(f"## resolve {name}\n\n{options(name)}" for name in ("run", *sorted({*cli.commands} - {"run"})))


def changes() -> str:
    """Return the changelog, with its links as they are from here."""
    return _ROOT.joinpath("CHANGELOG.md").read_text(encoding="utf-8").replace("](docs/", "](")


def readme(title: str) -> str:
    """Return a section of the README, which has it so that it can be read there."""
    text = _ROOT.joinpath("README.md").read_text(encoding="utf-8").replace("](docs/", "](")
    section = re.split(r"^#{2,3} ", text.split(f"\n### {title}\n")[1], maxsplit=1, flags=re.M)[0]
    return f"## {title}\n{section}"


def options(name: str) -> str:
    """Return what a command says of itself, and a table for each group of its options, as its help has them."""
    command = cli.commands[name]
    context = click.Context(command, click.Context(cli, info_name="resolve"), info_name=name)
    parts = [_text(paragraph) for paragraph in (command.help or "").split("\f")[0].split("\n\n")]
    order = [*Group, None]
    found = [each for each in command.get_params(context) if isinstance(each, click.Option) and not each.hidden]
    found.sort(key=lambda each: order.index(_group(each)))
    for group, members in groupby(found, _group):
        rows = ["| option | meaning | environment |", "| --- | --- | --- |"]
        for option in members:
            names, meaning = option.get_help_record(context) or ("", "")
            environment = f"`{option.envvar}`" if isinstance(option, Setting) and option.envvar else ""
            rows.append(f"| {_code(names)} | {_text(meaning)} | {environment} |")
        parts += [f"**{group}**" if group else "**Options**", "\n".join(rows)]
    return "\n\n".join(parts)


def statuses() -> str:
    """Return a table of the exit statuses of each command whose help states them."""
    parts = []
    for name, command in sorted(cli.commands.items(), key=lambda item: item[0] != "run"):
        told = _STATUS.search(" ".join((command.help or "").split()))
        if told:
            rows = ["| status | meaning |", "| --- | --- |"]
            rows += [_row(each) for each in re.split(r"[;,] (?=\d)", told[1])]
            parts.append(f"## resolve {name}\n\n" + "\n".join(rows))
    return "\n\n".join(parts)


def _row(said: str) -> str:
    number, _, meaning = said.partition(" ")
    return f"| {number} | {_text(meaning)} |"


def _group(option: click.Option) -> Group | None:
    return Group(option.group) if isinstance(option, Setting) and option.group else None


def _code(text: str) -> str:
    return f"<code>{escape(text).translate(_MARKS)}</code>"


def _text(text: str) -> str:
    """Return this text as Markdown that shows it as it is, but for what stands in backquotes, which is code."""
    parts = re.split(r"`([^`]*)`", " ".join(text.split()))
    return "".join(_code(part) if at % 2 else escape(part).translate(_MARKS) for at, part in enumerate(parts))

"""The command `resolve config`: what is in force, and where each value comes from.

It reads a command line as that command would, and runs nothing.
"""

from __future__ import annotations

import json
import re
from typing import Any

import click
from click.core import ParameterSource

from resolver import settings
from resolver.options import ask_for_command, command
from resolver.settings import Setting


@command(context_settings={"ignore_unknown_options": True}, options_metavar=None)
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[COMMAND] [OPTIONS]...")
@click.pass_context
def config(ctx: click.Context, /, words: tuple[str, ...]) -> None:
    """Settings that are in force, and where each comes from.

    Put it before a command line: `resolve config -t MX`, `resolve config compare --repeat 3`. What it prints is TOML,
    as the settings file is; a comment behind each value says if it is of the command line, the environment (which
    variable), the settings file (which one), or the default. Passwords are not shown.
    """
    group = ctx.find_root().command
    assert isinstance(group, click.Group)
    name, *rest = words if words and words[0] in group.commands else ("run", *words)
    if name == "run" and rest:
        ask_for_command(rest[0], group.commands)
    asked = group.commands[name]
    if not any(isinstance(each, Setting) and each.key == "config" for each in asked.params):
        raise click.UsageError(f"`resolve {name}` has no settings", ctx)
    assert ctx.parent is not None
    with asked.make_context(name, list(rest), parent=ctx.parent) as inner:
        path = settings.path_of(inner)
        lines = [_line(inner, each) for each in asked.params if isinstance(each, Setting) and each.key != "config"]
    width = min(_WIDTH, max(len(value) for value, _ in lines))
    head = path or f"{settings.default_path()} (there is none)"
    click.echo(f"# resolve {name}. Settings file: {head}")
    for value, source in lines:
        click.echo(f"{value.ljust(width)}  # {source}")


_WIDTH = 40  # columns, where the comments begin behind values that are not longer
_PASSWORD = re.compile(r"(?<=://)([^/@:\s]*:).*(?=@)")


def _line(ctx: click.Context, option: Setting) -> tuple[str, str]:
    """Return an option as a line of TOML, and where its value comes from."""
    assert option.name is not None
    source = {
        ParameterSource.COMMANDLINE: "command line",
        ParameterSource.ENVIRONMENT: str(option.envvar),
        ParameterSource.DEFAULT_MAP: str(settings.path_of(ctx)),
    }.get(ctx.get_parameter_source(option.name) or ParameterSource.DEFAULT, "default")
    value = ctx.params[option.name]
    if value is None or value == ():
        return f"# {option.key} =", "default"
    shown = list(map(_shown, value)) if isinstance(value, tuple) else _shown(value)
    return f"{option.key} = {json.dumps(shown, ensure_ascii=False)}", source


def _shown(value: Any) -> Any:
    return _PASSWORD.sub(r"\1***", value) if isinstance(value, str) else value

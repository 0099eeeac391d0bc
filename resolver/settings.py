"""The settings file, and where the value of an option comes from: command line, environment, file, default.

The file is TOML. Its keys are the options, a table of a command's name is for that command, and what stands above the
tables is for every command that has the option. A command takes from it what click calls the default map, with each
value as it would stand on a command line. The whole file is checked whatever is run. tomllib is loaded where there is a
file: no other start pays for it.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from resolver.spelling import meant

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    Keys = Mapping[str, Mapping[str, "Setting"]]  # by command and key

# From the one that counts most; the default comes last.
SOURCES = [ParameterSource.COMMANDLINE, ParameterSource.ENVIRONMENT, ParameterSource.DEFAULT_MAP]
_PATH = "resolver.settings"  # in a context's meta


class Setting(click.Option):
    """Option that the environment and the settings file can set, under the same name for every command.

    Args:
        group: Where it stands in the help.
        meant: Tells whether a value that the environment, or the file above its tables, has for every command is meant
            for this one. None: each is.

    Attributes:
        key: Its name in the file.
    """

    def __init__(
        self, *args: Any, group: str | None = None, meant: Callable[[Any], bool] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.group = group
        self.meant = meant
        self.key = key_of(self)
        if self.envvar is None:
            self.envvar = "RESOLVE_" + self.key.replace("-", "_").upper()

    @property
    def kind(self) -> str:
        """`flag`, `number` or `text`."""
        texts = (click.types.StringParamType, click.Choice)
        return "flag" if self.is_flag else "text" if isinstance(self.type, texts) else "number"

    def words(self, value: Any) -> Any:
        """Return a value of the file as it would stand on a command line."""
        if self.multiple:
            return [str(each) for each in (value if isinstance(value, list) else [value])]
        return value if self.kind == "flag" else str(value)

    def value_from_envvar(self, ctx: click.Context) -> Any:
        value = super().value_from_envvar(ctx)
        return value if value is None or self.meant is None or self.meant(value) else None

    def type_cast_value(self, ctx: click.Context, value: Any) -> Any:
        try:
            return super().type_cast_value(ctx, value)
        except click.BadParameter as error:
            if self.name is None or ctx.get_parameter_source(self.name) is not ParameterSource.DEFAULT_MAP:
                raise
            raise click.UsageError(f"{path_of(ctx)}: {self.key}: {error.message}", ctx) from None


# A number is a text: column = 2.
_TYPES = {"flag": ((bool,), "true or false"), "number": ((int, float), "a number"), "text": ((str, int, float), "text")}


def key_of(option: click.Parameter) -> str:
    """Return the key of an option: its longest name."""
    return max(option.opts, key=len).lstrip("-")


def take(ctx: click.Context, named: str | None, known: Callable[[], Keys]) -> None:
    """Take the settings file for what the options of this command are where nobody says more.

    Args:
        ctx: The command's.
        named: The file; None: where one is looked for, which needs not be there.
        known: Returns all keys that there are: it loads every command, and is called where there is a file.

    Raises:
        OSError: It cannot be read.
        ValueError: It is none; the sentence names the file.
    """
    path = named or default_path()
    if named is not None or os.path.exists(path):
        found, keys = read(path), known()
        check(found, keys, path)
        ctx.meta[_PATH] = path
        ctx.default_map = of_command(found, keys, ctx.command.name or "", path)


def path_of(ctx: click.Context) -> str | None:
    """Return the path of the settings file that a command took; None: there is none."""
    path: str | None = ctx.meta.get(_PATH)
    return path


def for_every_run(ctx: click.Context, name: str) -> bool:
    """Tell whether an option was set for every run, by the environment or the settings file, and not for this one."""
    return ctx.get_parameter_source(name) in SOURCES[1:]


def outranked(ctx: click.Context, name: str, other: str) -> bool:
    """Tell whether `other` was set nearer to this run than `name`."""
    places = [SOURCES.index(each) if each in SOURCES else len(SOURCES)
              for each in map(ctx.get_parameter_source, (name, other))]  # fmt: skip
    return places[1] < places[0]


def traced(ctx: click.Context, sentence: str) -> str:
    """Return the sentence about a mistake, with those options that it speaks of and that the settings file sets."""
    by_value, by_name = [], []
    for each in ctx.command.params:
        if each.name and ctx.get_parameter_source(each.name) is ParameterSource.DEFAULT_MAP:
            value, key = ctx.params.get(each.name), key_of(each)
            values = [one for one in (value if isinstance(value, tuple) else (value,)) if isinstance(one, str)]
            if any(repr(one) in sentence or sentence.startswith(f"{one}:") for one in values):
                by_value.append(key)
            elif re.search(rf"\b{key}\b", sentence):
                by_name.append(key)
    named = ", ".join(by_value or by_name)
    return f"{sentence} ({named}: set in {path_of(ctx)})" if named else sentence


def default_path() -> str:
    """Return where the file is looked for if none is named."""
    directory = os.environ.get("XDG_CONFIG_HOME", "")
    if not os.path.isabs(directory):  # the XDG Base Directory Specification has it ignored
        directory = os.path.expanduser("~/.config")
    return os.path.join(directory, "resolve", "config.toml")


def read(path: str) -> dict[str, Any]:
    """Return what the file holds.

    Raises:
        OSError: It cannot be read.
        ValueError: It is no TOML; the sentence names the file.
    """
    with open(path, "rb") as file:
        import tomllib

        try:
            return tomllib.load(file)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None


def check(found: Mapping[str, Any], keys: Keys, path: str) -> None:
    """Raise ValueError for a key that is none and for a value of another type, naming the file and the key."""
    everywhere = {name: key for options in keys.values() for name, key in options.items()}
    for name, value in found.items():
        if isinstance(value, dict) and name in keys:
            for each, inner in value.items():
                _check(path, f"[{name}] ", each, inner, keys[name])
        elif isinstance(value, dict) and name not in everywhere:
            raise ValueError(f"{path}: there is no table [{name}]{_valid(name, keys)}")
        else:
            _check(path, "", name, value, everywhere)


def of_command(found: Mapping[str, Any], keys: Keys, command: str, path: str) -> dict[str, Any]:
    """Return what a file that was checked has for a command, by the names of its parameters.

    Raises ValueError for an array above the tables where this command takes one value.
    """
    tables = {name: value for name, value in found.items() if isinstance(value, dict)}
    taken = {}
    for name, key in keys[command].items():
        if name in tables.get(command, {}):
            taken[key.name or ""] = key.words(tables[command][name])
        elif name in found and name not in tables:
            if isinstance(found[name], list) and not key.multiple:
                raise ValueError(f"{path}: {name} takes one value in `resolve {command}`, not an array")
            words = key.words(found[name])
            if key.meant is None or key.meant(words):
                taken[key.name or ""] = words
    return taken


def _check(path: str, table: str, name: str, value: Any, keys: Mapping[str, Setting]) -> None:
    if name not in keys:
        raise ValueError(f"{path}: {table}there is no option {name!r}{_valid(name, keys)}")
    key = keys[name]
    types, wanted = _TYPES[key.kind]
    # Above the tables another command may take several.
    several = isinstance(value, list) and (key.multiple or not table)
    for each in value if several else [value]:
        if not isinstance(each, types) or (isinstance(each, bool) and key.kind != "flag"):
            shown = {bool: "true or false", str: repr(each), list: "an array", dict: "a table"}.get(type(each), each)
            raise ValueError(f"{path}: {table}{name} takes {wanted}, not {shown}")


def _valid(word: str, valid: Iterable[str]) -> str:
    return f"; valid: {', '.join(sorted(valid))}{meant(word, valid)}"

"""Arguments that the commands share: options in groups, that environment and settings file can set; errors.

An option names its group, and the help shows the groups in the order of `Group`; in each, the options stand as the
command lists them: the most used first.
"""

from __future__ import annotations

import enum
import importlib
import math
import os
import re
import sys
from collections import UserDict
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from resolver import settings
from resolver.console import UNWRITABLE, default_interrupts, reason, say
from resolver.settings import Setting
from resolver.spelling import meant

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from click.shell_completion import CompletionItem


class Group(enum.StrEnum):
    """Groups of the help, in its order; the last three are those of a lab."""

    LIST = "The list"
    QUESTION = "The question"
    NAMESERVERS = "Who is asked"
    EFFORT = "How often and how long"
    OUTPUT = "What comes out"
    RUN = "The run"
    ZONES = "What it serves"
    LISTENER = "Where it listens"
    FAULTS = "How the lab answers"


def command(**attributes: Any) -> Callable[[Any], click.Command]:
    """Return a decorator that makes a command whose help has its options in groups."""
    return click.command(cls=Grouped, **attributes)


def option(*names: str, group: Group | None, **attributes: Any) -> Callable[[Any], Any]:
    """Return a decorator that gives a command an option. No group: where a command has too few options for groups."""
    return click.option(*names, cls=Setting, group=group, shell_complete=complete, **attributes)


# Places of the words that can stand where an option has this metavar.
_WORDS = {
    "ENGINE": "resolver.engines:ENGINES",
    "BACKEND": "resolver.engines:BACKENDS",
    "TYPE": "resolver.dns.rdata:mnemonics",
    "STATUS": "resolver.output.selection:WORDS",
}


def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
    """Return what a shell may offer: files for a FILE, and the words of some other metavars."""
    from click.shell_completion import CompletionItem

    metavar = param.metavar or ""
    if metavar == "ADDR" and incomplete.startswith("@"):
        return [CompletionItem(f"@{path}") for path in paths(incomplete[1:])]
    if "FILE" in metavar or (metavar == "ADDR" and incomplete):
        return [CompletionItem(incomplete, type="file")]
    place = _WORDS.get(metavar.partition("[")[0])
    if place is None:
        return param.type.shell_complete(ctx, param, incomplete)
    words = load(place)
    # As it was begun: a shell passes over what does not begin so.
    cased = [word.lower() if incomplete.islower() else word for word in (words() if callable(words) else words)]
    return [CompletionItem(word) for word in cased if word.startswith(incomplete)]


def _configure(ctx: click.Context, _param: click.Parameter, named: str | None) -> None:
    if ctx.resilient_parsing:
        return
    group = ctx.find_root().command
    assert isinstance(group, click.Group)
    commands = group.commands

    def known() -> settings.Keys:
        keys = {name: _keys(command) for name, command in commands.items()}
        return {name: found for name, found in keys.items() if found.pop("config", None)}

    with usage(ctx):
        settings.take(ctx, named, known)


def _keys(command: click.Command) -> dict[str, Setting]:
    return {each.key: each for each in command.params if isinstance(each, Setting)}


def config_option(group: Group | None) -> Callable[[Any], Any]:
    """Return a decorator that gives a command `--config`, and with it the settings file."""
    return option("--config", group=group, metavar="FILE", is_eager=True, expose_value=False, callback=_configure,
                  help="The settings file; `resolve config` shows what it does. [default: resolve/config.toml in "
                  "~/.config]")  # fmt: skip


class Grouped(click.Command):
    """Command whose help has its options in groups.

    Args:
        meaningless: By the name of a flag, those of the options that mean nothing with it: an error on the command
            line, and passed over where the environment or the settings file sets them for every run.
    """

    def __init__(self, *args: Any, meaningless: Mapping[str, Sequence[str]] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._meaningless = meaningless or {}

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        rest = super().parse_args(ctx, args)
        for name, other in (*_RIVALS, *(pair[::-1] for pair in _RIVALS)):
            if ctx.params.get(name) and ctx.params.get(other) and settings.outranked(ctx, name, other):
                _unset(ctx, name)
        for flag, names in self._meaningless.items():
            if ctx.params[flag]:
                self._pass_over(ctx, flag, names)
        return rest

    def _pass_over(self, ctx: click.Context, flag: str, names: Sequence[str]) -> None:
        options = {each.name: f"--{settings.key_of(each)}" for each in self.params}
        given = [
            name for name in options if name in names and ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE
        ]
        if given:
            raise click.UsageError(
                f"{', '.join(options[name] for name in given)} means nothing with {options[flag]}", ctx
            )
        for name in names:
            _unset(ctx, name)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the groups, all with the same columns; what has no group (--help) stands with those of the run."""
        sections: dict[str, list[tuple[str, str]]] = {head: [] for head in (*Group, "Options")}
        for param in self.get_params(ctx):
            if isinstance(param, click.Option) and (row := param.get_help_record(ctx)):
                sections[(isinstance(param, Setting) and param.group) or "Options"].append(row)
        if sections[Group.RUN]:
            sections[Group.RUN] += sections.pop("Options")
        names = [name for rows in sections.values() for name, _ in rows]
        width = max(len(name) for name in names if len(name) <= _LONGEST_NAME)
        for head, rows in sections.items():
            if rows:
                with formatter.section(head):
                    formatter.write_dl([(name.ljust(width), _kept(text)) for name, text in rows], col_max=width)
        formatter.buffer[:] = [part.replace(_KEPT, " ") for part in formatter.buffer]


def _kept(text: str) -> str:
    """Return a text that is not broken inside of a short `[default: ...]`, nor behind a hyphen that is a word."""
    joined = re.sub(r" +(\[default: .{,20}\])$", lambda found: f" {found[1].replace(' ', _KEPT)}", text)
    return joined.replace(" - ", f" -{_KEPT}")


_KEPT = "\u00a0"  # a blank at which no line is broken


def _unset(ctx: click.Context, name: str) -> None:
    """Have an option of the environment or the settings file be as if it were not there; a number does no harm."""
    value = ctx.params[name]
    if settings.for_every_run(ctx, name) and isinstance(value, bool | tuple | str):
        ctx.params[name] = None if isinstance(value, str) else type(value)()
        ctx.set_parameter_source(name, ParameterSource.DEFAULT)


# Only one of each can be meant: that which was said nearer to the run.
_RIVALS = (("lab", "nameservers"), ("quiet", "progress"))
_LONGEST_NAME = 28  # columns; the text of a longer one begins on the line below


class Above(click.ParamType[float]):
    """Number above 0."""

    def __init__(self, kind: type[int] | type[float]) -> None:
        self._kind = kind
        self.name = "integer" if kind is int else "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            number = self._kind(value)
        except (ValueError, OverflowError):
            number = 0
        if not (number > 0 and math.isfinite(number)):
            self.fail(f"{value!r} is not a {'whole ' if self._kind is int else ''}number above 0", param, ctx)
        return number


class OneOf(click.Choice[str]):
    """One of a few words; what is nearly one is asked back for."""

    def get_invalid_choice_message(self, value: Any, ctx: click.Context | None) -> str:
        """Return what to say of another word."""
        said = super().get_invalid_choice_message(value, ctx).removesuffix(".")
        return f"{said}{meant(str(value), self.choices) or '.'}"


# What several commands take, and means the same in each.
TYPE = option("-t", "--type", "types", group=Group.QUESTION, multiple=True, default=("A",), show_default=True,
              metavar="TYPE", help="Record type; repeat for several: each host and type is one lookup with one "
              "result.")  # fmt: skip
WORD_LIST = option("-w", "--words", group=Group.LIST, metavar="FILE", help="Each HOST is a domain: look up every word "
                   "of this list before it, or in place of the * in it: api-*.example.com.")  # fmt: skip
NAMESERVER = option("-n", "--nameserver", "nameservers", group=Group.NAMESERVERS, multiple=True, metavar="ADDR",
                    help="ADDR, ADDR:PORT or [V6]:PORT, with udp://, tcp:// or tls:// before it; tls://ADDR#NAME; "
                    "https://...; @FILE reads a list. Repeatable. [default: the "
                    "system's]")  # fmt: skip
SOURCE = option("--source", group=Group.NAMESERVERS, multiple=True, metavar="IP", help="A local address to ask from; "
                "repeat for several, taken in turn. [default: the system's choice]")  # fmt: skip
QUERY_TIMEOUT = option("--query-timeout", group=Group.EFFORT, type=Above(float), default=2.0, show_default=True,
                       metavar="SECONDS", help="The longest one try waits.")  # fmt: skip
TRIES = option("--tries", group=Group.EFFORT, type=Above(int), default=3, show_default=True, metavar="N", help="Tries "
               "for one lookup, over the nameservers in turn.")  # fmt: skip
RATE = option("--rate", group=Group.EFFORT, type=Above(float), metavar="N", help="The most queries sent in a second. "
              "[default: no limit]")  # fmt: skip
TLS_CA = option("--tls-ca", group=Group.NAMESERVERS, metavar="FILE", help="Certificates that tls:// and https:// "
                "nameservers are checked against. [default: the system's]")  # fmt: skip
REDIS = option("--redis", group=Group.RUN, metavar="URL", help="The broker of engine redis: "
               "redis://[USER:PASSWORD@]HOST[:PORT][/DB], rediss:// for TLS. [default: one of this run's own, with a "
               "worker on this machine]")  # fmt: skip
STATUS = option("--status", group=Group.OUTPUT, metavar="FILE|FD", help="Write progress for programs there, a JSON "
                "object a second and at the end.")  # fmt: skip
LATENCY = option("--latency", group=Group.FAULTS, default="0", metavar="TIME", help="Between a query and its reply: "
                 "20ms, 0.02.")  # fmt: skip
JITTER = option("--jitter", group=Group.FAULTS, default="0", metavar="TIME", help="How much sooner or later a reply "
                "may come.")  # fmt: skip
LOSS = option("--loss", group=Group.FAULTS, default="0", metavar="SHARE", help="Share of queries that are lost: 1%, "
              "0.01.")  # fmt: skip
CAPACITY = option("--capacity", group=Group.FAULTS, type=Above(float), metavar="N", help="Queries a second, above "
                  "which they are dropped.")  # fmt: skip


def complete_hosts(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
    """Return what a shell may offer for HOSTS: files, and commands where the first word may be one."""
    from click.shell_completion import CompletionItem

    files = [CompletionItem(incomplete, type="file")]
    group = ctx.find_root().command
    if not ctx.meta.get(_FIRST) or not isinstance(group, click.Group):
        return files
    commands = {name: command.get_short_help_str() for name, command in sorted(group.commands.items())}
    return [CompletionItem(name, help=text) for name, text in commands.items() if name.startswith(incomplete)] + files


HOSTS = click.argument("hosts", nargs=-1, shell_complete=complete_hosts)
_FIRST = "resolver.first"  # in a context's meta: no word stands before the one that a shell completes


def paths(incomplete: str) -> list[str]:
    """Return the paths that begin so; those of directories end in a slash."""
    from glob import escape, glob

    return sorted(f"{path}/" if os.path.isdir(path) else path for path in glob(f"{escape(incomplete)}*"))


def load(place: str) -> Any:
    """Return what `module:attribute` names."""
    module, _, attribute = place.partition(":")
    return getattr(importlib.import_module(module), attribute)


class LazyCommands(UserDict[str, Any]):
    """Commands by name, each loaded when it is asked for: the modules of all others are a twentieth of a run's start.

    It is made of the `module:attribute` of each, by name.
    """

    def __getitem__(self, name: str) -> click.Command:
        if isinstance(self.data[name], str):
            self.data[name] = load(self.data[name])
        command: click.Command = self.data[name]
        return command


class RunByDefault(click.Group):
    """Group of commands, of which `run` is meant where none is named."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args or (args[0] not in self.commands and args[0] not in ("-h", "--help")):
            if ctx.resilient_parsing:
                ctx.meta[_FIRST] = not args
            elif args:
                ask_for_command(args[0], self.commands)
            args = ["run", *args]
        return super().parse_args(ctx, args)

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run it, and end the process. A command explains all errors itself but one: standard output takes no more."""
        default_interrupts()
        if sys.stderr is None:
            # Closed by the caller. print() takes None for standard output, where only results belong.
            sys.stderr = open(os.devnull, "w")  # noqa: SIM115  # it lasts as long as the process
        try:
            return super().main(*args, **kwargs)
        except OSError as error:
            say(f"writing failed: {error.strerror or error}")
            sys.exit(UNWRITABLE)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        run = self.commands["run"]
        run.format_options(click.Context(run, ctx, "run"), formatter)
        self.format_commands(ctx, formatter)


def ask_for_command(word: str, commands: Iterable[str]) -> None:
    """Say that a word which is nearly a command is taken for a host, unless it is a file."""
    if word.isalpha() and not os.path.exists(word) and (asked := meant(word, commands)):
        say(f"{word} is taken for a host{asked}")


@contextmanager
def usage(ctx: click.Context) -> Iterator[None]:
    """Turn what is wrong with arguments, or cannot be opened, into one sentence and exit status 2."""
    try:
        yield
    except OSError as error:
        raise click.UsageError(settings.traced(ctx, reason(error)), ctx) from None
    except (ValueError, LookupError, TypeError) as error:
        raise click.UsageError(settings.traced(ctx, str(error)), ctx) from None


def chosen_format(ctx: click.Context, format: str | None, short: str, *, given: bool) -> str | None:
    """Return the format that --format and --json choose.

    Args:
        ctx: The command's.
        format: That of --format.
        short: The one that --json stands for.
        given: --json is there.

    Raises:
        ValueError: Both are on the command line, and differ.
    """
    if not given or format == short:
        return format
    if settings.outranked(ctx, "json_", "format_"):
        return format
    if not settings.outranked(ctx, "format_", "json_") and not settings.for_every_run(ctx, "json_"):
        raise ValueError(f"--json is short for -f {short}; it does not go with -f {format}")
    return short

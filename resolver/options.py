"""Arguments that the commands share: options in groups, that the environment can set; words that name hosts; errors.

An option names its group, and the help shows the groups in the order of `Group`; in each, the options stand as the
command lists them: the most used first.
"""

from __future__ import annotations

import enum
import math
import os
import stat
import sys
from contextlib import contextmanager
from itertools import groupby
from typing import TYPE_CHECKING, Any

import click

from resolver.console import UNWRITABLE, default_interrupts, reason, say
from resolver.spelling import meant

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from click.shell_completion import CompletionItem

    from resolver.input.columns import HostColumn
    from resolver.input.sources import Source


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
    return click.option(*names, cls=attributes.pop("cls", Setting), group=group, **attributes)


class Setting(click.Option):
    """Option that can be set by environment: the same name for every command, RESOLVE_ and its own."""

    def __init__(self, *args: Any, group: Group | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.group = group
        if self.envvar is None and self.name not in ("help", "version"):
            longest = max(self.opts, key=len)
            self.envvar = "RESOLVE_" + longest.lstrip("-").replace("-", "_").upper()

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem[str]]:
        """Return what a shell may offer: files for a FILE, and what the group knows of the other metavars."""
        from click.shell_completion import CompletionItem

        metavar = self.metavar or ""
        if metavar == "ADDR" and incomplete.startswith("@"):
            return [CompletionItem(f"@{path}") for path in paths(incomplete[1:])]
        if "FILE" in metavar or (metavar == "ADDR" and incomplete):
            return [CompletionItem(incomplete, type="file")]
        group = ctx.find_root().command
        words = group.words.get(metavar.partition("[")[0]) if isinstance(group, Default) else None
        if words is None:
            return super().shell_complete(ctx, incomplete)
        # As it was begun: a shell passes over what does not begin so.
        cased = [word.lower() if incomplete.islower() else word for word in words()]
        return [CompletionItem(word) for word in cased if word.startswith(incomplete)]


class Grouped(click.Command):
    """Command whose help has its options in groups."""

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
                    formatter.write_dl([(name.ljust(width), text) for name, text in rows], col_max=width)


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


# What several commands take, and means the same in each.
TYPE = option("-t", "--type", "types", group=Group.QUESTION, multiple=True, default=("A",), show_default=True,
              metavar="TYPE", help="Record type; repeat for several: each host and type is one lookup with one "
              "result.")  # fmt: skip
WORD_LIST = option("-w", "--words", group=Group.LIST, metavar="FILE", help="Each HOST is a domain: look up every word "
                   "of this list before it, or in place of the * in it: api-*.example.com.")  # fmt: skip
NAMESERVER = option("-n", "--nameserver", "nameservers", group=Group.NAMESERVERS, multiple=True, metavar="ADDR",
                    help="ADDR, ADDR:PORT or [V6]:PORT, with udp://, tcp:// or tls:// before it; tls://ADDR#NAME; "
                    "https://... with backend dnspython; @FILE reads a list. Repeatable. [default: the "
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


class Default(click.Group):
    """Group of commands, of which `run` is meant where none is named.

    Args:
        words: For each metavar of an option what can stand there, for a shell to offer.
    """

    def __init__(
        self, *args: Any, words: Mapping[str, Callable[[], Iterable[str]]] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.words = words or {}

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args or (args[0] not in self.commands and args[0] not in ("-h", "--help")):
            if ctx.resilient_parsing:
                ctx.meta[_FIRST] = not args
            elif args and _is_host(args[0]):
                _ask_for_command(args[0], self.commands)
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


def _is_host(word: str) -> bool:
    return word.isalpha() and not os.path.exists(word)


def _ask_for_command(word: str, commands: Iterable[str]) -> None:
    """Say that a word which is nearly a command is taken for a host."""
    if asked := meant(word, commands):
        say(f"{word} is taken for a host{asked}")


@contextmanager
def usage(ctx: click.Context) -> Iterator[None]:
    """Turn what is wrong with arguments, or cannot be opened, into one sentence and exit status 2."""
    try:
        yield
    except OSError as error:
        raise click.UsageError(reason(error), ctx) from None
    except (ValueError, LookupError, TypeError) as error:
        raise click.UsageError(str(error), ctx) from None


def chosen_format(ctx: click.Context, format: str | None, short: str, *, given: bool) -> str | None:
    """Return the format that --format and --json choose: the command line outranks the environment.

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
    sources = [ctx.get_parameter_source(name) for name in ("json_", "format_")]
    if sources == [click.core.ParameterSource.COMMANDLINE] * 2:
        raise ValueError(f"--json is short for -f {short}; it does not go with -f {format}")
    return format if sources[1] is click.core.ParameterSource.COMMANDLINE else short


def is_input(fd: int) -> bool:
    """Tell whether this is a pipe, a file or a socket, as opposed to a terminal, /dev/null or nothing at all."""
    try:
        mode = os.fstat(fd).st_mode
    except OSError:
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISREG(mode) or stat.S_ISSOCK(mode)


@contextmanager
def rewound(fd: int) -> Iterator[None]:
    """Read a file on this descriptor from where it stood before once more, after this; a pipe goes on."""
    try:
        where = os.lseek(fd, 0, os.SEEK_CUR)
    except OSError:
        yield
        return
    try:
        yield
    finally:
        os.lseek(fd, where, os.SEEK_SET)


def sources_of(hosts: Sequence[str], column: HostColumn | None = None, words: str | None = None) -> list[Source]:
    """Return the sources that HOSTS name: an existing file is a list, - is standard input, anything else is one host.

    With a column the lists are CSV; with a list of words each host is a domain. Raises OSError for what cannot be read,
    and ValueError for one with a path separator that is no file, URL or network, and for standard input as both lists.
    """
    if words is not None:
        return [_words_before(words, hosts, column)]
    from resolver.input.forms import is_literal
    from resolver.input.sources import descriptor, elements, path

    sources: list[Source] = []
    for listed, alike in groupby(hosts or ["-"], _is_list):
        if listed:
            sources += [descriptor(0, column=column) if name == "-" else path(name, column) for name in alike]
            continue
        names = list(alike)
        for name in names:
            if os.sep in name and not is_literal(name):
                raise ValueError(f"{name}: there is no such file, and it is no host, URL or network")
        sources.append(elements(names))
    return sources


def _words_before(words: str, hosts: Sequence[str], column: HostColumn | None) -> Source:
    from resolver.input.sources import descriptor, path
    from resolver.input.words import Words

    if words == "-" and "-" in (hosts or ["-"]):
        raise ValueError("standard input is the list of words, and cannot be that of the domains too: name them")
    listed = descriptor(0) if words == "-" else path(words)
    try:
        return Words(listed, sources_of(hosts, column))
    except BaseException:
        listed.close()
        raise


def _is_list(word: str) -> bool:
    return word == "-" or (os.path.exists(word) and not os.path.isdir(word))

"""The command `resolve compare`: options in, exit status out.

Only click is imported at the top, as for all commands: `resolve --help` is to be quick.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from resolver import host_words, options
from resolver.extras import require
from resolver.options import Above, Group, OneOf, command, option

if TYPE_CHECKING:
    from collections.abc import Sequence

FORMATS = ("table", "json", "csv")
_OF_LAB = ("latency", "jitter", "loss", "capacity")
_OF_POLICY = ("nameservers", "query_timeout", "tries", "concurrency", "rate", "tls_ca")


def _of_several(value: Sequence[str]) -> bool:
    """Tell whether a value can be meant for a comparison: RESOLVE_ENGINE=asyncio says how to look up, no more."""
    return len(value) > 1 or ":" in value[0]


@command()
@options.HOSTS
@options.WORD_LIST
@options.TYPE
@options.NAMESERVER
@option("--lab", group=Group.NAMESERVERS, is_flag=True, help="Start the embedded nameserver on loopback for all runs, "
        "and ask it.")  # fmt: skip
@options.TLS_CA
@option("--timeout", "timeouts", group=Group.EFFORT, multiple=True, type=Above(float), metavar="SECONDS", help="A run "
        "ends then; repeat it to compare several. [default: no end]")  # fmt: skip
@options.QUERY_TIMEOUT
@options.TRIES
@options.RATE
@option("--concurrency", group=Group.EFFORT, type=Above(int), metavar="N", help="The most lookups in flight, the same "
        "for all. [default: 128]")  # fmt: skip
@option("-f", "--format", "format_", group=Group.OUTPUT, type=OneOf(FORMATS), meant=FORMATS.__contains__,
        metavar="FORMAT", help="table, json or csv. [default: by the name of the output, else table]")  # fmt: skip
@option("--json", "json_", group=Group.OUTPUT, is_flag=True, help="Short for -f json.")
@option("-o", "--output", group=Group.OUTPUT, metavar="FILE", help="Write there; .json and .csv choose the format; - "
        "is standard output.")  # fmt: skip
@option("--plot", group=Group.OUTPUT, metavar="FILE", help="Draw there: .png or .svg. Needs the extra plot.")
@options.STATUS
@option("--report", "page", group=Group.OUTPUT, metavar="FILE", help="Write a page about the comparison there, in "
        "HTML, with its curves. Needs the extra report.")  # fmt: skip
@option("-e", "--engine", "named", group=Group.RUN, meant=_of_several, multiple=True, metavar="ENGINE[:BACKEND]",
        help="What to compare; repeat it. [default: every pair of `resolve engines` that is installed]")  # fmt: skip
@option("-b", "--backend", "backends", group=Group.RUN, meant=_of_several, multiple=True, metavar="BACKEND", help="The "
        "backend of each ENGINE that names none, or the only ones to compare; repeat it. [default: wire of an ENGINE, "
        "else all]")  # fmt: skip
@option("--repeat", group=Group.RUN, type=Above(int), default=2, show_default=True, metavar="N", help="Runs of each, "
        "in alternating order.")  # fmt: skip
@option("--progress/--no-progress", group=Group.RUN, default=None, help="Progress bar on standard error. [default: "
        "where it is a terminal]")  # fmt: skip
@option("-q", "--quiet", group=Group.RUN, is_flag=True, help="No progress bar.")
@options.config_option(Group.RUN)
@options.LATENCY
@options.JITTER
@options.LOSS
@options.CAPACITY
@click.pass_context
def compare(
    ctx: click.Context,
    /,
    hosts: tuple[str, ...],
    words: str | None,
    progress: bool | None,
    quiet: bool,
    **given: Any,
) -> None:
    """The same hosts through several engines, side by side.

    Each engine, with each backend and timeout, is a run in a process of its own, one after the other; all have the same
    list, policy and lookups in flight. The whole list is read first.

    Exit status: 0 every run came to its end; 1 some engine failed; 2 usage, unreadable input, unwritable output; 4
    writing failed; 130 Ctrl-C, 143 SIGTERM: what is finished by then is reported.
    """
    if not hosts and not host_words.is_input(0):
        click.echo(ctx.get_help())
        ctx.exit()
    with options.usage(ctx):
        _check(ctx, given["lab"])
        from resolver.compare.comparison import Comparison
        from resolver.compare.report import LabSettings
        from resolver.lab import duration, share
        from resolver.policy import Policy

        given["format"] = options.chosen_format(ctx, given.pop("format_"), "json", given=given.pop("json_"))
        latency, jitter, loss, capacity = (given.pop(name) for name in _OF_LAB)
        comparison = Comparison(
            sources=host_words.sources_of(hosts, words=words),
            inputs=(*(hosts or ("-",)), *(() if words is None else (words,))),
            policy=Policy(**{name: given.pop(name) for name in _OF_POLICY}),
            timeouts=tuple(dict.fromkeys(sorted(given.pop("timeouts")))) or (None,),
            output=None if (output := given.pop("output")) == "-" else output,
            lab=LabSettings(duration(latency), duration(jitter), share(loss), capacity) if given.pop("lab") else None,
            progress=(sys.stderr.isatty() if progress is None else progress) and not quiet,
            **given,
        )
    with comparison:
        ctx.exit(comparison.run())


def _check(ctx: click.Context, lab: bool) -> None:
    """Refuse the options of a lab where the command line has them without one, and to run without psutil."""
    sources = {name: ctx.get_parameter_source(name) for name in _OF_LAB}
    given = [f"--{name}" for name, source in sources.items() if source is click.core.ParameterSource.COMMANDLINE]
    if given and not lab:
        raise ValueError(f"{', '.join(given)} says how the lab behaves: it needs --lab")
    require("psutil", "compare", "compare")

"""The command `resolve compare`: options in, exit status out.

Only click is imported at the top, as for all commands: `resolve --help` is to be quick.
"""

from __future__ import annotations

import sys
from typing import Any

import click

from resolver.options import (
    CAPACITY,
    JITTER,
    LATENCY,
    LOSS,
    NAMESERVER,
    QUERY_TIMEOUT,
    RATE,
    TLS_CA,
    TRIES,
    TYPE,
    Above,
    Setting,
    is_input,
    option,
    sources_of,
    usage,
)

FORMATS = ("table", "json", "csv")


class OfSeveral(Setting):
    """A setting that `run` has too, where it chooses one of what is compared here.

    RESOLVE_ENGINE=asyncio says how to look up, and not that nothing is to be compared with it; so from the environment
    only what can be meant for a comparison is heeded: several of them, or a pair.
    """

    def value_from_envvar(self, ctx: click.Context) -> Any:
        value = super().value_from_envvar(ctx)
        return value if value and (len(value) > 1 or ":" in value[0]) else None


class OfReport(Setting):
    """The format: one that `run` alone has (RESOLVE_FORMAT=jsonl) is not meant for a comparison."""

    def value_from_envvar(self, ctx: click.Context) -> Any:
        value = super().value_from_envvar(ctx)
        return value if value in FORMATS else None


@click.command()
@click.argument("hosts", nargs=-1)
@click.option("-e", "--engine", "named", cls=OfSeveral, multiple=True, metavar="ENGINE[:BACKEND]", help="What to "
              "compare; repeat it. [default: every pair of `resolve engines` that is installed]")  # fmt: skip
@click.option("-b", "--backend", "backends", cls=OfSeveral, multiple=True, metavar="BACKEND", help="The backend of "
              "each ENGINE that names none, or the only ones to compare; repeat it. [default: wire of an ENGINE, else "
              "all]")  # fmt: skip
@TYPE
@NAMESERVER
@option("--timeout", "timeouts", multiple=True, type=Above(float), metavar="SECONDS", help="A run ends then; repeat it "
         "to compare several. [default: no end]")  # fmt: skip
@QUERY_TIMEOUT
@TRIES
@option("--concurrency", type=Above(int), metavar="N", help="The most lookups in flight, the same for all. [default: "
         "128]")  # fmt: skip
@RATE
@option("--repeat", type=Above(int), default=2, show_default=True, metavar="N", help="Runs of each, in alternating "
         "order.")  # fmt: skip
@click.option("-f", "--format", "format_", cls=OfReport, type=click.Choice(FORMATS), help="[default: by the name of "
              "the output, else table]")  # fmt: skip
@option("-o", "--output", metavar="FILE", help="Write there; .json and .csv choose the format.")
@option("--plot", metavar="FILE", help="Draw there: .png or .svg. Needs the extra plot.")
@option("--lab", is_flag=True, help="Start the embedded nameserver on loopback for all runs, and ask it.")
@LATENCY
@JITTER
@LOSS
@CAPACITY
@TLS_CA
@option("--progress/--no-progress", default=None, help="Progress bar on standard error. [default: where it is a "
         "terminal]")  # fmt: skip
@option("-q", "--quiet", is_flag=True, help="No progress bar.")
@click.pass_context
def compare(
    ctx: click.Context,
    hosts: tuple[str, ...],
    named: tuple[str, ...],
    backends: tuple[str, ...],
    types: tuple[str, ...],
    nameservers: tuple[str, ...],
    timeouts: tuple[float, ...],
    query_timeout: float,
    tries: int,
    concurrency: int | None,
    rate: float | None,
    repeat: int,
    format_: str | None,
    output: str | None,
    plot: str | None,
    lab: bool,
    latency: str,
    jitter: str,
    loss: str,
    capacity: float | None,
    tls_ca: str | None,
    progress: bool | None,
    quiet: bool,
) -> None:
    """The same hosts through several engines, backends and timeouts, side by side.

    Each run is a process of its own, one after the other; all have the same list, policy and lookups in flight. The
    whole list is read first. Exit status: 0 every run came to its end; 1 some engine failed; 2 usage, unreadable
    input, unwritable output; 4 writing failed; 130 Ctrl-C, 143 SIGTERM: what is finished by then is reported.
    """
    if not hosts and not is_input(0):
        click.echo(ctx.get_help())
        ctx.exit()
    with usage(ctx):
        _check_lab(ctx, lab)
        from resolver.compare.job import Wanted, run
        from resolver.compare.report import LabSettings
        from resolver.lab import duration, share
        from resolver.policy import Policy

        wanted = Wanted(
            sources=sources_of(hosts),
            inputs=hosts or ("-",),
            named=named,
            backends=backends,
            types=types,
            policy=Policy(
                nameservers=nameservers,
                query_timeout=query_timeout,
                tries=tries,
                concurrency=concurrency,
                rate=rate,
                tls_ca=tls_ca,
            ),
            timeouts=tuple(dict.fromkeys(sorted(timeouts))) or (None,),
            repeat=repeat,
            format=format_,
            output=output,
            plot=plot,
            lab=LabSettings(duration(latency), duration(jitter), share(loss), capacity) if lab else None,
            progress=(sys.stderr.isatty() if progress is None else progress) and not quiet,
        )
        prepared = wanted.prepare()
    with prepared:
        ctx.exit(run(prepared))


def _check_lab(ctx: click.Context, lab: bool) -> None:
    """What says how a lab behaves needs one, where it was said for this command."""
    given = [
        f"--{name}"
        for name in ("latency", "jitter", "loss", "capacity")
        if ctx.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
    ]
    if given and not lab:
        raise ValueError(f"{', '.join(given)} says how the lab behaves: it needs --lab")

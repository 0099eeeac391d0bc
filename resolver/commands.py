"""The commands: options in, exit status out. No logic of lookups stands here.

Only click is imported at the top, so that `resolve --help` is quick and gevent can patch (see __main__) before
anything that waits is loaded: a command calls `prepare` first, and imports what it needs then.
"""

from __future__ import annotations

import math
import os
import stat
import sys
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from resolver.sources import Source


class Setting(click.Option):
    """An option that can be set by environment: the same name for every command, RESOLVE_ and its own."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.envvar is None and self.name not in ("help", "version"):
            longest = max(self.opts, key=len)
            self.envvar = "RESOLVE_" + longest.lstrip("-").replace("-", "_").upper()


class Above(click.ParamType):
    """A number above 0."""

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


class Default(click.Group):
    """A group whose first command is meant where no command is named."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args or (args[0] not in self.commands and args[0] not in ("--help", "--version")):
            args = ["run", *args]
        return super().parse_args(ctx, args)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        run = self.commands["run"]
        run.format_options(click.Context(run, ctx, "run"), formatter)
        self.format_commands(ctx, formatter)


def _version(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if not value or ctx.resilient_parsing:
        return
    from importlib import metadata

    def version(name: str) -> str:
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            return "(not installed)"

    from resolver.engines import DISTRIBUTION

    click.echo(f"resolve {version(DISTRIBUTION)}")
    click.echo(f"Python {sys.version.split()[0]}")
    for name in ("gevent", "dnspython", "aiodns", "msgspec", "click", "rich"):
        click.echo(f"{name} {version(name)}")
    ctx.exit()


@click.group(
    cls=Default,
    context_settings={"help_option_names": ["--help"], "max_content_width": 110},
    epilog="Every option can be set by environment: --query-timeout by RESOLVE_QUERY_TIMEOUT. "
    "`resolve COMMAND --help` tells more of each command; a list that has a command's name is ./compare, or follows run.",
    subcommand_metavar="[run] [OPTIONS] [HOSTS]... | COMMAND ...",
)
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Show versions.")
def cli() -> None:
    """Look many hosts up at once; exactly one result for each.

    HOSTS: an existing file is a list (one host a line), - is standard input, anything else is one host name. Without
    any, standard input is read where it is a pipe or a file.
    """


def _option(*names: str, **attributes: Any) -> Callable[[Any], Any]:
    return click.option(*names, cls=Setting, **attributes)


@cli.command()
@click.argument("hosts", nargs=-1)
@_option("-e", "--engine", default="gevent", show_default=True, help="How to wait: see `resolve engines`.")
@_option("-b", "--backend", default="wire", show_default=True, help="Who speaks DNS: see `resolve engines`.")
@_option("-t", "--type", "types", multiple=True, default=("A",), show_default=True, metavar="TYPE", help="Record type; "
         "repeat for several: each host and type is one lookup with one result.")  # fmt: skip
@_option("-n", "--nameserver", "nameservers", multiple=True, metavar="ADDR", help="ADDR, ADDR:PORT or [V6]:PORT, with "
         "udp://, tcp:// or tls:// before it; tls://ADDR#NAME; @FILE reads a list. Repeatable. [default: the "
         "system's]")  # fmt: skip
@_option("--timeout", type=Above(float), metavar="SECONDS", help="The whole run ends then: what is done is kept, "
         "what is not is reported DEADLINE.")  # fmt: skip
@_option("--query-timeout", type=Above(float), default=2.0, show_default=True, metavar="SECONDS",
         help="The longest one try waits.")  # fmt: skip
@_option("--tries", type=Above(int), default=3, show_default=True, metavar="N", help="Tries for one lookup, over the "
         "nameservers in turn.")  # fmt: skip
@_option("--concurrency", type=Above(int), metavar="N", help="The most lookups in flight. [default: adapts, up to "
         "1,000]")  # fmt: skip
@_option("--rate", type=Above(float), metavar="N", help="The most queries sent in a second. [default: no limit]")
@_option("-f", "--format", "format_", type=click.Choice(["text", "table", "jsonl", "csv"]), help="[default: table on a "
         "terminal for up to 100 lookups, else text]")  # fmt: skip
@_option("-o", "--output", metavar="FILE", help="Write there; .jsonl and .csv choose the format.")
@_option("--order", type=click.Choice(["completion", "input"]), help="[default: completion; input for a table]")
@_option("--summary", metavar="FILE", help="Write the run's figures there, as one JSON object.")
@_option("--strict", is_flag=True, help="NXDOMAIN and NODATA count as failures in the exit status.")
@_option("--no-wait", is_flag=True, help="Fire and forget: send every query once, wait for no reply, report how many "
         "went out. Use --rate with it.")  # fmt: skip
@_option("--lab", is_flag=True, help="Start the embedded nameserver on loopback for this run, and ask it.")
@_option("--tls-ca", metavar="FILE", help="Certificates that tls:// nameservers are checked against. [default: the "
         "system's]")  # fmt: skip
@_option("--progress/--no-progress", default=None, help="Progress bar and summary on standard error. [default: where "
         "it is a terminal]")  # fmt: skip
@_option("-q", "--quiet", is_flag=True, help="Neither of them.")
@click.pass_context
def run(
    ctx: click.Context,
    hosts: tuple[str, ...],
    engine: str,
    backend: str,
    types: tuple[str, ...],
    nameservers: tuple[str, ...],
    timeout: float | None,
    query_timeout: float,
    tries: int,
    concurrency: int | None,
    rate: float | None,
    format_: str | None,
    output: str | None,
    order: str | None,
    summary: str | None,
    strict: bool,
    no_wait: bool,
    lab: bool,
    tls_ca: str | None,
    progress: bool | None,
    quiet: bool,
) -> None:
    """Look hosts up (the default command).

    Exit status: 0 every lookup was answered; 1 some were not; 2 usage, unreadable input, unwritable output; 3 the
    timeout ended the run; 4 writing failed midway; 130 Ctrl-C, 143 SIGTERM.
    """
    if not hosts and not _is_input(0):
        click.echo((ctx.parent or ctx).get_help())
        ctx.exit()
    ctx.obj(engine)
    from resolver.api import plan
    from resolver.job import Job
    from resolver.policy import Policy

    with _usage(ctx):
        policy = Policy(
            nameservers=nameservers,  # type: ignore[arg-type]  # texts, which Policy reads
            timeout=timeout,
            query_timeout=query_timeout,
            tries=tries,
            concurrency=concurrency,
            rate=rate,
            tls_ca=tls_ca,
        )
        prepared = plan(_sources(hosts), engine, backend, types, policy, lab=lab)
    with prepared:
        with _usage(ctx):
            job = Job(prepared, format_, output, summary, inputs=hosts)
        if progress is None:
            progress = sys.stderr.isatty()
        ctx.exit(job.run(order=order, strict=strict, progress=progress and not quiet, quiet=quiet))


@cli.command()
@click.argument("hosts", nargs=-1)
@_option("--listen", default="127.0.0.1:5353", show_default=True, metavar="ADDR:PORT", help="Where to listen, UDP and "
         "TCP; port 0 takes a free one.")  # fmt: skip
@_option("--public", is_flag=True, help="Allow an address to listen on that is not loopback: other machines can ask.")
@_option("--latency", default="0", metavar="TIME", help="Between a query and its reply: 20ms, 0.02.")
@_option("--jitter", default="0", metavar="TIME", help="How much sooner or later a reply may come.")
@_option("--loss", default="0", metavar="SHARE", help="Share of queries that are lost: 1%, 0.01.")
@_option("--capacity", type=Above(float), metavar="N", help="Queries a second, above which they are dropped.")
@_option("--zone", multiple=True, metavar="FILE", help="A zone file to answer from. Repeatable.")
@_option("--origin", metavar="NAME", help="The origin of zone files that do not say theirs.")
@_option("--seed", type=int, metavar="N", help="Makes loss and jitter repeatable.")
@_option("--tls-cert", metavar="FILE", help="Serve over TLS too, with this certificate ...")
@_option("--tls-key", metavar="FILE", help="... and its key.")
@click.pass_context
def lab(
    ctx: click.Context,
    hosts: tuple[str, ...],
    listen: str,
    public: bool,
    latency: str,
    jitter: str,
    loss: str,
    capacity: float | None,
    zone: tuple[str, ...],
    origin: str | None,
    seed: int | None,
    tls_cert: str | None,
    tls_key: str | None,
) -> None:
    """A nameserver on loopback to practise and test against.

    It serves every name of the HOSTS (as in `resolve run`), or any name where none are given, with addresses that
    documentation may use, until Ctrl-C. The first label of a name can script how it behaves.
    """
    from resolver.lab import Settings, duration, serve, share

    with _usage(ctx):
        if (tls_cert is None) != (tls_key is None):
            raise ValueError("--tls-cert and --tls-key go together")
        settings = Settings(
            hosts=_names(hosts) if hosts else None,
            zone=list(zone),
            origin=origin,
            latency=duration(latency),
            jitter=duration(jitter),
            loss=share(loss),
            capacity=capacity,
            seed=seed,
            listen=listen,
            public=public,
            tls=(tls_cert, tls_key) if tls_cert and tls_key else None,
        )
        what = f"{len(settings.hosts):,} names" if settings.hosts is not None else "every name"

        def ready(address: Any) -> None:
            reach = "any machine can ask it" if public else "on loopback only"
            click.echo(f"{address.nameserver} serves {what if not zone or hosts else 'its zones'} ({reach})")
            if address.tls_nameserver:
                click.echo(f"tls://{address.tls_nameserver} serves the same")
            click.echo(f"ask it: resolve hosts.txt -n {address.nameserver}     end it: Ctrl-C")

        serve(settings, ready)


@cli.command(name="engines")
@_option("-f", "--format", "format_", type=click.Choice(["table", "jsonl"]), default="table", show_default=True)
def engines_(format_: str) -> None:
    """Which engine runs which backend, how it waits, and what is installed."""
    from resolver.engines import DISTRIBUTION, pairs

    rows = list(pairs())
    if format_ == "jsonl":
        import json

        for pair in rows:
            click.echo(json.dumps(pair._asdict()))
        return
    click.echo(f"{'engine':10} {'backend':10} {'waits by':10} installed")
    for pair in rows:
        installed = "yes" if pair.installed else f"no: pip install '{DISTRIBUTION}[{pair.extra}]'"
        click.echo(f"{pair.engine:10} {pair.backend:10} {pair.style:10} {installed}")


def _lab_epilog(ctx: click.Context, formatter: click.HelpFormatter) -> None:
    from resolver.lab import SCRIPTS

    with formatter.section("First labels that script a name, as in slow-300.example"):
        formatter.write_dl(list(SCRIPTS.items()))


lab.format_epilog = _lab_epilog  # type: ignore[method-assign]  # click's way would be a class for this one command


class _usage:
    """What is wrong with the arguments, or cannot be opened, is one sentence and exit status 2."""

    def __init__(self, ctx: click.Context) -> None:
        self._ctx = ctx

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, OSError):
            what = error.strerror or str(error)
            raise click.UsageError(f"{error.filename}: {what}" if error.filename else what, self._ctx) from None
        if isinstance(error, ValueError | LookupError | TypeError):
            raise click.UsageError(str(error), self._ctx) from None


def _is_input(fd: int) -> bool:
    """Is this a pipe, a file or a socket, as opposed to a terminal, /dev/null or nothing at all?"""
    try:
        mode = os.fstat(fd).st_mode
    except OSError:
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISREG(mode) or stat.S_ISSOCK(mode)


def _sources(hosts: Sequence[str]) -> list[Source]:
    """An existing file is a list, - is standard input, anything else is one host.

    Raises OSError for what cannot be read, and ValueError for a word with a path separator that is no file.
    """
    from resolver.sources import descriptor, elements, path

    sources: list[Source] = []
    words: list[str] = []
    for word in [*(hosts or ["-"]), None]:
        listed = word == "-" or (word is not None and os.path.exists(word) and not os.path.isdir(word))
        if (listed or word is None) and words:
            sources.append(elements(words))
            words = []
        if word is None:
            break
        if word == "-":
            sources.append(descriptor(0))
        elif listed:
            sources.append(path(word))
        elif os.sep in word:
            raise ValueError(f"{word}: there is no such file, and no host name has a {os.sep} here")
        else:
            words.append(word)
    return sources


def _names(hosts: Sequence[str]) -> list[str]:
    """The names that a lab serves. A line that is no name is left out; an address stands for itself."""
    from resolver.hosts import Hosts

    reading = Hosts(_sources(hosts), ("A",), "", "")
    names = []
    while (got := reading.take(1000)) is not None:
        names += [query.name for query in got[0]]
    return names

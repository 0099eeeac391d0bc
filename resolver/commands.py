"""The commands: options in, exit status out. No logic of lookups stands here.

Only click is imported at the top, so that `resolve --help` is quick and gevent can patch (bootstrap.py) before
anything that waits is loaded: a command calls `prepare` first, and imports what it needs then.
"""

from __future__ import annotations

import sys
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

import click

import resolver.completion  # noqa: F401  # it registers what completes in each shell
from resolver.bootstrap import prepare
from resolver.host_words import is_input, rewound, sources_of
from resolver.options import (
    HOSTS,
    NAMESERVER,
    QUERY_TIMEOUT,
    RATE,
    REDIS,
    SOURCE,
    STATUS,
    TLS_CA,
    TRIES,
    TYPE,
    WORD_LIST,
    Above,
    Group,
    Grouped,
    LazyCommands,
    OneOf,
    RunByDefault,
    chosen_format,
    config_option,
    option,
    usage,
)
from resolver.settings import for_every_run

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from resolver.input.sources import Source
    from resolver.output.resume import Resumed
    from resolver.output.selection import Differing, Selection
    from resolver.pages.run import RunReport
    from resolver.policy import Policy


def _version(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if not value or ctx.resilient_parsing:
        return
    from resolver.extras import DISTRIBUTION, versions

    found = versions(names := ("gevent", "dnspython", "aiodns", "msgspec", "click", "rich"))
    click.echo(f"resolve {found.get(DISTRIBUTION, '(not installed)')}")
    click.echo(f"Python {sys.version.split()[0]}")
    for name in names:
        click.echo(f"{name} {found.get(name, '(not installed)')}")
    from resolver.wire.accelerator import ACCELERATED

    click.echo(f"accelerator {'in use' if ACCELERATED else 'not in use'}")
    ctx.exit()


COMMANDS = LazyCommands(
    {
        "compare": "resolver.compare.command:compare",
        "completion": "resolver.completion:completion",
        "config": "resolver.config_command:config",
        "engines": "resolver.engines.command:engines_command",
        "lab": "resolver.lab_command:lab",
        "nameservers": "resolver.vetting.command:nameservers",
        "worker": "resolver.distributed.command:worker",
    }
)


@click.group(
    cls=RunByDefault,
    commands=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="Every option can be set by environment, --query-timeout by RESOLVE_QUERY_TIMEOUT, and in a settings file. "
    "`resolve COMMAND -h` tells more of each command; a list that has a command's name is ./lab, or follows run.",
    options_metavar=None,
    subcommand_metavar="[run] [OPTIONS] [HOSTS]... | COMMAND ...",
)
def cli() -> None:
    """Look many hosts up at once; exactly one result for each.

    HOSTS: an existing file is a list (one host a line), - is standard input, anything else is one host, URL or
    network. Without any, standard input is read where it is a pipe or a file.
    """


# With --no-wait no reply is awaited.
_OF_REPLIES = ("query_timeout", "tries", "concurrency", "format_", "output", "order", "strict", "resume", "redo",
               "json_", "only", "group", "keep", "wildcards", "follow", "trusted", "trusted_rate", "detail",
               "each_nameserver", "subnet", "report")  # fmt: skip


@cli.command(cls=Grouped, meaningless={"no_wait": _OF_REPLIES})
@HOSTS
@option("--column", group=Group.LIST, metavar="N|NAME", help="The lists are CSV: the host stands in this column, "
        "from 1, or by the header's name.")  # fmt: skip
@option("--keep", group=Group.LIST, is_flag=True, help="With --column: the whole row comes out with each result.")
@WORD_LIST
@TYPE
@option("--prefix", group=Group.QUESTION, metavar="LABELS", help="Put these before each name: --prefix _dmarc.")
@option("--wildcards", group=Group.QUESTION, is_flag=True, help="Say of each result whether a wildcard made it, by "
        "probes with random labels.")  # fmt: skip
@option("--follow", group=Group.QUESTION, is_flag=True, help="Look up the addresses of the targets of MX, NS, SRV, "
        "SVCB and HTTPS records too.")  # fmt: skip
@option("--dnssec", group=Group.QUESTION, is_flag=True, help="Ask for DNSSEC records (DO); --detail shows AD.")
@option("--cd", group=Group.QUESTION, is_flag=True, help="Ask the nameserver not to validate (CD).")
@option("--no-recurse", group=Group.QUESTION, is_flag=True, help="Ask only for what the nameserver knows itself (RD "
        "off).")  # fmt: skip
@option("--nsid", group=Group.QUESTION, is_flag=True, help="Ask which of its instances a nameserver is; --detail shows "
        "it.")  # fmt: skip
@option("--subnet", group=Group.QUESTION, multiple=True, metavar="PREFIX", help="Ask for this network (EDNS client "
        "subnet); repeat for several: each is one lookup.")  # fmt: skip
@NAMESERVER
@option("--lab", group=Group.NAMESERVERS, is_flag=True, help="Start the embedded nameserver on loopback for this run, "
        "and ask it.")  # fmt: skip
@option("--each-nameserver", group=Group.NAMESERVERS, is_flag=True, help="Ask each nameserver each question: one "
        "result for each host, type and nameserver; --only differing shows where they do not agree.")  # fmt: skip
@SOURCE
@option("--trusted", group=Group.NAMESERVERS, multiple=True, metavar="ADDR", help="Ask what was answered with records "
        "once more of these, whose verdict counts; as -n. Repeatable.")  # fmt: skip
@option("--trusted-rate", group=Group.NAMESERVERS, type=Above(float), metavar="N", help="The most queries sent to "
        "them in a second. [default: no limit]")  # fmt: skip
@TLS_CA
@option("--timeout", group=Group.EFFORT, type=Above(float), metavar="SECONDS", help="The whole run ends then: what is "
        "done is kept, what is not is reported DEADLINE.")  # fmt: skip
@QUERY_TIMEOUT
@TRIES
@RATE
@option("--concurrency", group=Group.EFFORT, type=Above(int), metavar="N", help="The most lookups in flight. [default: "
        "adapts, up to 1,000]")  # fmt: skip
@option("--no-wait", group=Group.EFFORT, is_flag=True, help="Fire and forget: send every query once, wait for no "
        "reply, report how many went out. Use --rate with it.")  # fmt: skip
@option("-f", "--format", "format_", group=Group.OUTPUT, metavar="FORMAT",
        type=OneOf(["text", "table", "jsonl", "csv", "hosts", "answers"]), help="text, table, jsonl (JSON "
        "Lines), csv; hosts: the host of each result; answers: the data found. [default: table on a terminal for up to "
        "100 lookups, else text]")  # fmt: skip
@option("--json", "json_", group=Group.OUTPUT, is_flag=True, help="Short for -f jsonl.")
@option("-o", "--output", group=Group.OUTPUT, metavar="FILE", help="Write there; .jsonl and .csv choose the format; - "
        "is standard output.")  # fmt: skip
@option("--only", group=Group.OUTPUT, multiple=True, metavar="STATUS", help="Write only the results with this status; "
        "also answered, unanswered. Repeatable. Counts and exit status stay those of all.")  # fmt: skip
@option("--group", group=Group.OUTPUT, is_flag=True, help="A row a host, a column a type, as a table or as CSV.")
@option("--order", group=Group.OUTPUT, type=OneOf(["completion", "input"]), metavar="ORDER",
        help="completion or input: as results come, or as the list has it. [default: completion; input for a "
        "table]")  # fmt: skip
@option("--detail", group=Group.OUTPUT, is_flag=True, help="How each reply looked: flags, sections, extended errors, "
        "in the key detail.")  # fmt: skip
@option("--resume", group=Group.OUTPUT, is_flag=True, help="With -o FILE in JSON Lines: keep what that file already "
        "holds, and look up only the rest.")  # fmt: skip
@option("--redo", group=Group.OUTPUT, multiple=True, metavar="STATUS", help="With --resume: look these up again too, "
        "and replace them; also unanswered. Repeatable.")  # fmt: skip
@option("--summary", group=Group.OUTPUT, metavar="FILE", help="Write the run's figures there, as one JSON object; - "
        "is standard output.")  # fmt: skip
@option("--report", group=Group.OUTPUT, metavar="FILE", help="Write a page about the run there, in HTML, for people: "
        "statuses, times, failures. Needs the extra report.")  # fmt: skip
@STATUS
@option("--strict", group=Group.OUTPUT, is_flag=True, help="NXDOMAIN and NODATA count as failures in the exit status.")
@option("-e", "--engine", group=Group.RUN, metavar="ENGINE", default="gevent", show_default=True, help="How to wait: "
        "gevent, asyncio, threads, processes, twisted or redis; see `resolve engines`.")  # fmt: skip
@option("-b", "--backend", group=Group.RUN, metavar="BACKEND", default="wire", show_default=True, help="Who speaks "
        "DNS: wire, which is built in, system, dnspython, aiodns or twisted.")  # fmt: skip
@option("--inner", group=Group.RUN, metavar="ENGINE", help="The engine inside the children of engine processes, and of "
        "engine redis with a worker of its own. [default: threads; gevent]")  # fmt: skip
@REDIS
@option("--progress/--no-progress", group=Group.RUN, default=None, help="Progress bar and summary on standard error. "
        "[default: where it is a terminal]")  # fmt: skip
@option("-q", "--quiet", group=Group.RUN, is_flag=True, help="No progress bar and no summary.")
@config_option(Group.RUN)
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Show versions.")
@click.pass_context
def run(
    ctx: click.Context,
    /,
    hosts: tuple[str, ...],
    words: str | None,
    engine: str,
    backend: str,
    types: tuple[str, ...],
    format_: str | None,
    json_: bool,
    output: str | None,
    only: tuple[str, ...],
    group: bool,
    order: str | None,
    resume: bool,
    redo: tuple[str, ...],
    summary: str | None,
    report: str | None,
    status: str | None,
    strict: bool,
    no_wait: bool,
    column: str | None,
    progress: bool | None,
    quiet: bool,
    **fields: Any,
) -> None:
    """Look hosts up (the default command).

    Exit status: 0 every lookup was answered; 1 some were not; 2 usage, unreadable input, unwritable output; 3 the
    timeout ended the run; 4 writing failed midway; 130 Ctrl-C, 143 SIGTERM.
    """
    if not hosts and not is_input(0):
        click.echo((ctx.parent or ctx).get_help())
        ctx.exit()
    prepare(engine, backend)
    from resolver.engines import carries
    from resolver.input.columns import HostColumn
    from resolver.job import Job, OneWayJob
    from resolver.planning import RunFields, plan, record_types
    from resolver.policy import Policy

    if progress is None:
        progress = sys.stderr.isatty()
    given = {name: fields.pop(name) for name in RunFields.__optional_keys__}
    # The environment and the settings file speak to every run; that this one has no inner engine, or no broker, is no
    # mistake.
    meant = {
        "inner": carries(engine),
        "redis": engine == "redis",
        "trusted_rate": given["trusted"],
        "keep": column is not None,
    }
    given.update({name: None for name, is_meant in meant.items() if not is_meant and for_every_run(ctx, name)})
    keep = bool(given["keep"])
    if output == "-":
        output = None
    inputs = (*(hosts or ("-",)), *(() if words is None else (words,)))
    with usage(ctx):
        format_ = chosen_format(ctx, format_, "jsonl", given=json_)
        grouped = _group_format(ctx, format_, output) if group else None
        policy = Policy(**fields)
        if group and (policy.each_nameserver or policy.subnet):
            raise ValueError("--group does not go with --each-nameserver and --subnet")
        sending = None
        if no_wait:
            sending = OneWayJob(summary, status, inputs=inputs)
        elif resume:
            _check_resume(format_, output, only)
        elif redo and not for_every_run(ctx, "redo"):
            raise ValueError("--redo looks up again what a file already holds, and needs --resume with -o FILE")
        place = HostColumn.of(column, keep=keep)
        lists = partial(sources_of, hosts, place, words)
        prepared = plan(lists(), engine, backend, types, policy, one_way=no_wait, **given)
    with prepared:
        if sending is not None:
            ctx.exit(sending.run(prepared, progress=progress and not quiet, quiet=quiet))
        with usage(ctx):
            resumed = None
            if resume:
                assert output is not None
                resumed = _resumed(output, redo, inputs, lists, types, prepared.policy, ordered=order == "input")
                prepared.opened.enter_context(resumed)
            job = Job(
                prepared,
                grouped or format_,
                output,
                summary,
                inputs,
                resumed,
                selection=_selection(only, prepared.policy),
                group=record_types(types) if grouped else (),
                more=[key for option, key in _KEYS.items() if {**given, "detail": policy.detail}[option]],
                keep=keep,
                status=status,
                report=None
                if report is None
                else _run_report(report, inputs, record_types(types), prepared.policy, resume),
            )
        ctx.exit(job.run(order=order, strict=strict, progress=progress and not quiet, quiet=quiet))


def _group_format(ctx: click.Context, format_: str | None, output: str | None) -> str | None:
    """Return the format of --group; None: the environment has it, and it is not meant here.

    Raises ValueError for a format that has no row a host.
    """
    from resolver.output.files import format_of
    from resolver.output.formats import GROUPED

    chosen = format_of(format_, output) or "table"
    if chosen in GROUPED:
        return chosen
    if for_every_run(ctx, "group"):
        return None
    raise ValueError(f"--group makes one row of a host; it goes with -f table and -f csv, not with {chosen}")


def _selection(only: Sequence[str], policy: Policy) -> Selection | Differing | None:
    """Return what chooses the results that are written. Raises ValueError for words that choose none."""
    from resolver.output.selection import DIFFERING, Differing, Selection

    if DIFFERING not in map(str.lower, only):
        return Selection(only) if only else None
    if len(only) > 1 or not policy.each_nameserver:
        raise ValueError("--only differing stands alone, and needs --each-nameserver")
    return Differing(len(policy.nameservers), len(policy.subnet))


# The key of a result that an option asks for, in their order.
_KEYS = {"wildcards": "wildcard", "trusted": "first", "detail": "detail", "follow": "follow"}


def _run_report(path: str, inputs: Sequence[str], types: Sequence[str], policy: Policy, kept: bool) -> RunReport:
    from resolver.pages.run import Asked, RunReport

    return RunReport(path, Asked(inputs, types, policy, kept))


def _check_resume(format_: str | None, output: str | None, only: Sequence[str]) -> None:
    """Raise ValueError for what --resume does not go with, naming the cure."""
    from resolver.output.files import format_of

    if only:
        raise ValueError("--resume goes on with a file that holds every result; --only leaves some out")
    if output is None:
        raise ValueError("--resume goes on with a file of results: name it with -o FILE.jsonl")
    chosen = format_of(format_, output)
    if chosen != "jsonl":
        raise ValueError(
            f"--resume goes on with JSON Lines, not with {chosen or 'text'}: write them with -o FILE.jsonl or -f jsonl"
        )


def _resumed(
    output: str,
    redo: Sequence[str],
    inputs: Sequence[str],
    opened: Callable[[], list[Source]],
    types: Sequence[str],
    policy: Policy,
    *,
    ordered: bool,
) -> Resumed:
    """Open the file to go on with, once it is sure that it is one of these hosts and types. Raises as Resumed does."""
    from resolver.input.hosts import Hosts
    from resolver.output.files import check_other_file
    from resolver.output.resume import Resumed
    from resolver.output.selection import statuses_of
    from resolver.planning import record_types

    check_other_file(output, inputs)
    asked = map(str, policy.nameservers) if policy.each_nameserver else ()
    resumed = Resumed(output, statuses_of(redo), ordered=ordered, nameservers=tuple(asked))
    try:
        with rewound(0), ExitStack() as closed:
            sources = opened()
            for each in sources:
                closed.callback(each.close)
            resumed.check(sources, lambda lists: Hosts(lists, record_types(types), "", "", variants=policy.variants))
    except BaseException:
        resumed.close()
        raise
    return resumed

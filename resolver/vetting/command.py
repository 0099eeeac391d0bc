"""The command `resolve nameservers`. Like commands.py it imports click and little else before it runs."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import click

from resolver.bootstrap import prepare
from resolver.options import QUERY_TIMEOUT, RATE, TLS_CA, TRIES, Group, OneOf, command, config_option, option, usage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from resolver.vetting.verdict import Verdict

FORMATS = ("text", "table", "jsonl", "csv", "nameservers")


@command(name="nameservers")
@click.argument("addresses", nargs=-1, metavar="[ADDR]...")
@option("--zone", group=Group.QUESTION, multiple=True, metavar="NAME", help="Ask for this name, which exists, and for "
        "random ones below it. Repeatable. [default: the root, and names that cannot exist]")  # fmt: skip
@option("--trusted", group=Group.NAMESERVERS, multiple=True, metavar="ADDR", help="A nameserver whose answers are "
        "right; @FILE reads a list. Repeatable.")  # fmt: skip
@option("--lab", group=Group.NAMESERVERS, is_flag=True, help="Start nameservers on loopback for this run, a good one, "
        "a slow, a lame, a lying and a dead one, and ask those too.")  # fmt: skip
@TLS_CA
@QUERY_TIMEOUT
@TRIES
@RATE
@option("-f", "--format", "format_", group=Group.OUTPUT, metavar="FORMAT", type=OneOf(FORMATS),
        meant=FORMATS.__contains__, default="text",
        show_default=True, help="text, table, jsonl (JSON Lines) or csv; nameservers: the good ones, for "
        "-n @FILE.")  # fmt: skip
@config_option(None)
@click.pass_context
def nameservers(
    ctx: click.Context,
    /,
    addresses: tuple[str, ...],
    zone: tuple[str, ...],
    trusted: tuple[str, ...],
    lab: bool,
    format_: str,
    **keywords: Any,
) -> None:
    """Say which of these nameservers can be trusted with a run.

    ADDR is what `-n` takes; @FILE reads a list. Verdicts, each with its reason: good, slow, lame (it refuses or does
    not recurse), lies, dead.

    Exit status: 0 where each of them has its line.
    """
    prepare("gevent", "wire")
    from resolver.vetting.survey import survey

    with ExitStack() as opened, usage(ctx):
        asked = [*addresses, *(_labs(opened) if lab else ())]
        found = survey(asked, zones=zone, trusted=trusted, **keywords)
    write(found, format_)


def _labs(opened: ExitStack) -> list[str]:
    """Start nameservers of every kind; returns their addresses."""
    import socket
    import tempfile
    from pathlib import Path

    from resolver.lab import Lab

    zone = Path(opened.enter_context(tempfile.TemporaryDirectory())) / "elsewhere.zone"
    zone.write_text("$ORIGIN elsewhere.example.\n$TTL 300\n@ SOA ns host 1 2 3 4 5\n@ NS ns\nns A 192.0.2.1\n")
    labs = [Lab(), Lab(latency=0.8), Lab(zone=zone), Lab(lies=True)]
    silent = opened.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    silent.bind(("127.0.0.1", 0))
    return [*(opened.enter_context(each).nameserver for each in labs), f"127.0.0.1:{silent.getsockname()[1]}"]


def write(found: Sequence[Verdict], format: str) -> None:
    """Write the verdicts to standard output, a line each."""
    import msgspec

    from resolver.output.lines import csv_rows, visible
    from resolver.vetting.verdict import Verdict

    if format == "jsonl":
        sys.stdout.write(b"".join(msgspec.json.encode(each) + b"\n" for each in found).decode())
    elif format == "nameservers":
        sys.stdout.write("".join(f"{each.nameserver}\n" for each in found if each.verdict == "good"))
    elif format == "csv":
        rows = [Verdict.__struct_fields__, *map(msgspec.structs.astuple, found)]
        cells = [[str(cell).lower() if isinstance(cell, bool) else cell for cell in row] for row in rows]
        sys.stdout.write(csv_rows(cells).decode())
    elif format == "text":
        sys.stdout.write("".join(f"{each.nameserver}\t{each.verdict}\t{visible(each.error or '')}\n" for each in found))
    else:
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table("nameserver", "verdict", "ms", "loss", "it is, or has", "why not good", box=None)
        for column in table.columns[:4]:
            column.no_wrap = True
        for each in found:
            has = [name for name in ("recursive", "honest", "tcp", "edns", "dnssec") if getattr(each, name)]
            trip = "" if each.rtt_p50 is None else f"{1000 * each.rtt_p50:.1f}"
            loss = "" if each.loss is None else f"{each.loss:.0%}"
            why = Text(visible(each.error or ""))
            table.add_row(Text(each.nameserver), each.verdict, trip, loss, " ".join(has), why)
        Console().print(table)
    sys.stdout.flush()

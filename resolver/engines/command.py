"""The command `resolve engines`. Like commands.py it imports click and little else before it runs."""

from __future__ import annotations

import sys

import click

from resolver.options import OneOf, chosen_format, command, config_option, option, usage

FORMATS = ("text", "table", "jsonl", "csv")


@command(name="engines")
@option("-f", "--format", "format_", group=None, type=OneOf(FORMATS), meant=FORMATS.__contains__,
        default="table", show_default=True, metavar="FORMAT", help="text, table, jsonl or csv.")  # fmt: skip
@option("--json", "json_", group=None, is_flag=True, help="Short for -f jsonl.")
@config_option(None)
@click.pass_context
def engines_command(ctx: click.Context, /, format_: str, json_: bool) -> None:
    """Which engine runs which backend, and what is installed."""
    from resolver.engines import Pair, pairs
    from resolver.extras import cure

    with usage(ctx):
        format_ = chosen_format(ctx, format_, "jsonl", given=json_) or "table"
    rows = list(pairs())
    if format_ == "jsonl":
        import json

        for pair in rows:
            click.echo(json.dumps(pair._asdict()))
    elif format_ == "csv":
        import csv

        csv.writer(sys.stdout).writerows([Pair._fields, *rows])
    else:
        click.echo(f"{'engine':10} {'backend':10} {'waits by':10} installed")
        for pair in rows:
            installed = "yes" if pair.installed else f"no: {cure(pair.extra)}"
            click.echo(f"{pair.engine:10} {pair.backend:10} {pair.style:10} {installed}")

"""The command `resolve worker`. Like commands.py it imports click and little else before it runs."""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from resolver.console import redraws
from resolver.options import (
    NAMESERVER,
    RATE,
    SOURCE,
    STATUS,
    TLS_CA,
    Above,
    Group,
    command,
    config_option,
    option,
    usage,
)
from resolver.spelling import meant


def _local(engine: str) -> bool:
    """Tell whether a worker can have this engine: RESOLVE_ENGINE=redis says how to run, and not how a worker works."""
    from resolver import engines

    return not engines.carries(engine)


@command()
@NAMESERVER
@SOURCE
@TLS_CA
@RATE
@option("--concurrency", group=Group.EFFORT, type=Above(int), metavar="N", help="The most lookups in flight from here. "
        "[default: what each run says]")  # fmt: skip
@STATUS
@option("--redis", group=Group.RUN, metavar="URL", help="Where runs are found: redis://[USER:PASSWORD@]HOST[:PORT]"
        "[/DB], rediss:// for TLS.")  # fmt: skip
@option("-e", "--engine", group=Group.RUN, meant=_local, metavar="ENGINE", default="gevent", show_default=True,
        help="The engine that looks up; all but those that start processes themselves.")  # fmt: skip
@option("--slots", group=Group.RUN, type=Above(int), metavar="N", help="Processes that look up. [default: one a core]")
@option("-q", "--quiet", group=Group.RUN, is_flag=True, help="Only what goes wrong.")
@config_option(Group.RUN)
@click.pass_context
def worker(
    ctx: click.Context,
    /,
    redis: str | None,
    engine: str,
    slots: int | None,
    status: str | None,
    quiet: bool,
    **fields: Any,
) -> None:
    """A worker of the distributed engine (--engine redis).

    It takes chunks of any run at that Redis and looks them up until Ctrl-C; then it finishes what it has in hand, or
    hands it back. A second Ctrl-C ends at once. Nameservers are the run's, where it names some, unless -n names others
    here; so are the addresses of --source. RESOLVE_REDIS keeps a password out of the list of processes.

    Exit status: 0 it left in order; 2 usage, or a Redis that cannot be used.
    """
    with usage(ctx):
        from resolver import engines

        if redis is None:
            raise ValueError("a worker needs --redis URL, or RESOLVE_REDIS")
        engines.find("redis", "wire")
        local = list(filter(_local, engines.ENGINES))
        if engine not in local:
            why = f"there is no engine {engine!r}" if _local(engine) else f"engine {engine} starts processes itself"
            raise ValueError(f"{why}; valid for a worker: {', '.join(local)}{meant(engine, local)}")
        engines.find(engine, "wire")
        from resolver.distributed.broker import Broker
        from resolver.distributed.payload import VERSION
        from resolver.distributed.worker import work
        from resolver.nameserver import check_sources
        from resolver.output.status import StatusFeed
        from resolver.policy import Policy
        from resolver.processes.engine import cores
        from resolver.wire import check_certificates

        own = Policy(**fields)
        if own.tls_ca is not None:
            check_certificates(own.tls_ca)
        check_sources(own.source, own.nameservers)
        broker = Broker.parse(redis)
        broker.reach()
        feed = None if status is None else StatusFeed(status, [])
    os.environ.pop("RESOLVE_REDIS", None)  # not for children
    line = redraws(sys.stderr) and not quiet
    _log(quiet=quiet, line=line)
    slots = slots or cores()
    if not quiet:
        click.echo(
            f"resolve {VERSION}, worker at {broker.shown}: {slots} slot{'s' * (slots > 1)}, engine {engine}; end it "
            "with Ctrl-C",
            err=True,
        )
    ctx.exit(work(broker, engine, slots, own, line=line, feed=feed))


def _log(*, quiet: bool, line: bool) -> None:
    """Send our sentences and Celery's warnings to standard error."""
    import logging

    erase = "\r\x1b[2K" if line else ""
    stamp = "" if line else "%(asctime)s "
    logging.basicConfig(level=logging.WARNING, format=f"{erase}{stamp}%(message)s", stream=sys.stderr)
    logging.getLogger("resolver.distributed").setLevel(logging.WARNING if quiet or line else logging.INFO)

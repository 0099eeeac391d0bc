"""The command `resolve lab`. Like commands.py it imports click and little else before it runs."""

from __future__ import annotations

from typing import Any

import click

from resolver import options
from resolver.host_words import sources_of
from resolver.options import Group, command, option
from resolver.spelling import counted


@command()
@options.HOSTS
@option("--zone", group=Group.ZONES, multiple=True, metavar="FILE", help="A zone file to answer from. Repeatable.")
@option("--origin", group=Group.ZONES, metavar="NAME", help="The origin of zone files that do not say theirs.")
@option("--listen", group=Group.LISTENER, default="127.0.0.1:5353", show_default=True, metavar="ADDR:PORT",
        help="Where to listen, UDP and TCP; port 0 takes a free one.")  # fmt: skip
@option("--public", group=Group.LISTENER, is_flag=True, help="Allow an address to listen on that is not loopback: "
        "other machines can ask.")  # fmt: skip
@option("--tls-cert", group=Group.LISTENER, metavar="FILE", help="Serve over TLS too, with this certificate ...")
@option("--tls-key", group=Group.LISTENER, metavar="FILE", help="... and its key.")
@options.LATENCY
@options.JITTER
@options.LOSS
@options.CAPACITY
@option("--lies", group=Group.FAULTS, is_flag=True, help="Names that cannot exist (below invalid.) have addresses too.")
@option("--seed", group=Group.FAULTS, type=int, metavar="N", help="Makes loss and jitter repeatable.")
@options.config_option(None)
@click.pass_context
def lab(
    ctx: click.Context,
    /,
    hosts: tuple[str, ...],
    latency: str,
    jitter: str,
    loss: str,
    zone: tuple[str, ...],
    tls_cert: str | None,
    tls_key: str | None,
    **settings: Any,
) -> None:
    """A nameserver on loopback to practise and test against.

    It serves every name of the HOSTS (as in `resolve run`), or any name where none are given, with addresses that
    documentation may use, until Ctrl-C. The first label of a name can script how it behaves.
    """
    from resolver.lab import Settings, duration, names_of, share
    from resolver.lab.server import serve

    with options.usage(ctx):
        if (tls_cert is None) != (tls_key is None):
            raise ValueError("--tls-cert and --tls-key go together")
        served = Settings(
            hosts=names_of(sources_of(hosts)) if hosts else None,
            zone=list(zone),
            latency=duration(latency),
            jitter=duration(jitter),
            loss=share(loss),
            tls=(tls_cert, tls_key) if tls_cert and tls_key else None,
            **settings,
        )
        what = "every name" if served.hosts is None else counted(len(served.hosts), "name")
        if zone:
            what = f"{what} and its zones" if hosts else "its zones"

        def ready(address: Any) -> None:
            reach = "any machine can ask it" if served.public else "on loopback only"
            lines = [f"{address.nameserver} serves {what} ({reach})"]
            if address.tls_nameserver:
                lines.append(f"tls://{address.tls_nameserver} serves the same")
            lines.append(f"ask it: resolve hosts.txt -n {address.nameserver}     end it: Ctrl-C")
            # In one write: who reads only the first line may be gone by the second.
            click.echo("\n".join(lines))

        serve(served, ready)


def _lab_epilog(ctx: click.Context, formatter: click.HelpFormatter) -> None:
    from resolver.lab import SCRIPTS

    with formatter.section("First labels that script a name, as in slow-300.example"):
        formatter.write_dl(list(SCRIPTS.items()))


lab.format_epilog = _lab_epilog  # type: ignore[method-assign]  # click's way would be a class for this one command

"""A real nameserver for the benchmarks: Knot DNS on a free loopback port, serving a zone whose every answer is known.

Host number i is `h<i>.bench.example` and its only address is 10.0.0.0 + i, so a benchmark can check each answer against
the number alone. Change `host_name`, `host_address` and the zone together.

Knot is an authoritative server: it answers from memory, at a rate no client here reaches with one core, and what a
benchmark then measures is the client. Response rate limiting is a module of Knot's and stays unloaded; the journal and
the writing back of zone files are off; everything Knot writes goes to a temporary directory. Each UDP worker has a
socket of its own (SO_REUSEPORT), so a client with a single socket always meets the same worker, whose receive buffer
holds between two and three hundred queries: a client that sends more at once loses some.
"""

import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import click
import dns.exception
import dns.message
import dns.query
import dns.rdatatype

ZONE = "bench.example"
NAMES = 500_000
LOOPBACK = "127.0.0.1"
_FIRST_ADDRESS = 10 << 24
_SECONDS_TO_LOAD = 60.0
_SECONDS_TO_STOP = 10.0

CONFIGURATION = """\
server:
    rundir: "{directory}"
    listen: {address}@{port}
    udp-workers: {udp_workers}
    tcp-workers: 1
    background-workers: 1
log:
  - target: stderr
    any: warning
database:
    storage: "{directory}/db"
control:
    listen: "{directory}/control"
template:
  - id: default
    storage: "{directory}"
    zonefile-sync: -1
    journal-content: none
    semantic-checks: off
zone:
"""

_APEX = f"""\
$ORIGIN {ZONE}.
$TTL 300
@ SOA ns hostmaster 1 3600 600 86400 300
@ NS ns
ns A {LOOPBACK}
"""


@dataclass(frozen=True)
class Nameserver:
    """Where the running server listens, and how many names its zone has."""

    address: str
    port: int
    names: int

    def __str__(self) -> str:
        return f"{self.address}:{self.port}"


def host_name(index: int) -> str:
    """The name of host number `index`, without the final dot."""
    return f"h{index:06}.{ZONE}"


def host_address(index: int) -> str:
    """The one address of host number `index`."""
    return socket.inet_ntoa((_FIRST_ADDRESS + index).to_bytes(4, "big"))


def write_hosts(path: Path, count: int) -> None:
    """Write a list of the first `count` hosts, one a line."""
    path.write_text("".join(f"{host_name(index)}\n" for index in range(count)))


@contextmanager
def serve(names: int = NAMES, udp_workers: int = 2, more: Iterable[str] = ()) -> Iterator[Nameserver]:
    """Run a nameserver with that many names until the block is left; it answers when the block is entered.

    `more`: further lines of the zone.

    It has cores of its own, which what is started in the block does not use.

    Raises click.ClickException where Knot is not installed or does not come up. While the block runs, SIGTERM ends the
    program by way of SystemExit, so that the server never outlives it.
    """
    program = _knotd()
    with tempfile.TemporaryDirectory(prefix="knot-") as name, _terminated_in_order():
        directory = Path(name)
        server = Nameserver(LOOPBACK, free_port(), names)
        _write_zone(directory / "zone", names, more)
        (directory / "conf").write_text(
            CONFIGURATION.format(directory=directory, address=server.address, port=server.port, udp_workers=udp_workers)
            + f'  - domain: {ZONE}\n    file: "{directory}/zone"\n'
        )
        with (directory / "log").open("w") as log:
            process = subprocess.Popen(
                [program, "-c", directory / "conf"],
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            _wait_until_it_answers(server, process, directory / "log")
            with apart(process.pid):
                yield server
        finally:
            process.terminate()
            try:
                process.wait(_SECONDS_TO_STOP)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextmanager
def apart(server: int) -> Iterator[None]:
    """Give the process `server` and its threads a quarter of the cores, and this program's children the others.

    With a single core, or where the system cannot bind (macOS), they share: the output says so.
    """
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_setaffinity") else []
    if len(cores) < 2:
        click.echo("client and nameserver share their cores", err=True)
        yield
        return
    served = max(1, len(cores) // 4)
    for thread in Path(f"/proc/{server}/task").iterdir():
        os.sched_setaffinity(int(thread.name), cores[-served:])
    os.sched_setaffinity(0, cores[:-served])
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


def _knotd() -> str:
    program = shutil.which("knotd") or shutil.which("knotd", path="/usr/sbin:/usr/local/sbin")
    if program is None:
        raise click.ClickException("knotd is not installed (Debian and Ubuntu: apt install knot)")
    return program


def free_port(address: str = LOOPBACK) -> int:
    """A port that is free for UDP and TCP, among those that no system gives to a client: so it stays free."""
    while True:
        port = random.randrange(20_000, 32_768)  # where Linux' own begin
        with (
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
            socket.socket(socket.AF_INET, socket.SOCK_STREAM) as tcp,
        ):
            try:
                udp.bind((address, port))
                tcp.bind((address, port))
            except OSError:
                continue
            return port


def _write_zone(path: Path, names: int, more: Iterable[str]) -> None:
    with path.open("w") as zone:
        zone.write(_APEX)
        zone.writelines(f"h{index:06} A {host_address(index)}\n" for index in range(names))
        zone.writelines(more)


def _wait_until_it_answers(server: Nameserver, process: subprocess.Popen[bytes], log: Path) -> None:
    last = server.names - 1
    query = dns.message.make_query(host_name(last), dns.rdatatype.A)
    give_up = time.monotonic() + _SECONDS_TO_LOAD
    while time.monotonic() < give_up:
        if process.poll() is not None:
            raise click.ClickException(f"knotd ended with status {process.returncode}: {log.read_text().strip()}")
        try:
            reply = dns.query.udp(query, server.address, port=server.port, timeout=0.5)
        except (dns.exception.DNSException, OSError):
            reply = None
        if reply is not None and [str(rdata) for rrset in reply.answer for rdata in rrset] == [host_address(last)]:
            return
        time.sleep(0.05)
    raise click.ClickException(f"knotd did not answer within {_SECONDS_TO_LOAD:.0f} s: {log.read_text().strip()}")


@contextmanager
def _terminated_in_order() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():  # only the main thread may set a handler
        yield
        return

    def leave(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@click.command()
@click.option(
    "--names", type=click.IntRange(1, 10_000_000), default=NAMES, show_default=True, help="Names in the zone."
)
@click.option("--udp-workers", type=click.IntRange(1), default=2, show_default=True, help="Threads that answer UDP.")
@click.option("--hosts", type=click.Path(path_type=Path), help="Also write the list of all names to this file.")
def main(names: int, udp_workers: int, hosts: Path | None) -> None:
    """Serve the benchmarks' zone on loopback until Ctrl-C."""
    with serve(names, udp_workers) as server:
        click.echo(f"{names} names, {host_name(0)} to {host_name(names - 1)}, at {server}")
        if hosts is not None:
            write_hosts(hosts, names)
            click.echo(f"resolve {hosts} --nameserver {server} --output answers.jsonl")
        click.echo(f"dig @{server.address} -p {server.port} {host_name(0)}")
        try:
            signal.pause()
        except KeyboardInterrupt:
            click.echo()


if __name__ == "__main__":
    main()

"""Lookups over TCP, TLS and HTTPS: `resolve` beside dnsperf, and over HTTPS beside the backend `dnspython` too.

TCP is measured on Knot, TLS and HTTPS on Unbound, which answers the same names from memory. dnsperf sends what is
prepared, counts what comes and writes nothing; its settings are the fastest that a search found on two cores. Its
time is that of its own statistics, without its start; ours is that of the whole process, with the results written.
"""

from __future__ import annotations

import re
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import click
import trustme

from benchmarks.measure import Timing, check, duel, resolve_answers, resolve_command, timed, verdict
from benchmarks.nameserver import LOOPBACK, NAMES, ZONE, apart, free_port, host_address, host_name, serve

LIMITS = {"tcp": 1.3, "tls": 1.3, "https": 0.15}  # of dnsperf's lookups a second
LIMIT_LIBRARY = 8.0  # times those of the backend dnspython over HTTPS
MODES = {"tcp": "tcp", "tls": "dot", "https": "doh"}
FASTEST = {"tcp": "-c 2 -q 200", "tls": "-c 2 -q 200", "https": "-c 2 -q 200"}
LIBRARY_SHARE = 100  # the library gets one of so many hosts

_UNBOUND = """\
server:
    directory: "{directory}"
    chroot: ""
    username: ""
    pidfile: ""
    use-syslog: no
    interface: {address}@{tls}
    interface: {address}@{https}
    tls-port: {tls}
    https-port: {https}
    tls-service-key: "{directory}/key"
    tls-service-pem: "{directory}/certificate"
    http-max-streams: 1000
    http-query-buffer-size: 64m
    http-response-buffer-size: 64m
    incoming-num-tcp: 100
    num-threads: 1
    module-config: "iterator"
    local-zone: "{zone}." static
    include: "{directory}/names"
remote-control:
    control-enable: no
"""


@contextmanager
def unbound(directory: Path, names: int) -> Iterator[dict[str, int]]:
    """Run Unbound with that many names of the benchmarks' zone, on cores of its own; yields its port by transport.

    Its certificate's authority stands in `directory`/authority. Raises click.ClickException where it does not start.
    """
    program = shutil.which("unbound") or shutil.which("unbound", path="/usr/sbin:/usr/local/sbin")
    if program is None:
        raise click.ClickException("unbound is not installed (Debian and Ubuntu: apt install unbound)")
    authority = trustme.CA()
    certificate = authority.issue_cert(LOOPBACK)
    authority.cert_pem.write_to_path(directory / "authority")
    certificate.private_key_pem.write_to_path(directory / "key")
    (directory / "certificate").write_bytes(b"".join(pem.bytes() for pem in certificate.cert_chain_pems))
    with (directory / "names").open("w") as lines:
        lines.writelines(f'local-data: "{host_name(number)} A {host_address(number)}"\n' for number in range(names))
    ports = {"tls": free_port(), "https": free_port()}
    conf = directory / "unbound.conf"
    conf.write_text(_UNBOUND.format(directory=directory, address=LOOPBACK, zone=ZONE, **ports))
    with (directory / "log").open("w+") as log:
        process = subprocess.Popen([program, "-d", "-c", conf], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            for _ in range(600):
                if "start of service" in (directory / "log").read_text():
                    break
                if process.poll() is not None:
                    raise click.ClickException(f"unbound ended: {(directory / 'log').read_text().strip()}")
                time.sleep(0.1)
            with apart(process.pid):
                yield ports
        finally:
            process.terminate()
            process.wait()


class Contest:
    """One transport of one nameserver, and the runs over it; what was answered wrongly gathers in `faults`."""

    def __init__(self, transport: str, port: int, directory: Path, hosts: int) -> None:
        self.transport = transport
        self.faults: list[str] = []
        self._port = port
        self._directory = directory
        self._hosts = hosts

    def resolve(self, *options: str, share: int = 1) -> Timing:
        """Look up one of `share` hosts with `resolve`."""
        hosts = max(1, self._hosts // share)
        listed, output = self._directory / f"hosts-{hosts}", self._directory / "answers.jsonl"
        if not listed.exists():
            listed.write_text("".join(f"{host_name(number)}\n" for number in range(hosts)))
        nameserver = f"{self.transport}://{LOOPBACK}:{self._port}"
        if self.transport == "https":
            nameserver += "/dns-query"
        trust = [] if self.transport == "tcp" else ["--tls-ca", str(self._directory / "authority")]
        timing = timed(resolve_command(listed, nameserver, output, *trust, *options), hosts, output)
        checked = check(resolve_answers(output), hosts)
        if not checked.perfect:
            self.faults.append(f"{self.transport}: {checked}")
        output.unlink()
        return timing

    def dnsperf(self, settings: str) -> Timing:
        """Have dnsperf ask for the same hosts. Raises click.ClickException where it lost some."""
        queries, said = self._directory / "queries", self._directory / "dnsperf"
        if not queries.exists():
            queries.write_text("".join(f"{host_name(number)} A\n" for number in range(self._hosts)))
        command = ["dnsperf", "-s", LOOPBACK, "-p", str(self._port), "-m", MODES[self.transport], "-n", "1"]
        command += ["-d", str(queries), "-O", f"doh-uri=https://{LOOPBACK}:{self._port}/dns-query", *settings.split()]
        timing = timed(["sh", "-c", '"$@" > "$0" 2>&1', str(said), *command], self._hosts)
        text = said.read_text()
        seconds, done = (re.search(rf"{what}: +([0-9.]+)", text) for what in ("Run time \\(s\\)", "Queries completed"))
        if seconds is None or done is None or int(done[1]) < self._hosts:
            raise click.ClickException(text)
        return Timing(self._hosts, float(seconds[1]), timing.cpu)


def judged(contest: Contest, rounds: int, settings: str) -> list[str]:
    """Run one transport, print the figures, and return what was not met."""
    transport = contest.transport
    against: list[tuple[str, float, Callable[[], Timing]]] = [
        ("dnsperf", LIMITS[transport], partial(contest.dnsperf, settings))
    ]
    if transport == "https":
        library = partial(contest.resolve, "-e", "asyncio", "--backend", "dnspython", share=LIBRARY_SHARE)
        against.append(("backend dnspython", LIMIT_LIBRARY, library))
    missed = []
    for name, limit, other in against:
        found = duel(rounds, contest.resolve, other)
        found.show(f"resolve, {transport}", name, f"at least {limit} of the speed")
        if (median := statistics.median(found.speed)) < limit:
            missed.append(f"{transport}: {median:.2f} of the speed of {name}, not {limit}")
    return missed + contest.faults


@click.command()
@click.option("--transport", "transports", multiple=True, type=click.Choice(list(MODES)), help="[default: all]")
@click.option("--dnsperf-options", help="How dnsperf is run.  [default: the fastest that was found for each]")
@click.option("--hosts", type=click.IntRange(1, NAMES), default=100_000, show_default=True)
@click.option("--rounds", type=click.IntRange(1), default=6, show_default=True, help="Pairs for each.")
def main(transports: tuple[str, ...], dnsperf_options: str | None, hosts: int, rounds: int) -> None:
    """Compare lookups over connections with dnsperf, and over HTTPS with the library's."""
    if shutil.which("dnsperf") is None:
        raise click.ClickException("dnsperf is not installed (Debian and Ubuntu: apt install dnsperf)")
    failures = []
    with tempfile.TemporaryDirectory(prefix="connections-") as name:
        directory = Path(name)
        for transport in transports or MODES:
            settings = dnsperf_options or FASTEST[transport]
            if transport == "tcp":
                with serve() as server:
                    failures += judged(Contest(transport, server.port, directory, hosts), rounds, settings)
            else:
                with unbound(directory, hosts) as ports:
                    failures += judged(Contest(transport, ports[transport], directory, hosts), rounds, settings)
    verdict(failures)


if __name__ == "__main__":
    main()

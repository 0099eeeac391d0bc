"""Real authoritative servers: Debian's Knot DNS and NSD, on a free loopback port, with the zones of a test."""

import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import dns.exception
import dns.message
import dns.query
import pytest
from scripted import HOST

from benchmarks.nameserver import CONFIGURATION, free_port

KNOT = CONFIGURATION.replace("{address}", HOST).replace("{udp_workers}", "1")

NSD = """\
server:
    ip-address: 127.53.0.53@{port}
    username: ""
    chroot: ""
    zonesdir: "{directory}"
    database: ""
    pidfile: "{directory}/pid"
    xfrdfile: "{directory}/xfrd"
    xfrdir: "{directory}"
    zonelistfile: "{directory}/zones"
    verbosity: 0
    rrl-ratelimit: 0
remote-control:
    control-enable: no
"""


@contextmanager
def knot(directory: Path, zones: Mapping[str, str], more: str = "") -> Iterator[str]:
    """Serve zones (master files by origin) with Knot DNS; yields its ADDR:PORT. `more`: lines before `zone:`."""
    program = _installed("knotd", "knot")
    lines = "".join(f'  - domain: {origin}\n    file: "{{directory}}/{origin}.zone"\n' for origin in zones)
    yield from _served(directory, zones, KNOT.replace("zone:\n", f"{more}zone:\n") + lines, [program, "-c", "{conf}"])


@contextmanager
def nsd(directory: Path, zones: Mapping[str, str]) -> Iterator[str]:
    """Serve zones with NSD; yields its ADDR:PORT."""
    program = _installed("nsd", "nsd")
    lines = "".join(f'zone:\n    name: "{origin}"\n    zonefile: "{{directory}}/{origin}.zone"\n' for origin in zones)
    yield from _served(directory, zones, NSD + lines, [program, "-d", "-c", "{conf}"])


UNBOUND = """\
server:
    directory: "{directory}"
    chroot: ""
    username: ""
    pidfile: "{directory}/pid"
    use-syslog: no
    do-daemonize: no
    interface: 127.53.0.53@{port}
    port: {port}
    interface: 127.53.0.53@{secure}
    https-port: {secure}
    tls-service-key: "{certificate}"
    tls-service-pem: "{certificate}"
    access-control: 127.0.0.0/8 allow
    module-config: "iterator"
    local-zone: "{origin}." redirect
    local-data: "{origin}. SOA ns.{origin}. hostmaster.{origin}. 1 3600 600 86400 300"
    local-data: "{origin}. A 192.0.2.1"
remote-control:
    control-enable: no
"""


@contextmanager
def unbound(directory: Path, certificate: Path, origin: str) -> Iterator[str]:
    """Answer 192.0.2.1 for all names below an origin with Unbound; yields its ADDR:PORT for HTTPS."""
    program = _installed("unbound", "unbound")
    secure = free_port(HOST)
    text = UNBOUND.replace("{secure}", str(secure)).replace("{certificate}", str(certificate))
    command = [program, "-d", "-c", "{conf}"]
    for _ in _served(directory, {origin: ""}, text.replace("{origin}", origin), command):
        yield f"{HOST}:{secure}"


def _installed(name: str, package: str) -> str:
    program = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    if program is None:
        pytest.skip(f"{name} is not installed (Debian: apt-get install {package})")
    return program


def _served(directory: Path, zones: Mapping[str, str], text: str, command: list[str]) -> Iterator[str]:
    directory.mkdir(parents=True, exist_ok=True)
    port = free_port(HOST)
    for origin, records in zones.items():
        (directory / f"{origin}.zone").write_text(f"$ORIGIN {origin}.\n$TTL 300\n{records}")
    conf = directory / "conf"
    conf.write_text(text.format(directory=directory, port=port))
    with (directory / "log").open("w") as log:
        process = subprocess.Popen(
            [each.format(conf=conf) for each in command], stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    try:
        _wait_until_it_answers(port, next(iter(zones)), process, directory / "log")
        yield f"{HOST}:{port}"
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(10)


def _wait_until_it_answers(port: int, origin: str, process: subprocess.Popen[bytes], log: Path) -> None:
    query = dns.message.make_query(origin, "SOA")
    for _ in range(100):
        assert process.poll() is None, log.read_text()
        try:
            if dns.query.udp(query, HOST, port=port, timeout=0.2).answer:
                return
        except (dns.exception.DNSException, OSError):
            pass
        time.sleep(0.05)
    raise AssertionError(f"it does not answer: {log.read_text()}")

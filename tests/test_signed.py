"""`--detail` beside dig and kdig, on real servers with signed zones: AD only where a resolver has validated.

Knot DNS signs two zones, NSD serves a third as it is, and Unbound resolves all three. It has the right trust anchor for
one of the signed zones, and that of the other one for the second.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import dns.message
import dns.query
import pytest
from authoritative import _installed, _served, knot, nsd
from scripted import HOST

from resolver import Status, resolve
from resolver.model import Detail

ZONE = "@ SOA ns hostmaster 1 3600 600 86400 300\n@ NS ns\nns A 192.0.2.1\nwww A 192.0.2.2\nwww AAAA 2001:db8::2\n"
UNBOUND = """\
server:
    interface: {host}@{port}
    do-daemonize: no
    username: ""
    chroot: ""
    directory: "{directory}"
    pidfile: "{directory}/pid"
    use-syslog: no
    num-threads: 1
    do-not-query-localhost: no
    module-config: "validator iterator"
    nsid: "ascii_resolver-1"
    ede: yes
{anchors}
remote-control:
    control-enable: no
{stubs}
"""


class Servers(NamedTuple):
    """Their addresses, ADDR:PORT."""

    knot: str
    nsd: str
    unbound: str


@contextmanager
def validating(directory: Path, anchors: list[str], stubs: dict[str, str]) -> Iterator[str]:
    """Resolve with Unbound, from these trust anchors and the nameservers of some zones; yields its ADDR:PORT."""
    program = _installed("unbound", "unbound")
    text = UNBOUND.replace("{host}", HOST)
    text = text.replace("{anchors}", "\n".join(f'    trust-anchor: "{each}"' for each in anchors))
    lines = "".join(
        f'stub-zone:\n    name: "{zone}."\n    stub-addr: {where.replace(":", "@")}\n' for zone, where in stubs.items()
    )
    text = text.replace("{stubs}", lines)
    yield from _served(directory, dict.fromkeys(stubs, ""), text, [program, "-d", "-c", "{conf}"])


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    directory = tmp_path_factory.mktemp("signed")
    (directory / "knot" / "db").mkdir(parents=True)
    signed = knot(directory / "knot", {"example": ZONE, "broken": ZONE}, "    dnssec-signing: on\n")
    with signed as knot_, nsd(directory / "nsd", {"plain": ZONE}) as nsd_:
        where, port = knot_.split(":")
        reply = dns.query.udp(dns.message.make_query("example.", "DNSKEY"), where, port=int(port), timeout=5)
        (key,) = [each for each in reply.answer[0] if each.flags == 257]
        anchors = [f"{zone}. DNSKEY {key}" for zone in ("example", "broken")]
        with validating(
            directory / "unbound", anchors, {"plain": nsd_, "example": knot_, "broken": knot_}
        ) as resolving:
            yield Servers(knot_, nsd_, resolving)


class Look(NamedTuple):
    """The look of a reply, as far as dig and kdig print it."""

    status: str
    flags: str
    authority: int
    additional: int
    octets: int
    nsid: str | None
    ede: list[int]


WORDS = {"dnssec": "+dnssec", "cd": "+cdflag", "no_recurse": "+norecurse", "nsid": "+nsid"}


def printed(tool: str, server: str, name: str, type_: str, options: tuple[str, ...]) -> Look:
    """Ask with dig or kdig, and read what it prints."""
    program = _installed(tool, {"dig": "bind9-dnsutils", "kdig": "knot-dnsutils"}[tool])
    where, port = server.split(":")
    words = [f"@{where}", "-p", port, name, type_, "+bufsize=1232", "+noadflag", "+nocookie", "+retry=0"]
    said = subprocess.run([program, *words, *(WORDS[each] for each in options)], capture_output=True, text=True).stdout

    def found(pattern: str) -> str:
        match = re.search(pattern, said)
        assert match, said
        return match[1]

    nsid = re.search(r'NSID: .*?"([^"]*)"', said)
    return Look(
        found(r"status: (\w+)"),
        found(r"[Ff]lags: ([a-z ]*);").strip(),
        int(found(r"AUTHORITY: (\d+)")),
        int(found(r"ADDITIONAL: (\d+)")),
        int(found(r"(?:rcvd:|Received) (\d+)")),
        nsid and nsid[1],
        [int(each) for each in re.findall(r"EDE: (\d+)", said)],
    )


QUESTIONS: list[tuple[str, str, str, tuple[str, ...]]] = [
    ("knot", "www.example", "A", ()),
    ("knot", "www.example", "A", ("dnssec",)),
    ("knot", "no.example", "AAAA", ("dnssec", "nsid", "no_recurse")),
    ("knot", "example", "DNSKEY", ("dnssec", "cd")),
    ("nsd", "www.plain", "A", ("dnssec", "nsid")),
    ("nsd", "www.plain", "MX", ("no_recurse",)),
    ("nsd", "elsewhere.example", "A", ()),
    ("unbound", "www.example", "A", ()),
    ("unbound", "www.example", "A", ("dnssec", "nsid")),
    ("unbound", "www.example", "A", ("dnssec", "cd")),
    ("unbound", "no.example", "A", ("dnssec",)),
    ("unbound", "www.plain", "AAAA", ("dnssec",)),
    ("unbound", "www.broken", "A", ("dnssec",)),
    ("unbound", "www.broken", "A", ("dnssec", "cd")),
    ("unbound", "www.plain", "A", ("no_recurse",)),
]


@pytest.mark.parametrize("tool", ["dig", "kdig"])
@pytest.mark.parametrize("question", QUESTIONS, ids=lambda each: "-".join([*each[:3], *each[3]]))
def test_as_it_is_printed(question: tuple[str, str, str, tuple[str, ...]], tool: str, servers: Servers) -> None:
    """Status, flags in their order, sections, size, NSID and extended errors are those that dig and kdig print."""
    server, name, type_, options = question
    where = getattr(servers, server)
    printed(tool, where, name, type_, options)  # the next reply is out of the cache, whoever asks
    expected = printed(tool, where, name, type_, options)
    asked: dict[str, Any] = dict.fromkeys(options, True)
    (result,) = resolve([name], types=[type_], nameservers=where, detail=True, **asked)
    detail = result.detail
    assert isinstance(detail, Detail)
    status = Status.NOERROR if result.status is Status.NODATA else result.status
    assert expected == Look(
        str(status),
        " ".join(detail.flags),
        len(detail.authority),
        len(detail.additional) + 1,  # OPT
        detail.octets,
        detail.nsid,
        [each.code for each in detail.ede],
    )


@pytest.mark.parametrize("backend", ["wire", "dnspython"])
def test_who_has_validated(backend: str, servers: Servers) -> None:
    """AD is set by the resolver, for what has a chain of trust, where it was asked for; never by the zone's own."""
    asked: dict[str, Any] = {"engine": "threads", "backend": backend, "detail": True, "types": ["A", "AAAA"]}
    names = ["www.example", "www.plain", "no.example", "www.broken"]

    def validated(where: str, **options: Any) -> list[tuple[str, str, bool]]:
        run = resolve(names, nameservers=where, **asked, **options)
        return [(each.input, str(each.status), "ad" in each.detail.flags) for each in run if each.detail][::2]

    assert [
        ("www.example", "NOERROR", True),
        ("www.plain", "NOERROR", False),
        ("no.example", "NXDOMAIN", True),
        ("www.broken", "SERVFAIL", False),
    ] == validated(servers.unbound, dnssec=True)
    assert [False] * 4 == [each for _, _, each in validated(servers.unbound)]
    assert ("www.broken", "NOERROR", False) == validated(servers.unbound, dnssec=True, cd=True)[-1]
    assert [False] * 4 == [each for _, _, each in validated(servers.knot, dnssec=True)]


def test_signatures_are_no_answers(servers: Servers) -> None:
    """RRSIGs that come with --dnssec are among the answers only where they are what was asked for."""
    run = resolve(["www.example"], types=["A", "RRSIG"], nameservers=servers.knot, dnssec=True)
    assert [{"A"}, {"RRSIG"}] == [{each.type for each in result.answers} for result in run]

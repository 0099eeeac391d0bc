"""`--detail`, the bits and options of queries, and `--each-nameserver`: against dnspython, and on real servers."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dns.edns
import dns.flags
import dns.message
import dns.rdata
import dns.rrset
import msgspec
import pytest
from authoritative import knot, nsd
from command import inside as command
from conftest import row

from resolver import resolve
from resolver.dns.detail import READ as known
from resolver.dns.detail import detail, time_of_day
from resolver.dns.form import query_form
from resolver.dns.message import Malformed, match, question, read
from resolver.engines import BACKENDS, pairs
from resolver.model import Detail, Query, Status, Subnet

SOA = "@ SOA ns hostmaster 1 3600 600 86400 300\n@ NS ns\nns A 192.0.2.1\nwww A 192.0.2.2\n"
# gevent with a library needs a program that it has patched: the command's own (test_commands.py).
PAIRS = [
    (each.engine, each.backend)
    for each in pairs()
    if each.installed and "detail" in BACKENDS[each.backend].honours and row(each) != "gevent-dnspython"
]


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """Two servers of different makes, whose zones differ in one record."""
    directory = tmp_path_factory.mktemp("detail")
    with (
        knot(directory / "knot", {"example": f"{SOA}moved A 192.0.2.3\n"}) as old,
        nsd(directory / "nsd", {"example": f"{SOA}moved A 192.0.2.4\n"}) as new,
    ):
        yield old, new


RDATA = {
    "A": "192.0.2.1", "AAAA": "2001:db8::1", "NS": "ns.example.", "MX": "10 mail.example.", "TXT": '"a" "b c"',
    "SOA": "ns.example. host.example. 1 2 3 4 5", "SRV": "1 2 3 srv.example.", "CAA": '0 issue "ca.example"',
    "TYPE65280": r"\# 3 010203",
}  # fmt: skip
FLAGS = [dns.flags.AA, dns.flags.TC, dns.flags.RD, dns.flags.RA, dns.flags.AD, dns.flags.CD]


def generated(chance: random.Random) -> dns.message.Message:
    """A reply to www.example A with any flags, sections and options."""
    message = dns.message.make_query("www.example.", "A")
    message.flags = dns.flags.QR | sum(flag for flag in FLAGS if chance.random() < 0.5)
    for section in (message.answer, message.authority, message.additional):
        for kind in chance.sample(sorted(RDATA), chance.randrange(4)):
            owner = chance.choice(["www.example.", "example.", "a.b.example.net."])
            section.append(dns.rrset.from_text(owner, chance.randrange(1 << 31), "IN", kind, RDATA[kind]))
    options: list[dns.edns.Option] = []
    for _ in range(chance.randrange(3)):
        text = chance.choice([None, "why", "warum nicht"])
        options.append(dns.edns.EDEOption(dns.edns.EDECode.make(chance.randrange(30)), text))
    if chance.random() < 0.3:
        options.append(dns.edns.GenericOption(dns.edns.OptionType.NSID, chance.choice([b"gw-1", b"\0\1\xff"])))
    if chance.random() < 0.3:
        options.append(dns.edns.GenericOption(dns.edns.OptionType.make(65001), b"unknown"))
    if chance.random() < 0.3:
        options.append(dns.edns.ECSOption("192.0.2.0", 24, chance.randrange(33)))
    if chance.random() < 0.8:
        message.use_edns(0, ednsflags=chance.choice([0, dns.flags.DO]), payload=1232, options=options)
    message.set_rcode(chance.choice([0, 2, 3, 5, 23] if message.edns >= 0 else [0, 2, 3, 5]))  # type: ignore[arg-type]
    return message


def expected(message: dns.message.Message, octets: bytes) -> tuple[object, ...]:
    def records(section: list[dns.rrset.RRset]) -> list[tuple[str, int, str]]:
        return sorted((str(each.name), each.ttl, str(rdata)) for each in section for rdata in each)

    flags = [flag for flag in ("qr", "aa", "tc", "rd", "ra", "ad", "cd") if message.flags & dns.flags.from_text(flag)]
    nsid = [each.to_wire() for each in message.options if each.otype == dns.edns.OptionType.NSID]
    scopes = [each.scopelen for each in message.options if isinstance(each, dns.edns.ECSOption)]
    errors = [(int(each.code), each.text or "") for each in message.options if isinstance(each, dns.edns.EDEOption)]
    shown = {b"gw-1": "gw-1", b"\0\1\xff": "0001ff"}
    identity = shown[nsid[0]] if nsid else None
    return (
        message.rcode(),
        flags,
        records(message.authority),
        records(message.additional),
        identity,
        scopes[0] if scopes else None,
        errors,
        len(octets),
    )


@pytest.mark.parametrize("seed", range(4))
def test_reads_what_dnspython_reads(seed: int) -> None:
    """Flags, whole rcode, sections, NSID and extended errors are those that dnspython finds; 200 replies a seed."""
    chance = random.Random(seed)
    for _ in range(200):
        octets = generated(chance).to_wire(max_size=65535)
        read = dns.message.from_wire(octets, one_rr_per_rrset=True)
        start = match(octets, question("www.example.", "A"))
        assert start is not None
        found = detail(octets, start, time_of_day(0.0), "192.0.2.0/24")
        assert found.subnet is not None

        def records(section: list[object]) -> list[tuple[str, int, str]]:
            return sorted((each.name, each.ttl, each.data) for each in section)  # type: ignore[attr-defined]

        ours = (
            found.rcode, found.flags, records(list(found.authority)), records(list(found.additional)), found.nsid,
            found.subnet.scope, [(each.code, each.text) for each in found.ede], found.octets,
        )  # fmt: skip
        assert expected(read, octets) == ours
        assert "1970-01-01T00:00:00.000Z" == found.time


@pytest.mark.parametrize("seed", range(2))
def test_whatever_a_stranger_sends(seed: int) -> None:
    """A reply that is taken for one is told of, however broken the sections are that hold no answers."""
    chance = random.Random(seed)
    asked, query, told = question("www.example.", "A"), Query(0, "", "www.example.", "A"), 0
    for _ in range(1000):
        octets = bytearray(generated(chance).to_wire(max_size=65535))
        for _ in range(chance.randrange(1, 6)):
            octets[chance.randrange(12 + len(asked), len(octets) + 1) - 1] = chance.choice([0, 0x3F, 0xC0, 0xFF, 1])
        start = match(bytes(octets), asked)
        if start is None:
            continue
        try:
            read(bytes(octets), start, query)
        except Malformed:
            continue
        found = detail(bytes(octets), start, "")
        assert len(octets) == found.octets
        known.clear()
        assert found == detail(bytes(octets), start, "")
        told += 1
    assert told > 300


@pytest.mark.parametrize("records", ["", "{name} 300 IN A 192.0.2.1", "x.{name} 300 IN A 192.0.2.1"])
def test_what_replies_have_in_common(records: str) -> None:
    """A zone's replies for many names are told as if each were the first, wherever their names point to."""
    for label in ("one", "two", "six", "three"):
        name = f"{label}.example."
        message = dns.message.make_response(dns.message.make_query(name, "A"))
        soa = "example. 300 IN SOA ns.example. host.example. 1 2 3 4 5"
        for line in filter(None, (soa, records.format(name=name))):
            owner, ttl, *words = line.split()
            message.authority.append(dns.rrset.from_text(owner, int(ttl), *words[:2], " ".join(words[2:])))
        octets = message.to_wire()
        start = match(octets, question(name, "A"))
        assert start is not None
        found = detail(octets, start, "")
        assert [str(each.name) for each in message.authority] == [each.name for each in found.authority]
        assert "ns.example. host.example. 1 2 3 4 5" == found.authority[0].data


def test_an_owner_that_cannot_be_read() -> None:
    """Its record is left out; those around it are told."""
    message = dns.message.make_response(dns.message.make_query("www.example.", "A"))
    for octet in (1, 2, 3):
        message.additional.append(dns.rrset.from_text("www.example.", 300, "IN", "A", f"192.0.2.{octet}"))
    octets = bytearray(message.to_wire())
    at = octets.index(bytes((192, 0, 2, 2))) - 12
    octets[at : at + 2] = b"\xc0\x0d"  # into the middle of a label
    start = match(bytes(octets), question("www.example.", "A"))
    assert start is not None
    assert ["192.0.2.1", "192.0.2.3"] == [each.data for each in detail(bytes(octets), start, "").additional]


def test_form_of_queries() -> None:
    """Octet for octet, a query is dnspython's with the same bits and options."""
    form = query_form(dnssec=True, cd=True, no_recurse=True, nsid=True, subnet="192.0.2.0/23")
    options = [dns.edns.GenericOption(dns.edns.OptionType.NSID, b""), dns.edns.ECSOption("192.0.2.0", 23)]
    theirs = dns.message.make_query("a.example.", "A", id=1, flags=dns.flags.CD)
    theirs.use_edns(0, ednsflags=dns.flags.DO, payload=1232, options=options)
    assert theirs.to_wire() == b"\0\1" + form.head + question("a.example.", "A") + form.opt


@pytest.mark.parametrize(("engine", "backend"), PAIRS)
def test_on_every_engine(engine: str, backend: str, servers: tuple[str, str], elsewhere: dict[str, Any]) -> None:
    """Each nameserver is asked each question, in order, and each result tells how the reply looked."""
    run = resolve(
        ["www.example", "no.example"], engine=engine, backend=backend, types=["A", "MX"], nameservers=servers,
        each_nameserver=True, detail=True, no_recurse=True, **elsewhere,
    )  # fmt: skip
    assert [
        (index, host, kind, server)
        for index, (host, kind, server) in enumerate(
            (host, kind, server) for host in ("www.example", "no.example") for kind in ("A", "MX") for server in servers
        )
    ] == [(each.index, each.input, each.type, each.nameserver) for each in run]
    assert [["qr", "aa"]] * 8 == [each.detail.flags for each in run if isinstance(each.detail, Detail)]
    assert (2, 8, 8) == (run.summary.hosts_read, run.summary.lookups, run.summary.results_written)
    assert [["SOA"]] * 6 == [[each.type for each in one.detail.authority] for one in run[2:] if one.detail]


@pytest.mark.parametrize(("engine", "backend"), [*PAIRS, ("asyncio", "aiodns")])
def test_no_try_goes_elsewhere(engine: str, backend: str, servers: tuple[str, str], elsewhere: dict[str, Any]) -> None:
    """One that is dead has its own result, which names it, and nobody answers in its place."""
    run = resolve(
        ["www.example"], engine=engine, backend=backend, nameservers=["127.0.0.1:9", servers[0]], each_nameserver=True,
        tries=2, query_timeout=0.2, **elsewhere,
    )  # fmt: skip
    assert [("ERROR", "127.0.0.1:9"), ("NOERROR", servers[0])] == [(each.status, each.nameserver) for each in run]


@pytest.mark.parametrize(("engine", "backend"), PAIRS)
def test_subnets(engine: str, backend: str, servers: tuple[str, str], elsewhere: dict[str, Any]) -> None:
    """Each subnet is one lookup; a nameserver that says nothing of it is seen."""
    run = resolve(
        ["www.example"], engine=engine, backend=backend, nameservers=servers[0], detail=True,
        subnet=["192.0.2.7/24", "2001:db8::/32"], **elsewhere,
    )  # fmt: skip
    assert [Subnet("192.0.2.0/24", None), Subnet("2001:db8::/32", None)] == [
        each.detail.subnet for each in run if isinstance(each.detail, Detail)
    ]
    assert [Status.NOERROR] * 2 == [each.status for each in run]


def test_nobody_answered() -> None:
    """Without a reply there is nothing to tell: null."""
    run = resolve(["a.example", "two words"], nameservers="127.0.0.1:9", tries=1, detail=True)
    assert [None, None] == [each.detail for each in run]


def test_before_a_migration(servers: tuple[str, str], tmp_path: Path) -> None:
    """The check of the documentation, as it stands there: of three names on two servers, the one that differs."""
    page = (Path(__file__).parents[1] / "docs" / "in-detail.md").read_text(encoding="utf-8")
    block = page.partition("<!-- migration -->")[2].partition("<!-- end -->")[0]
    (line, *table) = block.strip().strip("`").removeprefix("console").strip().splitlines()
    names = tmp_path / "names.txt"
    names.write_text("www.example\nmoved.example\nns.example\n")
    named = {"names.txt": str(names), "192.0.2.53": servers[0], "192.0.2.54": servers[1]}
    done = command(*(named.get(word, word) for word in line.split()[2:]))
    assert (0, len(table)) == (done.status, len(done.out.splitlines()))
    for shown, said in zip(table[2:], done.out.splitlines()[2:], strict=True):
        *cells, _, server = shown.split()
        assert [*cells, named[server.removesuffix(":53")]] == [said.split()[at] for at in (0, 1, 2, 3, 5)]


@pytest.mark.parametrize("engine", ["threads", "processes"])
def test_text_says_which_nameserver(engine: str, servers: tuple[str, str]) -> None:
    """A line of text of each nameserver ends with the one that it is of, also of one that gave no answer."""
    asked = [*servers, "127.0.0.1:9"]
    named = [word for each in asked for word in ("-n", each)]
    done = command("www.example", "-e", engine, *named, "--each-nameserver", "-f", "text", "--order", "input")
    assert [("www.example", each) for each in asked] == [
        (line.split("\t")[0], line.split("\t")[4]) for line in done.out.splitlines()
    ]


def test_resumed(servers: tuple[str, str], tmp_path: Path) -> None:
    """A file of each nameserver and subnet is gone on with; one of other nameservers is refused and stays as it was."""
    names, file = tmp_path / "names.txt", tmp_path / "found.jsonl"
    names.write_text("www.example\ntwo words\nns.example\n")
    words = (
        names,
        "-o",
        file,
        "--resume",
        "--order",
        "input",
        "--each-nameserver",
        "--subnet",
        "192.0.2.0/24",
        "--subnet",
        "2001:db8::/32",
    )
    first, second = (("-n", server) for server in servers)
    assert 1 == command(*words, *first, *second).status  # of the line that is no name
    whole = file.read_text().splitlines(keepends=True)
    assert 12 == len(whole)
    file.write_text("".join(whole[:5] + whole[9:]))
    refused = command(*words, *second, *first)
    assert (2, 8) == (refused.status, len(file.read_text().splitlines()))
    assert f"lookup 0 is 'www.example' A {servers[1]} now, and was another" in refused.err
    resumed = command(*words, *first, *second, "--summary", tmp_path / "summary.json")
    assert (1, 12) == (resumed.status, msgspec.json.decode((tmp_path / "summary.json").read_bytes())["results_written"])
    found = sorted(map(msgspec.json.decode, file.read_text().splitlines()), key=lambda each: each["index"])
    expected = sorted(map(msgspec.json.decode, whole), key=lambda each: each["index"])
    kept = ("index", "input", "status", "nameserver")
    assert [[each[key] for key in kept] for each in expected] == [[each[key] for key in kept] for each in found]


@pytest.mark.parametrize("backend", ["system", "aiodns"])
def test_who_cannot(backend: str) -> None:
    """A backend that cannot honour an option says who can, and asks nothing."""
    with pytest.raises(ValueError, match="cannot honour detail, cd; backends that can: wire, dnspython, twisted"):
        resolve(["a.example"], engine="asyncio", backend=backend, detail=True, cd=True)


@pytest.mark.parametrize(("engine", "backend"), PAIRS)
def test_bits_and_options(engine: str, backend: str, elsewhere: dict[str, Any]) -> None:
    """The query that a nameserver gets has those that were asked for, whoever speaks DNS; without them, RD alone."""
    asked: dict[str, Any] = {"dnssec": True, "cd": True, "no_recurse": True, "nsid": True, "subnet": "192.0.2.0/24"}
    for options, flags, edns_flags, codes in (({}, dns.flags.RD, 0, []), (asked, dns.flags.CD, dns.flags.DO, [3, 8])):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
            silent.bind(("127.0.0.1", 0))
            silent.settimeout(5)
            where = "{}:{}".format(*silent.getsockname())
            resolve(["a.example"], engine=engine, backend=backend, nameservers=where, tries=1, query_timeout=0.1,
                    **options, **elsewhere)  # fmt: skip
            query = dns.message.from_wire(silent.recv(512))
        assert (flags, edns_flags, codes, 1232) == (
            query.flags, query.ednsflags, [int(option.otype) for option in query.options], query.payload,
        )  # fmt: skip

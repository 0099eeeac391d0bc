"""The lab, asked over real sockets by dnspython, which shares no code with it."""

import contextlib
import ipaddress
import os
import random
import select
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dns.edns
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.query
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.reversename
import psutil
import pytest
import trustme
from command import run_delay, second_look
from dns.message import Message

from resolver.lab import SCRIPTS, Address, Lab, Settings, duration, endpoint, share

FORGED = "203.0.113.66"

ZONE = """
$ORIGIN zone.example.
$TTL 600
@       IN SOA ns hostmaster 7 7200 3600 1209600 60
        IN NS  ns
        IN MX  10 www
ns      IN A   192.0.2.1
www     IN A   192.0.2.2
        IN AAAA 2001:db8::2
alias   IN CNAME middle
middle  IN CNAME www
away    IN CNAME www.elsewhere.example.
dangling IN CNAME missing
ring    IN CNAME gnir
gnir    IN CNAME ring
*.wild  IN TXT "any"
deep.below IN A 192.0.2.3
child   IN NS  ns.child
ns.child IN A  192.0.2.4
old     IN DNAME new
a.new   IN A 192.0.2.5
odd     IN TYPE65280 \\# 2 abcd
nx      IN A 192.0.2.6
"""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab() as running:
        yield running


@pytest.fixture(scope="module")
def zoned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    file = tmp_path_factory.mktemp("lab") / "zone.example"
    file.write_text(ZONE)
    with Lab(zone=file) as running:
        yield running


def where(lab: Lab) -> tuple[str, int]:
    return endpoint(lab.nameserver)


def make(name: str, rtype: str = "A", *, edns: bool | int = False, payload: int = 1232) -> Message:
    return dns.message.make_query(name, rtype, use_edns=edns, payload=payload)


def ask(lab: Lab, name: str, rtype: str = "A", *, tcp: bool = False, timeout: float = 3.0, **options: Any) -> Message:
    """The first reply that belongs to the query, forged or broken ones waited past."""
    host, port = where(lab)
    query = make(name, rtype, **options)
    if tcp:
        return dns.query.tcp(query, host, timeout, port)
    return dns.query.udp(query, host, timeout, port, ignore_unexpected=True, ignore_errors=True)


def answers(reply: Message) -> list[str]:
    """`type data` of each record in the answer section."""
    return [f"{dns.rdatatype.to_text(rrset.rdtype)} {rdata}" for rrset in reply.answer for rdata in rrset]


def rcode(reply: Message) -> str:
    return dns.rcode.to_text(reply.rcode())


def silent(lab: Lab, name: str, **options: Any) -> bool:
    try:
        ask(lab, name, timeout=0.15, **options)
    except dns.exception.Timeout:
        return True
    return False


def datagrams(lab: Lab, octets: bytes, *, connected: bool = True) -> list[bytes]:
    """All that comes back for one datagram, until the lab has answered one sent behind it, and 40 ms later than that.

    The scripts have nothing follow later than 20 ms: whatever holds the lab up, that is out before.
    """
    marker = make("slow-40.marker").to_wire()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        if connected:
            udp.connect(where(lab))
        for query in (octets, marker):
            udp.send(query) if connected else udp.sendto(query, where(lab))
        found: list[bytes] = []
        patience = 5.0
        while select.select([udp], [], [], patience)[0]:
            found.append(udp.recv(65535))
            if found[-1][:2] + found[-1][12 : len(marker)] == marker[:2] + marker[12:]:
                del found[-1]
                patience = 0.0
        assert patience < 1, "the lab does not answer"
        return found


def connect(lab: Lab) -> socket.socket:
    return socket.create_connection(where(lab), timeout=3.0)


def framed(octets: bytes) -> bytes:
    return len(octets).to_bytes(2) + octets


def receive(tcp: socket.socket, messages: int) -> list[Message]:
    """So many replies from a connection, in the order they come."""
    found: list[Message] = []
    octets = b""
    while len(found) < messages:
        octets += tcp.recv(65535)
        while len(octets) >= 2 and len(octets) >= 2 + int.from_bytes(octets[:2]):
            size = int.from_bytes(octets[:2])
            found.append(dns.message.from_wire(octets[2 : 2 + size]))
            octets = octets[2 + size :]
    return found


class TestNames:
    """Which records made-up names have."""

    def test_addresses_are_for_documentation(self, lab: Lab) -> None:
        """A and AAAA come from the ranges of RFC 5737 and RFC 3849, with AA and a TTL of 300."""
        nets = [ipaddress.ip_network(net) for net in ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24")]
        for index in range(20):
            reply = ask(lab, f"www{index}.example")
            address = ipaddress.ip_address(reply.answer[0][0].to_text())
            assert (300, True) == (reply.answer[0].ttl, any(address in net for net in nets))
        reply = ask(lab, "www.example", "AAAA")
        assert ipaddress.ip_address(reply.answer[0][0].to_text()) in ipaddress.ip_network("2001:db8::/32")
        assert dns.flags.AA == reply.flags & dns.flags.AA

    def test_answers_stay_the_same(self, lab: Lab) -> None:
        """Another lab, other letter case, and the long path of EDNS options give the same addresses."""
        with Lab() as other:
            assert answers(ask(lab, "www.example")) == answers(ask(other, "WWW.Example"))
        query = dns.message.make_query("www.example", "A", use_edns=0, options=[dns.edns.GenericOption("65001", b"x")])
        assert answers(ask(lab, "www.example")) == answers(dns.query.udp(query, *where(lab)[:1], 0.4, where(lab)[1]))

    @pytest.mark.parametrize("rtype", ["MX", "TXT", "NS", "SOA", "SRV", "CAA", "HTTPS", "SVCB", "TYPE65280"])
    def test_common_types(self, lab: Lab, rtype: str) -> None:
        """The common types, and an unknown one, have one record that dnspython can read."""
        reply = ask(lab, "_x._tcp.example" if rtype == "SRV" else "www.example", rtype)
        assert [dns.rdatatype.from_text(rtype)] == [rrset.rdtype for rrset in reply.answer]

    @pytest.mark.parametrize("rtype", ["CNAME", "DS", "LOC", "PTR"])
    def test_other_types_are_nodata(self, lab: Lab, rtype: str) -> None:
        """Other types are NODATA, with an SOA in the authority section."""
        reply = ask(lab, "www.example", rtype)
        assert ("NOERROR", [], [dns.rdatatype.SOA]) == (
            rcode(reply),
            answers(reply),
            [r.rdtype for r in reply.authority],
        )

    def test_any(self, lab: Lab) -> None:
        """ANY gets all the common types."""
        assert {"A", "AAAA", "MX", "TXT"} <= {
            one.split()[0] for one in answers(ask(lab, "www.example", "ANY", edns=True))
        }

    def test_reverse_names(self, lab: Lab) -> None:
        """A whole reverse name of either family has a PTR that spells the address."""
        assert ["PTR host-192-0-2-7.example."] == answers(ask(lab, "7.2.0.192.in-addr.arpa", "PTR"))
        name = dns.reversename.from_address("2001:db8::7").to_text()
        assert ["PTR host-2001-0db8-0000-0000-0000-0000-0000-0007.example."] == answers(ask(lab, name, "PTR"))
        assert [] == answers(ask(lab, "7.2.0.192.in-addr.arpa", "A"))

    def test_invalid_never_exists(self, lab: Lab) -> None:
        """Names under invalid. do not exist, scripted or not (RFC 6761)."""
        for name in ("invalid", "www.invalid", "slow-5.a.INVALID"):
            assert "NXDOMAIN" == rcode(ask(lab, name))
        assert "NOERROR" == rcode(ask(lab, "notinvalid"))

    def test_question_is_echoed(self, lab: Lab) -> None:
        """The question comes back octet by octet on the short path and on the long one."""
        for name in ("WwW.eXample", "NODATA.eXample", "Cname-2.eXample"):
            query = make(name).to_wire()
            assert [query[12:]] == [reply[12 : len(query)] for reply in datagrams(lab, query)]


class TestHosts:
    """A list of the names that exist."""

    def test_only_listed_names_exist(self) -> None:
        """Others are NXDOMAIN with an SOA; scripts work beside the list."""
        with Lab(["www.example", "Bücher.example.", "💩.example", "192.0.2.200", "bad..name", "x" * 64]) as lab:
            for name in ("www.example", "WWW.EXAMPLE", "xn--bcher-kva.example", "xn--ls8h.example", "multi-2.example"):
                assert "NOERROR" == rcode(ask(lab, name))
            assert ["PTR host-192-0-2-200.example."] == answers(ask(lab, "200.2.0.192.in-addr.arpa", "PTR"))
            reply = ask(lab, "mail.example")
            assert ("NXDOMAIN", [dns.rdatatype.SOA]) == (rcode(reply), [rrset.rdtype for rrset in reply.authority])

    def test_reverse_names_of_hosts(self) -> None:
        """The addresses of a listed host lead back to it; other addresses do not exist."""
        with Lab(["www.example"]) as lab:
            for rtype in ("A", "AAAA"):
                address = ask(lab, "www.example", rtype).answer[0][0].to_text()
                name = dns.reversename.from_address(address).to_text()
                assert ["PTR www.example."] == answers(ask(lab, name, "PTR"))
            assert "NXDOMAIN" == rcode(ask(lab, "0.2.0.192.in-addr.arpa", "PTR"))

    def test_a_long_list(self) -> None:
        """A hundred thousand names take a few seconds of a processor at most."""
        with Lab(f"host{index}.example" for index in range(100_000)) as lab:
            assert psutil.Process(lab.pid).cpu_times().user < 5
            assert "NOERROR" == rcode(ask(lab, "host99999.example"))
            assert "NXDOMAIN" == rcode(ask(lab, "host100000.example"))


class TestProtocol:
    """What is said to odd queries."""

    def test_edns(self, lab: Lab) -> None:
        """A reply has an OPT record where the query had one: payload 1232, DO repeated."""
        query = dns.message.make_query("www.example", "A", want_dnssec=True)
        host, port = where(lab)
        for name in ("www.example", "nodata.example"):
            query = dns.message.make_query(name, "A", want_dnssec=True)
            reply = dns.query.udp(query, host, 0.4, port)
            assert (0, 1232, dns.flags.DO) == (reply.edns, reply.payload, reply.ednsflags & dns.flags.DO)
            assert -1 == ask(lab, name).edns

    def test_bad_version(self, lab: Lab) -> None:
        """EDNS version 1 is BADVERS."""
        assert "BADVERS" == rcode(ask(lab, "www.example", edns=1))

    def test_other_class(self, lab: Lab) -> None:
        """Any class but IN is REFUSED."""
        query = dns.message.make_query("version.bind", "TXT", dns.rdataclass.CH)
        assert "REFUSED" == rcode(dns.query.udp(query, where(lab)[0], 0.4, where(lab)[1]))

    def test_other_opcode(self, lab: Lab) -> None:
        """Any opcode but QUERY is NOTIMP."""
        query = make("www.example")
        query.set_opcode(dns.opcode.NOTIFY)
        (reply,) = datagrams(lab, query.to_wire())
        assert ("NOTIMP", query.to_wire()[:2]) == (dns.rcode.to_text(dns.rcode.Rcode(reply[3] & 15)), reply[:2])

    @pytest.mark.parametrize(
        "octets",
        [
            b"\1\2\1\0\0\1\0\0\0\0\0\0",
            b"\1\2\1\0\0\0\0\0\0\0\0\0",
            b"\1\2\1\0\0\2\0\0\0\0\0\0\1a\0\0\1\0\1\1b\0\0\1\0\1",
            b"\1\2\1\0\0\1\0\0\0\0\0\0\1a\xc0\x0c\0\1\0\1",
            b"\1\2\1\0\0\1\0\0\0\0\0\0\x40" + b"a" * 64 + b"\0\0\1\0\1",
            b"\1\2\1\0\0\1\0\0\0\0\0\0" + b"\1a" * 128 + b"\0\0\1\0\1",
            b"\1\2\1\0\0\1\0\0\0\0\0\0\1a\0\0\1\0\1junk",
            b"\1\2\1\0\0\1\0\0\0\0\0\1\1a\0\0\1\0\1",
            b"\1\2\1\0\0\1\0\0\0\0\0\2\1a\0\0\1\0\1" + b"\0\0\x29\4\xd0\0\0\0\0\0\0" * 2,
            b"\1\2\1\0\0\1\0\0\0\0\0\1\1a\0\0\1\0\1\0\0\x29\4\xd0\0\0\0\0\0\7",
        ],
    )
    def test_unparsable(self, lab: Lab, octets: bytes) -> None:
        """What has a header and makes no sense is FORMERR, with the ID and an empty question."""
        assert [b"\1\2\x81\x81" + bytes(8)] == datagrams(lab, octets)

    @pytest.mark.parametrize("which", ["lab", "zoned"])
    def test_mutated_queries(self, request: pytest.FixtureRequest, which: str) -> None:
        """Whatever octets come, the next query is answered."""
        lab: Lab = request.getfixturevalue(which)
        chance = random.Random(1)
        labels = [pattern.replace("-MS", "-1").replace("-N", "-3") for pattern in SCRIPTS]
        labels += ["www", "alias", "a.wild", "a.old", "child", "ring", "old"]
        rtypes = ["A", "AAAA", "TXT", "ANY", "CNAME", "SOA", "PTR", "DS", "NS", "TYPE65280", "AXFR", "RRSIG", "OPT"]
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.connect(where(lab))
            for _ in range(1500):
                parent = chance.choice(["zone.example", "example", "7.in-addr.arpa", "invalid", ""])
                query = make(f"{chance.choice(labels)}.{parent}", chance.choice(rtypes), edns=chance.choice([False, 0]))
                octets = bytearray(query.to_wire())
                for _ in range(chance.choice([0, 1, 1, 2, 5])):
                    octets[chance.randrange(2, len(octets))] = chance.randrange(256)
                udp.send(octets[: chance.randrange(len(octets)) if chance.random() < 0.1 else None])
        assert "NOERROR" == rcode(ask(lab, "www.zone.example"))

    def test_ignored(self, lab: Lab) -> None:
        """Responses and what is too short for a header get no reply."""
        response = bytearray(make("www.example").to_wire())
        response[2] |= 0x80
        for octets in (b"", b"\1\2", bytes(response)):
            assert [] == datagrams(lab, octets)

    def test_truncation(self, lab: Lab) -> None:
        """What exceeds the client's payload, 512 octets without EDNS, is TC and empty; over TCP it is whole."""
        cases: list[tuple[bool, int, dict[str, Any]]] = [
            (True, 0, {}),
            (True, 0, {"edns": 0}),
            (False, 100, {"edns": 0, "payload": 4096}),
        ]
        for truncated, number, options in cases:
            reply = ask(lab, "big-100.example", **options)
            assert (truncated, number) == (bool(reply.flags & dns.flags.TC), len(answers(reply)))
        assert 100 == len(answers(ask(lab, "big-100.example", tcp=True)))
        assert 2300 == len(set(answers(ask(lab, "big-2300.example", tcp=True))))

    def test_longest_name(self, lab: Lab) -> None:
        """A name of 255 octets is answered, with EDNS too."""
        name = ".".join(["a" * 63] * 3 + ["b" * 61])
        assert 1 == len(answers(ask(lab, name, edns=0)))


def on_time(lab: Lab, name: str, expected: float, *, tcp: bool = False) -> bool:
    """Does the reply come after so many seconds, give or take a few milliseconds?"""

    assert lab.pid is not None
    processes = (os.getpid(), lab.pid)

    def seconds() -> float:
        start, waited = time.monotonic(), run_delay(*processes)
        ask(lab, name, tcp=tcp)
        taken = time.monotonic() - start
        assert taken > expected - 0.001
        return taken - (run_delay(*processes) - waited)

    return second_look(seconds, lambda taken: taken < expected + 0.03) < expected + 0.03


class TestSilence:
    """Scripts of delay, silence and error codes."""

    def test_slow(self, lab: Lab) -> None:
        """slow-MS answers after so many milliseconds, give or take a few."""
        assert on_time(lab, "slow-100.example", 0.1)

    def test_slow_does_not_hold_up(self, lab: Lab) -> None:
        """Other queries are answered meanwhile."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.connect(where(lab))
            for name in ("slow-80.example", "slow-40.example", "www.example"):
                udp.send(make(name).to_wire())
            udp.settimeout(3.0)
            names = [dns.message.from_wire(udp.recv(512)).question[0].name.to_text() for _ in range(3)]
        assert ["www.example.", "slow-40.example.", "slow-80.example."] == names

    @pytest.mark.parametrize("name", ["hang", "garbage-only", "spoof-only", "otherport-only"])
    def test_never(self, lab: Lab, name: str) -> None:
        """Scripts that never give a reply that may be believed."""
        assert True is silent(lab, name + ".example")

    def test_flaky(self, lab: Lab) -> None:
        """flaky-2 answers from the third query on, for each name and type by itself."""
        query, other = make("flaky-2.one.example").to_wire(), make("flaky-2.one.example", "AAAA").to_wire()
        assert [0, 0, 1, 1] == [len(datagrams(lab, query)) for _ in range(4)]
        assert [0, 0, 1] == [len(datagrams(lab, other)) for _ in range(3)]

    def test_servfail_first(self, lab: Lab) -> None:
        """servfail-2 fails twice, then answers."""
        assert ["SERVFAIL", "SERVFAIL", "NOERROR"] == [rcode(ask(lab, "servfail-2.one.example")) for _ in range(3)]

    @pytest.mark.parametrize(
        ("label", "expected"),
        [
            ("nx", "NXDOMAIN"),
            ("servfail", "SERVFAIL"),
            ("refused", "REFUSED"),
            ("formerr", "FORMERR"),
            ("notimp", "NOTIMP"),
            ("rcode-9", "NOTAUTH"),
            ("rcode-12", "12"),
            ("rcode-23", "BADCOOKIE"),
            ("rcode-3841", "3841"),
        ],
    )
    def test_rcodes(self, lab: Lab, label: str, expected: str) -> None:
        """Each error code has its script, the extended ones too, whatever the letter case of the label."""
        for name in (f"{label}.example", f"{label.upper()}.a.b.example"):
            assert expected == rcode(ask(lab, name))

    def test_nodata_and_empty(self, lab: Lab) -> None:
        """nodata has an SOA, empty has nothing."""
        for label, expected in (("nodata", [dns.rdatatype.SOA]), ("empty", [])):
            reply = ask(lab, label + ".example")
            assert ("NOERROR", [], expected) == (rcode(reply), answers(reply), [r.rdtype for r in reply.authority])

    def test_no_question(self, lab: Lab) -> None:
        """noquestion and emptyfail are SERVFAIL without a question; the first keeps its OPT record."""
        for label, opts in (("noquestion", 1), ("emptyfail", 0)):
            (reply,) = datagrams(lab, make(label + ".example", edns=0).to_wire())
            assert (2, b"\0\0", opts) == (reply[3] & 15, reply[4:6], int.from_bytes(reply[10:12]))

    def test_noedns(self, lab: Lab) -> None:
        """noedns is FORMERR without OPT to EDNS, and an answer without."""
        reply = ask(lab, "noedns.example", edns=0)
        assert ("FORMERR", -1) == (rcode(reply), reply.edns)
        assert "NOERROR" == rcode(ask(lab, "noedns.example"))

    def test_opt_records(self, lab: Lab) -> None:
        """noopt leaves the OPT record out, options fills it."""
        assert (-1, 1) == ((reply := ask(lab, "noopt.example", edns=0)).edns, len(answers(reply)))
        assert [65001, 65002, 12] == [int(option.otype) for option in ask(lab, "options.example", edns=0).options]


class TestForgeries:
    """Scripts of replies that may not be believed."""

    def test_spoof(self, lab: Lab) -> None:
        """Wrong ID, wrong name, wrong type, each with the forged address; then the right reply."""
        query = make("spoof.example")
        *forged, right = datagrams(lab, query.to_wire())
        parsed = [dns.message.from_wire(reply) for reply in forged]
        assert [[f"A {FORGED}"]] * 3 == [answers(reply) for reply in parsed]
        assert [False] * 3 == [query.is_response(reply) for reply in parsed]
        assert True is query.is_response(dns.message.from_wire(right))

    def test_other_port(self, lab: Lab) -> None:
        """otherport: an open socket sees the forged reply too, a connected one does not."""
        query = make("otherport.example").to_wire()
        assert 1 == len(datagrams(lab, query))
        first, second = datagrams(lab, query, connected=False)
        assert [f"A {FORGED}"] == answers(dns.message.from_wire(first))
        assert [f"A {FORGED}"] != answers(dns.message.from_wire(second))

    @pytest.mark.parametrize("label", ["garbage", "echo", "bare", "trailing", "dup"])
    def test_right_at_last(self, lab: Lab, label: str) -> None:
        """Whatever came first, the last datagram is the right reply, and over TCP it comes too."""
        query = make(label + ".example")
        *_, last = datagrams(lab, query.to_wire())
        reply = dns.message.from_wire(last)
        assert (True, "NOERROR", 1) == (query.is_response(reply), rcode(reply), len(answers(reply)))
        with connect(lab) as tcp:
            tcp.sendall(framed(query.to_wire()))
            octets = b""
            while not octets.endswith(framed(last)):
                octets += tcp.recv(65535)
        assert framed(last) == octets[-2 - len(last) :]

    def test_dup(self, lab: Lab) -> None:
        """dup sends the same octets twice."""
        first, second = datagrams(lab, make("dup.example").to_wire())
        assert first == second

    @pytest.mark.parametrize("label", ["badptr", "badcount", "badlength", "badrdata"])
    def test_broken(self, lab: Lab, label: str) -> None:
        """The broken replies belong to the query, and cannot be read."""
        query = make(label + ".example").to_wire()
        (reply,) = datagrams(lab, query)
        assert query[:2] + query[12:] == reply[:2] + reply[12 : len(query)]
        with pytest.raises(dns.exception.DNSException):
            dns.message.from_wire(reply)

    def test_garbage(self, lab: Lab) -> None:
        """Nothing of garbage-only can be read."""
        replies = datagrams(lab, make("garbage-only.example").to_wire())
        assert 5 == len(replies)
        for reply in replies:
            with pytest.raises((dns.exception.DNSException, ValueError)):
                dns.message.from_wire(reply)

    def test_case(self, lab: Lab) -> None:
        """The question comes back in the other letter case, and still matches."""
        query = make("case.Example").to_wire()
        (reply,) = datagrams(lab, query)
        assert b"\4CASE\7eXAMPLE\0" == reply[12:26]


class TestTransport:
    """Scripts of truncation, and what goes wrong over TCP."""

    @pytest.mark.parametrize(
        "label", ["truncated", "partial", "closetcp", "notcp", "resettcp", "hangtcp", "dribble", "tcalways"]
    )
    def test_truncated(self, lab: Lab, label: str) -> None:
        """All of them have TC over UDP; partial has a wrong record too."""
        reply = ask(lab, label + ".example")
        expected = [f"A {FORGED}"] if label == "partial" else []
        assert (dns.flags.TC, expected) == (reply.flags & dns.flags.TC, answers(reply))

    @pytest.mark.parametrize("label", ["truncated", "partial", "dribble"])
    def test_whole_over_tcp(self, lab: Lab, label: str) -> None:
        """Over TCP these give the whole answer."""
        reply = ask(lab, label + ".example", tcp=True)
        assert (0, 1) == (reply.flags & dns.flags.TC, len(answers(reply)))
        assert [f"A {FORGED}"] != answers(reply)

    def test_connections_end(self, lab: Lab) -> None:
        """notcp closes, closetcp closes after one half, resettcp resets, hangtcp says nothing."""
        for label, expected in (("notcp", 0), ("closetcp", 26)):
            with connect(lab) as tcp:
                tcp.sendall(framed(make(label + ".example").to_wire()))
                octets = tcp.recv(65535)
                assert (expected, b"") == (len(octets), octets and tcp.recv(65535))
        with connect(lab) as tcp:
            tcp.sendall(framed(make("resettcp.example").to_wire()))
            with pytest.raises(ConnectionResetError):
                tcp.recv(65535)
        assert True is silent(lab, "hangtcp.example", tcp=True)

    def test_dribble_keeps_messages_whole(self, lab: Lab) -> None:
        """What shares a connection with a slow reply is not mixed up with it."""
        with connect(lab) as tcp:
            for name in ("dribble.example", "www.example", "big-20.example"):
                tcp.sendall(framed(make(name).to_wire()))
            assert [1, 1, 20] == [len(answers(reply)) for reply in receive(tcp, 3)]

    def test_multi(self, lab: Lab) -> None:
        """multi-N has N different addresses of either family, and one of other types."""
        for rtype, expected in (("A", 7), ("AAAA", 7), ("TXT", 1)):
            assert expected == len(set(answers(ask(lab, "multi-7.example", rtype))))


class TestChains:
    """Scripts of answers that have to be read with care."""

    def test_chain(self, lab: Lab) -> None:
        """cname-2 leads to cname-0 and its address, which is that of cname-0 asked by itself."""
        expected = ["CNAME cname-1.a.example.", "CNAME cname-0.a.example.", *answers(ask(lab, "cname-0.a.example"))]
        assert expected == answers(ask(lab, "cname-2.a.example"))
        assert sorted(expected)[0] == sorted(answers(ask(lab, "cname-shuffled.a.example")))[0]

    def test_long_chain(self, lab: Lab) -> None:
        """A chain may have a thousand links, over TCP."""
        assert 1001 == len(answers(ask(lab, "cname-1000.a.example", tcp=True)))

    def test_chain_of_other_types(self, lab: Lab) -> None:
        """CNAME itself is not followed; a type without records is NODATA after the chain."""
        assert ["CNAME cname-1.a.example."] == answers(ask(lab, "cname-2.a.example", "CNAME"))
        reply = ask(lab, "cname-2.a.example", "LOC")
        assert (2, 1) == (len(answers(reply)), len(reply.authority))

    @pytest.mark.parametrize(
        ("label", "expected"),
        [
            ("cname-nx", ("NXDOMAIN", ["CNAME nx.example."], 1)),
            ("cname-nodata", ("NOERROR", ["CNAME nodata.example."], 1)),
            ("cname-open", ("NOERROR", ["CNAME cname-0.example."], 0)),
            ("loop", ("NOERROR", ["CNAME loop-back.example.", "CNAME loop.example."], 0)),
            ("loop-back", ("NOERROR", ["CNAME loop.example.", "CNAME loop-back.example."], 0)),
            ("loop-self", ("NOERROR", ["CNAME loop-self.example."], 0)),
        ],
    )
    def test_ends(self, lab: Lab, label: str, expected: tuple[str, list[str], int]) -> None:
        """Chains that end in nothing, or not at all."""
        reply = ask(lab, label + ".example")
        assert expected == (rcode(reply), answers(reply), len(reply.authority))

    def test_binary_name(self, lab: Lab) -> None:
        """A target may hold any octet."""
        assert r"CNAME a\.b\032c\\d\000\255.example." == answers(ask(lab, "cname-binary.example"))[0]

    def test_dname(self, lab: Lab) -> None:
        """A DNAME, the CNAME made from it, the address."""
        first, second, third = answers(ask(lab, "dname.a.example"))
        assert ("DNAME renamed.example.", "CNAME dname.renamed.example.", "A") == (first, second, third.split()[0])

    @pytest.mark.parametrize(("label", "owner"), [("referral", "referral.example."), ("upward", ".")])
    def test_referral(self, lab: Lab, label: str, owner: str) -> None:
        """Not authoritative, no answer, NS in the authority section."""
        reply = ask(lab, label + ".example")
        assert (0, []) == (reply.flags & dns.flags.AA, answers(reply))
        assert [(owner, dns.rdatatype.NS)] == [(rrset.name.to_text(), rrset.rdtype) for rrset in reply.authority]

    def test_what_does_not_belong(self, lab: Lab) -> None:
        """foreign, othertype and otherclass have one record that belongs, and others."""
        for label in ("foreign", "othertype", "otherclass"):
            reply = ask(lab, label + ".example")
            key = (reply.question[0].name, dns.rdataclass.IN, dns.rdatatype.A)
            own = [rrset for rrset in reply.answer if (rrset.name, rrset.rdclass, rrset.rdtype) == key]
            assert (1, True) == (len(own), len(reply.answer) > 1)

    def test_duplicates_and_ttl(self, lab: Lab) -> None:
        """duprr has each record twice, ttl-N the TTL N."""
        (reply,) = datagrams(lab, make("duprr.example").to_wire())
        assert 2 == int.from_bytes(reply[6:8])
        for number in (0, 1, 2**31 - 1):
            assert number == ask(lab, f"ttl-{number}.example").answer[0].ttl
        (reply,) = datagrams(lab, make("ttl-4294967295.example").to_wire())
        assert b"\xff" * 4 == reply[-10:-6]

    def test_txt(self, lab: Lab) -> None:
        """txt holds what has to be escaped, longtxt what does not fit in one datagram without EDNS."""
        expected = r'"say \"hi\"" "back\\slash" "\000\009\010\127\128\255" "semi;colon $x @y (z)" "" "\195\169"'
        assert ["TXT " + expected] == answers(ask(lab, "txt.example", "TXT"))
        assert dns.flags.TC == ask(lab, "longtxt.example", "TXT").flags & dns.flags.TC
        assert 10 == len(ask(lab, "longtxt.example", "TXT", tcp=True).answer[0][0].strings)

    def test_every_script_is_listed_and_works(self, lab: Lab) -> None:
        """Each pattern in the help has a line, and all but two of them send something."""
        assert [] == [pattern for pattern, line in SCRIPTS.items() if not line]
        asked = {pattern: socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for pattern in SCRIPTS}
        for pattern, udp in asked.items():
            label = pattern.replace("-MS", "-3").replace("-N", "-3")
            udp.sendto(make(label + ".all.example").to_wire(), where(lab))
        time.sleep(0.2)
        replied = set(select.select(list(asked.values()), [], [], 0)[0])
        assert {"hang", "flaky-N"} == {pattern for pattern, udp in asked.items() if udp not in replied}
        for udp in asked.values():
            udp.close()

    def test_labels_that_only_look_scripted(self, lab: Lab) -> None:
        """A script is the whole first label and nothing else."""
        for name in (
            "nxx.example",
            "nx-1.example",
            "slow.example",
            "slow-x.example",
            "www.nx.example",
            "multi-.example",
        ):
            assert ("NOERROR", 1) == (rcode(reply := ask(lab, name)), len(answers(reply)))


class TestZone:
    """A master file is answered as an authoritative server does."""

    @pytest.mark.parametrize(
        ("name", "rtype", "expected"),
        [
            ("www.zone.example", "A", ("NOERROR", ["A 192.0.2.2"])),
            ("WWW.Zone.Example", "AAAA", ("NOERROR", ["AAAA 2001:db8::2"])),
            ("www.zone.example", "TXT", ("NOERROR", [])),
            ("nope.zone.example", "A", ("NXDOMAIN", [])),
            ("below.zone.example", "A", ("NOERROR", [])),
            (
                "alias.zone.example",
                "A",
                ("NOERROR", ["CNAME middle.zone.example.", "CNAME www.zone.example.", "A 192.0.2.2"]),
            ),
            ("alias.zone.example", "CNAME", ("NOERROR", ["CNAME middle.zone.example."])),
            ("away.zone.example", "A", ("NOERROR", ["CNAME www.elsewhere.example."])),
            ("dangling.zone.example", "A", ("NXDOMAIN", ["CNAME missing.zone.example."])),
            ("ring.zone.example", "A", ("NOERROR", ["CNAME gnir.zone.example.", "CNAME ring.zone.example."])),
            ("a.b.wild.zone.example", "TXT", ("NOERROR", ['TXT "any"'])),
            ("a.wild.zone.example", "A", ("NOERROR", [])),
            ("odd.zone.example", "TYPE65280", ("NOERROR", [r"TYPE65280 \# 2 abcd"])),
            ("nx.zone.example", "A", ("NOERROR", ["A 192.0.2.6"])),
            ("slow-9.zone.example", "A", ("NXDOMAIN", [])),
            ("outside.example", "A", ("REFUSED", [])),
            ("azone.example", "A", ("REFUSED", [])),
        ],
    )
    def test_answers(self, zoned: Lab, name: str, rtype: str, expected: tuple[str, list[str]]) -> None:
        """Records, aliases, wildcards, names between others, and what does not exist."""
        reply = ask(zoned, name, rtype)
        assert expected == (rcode(reply), answers(reply))

    def test_negative_answers_have_the_soa(self, zoned: Lab) -> None:
        """The SOA of a negative answer has the lower of its TTL and its minimum (RFC 2308)."""
        for name in ("nope.zone.example", "www.zone.example"):
            reply = ask(zoned, name, "TXT")
            found = [(rrset.rdtype, rrset.ttl) for rrset in reply.authority]
            assert (dns.flags.AA, [(dns.rdatatype.SOA, 60)]) == (reply.flags & dns.flags.AA, found)

    def test_delegation(self, zoned: Lab) -> None:
        """Below a delegation there is a referral with glue, not an answer."""
        for name in ("child.zone.example", "www.child.zone.example", "ns.child.zone.example"):
            reply = ask(zoned, name)
            assert (0, [], 1, 1) == (
                reply.flags & dns.flags.AA,
                answers(reply),
                len(reply.authority),
                len(reply.additional),
            )
        assert dns.rdatatype.SOA == ask(zoned, "child.zone.example", "DS").authority[0].rdtype

    def test_dname(self, zoned: Lab) -> None:
        """A DNAME renames what is below it, and not its owner."""
        expected = ["DNAME new.zone.example.", "CNAME a.new.zone.example.", "A 192.0.2.5"]
        assert expected == answers(ask(zoned, "a.old.zone.example"))
        assert ["DNAME new.zone.example."] == answers(ask(zoned, "old.zone.example", "DNAME"))

    def test_any_and_edns(self, zoned: Lab) -> None:
        """ANY gets each set of the name; EDNS is answered with EDNS."""
        reply = ask(zoned, "www.zone.example", "ANY", edns=0)
        assert (["A 192.0.2.2", "AAAA 2001:db8::2"], 1232) == (answers(reply), reply.payload)

    def test_zone_with_hosts(self, tmp_path: Path) -> None:
        """With a list too, other names are as the list says, and the zone wins below its origin."""
        file = tmp_path / "zone"
        file.write_text(ZONE)
        with Lab(["www.example", "new.zone.example"], zone=[file]) as lab:
            names = ("www.example", "other.example", "www.zone.example", "nope.zone.example")
            assert ["NOERROR", "NXDOMAIN", "NOERROR", "NXDOMAIN"] == [rcode(ask(lab, name)) for name in names]
            assert ["A 192.0.2.2"] == answers(ask(lab, "www.zone.example"))

    def test_origin(self, tmp_path: Path) -> None:
        """Without $ORIGIN the origin is the caller's, or the owner of the SOA."""
        file = tmp_path / "zone"
        file.write_text(ZONE.replace("$ORIGIN zone.example.\n", ""))
        with Lab(zone=file, origin="given.example") as lab:
            assert ["A 192.0.2.2"] == answers(ask(lab, "www.given.example"))
        file.write_text(file.read_text().replace("\n@ ", "\nsoa.example. ", 1))
        with Lab(zone=file) as lab:
            assert ["A 192.0.2.2"] == answers(ask(lab, "www.soa.example"))

    def test_bad_files(self, tmp_path: Path) -> None:
        """A file that cannot be used is an error that names it."""
        file = tmp_path / "broken.zone"
        for text in ("$ORIGIN x.\n@ IN SOA what", "$ORIGIN x.\n$TTL 5\nwww IN A 192.0.2.1\n", "www IN A 192.0.2.1\n"):
            file.write_text(text)
            with pytest.raises(ValueError, match=r"broken\.zone"):
                Lab(zone=file).start()
        with pytest.raises(FileNotFoundError, match="missing"):
            Lab(zone=tmp_path / "missing").start()


class TestStreams:
    """TCP and TLS."""

    def test_pipelined_out_of_order(self, lab: Lab) -> None:
        """Queries on one connection are answered when they are ready, and one that hangs holds up none."""
        names = ["slow-80.example", "hang.example", "slow-30.example", "www.example"]
        with connect(lab) as tcp:
            tcp.sendall(b"".join(framed(make(name).to_wire()) for name in names))
            replies = [reply.question[0].name.to_text() for reply in receive(tcp, 3)]
        assert ["www.example.", "slow-30.example.", "slow-80.example."] == replies

    def test_octet_by_octet(self, lab: Lab) -> None:
        """A query may come in any pieces."""
        with connect(lab) as tcp:
            for octet in framed(make("www.example").to_wire()):
                tcp.sendall(bytes((octet,)))
            assert ["NOERROR"] == [rcode(reply) for reply in receive(tcp, 1)]

    def test_many_queries(self, lab: Lab) -> None:
        """Twelve thousand queries on one connection are all answered: more than may wait at once."""
        octets = b"".join(framed(make(f"host{index % 50}.example").to_wire()) for index in range(12000))
        with connect(lab) as tcp:
            tcp.setblocking(False)
            sent, received, total = 0, 0, 12000
            sizes = bytearray()
            end = time.monotonic() + 5
            while received < total and time.monotonic() < end:
                readable, writable, _ = select.select([tcp], [tcp] if sent < len(octets) else [], [], 0.4)
                if writable:
                    sent += tcp.send(octets[sent : sent + 65536])
                elif readable:
                    sizes += tcp.recv(65536)
                    while len(sizes) >= 2 and len(sizes) >= 2 + int.from_bytes(sizes[:2]):
                        del sizes[: 2 + int.from_bytes(sizes[:2])]
                        received += 1
        assert 12000 == received

    def test_many_octets_for_one_read(self, lab: Lab) -> None:
        """Queries that arrive in one piece are all answered, where their replies are more than may wait to be sent."""
        query = framed(make("multi-2000.example").to_wire())
        with connect(lab) as tcp:
            tcp.sendall(query * 40)
            awaited, received = 40 * (len(query) + 2000 * 16), 0
            while received < awaited:
                received += len(tcp.recv(65536))
        assert awaited == received

    def test_half_closed(self, lab: Lab) -> None:
        """A client that sends nothing more still gets what it asked for; then the connection is closed."""
        with connect(lab) as tcp:
            tcp.sendall(framed(make("slow-30.example").to_wire()))
            tcp.shutdown(socket.SHUT_WR)
            assert ["NOERROR"] == [rcode(reply) for reply in receive(tcp, 1)]
            assert b"" == tcp.recv(1)

    def test_a_client_that_does_not_read(self, lab: Lab) -> None:
        """It stalls itself and nobody else."""
        with connect(lab) as tcp:
            tcp.setblocking(False)
            octets = framed(make("big-2000.example").to_wire()) * 1000
            sent = 0
            while sent < len(octets) and select.select([], [tcp], [], 0.1)[1]:
                sent += tcp.send(octets[sent : sent + 65536])
            assert "NOERROR" == rcode(ask(lab, "www.example", tcp=True))
            assert "NOERROR" == rcode(ask(lab, "www.example"))

    def test_many_connections(self, lab: Lab) -> None:
        """With more connections than it keeps, new ones are still served: the quietest go."""
        held = [connect(lab) for _ in range(520)]
        try:
            assert "NOERROR" == rcode(ask(lab, "www.example", tcp=True))
        finally:
            for tcp in held:
                tcp.close()

    def test_tls(self, tmp_path: Path) -> None:
        """Over TLS the same is said; a client that does not speak it holds up none and is turned away."""
        authority = trustme.CA()
        authority.issue_cert("lab.example").private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "both.pem"))
        context = ssl.create_default_context()
        authority.configure_trust(context)
        with Lab(tls=(tmp_path / "both.pem", tmp_path / "both.pem")) as lab:
            assert lab.tls_nameserver is not None
            host, port = endpoint(lab.tls_nameserver)
            with socket.create_connection((host, port), timeout=3.0) as plain:
                for name, expected in (("www.example", 1), ("big-2000.example", 2000)):
                    query = make(name)
                    reply = dns.query.tls(query, host, 0.4, port, server_hostname="lab.example", ssl_context=context)
                    assert expected == len(answers(reply))
                plain.sendall(framed(make("www.example").to_wire()))
                try:
                    said = plain.recv(99)
                except ConnectionResetError:
                    said = b""
                assert False is (b"example" in said)
            with context.wrap_socket(socket.create_connection((host, port), 3.0), server_hostname="lab.example") as tls:
                os.write(tls.fileno(), b"GET / HTTP/1.0\r\n\r\n")  # breaks this connection, and nothing else
                with contextlib.suppress(OSError):
                    assert b"" == tls.recv(99)
            query = make("www.example")
            reply = dns.query.tls(query, host, 0.4, port, server_hostname="lab.example", ssl_context=context)
            assert 1 == len(answers(reply))

    def test_bad_certificate(self, tmp_path: Path) -> None:
        """A certificate that cannot be read is an error that names it."""
        with pytest.raises(ValueError, match="missing"):
            Lab(tls=(tmp_path / "missing", tmp_path / "missing")).start()


class TestNetwork:
    """Latency, jitter, loss and capacity."""

    def test_latency(self) -> None:
        """Each reply comes so much later, over UDP and TCP, and a script adds to it."""
        with Lab(latency=0.05) as lab:
            for name, tcp, expected in (
                ("www.example", False, 0.05),
                ("slow-50.a", False, 0.1),
                ("a.example", True, 0.05),
            ):
                assert on_time(lab, name, expected, tcp=tcp)

    def test_jitter(self) -> None:
        """Jitter spreads the replies around the latency, and they overtake each other."""
        with Lab(latency=0.05, jitter=0.05, seed=1) as lab, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.connect(where(lab))
            udp.settimeout(3.0)
            for number in range(50):
                udp.send(number.to_bytes(2) + make("www.example").to_wire()[2:])
            order = [int.from_bytes(udp.recv(512)[:2]) for _ in range(50)]
        assert list(range(50)) == sorted(order)
        assert order != sorted(order)

    def test_loss(self) -> None:
        """Loss takes its share of the datagrams, the same ones for the same seed; over TCP nothing is lost."""
        query = make("www.example").to_wire()[2:]
        runs = []
        for _ in range(2):
            with Lab(loss=0.3, seed=7) as lab, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
                udp.connect(where(lab))
                for number in range(300):
                    udp.send(number.to_bytes(2) + query)
                assert ["NOERROR"] * 20 == [rcode(ask(lab, "www.example", tcp=True)) for _ in range(20)]
                found = []
                while select.select([udp], [], [], 0.05)[0]:
                    found.append(int.from_bytes(udp.recv(512)[:2]))
                assert 300 - len(found) == lab.counts().dropped
                runs.append(found)
        assert 210 == pytest.approx(len(runs[0]), abs=30)
        assert runs[0] == runs[1]

    def test_capacity(self) -> None:
        """What comes above the capacity is dropped, over UDP and TCP together."""

        def excess() -> float:
            with Lab(capacity=100) as lab:
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp, connect(lab) as tcp:
                    udp.connect(where(lab))
                    query = make("www.example").to_wire()
                    start = time.monotonic()
                    for _ in range(40):
                        udp.send(query)
                        tcp.sendall(framed(query))
                        time.sleep(0.005)
                    seconds = time.monotonic() - start
                    while (counts := lab.counts()).received < 80 and time.monotonic() < start + 5:
                        time.sleep(0.01)
                assert (80, 80) == (counts.received, counts.answered + counts.dropped)
                return abs(16 + 100 * seconds - counts.answered)

        # A lab that waits for the processor counts in other seconds than we do.
        assert second_look(excess, lambda number: number <= 6) <= 6


class TestProcess:
    """The child, its settings, and its end."""

    def test_counts(self) -> None:
        """Queries received, replies sent, queries dropped."""
        with Lab() as lab:
            ask(lab, "www.example")
            ask(lab, "dup.example", tcp=False)
            silent(lab, "hang.example")
            counts = lab.counts()
            assert (3, 3, 1) == (counts.received, counts.answered, counts.dropped)

    def test_two_at_once(self) -> None:
        """Two labs have ports of their own, UDP and TCP on the same number."""
        with Lab(["one.example"]) as one, Lab(["two.example"]) as two:
            for lab, expected in ((one, ["NOERROR", "NXDOMAIN"]), (two, ["NXDOMAIN", "NOERROR"])):
                assert expected == [rcode(ask(lab, name)) for name in ("one.example", "two.example")]
                assert expected == [rcode(ask(lab, name, tcp=True)) for name in ("one.example", "two.example")]

    def test_ipv6(self) -> None:
        """It listens on ::1 as well."""
        try:
            socket.create_server(("::1", 0), family=socket.AF_INET6).close()
        except OSError:
            pytest.skip("no IPv6 on this machine")
        with Lab(listen="[::1]:0") as lab:
            assert "[::1]" == lab.nameserver.rpartition(":")[0]
            assert "NOERROR" == rcode(ask(lab, "www.example"))
            assert "NOERROR" == rcode(ask(lab, "www.example", tcp=True))

    def test_loopback_only(self) -> None:
        """Another address than loopback is refused, unless it is meant."""
        for listen in ("0.0.0.0:0", "192.0.2.1:0", "[::]:0"):
            with pytest.raises(ValueError, match="loopback only"):
                Lab(listen=listen)
        with Lab(listen="0.0.0.0:0", public=True) as lab:
            assert "0.0.0.0" == where(lab)[0]

    def test_port_taken(self, lab: Lab) -> None:
        """A port that is taken is an OSError that says which."""
        port = where(lab)[1]
        with pytest.raises(OSError, match=f"port {port}"):
            Lab(listen=lab.nameserver).start()

    def test_ends_when_the_parent_is_killed(self) -> None:
        """Kill -9 of the parent ends the child, within a moment."""
        code = (
            "import signal; from resolver.lab import Lab; lab = Lab().start()\n"
            "print(lab.nameserver, flush=True); signal.pause()"
        )
        with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=environment()) as parent:
            assert parent.stdout is not None
            address = endpoint(parent.stdout.readline().decode().strip())
            parent.kill()
        assert True is closed(address)

    def test_stop(self) -> None:
        """Stop ends the child, twice is once, and the lab may be started again."""
        lab = Lab()
        with pytest.raises(RuntimeError, match="does not run"):
            _ = lab.nameserver
        for _ in range(2):
            lab.start()
            address = where(lab)
            with pytest.raises(RuntimeError, match="runs already"):
                lab.start()
            lab.stop()
            lab.stop()
            assert True is closed(address)

    def test_own_session(self, lab: Lab) -> None:
        """Ctrl-C at the terminal does not reach the child: it has a session of its own."""
        assert lab.pid is not None
        assert lab.pid == os.getsid(lab.pid)

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_foreground(self, number: signal.Signals) -> None:
        """`serve` says when it is ready, serves, and returns at SIGINT and SIGTERM with the handlers as before."""
        code = (
            "import signal; from resolver.lab import Settings; from resolver.lab.server import serve\n"
            "serve(Settings(), lambda address: print(address.nameserver, flush=True))\n"
            "print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)"
        )
        with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=environment()) as child:
            assert child.stdout is not None
            host, port = endpoint(child.stdout.readline().decode().strip())
            assert "NOERROR" == rcode(dns.query.udp(make("www.example"), host, 0.4, port))
            child.send_signal(number)
            assert b"True\n" == child.stdout.read()
        assert 0 == child.returncode

    def test_import_is_cheap(self) -> None:
        """Importing the package loads neither the server nor dnspython, and `SCRIPTS` no dnspython."""
        code = (
            "import sys, resolver.lab as lab; before = set(sys.modules); lab.SCRIPTS\n"
            "print('resolver.lab.server' in before, 'ssl' in before, 'dns' in sys.modules)"
        )
        out = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment(), check=True).stdout
        assert b"False False False\n" == out


class TestSettings:
    """The readers of command line values, and what makes no sense."""

    @pytest.mark.parametrize(
        ("text", "expected"), [("20ms", 0.02), ("0.02", 0.02), ("0.02s", 0.02), ("1s", 1.0), ("0", 0.0)]
    )
    def test_duration(self, text: str, expected: float) -> None:
        """Milliseconds, seconds, or a bare number of seconds."""
        assert expected == pytest.approx(duration(text))

    @pytest.mark.parametrize("text", ["", "ms", "1h", "-1s", "nan", "inf", "1 m"])
    def test_no_duration(self, text: str) -> None:
        """Anything else is an error that shows the text."""
        with pytest.raises(ValueError, match="not a duration"):
            duration(text)

    @pytest.mark.parametrize(("text", "expected"), [("1%", 0.01), ("0.01", 0.01), ("100%", 1.0), ("0", 0.0)])
    def test_share(self, text: str, expected: float) -> None:
        """Per cent, or a share of 1."""
        assert expected == pytest.approx(share(text))

    @pytest.mark.parametrize("text", ["", "%", "101%", "2", "-1%", "nan"])
    def test_no_share(self, text: str) -> None:
        """Anything else is an error."""
        with pytest.raises(ValueError, match="not a percentage"):
            share(text)

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("127.0.0.1:53", ("127.0.0.1", 53)),
            ("127.0.0.1", ("127.0.0.1", 5353)),
            ("localhost:0", ("127.0.0.1", 0)),
            ("[::1]:53", ("::1", 53)),
            ("::1", ("::1", 5353)),
        ],
    )
    def test_endpoint(self, text: str, expected: tuple[str, int]) -> None:
        """An address, with a port or without."""
        assert expected == endpoint(text)

    @pytest.mark.parametrize(
        "text", ["", "example:53", "127.0.0.1:x", "127.0.0.1:70000", "[::1", "[::1]53", "[127.0.0.1:5"]
    )
    def test_no_endpoint(self, text: str) -> None:
        """Anything else is an error."""
        with pytest.raises(ValueError, match="not an address"):
            endpoint(text)

    @pytest.mark.parametrize("bad", [{"latency": -1}, {"jitter": float("nan")}, {"loss": 1.5}, {"capacity": 0}])
    def test_nonsense(self, bad: dict[str, Any]) -> None:
        """Settings that make no sense are an error before anything is started."""
        with pytest.raises(ValueError, match=next(iter(bad))):
            Settings(**bad)

    def test_address(self) -> None:
        """An address has no TLS unless told."""
        assert None is Address("127.0.0.1:53").tls_nameserver


def environment() -> dict[str, str]:
    """For a child that imports what is tested here."""
    return {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}


def closed(address: tuple[str, int]) -> bool:
    """Whether nobody listens at the address within a second. A process ID would not tell: a zombie has one too."""
    for _ in range(100):
        try:
            socket.create_connection(address, timeout=0.1).close()
        except ConnectionRefusedError:
            return True
        except (TimeoutError, ConnectionResetError):  # a process that is being ended may still take connections
            continue
        time.sleep(0.01)
    return False

"""What a line means, where hosts come from, and that every host has its lookups, once, in order, in bounded memory."""

from __future__ import annotations

import contextlib
import errno
import io
import ipaddress
import os
import pty
import re
import resource
import subprocess
import sys
import threading
import time
import tracemalloc
from itertools import chain
from typing import TYPE_CHECKING, Any

import dns.name
import pytest
from command import wait_for
from hypothesis import given, settings
from hypothesis import strategies as st

from resolver.input import readahead, sources
from resolver.input.hosts import Hosts
from resolver.input.names import name_of, stretches
from resolver.input.textfile import text_file
from resolver.model import Query, Result, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from resolver.input.sources import Source

# The first example may import idna and dnspython; on a busy machine that outlasts Hypothesis's 200 milliseconds.
patient = settings(deadline=None)

VALID = [
    ("example.org", "example.org."),
    ("Example.ORG", "example.org."),
    ("example.org.", "example.org."),
    ("localhost", "localhost."),
    (".", "."),
    ("_dmarc._tcp.example", "_dmarc._tcp.example."),
    ("-a-.b-", "-a-.b-."),
    ("xn--bcher-kva.example", "xn--bcher-kva.example."),
    ("xn--\u00fc.example", "xn--xn---3ra.example."),
    ("0/25.2.0.192.in-addr.arpa", "0/25.2.0.192.in-addr.arpa."),
    ("*.example", "*.example."),
    (r"host\:53", "host:53."),
    ("host:name", "host:name."),
    ("x.0/25.2.0.192.in-addr.arpa", "x.0/25.2.0.192.in-addr.arpa."),
    (r"\064", r"\@."),
    (r"a\044b\064c\059.example", r"a,b\@c\;.example."),
    (r"a\,b\@c\;.example", r"a,b\@c\;.example."),
    ("$x(y)", r"\$x\(y\)."),
    ("a#b.example", "a#b.example."),
    (r"a\.b.example", r"a\.b.example."),
    (r"a\032b.example", r"a\032b.example."),
    (r"\065\066.example", "ab.example."),
    (r"\255.example", r"\255.example."),
    (r"\\.example", r"\\.example."),
    ("a" * 63 + ".example", "a" * 63 + ".example."),
    (".".join(["a" * 63] * 3 + ["b" * 61]), ".".join(["a" * 63] * 3 + ["b" * 61]) + "."),
    (".".join(["a" * 63] * 3 + ["b" * 61, ""]), ".".join(["a" * 63] * 3 + ["b" * 61]) + "."),
    ("1.2.3", "1.2.3."),
    ("192.0.2.7.", "192.0.2.7."),
    ("192.0.2.256", "192.0.2.256."),
    ("192.0.2.07", "192.0.2.07."),
    ("192.0.2.1%eth0", "192.0.2.1%eth0."),
    ("1.2.3.4.5", "1.2.3.4.5."),
    ("host1", "host1."),
    ("2001:db8::g", "2001:db8::g."),
    ("B\u00fccher.example", "xn--bcher-kva.example."),
    ("BU\u0308CHER.example", "xn--bcher-kva.example."),
    ("stra\u00dfe.example", "xn--strae-oqa.example."),
    ("fa\u00df.de", "xn--fa-hia.de."),
    ("\u03b2\u03cc\u03bb\u03bf\u03c2.com", "xn--nxasmm1c.com."),
    ("\u0646\u0627\u0645\u0647\u200c\u0627\u06cc.com", "xn--mgba3gch31f060k.com."),
    ("\u4f8b\u3048\u3002\u30c6\u30b9\u30c8", "xn--r8jz45g.xn--zckzah."),
    ("a\uff0eb\uff61c", "a.b.c."),
    ("\u3002", "."),
    ("\uff21\uff22\uff23.example", "abc.example."),
    ("\U0001f4a9.example", "xn--ls8h.example."),
    ("\U0001f468\u200d\U0001f469\u200d\U0001f466.example", "xn--1uga50807afag.example."),
    ("i\u2764\ufe0f.example", "xn--i-7iq.example."),
    ("fa\u00df_x.example", "xn--fa_x-wna.example."),
    (r"b\252\.\065.b\.\200.\u00fc" + "\u00fc", r"b\252\.a.b\.\200.xn--u00fc-ova."),
    (r"a\.B\032" + "\u00fc.example", r"xn--a\.b\032-3ra.example."),
    ("a\u00adb.example", "ab.example."),
]

# What can only be meant as something else than a name, and the host that is meant.
FORMS = [
    ("https://example.org/path?x=1,2;3@4#five", "example.org"),
    ("HTTP://Example.ORG", "example.org"),
    ("//example.org/x", "example.org"),
    ("ftp://user:pa,ss;wo@rd@example.org:2121/", "example.org"),
    ("https://example.org?query", "example.org"),
    ("https://example.org:/", "example.org"),
    ("https://b\u00fccher.example/", "b\u00fccher.example"),
    ("https://b%C3%BCcher.example/", "b\u00fccher.example"),
    ("http://192.0.2.7/", "192.0.2.7"),
    ("http://[2001:db8::1]:8080/x", "2001:db8::1"),
    ("http://[fe80::1%25eth0]/", "fe80::1%eth0"),
    ("https://example.org/" + "x" * 5000, "example.org"),
    ("example.org:443", "example.org"),
    ("example.org:443/path", "example.org"),
    ("192.0.2.7:53", "192.0.2.7"),
    ("[2001:db8::1]:53", "2001:db8::1"),
    ("[2001:db8::1]", "2001:db8::1"),
    ("[2001:db8::1]/x", "2001:db8::1"),
    ("example.org/path", "example.org"),
    ("example.org/", "example.org"),
    ("example.org/a,b;c@d", "example.org"),
    ("192.0.2.7/index.html", "192.0.2.7"),
    ("host1/24", "host1"),
]

ADDRESSES = [
    ("192.0.2.7", "7.2.0.192.in-addr.arpa."),
    ("0.0.0.0", "0.0.0.0.in-addr.arpa."),
    ("255.255.255.255", "255.255.255.255.in-addr.arpa."),
    ("\uff11\uff19\uff12.0.2.7", "7.2.0.192.in-addr.arpa."),
    ("::ffff:192.0.2.7", "7.2.0.192.in-addr.arpa."),
    ("::FFFF:C000:0207", "7.2.0.192.in-addr.arpa."),
    ("2001:db8::1", "1.0.0.0." + "0." * 20 + "8.b.d.0.1.0.0.2.ip6.arpa."),
    ("2001:DB8:0:0:0:0:0:1", "1.0.0.0." + "0." * 20 + "8.b.d.0.1.0.0.2.ip6.arpa."),
    ("::", "0." * 32 + "ip6.arpa."),
    ("fe80::1%eth0", "1." + "0." * 28 + "8.e.f.ip6.arpa."),
    ("::ffff:192.0.2.7%1", "7.2.0.192.in-addr.arpa."),
]

INVALID = [
    ("", "empty"),
    ("a" * 64 + ".example", "longer than 63"),
    ("a." + "b" * 64, "longer than 63"),
    ("\u00fc" * 60 + ".example", "longer than 63"),
    (".".join(["a" * 63] * 3 + ["b" * 62]), "longer than 255"),
    (".".join(["a" * 63] * 3 + ["b" * 62, ""]), "longer than 255"),
    ("a." * 128, "longer than 255"),
    ("a" * 1_000_000, "longer than 255"),
    ("a..b", "label is empty"),
    (".a", "label is empty"),
    ("..", "label is empty"),
    ("a..", "label is empty"),
    ("a\u3002\u3002b", "label is empty"),
    ("\u00ad", "label is empty"),
    ("\u200b.example", "label is empty"),
    ("two words", "two words"),
    ("two\twords", "two words"),
    ("two\rwords", "two words"),
    ("two\u00a0words", "two words"),
    ("two\u3000words", "two words"),
    ("a\x00b", r"U\+0000"),
    ("\x00", r"U\+0000"),
    ("a\x1bb", r"U\+001B"),
    ("a\x7f", r"U\+007F"),
    ("a\u0080b", r"U\+0080"),
    ("a\ufffdb", "not UTF-8"),
    ("\ud7ff.example", r"UTS 46 allows no U\+D7FF"),
    ("\u2028x", "two words|UTS 46"),
    ("a\u00b4.example", "maps a character of the name to a space"),
    ("a\\", "backslash"),
    (r"a\1.example", "backslash"),
    (r"a\12x.example", "backslash"),
    (r"a\256.example", "backslash"),
    ("1,example.org", "--column"),
    ("a;b", "--column"),
    ("1,https://example.org/", "--column"),
    ("1,example.org/x", "--column"),
    ("a\uff0cb.example", "--column"),
    ("a@b.example", r"\\064"),
    ("mailto:a@b.example", r"\\064"),
    ("@", r"\\064"),
    ("https://a,b.example/", "comma"),
    ("example.org:65536", "no port"),
    ("http://", "no host"),
    ("http://user@/x", "no host"),
    ("http://%FF/", "not UTF-8"),
    ("http://%00/", r"U\+0000"),
    ("/etc/hosts", "path"),
    ("[example.org]:53", "no IPv6"),
    ("[192.0.2.7]:53", "no IPv6"),
    ("[2001:db8::1", "bracket"),
    ("a\ufeffb", "byte order mark"),
    ("\u00fc\\200.example", "above"),
    ("\u00fc\\1.example", "backslash"),
]


@pytest.mark.parametrize(("text", "name"), VALID)
def test_a_text_has_its_name(text: str, name: str) -> None:
    """A host's text becomes the absolute name with A-labels, in lower case, as dnspython prints it."""
    assert (name, None) == name_of(text)


@pytest.mark.parametrize(("text", "host"), FORMS)
def test_a_form_is_its_host(text: str, host: str) -> None:
    """Of a URL, HOST:PORT, [V6]:PORT and HOST/path the host is asked."""
    assert name_of(host) == name_of(text)


@pytest.mark.parametrize(("text", "name"), ADDRESSES)
def test_an_address_is_asked_by_its_reverse_name(text: str, name: str) -> None:
    """An address has one question, PTR of its reverse name; a mapped one is IPv4, a scope is dropped."""
    assert (name, "PTR") == name_of(text)


@pytest.mark.parametrize(("text", "sentence"), INVALID)
def test_what_cannot_be_asked_has_a_sentence(text: str, sentence: str) -> None:
    """What DNS cannot be asked raises ValueError with one sentence that says why."""
    with pytest.raises(ValueError, match=sentence) as raised:
        name_of(text)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(("text", "name"), VALID)
def test_a_name_is_its_own_name(text: str, name: str) -> None:
    """Asking for the name that was made gives the same name, if it is no address by then."""
    assert name == dns.name.from_text(name).to_text()
    if not name.startswith("192.0.2.") and not set(name) & set(",:"):
        assert (name, None) == name_of(name)


@patient
@given(st.text(st.sampled_from("aB1-_.\\0329*"), min_size=1, max_size=40))
def test_ascii_names_are_as_dnspython_makes_them(text: str) -> None:
    """For every ASCII text that is no address the name, or its refusal, is dnspython's."""
    try:
        expected = dns.name.from_text(text).canonicalize().to_text()
    except dns.exception.DNSException:
        expected = "refused"
    try:
        actual, only = name_of(text)
    except ValueError:
        actual, only = "refused", None
    if only is None:
        assert expected == actual


@patient
@given(st.text(min_size=1))
def test_any_text_has_a_name_or_a_sentence(text: str) -> None:
    """Any text at all gives a name that fits into DNS, or ValueError."""
    try:
        name, _ = name_of(text)
    except ValueError:
        return
    assert len(dns.name.from_text(name).to_wire() or b"") <= 255
    assert name == dns.name.from_text(name).canonicalize().to_text()


PIECES = [
    "a",
    "B",
    "-",
    "_",
    ".",
    "#",
    " ",
    ":",
    "\u00fc",
    "0",
    "1",
    "25",
    "255",
    "256",
    "192.0.2",
    "x" * 64,
    "a." * 127,
]


@patient
@given(st.lists(st.lists(st.sampled_from(PIECES), max_size=5).map("".join)))
def test_stretches_name_as_name_of_does(texts: list[str]) -> None:
    """Every line comes once, in order, and a line in a stretch has the name that name_of gives."""
    parts = list(stretches("".join(text + "\n" for text in texts), ("A",)))
    assert texts == list(chain.from_iterable([part] if isinstance(part, str) else part.texts for part in parts))
    for part in parts:
        if not isinstance(part, str):
            only = None if part.types == ("A",) else part.types[0]
            assert [name_of(text) for text in part.texts] == [(name, only) for name in part.names]


@pytest.mark.parametrize(("text", "name"), ADDRESSES[:3])
def test_addresses_are_stretches_too(text: str, name: str) -> None:
    """IPv4 addresses that follow one another are reversed together."""
    found = list(stretches(f"{text}\n{text}\n", ("A",)))
    assert [([text, text], [name, name], ("PTR",))] == [(each.texts, each.names, each.types) for each in found]  # type: ignore[union-attr]  # or the test fails


LISTS: list[tuple[bytes, list[str]]] = [
    (b"", []),
    (b"a.example\nb.example\n", ["a.example", "b.example"]),
    (b"a.example\nb.example", ["a.example", "b.example"]),
    (b"a.example\r\nb.example\r\n", ["a.example", "b.example"]),
    (b"\xef\xbb\xbfa.example\n", ["a.example"]),
    (b"\xef\xbb\xbf\r\n#x\r\n", []),
    (b"\xef\xbb\xbf", []),
    (b"a\r\n\xef\xbb\xbfb\r\n\xef\xbb\xbf\r\n\xef\xbb\xbf# c\r\n", ["a", "b"]),
    (b"a\xef\xbb\xbf\nb\xef\xbb\xbfc\n", ["a", "b\ufeffc"]),
    ("\ufeffa.example\r\nb\u00fc # c\r\n\ufeffd".encode("utf-16-le"), ["a.example", "b\u00fc", "d"]),
    ("\ufeffa.example\nb\u00fc\n".encode("utf-16-be"), ["a.example", "b\u00fc"]),
    ("\ufeffa\n".encode("utf-16-le") + b"b", ["a", "\ufffd"]),
    (b"\xff\xfe", []),
    (b"\xff", ["\ufffd"]),
    (b"192.0.2.6/31 # two\n2001:db8::1/127\n", ["192.0.2.6", "192.0.2.7", "2001:db8::", "2001:db8::1"]),
    (b"192.0.2.6/33\nhttp://a/#x #y\na:1\n", ["192.0.2.6/33", "http://a/#x", "a:1"]),
    (b"\n \n\t\n\r\n\r\r\n", []),
    (b"# one\n  # two\n#three\n#\n", []),
    (b"a # b\nc\t#d\ne#f\ng #\n", ["a", "c", "e#f", "g"]),
    (b"  a  \n\tb\t\n", ["a", "b"]),
    (b"\xe3\x80\x80a\xc2\xa0\n", ["a"]),
    (b"a b # c\n", ["a b"]),
    (b"caf\xe9\nb\n", ["caf\ufffd", "b"]),
    (b"b # caf\xe9\n", ["b"]),
    (b"a\x00b\n\x00\n", ["a\x00b", "\x00"]),
    (b"a\rb\n", ["a\rb"]),
    (b"same\nsame\nsame\n", ["same"] * 3),
    ("B\u00fccher.example # B\u00fccher\n".encode(), ["B\u00fccher.example"]),
]


@pytest.mark.parametrize(("octets", "inputs"), LISTS)
@pytest.mark.parametrize("block", [1, 2, 3, 5, 16384])
def test_the_lines_of_a_list(
    octets: bytes, inputs: list[str], block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A list has a lookup for each line that is neither blank nor a comment, wherever the blocks read are divided."""
    monkeypatch.setattr(sources, "BLOCK", block)
    assert inputs == [lookup.input for lookup in lookups(listed(tmp_path, octets))]


@pytest.mark.parametrize("types", [["A"], ["A", "AAAA"], ["MX", "A", "TXT"]])
@pytest.mark.parametrize("n", [1, 2, 3, 7, 1000])
def test_each_host_is_one_lookup_for_each_type(types: list[str], n: int, tmp_path: Path) -> None:
    """Types follow one another within a host, an address has PTR alone, and no take gives more than n."""
    hosts = Hosts([listed(tmp_path, b"a\n192.0.2.7\n..\nb\nb\n::1\nc\n")], types, "gevent", "wire")
    expected = [
        (text, type_)
        for text in ["a", "192.0.2.7", "..", "b", "b", "::1", "c"]
        for type_ in (["PTR"] if text in ("192.0.2.7", "::1") else types)
    ]
    assert expected == [(lookup.input, lookup.type) for lookup in drained(hosts, n)]
    assert (7, len(expected)) == (hosts.hosts_read, hosts.lookups)


NETWORKS = [
    ("192.0.2.77/30", ["192.0.2.76", "192.0.2.77", "192.0.2.78", "192.0.2.79"]),
    ("192.0.2.7/32", ["192.0.2.7"]),
    ("192.0.2.6/255.255.255.254", ["192.0.2.6", "192.0.2.7"]),
    ("192.0.1.254/22", [f"192.0.{third}.{last}" for third in range(4) for last in range(256)]),
    ("2001:db8::fffe/126", [f"2001:db8::fff{last}" for last in "cdef"]),
    ("::ffff:192.0.2.6/127", ["::ffff:192.0.2.6", "::ffff:192.0.2.7"]),
]


@pytest.mark.parametrize(("text", "addresses"), NETWORKS)
@pytest.mark.parametrize("n", [1, 3, 1000])
def test_a_network_is_its_addresses(text: str, addresses: list[str], n: int) -> None:
    """A network is one PTR lookup for each of its addresses, in order, each with that address as input."""
    hosts = Hosts([sources.elements(["a", text, "b"])], ["A"], "gevent", "wire")
    found = drained(hosts, n)
    expected = [(each, *name_of(each)) for each in addresses]
    assert [("a", "a.", "A"), *expected, ("b", "b.", "A")] == [(each.input, each.name, each.type) for each in found]
    assert (len(found), len(found)) == (hosts.hosts_read, hosts.lookups)
    assert (len(found), len(found)) == hosts.position()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("192.0.2.0/33", "looks like a network"),
        ("192.0.2/24", "looks like a network"),
        ("10/8", "looks like a network"),
        ("192.0.2.256/24", "looks like a network"),
        ("192.0.2.0/255.0.255.0", "looks like a network"),
        ("2001:db8::/129", "looks like a network"),
        ("10.0.0.0/7", "2\\^24 addresses: valid are /8"),
        ("2001:db8::/103", "2\\^24 addresses: valid are /104"),
    ],
)
def test_what_looks_like_a_network(text: str, sentence: str) -> None:
    """What looks like a network and is none, or is too large, is INVALID and says what is valid."""
    (found,) = lookups(sources.elements([text]))
    assert isinstance(found, Result)
    assert (text, Status.INVALID) == (found.input, found.status)
    assert re.search(sentence, str(found.error))


def test_the_largest_network_takes_little_memory(tmp_path: Path) -> None:
    """A /8 is made as it is used, and the position knows the whole of it from its first address on."""
    hosts = Hosts([listed(tmp_path, b"a\n10.0.0.0/8\nb\n")], ["A"], "gevent", "wire")
    tracemalloc.start()
    try:
        for _ in range(100):
            hosts.take(1000)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2_000_000
    part, whole = hosts.position() or (0, 1)
    assert 100_000 / (2**24 + 2) == pytest.approx(part / whole, rel=0.01)


def test_a_query_and_an_invalid_result_in_full(tmp_path: Path) -> None:
    """A Query has its name and its input as written; an INVALID result says why, and that nothing was asked."""
    hosts = Hosts([listed(tmp_path, b" Www.Example # x\na..b\n")], ["A"], "twisted", "dnspython")
    error = "a label is empty"
    invalid = Result(1, "a..b", None, "A", Status.INVALID, [], None, None, 0, None, "twisted", "dnspython", error)
    assert ([Query(0, "Www.Example", "www.example.", "A")], [invalid]) == hosts.take(10)
    assert hosts.take(10) is None


@patient
@given(st.binary(max_size=300), st.integers(1, 40), st.integers(1, 9), st.integers(1, 3))
def test_any_octets_give_each_line_its_lookups(octets: bytes, block: int, n: int, types: int) -> None:
    """Whatever a file holds, its lines have their lookups in order, each index once, and nothing is raised."""
    check_against_oracle(octets, block, n, ["A", "AAAA", "MX"][:types])


@patient
@given(
    st.lists(
        st.sampled_from(
            [
                *(
                    b"a",
                    b"B1",
                    b".",
                    b"\n",
                    b"\n",
                    b"\r\n",
                    b" ",
                    b"#",
                    b"\t",
                    b"\xc3\xbc",
                    b"\xff",
                    b"\xe3\x80",
                    b"\x00",
                ),
                *(b"\\", b"192.0.2.7", b"::1", b"\xef\xbb\xbf", b"www.example.org\n", b"x" * 64),
            ]
        )
    ).map(b"".join),
    st.integers(1, 40),
    st.integers(1, 9),
)
def test_any_mix_of_lines_gives_each_its_lookups(octets: bytes, block: int, n: int) -> None:
    """The same for octets that look more like lists."""
    check_against_oracle(octets, block, n, ["A", "AAAA"])


def test_sources_follow_one_another(tmp_path: Path) -> None:
    """Several sources are one input: in order, with one numbering, each with its own BOM and last line."""
    first = sources.path(write(tmp_path / "1", b"\xef\xbb\xbfa"))
    last = sources.path(write(tmp_path / "2", b"\xef\xbb\xbfc\n"))
    found = lookups(first, sources.elements(["b # no comment", "#d"]), sources.elements([]), last)
    assert ["a", "b # no comment", "#d", "c"] == [lookup.input for lookup in found]


def test_elements_are_hosts(tmp_path: Path) -> None:
    """Each element is one host with a result: blank ones are INVALID, # is no comment, addresses may be objects."""
    hosts: list[object] = [
        "a.example",
        " b\n",
        "",
        " ",
        "#c",
        "d\ne",
        "\udcff",
        ipaddress.ip_address("192.0.2.7"),
        ipaddress.ip_address("::1"),
        Status.NOERROR,
    ]
    found = lookups(sources.elements(hosts))
    expected = ["a.example", "b", "", "", "#c", "d\ne", "\ufffd", "192.0.2.7", "::1", "NOERROR"]
    assert expected == [lookup.input for lookup in found]
    assert [2, 3, 5, 6] == [lookup.index for lookup in found if isinstance(lookup, Result)]
    assert {str} == {type(lookup.input) for lookup in found}


@pytest.mark.parametrize("collection", [["a", 7], ("a", b"b"), {"a": 1, None: 2}, [ipaddress.ip_interface("::1/8")]])
def test_a_wrong_element_of_a_collection_is_told_at_once(collection: Iterable[object]) -> None:
    """A collection with an element that is no host is refused before the first lookup."""
    with pytest.raises(TypeError, match=r"a host is a str or .*, not (int|bytes|NoneType|IPv6Interface)"):
        sources.elements(collection)


def test_a_wrong_element_of_an_iterator_is_told_when_met() -> None:
    """An iterator's element that is no host is refused when it is taken."""
    hosts = Hosts([sources.elements(iter(["a", 7]))], ["A"], "gevent", "wire")
    assert ["a"] == wait_for(lambda: taken(hosts, 1), "the first element")
    with pytest.raises(TypeError, match="not int"):
        drained(hosts)


@pytest.mark.parametrize("text", ["a.example", b"a.example"])
def test_one_text_is_no_iterable_of_hosts(text: Any) -> None:
    """A text given for an iterable would be its characters; it is refused."""
    with pytest.raises(TypeError, match="not one"):
        sources.elements(text)


def test_an_iterator_is_read_a_little_ahead() -> None:
    """What is taken is what was asked for, and reading stops a bounded number of elements ahead of it."""
    read = 0

    def endless() -> Iterator[str]:
        nonlocal read
        while True:
            read += 1
            yield f"h{read}"

    hosts = Hosts([sources.elements(endless())], ["A", "AAAA"], "gevent", "wire")
    assert ["h1", "h1", "h2", "h2", "h3"] == wait_for(lambda: taken(hosts, 5), "elements")
    wait_for(lambda: read >= readahead.MOST, "the end of reading ahead")
    assert (3, 5, True) == (hosts.hosts_read, hosts.lookups, read <= readahead.MOST + 3)
    hosts.close()


def test_an_iterator_that_lets_others_run() -> None:
    """A take while the iterator waits gets nothing for now, and no host is lost."""
    going = threading.Event()

    def waiting() -> Iterator[str]:
        yield "a"
        assert going.wait(30)
        yield from ["b", "c"]

    hosts = Hosts([sources.elements(waiting())], ["A"], "gevent", "wire")
    assert ["a"] == wait_for(lambda: taken(hosts, 5), "the first element")
    assert ([], []) == hosts.take(5)
    assert hosts.silent
    going.set()
    assert ["b", "c"] == [lookup.input for lookup in drained(hosts)]


@pytest.mark.parametrize(
    ("open_file", "error"),
    [
        (lambda path: sources.path(path / "absent"), FileNotFoundError),
        (lambda path: sources.path(path), IsADirectoryError),
        (lambda path: sources.descriptor(os.open(path, os.O_RDONLY)), IsADirectoryError),
        (lambda path: sources.descriptor(987654), OSError),
    ],
)
def test_what_cannot_be_read_is_told_before_the_first_lookup(
    open_file: Callable[[Path], Source], error: type[OSError], tmp_path: Path
) -> None:
    """A list that is absent, a directory or not open raises OSError where it is opened."""
    with pytest.raises(error):
        open_file(tmp_path)


def test_a_file_without_permission_is_told(tmp_path: Path) -> None:
    """The error of a directory names it, for the command's sentence."""
    with pytest.raises(IsADirectoryError, match=str(tmp_path)):
        sources.path(tmp_path)


def test_standard_input_is_read_from_where_it_stands(tmp_path: Path) -> None:
    """A descriptor of a file that was read in part gives the rest, counts only that, and stays open."""
    with open(write(tmp_path / "list", b"header\na\nb\n"), "rb", buffering=0) as file:
        file.read(7)
        hosts = Hosts([sources.descriptor(file.fileno())], ["A"], "gevent", "wire")
        assert (0, 4) == hosts.position()
        assert ["a", "b"] == [lookup.input for lookup in drained(hosts)]
        assert (4, 4) == hosts.position()
        hosts.close()
        assert not file.closed
        os.fstat(file.fileno())


def test_a_path_is_closed(tmp_path: Path) -> None:
    """close() closes the descriptor of a path, and may be called again."""
    before = os.listdir("/dev/fd")
    hosts = Hosts([listed(tmp_path, b"a\nb\n")], ["A"], "gevent", "wire")
    hosts.take(1)
    hosts.close()
    hosts.close()
    assert len(before) == len(os.listdir("/dev/fd"))


class Pipe:
    """A pipe whose reading end is a source."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()

    def send(self, octets: bytes) -> None:
        os.write(self.writer, octets)

    def hang_up(self) -> None:
        os.close(self.writer)
        self.writer = -1


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    ends = Pipe()
    yield ends
    os.close(ends.reader)
    if ends.writer >= 0:
        ends.hang_up()


def test_a_silent_pipe_gives_nothing_at_once(pipe: Pipe) -> None:
    """A pipe gives whole lines as they come, nothing while its writer stalls, also within a line, and then its end."""
    hosts = Hosts([sources.descriptor(pipe.reader)], ["A"], "gevent", "wire")
    assert ([], []) == hosts.take(10)
    assert (True, pipe.reader) == (hosts.silent, hosts.waitable())
    pipe.send(b"a\nb\nc")
    assert ["a", "b"] == taken(hosts, 10)
    assert ([], []) == hosts.take(10)
    pipe.send("\u00fc".encode()[:1])
    assert ([], []) == hosts.take(10)
    pipe.send("\u00fc".encode()[1:] + b"\r")
    assert ([], []) == hosts.take(10)
    pipe.send(b"\nd")
    assert ["c\u00fc"] == taken(hosts, 10)
    pipe.hang_up()
    assert ["d"] == taken(hosts, 10)
    assert hosts.take(10) is None
    assert (4, True, None, None) == (hosts.hosts_read, hosts.complete, hosts.position(), hosts.waitable())


def test_whoever_reads_all_waits_for_a_silent_pipe(pipe: Pipe) -> None:
    """Reading to the end waits where a pipe has nothing yet, without asking it again and again."""
    batches = Hosts([sources.descriptor(pipe.reader)], ["A"], "gevent", "wire").batches()
    assert ([], []) == next(batches)
    late = threading.Timer(0.1, pipe.send, [b"a\n"])
    end = threading.Timer(0.2, pipe.hang_up)
    late.start()
    end.start()
    began = time.process_time()
    assert ["a"] == [query.input for queries, _ in batches for query in queries]
    assert time.process_time() - began < 0.1
    end.join()


def test_a_silent_pipe_in_a_patched_program() -> None:
    """Where gevent has patched select, a silent pipe gives nothing at once all the same."""
    code = (
        "import gevent.monkey; gevent.monkey.patch_all()\n"
        "import os; from resolver.input import hosts, sources\n"
        "reader, writer = os.pipe()\n"
        "lookups = hosts.Hosts([sources.descriptor(reader)], ['A'], '', '')\n"
        "print(lookups.take(9)); os.write(writer, b'a\\n'); print(len(lookups.take(9)[0]))\n"
        # gevent's os.close comes to pass in its loop.
        "os.close(writer); gevent.sleep(0.01); print(lookups.take(9))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
    assert "([], [])\n1\nNone\n" == done.stdout


def test_a_pipe_past_the_numbers_of_select(pipe: Pipe) -> None:
    """A descriptor above FD_SETSIZE is read too."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 1600), hard))
    fd = os.dup2(pipe.reader, 1500)
    hosts = Hosts([sources.descriptor(fd)], ["A"], "gevent", "wire")
    assert ([], []) == hosts.take(10)
    pipe.send(b"a\n")
    assert ["a"] == taken(hosts, 10)
    os.close(fd)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_fifo_waits_for_its_writer(tmp_path: Path) -> None:
    """Opening a FIFO does not hang; it is not at its end before a writer came and left."""
    os.mkfifo(tmp_path / "fifo")
    hosts = Hosts([sources.path(tmp_path / "fifo")], ["A"], "gevent", "wire")
    assert ([], []) == hosts.take(10)
    assert ([], []) == hosts.take(10)
    writer = os.open(tmp_path / "fifo", os.O_WRONLY)
    assert ([], []) == hosts.take(10)
    os.write(writer, b"a\nb")
    assert ["a"] == taken(hosts, 10)
    os.close(writer)
    assert ["b"] == taken(hosts, 10)
    assert hosts.take(10) is None
    hosts.close()


def test_a_terminal_ends_with_ctrl_d() -> None:
    """A terminal gives lines as they are entered, and Ctrl-D on an empty line is its end."""
    master, slave = pty.openpty()
    hosts = Hosts([sources.descriptor(slave)], ["A"], "gevent", "wire")
    assert ([], []) == hosts.take(10)
    os.write(master, b"a\nb")
    assert ["a"] == taken(hosts, 10)
    assert ([], []) == hosts.take(10)
    os.write(master, b"\n")
    assert ["b"] == taken(hosts, 10)
    os.write(master, b"\x04")
    assert hosts.take(10) is None
    os.close(master)
    os.close(slave)


def test_a_terminal_that_is_gone_is_at_its_end() -> None:
    """A terminal that hangs up ends the list."""
    master, slave = pty.openpty()
    hosts = Hosts([sources.descriptor(slave)], ["A"], "gevent", "wire")
    os.close(master)
    assert hosts.take(10) is None
    os.close(slave)


def test_a_long_pipe_is_read_whole(pipe: Pipe) -> None:
    """A hundred thousand lines through a pipe come once each, in order."""
    expected = [f"h{number}.example" for number in range(100_000)]
    octets = "".join(f"{text}\n" for text in expected).encode()

    def write_all() -> None:
        with open(pipe.writer, "wb") as file:
            file.write(octets)

    writer = threading.Thread(target=write_all)
    writer.start()
    hosts = Hosts([sources.descriptor(pipe.reader)], ["A"], "gevent", "wire")
    found = drained(hosts, 128)
    writer.join()
    pipe.writer = -1
    assert expected == [lookup.input for lookup in found]
    assert list(range(100_000)) == [lookup.index for lookup in found]


def test_an_open_text_file_is_a_list_from_where_it_stands(tmp_path: Path) -> None:
    """An open file is read by the rules of lists after what its owner read of it, by lines or by characters."""
    path = write(tmp_path / "list", b"header\n# x\na\ncaf\xe9\nb # c\n")
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        assert "header\n" == file.readline()
        found = lookups(text_file(file))
    assert ["a", "caf\ufffd", "b"] == [lookup.input for lookup in found]
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        assert "header\n" == next(file)
        found = lookups(text_file(file))
    assert ["a", "caf\ufffd", "b"] == [lookup.input for lookup in found]


def test_bad_octets_of_an_open_text_file_spoil_one_line(tmp_path: Path) -> None:
    """Decoding errors of a strict text file are one INVALID line, not an exception."""
    with open(write(tmp_path / "list", b"a\ncaf\xe9\nb\n"), encoding="utf-8") as file:
        found = lookups(text_file(file))
    assert ["a", "caf\ufffd", "b"] == [lookup.input for lookup in found]


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16", "utf-8-sig"])
def test_an_open_text_file_in_its_encoding(encoding: str, tmp_path: Path) -> None:
    """An open file is decoded as its owner opened it."""
    text = "\n".join(["a", "b\u00fccher", *(f"h{number}" for number in range(9000))])
    with open(write(tmp_path / "list", text.encode(encoding)), encoding=encoding) as file:
        found = lookups(text_file(file))
    assert text.split("\n") == [lookup.input for lookup in found]


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_an_open_file_in_utf_16_from_its_second_line(encoding: str, tmp_path: Path) -> None:
    """The mark at the beginning of a file tells the order of the octets in the rest too."""
    path = write(tmp_path / "list", "\ufeffheader\nb\u00fccher\na\n".encode(encoding))
    with open(path, encoding="utf-16") as file:
        assert "header\n" == file.readline()
        found = lookups(text_file(file))
    assert ["b\u00fccher", "a"] == [lookup.input for lookup in found]


@pytest.mark.parametrize(
    ("encoding", "errors", "begun"),
    [
        ("utf-8", "strict", False),
        ("ascii", "strict", False),
        ("shift_jis", "strict", False),
        ("utf-8", "ignore", True),
        ("cp1252", "ignore", True),
    ],
)
def test_an_open_text_file_keeps_its_settings(encoding: str, errors: str, *, begun: bool, tmp_path: Path) -> None:
    """Bad octets are one bad line, in the middle of a file too, and the file decodes as its owner said afterwards."""
    path = write(tmp_path / "list", b"header\na\ncaf\x81\xff\nb\n")
    with open(path, encoding=encoding, errors=errors) as file:
        if begun:
            file.readline()
        found = [lookup.input for lookup in lookups(text_file(file))]
        settings = (file.encoding, file.errors, file.closed)
    assert (encoding, errors, False) == settings
    assert ["a", found[-2], "b"] == found[-3:]
    assert found[-2].startswith("caf")


@pytest.mark.parametrize("error", [errno.EIO, errno.ESTALE])
def test_a_list_that_cannot_be_read_is_named(error: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A list that fails in its middle is an OSError with its name, whatever opened it."""

    def failing(*_: object) -> bytes:
        raise OSError(error, os.strerror(error))

    path = write(tmp_path / "list", b"a\nb\n")
    opened = sources.path(path), sources.descriptor(os.open(path, os.O_RDONLY), owned=True)
    monkeypatch.setattr(os, "read", failing)
    names = []
    for source in opened:
        with pytest.raises(OSError, match=os.strerror(error)) as raised:
            source.read(("A",), 10)
        names.append(raised.value.filename)
        source.close()
    assert [str(path), "standard input"] == names


def test_a_text_in_memory_is_a_list() -> None:
    """A StringIO is a list, from where it stands."""
    file = io.StringIO("x\na # b\r\n\nc\ud800")
    file.readline()
    assert ["a", "c\ufffd"] == [lookup.input for lookup in lookups(text_file(file))]


def test_an_open_text_file_on_a_pipe_does_not_wait(pipe: Pipe) -> None:
    """A text file on a silent pipe gives nothing at once, like the pipe itself."""
    with open(pipe.reader, encoding="utf-8", closefd=False) as file:
        hosts = Hosts([text_file(file)], ["A"], "gevent", "wire")
        assert ([], []) == hosts.take(10)
        pipe.send(b"a\n")
        assert ["a"] == taken(hosts, 10)
        pipe.hang_up()
        assert hosts.take(10) is None


def test_an_open_text_file_on_a_pipe_keeps_what_was_read_ahead(pipe: Pipe) -> None:
    """Lines that the text layer read ahead while its owner read the first are not lost."""
    pipe.send(b"header\na\nb\nc")
    pipe.hang_up()
    with open(pipe.reader, encoding="utf-8", closefd=False) as file:
        assert "header\n" == file.readline()
        assert ["a", "b", "c"] == [lookup.input for lookup in lookups(text_file(file))]


def test_a_text_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    """A text file open for writing only, or closed, is refused before the first lookup."""
    with open(tmp_path / "out", "w", encoding="utf-8") as file, pytest.raises(ValueError, match="not open for reading"):
        text_file(file)
    with open(tmp_path / "out", encoding="utf-8") as file:
        pass
    with pytest.raises(ValueError, match="closed"):
        text_file(file)


def test_stop_reads_files_on_and_pipes_no_more(pipe: Pipe, tmp_path: Path) -> None:
    """After stop, whole lines that were read are given out, no pipe or iterator is read, files and collections are."""
    pipe.send(b"a\nb\nc\nd")
    hosts = Hosts(
        [
            sources.descriptor(pipe.reader),
            sources.elements(iter(["never"])),
            sources.elements(["e"]),
            listed(tmp_path, b"f\ng\n"),
            text_file(io.StringIO("h")),
        ],
        ["A"],
        "gevent",
        "wire",
    )
    assert ["a"] == taken(hosts, 1)
    pipe.send(b"\n")
    assert hosts.complete
    hosts.stop()
    assert ["b", "c", "e", "f", "g", "h"] == [lookup.input for lookup in drained(hosts)]
    assert (False, 7, 7) == (hosts.complete, hosts.hosts_read, hosts.lookups)


def test_stop_after_the_end_leaves_nothing_unread(pipe: Pipe, tmp_path: Path) -> None:
    """The input is complete where its pipes were at their end, and where there are only files."""
    pipe.send(b"a\n")
    pipe.hang_up()
    hosts = Hosts([sources.descriptor(pipe.reader), listed(tmp_path, b"b\n")], ["A"], "gevent", "wire")
    assert ["a", "b"] == taken(hosts, 2)
    hosts.stop()
    assert hosts.take(10) is None
    assert hosts.complete


def test_stop_before_the_first_take(pipe: Pipe) -> None:
    """A pipe that was never read is at its end after stop, and the input is not complete."""
    hosts = Hosts([sources.descriptor(pipe.reader)], ["A"], "gevent", "wire")
    hosts.stop()
    assert hosts.take(10) is None
    assert (False, 0) == (hosts.complete, hosts.lookups)


def test_the_position_follows_what_was_given_out(tmp_path: Path) -> None:
    """The share of octets grows with the lookups, not with the blocks read, and ends at the whole."""
    hosts = Hosts([listed(tmp_path, b"host\n" * 100)], ["A"], "gevent", "wire")
    positions = [hosts.position()]
    while hosts.take(25):
        positions.append(hosts.position())
    assert [(0, 500), (125, 500), (250, 500), (375, 500), (500, 500)] == positions


def test_the_position_in_a_collection() -> None:
    """Of a collection the position counts hosts; of an iterator it is unknown."""
    hosts = Hosts([sources.elements(["a", "b", "c"])], ["A"], "gevent", "wire")
    hosts.take(2)
    assert (2, 3) == hosts.position()
    assert Hosts([sources.elements(iter(["a"]))], ["A"], "gevent", "wire").position() is None


LONGEST = 1024 * 1024


@pytest.mark.parametrize(
    ("line", "text", "sentence"),
    [
        (b"a" * 1_000_000, "a" * 1_000_000, "255 octets"),
        (b"a" * LONGEST, "a" * LONGEST, "255 octets"),
        (b"a" * (LONGEST + 1), "a" * LONGEST, "1 MiB"),
        (b"a" * 3 * LONGEST, "a" * LONGEST, "1 MiB"),
        (b"a" * (LONGEST - 1) + "\u00fc".encode(), "a" * (LONGEST - 1), "1 MiB"),
        (b"\x00" * 2 * LONGEST, "\x00" * LONGEST, "1 MiB"),
        (b"a b" + b" " * 2 * LONGEST, "a b", "1 MiB"),
        (b"a b # " + b"c" * 2 * LONGEST, "a b", "two words"),
        (b" " * 2 * LONGEST + b"a b", "a b", "two words"),
    ],
)
def test_a_huge_line_is_one_invalid_line(line: bytes, text: str, sentence: str, tmp_path: Path) -> None:
    """A line keeps its first 1 MiB, is INVALID, and the lines around it are as they were."""
    before, huge, after = lookups(listed(tmp_path, b"before\n" + line + b"\nafter\n"))
    assert isinstance(huge, Result)
    assert (text, Status.INVALID) == (huge.input, huge.status)
    assert sentence in str(huge.error)
    assert ("before", "after") == (before.input, after.input)


@pytest.mark.parametrize("line", [b"#" * 3 * LONGEST, b" " * 3 * LONGEST, b" " * 2 * LONGEST + b"#", b" " * LONGEST])
def test_a_huge_comment_is_a_comment(line: bytes, tmp_path: Path) -> None:
    """However long comments and blank lines are, they are no lookups; nor is a host before one spoiled."""
    found = lookups(listed(tmp_path, line + b"\na " + b"#" * 3 * LONGEST + b"\n" + line))
    assert [Query(0, "a", "a.", "A")] == found


def test_a_file_without_lines_takes_bounded_memory(tmp_path: Path) -> None:
    """Octets without a line's end are let go past the first 1 MiB, and no take reads for long."""
    path = tmp_path / "zeros"
    path.touch()
    os.truncate(path, 100 * LONGEST)
    hosts = Hosts([sources.path(path)], ["A"], "gevent", "wire")
    tracemalloc.start()
    takes = 0
    try:
        while hosts.take(1000) == ([], []):
            takes += 1
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert 800 == takes
    assert 1 == hosts.lookups
    assert peak < 12 * LONGEST


def test_a_take_of_comments_is_bounded(tmp_path: Path) -> None:
    """A take gives up for now after a few blocks without a host; the caller is to call again, not to wait."""
    hosts = Hosts([listed(tmp_path, b"# comment\n" * 100_000 + b"a\n")], ["A"], "gevent", "wire")
    assert ([], []) == hosts.take(10)
    assert (False, None) == (hosts.silent, hosts.waitable())
    assert ["a"] == [lookup.input for lookup in drained(hosts)]


def test_nothing_rare_is_imported_for_ordinary_names() -> None:
    """idna, dnspython and ipaddress are imported by the first host that needs them."""
    code = (
        # What the interpreter's own start has imported (an editable installation does) is not ours.
        "import sys; before = set(sys.modules); import resolver.input.hosts, resolver.input.sources as s;"
        "resolver.input.hosts.Hosts([s.elements(['a.example', '192.0.2.7', '::1'])], ['A'], '', '').take(9);"
        "print(sorted({'idna', 'dns', 'ipaddress'} & set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "[]\n" == done.stdout


def write(path: Path, octets: bytes) -> Path:
    path.write_bytes(octets)
    return path


def listed(directory: Path, octets: bytes) -> Source:
    return sources.path(write(directory / "list", octets))


def lookups(*given: Source, types: Sequence[str] = ("A",)) -> list[Query | Result]:
    hosts = Hosts(given, types, "gevent", "wire")
    found = drained(hosts)
    hosts.close()
    return found


def drained(hosts: Hosts, n: int = 100) -> list[Query | Result]:
    """Every lookup to the input's end, in the order of their indices."""
    found: list[Query | Result] = []
    first = hosts.lookups
    end = time.monotonic() + 20
    while (some := hosts.take(n)) is not None:
        assert len(some[0]) + len(some[1]) <= n
        found += in_order(some)
        assert time.monotonic() < end
    assert list(range(first, hosts.lookups)) == [lookup.index for lookup in found]
    return found


def in_order(some: tuple[list[Query], list[Result]]) -> list[Query | Result]:
    lookups: list[Query | Result] = [*some[0], *some[1]]
    return sorted(lookups, key=lambda lookup: lookup.index)


def taken(hosts: Hosts, n: int) -> list[str]:
    """The inputs of one take, which is not the end."""
    some = hosts.take(n)
    assert some is not None
    return [lookup.input for lookup in in_order(some)]


def check_against_oracle(octets: bytes, block: int, n: int, types: list[str]) -> None:
    reader, writer = os.pipe()
    os.write(writer, octets)
    os.close(writer)
    with pytest.MonkeyPatch.context() as patch, contextlib.closing(open(reader, "rb")):
        patch.setattr(sources, "BLOCK", block)
        hosts = Hosts([sources.descriptor(reader)], types, "gevent", "wire")
        found = drained(hosts, n)
    inputs = oracle(octets)
    assert len(inputs) == hosts.hosts_read
    expected: list[tuple[str, str | None, str, str | None]] = []
    for text in inputs:
        try:
            name, only = name_of(text)
        except ValueError as error:
            expected += [(text, None, type_, str(error)) for type_ in types]
        else:
            expected += [(text, name, type_, None) for type_ in ([only] if only else types)]
    assert expected == [(each.input, each.name, each.type, getattr(each, "error", None)) for each in found]


def oracle(octets: bytes) -> list[str]:
    """The hosts of a list, told character by character."""
    inputs = []
    if octets[:2] in (b"\xff\xfe", b"\xfe\xff"):
        octets = octets.decode("utf-16", errors="replace").encode("utf-8", errors="replace")
    for line in octets.replace(b"\r\n", b"\n").split(b"\n"):
        text, before = "", " "
        for character in line.decode("utf-8", errors="replace").strip("\ufeff"):
            if character == "#" and before.isspace():
                break
            text += character
            before = character
        if not text.isspace() and text:
            inputs.append(text.strip())
    return inputs

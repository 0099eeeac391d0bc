"""Who is asked: what the system's resolv.conf says, and which text for a nameserver is refused when it is given."""

import errno
import os
from pathlib import Path

import pytest

from resolver import Policy, nameserver, resolve
from resolver.nameserver import Nameserver

GOOD = b"nameserver 192.0.2.1\n"
NOT_CONSULTED = [
    b"search a..b\n",
    b"domain ..\n",
    b"search " + b"a" * 70 + b".example\n",
    b"options ndots:x timeout:\n",
    b"# caf\xe9\n",
    b"; caf\xe9\n",
    b"nameserver localhost\n",
    b"nameserver 127.0.0.1#5353\n",
    b"nameserver [::1]\n",
    b"nameserver\n",
    b"nameserver \n",
    b"nameservers 192.0.2.9\n",
    b" nameserver 192.0.2.9\n",
    b"\0\xff\n",
]


@pytest.fixture
def resolv_conf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file in place of the system's."""
    path = tmp_path / "resolv.conf"
    monkeypatch.setattr(nameserver, "RESOLV_CONF", str(path))
    return path


@pytest.mark.parametrize("line", NOT_CONSULTED)
def test_what_is_not_consulted_is_passed_over(resolv_conf: Path, line: bytes) -> None:
    """A line that names no nameserver, or cannot be read, is no obstacle to those before it and after it."""
    resolv_conf.write_bytes(line + GOOD + line + b"nameserver 2001:db8::1")
    assert ["192.0.2.1:53", "[2001:db8::1]:53"] == [str(each) for each in nameserver.system()]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"nameserver\t192.0.2.1 # caf\xe9", "192.0.2.1:53"),
        (b"nameserver  192.0.2.1\r\n", "192.0.2.1:53"),
        (b"nameserver 127.1\n", "127.0.0.1:53"),
        (b"nameserver fe80::1%eth0\n", "[fe80::1%eth0]:53"),
        (GOOD * 2, "192.0.2.1:53"),
    ],
)
def test_what_the_c_library_reads(resolv_conf: Path, line: bytes, expected: str) -> None:
    """Addresses in its forms, followed by whatever comes after white space, each once."""
    resolv_conf.write_bytes(line)
    assert [expected] == [str(each) for each in nameserver.system()]


@pytest.mark.parametrize("content", [b"", b"nameserver localhost\nnameserver 127.0.0.1#5353\n", None])
@pytest.mark.parametrize("backend", ["wire", "dnspython", "aiodns", "twisted"])
def test_none_left(resolv_conf: Path, content: bytes | None, backend: str) -> None:
    """Where no nameserver is left, or there is no file, an error before the run names it and the cure."""
    if content is not None:
        resolv_conf.write_bytes(content)
    engine = {"aiodns": "asyncio", "twisted": "twisted"}.get(backend, "threads")
    with pytest.raises(LookupError, match=f"{resolv_conf} .*-n"):
        resolve(["www.example"], engine=engine, backend=backend)


@pytest.mark.parametrize("name", [".example", "a..b", ".", "a b", "a" * 64, ".".join(["a" * 60] * 5), "-.\u00fc..x"])
def test_a_name_that_no_certificate_is_for(name: str) -> None:
    """It is refused when it is given, not met as a failure of every lookup."""
    with pytest.raises(ValueError, match="no certificate is for"):
        Policy(nameservers=(f"tls://192.0.2.1#{name}",))


@pytest.mark.parametrize(
    "name", ["dns.example", "dns.example.", "b\u00fccher.example", "192.0.2.1", "2001:db8::1", "_a-b"]
)
def test_a_name_that_a_certificate_may_be_for(name: str) -> None:
    """Host names, U-labels too, and addresses are kept; a trailing dot is left out, as in certificates."""
    assert name.removesuffix(".") == Nameserver.parse(f"tls://192.0.2.1#{name}").name


@pytest.mark.parametrize("zone", ["nothere0", "999999", "9" * 30, "\u0661"])
def test_an_interface_that_is_not_there(zone: str) -> None:
    """Named or numbered, it is "no such device"."""
    with pytest.raises(OSError, match=os.strerror(errno.ENODEV)) as raised:
        Nameserver("udp", f"fe80::1%{zone}", 53).address()
    assert errno.ENODEV == raised.value.errno


@pytest.mark.parametrize(
    "text",
    [
        "192.0.2.1",
        "tcp://[2001:db8::1%lo]:5353",
        "tls://192.0.2.1#dns.example",
        "https://dns.example/dns-query",
        "https://dns.example/dns-query{?dns}",
    ],
)
def test_check_knows_what_parse_made(text: str) -> None:
    """Whatever `parse` returns passes."""
    Nameserver.parse(text).check()


@pytest.mark.parametrize(
    "made",
    [
        Nameserver("udp", "localhost", 53),
        Nameserver("udp", "192.0.2.1", 0),
        Nameserver("udp", "192.0.2.1", 70_000),
        Nameserver("sctp", "192.0.2.1", 53),
        Nameserver("udp", "192.0.2.1", 53, "dns.example"),
        Nameserver("tls", "192.0.2.1", 853, ".example"),
        Nameserver("tls", "192.0.2.1", 853, ""),
        Nameserver("udp", "2001:DB8::1", 53),
        Nameserver("https", "dns.example", 443),
        Nameserver("https", "dns.example", 443, None, "https://dns.example/", ("192.0.2.1", "other.example")),
        Nameserver("https", "dns.example", 443, None, "https://other.example/"),
        Nameserver("udp", "192.0.2.1", 53, None, "file:///etc/passwd"),
    ],
)
def test_check_refuses_what_parse_would_not_make(made: Nameserver) -> None:
    """Whatever `parse` could not have returned is a ValueError."""
    with pytest.raises(ValueError, match=r"nameserver|written"):
        made.check()

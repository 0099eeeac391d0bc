"""`--follow`: the addresses of the targets that records lead to, on a real authoritative server and on the lab."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from authoritative import knot, nsd
from command import inside as command

from resolver import Run, Status, resolve
from resolver.engines import pairs
from resolver.lab import Lab
from resolver.stages.follow import MOST

ZONE = """\
@ SOA ns hostmaster 1 3600 600 86400 300
@ NS ns
ns A 192.0.2.1
ns AAAA 2001:db8::1
mail CNAME ns
v6 AAAA 2001:db8::6
nothing TXT "no address"
@ MX 10 mail
@ MX 20 gone
@ MX 30 nothing
@ MX 40 mx.elsewhere.
@ MX 50 v6
null MX 0 .
_sip._tcp SRV 1 2 3 NS
_sip._udp SRV 0 0 0 .
www A 192.0.2.9
www HTTPS 1 . alpn=h2
alias HTTPS 0 www
no HTTPS 0 .
_svc SVCB 2 www port=53
""" + "".join(f"many MX 1 m{number}\nm{number} A 192.0.2.{number}\n" for number in range(MOST + 9))  # fmt: skip
WIRE = [each.engine for each in pairs() if each.backend == "wire" and each.installed]


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with knot(tmp_path_factory.mktemp("follow"), {"example": ZONE}) as address:
        yield address


def followed(run: Run) -> list[list[tuple[str, str, list[str]]] | None]:
    return [
        each.follow and [(target.name, str(target.status), target.addresses) for target in each.follow]  # type: ignore[misc]  # set: the run has --follow
        for each in run
    ]


NS = ("ns.example.", "NOERROR", ["192.0.2.1", "2001:db8::1"])


@pytest.mark.parametrize("engine", WIRE)
def test_on_every_engine(engine: str, server: str, elsewhere: dict[str, Any]) -> None:
    """Targets with A and AAAA in turn, chains followed, and why some have none; further lookups are no results."""
    run = resolve(
        ["example", "null.example", "www.example"], types=["MX", "NS", "A"], nameservers=server, follow=True,
        engine=engine, **elsewhere,
    )  # fmt: skip
    mx = [
        ("mail.example.", *NS[1:]),
        ("gone.example.", "NXDOMAIN", []),
        ("nothing.example.", "NODATA", []),
        ("mx.elsewhere.", "REFUSED", []),
        ("v6.example.", "NOERROR", ["2001:db8::6"]),
    ]
    found = followed(run)
    assert sorted(mx) == sorted(found[0] or [])
    assert [[NS], None, [], None, None, None, None, None] == found[1:]
    assert (9, 9) == (run.summary.lookups, run.summary.results_written)
    # Of each of six targets A and AAAA, the refused ones three times.
    assert 9 + 2 * 5 + 2 * 3 == run.summary.queries_sent


@pytest.mark.parametrize(
    ("name", "type_", "expected"),
    [
        ("_sip._tcp.example", "SRV", [("ns.example.", *NS[1:])]),
        ("_sip._udp.example", "SRV", []),
        ("www.example", "HTTPS", [("www.example.", "NOERROR", ["192.0.2.9"])]),
        ("alias.example", "HTTPS", [("www.example.", "NOERROR", ["192.0.2.9"])]),
        ("no.example", "HTTPS", []),
        ("_svc.example", "SVCB", [("www.example.", "NOERROR", ["192.0.2.9"])]),
    ],
)
def test_where_records_lead(name: str, type_: str, expected: list[object], server: str) -> None:
    """SRV has its target last; "." is the owner in the service mode of SVCB and HTTPS, and nobody elsewhere."""
    assert [expected] == followed(resolve([name], types=[type_], nameservers=server, follow=True))


def test_so_many_of_a_result(server: str) -> None:
    """The first 20 targets of a result are looked up, and no more."""
    run = resolve(["many.example"], types=["MX"], nameservers=server, follow=True)
    assert run[0].follow
    assert (MOST, 1 + 2 * MOST) == (len(run[0].follow), run.summary.queries_sent)


def test_each_target_once(server: str) -> None:
    """What many hosts share is looked up once, A and AAAA."""
    run = resolve(["example", "EXAMPLE"] * 50, types=["NS"], nameservers=server, follow=True)
    assert [[NS]] * 100 == followed(run)
    assert 100 + 2 == run.summary.queries_sent


@pytest.mark.parametrize(("timeout", "status"), [(0.3, "DEADLINE"), (None, "TIMEOUT")])
def test_without_an_answer(timeout: float | None, status: str, tmp_path: Path) -> None:
    """A target that nobody answers for says so; where the run ends before, that."""
    soa = "@ SOA ns h 1 3600 600 86400 300"
    (tmp_path / "zone").write_text(f"$ORIGIN example.\n$TTL 300\n{soa}\n@ MX 1 hang.elsewhere.\n")
    with Lab(zone=tmp_path / "zone") as lab:
        options = {"tries": 1, "query_timeout": 0.1 if timeout is None else 9.0, "timeout": timeout}
        run = resolve(["example"], types=["MX"], nameservers=lab.nameserver, follow=True, **options)  # type: ignore[arg-type]  # of several kinds
    assert [[("hang.elsewhere.", status, [])]] == followed(run)
    assert [Status.NOERROR] == [each.status for each in run]


def test_those_that_are_trusted_are_followed(server: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    """With `--trusted` the targets are those of the verdict, and who is trusted is asked for their addresses."""
    zone = "@ SOA ns h 1 3600 600 86400 300\n@ NS other\nother A 192.0.2.78\n"
    with nsd(tmp_path_factory.mktemp("trusted"), {"example": zone}) as trusted:
        run = resolve(["example", "no.example"], types=["NS"], nameservers=server, trusted=trusted, follow=True)
    assert [[("other.example.", "NOERROR", ["192.0.2.78"])], None] == followed(run)


def test_each_nameserver_is_asked_for_its_own(server: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    """With `--each-nameserver` a target has the addresses that the same nameserver has for it."""
    zone = "@ SOA ns h 1 3600 600 86400 300\n@ NS ns\nns A 192.0.2.77\n"
    with nsd(tmp_path_factory.mktemp("nsd"), {"example": zone}) as other:
        run = resolve(["example"], types=["NS"], nameservers=[server, other], each_nameserver=True, follow=True)
    assert [[NS], [("ns.example.", "NOERROR", ["192.0.2.77"])]] == followed(run)


def test_what_comes_out(server: str) -> None:
    """In JSON Lines behind `detail`, in CSV a column, in text behind the records."""
    words = ("_sip._tcp.example", "-t", "SRV", "-n", server, "--follow")
    said = json.loads(command(*words, "--detail", "--json").out)
    assert ["error", "detail", "follow"] == list(said)[-3:]
    assert [{"name": "ns.example.", "status": "NOERROR", "addresses": NS[2]}] == said["follow"]
    header, row = command(*words, "--wildcards", "-f", "csv").out.splitlines()
    assert header.endswith(",error,wildcard,follow")
    assert '2001:db8::1""]}]"' == row[-17:]
    assert "1 2 3 ns.example., ns.example. 192.0.2.1 2001:db8::1\n" == command(*words, "-f", "text").out.split("\t")[-1]

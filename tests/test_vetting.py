"""`resolve nameservers`: the verdict on each of a list, on labs of every kind."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import msgspec
import pytest
from answering import answering
from command import inside as command

from resolver.lab import Lab
from resolver.model import Detail, Query, Record, Result, Status
from resolver.vetting.survey import survey
from resolver.vetting.verdict import Verdict, judge

VERDICTS = ["good", "slow", "lame", "lies", "dead"]


def test_every_kind() -> None:
    """The labs of the command's own have each its verdict, a line each, and the reason in words."""
    done = command("nameservers", "--lab", "-f", "jsonl")
    found = [msgspec.json.decode(line, type=Verdict) for line in done.out.splitlines()]
    assert (0, VERDICTS) == (done.status, [each.verdict for each in found])
    good, slow, lame, lies, dead = found
    assert [True, True, True, False] == [each.reachable for each in (good, slow, lame, dead)]
    assert [True, None, False] == [each.honest for each in (good, lame, lies)]
    assert (True, True, True, True) == (good.recursive, good.tcp, good.edns, good.error is None)
    assert [True] * 4 == [bool(each.error) for each in (slow, lame, lies, dead)]


@pytest.mark.parametrize("format", ["text", "table", "csv", "nameservers"])
def test_formats(format: str, tmp_path: Path) -> None:
    """Every format has a line for each; `nameservers` has the good ones, fit for -n @FILE."""
    with Lab() as good, Lab(lies=True) as liar:
        names = tmp_path / "servers.txt"
        address = good.nameserver
        names.write_text(f"{address}\n{liar.nameserver}\n")
        done = command("nameservers", f"@{names}", "-f", format)
    if format == "nameservers":
        assert f"{address}\n" == done.out
    elif format == "csv":
        rows = list(csv.DictReader(io.StringIO(done.out)))
        assert [row["verdict"] for row in rows] == ["good", "lies"]
    else:
        assert [True, True] == [word in done.out for word in ("good", "lies")]
    assert (0, "") == (done.status, done.err)


def reply(data: str, status: Status = Status.NOERROR, flags: tuple[str, ...] = ("qr", "rd", "ra")) -> Result:
    """A result for bank.example, as a nameserver gave it."""
    records = [Record("bank.example.", "A", 300, data)] if data else []
    result = Query(0, "bank.example", "bank.example.", "A").result(
        status, engine="", backend="", answers=records, attempts=1, elapsed=0.01, error=None
    )
    result.detail = Detail("", 0, list(flags), [], [], None, None, [], 50)
    return result


TRUTH = {("bank.example.", "A"): reply("192.0.2.7")}


@pytest.mark.parametrize(
    ("known", "verdict", "error"),
    [
        (reply("192.0.2.7"), "good", None),
        (reply("192.0.2.66"), "lies", "it changes the A records of bank.example."),
        (reply("", Status.NXDOMAIN), "lies", "it says NXDOMAIN for bank.example. A, which is NOERROR"),
        (reply("", Status.SERVFAIL), "lame", "it does not answer for bank.example. A (SERVFAIL)"),
        (reply("", Status.REFUSED), "lame", "it refuses (REFUSED)"),
        (reply("192.0.2.7", flags=("qr", "aa")), "lame", "it does not recurse (no RA in its replies)"),
    ],
)
def test_beside_a_trusted_one(known: Result, verdict: str, error: str | None) -> None:
    """What a trusted nameserver says is the measure; an error in a test never counts as passed."""
    found = judge("192.0.2.53:53", [known], [], TRUTH)
    assert (verdict, error) == (found.verdict, found.error)


def test_zone_with_a_wildcard() -> None:
    """What most nameservers have below a zone is its wildcard's; what only some invent are lies."""

    def honest(name: str) -> tuple[object, ...]:
        return ("NXDOMAIN",) if name.endswith((".invalid.", ".plain.example.")) else ("NOERROR", ("A", "192.0.2.1"))

    def liar(name: str) -> tuple[object, ...]:
        return ("NXDOMAIN",) if name.endswith(".invalid.") else ("NOERROR", ("A", "192.0.2.1"))

    with answering(honest) as one, answering(honest) as two, answering(liar) as three:
        found = survey([one, two, three], zones=["wild.example", "plain.example"])
    assert ["good", "good", "lies"] == [each.verdict for each in found]


@pytest.mark.parametrize("edns", [True, False])
def test_edns(edns: bool) -> None:
    """A nameserver that takes no notice of EDNS has none, and is good all the same."""
    with answering(lambda name: ("NXDOMAIN",) if name.endswith("invalid.") else ("NOERROR",), edns=edns) as nameserver:
        (found,) = survey([nameserver], tries=1)
    assert ("good", edns, False) == (found.verdict, found.edns, found.tcp)


def test_nobody_is_named() -> None:
    """Without a nameserver there is nothing to find out: usage."""
    done = command("nameservers")
    assert (2, True) == (done.status, "no nameserver was given" in done.err)

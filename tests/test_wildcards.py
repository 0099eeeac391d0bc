"""`--wildcards`: which results a wildcard made, on a real authoritative server and on the lab."""

from __future__ import annotations

import csv
import io
import random
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from answering import Answer, answering
from authoritative import knot
from command import inside as command
from conftest import Ask

from resolver import Run, resolve
from resolver.model import Query, Record, Result, Status
from resolver.stages import FurtherLookups, wildcards
from resolver.stages.wildcards import Wildcards

SOA = """\
@ SOA ns hostmaster 1 3600 600 86400 300
@ NS ns
ns A 192.0.2.1
"""
ZONE = f"""{SOA}\
www A 192.0.2.2
plain.sub A 192.0.2.3
; a wildcard with a real name beside it, and one of the same data
*.shop A 192.0.2.10
real.shop A 192.0.2.11
; wildcards below wildcards, alike and unlike
*.deep A 192.0.2.20
*.alike.deep A 192.0.2.20
*.other.deep A 192.0.2.21
; only for some types
*.text TXT "made"
own.text TXT "own"
own.text A 192.0.2.31
; an empty non-terminal below a wildcard: no wildcard reaches past it
*.empty A 192.0.2.40
leaf.non-terminal.empty A 192.0.2.41
; a chain
*.alias CNAME www
own.alias CNAME ns
"""
LONG = ".".join(["l" * 60] * 4)[:-1]  # before `.example`, it leaves room for two octets


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    zone = f"{ZONE}*.{LONG} A 192.0.2.50\n"
    with knot(tmp_path_factory.mktemp("knot"), {"example": zone}) as address:
        yield address


def made(run: Run) -> dict[str, str | bool | None]:
    return {result.input: result.wildcard for result in run}  # type: ignore[misc]  # set: the run has --wildcards


@pytest.mark.parametrize(
    ("name", "owner"),
    [
        ("www.example", False),
        ("plain.sub.example", False),
        ("a.shop.example", "*.shop.example."),
        ("a.b.c.shop.example", "*.shop.example."),
        ("real.shop.example", False),
        ("a.deep.example", "*.deep.example."),
        ("a.alike.deep.example", "*.alike.deep.example."),
        ("a.b.alike.deep.example", "*.alike.deep.example."),
        ("a.other.deep.example", "*.other.deep.example."),
        ("own.text.example", False),
        ("a.empty.example", "*.empty.example."),
        ("leaf.non-terminal.empty.example", False),
        ("a.alias.example", "*.alias.example."),
        ("own.alias.example", False),
        ("missing.example", None),
        ("a.text.example", None),
        ("two words", None),
    ],
)
def test_zone(server: str, name: str, owner: str | bool | None) -> None:
    """Each result says which wildcard made it, or that none did; what has no answer is not tested."""
    assert {name: owner} == made(resolve([name], nameservers=[server], wildcards=True))


def test_on_every_engine_and_backend(ask: Ask, server: str) -> None:
    """The stage knows no engine, and needs nothing that a backend might not tell."""
    run = ask(["a.shop.example", "real.shop.example", "missing.example"], nameservers=server, wildcards=True)
    assert ["*.shop.example.", False, None] == [result.wildcard for result in run]


def test_types(server: str) -> None:
    """A wildcard for one type says nothing of another."""
    run = resolve(["own.text.example", "a.text.example"], types=["A", "TXT"], nameservers=[server], wildcards=True)
    assert [
        ("A", "NOERROR", False),
        ("TXT", "NOERROR", False),
        ("A", "NODATA", None),
        ("TXT", "NOERROR", "*.text.example."),
    ] == [(result.type, result.status, result.wildcard) for result in run]


def test_no_room_for_a_random_label(server: str) -> None:
    """The parent is so long that nothing longer than the name itself fits before it: no proof, and no claim."""
    run = resolve([f"a.{LONG}.example"], nameservers=[server], wildcards=True)
    assert [("NOERROR", None)] == [(result.status, result.wildcard) for result in run]


def test_many_words(server: str) -> None:
    """Each parent is probed once: a thousand words cost a few probes, and lookups are the input's alone."""
    run = resolve([f"w{number}.shop.example" for number in range(1000)], nameservers=[server], wildcards=True)
    assert {"*.shop.example."} == set(made(run).values())
    assert (1000, 1000) == (run.summary.lookups, run.summary.results_written)
    assert (int(run.summary.probes or 0) <= 10, True) == (
        True,
        run.summary.queries_sent >= 1000 + (run.summary.probes or 0),
    )


def test_half_of_a_zone_is_made(tmp_path: Path) -> None:
    """Of names that stand beside wildcards none is marked, of those that these make each is, at 1.3 queries a word."""
    parents, each = range(10), range(100)
    zone = SOA + "".join(f"*.p{parent} A 192.0.2.{parent}\n" for parent in parents)
    zone += "".join(f"h{number}.p{parent} A 198.51.100.{number}\n" for parent in parents for number in each)
    words = [f"{kind}{number}.p{parent}" for parent in parents for number in each for kind in "hm"]
    with knot(tmp_path, {"example": zone}) as nameserver:
        run = resolve(["example"], words=words, nameservers=nameserver, wildcards=True)
    expected = {f"{word}.example": word[0] == "m" and f"*.{word.partition('.')[2]}.example." for word in words}
    assert expected == made(run)
    assert sum(result.attempts or 0 for result in run) + int(run.summary.probes or 0) <= 1.3 * len(words)


def test_rows_are_kept(server: str, tmp_path: Path) -> None:
    """With --keep the row stands last, in JSON Lines behind what was found out, in CSV as the first columns."""
    assets = tmp_path / "assets.csv"
    assets.write_text("owner,host\nAnn,a.shop.example\nBob,real.shop.example\nCy,two words\n")
    words = (assets, "--column", "host", "--keep", "-n", server, "--trusted", server, "--wildcards", "-q")
    found = [
        (line["wildcard"], line["first"], line["row"]["owner"], list(line)[-3:])
        for line in command(*words, "--json").results
    ]
    keys = ["wildcard", "first", "row"]
    assert [("*.shop.example.", None, "Ann", keys), (False, None, "Bob", keys), (None, None, "Cy", keys)] == found
    rows = list(csv.DictReader(io.StringIO(command(*words, "-f", "csv", "--order", "input").out)))
    assert [("owner", "host", "index"), ("wildcard", "first")] == [tuple(rows[0])[:3], tuple(rows[0])[-2:]]
    assert ["*.shop.example.", "false", ""] == [row["wildcard"] for row in rows]


def test_without_the_option(server: str) -> None:
    """Nothing is tested, and the key is not there."""
    (result,) = resolve(["a.shop.example"], nameservers=[server])
    assert b"wildcard" not in msgspec.json.encode(result)


class Play:
    """The stage by itself, with a function in place of the nameserver."""

    def __init__(self, answer, seed: int = 1) -> None:  # type: ignore[no-untyped-def]
        self.further = FurtherLookups()
        self.passed: list[Result] = []
        self.stage = Wildcards(self.further, self.passed.extend, random.Random(seed))
        self._answer = answer
        self._index = 0

    def look_up(self, *names: str) -> list[str | bool | None]:
        results = []
        for name in names:
            results.append(self.result(self._index, f"{name}."))
            self._index += 1
        self.stage(results)
        while queries := self.further.take(100):
            assert [] == self.further.deliver([self.result(query.index, query.name) for query in queries])
        assert 0 == len(self.stage.held)
        return [result.wildcard for result in sorted(results, key=lambda each: each.index)]  # type: ignore[misc]

    def result(self, index: int, name: str) -> Result:
        status, *data = self._answer(name)
        records = [Record(name, kind, 300, text) for kind, text in data]
        return Query(index, name, name, "A").result(
            Status(status), engine="", backend="", answers=records, attempts=1, elapsed=0.0, error=None
        )


def pool(size: int, shown: int, chance: random.Random) -> Answer:
    """A wildcard whose replies show some addresses of a pool, with real names beside it."""
    addresses = [("A", f"192.0.2.{number}") for number in range(size)]

    def answer(name: str) -> tuple[object, ...]:
        if name.startswith("real"):
            return "NOERROR", ("A", f"198.51.100.{chance.randrange(200)}")
        return ("NOERROR", *chance.sample(addresses, shown)) if name.endswith(".w.example.") else ("NXDOMAIN",)

    return answer


def cdn(name: str) -> tuple[object, ...]:
    """A wildcard whose target holds the label that was asked."""
    label = name.removesuffix(".w.example.")
    if label == name:
        return ("NXDOMAIN",)
    if label.startswith("real"):
        return "NOERROR", ("CNAME", "elsewhere.example.net."), ("A", "192.0.2.9")
    return "NOERROR", ("CNAME", f"e-{label}-x.example.net."), ("A", "192.0.2.8")


def failing(status: str, share: float, chance: random.Random) -> Answer:
    """A wildcard behind a resolver that says this in place of a share of what there is below it."""

    def answer(name: str) -> tuple[object, ...]:
        if name.startswith("real"):
            return "NOERROR", ("A", "192.0.2.9")
        if not name.endswith(".w.example."):
            return ("NXDOMAIN",)
        named = name.startswith("made")
        return (status,) if not named and chance.random() < share else ("NOERROR", ("A", "192.0.2.8"))

    return answer


NAMES = [f"{kind}{number}.w.example" for number in range(30) for kind in ("real", "made")]
MARKED = [False, "*.w.example."] * 30


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(("size", "shown"), [(2, 1), (3, 1), (8, 2), (20, 4)])
def test_pool(seed: int, size: int, shown: int) -> None:
    """A wildcard whose replies show some addresses of a pool is told from real names beside it."""
    play = Play(pool(size, shown, random.Random(seed)), seed)
    assert MARKED == play.look_up(*NAMES)
    assert int(play.further.probes or 0) <= 80


@pytest.mark.parametrize(("size", "shown"), [(20, 1), (30, 1), (100, 4)])
def test_real_name_beside_a_pool(size: int, shown: int) -> None:
    """However long it takes to know a pool, a name with an address of its own is none of it."""
    for seed in range(20):
        chance = random.Random(seed)

        def answer(name: str, chance: random.Random = chance) -> tuple[object, ...]:
            if name.startswith("real"):
                return "NOERROR", ("A", "198.51.100.1")
            return "NOERROR", *(("A", f"10.0.0.{each}") for each in chance.sample(range(size), shown))

        assert [False] == Play(answer).look_up("real.w.example")


def test_every_name_has_its_own_address() -> None:
    """Where each random name has data of its own, what looks like it is taken to be made by the wildcard."""
    chance = random.Random(1)

    def answer(name: str) -> tuple[object, ...]:
        if name.startswith("real"):
            return "NOERROR", ("CNAME", "elsewhere.example.net."), ("A", "198.51.100.1")
        number = chance.randrange(1 << 24)
        return (
            ("NOERROR", ("A", f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"))
            if ".w." in name
            else ("NXDOMAIN",)
        )

    play = Play(answer)
    assert MARKED == play.look_up(*NAMES)
    assert int(play.further.probes or 0) <= 25


def test_cname_that_holds_the_label() -> None:
    """The target of each name differs by the label that was asked, and is still the wildcard's."""
    assert ["*.w.example.", "*.w.example.", False] == Play(cdn).look_up(
        "a.w.example", "b.c.w.example", "real.w.example"
    )


@pytest.mark.parametrize("seed", range(8))
def test_errors_made_by_a_resolver(seed: int) -> None:
    """Where some probes are answered by errors, the others decide; where all are, the result is not tested."""
    assert MARKED == Play(failing("SERVFAIL", 0.3, random.Random(seed)), seed).look_up(*NAMES)
    assert [None] == Play(failing("SERVFAIL", 1.0, random.Random(seed)), seed).look_up("made.w.example")


def test_no_such_name_made_by_a_resolver() -> None:
    """One reply that there is no such name, where there is a wildcard, does not speak for several names."""
    for first in range(2):
        turns = iter(["NXDOMAIN"] if first else ["NOERROR", "NXDOMAIN"])

        def answer(name: str, turns: Iterator[str] = turns) -> tuple[object, ...]:
            if not name.endswith(".w.example.") or (not name.startswith("made") and next(turns, "") == "NXDOMAIN"):
                return ("NXDOMAIN",)
            return "NOERROR", ("A", "192.0.2.8")

        assert ["*.w.example."] * 3 == Play(answer).look_up("made1.w.example", "made2.w.example", "made3.w.example")


@pytest.mark.parametrize(
    "answer",
    [
        pool(8, 2, random.Random(1)),
        cdn,
        failing("SERVFAIL", 0.3, random.Random(1)),
        failing("NXDOMAIN", 0.1, random.Random(1)),
    ],
    ids=["pool", "cname", "servfail", "nxdomain"],
)
def test_as_a_whole(answer: Answer) -> None:
    """The same in a run, by a nameserver."""
    with answering(answer) as nameserver:
        assert dict(zip(NAMES, MARKED, strict=True)) == made(resolve(NAMES, nameservers=nameserver, wildcards=True))


def test_every_name_exists() -> None:
    """A resolver that answers whatever it is asked stands above all zones: its lie is marked like a wildcard."""
    assert ["*.example."] == Play(lambda name: ("NOERROR", ("A", "192.0.2.66"))).look_up("no.such.example")


def test_end_of_the_run() -> None:
    """Results that still wait when the run ends are passed on, not tested."""
    play = Play(lambda name: ("NOERROR", ("A", "192.0.2.1")))
    play.stage([play.result(0, "a.b.example."), play.result(1, "c.b.example.")])
    assert (2, []) == (len(play.stage.held), play.passed)
    play.stage.finish()
    said = "the run ended before it was known whether a wildcard made it"
    assert [(0, None, said), (1, None, said)] == [(each.index, each.wildcard, each.error) for each in play.passed]
    for query in play.further.take(10):
        play.further.deliver([play.result(query.index, query.name)])
    assert 2 == len(play.passed)


def test_many_parents(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded by what is remembered, and a parent that was forgotten is probed again."""
    monkeypatch.setattr(wildcards, "REMEMBERED", 1000)
    play = Play(lambda name: ("NOERROR", ("A", "192.0.2.1")) if name.startswith("own.") else ("NXDOMAIN",))
    names = [f"own.p{number}.example" for number in range(1200)]
    for name in names:
        play.look_up(name)
    assert 1200 == play.further.probes
    assert [False, False] == play.look_up("own.p1199.example", "own.p0.example")
    assert 1202 == play.further.probes  # a second name of the first parent wants to be sure


def test_of_each_nameserver(server: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    """With each nameserver asked, each is probed for its own wildcards."""
    zone = "@ SOA ns h 1 3600 600 86400 300\n@ NS ns\nx.shop A 192.0.2.10\n"
    with knot(tmp_path_factory.mktemp("plain"), {"example": zone}) as plain:
        run = resolve(["x.shop.example"], nameservers=[server, plain], each_nameserver=True, wildcards=True)
    assert ["*.shop.example.", False] == [result.wildcard for result in run]

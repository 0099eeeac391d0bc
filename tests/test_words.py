"""Words before domains: which names are made, in which order, and what becomes of words that make none."""

from __future__ import annotations

import io
import json
import threading
from itertools import product
from typing import TYPE_CHECKING, Any

import pytest
from command import Done, end, inside, start, wait_for

from resolver import resolve, stream
from resolver.input import words as room
from resolver.input.columns import HostColumn
from resolver.input.given import source, word_list
from resolver.input.hosts import Hosts
from resolver.input.sources import elements
from resolver.input.textfile import text_file
from resolver.input.words import Words
from resolver.lab import Lab
from resolver.output.status import running

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

DOMAINS = ["example.com", "api-*.example.org", "https://x.example/path"]


@pytest.fixture(scope="module")
def at(lab: Lab) -> list[str]:
    """Options that ask a nameserver that answers for every name."""
    return ["-n", lab.nameserver, "-q"]


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    """A list of words with a comment and a blank line."""
    file = tmp_path / "words.txt"
    file.write_text("www # the web\n\n# later: mail\napi\r\na.b.  # two labels\n")
    return file


def made(words: Any, domains: Iterable[str], n: int = 7) -> list[tuple[str, str | None]]:
    """Input, and name or error, of each lookup in its order."""
    hosts = Hosts([Words(word_list(words), [source(domains)])], ["A"], "e", "b")
    found: list[tuple[int, str, str | None]] = []
    while (got := hosts.take(n)) is not None:
        found += [(each.index, each.input, each.name) for each in got[0]]
        found += [(each.index, each.input, each.error) for each in got[1]]
    return [(text, name) for _, text, name in sorted(found)]


def inputs(done: Done) -> list[str]:
    return [result["input"] for result in done.results]


# --- Which names.


def test_words_before_domains(listed: Path) -> None:
    """Every word stands before every domain, or in place of its *; the name that was made is what is asked."""
    expected = [
        text
        for word in ("www", "api", "a.b")
        for text in (f"{word}.example.com", f"api-{word}.example.org", f"{word}.x.example")
    ]
    assert [(text, f"{text}.") for text in expected] == made(listed, DOMAINS)


@pytest.mark.parametrize(
    ("word", "domain", "text", "name"),
    [
        ("WWW", "Example.COM.", "WWW.Example.COM.", "www.example.com."),
        ("bücher", "example", "bücher.example", "xn--bcher-kva.example."),
        ("www", "Bücher.example", "www.Bücher.example", "www.xn--bcher-kva.example."),
        ("www", "a.*.Bücher.example", "a.www.Bücher.example", "a.www.xn--bcher-kva.example."),
        ("chen", "bü*.example", "büchen.example", "xn--bchen-kva.example."),
        ("com", ".", "com.", "com."),
        ("*", "example", "*.example", "*.example."),
        ("a", r"\*.*.example", r"\*.a.example", "*.a.example."),
        ("1", "2.0.192.in-addr.arpa", "1.2.0.192.in-addr.arpa", "1.2.0.192.in-addr.arpa."),
        ("0/25", "2.0.192.in-addr.arpa", "0/25.2.0.192.in-addr.arpa", "0/25.2.0.192.in-addr.arpa."),
        ("x" * 63, "example", "x" * 63 + ".example", "x" * 63 + ".example."),
        (r"a\.", "example", r"a\..example", r"a\..example."),
        (r"a\\.", "example", r"a\\.example", r"a\\.example."),
    ],
)
def test_name_that_is_made(word: str, domain: str, text: str, name: str) -> None:
    """What is written stays the input, and the name follows the rules of lists."""
    assert [(text, name)] == made([word], [domain])


@pytest.mark.parametrize(
    ("word", "domain", "text", "error"),
    [
        ("two words", "example", "two words.example", "two words"),
        ("a,b", "example", "a,b.example", "comma"),
        ("x@y", "example", "x@y.example", "@"),
        ("admin/", "example", "admin/.example", "slash"),
        ("https://a", "example", "https://a.example", "slash"),
        ("a..b", "example", "a..b.example", "label is empty"),
        ("x" * 64, "example", "x" * 64 + ".example", "63 octets"),
        ("x" * 60, "api-*.example", f"api-{'x' * 60}.example", "63 octets"),
        ("abc", ".".join(["x" * 62] * 4), "abc." + ".".join(["x" * 62] * 4), "255 octets"),
        ("y" * 1200, "example", "y" * 1024 + ".example", "255 octets"),
        ("a\nb", "example", "a\rb.example", "two words"),
        ("a", "192.0.2.1", "a.192.0.2.1", "address"),
        ("a", "192.0.2.0/30", "a.192.0.2.0", "address"),
        ("a", "*.*.example", "a.*.*.example", "more than one"),
        ("a", "two words", "a.two words", "two words"),
        ("a", "x@y", "a.x@y", "@"),
        ("a", " ", "a.", "empty"),
        ("a", "x\ny", "a.x\ny", "two words"),
    ],
)
def test_name_that_cannot_be_asked(word: str, domain: str, text: str, error: str) -> None:
    """A bad word or domain is INVALID in each of its places, says why, and spoils no other."""
    found = made(["www", word, "mail"], ["a.example", domain, "c.example"])
    assert (9, text) == (len(found), found[4][0])
    assert error in str(found[4][1])
    good = [f"{word}.{domain}" for word in ("www", "mail") for domain in ("a.example", "c.example")]
    assert good == [text for text, name in found if name == f"{text}." and text in good]


def test_what_no_list_of_words_is() -> None:
    """Neither a number nor octets are words, nor is an asynchronous iterable; an element that is none is refused."""
    for words in (7, b"www", [1], {b"www": 1}):
        with pytest.raises(TypeError, match="word"):
            resolve(["example"], words=words, lab=True)  # type: ignore[arg-type]


def test_no_word_and_no_domain() -> None:
    """An empty list of either makes no name, and no error."""
    assert [[], [], []] == [made([], ["example"]), made(["www"], []), made(io.StringIO("# none\n"), ["example"])]


# --- In which order.


def test_many_domains_have_their_names_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of many domains so many words are taken at a time, however they are read: what is learned of a domain serves."""
    monkeypatch.setattr(room, "MANY", 2)
    monkeypatch.setattr(room, "TOGETHER", 4)
    words, domains = [f"w{number}" for number in range(10)], ["a", "b", "c"]
    expected = [
        f"{word}.{domain}" for part in (words[:4], words[4:8], words[8:]) for domain in domains for word in part
    ]
    assert [expected] * 3 == [
        [text for text, _ in made(given, domains)] for given in (words, iter(words), io.StringIO("\n".join(words)))
    ]


def test_words_of_a_pipe_are_asked_as_they_come(at: list[str]) -> None:
    """A pipe of words that goes on is no reason to wait: its first names have their results meanwhile."""
    with start(*at, "-w", "-", "a.example", "b.example") as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"www\n")
        first = [process.stdout.readline() for _ in range(2)]
        process.stdin.write(b"mail\n")
        done = end(process)
    assert (0, 2, 2) == (done.status, len(first), len(done.out.splitlines()))


def test_iterator_of_words_that_waits(at: list[str]) -> None:
    """An iterator of words that waits holds nothing up: what it gave is looked up meanwhile."""
    go_on = threading.Event()

    def words() -> Iterator[str]:
        yield "www"
        go_on.wait(10)
        yield "mail"

    results = stream(["a.example"], words=words(), nameservers=at[1])
    first = next(results).input
    go_on.set()
    assert ["www.a.example", "mail.a.example"] == [first, *(result.input for result in results)]


def test_domains_of_a_pipe(at: list[str], listed: Path) -> None:
    """Domains come from standard input where none is named, and are read to their end first."""
    done = inside(*at, "-w", listed, "--json", text="a.example\n# none\nb.example\n")
    assert [
        f"{word}.{domain}" for word, domain in product(["www", "api", "a.b"], ["a.example", "b.example"])
    ] == inputs(done)


def test_words_are_streamed() -> None:
    """Words are read as they are used: before the first names of an endless list come only a few are read."""
    read = 0

    def words() -> Iterator[str]:
        nonlocal read
        while True:
            read += 1
            yield f"w{read}"

    hosts = Hosts([Words(word_list(words()), [elements(["a", "b"])])], ["A"], "e", "b")
    taken = 0
    while taken < 20_000:
        taken += len((hosts.take(1000) or ([], []))[0])
    hosts.close()
    assert read < 20_000


@pytest.mark.parametrize("kind", ["path", "text file", "collection"])
def test_progress_knows_the_whole(kind: str, listed: Path) -> None:
    """How many names there will be is known exactly, comments and blank lines apart, once the words were counted."""
    with listed.open() as file:
        words = {"path": listed, "text file": file, "collection": listed.read_text().split("\n")}[kind]
        hosts = Hosts([Words(word_list(words), [elements(DOMAINS)])], ["A", "MX"], "e", "b")
        while not hosts.lookups:
            hosts.take(4)
        status = running(hosts, all_read=False, results=0, in_flight=4, statuses={}, seconds=0)
        assert ((2, 9), 18) == (hosts.position(), status.total)
        while hosts.take(4) is not None:
            pass
        assert (9, 9) == hosts.position()


def test_words_are_counted_while_names_are_asked(tmp_path: Path) -> None:
    """A long list is counted a part at a time, so that nothing waits for it."""
    file = tmp_path / "words.txt"
    file.write_text("".join(f"word-{number:030}\n# none\n" for number in range(20_000)))
    hosts = Hosts([Words(word_list(file), [elements(["a", "b"])])], ["A"], "e", "b")
    before = set()
    while (known := hosts.position()) is None:
        before.add(hosts.lookups)
        hosts.take(100)
    assert (True, 40_000) == (0 < max(before) < 5000, known[1])


def test_number_of_names_from_a_pipe() -> None:
    """Nobody knows how many words a pipe will bring."""
    hosts = Hosts([Words(word_list(iter(["www"])), [elements(["a"])])], ["A"], "e", "b")
    wait_for(lambda: (hosts.take(9) or [[]])[0], "a name")
    assert hosts.position() is None


# --- With other options.


def test_rows_of_domains_are_kept(at: list[str], listed: Path, tmp_path: Path) -> None:
    """With --column the domains are in a CSV, and with --keep each name has the row of its domain."""
    assets = tmp_path / "assets.csv"
    assets.write_text("owner,domain\nAnn,a.example\nBob,b.example\n")
    done = inside(*at, "-w", listed, "--column", "domain", "--keep", "--json", assets)
    assert [("www.a.example", "Ann"), ("www.b.example", "Bob"), ("api.a.example", "Ann")] == [
        (result["input"], result["row"]["owner"]) for result in done.results[:3]
    ]


def test_rows_where_one_word_is_bad() -> None:
    """Rows stay with their names where some of these are INVALID."""
    place = HostColumn.of("d", keep=True)
    words = Words(word_list(["www", "two words", "api"]), [text_file(io.StringIO("d\na\nb\n"), place)])
    hosts = Hosts([words], ["A", "MX"], "e", "b", keep=True)
    found: dict[int, str] = {}
    while (got := hosts.take(3)) is not None:
        found |= {each.index: each.input for part in got for each in part}
    rows = hosts.rows or {}
    assert [(f"{word}.{d}", d) for word in ("www", "two words", "api") for d in ("a", "a", "b", "b")] == [
        (text, rows[index]["d"])  # type: ignore[index, call-overload]
        for index, text in sorted(found.items())
    ]


def test_resume(at: list[str], listed: Path, tmp_path: Path) -> None:
    """A run over words goes on where it ended, also after words were added; other words or domains are refused."""
    results = tmp_path / "results.jsonl"
    words: tuple[str | Path, ...] = (*at, "-w", listed, "a.example", "b.example", "-o", results, "--resume")
    assert 0 == inside(*words).status
    held = results.read_text().splitlines(keepends=True)
    results.write_text("".join(held[:2]) + held[2][:20])
    with listed.open("a") as file:
        file.write("mail\n")
    assert 0 == inside(*words).status
    assert held[:2] == results.read_text().splitlines(keepends=True)[:2]
    assert list(range(8)) == sorted(json.loads(each)["index"] for each in results.read_text().splitlines())
    before = results.read_text()
    refused = inside(*at, "-w", listed, "c.example", "b.example", "-o", results, "--resume")
    assert (2, before) == (refused.status, results.read_text())


def test_prefix_and_types_and_order(at: list[str], listed: Path) -> None:
    """A prefix stands before the name that was made, each type is a lookup, and the order can be that of the names."""
    done = inside(
        *at, "-w", listed, "a.example", "--prefix", "_dmarc", "-t", "TXT", "-t", "A", "--order", "input", "--json"
    )
    found = [json.loads(each) for each in done.out.splitlines()]
    assert [("www.a.example", "_dmarc.www.a.example.", type_) for type_ in ("TXT", "A")] == [
        (result["input"], result["name"], result["type"]) for result in found[:2]
    ]
    assert list(range(6)) == [result["index"] for result in found]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["-w", "-"], "standard input is the list of words"),
        (["-w", "-", "a.example", "-"], "standard input is the list of words"),
        (["-w", "no-such-file", "a.example"], "no-such-file: No such file"),
        (["-w", "/", "a.example"], "/: Is a directory"),
    ],
)
def test_what_makes_no_sense(options: list[str], sentence: str) -> None:
    """Standard input is one list, and the list of words is a file that can be read."""
    done = inside(*options, "--lab", text="www\n")
    assert (2, "", True) == (done.status, done.out, sentence in done.err)


def test_results_in_place_of_the_words(listed: Path) -> None:
    """The list of words is never overwritten by the results."""
    before = listed.read_text()
    assert (2, before) == (inside("-w", listed, "a.example", "--lab", "-o", listed).status, listed.read_text())


def test_compare(at: list[str], listed: Path) -> None:
    """A comparison takes words too."""
    done = inside("compare", *at, "-w", listed, "a.example", "-e", "threads", "--repeat", "1", "--json")
    assert (0, 3) == (done.status, json.loads(done.out)["lookups"])


# --- When the run ends early.


def test_deadline(listed: Path) -> None:
    """Each name has its result when the run ends first: the words of a file are read to their end."""
    listed.write_text("hang\nslow-3000\n" + "w\n" * 3000)
    found = resolve(["a.example", "b.example"], words=listed, lab=True, timeout=0.3, concurrency=2)
    assert (6004, ["DEADLINE"] * 2, "DEADLINE") == (
        len(found),
        [result.status for result in found[:2]],
        found[-1].status,
    )


@pytest.mark.parametrize("many", [1, 10_000])
def test_pipe_of_words_and_a_deadline(many: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a pipe what was read by the end has its result, also the words that wait for more; then reading stops."""
    monkeypatch.setattr(room, "MANY", many)
    stop = threading.Event()

    def words() -> Iterator[str]:
        yield from ("www", "api")
        stop.wait(10)

    hosts = Hosts([Words(word_list(words()), [elements(["a", "b", "c"])])], ["A"], "e", "b")
    found: list[str] = []

    def some() -> bool:
        found.extend(query.input for query in (hosts.take(100) or ([], []))[0])
        return len(found) >= (6 if many > 3 else 0) and hosts.silent

    wait_for(some, "the pipe to be silent")
    hosts.stop()
    while (got := hosts.take(100)) is not None:
        found += [query.input for query in got[0]]
    stop.set()
    expected = [f"{word}.{domain}" for word in ("www", "api") for domain in ("a", "b", "c")]
    assert (sorted(expected), False) == (sorted(found), hosts.complete)

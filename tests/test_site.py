"""The site: built as strictly as can be, looked at in a real browser, and each example on its pages run."""

import functools
import html
import http.server
import re
import shutil
import signal
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from browser import MISSING, NARROW, PROGRAM, WIDE, Browser
from command import environment, line, start
from examples import FENCE, ROOT, blocks, lines, python, shell
from once import once

DOCS = ROOT / "docs"
PAGES = sorted(page.name for page in DOCS.glob("*.md"))
CELLS = "notebook.md"  # its Python is cells, which test_notebook.py runs


def text_of(page: str) -> str:
    """A page as it was written."""
    return (DOCS / page).read_text(encoding="utf-8")


class Example(NamedTuple):
    """A block of a page, and the output that it shows."""

    page: str
    language: str
    text: str
    output: str | None


def examples(page: str) -> Iterator[Example]:
    """The blocks that are run here: those without a mark, which names a test that knows more of them."""
    text = text_of(page)
    for match in FENCE.finditer(text):
        language, block = match.groups()
        marked = text[: match.start()].endswith("-->\n")
        if language in ("sh", "python") and not marked and (page, language) != (CELLS, "python"):
            output = re.match(r'\n\n```text title="output"\n(.*?)^```$', text[match.end() :], re.M | re.S)
            yield Example(page, language, block, output and output[1])


EXAMPLES = [each for page in PAGES for each in examples(page)]


def pages(entries: list[Any]) -> Iterator[str]:
    """The pages of a navigation, in its order."""
    for entry in entries:
        for where in entry.values():
            yield from [where] if isinstance(where, str) else pages(where)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built in a copy of what it is made of."""
    return once(tmp_path_factory, "site", build) / "site"


def build(directory: Path) -> None:
    """Build the site into a folder of this one."""
    for part in ("docs", "resolver"):
        shutil.copytree(ROOT / part, directory / part, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
    for part in ("zensical.toml", "CHANGELOG.md", "README.md"):
        shutil.copy(ROOT / part, directory)
    done = subprocess.run([sys.executable, "-m", "zensical", "build", "--strict"], cwd=directory, env=environment(),
                          capture_output=True, text=True, timeout=60, check=False)  # fmt: skip
    assert [0, True] == [done.returncode, "No issues found" in done.stderr], done.stdout + done.stderr


@pytest.fixture
def served(site: Path) -> Iterator[str]:
    """The address of the site, on loopback."""
    handler = functools.partial(_Quiet, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing of requests."""


def test_navigation() -> None:
    """Every page of docs/ stands in the navigation, once, and nothing else does."""
    site = tomllib.loads((ROOT / "zensical.toml").read_text(encoding="utf-8"))
    assert PAGES == sorted(pages(site["project"]["nav"]))


def test_made_of_the_commands(site: Path) -> None:
    """Options and exit statuses are those of the commands, and the library's names are there."""
    wanted = {
        "options": [
            "resolve run",
            "resolve worker",
            "<code>-n, --nameserver ADDR</code>",
            "<code>--redo STATUS</code>",
        ],
        "exit-statuses": ["<td>every lookup was answered</td>", "<td>143</td>", "resolve compare"],
        "library": ['id="resolver.resolve"', 'id="resolver.Policy"', "query_timeout", 'id="resolver.Run.rows"'],
    }
    for name, texts in wanted.items():
        shown = (site / f"{name}.html").read_text(encoding="utf-8")
        assert [name, []] == [name, [each for each in texts if each not in shown]]


@pytest.mark.skipif(PROGRAM is None, reason=MISSING)
def test_looked_at(site: Path, served: str) -> None:
    """No page has a console error, a broken picture, a request to elsewhere, or more width than its window.

    Each is seen wide and narrow, light and dark, by turns; and each link within the site leads to a page, a file or a
    heading that is there.
    """
    problems: dict[str, list[str]] = {}
    links: set[str] = set()
    anchors: dict[str, set[str]] = {}
    with Browser() as browser, browser.open() as page:
        for at, name in enumerate(sorted(each.name for each in site.glob("*.html"))):
            page.go(served + name)
            for width, dark in ((WIDE, at % 2 == 0), (NARROW, at % 2 == 1)):
                page.show(width=width, dark=dark)
                if told := page.problems():
                    problems[f"{name} {width} {'dark' if dark else 'light'}"] = told
            links |= set(page.evaluate("[...document.links].map(link => link.href)"))
            anchors[served + name] = set(page.evaluate("[...document.querySelectorAll('[id]')].map(each => each.id)"))
    assert {} == problems
    inside = {each.partition("#")[::2] for each in links if each.startswith(served)}
    assert [] == [each for each, _ in inside if not (site / each.removeprefix(served)).exists()]
    assert [] == [each for each in inside if each[1] and each[0] in anchors and each[1] not in anchors[each[0]]]
    assert [] == [each for each in links if not each.startswith((served, "https://"))]


def test_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    """The picture of a run shows what such a run shows now, but for ports, times and spaces."""
    monkeypatch.syspath_prepend(DOCS)
    import picture

    drawn, now = (_words(each) for each in (picture.FILE.read_text(encoding="utf-8"), picture.draw(picture.session())))
    assert [True, now] == ["NXDOMAIN" in now, drawn]


def _words(svg: str) -> str:
    """The text of a picture, with # for each figure that changes from run to run."""
    text = html.unescape("".join(re.findall(r"<text[^>]*>([^<]*)</text>", svg)))
    return re.sub(r"\d+\.\d\b|:\d+\b|\d+\.\d\d s: [\d,]+", "#", re.sub(r"\s+", " ", text))


def test_marked_examples() -> None:
    """Each block below a mark of its own has a test that names the mark, or says what it is a quote of."""
    marks = {
        each for page in PAGES for each in re.findall(r"<!-- ((?!end )[^>]+) -->\n```(?:sh|python)", text_of(page))
    }
    tests = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").glob("test_*.py"))
    assert [] == [each for each in marks if f'"{each}"' not in tests and not each.startswith("from resolver/")]


@pytest.mark.parametrize("page", sorted({each.page for each in EXAMPLES}))
def test_examples(page: str, at: str, checkout: Path) -> None:
    """The examples of a page, one after the other, end as they should, and write what the page says."""
    for example in (each for each in EXAMPLES if each.page == page):
        if example.language == "python":
            done = [python(example.text, checkout, at)]
        else:
            done = [_run(command, checkout, at) for command in lines(example.text)]
        for each in done:
            assert [True, ""] == [each.returncode in (0, 1), each.stderr], (example, each)
        if example.output is not None:
            written = [each.rstrip() for each in "".join(each.stdout for each in done).splitlines()]
            assert sorted(example.output.splitlines()) == sorted(written)


def _run(command: str, checkout: Path, at: str) -> subprocess.CompletedProcess[str]:
    """Run a command, and see that it writes something; a nameserver until it says where it listens."""
    if command.startswith("resolve lab "):
        with start(*re.sub(r":\d+", ":0", command).split()[1:], stdin=subprocess.DEVNULL) as process:
            assert re.match(r"127\.0\.0\.1:\d+ ", line(process.stdout))
            process.send_signal(signal.SIGINT)
            return subprocess.CompletedProcess(command, process.wait(10), "", "")
    done = shell(command, checkout, at)
    files = re.findall(r" (?:-o|--plot|>) ?([\w.]+)", command)
    # On the lab a wildcard may seem to make every name: the addresses of all come from one pool.
    assert files or done.stdout or re.search('install |--only differing|"wildcard":false', command), done
    assert [] == [each for each in files if each != "again.txt" and not (checkout / each).stat().st_size]
    return done


@pytest.mark.parametrize("tool", ["dig", "massdns"])
def test_other_tools(tool: str, at: str, checkout: Path) -> None:
    """The cookbook's command of another tool finds the same addresses as the one of ours below it."""
    if shutil.which(tool) is None:
        pytest.skip(f"there is no {tool}")
    (checkout / "hosts.txt").write_text("python.org\npypi.org\nnx.example\n")
    theirs, ours = re.findall(
        rf"^```text title=\"{tool}\"\n(.*?)^```\n+```sh[^\n]*\n(.*?)^```", text_of("cookbook.md"), re.M | re.S
    )[0]
    address, port = at.rsplit(":", 1)
    found = []
    for command in (theirs.replace("dig ", f"dig @{address} -p {port} "), ours):
        done = shell(command.strip(), checkout, at)
        assert 0 == done.returncode, done
        written = done.stdout + "".join(each.read_text() for each in checkout.glob("results.jsonl"))
        found.append(set(re.findall(r"\b(?:192\.0\.2|198\.51\.100|203\.0\.113)\.\d+\b", written)))
        (checkout / "results.jsonl").unlink(missing_ok=True)
    assert [2, found[0]] == [len(found[0]), found[1]]


def test_loop(at: str, checkout: Path) -> None:
    """The cookbook's loop in Python and the program beside it print the same."""
    loop, ours = (python(each, checkout, at).stdout for each in blocks("python", text_of("cookbook.md")))
    assert [2, loop] == [len(loop.splitlines()), ours]

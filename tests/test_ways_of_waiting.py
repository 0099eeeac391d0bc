"""The page *Ways of waiting*: what it quotes stands in the source, each model has its section, links lead somewhere.

A quote follows a mark, `<!-- from FILE: WHAT -->`. WHAT is a function or class by its qualified name, or the first and
the last line of a passage with ` .. ` between: the first occurs once in the file, the last is the next one like it.
Where the source has moved on, the failure shows what to paste into the page.
"""

import ast
import re
import textwrap
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("benchmarks/*.md")])
TEXT = (ROOT / "docs" / "ways-of-waiting.md").read_text(encoding="utf-8")
MODELS = [
    "Queue",
    "Processes",
    "Threads",
    "Green threads",
    "Twisted",
    "asyncio",
    "Redis queue",
    "Request-reply",
    "Fire-and-forget",
    "Backpressure",
]
SHORTEST, LONGEST = 5, 20  # lines of a quote
MARK = re.compile(r"^<!-- from (\S+): ([^\n]+) -->\n```python\n(.*?)^```$", re.M | re.S)


class Quote(NamedTuple):
    """A passage of a file of ours, as the page has it."""

    file: str
    what: str
    text: str


QUOTES = [Quote(*found) for found in MARK.findall(TEXT)]


def source(file: str, what: str) -> str:
    """What the mark names, as it stands in the source now, without the indentation that its lines share."""
    lines = (ROOT / file).read_text(encoding="utf-8").splitlines()
    first, dots, last = what.partition(" .. ")
    if dots:
        bare = [line.strip() for line in lines]
        assert 1 == bare.count(first), f"{file} must have this line once: {first}"
        begin = bare.index(first)
        assert last in bare[begin:], f"{file} has no such line after the first: {last}"
        end = bare.index(last, begin) + 1
    else:
        node = definition(ast.parse("\n".join(lines)), file, what)
        begin = min([node.lineno, *(each.lineno for each in node.decorator_list)]) - 1
        assert node.end_lineno is not None
        end = node.end_lineno
    return textwrap.dedent("\n".join(lines[begin:end]) + "\n")


def definition(tree: ast.Module, file: str, what: str) -> ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef:
    """The definition of this qualified name."""
    body = tree.body
    found: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | None = None
    for name in what.split("."):
        found = next(
            (
                each
                for each in body
                if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and each.name == name
            ),
            None,
        )
        assert found is not None, f"{file} defines no {what}"
        body = found.body
    assert found is not None
    return found


def section(title: str) -> str:
    """What stands under this heading, up to the next of its level."""
    _, heading, rest = TEXT.partition(f"\n## {title}\n")
    assert heading, f"the page has no section {title!r}"
    return re.split(r"^## ", rest, maxsplit=1, flags=re.M)[0]


@pytest.mark.parametrize("quote", QUOTES, ids=[f"{each.file}-{at}" for at, each in enumerate(QUOTES)])
def test_quote_is_the_source(quote: Quote) -> None:
    """What the page quotes stands so in the source, and is short enough to be read."""
    fresh = source(quote.file, quote.what)
    assert fresh == textwrap.dedent(quote.text), f"{quote.file} has moved on; the page should now quote:\n\n{fresh}"
    assert SHORTEST <= len(fresh.splitlines()) <= LONGEST, f"{quote.what}: not {SHORTEST} to {LONGEST} lines"


@pytest.mark.parametrize("model", MODELS)
def test_model_has_its_section(model: str) -> None:
    """Each model has a paragraph, a quote of our code, and a measured figure."""
    text = section(model)
    paragraph = text.strip().split("\n\n")[0]
    assert len(paragraph) > 200, f"{model} begins with a paragraph"
    assert paragraph[0].isalpha(), f"{model} begins with a paragraph"
    assert MARK.search(text), f"{model} quotes our code"
    assert re.search(r"^\*\*Measured:\*\*[^#]*\d", text, re.M), f"{model} has a figure"


def test_every_python_block_is_marked() -> None:
    """No Python on the page escapes the comparison."""
    assert len(re.findall(r"^```python$", TEXT, re.M)) == len(QUOTES)


def test_every_section_of_the_overview_is_there() -> None:
    """The overview lists each model, in the page's order."""
    listed = re.findall(r"^\| \[([^\]]+)\]\(#", TEXT, re.M)
    assert sorted(MODELS) == sorted(listed)
    assert [each for each in re.findall(r"^## (.+)$", TEXT, re.M) if each in listed] == listed


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_links_lead_to_files(page: Path) -> None:
    """No page links to a file, or a heading of its own, that is not there."""
    text = page.read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)\s]+)\)", re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S))
    targets = [each for each in links if not re.match(r"[a-z]+:", each)]
    missing = [each for each in targets if not (page.parent / each.partition("#")[0]).exists()]
    assert [] == missing
    anchors = {
        re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in re.findall(r"^#+ (.+)$", text, re.M)
    }
    assert [] == [each for each in targets if each[0] == "#" and each[1:] not in anchors]

"""The browser of the tests sees what is wrong with a page, so that a test of a page can fail."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import MISSING, NARROW, PROGRAM, Browser

pytestmark = pytest.mark.skipif(PROGRAM is None, reason=MISSING)

PIXEL = "data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg' width='1' height='1'/>"
BLAMELESS = f'<!doctype html><link rel=icon href=data:,><img src="{PIXEL}"><p style="width:380px">wide</p>'
DARK = "<style>@media (prefers-color-scheme: dark) { body { background: black } }</style>"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A browser for all of these."""
    with Browser() as browser:
        yield browser


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        ("", []),
        ("<img src=none.png loading=lazy>", ["ERR_FILE_NOT_FOUND", "a broken picture: file:.*none.png"]),
        ("<script>console.error('of ours', 1)</script>", ["console.error: of ours 1"]),
        ("<script>throw new Error('thrown')</script>", ["Error: thrown"]),
        ("<p style='width:400px'>too wide</p>", ["px wider than the window: <p style="]),
        ("<script src=https://example.com/x.js></script>", ["ERR_NAME_NOT_RESOLVED", "ERR_NAME_NOT_RESOLVED"]),
    ],
    ids=["none", "picture", "console", "exception", "width", "outside"],
)
def test_problems(browser: Browser, tmp_path: Path, page: str, expected: list[str]) -> None:
    """A page without fault has no problems; each fault is named."""
    (tmp_path / "page.html").write_text(f"{BLAMELESS}{page}")
    with browser.open((tmp_path / "page.html").as_uri(), width=NARROW) as shown:
        told = shown.problems()
    assert [True] * len(expected) == [bool(re.search(each, "\n".join(told))) for each in expected]
    assert bool(expected) == bool(told)


def test_shown(browser: Browser, tmp_path: Path) -> None:
    """Width, colours and paper are what a page is told, and its picture can be taken."""
    (tmp_path / "page.html").write_text(BLAMELESS + DARK)
    with browser.open((tmp_path / "page.html").as_uri()) as page:
        ground = "getComputedStyle(document.body).backgroundColor"
        before = page.evaluate(ground)
        page.show(width=NARROW, dark=True)
        assert [True, "rgb(0, 0, 0)", NARROW] == [before != page.evaluate(ground), page.evaluate(ground),
                                                  page.evaluate("innerWidth")]  # fmt: skip
        page.screenshot(tmp_path / "page.png")
        assert ["wide", b"%PDF", b"\x89PNG"] == [
            page.text().strip(), page.pdf()[:4], (tmp_path / "page.png").read_bytes()[:4],
        ]  # fmt: skip

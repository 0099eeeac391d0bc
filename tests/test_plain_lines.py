"""Plain replies that the accelerator writes as lines: the same lines as without it, and each lookup has one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from command import inside

from resolver.lab import Lab
from resolver.wire import accelerator, lines
from resolver.wire.lines import PlainLines

pytestmark = pytest.mark.skipif(not accelerator.ACCELERATED, reason="there is no accelerator here")

ENGINES = ["gevent", "asyncio", "threads", "twisted"]
# Plain ones; those with an escape, a note or a letter of their own, which JSON or the accelerator writes otherwise; and
# those with other replies than addresses.
NAMES = [
    *(f"h{number}" for number in range(300)),
    "multi-3",
    "v6-1",
    "bücher",
    "TAB\t",
    'a"b',
    r"\104.x",
    "nx",
    "nodata",
]


def looked_up(lab: Lab, *words: str, told: bool = False) -> list[dict[str, Any]]:
    """The results of NAMES as JSON Lines, by index; `told`: something is said on standard error."""
    done = inside(
        "-",
        "-n",
        lab.nameserver,
        "-f",
        "jsonl",
        "-t",
        "A",
        "-t",
        "AAAA",
        *words,
        text="".join(f"{name}\n" for name in NAMES),
    )
    assert told is bool(done.err)
    results = [json.loads(line) for line in done.out.splitlines()]
    return sorted(results, key=lambda result: result["index"])


@pytest.mark.parametrize("engine", ENGINES)
def test_the_same_lines(lab: Lab, engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As Results would be written: the same fields in the same order, for every reply."""
    written: list[int] = []
    genuine = PlainLines.write

    def counted(self: PlainLines) -> None:
        written.append(len(self.lines))
        genuine(self)

    monkeypatch.setattr(PlainLines, "write", counted)
    plain = looked_up(lab, "-e", engine)
    assert 600 <= sum(written) < len(plain)
    monkeypatch.setattr(accelerator, "settle", accelerator.settle_none)
    for result, other in zip(plain, looked_up(lab, "-e", engine), strict=True):
        assert list(result) == list(other)
        assert {**result, "elapsed": 0} == {**other, "elapsed": 0}


@pytest.mark.parametrize("words", [("--order", "input"), ("--only", "answered"), ("--detail",)], ids=" ".join)
def test_what_is_no_plain_line(lab: Lab, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the output needs each Result, none becomes a line."""
    monkeypatch.setattr(lines, "ResultBlock", None)
    assert 600 <= sum(result["status"] == "NOERROR" for result in looked_up(lab, *words))


@pytest.mark.parametrize("engine", ENGINES)
def test_a_line_that_comes_twice_ends_the_run(lab: Lab, engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not written, and every lookup has one result all the same."""
    indices = [result["index"] for result in looked_up(lab, "-e", engine)]
    genuine = PlainLines.write

    def twice(self: PlainLines) -> None:
        self.lines, self.indices = 2 * self.lines, 2 * self.indices
        genuine(self)

    monkeypatch.setattr(PlainLines, "write", twice)
    results = looked_up(lab, "-e", engine, told=True)
    assert indices == [result["index"] for result in results]
    assert any("the engine gave a result of a lookup that has one" in (result["error"] or "") for result in results)

"""The page about finding names: one session from nameservers and words to a list, run as it stands there."""

from __future__ import annotations

import re
import socket
from contextlib import ExitStack
from typing import TYPE_CHECKING

from command import line, start
from examples import ROOT, shell

if TYPE_CHECKING:
    from pathlib import Path

PAGE = (ROOT / "docs" / "finding-names.md").read_text(encoding="utf-8")
BLOCK = re.compile(
    r'^<!-- finding names -->\n```sh\n(.*?)^```$(?:\n\n```text title="output"\n(.*?)^```$)?', re.M | re.S
)
LAB = re.compile(r"^resolve (lab .*):(\d+) &$", re.M)


def test_session(at: str, checkout: Path) -> None:
    """Each block ends well and writes what the page says, with the ports that its labs really have."""
    blocks = BLOCK.findall(PAGE)
    assert ["finding names"] * len(blocks) == re.findall(r"<!-- (.*) -->", PAGE)
    written = []
    with ExitStack() as opened:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as unused:
            unused.bind(("127.0.0.1", 0))
            ports = {"5304": str(unused.getsockname()[1])}
        (checkout / "shop.zone").write_text(blocks[0][0].partition("'END'\n")[2].partition("END\n")[0])
        for words, port in LAB.findall(blocks[0][0]):
            lab = opened.enter_context(start(*f"{words}:0".split(), cwd=checkout))
            opened.callback(lab.terminate)
            ports[port] = line(lab.stdout).partition(" ")[0].rpartition(":")[2]
        for script, _ in blocks:
            command = re.sub(r"^kill .*", "", LAB.sub("", script), flags=re.M)
            done = shell(re.sub(r":(530\d)", lambda found: f":{ports[found[1]]}", command), checkout, at)
            assert [0, ""] == [done.returncode, done.stderr]
            written.append(re.sub(r"\b[0-9a-f]{16}\b", "LABEL", done.stdout))
    for real, port in sorted((real, port) for port, real in ports.items()):
        written = [each.replace(f":{real}", f":{port}") for each in written]
    for (_, output), found in zip(blocks, written, strict=True):
        if output:
            expected = re.sub(r"\b[0-9a-f]{16}\b", "LABEL", output).splitlines()
            assert expected == [each.rstrip() for each in found.splitlines()]
    (names,) = [output for script, output in blocks if output and "found.jsonl" in script]
    *again, lies = next(found for (script, _), found in zip(blocks, written, strict=True) if "again" in script).split()
    assert (names.split(), True) == (again, int(lies) > 0)

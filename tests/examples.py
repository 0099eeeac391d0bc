"""Examples of the pages: found there, and run as a reader would, but asked of a lab.

What names the world outside is replaced (`SERVERS`, and the system's nameserver), what installs the program is left
out, and a comparison is a short one: few hosts, one engine, once, one limit. Everything else runs as it stands on the
page.
"""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

from command import environment, inside

ROOT = Path(__file__).parents[1]
SERVERS = re.compile(r"(tls://|tcp://)?192\.0\.2\.5[34]\b")
FENCE = re.compile(r"^```(\w+)[^\n]*\n(.*?)^```$", re.M | re.S)
_COMMENT = re.compile(r"\s+# .*")
_FITTED = [
    (r"^(pip|pipx|uv tool) install .*", ":"),
    (r"\bseq -f (\S+) \d+", r"seq -f \1 20"),
    (r" --repeat \d+", ""),
    (r"resolve compare (?!.* -e )", "resolve compare -e gevent "),
    (r"resolve compare ", "resolve compare --repeat 1 "),
    (r"( --timeout \S+)( --timeout \S+)+", r"\1"),
    (r"\bfor n in [\d ]+ (\d+);", r"for n in \1;"),
]


def blocks(language: str, text: str) -> list[str]:
    """The examples in one language."""
    return [block for found, block in FENCE.findall(text) if found == language]


def lines(block: str) -> list[str]:
    """The commands of a block of shell, without comments; one that goes on below is one."""
    whole = re.sub(r"\\\n\s*", "", block)
    return [command for each in whole.splitlines() if (command := _COMMENT.sub("", each))]


def fitted(command: str, at: str) -> str:
    """This command, for the lab at this address."""
    for shown, run in _FITTED:
        command = re.sub(shown, run, command)
    return SERVERS.sub(at, command)


def shell(command: str, checkout: Path, at: str) -> subprocess.CompletedProcess[str]:
    """Run one of a page's commands to its end; the lab is the system's nameserver.

    What needs no shell runs in this process, but for a backend that waits by itself.
    """
    env = environment(PATH=os.pathsep.join([str(checkout / "bin"), os.environ["PATH"]]))
    if "--lab" not in command:
        env["RESOLVE_NAMESERVER"] = at
    command = fitted(command, at)
    if re.match(r"resolve (?!.* -b )[^|<>&;$*]+$", command):
        done = inside(*shlex.split(command)[1:], env=env, cwd=checkout)
        return subprocess.CompletedProcess(command, done.status, done.out, done.err)
    return subprocess.run(
        ["sh", "-c", command], cwd=checkout, env=env,
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def python(code: str, checkout: Path, at: str) -> subprocess.CompletedProcess[str]:
    """Run a program; the lab is the system's nameserver, and the C library's."""
    before = f"import resolver.policy\nfrom resolver.nameserver import Nameserver\nat = Nameserver.parse({at!r})\n"
    before += "resolver.policy.system = lambda: (at,)\n"
    before += "import socket\nsocket.gethostbyname = lambda host: resolver.resolve([host])[0].addresses[0]\n"
    after = "\nimport asyncio\nasyncio.run(show(['python.org', 'pypi.org']))\n" if "async def show" in code else ""
    return subprocess.run(
        [sys.executable, "-c", before + SERVERS.sub(at, code) + after], cwd=checkout, env=environment(),
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip

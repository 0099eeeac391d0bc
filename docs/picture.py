"""Draw docs/run.svg, a run in a terminal, from a real one on the lab: `python docs/picture.py`.

The command runs in a pseudo-terminal of 84 columns, and what it writes there is drawn by rich.
"""

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import shlex
import struct
import sys
import tempfile
import termios
from pathlib import Path

from rich.console import Console
from rich.text import Text

FILE = Path(__file__).with_name("run.svg")
COLUMNS = 84
LIST = """\
python.org
pypi.org
www.debian.org
Bücher.example
9.9.9.9
https://example.com/a/path
truncated.example
servfail.example
there-is-no-such-host.invalid
two words
"""
COMMAND = "resolve hosts.txt --lab"
_FONTS = re.compile(r"@font-face \{.*?\}", re.S)  # rich names some on the web; the reader's own will do


def in_terminal(command: str, directory: str, columns: int = COLUMNS) -> str:
    """Run this line of shell in a terminal so wide, and return what was written there, colours included."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(directory)
        settings = {name: value for name, value in os.environ.items() if not name.startswith("RESOLVE_")}
        resolve = f'resolve() {{ {shlex.quote(sys.executable)} -m resolver "$@"; }}'
        path = os.pathsep.join([str(FILE.parents[1]), os.environ.get("PYTHONPATH", "")])
        settings |= {"TERM": "xterm-256color", "PYTHONPATH": path}
        os.execve("/bin/sh", ["sh", "-c", f"{resolve}; {command}"], settings)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    written = b""
    while True:
        try:
            octets = os.read(terminal, 1 << 16)
        except OSError:  # as Linux ends a terminal that nobody holds any more
            octets = b""
        if not octets:
            break
        written += octets
    os.close(terminal)
    os.waitpid(pid, 0)
    # What a display has taken off the screen again is not seen.
    return re.sub(r"[^\n]*\x1b\[2K", "", written.decode().replace("\r\n", "\n"))


def session() -> Text:
    """Return the command and what it wrote."""
    with tempfile.TemporaryDirectory() as directory:
        Path(directory, "hosts.txt").write_text(LIST, encoding="utf-8")
        written = in_terminal(COMMAND, directory)
    return Text.from_ansi(f"\x1b[1;34m$\x1b[0m \x1b[1m{COMMAND}\x1b[0m\n{written}")


def draw(text: Text, title: str = "resolve") -> str:
    """Return the picture of a terminal that shows this text."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), legacy_windows=False)
    console.print(text)
    picture = _FONTS.sub("", console.export_svg(title=title, unique_id="run"))
    return re.sub(r"[ \t]+$", "", picture, flags=re.M).strip() + "\n"


if __name__ == "__main__":
    FILE.write_text(draw(session()), encoding="utf-8")

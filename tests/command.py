"""The command as users run it: a process of its own, with pipes for its ends."""

import json
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple, TypeVar
from unittest import mock

from click.testing import CliRunner

import resolver
from resolver.commands import cli
from resolver.settings import default_path

T = TypeVar("T")

LOOKS = 5

COMMAND = [sys.executable, "-m", "resolver"]
# Where the package stands that is tested: the command must find it from any working directory.
HOME = Path(resolver.__file__).parents[1]


class Done(NamedTuple):
    """How a command ended, and what it wrote."""

    status: int
    out: str
    err: str

    @property
    def results(self) -> list[dict[str, Any]]:
        """The results that it wrote as JSON Lines, in input order."""
        return in_order(self.out.splitlines())


def environment(**settings: str) -> dict[str, str]:
    """This process's environment without settings of the command, of a settings file neither, but these."""
    # A size of the terminal that a test runner has set would be taken for that of the command's own.
    inherited = {
        name: value
        for name, value in os.environ.items()
        if name == "RESOLVE_PURE" or not (name.startswith("RESOLVE_") or name in ("COLUMNS", "LINES"))
    }
    path = os.pathsep.join(filter(None, [settings.pop("PYTHONPATH", ""), str(HOME), os.environ.get("PYTHONPATH", "")]))
    if "XDG_CONFIG_HOME" not in settings and os.path.exists(default_path()):
        settings.setdefault("RESOLVE_CONFIG", os.devnull)
    return {**inherited, "PYTHONPATH": path, **settings}


def start(
    *words: str | Path, env: dict[str, str] | None = None, command: Sequence[str] = COMMAND, **ends: Any
) -> subprocess.Popen[bytes]:
    """Start `resolve WORDS`; its three ends are pipes, unbuffered, where `ends` does not say otherwise."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "bufsize": 0}
    return subprocess.Popen([*command, *map(str, words)], env=env or environment(), **{**pipes, **ends})


def run(*words: str | Path, text: str | bytes | None = None, env: dict[str, str] | None = None, **ends: Any) -> Done:
    """Run `resolve WORDS` to its end, with this text on standard input, or nothing there at all (/dev/null)."""
    octets = text.encode() if isinstance(text, str) else text
    if octets is None:
        ends.setdefault("stdin", subprocess.DEVNULL)
    with start(*words, env=env, **ends) as process:
        try:
            return end(process, octets)
        finally:
            process.kill()


def inside(*words: str | Path, env: dict[str, str] | None = None) -> Done:
    """Run `resolve WORDS` in this process, which costs a twentieth of a start: where it ends before anything runs.

    Nothing is patched for gevent here. The terminal has 80 columns, as a pipe has.
    """
    wanted = {"COLUMNS": "80", **(environment() if env is None else env)}
    changes: dict[str, str | None] = {**dict.fromkeys(os.environ.keys() - wanted.keys()), **wanted}
    with mock.patch("resolver.commands.prepare"):
        done = CliRunner().invoke(cli, [*map(str, words)], prog_name="resolve", env=changes)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return Done(done.exit_code, done.stdout, done.stderr)


def complaint(done: Done) -> str:
    """The sentence that tells what is wrong with the arguments, checked for being all there is."""
    assert [2, ""] == [done.status, done.out]
    assert "Traceback" not in done.err
    return done.err.splitlines()[-1]


def end(process: subprocess.Popen[bytes], octets: bytes | None = None) -> Done:
    """Wait until it ends; what is left in its pipes."""
    out, err = process.communicate(octets, timeout=30)
    return Done(process.returncode, (out or b"").decode(), (err or b"").decode())


def in_order(lines: Iterable[str]) -> list[dict[str, Any]]:
    """JSON Lines as objects, in input order."""
    return sorted(map(json.loads, lines), key=lambda result: int(result["index"]))


def wait_for(condition: Callable[[], T], what: str, seconds: float = 20.0) -> T:
    """Wait until it is true, and give what it is."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"waited {seconds} s for {what}"
        time.sleep(0.01)
    return value


def second_look(attempt: Callable[[], T], good: Callable[[T], bool]) -> T:
    """One attempt or, while that is not good, another, LOOKS at most; that they were needed stands among the warnings.

    For bounds on real time: next to other tests, a program that misses one may only have waited for the processor. One
    that cannot keep it misses it each time.
    """
    for _ in range(LOOKS - 1):
        if good(value := attempt()):
            return value
        warnings.warn(f"another look was needed, this was not good: {repr(value)[:100]}", stacklevel=2)
    return attempt()


def run_delay(*pids: int) -> float:
    """Seconds that these processes, by their main threads, were ready to run and waited for a core.

    For bounds on real time: what passed less what was waited is a program's own doing, however busy the machine is. 0
    where the kernel does not tell (it does on Linux; of a process that has ended too, until it is waited for).
    """
    told = [Path(f"/proc/{pid}/schedstat") for pid in pids]
    return sum(int(each.read_text().split()[1]) for each in told if each.exists()) / 1e9


def line(stream: IO[bytes] | None) -> str:
    """One line of a pipe, without its end."""
    assert stream is not None
    return stream.readline().decode().removesuffix("\n")

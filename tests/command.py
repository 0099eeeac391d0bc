"""The command as users run it: a process of its own, with pipes for its ends."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple, TypeVar
from unittest import mock

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


def inside(
    *words: str | Path,
    text: str | bytes | None = None,
    env: dict[str, str] | None = None,
    cwd: Path | None = None,
    **ends: IO[bytes],
) -> Done:
    """Run `resolve WORDS` to its end in this process, which costs a twentieth of a start; its arguments are `run`'s.

    For what the command makes of its words, its input and its replies. Nothing is patched for gevent here, so that no
    backend can be asked that waits by itself; and what a process is, has or leaves behind is for `run` to show.
    """
    octets = text.encode() if isinstance(text, str) else text
    out, err = bytearray(), bytearray()
    with contextlib.ExitStack() as opened:
        given = ends.get("stdin") or opened.enter_context(_nothing() if octets is None else _piped(octets))
        into = [
            ends.get(name) or opened.enter_context(_pipe_into(told))
            for name, told in (("stdout", out), ("stderr", err))
        ]
        opened.enter_context(contextlib.chdir(cwd or "."))
        opened.enter_context(mock.patch.dict(os.environ, environment() if env is None else env, clear=True))
        opened.enter_context(mock.patch.object(sys, "argv", ["resolve", *map(str, words)]))
        opened.enter_context(mock.patch("gevent.monkey.patch_all"))
        opened.enter_context(_standard(given, *into))
        try:
            status = cli.main(prog_name="resolve")
        except SystemExit as ended:
            status = ended.code
    return Done(status, out.decode(), err.decode())


@contextlib.contextmanager
def _standard(*files: IO[bytes]) -> Iterator[None]:
    """Have these files as standard input, output and error, as descriptors and for Python, and signals as they are."""
    kept = [os.dup(number) for number in range(3)]
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number, file in enumerate(files):
        os.dup2(file.fileno(), number)
    stdin, stdout, stderr = (os.fdopen(number, "w" if number else "r", closefd=False) for number in range(3))
    try:
        with mock.patch.multiple(sys, stdin=stdin, stdout=stdout, stderr=stderr):
            yield
    finally:
        for stream in (stdout, stderr):
            with contextlib.suppress(OSError):
                stream.flush()
        for number, descriptor in enumerate(kept):
            os.dup2(descriptor, number)
            os.close(descriptor)
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _nothing() -> IO[bytes]:
    return open(os.devnull, "rb")


@contextlib.contextmanager
def _beside(work: Callable[[], None]) -> Iterator[None]:
    """Have this done by a thread meanwhile; its end is awaited."""
    thread = threading.Thread(target=work)
    thread.start()
    yield
    thread.join()


@contextlib.contextmanager
def _piped(octets: bytes) -> Iterator[IO[bytes]]:
    """A pipe through which these come."""

    def write() -> None:
        with contextlib.suppress(BrokenPipeError), open(writing, "wb") as file:
            file.write(octets)

    reading, writing = os.pipe()
    with _beside(write), open(reading, "rb") as file:
        yield file


@contextlib.contextmanager
def _pipe_into(told: bytearray) -> Iterator[IO[bytes]]:
    """A pipe; what is written to it is there in the end."""

    def read() -> None:
        with open(reading, "rb") as file:
            told.extend(file.read())

    reading, writing = os.pipe()
    with _beside(read), open(writing, "wb") as file:
        yield file


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
    deadline, pause = time.monotonic() + seconds, 0.002
    while not (value := condition()):
        assert time.monotonic() < deadline, f"waited {seconds} s for {what}"
        time.sleep(pause)
        pause = min(0.01, 1.2 * pause)  # what takes long may be costly to ask for
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

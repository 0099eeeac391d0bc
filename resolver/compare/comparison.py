"""One comparison from its options to its exit status: everything is checked and opened, then run, then reported.

A comparison takes minutes: a fault of an option, a file or the extra for a picture is found before the first run, and
finished runs are reported, however it ends.
"""

from __future__ import annotations

import contextlib
import datetime
import importlib.util
import os
import stat
import sys
import tempfile
from collections.abc import Sequence
from typing import BinaryIO, NamedTuple

import msgspec

from resolver.compare import document, show
from resolver.compare.contest import CONCURRENCY, Contest, field, order, patience_for, read
from resolver.compare.display import ContestProgress
from resolver.compare.report import ComparisonReport, Conditions, LabSettings, report
from resolver.compare.watch import Interrupted
from resolver.console import ANSWERED, UNANSWERED, UNWRITABLE, say, signals
from resolver.dns.message import rdtype
from resolver.extras import NotInstalled, cure
from resolver.input.sources import Source
from resolver.output.files import same_file
from resolver.policy import Policy

PLOTS = (".png", ".svg")


class Request(NamedTuple):
    """The user's options. `timeouts` in seconds, None: no end; `lab`: how it behaves, false: no lab."""

    sources: Sequence[Source]
    inputs: Sequence[str]
    named: Sequence[str]
    backends: Sequence[str]
    types: Sequence[str]
    policy: Policy
    timeouts: Sequence[float | None]
    repeat: int
    format: str | None
    output: str | None
    plot: str | None
    lab: LabSettings | None
    progress: bool


class Comparison(contextlib.ExitStack):
    """A comparison that is ready to begin; as a context it closes what was opened for it.

    Raises ValueError or LookupError for what does not go together or is not installed, OSError for what cannot be
    read or written.
    """

    def __init__(self, request: Request) -> None:
        super().__init__()
        self._request = request
        with contextlib.ExitStack() as opened:
            self._open(request, opened)
            self.push(opened.pop_all())

    def _open(self, request: Request, opened: contextlib.ExitStack) -> None:
        for source in request.sources:
            opened.callback(source.close)
        self._types = list(dict.fromkeys(map(rdtype, request.types)))
        policy = request.policy
        if request.lab and policy.nameservers:
            raise ValueError("--lab is a nameserver of the comparison's own; it does not go with --nameserver")
        if request.format is None and _suffix(request.output) == ".jsonl":
            # The results of `run` are there; a comparison would take their place.
            raise ValueError(f"{request.output}: a comparison is not JSON Lines; valid: .json, .csv, or --format")
        if request.plot is not None:
            check_plot(request.plot)
        if request.lab:
            from resolver.lab import Lab

            lab = opened.enter_context(Lab(**msgspec.structs.asdict(request.lab), seed=1))
            policy = msgspec.structs.replace(policy, nameservers=(lab.nameserver,))
        policy = msgspec.structs.replace(policy, concurrency=policy.concurrency or CONCURRENCY)
        self._field = field(request.named, request.backends, self._types, policy)
        # If no nameserver is named, each child finds those of the system by itself.
        self._policy = self._field.policy if policy.nameservers else policy
        others = list(request.inputs)
        self._output = self._plot = None
        if request.output is not None:
            self._output = opened.enter_context(_opened(request.output, others))
            others.append(request.output)
        if request.plot is not None:
            self._plot = opened.enter_context(_opened(request.plot, others))
        directory = opened.enter_context(tempfile.TemporaryDirectory(prefix="resolve-compare-"))
        self._lookups = read(request.sources, self._types, os.path.join(directory, "hosts"))

    def run(self) -> int:
        """Run everything, report it, and return the exit status."""
        request, policy = self._request, self._field.policy
        runs = order(self._field.contestants, request.timeouts, request.repeat)
        contest = Contest(runs, self._lookups, self._types, self._policy)
        display = ContestProgress(contest, sys.stderr) if request.progress else None
        began = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
        with signals(_noted) as caught:

            def tick() -> None:
                if caught:
                    raise Interrupted
                if display is not None:
                    display.tick()

            contest.go(tick, patience_for(self._policy))
        if display is not None:
            display.close()
        conditions = Conditions(
            self._types,
            list(request.timeouts),
            request.repeat,
            policy.query_timeout,
            policy.tries,
            policy.concurrency or CONCURRENCY,
            request.policy.concurrency is None,
            policy.rate,
        )
        found = report(contest, self._field, self._lookups, began, conditions, request.lab or None)
        try:
            self._write(found)
        except BrokenPipeError:
            # The reader of the report has read enough. What Python still holds back for it is nobody's.
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        except OSError as error:
            say(f"writing failed: {error.strerror or error}")
            return UNWRITABLE
        if caught:
            return 128 + caught[0]
        return UNANSWERED if any(row.errors for row in found.rows) else ANSWERED

    def _write(self, found: ComparisonReport) -> None:
        request = self._request
        by_name = {".json": "json", ".csv": "csv"}.get(_suffix(request.output), "table")
        terminal = self._output is None and sys.stdout.isatty()
        match request.format or by_name:
            case "json":
                octets = document.json(found)
            case "csv":
                octets = document.table(found)
            case _:
                octets = show.text(found, _width() if terminal else None, terminal).encode("utf-8", "replace")
        if self._output is not None:
            _replace(self._output, octets)
        else:
            sys.stdout.buffer.write(octets)
            sys.stdout.flush()
        if self._plot is None or request.plot is None:
            return
        if any(row.runs for row in found.rows):
            from resolver.compare.plot import draw

            _replace(self._plot, draw(found, _suffix(request.plot)[1:]))
        elif not os.path.getsize(request.plot):
            # Nothing to draw, and no picture from before: this one was only made to see whether it can be.
            os.unlink(request.plot)


def check_plot(path: str) -> None:
    """Raise ValueError for a name that tells no format, LookupError where pictures are not installed."""
    if _suffix(path) not in PLOTS:
        raise ValueError(f"{path!r} tells no format of pictures; valid: {', '.join(PLOTS)}")
    if importlib.util.find_spec("matplotlib") is None:
        raise NotInstalled(
            f"--plot needs matplotlib, which is not installed: {cure('plot')}; "
            "without it the table has the curves as text"
        )


def _width() -> int | None:
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or None
    except OSError:
        return None


def _suffix(path: str | None) -> str:
    return os.path.splitext(path or "")[1].lower()


def _opened(path: str, others: Sequence[str]) -> BinaryIO:
    """Open for writing, without touching the content: it is replaced when there is something to replace it with."""
    if any(same_file(path, 0 if other == "-" else other) for other in others):
        raise ValueError(f"{path} is another file of this comparison, and would be overwritten")
    return open(path, "ab", buffering=0)


def _replace(file: BinaryIO, octets: bytes) -> None:
    if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.truncate(0)
    rest = memoryview(octets)
    while rest:
        rest = rest[file.write(rest) :]


def _noted() -> None:
    """Do nothing: `tick` looks whether a signal came."""

"""One comparison from its options to its exit status: everything is checked and opened first, then the runs, then the
report goes where it belongs.

The one thing to know before changing anything here: a comparison takes minutes. What can be wrong with an option, a
file or the extra for a picture is found before the first run; and what is finished is reported, however it ends.
"""

from __future__ import annotations

import contextlib
import datetime
import importlib.util
import os
import stat
import sys
import tempfile
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

import msgspec

from resolver.compare import document, show
from resolver.compare.contest import CONCURRENCY, Contest, field, order, patience_for, read
from resolver.compare.progress import Progress
from resolver.compare.report import LabSettings, Report, report
from resolver.compare.watch import Interrupted
from resolver.console import ANSWERED, UNANSWERED, UNWRITABLE, say, signals
from resolver.dns.message import rdtype
from resolver.extras import NotInstalled, cure
from resolver.output.files import same_file

if TYPE_CHECKING:
    from collections.abc import Sequence

    from resolver.compare.contest import Field, Lookups
    from resolver.input.sources import Source
    from resolver.policy import Policy

PLOTS = (".png", ".svg")


class Wanted(NamedTuple):
    """What the user asked for. `timeouts` in seconds, None: no end; `lab`: how it behaves, None: no lab."""

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

    def prepare(self) -> Prepared:
        """Check it, open what it needs, and read the hosts.

        Raises ValueError or LookupError for what does not go together or is not installed, OSError for what cannot be
        read or written.
        """
        with contextlib.ExitStack() as opened:
            for source in self.sources:
                opened.callback(source.close)
            types = list(dict.fromkeys(map(rdtype, self.types)))
            policy = self.policy
            if self.lab is not None and policy.nameservers:
                raise ValueError("--lab is a nameserver of the comparison's own; it does not go with --nameserver")
            concurrency = policy.concurrency or CONCURRENCY
            if self.format is None and _suffix(self.output or "") == ".jsonl":
                # Where `run` writes its results; a comparison would take their place.
                raise ValueError(f"{self.output}: a comparison is not JSON Lines; valid: .json, .csv, or --format")
            if self.plot is not None:
                check_plot(self.plot)
            if self.lab is not None:
                from resolver.lab import Lab

                served = opened.enter_context(Lab(**msgspec.structs.asdict(self.lab), seed=1))
                policy = msgspec.structs.replace(policy, nameservers=(served.nameserver,))
            found = field(self.named, self.backends, types, msgspec.structs.replace(policy, concurrency=concurrency))
            output = opened.enter_context(_opened(self.output, [*self.inputs])) if self.output is not None else None
            others = [*self.inputs, *([] if self.output is None else [self.output])]
            plot = opened.enter_context(_opened(self.plot, others)) if self.plot is not None else None
            directory = opened.enter_context(tempfile.TemporaryDirectory(prefix="resolve-compare-"))
            lookups = read(self.sources, types, os.path.join(directory, "hosts"))
            return Prepared(self, types, found, lookups, output, plot, opened.pop_all())


class Prepared(NamedTuple):
    """A comparison that is ready to begin; as a context it closes what was opened for it."""

    wanted: Wanted
    types: list[str]
    field: Field
    lookups: Lookups
    output: BinaryIO | None
    plot: BinaryIO | None
    opened: contextlib.ExitStack

    def __enter__(self) -> Prepared:
        return self

    def __exit__(self, *_: object) -> None:
        self.opened.close()


def run(prepared: Prepared) -> int:
    """Run everything, report it, and return the exit status."""
    wanted, field = prepared.wanted, prepared.field
    runs = order(field.contestants, wanted.timeouts, wanted.repeat)
    policy = wanted.policy
    asked = msgspec.structs.replace(
        field.policy if wanted.lab is not None or policy.nameservers else policy,
        concurrency=field.policy.concurrency,
    )
    contest = Contest(runs, prepared.lookups, prepared.types, asked)
    display = Progress(contest, sys.stderr) if wanted.progress else None
    began = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
    with signals(_noted) as caught:

        def tick() -> None:
            if caught:
                raise Interrupted
            if display is not None:
                display.tick()

        contest.go(tick, patience_for(asked))
    if display is not None:
        display.close()
    found = report(
        contest,
        field,
        prepared.lookups,
        began,
        prepared.types,
        wanted.timeouts,
        wanted.repeat,
        lab=wanted.lab,
        concurrency_chosen=policy.concurrency is None,
    )
    return _conclude(prepared, found, caught)


def _conclude(prepared: Prepared, found: Report, caught: list[int]) -> int:
    wanted = prepared.wanted
    try:
        _write(found, wanted.format, wanted.output, prepared.output)
        if prepared.plot is not None and wanted.plot is not None:
            if any(row.runs for row in found.rows):
                from resolver.compare.plot import draw

                _replace(prepared.plot, draw(found, _suffix(wanted.plot)[1:]))
            elif not os.path.getsize(wanted.plot):
                # Nothing to draw, and no picture from before: this one was only made to see whether it can be.
                os.unlink(wanted.plot)
    except BrokenPipeError:
        # Whoever read the report has read enough. What Python still holds back for it is nobody's.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    except OSError as error:
        say(f"writing failed: {error.strerror or error}")
        return UNWRITABLE
    if caught:
        return 128 + caught[0]
    return UNANSWERED if any(row.errors for row in found.rows) else ANSWERED


def check_plot(path: str) -> None:
    """Raises ValueError for a name that tells no format, LookupError where pictures are not installed."""
    if _suffix(path) not in PLOTS:
        raise ValueError(f"{path!r} tells no format of pictures; valid: {', '.join(PLOTS)}")
    if importlib.util.find_spec("matplotlib") is None:
        raise NotInstalled(
            f"--plot needs matplotlib, which is not installed: {cure('plot')}; "
            "without it the table has the curves as text"
        )


def _write(found: Report, format: str | None, output: str | None, file: BinaryIO | None) -> None:
    if format is None:
        format = {".json": "json", ".csv": "csv"}.get(_suffix(output or ""), "table")
    if format == "json":
        octets = document.json(found)
    elif format == "csv":
        octets = document.table(found)
    else:
        terminal = file is None and sys.stdout.isatty()
        octets = show.text(found, _width() if terminal else None, terminal).encode("utf-8", "replace")
    if file is not None:
        _replace(file, octets)
        return
    sys.stdout.buffer.write(octets)
    sys.stdout.flush()


def _width() -> int | None:
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or None
    except OSError:
        return None


def _suffix(path: str) -> str:
    return os.path.splitext(path)[1].lower()


def _opened(path: str, others: Sequence[str]) -> BinaryIO:
    """For writing, without touching what it holds: it is replaced when there is something to replace it with."""
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
    """`tick` looks whether a signal came."""

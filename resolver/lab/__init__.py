"""A nameserver on loopback, to practise and test against.

    with Lab() as lab:
        resolve(["www.example", "flaky-2.example"], nameservers=[lab.nameserver])

It has addresses that documentation may use for every name that is asked (or for a list, or answers from a real zone
file), a network with latency and loss, and, by the first label of a name, each kind of trouble that a resolver can
meet: `SCRIPTS`.

The server is a child process: it never shares an interpreter lock with the program that asks it. Settings go to its
standard input as one line of JSON, reports come from its standard output the same way, and it ends when its standard
input does. Importing this package loads no sockets of the server.
"""

import contextlib
import os
import subprocess
import threading
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Unpack

import msgspec

from resolver.subprocesses import end, spawn

from .scripts import SCRIPTS
from .settings import Address, Counts, LabFields, LabReport, Settings, duration, endpoint, share

if TYPE_CHECKING:
    from resolver.input.sources import Source

__all__ = ["SCRIPTS", "Address", "Counts", "Lab", "Settings", "duration", "endpoint", "names_of", "share"]

_STOP_SECONDS = 5.0


class Lab:
    """A running lab, as a context manager.

    Args:
        hosts: Hosts whose names exist, as `resolve` takes them; what is no host is left out. None: all names exist.
        zone: A master file (RFC 1035 section 5) to answer from, or several.
        tls: Files of a certificate chain and of its key, PEM: it serves over TLS too.
        settings: `origin`, of master files that do not say theirs; `latency` and `jitter`, seconds; `loss`, 0 to 1;
            `capacity`, queries a second; `seed`, which makes loss and jitter repeatable; `lies`: names that cannot
            exist have addresses too; `listen`: ADDR:PORT, of loopback unless `public`.

    Raises:
        ValueError: Settings that make no sense; from `start`, a zone file or certificate that cannot be used.
        OSError: From `start`: the address cannot be had, or a file cannot be read.
    """

    def __init__(
        self,
        hosts: Iterable[str] | None = None,
        *,
        zone: str | os.PathLike[str] | Iterable[str | os.PathLike[str]] | None = None,
        tls: tuple[str | os.PathLike[str], str | os.PathLike[str]] | None = None,
        **settings: Unpack[LabFields],
    ) -> None:
        from resolver.input.sources import elements

        self._settings = Settings(
            hosts=None if hosts is None else names_of([elements(list(hosts))]),
            zone=[os.fspath(file) for file in ([zone] if isinstance(zone, str | os.PathLike) else zone or ())],
            tls=(os.fspath(tls[0]), os.fspath(tls[1])) if tls else None,
            **settings,
        )
        self._child: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self._address: Address | None = None

    @property
    def nameserver(self) -> str:
        """The address over UDP and TCP: `127.0.0.1:PORT` or `[::1]:PORT`."""
        return self._running().nameserver

    @property
    def tls_nameserver(self) -> str | None:
        """The address over TLS; None without a certificate."""
        return self._running().tls_nameserver

    @property
    def pid(self) -> int | None:
        """The child's process ID while it runs."""
        return self._child.pid if self._child else None

    def start(self) -> "Lab":
        """Start the child and wait until it answers. Raises as the class says."""
        if self._child:
            raise RuntimeError("this lab runs already")
        self._child = spawn("-m", "resolver.lab")
        try:
            report = self._exchange(msgspec.json.encode(self._settings) + b"\n")
            if report.errno is not None:
                raise OSError(report.errno, report.error, report.filename)
            if report.error is not None:
                raise ValueError(report.error)
            self._address = report.address
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """End the child; without effect where none runs."""
        child, self._child, self._address = self._child, None, None
        if child is not None:
            end(child, seconds=_STOP_SECONDS)

    def counts(self) -> Counts:
        """Return the queries received, replies sent, queries dropped. Raises `RuntimeError` where no lab runs."""
        self._running()
        counts = self._exchange(b"\n").counts
        assert counts
        return counts

    def __enter__(self) -> "Lab":
        return self.start()

    def __exit__(self, *details: object) -> None:
        self.stop()

    def _running(self) -> Address:
        if self._address is None:
            raise RuntimeError("this lab does not run; use it as a context manager, or call start()")
        return self._address

    def _exchange(self, line: bytes) -> LabReport:
        """Write to the child and read its report."""
        child = self._child
        assert child is not None
        assert child.stdin is not None
        assert child.stdout is not None
        with self._lock:
            with contextlib.suppress(BrokenPipeError):
                child.stdin.write(line)
                child.stdin.flush()
            answer = child.stdout.readline()
        if not answer:
            raise RuntimeError(f"the lab ended by itself, with exit status {child.wait()}")
        return msgspec.json.decode(answer, type=LabReport)


def names_of(sources: Sequence["Source"]) -> list[str]:
    """Return the names of hosts, as they are asked for. A host that is no name is left out: nobody can miss it."""
    from resolver.input.hosts import Hosts

    return [query.name for queries, _ in Hosts(sources, ("A",), "", "").batches() for query in queries]

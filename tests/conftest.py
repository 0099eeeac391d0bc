"""Parts that the tests share: the lab, and every engine with every backend that it runs.

A test that looks something up takes `ask` (or `pair`) and thereby runs on each pair of the table in resolver.engines;
rows that are added there are picked up here by themselves.
"""

import contextlib
import gc
import itertools
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from cluster import cluster
from command import COMMAND, environment
from hypothesis import settings

from resolver import Run, resolve
from resolver.engines import Pair, pairs
from resolver.lab import Lab
from resolver.processes import engine as processes
from resolver.processes.pool import IdleChildren

# What a backend, or an engine with it, cannot do or tell, in words that tests use with @pytest.mark.needs: the one
# place for that. What does not stand here can do everything; `ask` needs "nameservers" by itself.
#
#   nameservers   asks the nameservers that the run names
#   streams       asks nameservers over TCP
#   tls           asks nameservers over TLS
#   types         looks up any record type
#   details       tells whatever came: the chain before an NXDOMAIN, that an empty answer is a referral, half a reply
#   matching      drops forged and broken replies by itself, and keeps the count
#   attempts      tells how many queries were sent, and to whom
#   library       asks through a library; the backend wire is ours, and has tests of its own
#   in-process    runs in the tests' own program; what cannot is asked in one that gevent has patched
CANNOT: dict[str, frozenset[str]] = {
    "wire": frozenset({"library"}),
    "aiodns": frozenset({"matching", "attempts", "tls", "types", "details"}),
    "twisted": frozenset({"tls"}),
    "system": frozenset({"nameservers", "streams", "matching", "attempts"}),
    "gevent-system": frozenset({"in-process"}),
    "gevent-dnspython": frozenset({"in-process"}),
}

_fresh = itertools.count()

# The tests start some hundred processes; compiling the package in each would be a third of all the work.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# The same examples at every run: a check of a commit must not depend on chance. HYPOTHESIS_PROFILE=default explores.
settings.register_profile("steady", derandomize=True, database=None, deadline=None, max_examples=50)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "steady"))


def pytest_configure(config: pytest.Config) -> None:
    """Make the mark known; --strict-markers asks for it."""
    config.addinivalue_line("markers", "needs(*abilities): not of backends that cannot do this (CANNOT in conftest.py)")


def pytest_collection_finish() -> None:
    """Keep what is there by now out of the collections that some tests ask for, which would go through all of it."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """A nameserver that answers for every name, and plays the scripts of resolver.lab.SCRIPTS."""
    with Lab() as running:
        yield running


@pytest.fixture(scope="session")
def lab6() -> Iterator[Lab]:
    """The same over IPv6."""
    lab = Lab(listen="[::1]:0")
    try:
        lab.start()
    except OSError as error:
        pytest.skip(f"no IPv6 here: {error}")
    with contextlib.closing(contextlib.ExitStack()) as opened:
        opened.callback(lab.stop)
        yield lab


def row(pair: Pair) -> str:
    """Return what the table of abilities and the tests' names call a pair."""
    return f"{pair.engine}-{pair.backend}"


def lacking(pair: Pair, *needed: str) -> list[str]:
    """Which of these abilities the pair does not have."""
    return sorted({*needed} & (CANNOT.get(pair.backend, frozenset()) | CANNOT.get(row(pair), frozenset())))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out the tests of pairs that cannot do what the test needs."""
    items[:] = [item for item in items if not isinstance(item, pytest.Function) or able(item)]


def able(test: pytest.Function) -> bool:
    """Whether the pair of this test, where it has one, can do what the test needs."""
    pair = test.callspec.params.get("pair") if hasattr(test, "callspec") else None
    needed = [ability for mark in test.iter_markers("needs") for ability in mark.args]
    if "ask" in test.fixturenames:
        needed.append("nameservers")
    return not isinstance(pair, Pair) or not lacking(pair, *needed)


@pytest.fixture(scope="session")
def secure(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for loopback addresses with its key, and the authority to trust for it."""
    directory = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(directory / "authority.pem"))
    authority.issue_cert("127.0.0.1", "127.53.0.53", "https.example").private_key_and_cert_chain_pem.write_to_path(
        str(directory / "both.pem")
    )
    return directory / "both.pem", directory / "authority.pem"


@pytest.fixture(scope="session", params=list(pairs()), ids=row)
def pair(request: pytest.FixtureRequest) -> Pair:
    """An engine and a backend that go together; skipped where one of them is not installed."""
    pair: Pair = request.param
    if not pair.installed:
        pytest.skip(f"{pair.engine} with {pair.backend} needs the extra {pair.extra}")
    return pair


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a Redis that has one worker."""
    with cluster(tmp_path_factory.mktemp("redis")) as server:
        yield server.url


@pytest.fixture
def at(lab: Lab) -> str:
    """The address of the lab."""
    return lab.nameserver


@pytest.fixture
def checkout(tmp_path: Path, at: str) -> Path:
    """A directory to try the pages' examples in: lists, logs, nameservers, and the command on its `bin`."""
    shutil.copy(Path(__file__).parents[1] / "hosts.txt", tmp_path)
    # Every name of the lab has an address, as if a wildcard made it; the last one is not like the others.
    (tmp_path / "names.txt").write_text("python.org\nwww.debian.org\nnx.example\ncname-1.example\n")
    (tmp_path / "words.txt").write_text("www\nnx\n")
    for nameservers in ("resolvers.txt", "trusted.txt"):
        (tmp_path / nameservers).write_text(f"{at}\n")
    (tmp_path / "assets.csv").write_text("owner,host,asset\nAnn,a.example,1\nBob,b.example,2\n")
    (tmp_path / "access.log").write_text("python.org\tGET /\n")
    urls = ["GET https://python.org/a,b?c@d", "CONNECT pypi.org:443"]
    (tmp_path / "squid.log").write_text("".join(f"1.2 95 192.0.2.9 TCP_MISS/200 512 {url} - -\n" for url in urls))
    (tmp_path / "bin").mkdir()
    command = tmp_path / "bin" / "resolve"
    command.write_text(f'#!/bin/sh\nexec {" ".join(COMMAND)} "$@"\n')
    command.chmod(0o755)
    return tmp_path


@pytest.fixture
def elsewhere(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Return what to tell `resolve` with the test's engine: what needs workers finds some, which is quicker."""
    return {"redis": request.getfixturevalue("broker")} if request.getfixturevalue("engine") == "redis" else {}


@pytest.fixture
def env(elsewhere: dict[str, Any]) -> dict[str, str]:
    """The same for the command: its environment."""
    return environment(**{f"RESOLVE_{name.upper()}": value for name, value in elsewhere.items()})


class Ask:
    """`resolve` on one pair. Where the test names no nameserver it asks the lab, or whomever such a backend asks.

    broker: where workers are found, by an engine that asks for some. The children of `processes` are kept from one run
    to the next, as a worker keeps them: starting them would be a tenth of all the time that the tests take.
    """

    def __init__(self, pair: Pair, lab: Lab, broker: str | None = None) -> None:
        self.pair = pair
        self.lab = lab
        self._broker = broker
        self._idle = IdleChildren(8)
        self._patched = Patched() if lacking(pair, "in-process") else None
        self._resolve: Callable[..., Run] = self._patched or resolve

    def __call__(self, hosts: Iterable[str], **options: Any) -> Run:
        """The run of these hosts."""
        if not {"nameservers", "policy"} & options.keys() and not lacking(self.pair, "nameservers"):
            options["nameservers"] = self.lab.nameserver
        if self._broker is not None:
            options["redis"] = self._broker
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(processes, "engine", processes.Processes(idle=self._idle))
            return self._resolve(hosts, engine=self.pair.engine, backend=self.pair.backend, **options)

    @property
    def pid(self) -> int:
        """The process in which runs take place."""
        return os.getpid() if self._patched is None else self._patched.pid

    def close(self) -> None:
        """End what it started."""
        self._idle.close()
        if self._patched is not None:
            self._patched.close()


class Patched:
    """`resolve` in a child process whose standard library is gevent's from the start. It ends with the tests."""

    PROGRAM = """
from gevent import monkey; monkey.patch_all()
import pickle, sys
from resolver import resolve
while True:
    try:
        hosts, options = pickle.load(sys.stdin.buffer)
    except EOFError:
        break
    try:
        came = resolve(hosts, **options)
    except Exception as error:
        came = error
    pickle.dump(came, sys.stdout.buffer)
    sys.stdout.buffer.flush()
"""

    def __init__(self) -> None:
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
        self._child = subprocess.Popen(
            [sys.executable, "-c", self.PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
        )
        self.pid = self._child.pid

    def __call__(self, hosts: Iterable[str], **options: Any) -> Run:
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        pickle.dump((list(hosts), options), self._child.stdin)
        self._child.stdin.flush()
        came = pickle.load(self._child.stdout)
        if isinstance(came, Exception):
            raise came
        assert isinstance(came, Run)
        return came

    def close(self) -> None:
        """End the child."""
        with self._child:
            assert self._child.stdin is not None
            self._child.stdin.close()


@pytest.fixture(scope="session")
def look_up(pair: Pair, lab: Lab, request: pytest.FixtureRequest) -> Iterator[Ask]:
    """Looks hosts up on one pair of the table. `localhost` is a name that every one of them has an address for."""
    asking = Ask(pair, lab, request.getfixturevalue("broker") if pair.engine == "redis" else None)
    yield asking
    asking.close()


@pytest.fixture(scope="session")
def ask(look_up: Ask) -> Ask:
    """The same, on pairs that ask the nameserver that they are told to (`able` sees to that)."""
    return look_up


def fresh(label: str) -> str:
    """A name that begins with this label and that nobody has asked for yet: some scripts count how often they are."""
    return f"{label}.n{next(_fresh)}.example"

"""What the tests share: the lab, and every engine with every backend that it runs.

A test that looks something up takes `ask` (or `pair`) and thereby runs on each pair of the table in resolver.engines;
rows that are added there are picked up here by themselves.
"""

import itertools
import os
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from hypothesis import settings

from resolver import Run, resolve
from resolver.engines import Pair, pairs
from resolver.lab import Lab

# What a backend cannot do or tell, in words that tests use with @pytest.mark.needs: the one place for that. A backend
# that does not stand here can do everything; `ask` needs "nameservers" by itself.
#
#   nameservers   asks the nameservers that the run names
#   streams       asks nameservers over TCP and TLS
#   matching      drops forged and broken replies by itself, and keeps the count
#   attempts      tells how many queries were sent, and to whom
CANNOT: dict[str, frozenset[str]] = {
    "system": frozenset({"nameservers", "streams", "matching", "attempts"}),
}

_fresh = itertools.count()

# The same examples at every run: a check of a commit must not depend on chance. HYPOTHESIS_PROFILE=default explores.
settings.register_profile("steady", derandomize=True, database=None, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "steady"))


def pytest_configure(config: pytest.Config) -> None:
    """Make the mark known; --strict-markers asks for it."""
    config.addinivalue_line("markers", "needs(*abilities): skip backends that cannot do this (CANNOT in conftest.py)")


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """A nameserver that answers for every name, and plays the scripts of resolver.lab.SCRIPTS."""
    with Lab() as running:
        yield running


@pytest.fixture(scope="session", params=list(pairs()), ids=lambda pair: f"{pair.engine}-{pair.backend}")
def pair(request: pytest.FixtureRequest) -> Pair:
    """An engine and a backend that go together; skipped where one of them is not installed."""
    pair: Pair = request.param
    if not pair.installed:
        pytest.skip(f"{pair.engine} with {pair.backend} needs the extra {pair.extra}")
    return pair


@pytest.fixture(autouse=True)
def _able(request: pytest.FixtureRequest) -> None:
    """Skip a test on a backend that cannot do what the test needs."""
    if "pair" not in request.fixturenames:
        return
    needed = {ability for mark in request.node.iter_markers("needs") for ability in mark.args}
    if {"ask", "replies"} & set(request.fixturenames):
        needed.add("nameservers")
    pair: Pair = request.getfixturevalue("pair")
    lacking = sorted(needed & CANNOT.get(pair.backend, frozenset()))
    if lacking:
        pytest.skip(f"backend {pair.backend} cannot: {', '.join(lacking)}")


class Ask:
    """`resolve` on one pair; asks the lab where the test names no nameserver."""

    def __init__(self, pair: Pair, lab: Lab) -> None:
        self.pair = pair
        self.lab = lab

    def __call__(self, hosts: Iterable[str], **options: Any) -> Run:
        """The run of these hosts."""
        if not {"nameservers", "policy"} & options.keys():
            options["nameservers"] = self.lab.nameserver
        return resolve(hosts, engine=self.pair.engine, backend=self.pair.backend, **options)


@pytest.fixture(scope="session")
def ask(pair: Pair, lab: Lab) -> Ask:
    """Looks hosts up on one pair of the table."""
    return Ask(pair, lab)


def fresh(label: str) -> str:
    """A name that begins with this label and that nobody has asked for yet: some scripts count how often they are."""
    return f"{label}.n{next(_fresh)}.example"

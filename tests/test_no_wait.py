"""Fire and forget where the kernel refuses queries: what went out is counted as sent, the rest as failed."""

import errno
import os
import socket
from collections.abc import Callable

import pytest

from resolver import Policy, Query
from resolver.tallies import NameserverTallies
from resolver.wire import udp
from resolver.wire.oneway import OneWayChannel, SendCounts


class Once:
    """So many queries, all at once."""

    ended = False
    block_sink = None
    tallies = NameserverTallies()

    def __init__(self, number: int) -> None:
        self._left = [Query(n, "", f"{'h' * (1 + n % 3)}{n}.example.", "A") for n in range(number)]

    def take(self, n: int) -> list[Query] | None:
        taken, self._left = self._left[:n], self._left[n:]
        return taken or None

    def max_wait(self) -> float:
        return 0.0


@pytest.mark.parametrize("segments", [True, False])
@pytest.mark.parametrize("refused", [{0}, {7}, {0, 7, 8, 19}, {19}, set(range(20))])
def test_a_batch_half_sent(refused: set[int], segments: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each refusal costs the one query that it was about, whichever it is and however the batch is sent."""
    calls = 0

    def write(fd: int, message: bytes, genuine: Callable[[int, bytes], int] = os.write) -> int:
        nonlocal calls
        calls += 1
        if calls - 1 in refused:
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
        return genuine(fd, message)

    # The kernel sends no segments here, so that each datagram is a call by itself.
    monkeypatch.setattr(udp, "UDP_SEGMENT", 9999)
    monkeypatch.setattr(udp, "FEW", 4 if segments else 1000)
    monkeypatch.setattr(os, "write", write)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        silent.setblocking(False)
        counts = SendCounts()
        policy = Policy(nameservers=("{}:{}".format(*silent.getsockname()),))
        with OneWayChannel(Once(20), policy, "by hand", lambda *_: None) as channel:
            while not channel.idle:
                counts.add(channel.flush())
        came: set[bytes] = set()
        while len(came) < 20 - len(refused):
            came.add(silent.recv(512))
    assert (20 - len(refused), len(refused)) == (counts.sent, counts.failed)
    assert "operation not permitted" in (counts.reason or "")

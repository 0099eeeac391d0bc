"""The inner loops of a run: in C (_accelerate.c) where that was built, else as far as the Python below has them anyway.

The C takes the plain cases alone and hands everything else back to the exchange and the sender. Without it, these
functions hand everything back. RESOLVE_PURE=1 leaves it out.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from resolver.congestion import Round
    from resolver.model import Query, Result
    from resolver.wire.inflight import Flow, InFlight

# The messages that were not settled; the settled ones in runs of one round and one time, each as (the round, seconds
# elapsed, the place of its first result), in the order of the results; when the query went out that the last settled
# reply answers; how many queries the settled lookups sent.
Settled = tuple[list[bytes], "list[tuple[Round, float, int]]", float, int]

RECEIVE = 1280  # octets read of a datagram: more than the 1,232 we ask for; one that fills it was cut off


def receive_singly(fd: int, most: int) -> tuple[list[bytes], int]:
    """Take up to `most` datagrams that are there; returns them, and the error that ended it (errno; 0: none)."""
    read = os.read
    messages: list[bytes] = []
    append = messages.append
    try:
        for _ in range(most):
            append(read(fd, RECEIVE))
    except OSError as failure:
        return messages, failure.errno or errno.EIO
    return messages, 0


def settle_none(
    messages: list[bytes],
    in_flight: dict[bytes, InFlight],
    timers: dict[int, InFlight],
    results: list[Result],
    now: float,
    nameserver: str,
    transport: str,
    engine: str,
    head: bytes = b"",
    tail: bytes = b"",
    indices: list[int] | None = None,
) -> Settled:
    """Settle plain replies: end their lookups and append the results.

    Args:
        messages: What came in on a flow.
        in_flight: The lookups of that flow by message ID.
        timers: The lookups of a first try by the index of their query.
        results: Grows by those of the lookups that end: Results, or lines of JSON where there are `indices`.
        now: Seconds on the exchange's clock.
        nameserver: Of the results, as `transport` and `engine` are.
        head: What such a line has between its answers and the number of attempts.
        tail: What it has after the elapsed seconds.
        indices: Grows by those of the lines.
    """
    return messages, [], -1.0, 0


def launch_none(
    queries: list[Query],
    idents: bytes,
    flow: Flow,
    in_flight: dict[bytes, InFlight],
    timers: dict[int, InFlight],
    round: Round,
    now: float,
    edns: bool,
    head: bytes,
    tail: bytes,
    types: dict[str, bytes],
) -> tuple[list[bytes], list[Query]]:
    """Put plain queries in flight.

    Args:
        queries: New ones.
        idents: Two random octets for each.
        flow: Where they leave, in the round `round`, with or without EDNS.
        in_flight: The lookups of that flow by message ID.
        timers: The lookups of a first try by the index of their query.
        now: Seconds on the exchange's clock.
        head: What stands between the ID and the question, and `tail` behind it.
        types: Type and class in octets, by mnemonic.

    Returns:
        The messages to send, and the queries that were not put in flight.
    """
    return [], queries


receive: Callable[[int, int], tuple[list[bytes], int]] = receive_singly
settle: Callable[..., Settled] = settle_none
launch: Callable[..., tuple[list[bytes], list[Query]]] = launch_none
ACCELERATED = False  # the C is there

if os.environ.get("RESOLVE_PURE", "0") in ("", "0"):
    try:
        from resolver.wire import _accelerate
    except ImportError:
        pass  # it was not built: there was no compiler, or this is a checkout
    else:
        settle, launch = _accelerate.settle, _accelerate.launch
        ACCELERATED = True
        try:
            from resolver.wire._accelerate import receive as receive_many
        except ImportError:
            pass  # the platform has no recvmmsg
        else:
            receive = receive_many

"""Celery's way to the Redis, and what it lets in from there: chunks as our coordinators send them, and nothing else.

Who can write to the Redis can put anything into the queue. Celery and kombu take its entries on trust: what is not
JSON ends the worker. So each is checked (envelope.py) before either makes anything of it; what is refused is gone.

The one thing to know before changing anything here: a message that was let in counts as taken until it is acknowledged.
One that breaks Celery after that comes back when VISIBILITY has passed, again and again.
"""

from __future__ import annotations

import logging
from queue import Empty
from typing import TYPE_CHECKING, Any

from kombu.transport import redis

from resolver.distributed.envelope import QUEUE, check
from resolver.distributed.outage import RedisConnection, RedisTlsConnection
from resolver.distributed.payload import Refused

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger("resolver.distributed")

# What comes of reading anything; not what the connection raises, which Celery sees to.
_UNREADABLE = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError)


class UnackedMessages(redis.QoS):
    """Celery's note of what workers have taken: what cannot be read there is forgotten, and all else put back."""

    def restore_by_tag(self, tag: Any, client: Any = None, leftmost: bool = False) -> None:
        try:
            super().restore_by_tag(tag, client, leftmost)  # type: ignore[no-untyped-call]  # kombu carries few types
        except _UNREADABLE as error:
            log.warning("what a worker had taken was refused: it cannot be read (%s)", type(error).__name__)
            with self.channel.conn_or_acquire(client) as connected:
                self._remove_from_indices(tag, connected.pipeline()).execute()  # type: ignore[no-untyped-call]


class RedisChannel(redis.Channel):
    """Reads on after what cannot be read, and takes a Redis that refuses for now for one that is away."""

    QoS = UnackedMessages
    connection_class = RedisConnection
    connection_class_ssl = RedisTlsConnection

    def _brpop_read(self, **options: Any) -> Any:
        return _survived(super()._brpop_read, **options)

    def _receive(self, **options: Any) -> Any:
        return _survived(super()._receive, **options)


class Transport(redis.Transport):
    """Delivers what it lets in."""

    Channel = RedisChannel

    def _deliver(self, message: Any, queue: str) -> None:
        try:
            if queue == QUEUE:
                check(message)
        except Refused as refused:
            log.warning("a message was refused: %s", refused)
        else:
            super()._deliver(message, queue)  # type: ignore[no-untyped-call]  # kombu carries few types


def _survived(read: Callable[..., Any], **options: Any) -> Any:
    """What `read` gives; as if nothing had come where that is no message at all."""
    try:
        return read(**options)
    except _UNREADABLE as error:
        log.warning("a message was refused: it cannot be read (%s: %s)", type(error).__name__, str(error)[:200])
        raise Empty from None

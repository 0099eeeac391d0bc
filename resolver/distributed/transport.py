"""Celery's way to the Redis, and the check of what it brings: chunks as our coordinators send them, and nothing else.

Anybody who can write to the Redis can put anything into the queue. Celery and kombu trust its entries: one that is not
JSON ends the worker. Each is checked (envelope.py) before either makes anything of it, and is gone if it is refused. A
message that was let in counts as taken until it is acknowledged: one that breaks Celery after that comes back when
VISIBILITY has passed, again and again.

Kombu has no public place for such a check. Names of kombu.transport.redis that are overridden or used (setup.cfg bounds
kombu for them):

    Transport._deliver           each message passes here once it is JSON, and not yet a kombu Message: it is checked
    Channel._brpop_read          reads the queue; an entry that is not JSON raises here, and is skipped
    Channel._create_client       makes a client for each message, and again to acknowledge it: here one is kept
    Channel._receive             reads what is broadcast (`celery inspect`); as _brpop_read
    QoS.restore_by_tag           puts back what a dead worker had taken; an entry that cannot be read raises here
    QoS._remove_from_indices     removes that entry, which would be tried again for ever
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

# Raised by reading garbage. Errors of the connection are Celery's to handle.
_UNREADABLE = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError)


class UnackedMessages(redis.QoS):
    """Kombu's messages that workers have taken: one that cannot be read is removed, all others are put back."""

    def restore_by_tag(self, tag: Any, client: Any = None, leftmost: bool = False) -> None:
        try:
            super().restore_by_tag(tag, client, leftmost)  # type: ignore[no-untyped-call]  # kombu carries few types
        except _UNREADABLE as error:
            log.warning("what a worker had taken was refused: it cannot be read (%s)", type(error).__name__)
            with self.channel.conn_or_acquire(client) as connected:
                self._remove_from_indices(tag, connected.pipeline()).execute()  # type: ignore[no-untyped-call]


class RedisChannel(redis.Channel):
    """Kombu's channel, which reads on after an unreadable message, over connections that end at a refusal."""

    QoS = UnackedMessages
    connection_class = RedisConnection
    connection_class_ssl = RedisTlsConnection
    _kept: Any = None

    def _create_client(self, asynchronous: bool = False) -> Any:
        """Return a client of redis-py: the same each time, since making one takes longer than what it is used for."""
        if asynchronous:
            return super()._create_client(asynchronous)  # type: ignore[no-untyped-call]  # kombu carries few types
        if self._kept is None or self._kept.connection_pool is not self.pool:
            self._kept = super()._create_client()  # type: ignore[no-untyped-call]
        return self._kept

    def _brpop_read(self, **options: Any) -> Any:
        return _skip_unreadable(super()._brpop_read, **options)

    def _receive(self, **options: Any) -> Any:
        return _skip_unreadable(super()._receive, **options)


class Transport(redis.Transport):
    """Kombu's transport, which delivers checked messages only."""

    Channel = RedisChannel

    def _deliver(self, message: Any, queue: str) -> None:
        try:
            if queue == QUEUE:
                check(message)
        except Refused as refused:
            log.warning("a message was refused: %s", refused)
        else:
            super()._deliver(message, queue)  # type: ignore[no-untyped-call]  # kombu carries few types


def _skip_unreadable(read: Callable[..., Any], **options: Any) -> Any:
    """Return what `read` does; raise Empty, as if nothing had come, where that cannot be read."""
    try:
        return read(**options)
    except _UNREADABLE as error:
        log.warning("a message was refused: it cannot be read (%s: %s)", type(error).__name__, str(error)[:200])
        raise Empty from None

"""Celery's way to the Redis, and what it lets in from there: chunks as our coordinators send them, and nothing else.

Who can write to the Redis can put anything into the queue. Celery and kombu take its entries on trust: what is not
JSON ends the worker, and a task may name callbacks to be sent on, a time to be held until, or a compression that makes
gigabytes of a line. So each entry is checked here, before either makes anything of it; what is refused is gone.

The one thing to know before changing anything here: a message that was let in counts as taken until it is acknowledged.
One that breaks Celery after that comes back when VISIBILITY has passed, again and again.
"""

from __future__ import annotations

import binascii
import logging
from queue import Empty
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from kombu.transport import redis

from resolver.distributed.payload import OCTETS, VERSION, Refused

if TYPE_CHECKING:
    from collections.abc import Callable

QUEUE = f"chunks-{VERSION}"
TASK = "resolve.chunk"

log = logging.getLogger("resolver.distributed")

# What comes of reading anything; not what the connection raises, which Celery sees to.
_UNREADABLE = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError)

_Line = Annotated[str, msgspec.Meta(max_length=256)]


class _Headers(msgspec.Struct):
    """Of a task: ours, to be done now, and with no consequences."""

    task: str
    id: _Line
    root_id: _Line | None = None
    parent_id: None = None
    eta: None = None
    expires: None = None
    group: None = None
    group_index: None = None
    chord: None = None
    compression: None = None
    shadow: None = None
    timelimit: tuple[None, None] | None = None
    retries: Literal[0] = 0
    replaced_task_nesting: Literal[0] = 0
    stamped_headers: None = None
    stamps: Annotated[dict[str, None], msgspec.Meta(max_length=0)] | None = None
    argsrepr: _Line | None = None
    kwargsrepr: _Line | None = None
    origin: _Line | None = None


class _Address(msgspec.Struct):
    """Where it goes if the worker hands it back."""

    exchange: str
    routing_key: str


class _Properties(msgspec.Struct):
    """What kombu keeps of it."""

    delivery_tag: _Line
    delivery_info: _Address
    body_encoding: Literal["base64"]
    correlation_id: _Line | None = None
    reply_to: _Line | None = None


class _Envelope(msgspec.Struct, rename="kebab"):
    """An entry of the queue."""

    body: str
    content_type: str
    content_encoding: Literal["utf-8"]
    headers: _Headers
    properties: _Properties


class _Embed(msgspec.Struct, forbid_unknown_fields=True):
    """What Celery would do after the task."""

    callbacks: None = None
    errbacks: None = None
    chain: None = None
    chord: None = None


_Body = tuple[tuple[str], Annotated[dict[str, None], msgspec.Meta(max_length=0)], _Embed]
_of_json = msgspec.json.Decoder(_Body)


def check(message: object) -> None:
    """Raises Refused, with a sentence, for whatever is not a task as a coordinator sends it."""
    try:
        envelope = msgspec.convert(message, _Envelope)
        if envelope.content_type != "application/json":
            raise Refused(f"it is {envelope.content_type[:64]!r}, and only application/json is read")
        if envelope.headers.task != TASK:
            raise Refused(f"it is a task {envelope.headers.task[:64]!r}, and only {TASK} is done")
        address = envelope.properties.delivery_info
        if (address.exchange, address.routing_key) != ("", QUEUE):
            raise Refused("it is for another queue")
        if len(envelope.body) > 2 * OCTETS:
            raise Refused(f"it has {len(envelope.body):,} characters; a chunk has {OCTETS:,} at most")
        _of_json.decode(binascii.a2b_base64(envelope.body, strict_mode=True))
    except Refused:
        raise
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise Refused(f"it is no task of ours ({error})") from None


class Taken(redis.QoS):
    """Celery's note of what workers have taken: what cannot be read there is forgotten, and all else put back."""

    def restore_by_tag(self, tag: Any, client: Any = None, leftmost: bool = False) -> None:
        try:
            super().restore_by_tag(tag, client, leftmost)  # type: ignore[no-untyped-call]  # kombu carries few types
        except _UNREADABLE as error:
            log.warning("what a worker had taken was refused: it cannot be read (%s)", type(error).__name__)
            with self.channel.conn_or_acquire(client) as connected:
                self._remove_from_indices(tag, connected.pipeline()).execute()  # type: ignore[no-untyped-call]


class Channel(redis.Channel):
    """Reads on after what cannot be read."""

    QoS = Taken

    def _brpop_read(self, **options: Any) -> Any:
        return _survived(super()._brpop_read, **options)

    def _receive(self, **options: Any) -> Any:
        return _survived(super()._receive, **options)


class Transport(redis.Transport):
    """Delivers what it lets in."""

    Channel = Channel

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

"""A chunk in the queue: Celery's task message (protocol 2), in kombu's envelope.

Coordinators write it by themselves, and so need no Celery, which takes a quarter of a second to load. Entries of the
queue are checked here, before Celery makes anything of them: a task may name callbacks to be sent on, a time to be held
until, or a compression that makes gigabytes of a line. `check` lets in what `wrap` makes, and nothing else.
"""

from __future__ import annotations

import base64
import binascii
import uuid
from typing import Annotated, Literal

import msgspec

from resolver.distributed.payload import MAX_OCTETS, VERSION, Refused, refusing

QUEUE = f"chunks-{VERSION}"
TASK = "resolve.chunk"

_Line = Annotated[str, msgspec.Meta(max_length=256)]


_Empty = Annotated[dict[str, None], msgspec.Meta(max_length=0)]


class _Headers(msgspec.Struct, forbid_unknown_fields=True):
    """Headers of a task: ours, to be done now, and with no consequences.

    Celery reads other headers too; a task without them has no value for them. `redelivered` is kombu's, of what it put
    back.
    """

    task: str
    id: _Line
    root_id: _Line | None = None
    eta: None = None
    expires: None = None
    compression: None = None
    argsrepr: _Line | None = None
    kwargsrepr: _Line | None = "{}"
    lang: str = "py"
    ignore_result: bool = True
    redelivered: bool = False


class _Address(msgspec.Struct):
    """The queue that it returns to if the worker hands it back."""

    exchange: str
    routing_key: str


class _Properties(msgspec.Struct, forbid_unknown_fields=True):
    """Properties that kombu keeps."""

    delivery_tag: _Line
    delivery_info: _Address
    body_encoding: Literal["base64"]
    correlation_id: _Line | None = None


class _Envelope(msgspec.Struct, rename="kebab"):
    """An entry of the queue."""

    body: str
    content_type: str
    content_encoding: Literal["utf-8"]
    headers: _Headers
    properties: _Properties


# The arguments of the task, those with a name, and by their kind the tasks that Celery would start after it.
_Body = tuple[tuple[str], _Empty, dict[str, None]]
_of_json = msgspec.json.Decoder(_Body)
_to_json = msgspec.json.Encoder()


def check(message: object) -> None:
    """Raise Refused, with a sentence, for whatever is not a task as a coordinator sends it."""
    with refusing("it is no task of ours"):
        envelope = msgspec.convert(message, _Envelope)
        if envelope.content_type != "application/json":
            raise Refused(f"it is {envelope.content_type[:64]!r}, and only application/json is read")
        if envelope.headers.task != TASK:
            raise Refused(f"it is a task {envelope.headers.task[:64]!r}, and only {TASK} is done")
        address = envelope.properties.delivery_info
        if (address.exchange, address.routing_key) != ("", QUEUE):
            raise Refused("it is for another queue")
        if len(envelope.body) > 2 * MAX_OCTETS:
            raise Refused(f"it has {len(envelope.body):,} characters; a chunk has {MAX_OCTETS:,} at most")
        _of_json.decode(binascii.a2b_base64(envelope.body, strict_mode=True))


def wrap(text: str, description: str) -> bytes:
    """Return the queue's entry for a chunk; `description` is for people."""
    name = str(uuid.uuid4())
    body = _to_json.encode(((text,), {}, dict.fromkeys(("callbacks", "errbacks", "chain", "chord"))))
    headers = _Headers(TASK, name, root_id=name, argsrepr=description)
    properties = _Properties(str(uuid.uuid4()), _Address("", QUEUE), "base64", name)
    return _to_json.encode(_Envelope(base64.b64encode(body).decode(), "application/json", "utf-8", headers, properties))

"""The Redis (or Valkey) that a run and its workers share: its address, the names of its keys, how Celery is set up.

Keys, all below `resolve:` (ID is a run's, NAME a worker's):

    resolve:chunks-VERSION      the queue of chunks, a list: only workers of that version take from it
    resolve:unacked*            Celery's: what workers have taken, until they are done with it
    resolve:run:ID:alive        the run's lease: `on`, `timed` (see next), or `over` where the run ends early
    resolve:run:ID:ends         of a timed run (--timeout): lives as long as it has time left
    resolve:run:ID:results      the run's stream of reports
    resolve:workers             the names of all workers, a set
    resolve:worker:NAME         a worker's beat: version, slots, host, what it has in hand (JSON)
    resolve:worker:NAME:told    a sentence from a coordinator, for its log

An address may hold a password: print `Broker.shown` only, and make the text of errors from that.
"""

from __future__ import annotations

import contextlib
import re
import ssl
import threading
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote, urlsplit

import redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from resolver.distributed.envelope import QUEUE
from resolver.distributed.outage import RedisConnection, RedisTlsConnection, told

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from celery import Celery

PREFIX = "resolve:"
WORKERS = f"{PREFIX}workers"
ON, TIMED, OVER = "on", "timed", "over"
LEASE = 15.0  # seconds that a run lives without its coordinator: the longest outage of the Redis that disturbs nobody
BEAT = 1.0  # seconds between two beats of a worker
DEAD = 5.0  # seconds after its last beat that it counts as gone
ANSWER_TIMEOUT = 15.0  # seconds that an answer may take, beyond what was asked to block
# Octets that are read at once: reports are large, and redis-py copies all that it has for each piece of one.
READ = 1 << 20
# The coordinator sends again what is lost, much sooner. This is for what outlives it.
VISIBILITY = 600.0  # seconds until Celery puts back what a dead worker had taken

_FORMS = (
    "redis://[USER:PASSWORD@]HOST[:PORT][/DB], rediss:// for TLS (with ?ssl_ca_certs=FILE for an authority); in a "
    "password / is written %2F, ? %3F, # %23 and @ %40"
)
_TLS = {"ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs"}


class Broker(NamedTuple):
    """A Redis, by its address. `shown`: the address without secrets; `tls`: how its certificate is checked."""

    url: str
    shown: str
    tls: Mapping[str, Any] | None

    @classmethod
    def parse(cls, url: str) -> Broker:
        """Read redis://… or rediss://…; raises ValueError, with a sentence that never holds a password."""
        try:
            parts = urlsplit(url.strip())
            host, port = parts.hostname, parts.port
        except ValueError:
            raise ValueError(f"the Redis address cannot be read; valid: {_FORMS}") from None
        if parts.scheme not in ("redis", "rediss") or not host:
            raise ValueError(f"a Redis address is {_FORMS}")
        # What stands behind the host may be the rest of a password that holds such a character: it is never repeated.
        path = parts.path.strip("/")
        if (path and not re.fullmatch("[0-9]+", path)) or parts.fragment:
            raise ValueError(f"what follows the host is not the number of a database; a Redis address is {_FORMS}")
        pairs = (each.partition("=") for each in parts.query.split("&") if each)
        settings = {name: unquote(value) for name, _, value in pairs}
        if settings.keys() - _TLS:
            raise ValueError(f"what follows the ? is none of {', '.join(sorted(_TLS))}; a Redis address is {_FORMS}")
        if settings and parts.scheme == "redis":
            raise ValueError(f"{', '.join(sorted(settings))} mean nothing without TLS; a Redis address is {_FORMS}")
        where = f"[{host}]" if ":" in host else host
        shown = f"{parts.scheme}://{where}:{port or 6379}{f'/{path}' if path else ''}"
        # Kombu takes a semicolon for the end of an address.
        bare = parts._replace(query="").geturl().replace(";", "%3B")
        return cls(bare, shown, _verified(settings) if parts.scheme == "rediss" else None)

    def client(self) -> redis.Redis:
        """Return a client of redis-py, which raises at once what a command meets."""
        return redis.Redis.from_url(
            self.url,
            connection_class=RedisConnection if self.tls is None else RedisTlsConnection,
            socket_timeout=ANSWER_TIMEOUT,
            socket_connect_timeout=5.0,
            retry=Retry(NoBackoff(), 0),
            health_check_interval=0,
            socket_read_size=READ,
            **(self.tls or {}),
        )

    def reach(self) -> None:
        """Raise ConnectionError, with a sentence, where it cannot be reached or does not let us in."""
        try:
            with self.client() as client:
                client.ping()
        except (RedisError, OSError) as error:
            raise ConnectionError(f"{self.shown} cannot be used: {told(error)}") from None

    def execute_soon(self, action: Callable[[Any], object], *, seconds: float) -> bool:
        """Call `action` with a client, on a thread; return whether that is done within `seconds`."""
        done = threading.Event()

        def work() -> None:
            with contextlib.suppress(RedisError, OSError), self.client() as client:
                action(client)
                done.set()

        thread = threading.Thread(target=work, name="resolve-redis-end", daemon=True)
        thread.start()
        thread.join(seconds)
        return done.is_set()

    def app(self) -> Celery:
        """Return Celery, set up for this broker; it is not made the current app."""
        from celery import Celery

        app = Celery("resolve", broker=self.url, set_as_current=False)
        app.conf.update(
            broker_transport="resolver.distributed.transport:Transport",
            # Data only, in both directions; no pickle, which would run what it is told.
            accept_content=["json"],
            # Nothing is kept of a task: what it finds goes to the run's stream.
            task_ignore_result=True,
            # A task is acknowledged when it is done, and a worker takes no more than it works on.
            task_acks_late=True,
            task_reject_on_worker_lost=True,
            worker_prefetch_multiplier=1,
            task_default_queue=QUEUE,
            task_create_missing_queues=False,
            worker_cancel_long_running_tasks_on_connection_loss=False,
            worker_hijack_root_logger=False,
            worker_redirect_stdouts=False,
            broker_connection_retry_on_startup=True,
            broker_connection_max_retries=None,
            broker_use_ssl=dict(self.tls) if self.tls is not None else None,
            broker_transport_options={
                "global_keyprefix": PREFIX,
                "visibility_timeout": VISIBILITY,
                "unacked_restore_interval": 5,
                "unacked_restore_throttle": 1,
                "unacked_mutex_expire": 10,
                "socket_timeout": ANSWER_TIMEOUT,
                "socket_connect_timeout": 5.0,
            },
        )
        return app


class Keys(NamedTuple):
    """The names of one run's keys."""

    alive: str
    ends: str
    results: str

    @classmethod
    def of(cls, run: str) -> Keys:
        return cls(*(f"{PREFIX}run:{run}:{each}" for each in cls._fields))


def worker_key(name: str) -> str:
    """Return the key of a worker's beat."""
    return f"{PREFIX}worker:{name}"


def _verified(settings: dict[str, str]) -> dict[str, Any]:
    """Return how the certificate of a rediss:// address is checked: always, unless the address says `none`."""
    kinds = {"required": ssl.CERT_REQUIRED, "none": ssl.CERT_NONE}
    wanted = settings.pop("ssl_cert_reqs", "required").lower()
    if wanted not in kinds:
        raise ValueError(f"ssl_cert_reqs is {' or '.join(kinds)}, not {wanted!r}")
    return {"ssl_cert_reqs": kinds[wanted], "ssl_check_hostname": wanted == "required", **settings}

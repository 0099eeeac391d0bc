"""A Redis that is away, or there and refusing for a while: the one place where the second is treated as the first.

After a failover (READONLY), without its replicas (NOREPLICAS), with a disk that it cannot write to (MISCONF) or with no
memory left (OOM), a Redis answers commands with errors that pass by themselves. To redis-py they are errors of the
command, and Celery ends at one. The connections here raise `Unavailable`, which is a ConnectionError, and close: so
Celery, redis-py and our own threads connect and try again, as they do with a Redis that is away, or that is starting
(LOADING: to redis-py that is one already).

Errors that another try cannot mend (a password, a permission, an unknown command) must not be among them.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from typing import Any

import redis
from redis.exceptions import BusyLoadingError, ConnectionError, ResponseError

# How a Redis begins an error that passes. UNBLOCKED is what a waiting BRPOP is told when its master turns replica;
# MASTERDOWN, CLUSTERDOWN and TRYAGAIN pass when a failover is over, BUSY with a script that runs long. Of some redis-py
# takes the word off, and makes it a class.
PASSING = {
    "NOREPLICAS": None,
    "MISCONF": None,
    "UNBLOCKED": None,
    "BUSY": None,
    "READONLY": redis.exceptions.ReadOnlyError,
    "OOM": redis.exceptions.OutOfMemoryError,
    "MASTERDOWN": redis.exceptions.MasterDownError,
    "CLUSTERDOWN": redis.exceptions.ClusterDownError,
    "TRYAGAIN": redis.exceptions.TryAgainError,
}
_ABORTED = "Transaction discarded because of: "  # of EXEC; what follows is such an error
REPEAT_AFTER = 10.0  # seconds until the same is said again

log = logging.getLogger("resolver.distributed.outage")


class Unavailable(ConnectionError):
    """Raised where the Redis is there, and takes no commands just now."""


def passing(error: ResponseError) -> str | None:
    """Return the text of an error that passes by itself; None for any other."""
    text = str(error)
    if isinstance(error, redis.exceptions.ExecAbortError):
        text = text.partition(_ABORTED)[2]
    for code, kind in PASSING.items():
        if type(error) is kind:
            return f"{code} {text}"
    return text if text.partition(" ")[0] in PASSING else None


class _EndsOnRefusal:
    """The behaviour that both kinds of connections share: a refusal that passes ends them."""

    def read_response(self, *args: Any, **kwargs: Any) -> Any:
        """Read a reply. Raises Unavailable where the Redis refuses for now."""
        try:
            reply = super().read_response(*args, **kwargs)  # type: ignore[misc]  # of redis-py's class
        except ResponseError as error:
            self._end_if_passing(error)
            raise
        for each in reply if isinstance(reply, list) else ():  # of a transaction: a script in it may have been refused
            if isinstance(each, ResponseError):
                self._end_if_passing(each)
        return reply

    def _end_if_passing(self, error: ResponseError) -> None:
        if (text := passing(error)) is not None:
            # Further replies of the same pipeline are still to come, which nobody will read.
            self.disconnect()  # type: ignore[attr-defined]  # of redis-py's class
            raise Unavailable(text) from None


class RedisConnection(_EndsOnRefusal, redis.Connection):
    """A connection by TCP."""


class RedisTlsConnection(_EndsOnRefusal, redis.SSLConnection):
    """A connection by TLS."""


class Notices:
    """Warnings for people: the same one at most every REPEAT_AFTER seconds."""

    def __init__(self) -> None:
        self._said: dict[str, float] = {}

    def warn(self, sentence: str) -> None:
        """Log a sentence, unless it was just logged."""
        now = time.monotonic()
        if now - self._said.get(sentence, -math.inf) >= REPEAT_AFTER:
            self._said[sentence] = now
            logging.getLogger("resolver.distributed").warning(sentence)


class Outage:
    """Tells people that a Redis cannot be used, at once and every ten seconds, and when it can be used again.

    Any thread may call. A part is whose command failed or worked; the outage is over when the commands of every part
    work again.
    """

    def __init__(self, shown: str) -> None:
        self._shown = shown
        self._failing: set[str] = set()
        self._since = 0.0
        self._told = 0.0
        self._lock = threading.Lock()

    @property
    def lasts(self) -> bool:
        """Whether the Redis cannot be used now, as far as is known."""
        return bool(self._failing)

    def failed(self, part: str, error: BaseException) -> None:
        """Record that a command of this part failed."""
        with self._lock:
            now = time.monotonic()
            if not self._failing:
                self._since, self._told = now, -math.inf
            self._failing.add(part)
            if now - self._told < REPEAT_AFTER:
                return
            self._told = now
        log.warning(f"{self._shown} cannot be used ({told(error)}); trying again")

    def worked(self, part: str) -> None:
        """Record that a command of this part worked."""
        if part not in self._failing:
            return
        with self._lock:
            self._failing.discard(part)
            if not self._failing:
                self._tell_end()

    def end(self) -> None:
        """Record that no part has another command to send, and that a last one worked."""
        with self._lock:
            if self._failing:
                self._failing.clear()
                self._tell_end()

    def _tell_end(self) -> None:
        log.warning(f"{self._shown} can be used again, after {time.monotonic() - self._since:.1f} s")


def told(error: BaseException) -> str:
    """Return an error of the client in plain words."""
    if isinstance(error, redis.exceptions.AuthenticationError):
        return "it refuses the user or password"
    text = " ".join(str(error).split()).rstrip(".")
    if isinstance(error, Unavailable | BusyLoadingError):
        return f"it refuses for now: {text}"
    return text or type(error).__name__

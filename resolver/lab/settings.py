"""The settings of a lab: one object that travels from parent to child, and the readers of its command line values.

Nothing here opens a socket or reads a file, and nothing here needs dnspython: the parent imports this module.
"""

import ipaddress
import math
import re
from typing import TypedDict

import msgspec

DEFAULT_PORT = 5353


class LabFields(TypedDict, total=False):
    """Keywords of a Lab that stand in its Settings as they are."""

    origin: str | None
    latency: float
    jitter: float
    loss: float
    capacity: float | None
    seed: int | None
    lies: bool
    listen: str
    public: bool


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The behaviour of a lab.

    Raises:
        ValueError: A value makes no sense; the sentence can be shown.
    """

    hosts: list[str] | None = None
    """The names that exist, in presentation format; None: every name that is asked exists."""
    zone: list[str] = []
    """Master files (RFC 1035 section 5) that are answered from."""
    origin: str | None = None
    """The origin of master files that do not say theirs."""
    latency: float = 0.0
    """Seconds between a query and its reply."""
    jitter: float = 0.0
    """Seconds that a reply may come sooner or later than that, uniformly."""
    loss: float = 0.0
    """The share of UDP queries that is lost, 0 to 1."""
    capacity: float | None = None
    """Queries a second, UDP and TCP together, above which queries are dropped."""
    seed: int | None = None
    """Makes loss and jitter repeatable."""
    listen: str = "127.0.0.1:0"
    """ADDR:PORT or [V6]:PORT; port 0 takes a free one."""
    lies: bool = False
    """Names that cannot exist (RFC 6761 section 6.4) have addresses too."""
    public: bool = False
    """An address outside loopback may be listened on."""
    tls: tuple[str, str] | None = None
    """Certificate chain and key, PEM files: DNS over TLS (RFC 7858) on another free port."""

    def __post_init__(self) -> None:
        for name, value in (("latency", self.latency), ("jitter", self.jitter)):
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"{name} must be 0 seconds or more, not {value!r}")
        if not 0 <= self.loss <= 1:
            raise ValueError(f"loss must be from 0 to 1, not {self.loss!r}")
        if self.capacity is not None and not (math.isfinite(self.capacity) and self.capacity > 0):
            raise ValueError(f"capacity must be above 0 queries a second, not {self.capacity!r}")
        host, _ = endpoint(self.listen)
        if not self.public and not ipaddress.ip_address(host).is_loopback:
            raise ValueError(f"the lab listens on loopback only; {host} would let other machines ask it")


class Address(msgspec.Struct, frozen=True):
    """The addresses of a lab, as `--nameserver` takes them: `127.0.0.1:5353`, `[::1]:5353`."""

    nameserver: str
    """UDP and TCP."""
    tls_nameserver: str | None = None


class Counts(msgspec.Struct):
    """Counts of a lab since it started."""

    received: int
    """Queries and other messages that arrived."""
    answered: int
    """Replies sent, forged ones and duplicates included."""
    dropped: int
    """Queries without a reply because of loss, capacity, or a script."""


class LabReport(msgspec.Struct, frozen=True):
    """One line that the child writes: an address, counts, or why it could not begin."""

    address: Address | None = None
    counts: Counts | None = None
    error: str | None = None
    errno: int | None = None
    """With `error`: that of the `OSError` that it was."""
    filename: str | None = None


def endpoint(text: str) -> tuple[str, int]:
    """Split `ADDR`, `ADDR:PORT`, `[V6]` or `[V6]:PORT`; the port is 5353 where none is given.

    Raises:
        ValueError: The text is neither.
    """
    split = re.fullmatch(r"\[([^]]*)\](?::(\d*))?", text) or re.fullmatch(r"([^:]*)(?::(\d*))?", text)
    host, port = split.groups() if split else (text, None)
    host = "127.0.0.1" if host == "localhost" else host
    try:
        ipaddress.ip_address(host)
        number = int(port or DEFAULT_PORT)
    except ValueError:
        number = -1
    if not 0 <= number <= 65535:
        raise ValueError(f"not an address to listen on: {text!r} (ADDR:PORT or [V6]:PORT)")
    return host, number


def duration(text: str) -> float:
    """Read seconds: `20ms`, `1s`, `0.02s`, or a bare number of seconds. Raises `ValueError`."""
    return _number(text, {"ms": 1e-3, "s": 1.0}, math.inf, "not a duration: {!r} (20ms, 0.02s or 0.02)")


def share(text: str) -> float:
    """Read a share of 1: `1%` or `0.01`. Raises `ValueError`, above 100% too."""
    return _number(text, {"%": 1e-2}, 1, "not a percentage from 0 to 100%: {!r} (1% or 0.01)")


def _number(text: str, units: dict[str, float], most: float, problem: str) -> float:
    number = text.strip()
    unit = next((unit for unit in units if number.endswith(unit)), "")
    try:
        value = float(number.removesuffix(unit)) * units.get(unit, 1.0)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and 0 <= value <= most):
        raise ValueError(problem.format(text))
    return value

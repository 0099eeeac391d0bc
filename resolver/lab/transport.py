"""Scripts about the size of replies and about TCP."""

from .message import A, AAAA, encode, record, truncated
from .script import Ask, How, Step, positive
from .zone import FORGED_V4, FORGED_V6, address4, address6

# A name at its longest leaves room for 2,300 IPv6 addresses in the 65,535 octets of a message.
_MOST = 2300


def forged(rtype: int) -> bytes:
    """A record that no answer may contain: 203.0.113.66, or 2001:db8::66 where AAAA is asked."""
    return record(AAAA, FORGED_V6) if rtype == AAAA else record(A, FORGED_V4)


def truncate(ask: Ask, number: int) -> list[Step]:
    return _over_tcp(ask, Step(ask.right()))


def partial_answer(ask: Ask, number: int) -> list[Step]:
    if ask.query.stream:
        return [Step(ask.right())]
    return [Step(encode(ask.query, answer=[forged(ask.query.type)], tc=True))]


def many(ask: Ask, number: int) -> list[Step]:
    query = ask.query
    make = {A: address4, AAAA: address6}.get(query.type)
    if make is None:
        return [Step(ask.right())]
    addresses = (make(query.key, index) for index in range(min(number, _MOST)))
    return [Step(positive(query, [record(query.type, address) for address in addresses]))]


def always_truncated(ask: Ask, number: int) -> list[Step]:
    return [Step(truncated(ask.query))]


def no_tcp(ask: Ask, number: int) -> list[Step]:
    return _over_tcp(ask, Step(b"", how=How.CLOSE))


def half(ask: Ask, number: int) -> list[Step]:
    return _over_tcp(ask, Step(ask.right(), how=How.HALF))


def reset(ask: Ask, number: int) -> list[Step]:
    return _over_tcp(ask, Step(b"", how=How.RESET))


def hang_tcp(ask: Ask, number: int) -> list[Step]:
    return _over_tcp(ask)


def dribble(ask: Ask, number: int) -> list[Step]:
    return _over_tcp(ask, Step(ask.right(), how=How.DRIBBLE))


def twice(ask: Ask, number: int) -> list[Step]:
    return [Step(ask.right())] * 2


def _over_tcp(ask: Ask, *steps: Step) -> list[Step]:
    return list(steps) if ask.query.stream else [Step(truncated(ask.query))]

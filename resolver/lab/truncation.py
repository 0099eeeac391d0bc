"""Scripts about the size of replies and about TCP."""

from .octets import A, AAAA, encode, record, truncated
from .records import address4, address6, forged
from .script import Ask, How, PlannedReply, Table, positive

# A name at its longest leaves room for 2,300 IPv6 addresses in the 65,535 octets of a message.
_MOST = 2300


def _many(ask: Ask) -> bytes:
    make = {A: address4, AAAA: address6}.get(ask.query.type)
    if make is None:
        return ask.right()
    addresses = (make(ask.query.key, index) for index in range(min(ask.number, _MOST)))
    return positive(ask.query, [record(ask.query.type, address) for address in addresses])


def _over_tcp(ask: Ask, *replies: PlannedReply) -> list[PlannedReply]:
    return list(replies) if ask.query.stream else [PlannedReply(truncated(ask.query))]


def _partial(ask: Ask) -> bytes:
    return ask.right() if ask.query.stream else encode(ask.query, answer=[forged(ask.query.type)], tc=True)


SCRIPTS: Table = (
    ("truncated", "TC over UDP, the whole answer over TCP", lambda ask: _over_tcp(ask, PlannedReply(ask.right()))),
    ("partial", "like truncated, with a wrong record in the truncated reply", _partial),
    ("big-N", "N different addresses: truncated where they do not fit", _many),
    ("multi-N", "N different addresses", _many),
    ("tcalways", "TC over UDP and over TCP", lambda ask: truncated(ask.query)),
    ("notcp", "TC over UDP; over TCP the connection is closed at once",
     lambda ask: _over_tcp(ask, PlannedReply(b"", how=How.CLOSE))),
    ("closetcp", "TC over UDP; over TCP one half of the reply, then the connection is closed",
     lambda ask: _over_tcp(ask, PlannedReply(ask.right(), how=How.HALF))),
    ("resettcp", "TC over UDP; over TCP the connection is reset",
     lambda ask: _over_tcp(ask, PlannedReply(b"", how=How.RESET))),
    ("hangtcp", "TC over UDP; over TCP no reply", lambda ask: _over_tcp(ask)),
    ("dribble", "TC over UDP; over TCP a few octets at a time",
     lambda ask: _over_tcp(ask, PlannedReply(ask.right(), how=How.DRIBBLE))),
    ("dup", "the reply twice", lambda ask: [PlannedReply(ask.right())] * 2),
)  # fmt: skip

"""Scripts of replies that a resolver must drop and wait past: forged ones and broken ones (RFC 5452).

Forged replies hold 203.0.113.66 (2001:db8::66 for AAAA): a test sees at once that one was believed.
"""

from .octets import A, AAAA, IN, QNAME, TXT, encode, label, record
from .records import forged
from .script import Ask, How, PlannedReply, Table

# Seconds; long enough that the wrong reply is read by itself, short enough for any test.
_LATER = 0.02


def _then_right(ask: Ask, *wrong: PlannedReply) -> list[PlannedReply]:
    return [*wrong, PlannedReply(ask.right(), delay=_LATER)]


def _spoofed(ask: Ask) -> list[PlannedReply]:
    query, answer = ask.query, [forged(ask.query.type)]
    wrong_id = bytes((query.id[0] ^ 0x55, query.id[1] ^ 0xAA)) + encode(query, answer=answer)[2:]
    other_name = label("spoofed") + label("example") + b"\0"
    wrong_name = encode(query, answer=answer, question=_question(ask, other_name, query.type))
    wrong_type = encode(query, answer=answer, question=_question(ask, query.name, TXT if query.type == A else A))
    return [PlannedReply(wrong_id), PlannedReply(wrong_name), PlannedReply(wrong_type)]


def _garbage(ask: Ask) -> list[PlannedReply]:
    header = ask.query.id + b"\x84\x80"
    short = header + b"\0\1\0\1\0\0\0\0" + ask.query.question[:-3]
    return [PlannedReply(each) for each in (b"", ask.query.id, header + b"\0\1\0\1", header + b"\xff" * 40, short)]


def _bad_count(ask: Ask) -> bytes:
    message = ask.encode(answer=[forged(ask.query.type)])
    return message[:6] + b"\0\7" + message[8:]


def _bad_rdata(ask: Ask) -> bytes:
    rtype = AAAA if ask.query.type == AAAA else A
    return ask.encode(answer=[record(rtype, bytes(17 if rtype == AAAA else 5))])


def _pointer_loop(ask: Ask) -> bytes:
    # The owner of the record is a pointer to itself: RFC 1035 section 4.1.4 speaks of a prior occurrence.
    itself = (0xC000 | 12 + len(ask.query.question)).to_bytes(2)
    return ask.encode(answer=[record(A, bytes(4), owner=itself)])


def _question(ask: Ask, name: bytes, rtype: int) -> bytes:
    return name + rtype.to_bytes(2) + ask.query.cls.to_bytes(2)


_TOO_LONG = QNAME + A.to_bytes(2) + IN.to_bytes(2) + bytes(4) + b"\x7f\xff" + bytes(4)

SCRIPTS: Table = (
    ("spoof", "forged replies first: wrong ID, wrong name, wrong type; then the right one",
     lambda ask: [*_spoofed(ask), PlannedReply(ask.right())]),
    ("spoof-only", "the forged replies and never the right one", _spoofed),
    ("otherport", "a forged reply from another port first, then the right one",
     lambda ask: _then_right(ask, PlannedReply(ask.encode(answer=[forged(ask.query.type)]), how=How.OTHER_PORT))),
    ("otherport-only", "the right reply, but only from another port",
     lambda ask: [PlannedReply(ask.right(), how=How.OTHER_PORT)]),
    ("echo", "the query itself comes back, then the right reply", lambda ask: _then_right(ask, PlannedReply(ask.data))),
    # The record owns its name in full: without a question there is nothing to point at.
    ("bare", "an answer with an empty question section first, 20 ms later the right reply",
     lambda ask: _then_right(ask, PlannedReply(ask.encode(answer=[ask.query.name + forged(ask.query.type)[2:]],
                                                   question=b"")))),
    ("case", "the question in other letter case",
     lambda ask: ask.encode(answer=ask.records(), question=_question(ask, ask.query.name.swapcase(), ask.query.type))),
    ("garbage", "datagrams that cannot be parsed first, 20 ms later the right reply",
     lambda ask: _then_right(ask, *_garbage(ask))),
    ("garbage-only", "nothing but datagrams that cannot be parsed", _garbage),
    ("badptr", "only a reply whose compression pointers run in a circle", _pointer_loop),
    ("badcount", "only a reply with fewer records than its header says", _bad_count),
    ("badlength", "only a reply with a record that is longer than the message",
     lambda ask: ask.encode(answer=[_TOO_LONG], options=None)),
    ("badrdata", "only a reply with an address of 5 octets (A) or 17", _bad_rdata),
    ("trailing", "the reply with octets after its end first, 20 ms later the right one",
     lambda ask: _then_right(ask, PlannedReply(ask.right() + b"\0trailing"))),
)  # fmt: skip

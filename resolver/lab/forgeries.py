"""Scripts of replies that a resolver must drop and wait past: forged ones and broken ones (RFC 5452).

What is forged holds 203.0.113.66 (2001:db8::66 for AAAA), so a test sees at once that it was believed.
"""

from .message import A, AAAA, IN, QNAME, TXT, Query, encode, label, record
from .script import Ask, How, Step
from .transport import forged

# Long enough that the wrong reply is read by itself, short enough for any test.
_LATER = 0.02


def spoof(ask: Ask, number: int) -> list[Step]:
    return [*spoof_only(ask, number), Step(ask.right())]


def spoof_only(ask: Ask, number: int) -> list[Step]:
    query, answer = ask.query, [forged(ask.query.type)]
    wrong_id = bytes((query.id[0] ^ 0x55, query.id[1] ^ 0xAA)) + encode(query, answer=answer)[2:]
    other_name = label("spoofed") + label("example") + b"\0"
    wrong_name = encode(query, answer=answer, question=_question(query, other_name, query.type))
    wrong_type = encode(query, answer=answer, question=_question(query, query.name, TXT if query.type == A else A))
    return [Step(wrong_id), Step(wrong_name), Step(wrong_type)]


def other_port(ask: Ask, number: int) -> list[Step]:
    answer = encode(ask.query, answer=[forged(ask.query.type)])
    return [Step(answer, how=How.OTHER_PORT), Step(ask.right(), delay=_LATER)]


def other_port_only(ask: Ask, number: int) -> list[Step]:
    return [Step(ask.right(), how=How.OTHER_PORT)]


def echo(ask: Ask, number: int) -> list[Step]:
    return [Step(ask.data), Step(ask.right(), delay=_LATER)]


def bare(ask: Ask, number: int) -> list[Step]:
    # The record owns its name in full: without a question there is nothing to point at.
    answer = ask.query.name + forged(ask.query.type)[2:]
    return [Step(encode(ask.query, answer=[answer], question=b"")), Step(ask.right(), delay=_LATER)]


def other_case(ask: Ask, number: int) -> list[Step]:
    question = _question(ask.query, ask.query.name.swapcase(), ask.query.type)
    return [Step(encode(ask.query, answer=ask.records(), question=question))]


def garbage(ask: Ask, number: int) -> list[Step]:
    return [*garbage_only(ask, number), Step(ask.right(), delay=_LATER)]


def garbage_only(ask: Ask, number: int) -> list[Step]:
    header = ask.query.id + b"\x84\x80"
    return [
        Step(b""),
        Step(ask.query.id),
        Step(header + b"\0\1\0\1"),
        Step(header + b"\xff" * 40),
        Step(header + b"\0\1\0\1\0\0\0\0" + ask.query.question[:-3]),
    ]


def pointer_loop(ask: Ask, number: int) -> list[Step]:
    # The owner of the record is a pointer to itself: RFC 1035 section 4.1.4 speaks of a prior occurrence.
    at = 12 + len(ask.query.question)
    itself = (0xC000 | at).to_bytes(2)
    return [Step(encode(ask.query, answer=[record(A, bytes(4), owner=itself)]))]


def bad_count(ask: Ask, number: int) -> list[Step]:
    message = encode(ask.query, answer=[forged(ask.query.type)])
    return [Step(message[:6] + b"\0\7" + message[8:])]


def bad_length(ask: Ask, number: int) -> list[Step]:
    fixed = QNAME + A.to_bytes(2) + IN.to_bytes(2) + bytes(4)
    return [Step(encode(ask.query, answer=[fixed + b"\x7f\xff" + bytes(4)], options=None))]


def bad_rdata(ask: Ask, number: int) -> list[Step]:
    rtype = AAAA if ask.query.type == AAAA else A
    return [Step(encode(ask.query, answer=[record(rtype, bytes(17 if rtype == AAAA else 5))]))]


def trailing(ask: Ask, number: int) -> list[Step]:
    return [Step(ask.right() + b"\0trailing"), Step(ask.right(), delay=_LATER)]


def _question(query: Query, name: bytes, rtype: int) -> bytes:
    return name + rtype.to_bytes(2) + query.cls.to_bytes(2)

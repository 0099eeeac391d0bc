"""Messages: a question to octets, a reply's octets to status and records (RFC 1035 section 4).

The hot path of the whole tool: every lookup passes here twice. `walk` reads any reply; before it, `one_address` and
`fast` read those that nearly every lookup gets, in a fraction of the time: one address; nothing at all; records
written in the order in which they are followed. They may give up on whatever they like, but where they answer, they
answer as `walk` does.

Whatever octets come in, `read` raises `Malformed` and nothing else, in time
linear in their number. What never becomes an answer is stepped over, not parsed: a strange record in the additional
section is no reason to drop a reply, nor are octets behind the last record. An answer whose rdata cannot be read is
written as RFC 3597 has it.
"""

from __future__ import annotations

import struct
from socket import inet_ntoa
from typing import TYPE_CHECKING, Any

from resolver.dns import chain, edns, rdata, referral
from resolver.dns import name as names
from resolver.dns.name import Malformed as Malformed  # who reads messages catches it
from resolver.model import Query, Record, Status

if TYPE_CHECKING:
    from collections.abc import Callable

Answer = tuple[Status, list[Record], str | None]


def read(message: bytes, start: int, query: Query) -> Answer:
    """Return status, answers and error sentence of a reply that `match` has matched.

    The answers are the CNAME chain from the name that was asked, each CNAME once, then the records of the type at its
    end. The error is None but for a referral, and an rcode with extended errors.

    Args:
        message: The reply.
        start: Where its answer section begins, as `match` returned it.
        query: The lookup.

    Raises:
        Malformed: The message cannot be parsed; nothing else is raised.
    """
    try:
        answer = fast(message, start, query)
    except UNPARSABLE:
        answer = None
    if answer:
        return answer
    try:
        return walk(message, start, query)
    except UNPARSABLE as error:
        raise Malformed(str(error) if isinstance(error, Malformed) else TOO_EARLY) from error


TOO_EARLY = "the message ends too early"
UNPARSABLE = (Malformed, IndexError, struct.error)  # the latter two where the message ends too early


def one_address(message: bytes, question: bytes, query: Query) -> list[Record] | None:
    """Return the answer of a reply that has one address and OPT and nothing more, as most replies for A do, or None.

    One step for what `match` and `read` do together; where it answers, it answers as they do. None says nothing: the
    message is of another kind, no reply to this question, or broken.
    """
    unpack = _ONE_A.get(len(message)) or _one_a(len(message))
    if unpack is None:
        return None
    flags, counts, asked, head, ttl, size, octets, opt, rest = unpack(message)
    if (
        asked != question
        or flags & 0xFA0F != 0x8000  # a reply, opcode QUERY, not truncated, rcode NOERROR
        or counts != _ONE_RECORD_AND_OPT
        or head != _A_HEAD
        or size != 4
        or opt != _OPT_HEAD
        or rest != _NO_MORE
        or query.type != "A"
    ):
        return None
    return [Record(query.name, "A", ttl if ttl <= LONGEST_TTL else 0, inet_ntoa(octets))]


def _one_a(size: int) -> Callable[[bytes], tuple[Any, ...]] | None:
    """Return what takes such a message of this size apart: all but the question in it has a fixed length."""
    asked = size - 12 - 27
    if not 5 <= asked <= names.LONGEST + 4:
        return None
    return _ONE_A.setdefault(size, struct.Struct(f"!2xH8s{asked}s6sIH4s3s2x6s").unpack)


_ONE_A: dict[int, Callable[[bytes], tuple[Any, ...]]] = {}
_ONE_RECORD_AND_OPT = b"\0\x01\0\x01\0\0\0\x01"
_A_HEAD = b"\xc0\x0c\0\x01\0\x01"
_NO_MORE = bytes(6)  # of OPT: no extended rcode, version 0, no flags, no options


def match(message: bytes, question: bytes) -> int | None:
    """Return where the answer section begins, if the message is a reply to that question, else None; IDs aside.

    The name is compared octet by octet without regard to letter case (RFC 4343). An error rcode with an empty question
    section matches too: some nameservers echo nothing when they refuse.
    """
    if message.startswith(question, 12) and message[2] & 0xF8 == 0x80 and message[5] == 1 and message[4] == 0:
        return 12 + len(question)
    if len(message) < 12 or message[2] & 0xF8 != 0x80:
        return None
    questions = message[4] << 8 | message[5]
    if questions == 0 and message[3] & 15 not in (0, 3):
        return 12
    end = 12 + len(question)
    same_name = message[12 : end - 4].lower() == question[:-4].lower()
    return end if questions == 1 and same_name and message[end - 4 : end] == question[-4:] else None


def mismatch(message: bytes) -> str:
    """Return a sentence on why `match` did not take what came in a reply's place."""
    if len(message) < 12:
        return f"replies came that could not be read: {TOO_EARLY}"
    if not message[2] & 0x80:
        return "what came was a query, and no reply"
    return "what came was no reply to this question"


def unreadable(error: Malformed) -> str:
    """Return a sentence on why `read` did not take a reply."""
    return f"replies came that could not be read: {error}"


def question(name: str, type: str) -> bytes:
    """Return the question section for a name in presentation format and a type as `rdtype` returns it, class IN.

    Raises:
        ValueError: There is no such name or type.
    """
    return names.from_text(name) + (TYPE_AND_CLASS.get(type) or _type_and_class(type))


def questions(queries: list[Query]) -> list[bytes]:
    """Return the question section of each of these queries: its own, or what `question` makes. Raises as that does."""
    if queries and queries[0].question is not None:
        return [query.question or question(query.name, query.type) for query in queries]
    text = "".join([query.name for query in queries])
    if "\\" in text or not text.isascii():
        return [question(query.name, query.type) for query in queries]
    # A list has many names in few zones: what follows the first label is likely to have been encoded before.
    prefix = names.PREFIX
    encoded = []
    for query in queries:
        tails = TAILS.get(query.type)
        label, _, parent = query.name.partition(".")
        tail = tails.get(parent) if tails else None
        if tail is None or not 0 < len(label) < 64:
            encoded.append(_learn(query))
        else:
            encoded.append(prefix[len(label)] + label.encode() + tail)
    return encoded


def _learn(query: Query) -> bytes:
    """The question of a query without escapes; what follows its first label is remembered, if any label fits there."""
    whole = question(query.name, query.type)
    tail = whole[1 + whole[0] :]
    if whole[0] and 1 + 63 + len(tail) <= names.LONGEST + 4:  # the root has no first label
        tails = TAILS.setdefault(query.type, {})
        if len(tails) >= _MOST_TAILS:
            tails.clear()
        tails[query.name.partition(".")[2]] = tail
    return whole


TAILS: dict[str, dict[str, bytes]] = {}  # what follows the first label, by type and by its text
_MOST_TAILS = 4096


def truncated(message: bytes) -> bool:
    """Tell whether the TC bit is set: ask again over TCP (RFC 2181 section 9). The message has a whole header."""
    return message[2] & 2 != 0


def rdtype(text: str) -> str:
    """Return a record type in its usual writing: `a` is `A`, `TYPE1` too, `type65280` is `TYPE65280`.

    Raises:
        ValueError: The type is unknown, or one that no lookup can ask: type 0, pseudo-records, and the meta types
            (RFC 6895 section 3.1) other than ANY.
    """
    if not text.isascii():  # the capital of a long s is an S
        raise ValueError(rdata.no_type(text))
    number = rdata.number(text.upper())
    if number in (0, rdata.OPT) or (128 <= number < 256 and number != rdata.ANY):
        raise ValueError(f"{rdata.mnemonic(number)} cannot be asked as a lookup")
    return rdata.mnemonic(number)


# -- the fast path --


def fast(message: bytes, start: int, query: Query) -> Answer | None:
    """Return the answer, as `read` does; None, or an exception of `UNPARSABLE`: it is not of the simple kind."""
    if message[6:8] == b"\0\0":
        return _empty(message, start)
    return _in_order(message, start, query)


_OPT_HEAD = b"\0\0\x29"
LONGEST_TTL = 0x7FFFFFFF  # RFC 2181 section 8: with the top bit set it counts as 0
_NOERROR, _NODATA, _NXDOMAIN = Status.NOERROR, Status.NODATA, Status.NXDOMAIN


def _in_order(message: bytes, at: int, query: Query) -> Answer | None:
    """Each owner is a pointer: the first one to the question, each other one to the target of the CNAME before."""
    name, type = query.name, query.type
    if type == "ANY":
        return None
    head, type_and_class, reader = _SIMPLE.get(type) or _simple(type)
    left = message[6] << 8 | message[7]
    answers: list[Record] = []
    known: dict[int, bytes] = {}
    if not message.startswith(head, at):
        pointer = _TO_QUESTION
        seen = {message[12 : at - 4].lower()}
        while left and message.startswith(pointer + _CNAME_IN, at):
            ttl, size = _ttl_and_size(message, at + 6)
            start = at + 12
            target, at = names.read(message, start, known)
            key = target.lower()
            if at != start + size or start > 0x3FFF or key in seen:
                return None
            seen.add(key)
            alias = names.to_text(target)
            answers.append(Record(name, "CNAME", ttl if ttl <= LONGEST_TTL else 0, alias))
            name, pointer = alias, (0xC000 | start).to_bytes(2, "big")
            left -= 1
        head = pointer + type_and_class
    unique = set()
    for _ in range(left):
        if not message.startswith(head, at):
            return None
        ttl, size = _ttl_and_size(message, at + 6)
        data = reader(message, at + 12, size, known)
        answers.append(Record(name, type, ttl if ttl <= LONGEST_TTL else 0, data))
        unique.add(data)
        at += 12 + size
    rcode = message[3] & 15 | _rest(message, at)
    if rcode not in (0, 3) or len(unique) < left:
        return None
    return _NXDOMAIN if rcode else _NOERROR if left else _NODATA, answers, None


def _simple(type: str) -> tuple[bytes, bytes, rdata.Reader]:
    """Return how the first record of the type begins, how each goes on after its owner, and the reader of its rdata."""
    type_and_class = _type_and_class(type)
    simple = _TO_QUESTION + type_and_class, type_and_class, rdata.reader(rdata.number(type))
    return _SIMPLE.setdefault(type, simple)


_SIMPLE: dict[str, tuple[bytes, bytes, rdata.Reader]] = {}
_TO_QUESTION = b"\xc0\x0c"
_CNAME_IN = b"\0\5\0\1"


# -- the walk: everything else --


def walk(message: bytes, start: int, query: Query) -> Answer:
    """Return the answer of any reply, as `read` does; what cannot be parsed is an exception of `UNPARSABLE`."""
    count = message[6] << 8 | message[7]
    if count == 0:
        return _empty(message, start)
    asked = message[12 : start - 4]
    known = {12: asked} if asked else {}
    wanted = rdata.number(query.type)
    records, at = _section(message, start, count, wanted, known)
    rcode = message[3] & 15 | _rest(message, at)
    if rcode not in (0, 3):
        return Status.of_rcode(rcode), [], edns.sentence(message, start)
    answers, found = _chain(message, asked, query, wanted, records, known)
    if rcode == 3:
        return _NXDOMAIN, answers, None
    return _NOERROR if found else _NODATA, answers, None


# A record that may become an answer: its owner, type, TTL, and where its rdata is: offset and octets.
_Found = tuple[bytes, int, int, int, int]


def _section(
    message: bytes, at: int, count: int, wanted: int, known: dict[int, bytes]
) -> tuple[dict[bytes, list[_Found]], int]:
    """The records of the answer section that may become answers, by owner in lower case; and where the section ends."""
    records: dict[bytes, list[_Found]] = {}
    for start, number, cls, ttl, begin, size in rdata.records(message, at, count):
        at = begin + size
        if cls == rdata.IN and (number in (wanted, rdata.CNAME) or (wanted == rdata.ANY and number != rdata.OPT)):
            owner = names.read(message, start, known)[0]
            records.setdefault(owner.lower(), []).append((owner, number, ttl, begin, size))
    return records, at


def _chain(
    message: bytes,
    asked: bytes,
    query: Query,
    wanted: int,
    records: dict[bytes, list[_Found]],
    known: dict[int, bytes],
) -> tuple[list[Record], bool]:
    """Return the answers, and whether there is one of the wanted type."""
    asked = asked.lower()
    followed, found = chain.follow(asked, records, wanted, lambda cname: names.read(message, cname[3], known)[0])
    answers: dict[tuple[bytes, int, str], Record] = {}
    for key, (owner, number, ttl, at, size) in followed:
        try:
            data = rdata.reader(number)(message, at, size, known)
        except UNPARSABLE:
            if number == rdata.CNAME and wanted not in (rdata.CNAME, rdata.ANY):
                raise  # of a CNAME that is to be followed
            data = rdata.generic(number, message[at : at + size])
        name = query.name if key == asked else names.to_text(owner)
        record = Record(name, rdata.mnemonic(number), ttl if ttl <= LONGEST_TTL else 0, data)
        answers.setdefault((key, number, data), record)
    return list(answers.values()), found


# -- a reply without answers --


def _empty(message: bytes, start: int) -> Answer:
    """NXDOMAIN, NODATA, a referral, or an error."""
    rcode = message[3] & 15 | _rest(message, start)
    if rcode == 3:
        return _NXDOMAIN, [], None
    if rcode:
        return Status.of_rcode(rcode), [], edns.sentence(message, start)
    authoritative = message[2] & 4
    return _NODATA, [], None if authoritative else referral.sentence(message, start)


# -- the sections that hold no answers --


def _rest(message: bytes, at: int) -> int:
    """Step over authority and additional section, to the message's end. Returns the upper bits of the rcode."""
    if len(message) == at + 11 and message[8:12] == b"\0\0\0\1" and message.startswith(_OPT_HEAD, at):
        if message[at + 9] or message[at + 10]:
            raise Malformed(TOO_EARLY)
        return message[at + 5] << 4
    for _ in range(message[8] << 8 | message[9]):
        at = names.skip(message, at)
        at += 10 + (message[at + 8] << 8 | message[at + 9])
    opt = -1
    for _ in range(message[10] << 8 | message[11]):
        at = names.skip(message, at)
        if message[at] == 0 and message[at + 1] == rdata.OPT:
            if opt >= 0:
                raise Malformed("more than one OPT record")  # RFC 6891 section 6.1.1
            opt = message[at + 4] << 4  # RFC 6891 section 6.1.3
        at += 10 + (message[at + 8] << 8 | message[at + 9])
    if at > len(message):
        raise Malformed(TOO_EARLY)
    return opt if opt > 0 else 0


def _type_and_class(type: str) -> bytes:
    return TYPE_AND_CLASS.get(type) or TYPE_AND_CLASS.setdefault(type, struct.pack("!HH", rdata.number(type), rdata.IN))


TYPE_AND_CLASS: dict[str, bytes] = {}  # by mnemonic; grows with what is asked
_ttl_and_size = struct.Struct("!IH").unpack_from

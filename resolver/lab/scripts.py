"""The scripts: what the first label of a name makes the lab do.

One table, in the order in which `--help` shows it. `N` and `MS` in a pattern stand for digits. The functions behind it
stand by what they are good for: `faults` (silence and error codes), `transport` (size, TCP), `forgeries` (replies that
a resolver must not believe), `chains` (answers that have to be read with care).
"""

from collections.abc import Callable
from functools import partial

from . import chains, faults, forgeries, transport
from .script import Ask, Step

Behaviour = Callable[[Ask, int], list[Step]]

_TABLE: tuple[tuple[str, str, Behaviour], ...] = (
    ("slow-MS", "answers MS milliseconds later", faults.slow),
    ("hang", "never answers", faults.hang),
    ("flaky-N", "the first N queries for the name and type get no reply, later ones do", faults.flaky),
    ("nx", "NXDOMAIN", faults.nxdomain),
    ("nodata", "exists, without records of the type", faults.nodata),
    ("empty", "NOERROR with all sections empty, no SOA", faults.empty),
    ("servfail", "SERVFAIL", partial(faults.rcode, rcode=2)),
    ("servfail-N", "the first N queries get SERVFAIL, later ones an answer", faults.servfail_first),
    ("refused", "REFUSED", partial(faults.rcode, rcode=5)),
    ("formerr", "FORMERR", partial(faults.rcode, rcode=1)),
    ("notimp", "NOTIMP", partial(faults.rcode, rcode=4)),
    ("rcode-N", "rcode N, 0 to 4095; above 15 with the help of an OPT record", faults.any_rcode),
    ("emptyfail", "SERVFAIL, a header and nothing else", faults.emptyfail),
    ("noquestion", "SERVFAIL with an empty question section", faults.noquestion),
    ("noedns", "FORMERR without OPT to a query with EDNS, an answer to one without", faults.noedns),
    ("noopt", "takes no notice of EDNS: answers without OPT", faults.noopt),
    ("options", "answers with EDNS options that nobody knows", faults.options),
    ("truncated", "TC over UDP, the whole answer over TCP", transport.truncate),
    ("partial", "like truncated, with a wrong record in the truncated reply", transport.partial_answer),
    ("big-N", "N different addresses: truncated where they do not fit", transport.many),
    ("multi-N", "N different addresses", transport.many),
    ("tcalways", "TC over UDP and over TCP", transport.always_truncated),
    ("notcp", "TC over UDP; over TCP the connection is closed at once", transport.no_tcp),
    ("closetcp", "TC over UDP; over TCP one half of the reply, then the connection is closed", transport.half),
    ("resettcp", "TC over UDP; over TCP the connection is reset", transport.reset),
    ("hangtcp", "TC over UDP; over TCP no reply", transport.hang_tcp),
    ("dribble", "TC over UDP; over TCP a few octets at a time", transport.dribble),
    ("dup", "the reply twice", transport.twice),
    ("spoof", "forged replies first: wrong ID, wrong name, wrong type; then the right one", forgeries.spoof),
    ("spoof-only", "the forged replies and never the right one", forgeries.spoof_only),
    ("otherport", "a forged reply from another port first, then the right one", forgeries.other_port),
    ("otherport-only", "the right reply, but only from another port", forgeries.other_port_only),
    ("echo", "the query itself comes back, then the right reply", forgeries.echo),
    ("bare", "an answer with an empty question section first, 20 ms later the right reply", forgeries.bare),
    ("case", "the question in other letter case", forgeries.other_case),
    ("garbage", "datagrams that cannot be parsed first, 20 ms later the right reply", forgeries.garbage),
    ("garbage-only", "nothing but datagrams that cannot be parsed", forgeries.garbage_only),
    ("badptr", "only a reply whose compression pointers run in a circle", forgeries.pointer_loop),
    ("badcount", "only a reply with fewer records than its header says", forgeries.bad_count),
    ("badlength", "only a reply with a record that is longer than the message", forgeries.bad_length),
    ("badrdata", "only a reply with an address of 5 octets (A) or 17", forgeries.bad_rdata),
    ("trailing", "the reply with octets after its end first, 20 ms later the right one", forgeries.trailing),
    ("cname-N", "a chain of N CNAMEs, then the records", chains.chain),
    ("cname-nx", "a CNAME to a name that does not exist", chains.to_nxdomain),
    ("cname-nodata", "a CNAME to a name without records of the type", chains.to_nodata),
    ("cname-open", "a CNAME, and the records of its target left out", chains.open_end),
    ("cname-shuffled", "a chain of 3 CNAMEs, last record first", chains.shuffled),
    ("cname-binary", "a CNAME to a name with a dot, a blank, a backslash and NUL in a label", chains.binary_name),
    ("loop", "two CNAMEs that name each other", chains.loop),
    ("loop-self", "a CNAME that names itself", chains.loop_self),
    ("dname", "a DNAME, the CNAME made from it, the records", chains.dname),
    ("referral", "not authoritative, no answer, the NS of a child zone", chains.referral),
    ("upward", "not authoritative, no answer, the NS of the root", chains.upward),
    ("foreign", "the answer section also has records of other names", chains.foreign),
    ("othertype", "the answer section also has records of another type", chains.other_type),
    ("otherclass", "the answer section also has an address in class HS", chains.other_class),
    ("duprr", "each record twice", chains.doubled),
    ("ttl-N", "records with TTL N, up to 4294967295", chains.with_ttl),
    ("txt", "TXT: quotes, backslashes, controls and octets over 127", chains.binary_txt),
    ("longtxt", "TXT: one record of 10 strings of 255 octets", chains.long_txt),
)

# Pattern of the first label to one line of help.
SCRIPTS: dict[str, str] = {pattern: line for pattern, line, _ in _TABLE}

_EXACT: dict[bytes, Behaviour] = {}
_NUMBERED: dict[bytes, Behaviour] = {}
for _pattern, _, _behave in _TABLE:
    _head, _, _last = _pattern.rpartition("-")
    if _last in ("N", "MS"):
        _NUMBERED[_head.encode()] = _behave
    else:
        _EXACT[_pattern.encode()] = _behave
_EXACT[b"loop-back"] = chains.loop

# What a scripted label begins with, up to its first hyphen: a cheap test that most names fail.
HEADS = frozenset(label.partition(b"-")[0] for label in (*_EXACT, *_NUMBERED))


def find(label: bytes) -> tuple[Behaviour, int] | None:
    """The script of a first label in lower case, and its number; None for a label without one."""
    if label in _EXACT:
        return _EXACT[label], 0
    head, _, digits = label.rpartition(b"-")
    if head in _NUMBERED and digits.isdigit() and len(digits) <= 10:
        return _NUMBERED[head], int(digits)
    return None

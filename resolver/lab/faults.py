"""Scripts of a nameserver in trouble: silence, delay, error codes, trouble with EDNS."""

from .octets import FORMERR, NOTIMP, REFUSED, SERVFAIL, bare
from .script import PlannedReply, Table, nxdomain, positive

# The longest that a reply is kept for later, in milliseconds.
_LONGEST = 3_600_000
# Codes from the range for experiments (RFC 6891 section 9), one of them empty, and 16 octets of padding (RFC 7830).
_OPTIONS = b"\xfd\xe9\0\0" + b"\xfd\xea\0\3\0\xff\x80" + b"\0\x0c\0\x10" + bytes(16)

SCRIPTS: Table = (
    ("slow-MS", "answers MS milliseconds later",
     lambda ask: [PlannedReply(ask.right(), min(ask.number, _LONGEST) / 1000)]),
    ("hang", "never answers", lambda ask: []),
    ("flaky-N", "the first N queries for the name and type get no reply, later ones do",
     lambda ask: [] if ask.seen_before() < ask.number else ask.right()),
    ("nx", "NXDOMAIN", lambda ask: nxdomain(ask.query)),
    ("nodata", "exists, without records of the type", lambda ask: positive(ask.query, [])),
    ("empty", "NOERROR with all sections empty, no SOA", lambda ask: ask.encode()),
    ("servfail", "SERVFAIL", lambda ask: ask.encode(SERVFAIL)),
    ("servfail-N", "the first N queries get SERVFAIL, later ones an answer",
     lambda ask: ask.encode(SERVFAIL) if ask.seen_before() < ask.number else ask.right()),
    ("refused", "REFUSED", lambda ask: ask.encode(REFUSED)),
    ("formerr", "FORMERR", lambda ask: ask.encode(FORMERR)),
    ("notimp", "NOTIMP", lambda ask: ask.encode(NOTIMP)),
    ("rcode-N", "rcode N, 0 to 4095; above 15 with the help of an OPT record",
     lambda ask: ask.encode(ask.number & 0xFFF)),
    ("emptyfail", "SERVFAIL, a header and nothing else", lambda ask: bare(ask.data, SERVFAIL)),
    ("noquestion", "SERVFAIL with an empty question section", lambda ask: ask.encode(SERVFAIL, question=b"")),
    ("noedns", "FORMERR without OPT to a query with EDNS, an answer to one without",
     lambda ask: ask.encode(FORMERR, options=None) if ask.query.edns else ask.right()),
    ("noopt", "takes no notice of EDNS: answers without OPT",
     lambda ask: ask.encode(answer=ask.records(), options=None)),
    ("options", "answers with EDNS options that nobody knows",
     lambda ask: ask.encode(answer=ask.records(), options=_OPTIONS)),
)  # fmt: skip

"""HTTP/2 of the backend wire (RFC 8484, 9113), without a socket: one side is ours, the other the library h2's."""

import contextlib
import math
from base64 import urlsafe_b64encode
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted_server import reply_to

from resolver.dns import message as codec
from resolver.nameserver import Nameserver
from resolver.wire.connections import Connection

pytest.importorskip("h2", reason="needs the extra doh")

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import DataReceived, Event, PingAckReceived, RequestReceived, StreamEnded, StreamReset
from h2.settings import SettingCodes, Settings
from hpack import Encoder
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    GoAwayFrame,
    HeadersFrame,
    PushPromiseFrame,
    SettingsFrame,
)

from resolver.wire.endpoint import MEDIA, Endpoint
from resolver.wire.https import HttpFraming

URL = "https://dns.example/dns-query"
GOOD = [(":status", "200"), ("content-type", MEDIA)]


def query(number: int, labels: str = "") -> bytes:
    """A query with this number as its ID and in its name."""
    head = number.to_bytes(2) + b"\1\0\0\1\0\0\0\0\0\0"
    return head + codec.question(f"n{number:03}.{labels}example.", "A")


class Pair:
    """Our side of a connection and the other, with octets in between."""

    def __init__(self, url: str = URL, **values: int) -> None:
        kin = SimpleNamespace(server=None, transport="https")
        self.connection = Connection(cast(Any, kin), 32, math.inf, False)
        self.ours = HttpFraming(self.connection, Endpoint(Nameserver.parse(url)))
        self.theirs = H2Connection(H2Configuration(client_side=False))
        codes = {SettingCodes[name.upper()]: value for name, value in values.items()}
        self.theirs.local_settings = Settings(client=False, initial_values=codes)
        self.theirs.initiate_connection()
        self.replies: list[bytes] = []
        self.requests: dict[int, list[tuple[str, str]]] = {}
        self.bodies: dict[int, bytes] = {}
        self.ended: list[int] = []  # streams whose requests are whole

    def ask(self, *numbers: int, labels: str = "") -> None:
        """Send these queries."""
        self.connection.in_flight.update({query(number)[:2]: cast(Any, None) for number in numbers})
        self.ours.send([query(number, labels) for number in numbers])

    def go_on(self, *, acknowledge: bool = True) -> list[Event]:
        """Move octets until there are no more; returns what the other side saw."""
        seen: list[Event] = []
        while (octets := self.theirs.data_to_send()) or self.ours.out:
            if octets:
                self.replies += self.ours.receive(octets)
            events = self.theirs.receive_data(bytes(self.ours.out))
            self.ours.out.clear()
            for event in events:
                match event:
                    case RequestReceived():
                        self.requests[event.stream_id] = [
                            (name.decode(), text.decode()) for name, text in event.headers
                        ]
                        self.bodies[event.stream_id] = b""
                    case DataReceived():
                        self.bodies[event.stream_id] += event.data
                        if acknowledge:
                            self.theirs.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                    case StreamEnded():
                        self.ended.append(event.stream_id)
            seen += events
        return seen

    def respond(
        self, stream: int, headers: list[tuple[str, str]] = GOOD, body: bytes | None = None, **more: Any
    ) -> None:
        """Have the other side answer a stream, with the reply to its query if nothing else is said."""
        self.theirs.send_headers(stream, headers)
        self.theirs.send_data(stream, reply_to(self.bodies[stream]) if body is None else body, end_stream=True, **more)


def asked(*numbers: int, **values: int) -> Pair:
    """A pair whose other side has these queries."""
    pair = Pair(URL, **values)
    pair.ask(*numbers)
    pair.go_on()
    return pair


def test_post() -> None:
    """A query is the body of a request, with the message ID 0."""
    pair = asked(7)
    assert [
        (":method", "POST"),
        (":scheme", "https"),
        (":authority", "dns.example"),
        (":path", "/dns-query"),
        ("content-type", "application/dns-message"),
        ("content-length", str(len(query(7)))),
        ("accept", "application/dns-message"),
        ("user-agent", "resolve"),
    ] == pair.requests[1]
    assert {1: b"\0\0" + query(7)[2:]} == pair.bodies


@pytest.mark.parametrize(
    ("url", "host", "path"),
    [
        ("https://dns.example/dns-query{?dns}", "dns.example", "/dns-query"),
        ("https://[2001:db8::1]:8443{?dns}", "[2001:db8::1]:8443", "/"),
        ("https://b\u00fccher.example/\u00fc{?dns}", "xn--bcher-kva.example", "/%C3%BC"),
    ],
)
def test_get(url: str, host: str, path: str) -> None:
    """With the template, a query is part of the path, in base64url without padding, and there is no body."""
    pair = Pair(url)
    pair.ask(7, 8)
    pair.go_on()
    text = urlsafe_b64encode(b"\0\0" + query(7)[2:]).decode().rstrip("=")
    headers = dict(pair.requests[1])
    assert ("GET", host, f"{path}?dns={text}") == tuple(headers[f":{name}"] for name in ("method", "authority", "path"))
    assert [1, 3] == pair.ended
    assert {1: b"", 3: b""} == pair.bodies


def test_a_user_of_the_url() -> None:
    """A URL's user and password go as RFC 7617 has it, and nowhere else."""
    pair = Pair("https://me:p%40ss@dns.example/dns-query")
    pair.ask(7)
    pair.go_on()
    headers = dict(pair.requests[1])
    assert ("dns.example", "Basic bWU6cEBzcw==") == (headers[":authority"], headers["authorization"])


def test_replies_find_their_queries() -> None:
    """Responses in any order become replies under the IDs of their queries."""
    pair = asked(5, 6, 7)
    for stream in (5, 1, 3):
        pair.respond(stream)
    pair.go_on()
    assert [reply_to(query(number)) for number in (7, 5, 6)] == pair.replies


def test_another_id_is_no_reply() -> None:
    """A response under another message ID than 0 is not taken for a reply."""
    pair = asked(7)
    pair.respond(1, body=reply_to(query(9)))
    pair.go_on()
    assert [query(7)[:2]] == pair.replies


@pytest.mark.parametrize("streams", [1, 3])
def test_no_more_streams_than_are_allowed(streams: int) -> None:
    """Nothing is asked before the settings are known, then as many queries at a time as they say."""
    pair = Pair(max_concurrent_streams=streams)
    before = bytes(pair.ours.out)
    pair.ask(*range(10))
    assert before == pair.ours.out
    for number in range(10):
        pair.go_on()
        assert min(10, number + streams) == len(pair.ended)
        pair.respond(pair.ended[number])
    pair.go_on()
    assert 10 == len(pair.replies)
    assert streams == pair.connection.streams


def test_no_streams_at_all() -> None:
    """A nameserver that allows nothing is asked one query, so that it can say no."""
    pair = Pair()
    pair.ours.receive(SettingsFrame(0, settings={SettingsFrame.MAX_CONCURRENT_STREAMS: 0}).serialize())
    before = len(pair.ours.out)
    pair.ask(1, 2)
    assert 1 == pair.connection.streams
    assert 200 > len(pair.ours.out) - before > len(query(1))


def test_streams_of_what_nobody_waits_for_are_cancelled() -> None:
    """Where the places are taken by queries that have been given up, these are cancelled, and only then."""
    pair = asked(1, 2, max_concurrent_streams=2)
    del pair.connection.in_flight[query(1)[:2]]
    assert [] == pair.go_on()
    pair.ask(3)
    seen = pair.go_on()
    assert [(1, ErrorCodes.CANCEL)] == [
        (each.stream_id, each.error_code) for each in seen if isinstance(each, StreamReset)
    ]
    assert [1, 3, 5] == pair.ended


def test_a_small_window() -> None:
    """Bodies go in pieces where a new stream may be sent one octet."""
    pair = asked(1, 2, 3, initial_window_size=1)
    assert [b"\0\0" + query(number)[2:] for number in (1, 2, 3)] == [*pair.bodies.values()]


def test_a_window_that_grows_by_settings() -> None:
    """What no stream may be sent yet goes when the settings allow it."""
    pair = asked(1, initial_window_size=0)
    assert ({1: b""}, []) == (pair.bodies, pair.ended)
    pair.theirs.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 1000})
    pair.go_on()
    assert [1] == pair.ended


def test_no_more_octets_than_the_connection_takes() -> None:
    """65,535 octets of bodies go, and more when there is room."""
    pair = Pair()
    labels = "x" * 63 + "."
    size = len(query(0, labels * 3))
    pair.ask(*range(400), labels=labels * 3)
    pair.go_on(acknowledge=False)
    while (stream := pair.ended.pop(0) if pair.ended else 0) and len(pair.bodies[stream]) == size:
        pair.respond(stream)
        pair.go_on(acknowledge=False)
    assert 65535 == sum(map(len, pair.bodies.values()))
    assert 65535 % size == len(pair.bodies[max(pair.bodies)])
    pair.theirs.increment_flow_control_window(10**6)
    pair.go_on(acknowledge=False)
    assert size == len(pair.bodies[max(pair.bodies)])


def test_what_comes_makes_room_for_more() -> None:
    """Replies of many megabytes come through one connection."""
    pair = asked(*range(400))
    for stream in [*pair.ended]:
        pair.theirs.send_headers(stream, GOOD)
        for last in (False, False, True):
            pair.theirs.send_data(stream, bytes(16_000), end_stream=last)
        pair.go_on()
    assert 400 == len(pair.replies)


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ([(":status", "503"), ("content-type", MEDIA)], "answered with HTTP status 503"),
        ([(":status", "204")], "answered with HTTP status 204"),
        ([(":status", "200")], f"answered with no content type, not {MEDIA}"),
        ([(":status", "200"), ("content-type", "text/html")], f"answered with content type text/html, not {MEDIA}"),
    ],
)
def test_responses_that_are_none(headers: list[tuple[str, str]], reason: str) -> None:
    """What is wrong with a response is said of its query alone."""
    pair = asked(1, 2)
    pair.respond(1, headers)
    pair.respond(3)
    pair.go_on()
    assert ([(query(1)[:2], reason)], [reply_to(query(2))]) == (pair.ours.no_replies, pair.replies)


def test_a_response_without_a_status() -> None:
    """Headers without a status are said."""
    pair = asked(1)
    frame = HeadersFrame(1, Encoder().encode([("content-type", MEDIA)]), flags=("END_HEADERS", "END_STREAM"))
    assert [] == pair.ours.receive(frame.serialize())
    assert [(query(1)[:2], "answered without an HTTP status")] == pair.ours.no_replies


@pytest.mark.parametrize("kind", ["Application/DNS-Message", f"{MEDIA}; charset=x"])
def test_content_types(kind: str) -> None:
    """Letter case and parameters of the content type do not matter."""
    pair = asked(1)
    pair.respond(1, [(":status", "200"), ("content-type", kind)])
    pair.go_on()
    assert 1 == len(pair.replies)


def test_more_than_a_message() -> None:
    """A body that is too long for a DNS message is none; a long one is."""
    pair = asked(1, 2)
    for stream, size in ((1, 65536), (3, 65535)):
        pair.theirs.send_headers(stream, GOOD)
        for at in range(0, size, 16000):
            pair.theirs.send_data(stream, bytes(min(16000, size - at)), end_stream=at + 16000 >= size)
            pair.go_on()
    assert [(query(1)[:2], "answered with more octets than a DNS message has")] == pair.ours.no_replies
    assert [65535] == [len(reply) for reply in pair.replies]


def test_hints_trailers_and_padding() -> None:
    """Early hints, trailers, padding, and pieces of a body change nothing."""
    pair = asked(1)
    reply = reply_to(pair.bodies[1])
    pair.theirs.send_headers(1, [(":status", "103"), ("link", "<x>")])
    pair.theirs.send_headers(1, GOOD)
    pair.theirs.send_data(1, reply[:9], pad_length=20)
    pair.theirs.send_data(1, reply[9:])
    pair.theirs.send_headers(1, [("x-more", "y")], end_stream=True)
    pair.go_on()
    assert [reply_to(query(1))] == pair.replies


def test_headers_in_pieces() -> None:
    """A header block may go on in further frames, and the body follows."""
    pair = asked(1)
    block = Encoder().encode(GOOD)
    frames = [
        HeadersFrame(1, block[:2], pad_length=3, flags=("PADDED",)),
        ContinuationFrame(1, block[2:5]),
        ContinuationFrame(1, block[5:], flags=("END_HEADERS",)),
        DataFrame(1, reply_to(pair.bodies[1]), flags=("END_STREAM",)),
    ]
    assert [reply_to(query(1))] == pair.ours.receive(b"".join(frame.serialize() for frame in frames))


def test_the_same_header_block_may_mean_another_thing() -> None:
    """A block that points into the table of headers is read again once that table has changed."""
    pair = asked(1, 2, 3, 4)
    good, page = b"\x88\x5f\x17" + MEDIA.encode(), b"\x88\x5f\x09text/html"  # both are kept in the table, as its first
    for stream, block in ((1, good), (3, b"\x88\xbe"), (5, page), (7, b"\x88\xbe")):
        pair.ours.receive(HeadersFrame(stream, block, flags=("END_HEADERS", "END_STREAM")).serialize())
    assert [query(3)[:2], query(4)[:2]] == [ident for ident, _ in pair.ours.no_replies]


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (ErrorCodes.REFUSED_STREAM, None),
        (ErrorCodes.INTERNAL_ERROR, "ended the request (INTERNAL_ERROR)"),
        (77, "ended the request (error 77)"),
    ],
)
def test_a_stream_that_is_reset(code: int, reason: str | None) -> None:
    """A request that is ended alone fails alone; one that was refused was not looked at."""
    pair = asked(1, 2)
    pair.theirs.reset_stream(1, code)
    pair.respond(3)
    pair.go_on()
    assert ([(query(1)[:2], reason)], [reply_to(query(2))]) == (pair.ours.no_replies, pair.replies)


def test_goaway() -> None:
    """Queries after the last one that is taken, and those that come later, were not looked at; the others go on."""
    pair = asked(1, 2, 3, 4, max_concurrent_streams=3)
    pair.ours.receive(GoAwayFrame(0, last_stream_id=3).serialize())
    pair.ask(5)
    pair.respond(1)
    pair.respond(3)
    pair.go_on()
    assert pair.ours.leaving
    assert [(query(number)[:2], None) for number in (4, 3, 5)] == pair.ours.no_replies
    assert [reply_to(query(1)), reply_to(query(2))] == pair.replies


def test_pings_are_answered() -> None:
    """A ping comes back."""
    pair = asked(1)
    pair.theirs.ping(b"12345678")
    assert [b"12345678"] == [each.ping_data for each in pair.go_on() if isinstance(each, PingAckReceived)]


def test_a_table_that_shrinks() -> None:
    """A nameserver that keeps no table of our headers can read them, also when it says so late."""
    pair = asked(1, header_table_size=0)
    pair.theirs.update_settings({SettingCodes.HEADER_TABLE_SIZE: 100})
    pair.go_on()
    pair.ask(2, 3)
    pair.go_on()
    assert [1, 3, 5] == pair.ended


SETTINGS = SettingsFrame(0).serialize()


@pytest.mark.parametrize(
    ("octets", "what"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "it does not speak HTTP/2"),
        (DataFrame(1, b"x").serialize(), "it does not speak HTTP/2"),
        (SETTINGS + b"\0\x40\1\0\0\0\0\0\1", "it sent a frame that is too large"),
        (SETTINGS + b"\0\0\3\3\0\0\0\0\1abc", "it sent a frame that cannot be read"),
        (SETTINGS + HeadersFrame(1, b"\xff\xff\xff", flags=("END_HEADERS",)).serialize(), "its headers cannot be read"),
        (SETTINGS + HeadersFrame(1, b"\x88").serialize() + SETTINGS, "it sent headers that do not end"),
        (
            SETTINGS + HeadersFrame(1, b"\x88").serialize() + ContinuationFrame(1, bytes(16000)).serialize() * 5,
            "it sent headers that do not end",
        ),
        (SETTINGS + ContinuationFrame(1, b"\x88").serialize(), "it sent headers that continue none"),
        (SETTINGS + PushPromiseFrame(1, 2, b"\x88", flags=("END_HEADERS",)).serialize(), "it pushes, which was not"),
    ],
)
def test_what_breaks_a_connection(octets: bytes, what: str) -> None:
    """What cannot be gone on from is an error with a sentence."""
    pair = Pair()
    pair.ask(1)
    with pytest.raises(OSError, match=what):
        pair.ours.receive(octets)


def conversation() -> tuple[bytes, bytes]:
    """The settings of a nameserver, and what it said after a client's requests, in most kinds of frames."""
    pair = Pair(max_concurrent_streams=50)
    first = pair.theirs.data_to_send()
    pair.ask(*range(8))
    pair.ours.receive(first)
    pair.theirs.receive_data(bytes(pair.ours.out))
    pair.bodies = {2 * number + 1: query(number) for number in range(8)}
    pair.respond(1)
    pair.respond(3, [*GOOD, ("server", "x")], pad_length=5)
    pair.respond(5, [(":status", "404"), ("x", "y")])
    pair.theirs.reset_stream(7, ErrorCodes.REFUSED_STREAM)
    pair.theirs.ping(b"12345678")
    pair.respond(9)
    return first, pair.theirs.data_to_send() + GoAwayFrame(0, last_stream_id=13).serialize()


FIRST, THEN = conversation()


def hear(octets: bytes, cuts: Iterable[int]) -> tuple[list[bytes], list[tuple[bytes, str | None]]]:
    """What our side makes of these octets, cut at these places."""
    pair = Pair()
    pair.ask(*range(8))
    pair.ours.receive(FIRST)
    ends = sorted({*cuts, len(octets)})
    replies = [reply for at, end in zip([0, *ends], ends, strict=False) for reply in pair.ours.receive(octets[at:end])]
    return replies, pair.ours.no_replies


@given(st.lists(st.integers(0, len(THEN))))
def test_octets_may_come_in_any_pieces(cuts: list[int]) -> None:
    """Where octets are cut makes no difference."""
    replies, others = hear(THEN, cuts)
    assert [query(0)[:2], query(1)[:2], query(4)[:2]] == [reply[:2] for reply in replies]
    assert [
        (query(2)[:2], "answered with HTTP status 404"),
        (query(3)[:2], None),
        (query(7)[:2], None),
    ] == others


@settings(max_examples=75)
@given(
    st.lists(st.tuples(st.integers(0, len(THEN) - 1), st.integers(0, 255)), min_size=1, max_size=8), st.integers(1, 99)
)
def test_whatever_comes(changes: list[tuple[int, int]], piece: int) -> None:
    """Octets that are changed by chance give replies, or the one error that ends a connection."""
    octets = bytearray(THEN)
    for at, octet in changes:
        octets[at] = octet
    with contextlib.suppress(OSError):
        hear(bytes(octets), range(0, len(octets), piece))

"""HTTP/2 on a nameserver's connection: queries become requests, responses become replies (RFC 8484, 9113). No I/O.

Theory of operation. Each query is a request on a stream of its own, with the DNS message ID 0, so that caches find
equal questions equal (RFC 8484 section 4.1): the stream tells which query a response belongs to, and the reply gets
that query's ID back. Header blocks of requests are encoded once (endpoint.py); those of responses that leave the
decoder's table as it is mean the same whenever they come again, and are decoded once.

Frames that hold a plain response are read here, by position; others go through hyperframe, headers through hpack.
Measured against unbound on one core, microseconds of processor time for a request and its response, TLS and all: h2
110, libcurl (pycurl's multi interface) 50, hyperframe and hpack for every frame 39, this 18.

A nameserver's limits hold: nothing is asked before its settings are known, then no more streams at a time than it
allows, and no more octets than its windows have room for. A stream that nobody waits for any more is cancelled where
its place is needed.

What befell single queries is taken by the channel (`no_replies`); what ends a connection is an OSError.
"""

from __future__ import annotations

import errno
from collections import deque
from typing import TYPE_CHECKING

import hyperframe.frame as frames
from hpack import Decoder, HPACKError
from hyperframe.exceptions import HyperframeError

from resolver.wire.endpoint import MEDIA

if TYPE_CHECKING:
    from resolver.wire.connections import Connection
    from resolver.wire.endpoint import Endpoint

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, CONTINUATION = 0, 1, 9  # types of frames, and their flags
END_STREAM, END_HEADERS, PADDED, PRIORITY = 1, 4, 8, 32
CANCEL, REFUSED_STREAM = 8, 7
FRAME = 1 << 14  # octets of a frame at most, as we have not allowed more
REPLY = 1 << 16  # octets of a body: more is no DNS message
HEADER_BLOCK = 1 << 16  # octets
WINDOW = 1 << 24  # octets that may be on their way to us
STREAMS = 1000  # at a time, where the nameserver names no limit
KNOWN = 256  # header blocks that are remembered
GOOD, INFORMATIONAL = "", "1xx"  # verdicts on the headers of a response; any other is a sentence
ERRORS = (  # RFC 9113 section 7
    "NO_ERROR",
    "PROTOCOL_ERROR",
    "INTERNAL_ERROR",
    "FLOW_CONTROL_ERROR",
    "SETTINGS_TIMEOUT",
    "STREAM_CLOSED",
    "FRAME_SIZE_ERROR",
    "REFUSED_STREAM",
    "CANCEL",
    "COMPRESSION_ERROR",
    "CONNECT_ERROR",
    "ENHANCE_YOUR_CALM",
    "INADEQUATE_SECURITY",
    "HTTP_1_1_REQUIRED",
)


class HttpFraming:
    """The HTTP/2 of one connection."""

    alpn: str | None = "h2"

    def __init__(self, connection: Connection, endpoint: Endpoint) -> None:
        settings = frames.SettingsFrame(0)
        settings.settings = {frames.SettingsFrame.ENABLE_PUSH: 0, frames.SettingsFrame.INITIAL_WINDOW_SIZE: 2 * REPLY}
        self.out = bytearray(PREFACE + settings.serialize() + _window_update(WINDOW))
        self.no_replies: list[tuple[bytes, str | None]] = []
        self.leaving = False
        self._connection = connection
        self._wanted = connection.in_flight
        self._endpoint = endpoint
        self._prefix = endpoint.resized
        self._decoder = Decoder()
        self._known: dict[bytes, str] = {}  # verdicts by header block, while the decoder's table is as it is
        self._in = b""
        self._block: tuple[int, bool, bytes] | None = None  # headers of which more is to come
        self._settled = False  # the nameserver's settings are known
        self._waiting: deque[bytes] = deque()
        self._next = 1
        self._open: dict[int, bytes] = {}  # message IDs by stream; of what nobody waits for, none
        self._bodies: dict[int, bytes] = {}  # of responses whose headers were good
        self._received = 0  # octets, since the window was last opened for as many
        self._window = self._initial_window = 65535  # octets that may be sent, in all and on a new stream
        self._stalled: dict[int, tuple[bytes, int]] = {}  # what is left of bodies, and the windows of their streams

    def send(self, messages: list[bytes]) -> None:
        """Ask these queries, as soon as may be."""
        if self.leaving:
            self.no_replies += [(message[:2], None) for message in messages]
            return
        self._waiting += messages
        self._ask()

    def receive(self, octets: bytes) -> list[bytes]:
        """Take what came; returns the replies that are whole. Raises OSError for what is no HTTP/2."""
        data = self._in + octets
        at, end = 0, len(data)
        replies: list[bytes] = []
        while end - at >= 9:
            body = at + 9
            stop = body + (data[at] << 16 | data[at + 1] << 8 | data[at + 2])
            kind, flags = data[at + 3], data[at + 4]
            if stop - body > FRAME or not (self._settled or kind == 4):
                raise _broken("it does not speak HTTP/2" if not self._settled else "it sent a frame that is too large")
            if stop > end:
                break
            stream = int.from_bytes(data[at + 5 : body], "big") & 0x7FFFFFFF
            if self._block is not None and kind != CONTINUATION:
                raise _broken("it sent headers that do not end")
            if kind == DATA and not flags & PADDED:
                self._received += stop - body
                self._take(stream, data[body:stop], flags & END_STREAM, replies)
            elif kind == HEADERS and flags & (PADDED | PRIORITY | END_HEADERS) == END_HEADERS:
                self._hear(stream, data[body:stop], flags & END_STREAM, replies)
            else:
                self._read(data[at:stop], replies)
            at = stop
        self._in = data[at:]
        if self._received > WINDOW // 2:
            self.out += _window_update(self._received)
            self._received = 0
        self._ask()
        return replies

    # --- Requests.

    def _ask(self) -> None:
        """Make requests of the queries that wait, as far as the nameserver takes them."""
        if not self._waiting or not self._settled:
            return
        waiting, open_, request = self._waiting, self._open, self._endpoint.request
        if len(open_) >= self._connection.streams:
            self._cancel()
        while waiting and len(open_) < self._connection.streams and self._window > 0:
            message = waiting.popleft()
            ident = message[:2]
            if ident not in self._wanted:
                continue
            block, body = request(b"\0\0" + message[2:])
            if self._prefix:
                self._prefix, block = b"", self._prefix + block
            stream = self._next
            self._next += 2
            open_[stream] = ident
            number = stream.to_bytes(4, "big")
            self.out += len(block).to_bytes(3, "big") + (b"\1\4" if body else b"\1\5") + number + block
            if len(body) <= self._window and len(body) <= self._initial_window:
                self._window -= len(body)
                if body:
                    self.out += len(body).to_bytes(3, "big") + b"\0\1" + number + body
            else:
                self._stalled[stream] = body, self._initial_window
                self._go_on(stream)

    def _go_on(self, stream: int, more: int = 0) -> None:
        """Send of a body what the windows allow, after the stream's own has got so much more room."""
        body, window = self._stalled[stream]
        window += more
        part = body[: max(0, min(window, self._window))]
        rest = body[len(part) :]
        self._stalled[stream] = rest, window - len(part)
        self._window -= len(part)
        if part:
            self.out += frames.DataFrame(stream, part, flags=() if rest else ("END_STREAM",)).serialize()
        if not rest:
            del self._stalled[stream]

    def _cancel(self) -> None:
        """Give up the streams that nobody waits for."""
        for stream in [stream for stream, ident in self._open.items() if ident not in self._wanted]:
            self._end(stream)
            self.out += frames.RstStreamFrame(stream, error_code=CANCEL).serialize()

    def _end(self, stream: int) -> bytes:
        """Forget a stream; returns the message ID of its query."""
        self._bodies.pop(stream, None)
        self._stalled.pop(stream, None)
        return self._open.pop(stream, b"")

    # --- Responses.

    def _hear(self, stream: int, block: bytes, ended: int, replies: list[bytes]) -> None:
        """Take headers: of a response, or behind its body."""
        verdict = self._known.get(block)
        if verdict is None:
            verdict = self._judge(block)
        if stream not in self._open:
            return
        if stream not in self._bodies and verdict != INFORMATIONAL:
            if verdict:
                self._fail(stream, verdict)
            else:
                self._bodies[stream] = b""
        if ended:
            self._take(stream, b"", ended, replies)

    def _judge(self, block: bytes) -> str:
        """Return what the headers of a response say of it."""
        table = self._decoder.header_table
        before = table.maxsize, len(table.dynamic_entries), next(iter(table.dynamic_entries), None)
        try:
            headers = dict(reversed([*self._decoder.decode(block, raw=True)]))
        except HPACKError as error:
            raise _broken(f"its headers cannot be read ({error})") from None
        status, kind = (headers.get(name, b"").decode("latin-1") for name in (b":status", b"content-type"))
        verdict = GOOD
        if status.startswith("1"):
            verdict = INFORMATIONAL
        elif status != "200":
            verdict = f"answered with HTTP status {status}" if status else "answered without an HTTP status"
        elif kind.partition(";")[0].strip().lower() != MEDIA:
            verdict = f"answered with {f'content type {kind}' if kind else 'no content type'}, not {MEDIA}"
        if before != (table.maxsize, len(table.dynamic_entries), next(iter(table.dynamic_entries), None)):
            self._known.clear()
        elif len(self._known) < KNOWN:
            self._known[block] = verdict
        return verdict

    def _take(self, stream: int, part: bytes, ended: int, replies: list[bytes]) -> None:
        """Take of a response's body what came."""
        body = self._bodies.get(stream)
        if body is not None:
            body += part
            if len(body) >= REPLY:
                self._fail(stream, "answered with more octets than a DNS message has")
            elif ended:
                if ident := self._end(stream):
                    # Under another ID it is no reply; what is left of it then says so.
                    replies.append(ident + (body[2:] if body[:2] == b"\0\0" else b""))
                return
            else:
                self._bodies[stream] = body
        if ended:
            self._end(stream)

    def _fail(self, stream: int, reason: str) -> None:
        """No reply comes of a stream; it stays open to its end."""
        if ident := self._end(stream):
            self.no_replies.append((ident, reason))
        self._open[stream] = b""

    # --- Everything else.

    def _read(self, octets: bytes, replies: list[bytes]) -> None:
        try:
            frame, _ = frames.Frame.parse_frame_header(memoryview(octets[:9]))
            frame.parse_body(memoryview(octets[9:]))
        except HyperframeError as error:
            raise _broken(f"it sent a frame that cannot be read ({error})") from None
        ended = "END_STREAM" in frame.flags
        match frame:
            case frames.DataFrame():
                self._received += len(octets) - 9
                self._take(frame.stream_id, bytes(frame.data), ended, replies)
            case frames.HeadersFrame():
                self._continue(frame.stream_id, ended, frame.data, "END_HEADERS" in frame.flags, replies)
            case frames.ContinuationFrame():
                if self._block is None or self._block[0] != frame.stream_id:
                    raise _broken("it sent headers that continue none")
                _, ended, begun = self._block
                self._continue(frame.stream_id, ended, begun + frame.data, "END_HEADERS" in frame.flags, replies)
            case frames.SettingsFrame() if "ACK" not in frame.flags:
                self._settle(frame)
            case frames.PingFrame() if "ACK" not in frame.flags:
                self.out += frames.PingFrame(0, frame.opaque_data, flags=("ACK",)).serialize()
            case frames.WindowUpdateFrame():
                self._open_window(frame.stream_id, frame.window_increment)
            case frames.RstStreamFrame():
                if ident := self._end(frame.stream_id):
                    refused = frame.error_code == REFUSED_STREAM
                    reason = None if refused else f"ended the request ({_name(frame.error_code)})"
                    self.no_replies.append((ident, reason))
            case frames.GoAwayFrame():
                self._leave(frame)
            case frames.PushPromiseFrame():
                raise _broken("it pushes, which was not allowed")

    def _continue(self, stream: int, ended: bool, block: bytes, whole: bool, replies: list[bytes]) -> None:
        if len(block) > HEADER_BLOCK:
            raise _broken("it sent headers that do not end")
        self._block = None if whole else (stream, ended, block)
        if whole:
            self._hear(stream, block, ended, replies)

    def _settle(self, frame: frames.SettingsFrame) -> None:
        """Take the nameserver's settings."""
        most = frame.settings.get(frames.SettingsFrame.MAX_CONCURRENT_STREAMS)
        if most is not None or not self._settled:
            # Where it allows none, one is asked all the same: it says no to that, and nothing waits for ever.
            self._connection.streams = STREAMS if most is None else max(1, min(most, STREAMS))
        window = frame.settings.get(frames.SettingsFrame.INITIAL_WINDOW_SIZE, self._initial_window)
        more, self._initial_window = window - self._initial_window, window
        self._settled = True
        self.out += frames.SettingsFrame(0, flags=("ACK",)).serialize()
        for stream in [*self._stalled]:
            self._go_on(stream, more)

    def _open_window(self, stream: int, more: int) -> None:
        if stream in self._stalled:
            self._go_on(stream, more)
        elif stream == 0:
            self._window += more
            for stalled in [*self._stalled]:
                self._go_on(stalled)

    def _leave(self, frame: frames.GoAwayFrame) -> None:
        """Take no for the answer to all that the nameserver has not looked at (RFC 9113 section 6.8)."""
        self.leaving = True
        unseen = [message[:2] for message in self._waiting]
        self._waiting.clear()
        unseen += [self._end(stream) for stream in [*self._open] if stream > frame.last_stream_id]
        self.no_replies += [(ident, None) for ident in unseen if ident]


def _window_update(octets: int) -> bytes:
    return frames.WindowUpdateFrame(0, octets).serialize()


def _name(code: int) -> str:
    return ERRORS[code] if code < len(ERRORS) else f"error {code}"


def _broken(what: str) -> OSError:
    return OSError(errno.EPROTO, what)

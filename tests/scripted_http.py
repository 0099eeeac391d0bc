"""HTTP/2 of a scripted nameserver (scripted_server.py): requests in, responses out, by the library h2."""

from __future__ import annotations

from base64 import urlsafe_b64decode
from typing import TYPE_CHECKING

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import DataReceived, RequestReceived, StreamEnded
from h2.exceptions import StreamClosedError
from h2.settings import SettingCodes, Settings
from hyperframe.frame import GoAwayFrame

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scripted import Stream

# What the first label of a name may be, beside what it may be over TCP: the status or content type of the response, or
# the code with which its stream is reset.
PAGES = {"page": ("200", "text/html"), "busy": ("503", "application/dns-message"), "bare": ("200", None)}
RESETS = {"refuse": ErrorCodes.REFUSED_STREAM, "abort": ErrorCodes.INTERNAL_ERROR}


class Http:
    """One connection. `out` is to be sent."""

    def __init__(self, settings: Stream) -> None:
        self._settings = settings
        self._speaker = H2Connection(H2Configuration(client_side=False))
        values = {}
        if settings.streams is not None:
            values[SettingCodes.MAX_CONCURRENT_STREAMS] = settings.streams
        if settings.window is not None:
            values[SettingCodes.INITIAL_WINDOW_SIZE] = settings.window
        self._speaker.local_settings = Settings(client=False, initial_values=values)
        self._speaker.initiate_connection()
        self._queries: dict[int, bytes] = {}
        self._more = b""

    def out(self) -> bytes:
        out, self._more = self._speaker.data_to_send() + self._more, b""
        return out

    def take(self, octets: bytes) -> Iterator[tuple[int, bytes]]:
        """The queries that came, each with its stream."""
        for event in self._speaker.receive_data(octets):
            match event:
                case RequestReceived():
                    path = dict(event.headers)[b":path"].decode().partition("?dns=")[2]
                    self._queries[event.stream_id] = urlsafe_b64decode(path + "==")
                case DataReceived():
                    self._queries[event.stream_id] += event.data
                    self._speaker.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                case StreamEnded():
                    yield event.stream_id, self._queries.pop(event.stream_id)

    def answer(self, stream: int, reply: bytes, fate: str) -> None:
        """Respond on this stream, if the client still waits there."""
        try:
            if fate in RESETS:
                self._speaker.reset_stream(stream, RESETS[fate])
                return
            status, kind = PAGES.get(fate, ("200", "application/dns-message"))
            headers = [(":status", status), ("content-length", str(len(reply)))]
            self._speaker.send_headers(stream, [*headers, *([("content-type", kind)] if kind else [])])
            self._speaker.send_data(stream, reply, end_stream=True, pad_length=self._settings.padding)
        except StreamClosedError:
            pass

    def leave(self, stream: int) -> None:
        """Take no request after this stream's, and say so; the library itself would say nothing more then."""
        self._more += GoAwayFrame(0, last_stream_id=stream).serialize()

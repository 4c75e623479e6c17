"""One HTTP connection, with bounds on what its client can make us wait for and hold.

uvicorn bounds the time between two requests alone: a client that never ends its headers or its
body, or that stops reading, would hold the connection, the request and its model for ever.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from llmd.api.errors import error_response
from llmd.config.settings import ServerSettings
from llmd.errors import HeadTooLarge, InvalidRequest, LlmdError, RequestTimeout

logger = logging.getLogger("llmd.http")

MAX_HEAD_BYTES = 64 * 1024
"""Request line and headers; what one read brings in is looked at as a whole, so a little more."""

MIN_BYTES = 16 * 1024
"""That must go over the connection in the time of a timeout, unless less is left."""


class BoundedHttpProtocol(HttpToolsProtocol):
    """uvicorn's own, with the timeouts of the settings in force at the time. Event loop only.

    - receive_timeout: a request's head must be here by then, and of its body MIN_BYTES more each
      time. Else 408, and the end of the connection.
    - send_timeout: while more is to be sent than the client has taken, it must take MIN_BYTES each
      time. Else the connection is cut, by which the request is cancelled as when its client leaves.
    - keep_alive_timeout: between two requests.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._receiving: asyncio.TimerHandle | None = None
        self._sending: asyncio.TimerHandle | None = None
        self._is_in_head = True
        self._num_head = 0
        """Bytes of the head that is coming in."""
        self._num_received = 0
        """Bytes since the timer was set."""
        self._num_unsent = 0
        """Bytes that were still to be sent then."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        connection = transport.get_extra_info("socket")
        if connection.family != socket.AF_UNIX:
            # Each piece of a stream goes out at once. asyncio sees to that only where the listener
            # was made with a protocol number.
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._await_data()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_receiving()
        self._stop_sending()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._num_received += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._is_in_head:
            self._num_head += len(data)
            if self._num_head > MAX_HEAD_BYTES:
                self._refuse(
                    HeadTooLarge(f"the headers take more than {MAX_HEAD_BYTES} bytes. Send fewer.")
                )
        elif self._receiving is not None and self._num_received >= MIN_BYTES:
            self._await_data()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._is_in_head = True
        self._num_head = 0
        self._await_data()

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        self._is_in_head = False
        self._await_data()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._stop_receiving()

    def on_response_complete(self) -> None:
        self.timeout_keep_alive = self._settings.keep_alive_timeout  # type: ignore[assignment]
        super().on_response_complete()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._await_reader()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stop_sending()

    def send_400_response(self, msg: str) -> None:
        logger.debug("%s", msg)
        self._refuse(InvalidRequest("this is not valid HTTP/1.1. Use an HTTP client."))

    @property
    def _settings(self) -> ServerSettings:
        settings: ServerSettings = self.config.app.state.llmd.settings  # type: ignore[union-attr]
        return settings

    def _await_data(self) -> None:
        self._stop_receiving()
        timeout = self._settings.receive_timeout
        self._num_received = 0
        if timeout:
            self._receiving = self.loop.call_later(timeout, self._receive_no_more)

    def _stop_receiving(self) -> None:
        if self._receiving is not None:
            self._receiving.cancel()
            self._receiving = None

    def _receive_no_more(self) -> None:
        self._receiving = None
        if self.transport.is_closing():
            return
        is_answering = self.cycle is not None and not self.cycle.response_complete
        if self.flow.read_paused or (self._is_in_head and is_answering):
            # It is we who do not read, or the client waits for the answer before this one.
            self._await_data()
        elif self._is_in_head and self._num_head == 0 and self._num_received == 0:
            self.transport.close()  # browsers open connections that they may not use
        else:
            self._refuse(
                RequestTimeout(
                    "the request came in too slowly. Send it faster, or start llmd with a longer "
                    "--receive-timeout."
                )
            )

    def _await_reader(self) -> None:
        self._stop_sending()
        timeout = self._settings.send_timeout
        self._num_unsent = self.transport.get_write_buffer_size()
        if timeout:
            self._sending = self.loop.call_later(timeout, self._send_no_more)

    def _stop_sending(self) -> None:
        if self._sending is not None:
            self._sending.cancel()
            self._sending = None

    def _send_no_more(self) -> None:
        self._sending = None
        if self._num_unsent - self.transport.get_write_buffer_size() >= MIN_BYTES:
            self._await_reader()
            return
        logger.info("a client does not read its answer; its connection is cut")
        # Not closed, which would wait for what is unsent.
        self.transport.abort()

    def _refuse(self, error: LlmdError) -> None:
        """Answer a request that is not here yet, or not at all, and end the connection."""
        self._stop_receiving()
        cycle = self.cycle
        if cycle is not None and cycle.response_complete and not self._is_in_head:
            # It was refused already; this is the rest of it.
            self.transport.close()
            return
        if cycle is not None and not cycle.response_complete:
            if cycle.response_started or self._is_in_head:
                # Nothing can be said in the middle of another answer.
                self.transport.abort()
                return
            # Whoever waits for the rest of it finds its client gone.
            cycle.disconnected = True
            cycle.message_event.set()
        answer = error_response(error)
        headers = [*answer.raw_headers, (b"connection", b"close")]
        head = b"".join(b"%b: %b\r\n" % header for header in headers)
        self.transport.write(b"%b%b\r\n%b" % (STATUS_LINE[error.status], head, bytes(answer.body)))
        self.transport.close()

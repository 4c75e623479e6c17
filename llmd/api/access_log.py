"""One line for each request, when it is over; and its recording, where that is wished for."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from llmd.api.draining import PROBES
from llmd.api.errors import error_response, explain_crash
from llmd.api.request_id import HEADER, request_id_of
from llmd.errors import Draining, LlmdError
from llmd.recording.recorder import Recorder
from llmd.serving.account import (
    CLIENT_HAS_GONE,
    RequestAccount,
    current_account,
    reset_account,
    set_account,
)

logger = logging.getLogger("llmd.access")

MAX_PATH = 200
"""Characters of a path that are logged."""


class AccessLog:
    """The outermost middleware: it gives a request its id and its account, answers for what crashes
    inside, and logs how it ended.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        account = RequestAccount(request_id_of(scope))
        account.recorder = _recorder(scope)
        account.count = scope["app"].state.llmd.metrics.requests.observe
        exchange = _Exchange(account, receive, send)
        if account.recorder is not None:
            receive = exchange.receive
        token = set_account(account)
        try:
            await self._app(scope, receive, exchange.send)
        except Exception as error:
            account.error = explain_crash(error)
            if exchange.status == 0:
                await error_response(account.error)(scope, receive, exchange.send)
        except asyncio.CancelledError:
            # The daemon ends; what is left of the task is this answer.
            account.error = Draining("llmd was stopped before the answer was finished. Try again.")
            if exchange.status == 0:
                await error_response(account.error)(scope, receive, exchange.send)
        finally:
            reset_account(token)
            _tell(account, scope["method"], _path(scope), exchange.outcome())


class _Exchange:
    """Sees what goes in and out."""

    def __init__(self, account: RequestAccount, receive: Receive, send: Send) -> None:
        self.status = 0
        self._is_complete = False
        self._account = account
        self._receive = receive
        self._send = send

    # No coroutine of its own: it is called for every piece of a stream.
    def send(self, message: Message) -> Awaitable[None]:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            header = (HEADER, self._account.request_id.encode())
            message = {**message, "headers": [*message.get("headers", ()), header]}
        elif not message.get("more_body", False):
            self._is_complete = True
        return self._send(message)

    async def receive(self) -> Message:
        message = await self._receive()
        recorder = self._account.recorder
        if recorder is not None and message["type"] == "http.request":
            recorder.body += message.get("body", b"")
        return message

    def outcome(self) -> int:
        """The status that was sent, unless the client left before all of it was."""
        error = self._account.error
        if self._is_complete or (error is not None and error.status >= 500):
            return self.status or (error.status if error else 0)
        return CLIENT_HAS_GONE


@contextmanager
def background_work(path: str, why: Callable[[], LlmdError | None]) -> Iterator[None]:
    """Work that goes on when its request is answered: it has an account of its own, and a line
    under the request's id. Its status is the one that it would have been answered with. `why` says
    what it was cancelled for, None for its client's wish.
    """
    request = current_account()
    account = RequestAccount(request.request_id, key_name=request.key_name)
    account.count = request.count
    if request.recorder is not None:
        account.recorder = request.recorder.continued("BACKGROUND", path)
    token = set_account(account)
    status = 200
    try:
        yield
    except LlmdError as error:
        account.error, status = error, error.status
        raise
    except asyncio.CancelledError:
        account.error = why()
        status = account.error.status if account.error else CLIENT_HAS_GONE
        raise
    except Exception:
        status = 500
        raise
    finally:
        reset_account(token)
        _tell(account, "BACKGROUND", path, status)


def _path(scope: Scope) -> str:
    """As it is routed. Without the query, in which people put keys."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))[:MAX_PATH]


def _recorder(scope: Scope) -> Recorder | None:
    writer = scope["app"].state.llmd.recordings
    if not writer.is_on or scope["method"] != "POST":
        return None
    headers = Headers(scope=scope)
    given = (headers.get(name, "") for name in ("authorization", "x-api-key"))
    # The scheme of a credential is no secret.
    secrets = tuple(value.rpartition(" ")[2] for value in given if value)
    return Recorder(writer, "POST", _path(scope), secrets)


def _tell(account: RequestAccount, method: str, path: str, status: int) -> None:
    account.is_over = True
    now = time.monotonic()
    duration_ms = round((now - account.started_at) * 1e3, 3)
    first = account.first_token_at
    ttft_ms = None if first is None else round((first - account.started_at) * 1e3, 3)
    if account.recorder is not None:
        account.recorder.finish(
            request_id=account.request_id,
            key_name=account.key_name,
            status=status,
            error=account.error,
            ttft_ms=ttft_ms,
            duration_ms=duration_ms,
        )
        account.recorder = None
    if account.count is not None and path not in PROBES:
        account.count(account, status, now - account.started_at)
    level = logging.DEBUG if path in PROBES else logging.INFO
    failed = account.error is not None and account.error.status >= 500
    if level == logging.INFO and (failed or 500 <= status):
        level = logging.WARNING
    if not logger.isEnabledFor(level):
        return
    fields: dict[str, Any] = {
        "request_id": account.request_id,
        "method": method,
        "path": path,
        "status": status,
        "model": account.model_name or None,
        "key": account.key_name or None,
        "prompt_tokens": account.num_prompt,
        "cached_tokens": None if account.num_prompt is None else account.num_cached,
        "output_tokens": None if account.num_prompt is None else account.num_generated,
        "ttft_ms": ttft_ms,
        "duration_ms": duration_ms,
        "finish": ",".join(account.finish_reasons) or None,
        "error": (account.error.code or account.error.type) if account.error else None,
        "answer_id": account.answer_id or None,
    }
    logger.log(level, "%s", _line(fields), extra=fields)


def _line(fields: dict[str, Any]) -> str:
    """`POST /v1/chat/completions 200 tiny key=alice prompt=812 (700 cached) out=54 ttft=0.21s 1.90s
    stop id=...`, without what is not known.
    """
    words = [fields["method"], fields["path"], str(fields["status"])]
    if fields["model"]:
        words.append(fields["model"])
    if fields["key"]:
        words.append(f"key={fields['key']}")
    if fields["prompt_tokens"] is not None:
        cached = f" ({fields['cached_tokens']} cached)" if fields["cached_tokens"] else ""
        words.append(f"prompt={fields['prompt_tokens']}{cached}")
    if fields["answer_id"]:
        words.append(f"out={fields['output_tokens']}")
    if fields["ttft_ms"] is not None:
        words.append(f"ttft={_seconds(fields['ttft_ms'])}")
    words.append(_seconds(fields["duration_ms"]))
    if fields["finish"]:
        words.append(fields["finish"])
    if fields["error"]:
        words.append(f"error={fields['error']}")
    words.append(f"id={fields['request_id']}")
    return " ".join(words)


def _seconds(milliseconds: float) -> str:
    seconds = milliseconds / 1e3
    return f"{seconds:.2f}s" if seconds < 10 else f"{seconds:.1f}s"

"""Where log lines go and how they look."""

from __future__ import annotations

import json as json_text
import logging
import sys
from datetime import UTC, datetime
from typing import TextIO

from llmd.config.settings import LogLevel
from llmd.serving.account import current_request_id

ROOT = "llmd"

# The web server says at INFO what llmd says better.
_QUIET = ("uvicorn", "asyncio")

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}

# A request's text may end up in a message: it must neither forge lines nor steer the terminal.
_ESCAPES = {code: f"\\x{code:02x}" for code in (*range(32), 127, *range(128, 160)) if code != 9}


class LineFormatter(logging.Formatter):
    """`14:02:11 warning engine: what happened`, then the traceback if there is one, or the `stacks`
    of its `extra`. Requests have lines of their own kind: `14:02:11 POST /v1/completions 200 ...`.
    What went wrong ends with the id of the request that it went wrong for.
    """

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created).strftime("%H:%M:%S")
        name = record.name.removeprefix(f"{ROOT}.")
        message = record.getMessage().translate(_ESCAPES)
        if name == "access":
            return f"{time} {message}"
        line = f"{time} {record.levelname.lower():<7} {name}: {message}"
        request_id = current_request_id() if record.levelno >= logging.WARNING else ""
        if request_id:
            line += f" id={request_id}"
        if stacks := getattr(record, "stacks", ""):
            line += f"\n{stacks}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class JsonFormatter(logging.Formatter):
    """One JSON object per line: time (RFC 3339, UTC), level, logger, message, exception if there is
    one, the request_id of the request that it is about, if it is, and what the caller gave as
    `extra`.
    """

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        fields = {
            "time": time,
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        request_id = current_request_id()
        if request_id:
            fields["request_id"] = request_id
        extra = {name: value for name, value in vars(record).items() if name not in _STANDARD}
        return json_text.dumps(extra | fields, ensure_ascii=False, default=str)


def configure(level: LogLevel, json: bool, stream: TextIO | None = None) -> None:
    """Send the logs of llmd and of the web server below it to `stream` (stderr); may be called
    again, and then replaces what it set before.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter() if json else LineFormatter())
    least = logging.getLevelNamesMapping()[level.upper()]
    _route(ROOT, handler, least)
    for name in _QUIET:
        _route(name, handler, least if least <= logging.DEBUG else max(least, logging.WARNING))


def _route(name: str, handler: logging.Handler, level: int) -> None:
    logger = logging.getLogger(name)
    logger.handlers[:] = [handler]
    logger.setLevel(level)

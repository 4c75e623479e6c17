from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest

from llmd.config.settings import LogLevel
from llmd.daemon.logs import configure
from llmd.serving.account import RequestAccount, reset_account, set_account

NAMES = ("llmd", "uvicorn", "asyncio")


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    before = [(logging.getLogger(name), logging.getLogger(name).level) for name in NAMES]
    handlers = {logger: logger.handlers[:] for logger, _ in before}
    yield
    for logger, level in before:
        logger.handlers[:] = handlers[logger]
        logger.setLevel(level)


def configured(level: LogLevel = "info", json: bool = False) -> io.StringIO:
    stream = io.StringIO()
    configure(level, json, stream)
    return stream


def raised() -> ValueError:
    try:
        raise ValueError("inside")
    except ValueError as error:
        return error


def test_a_line_has_time_level_place_and_message() -> None:
    stream = configured()
    logging.getLogger("llmd.engine").warning("%d cells", 3)
    time, rest = stream.getvalue().split(" ", 1)
    assert len(time) == len("14:02:11")
    assert rest == "warning engine: 3 cells\n"


def test_an_exception_follows_its_line() -> None:
    stream = configured()
    logging.getLogger("llmd.engine").error("broke", exc_info=raised())
    assert "error   engine: broke\nTraceback" in stream.getvalue()
    assert stream.getvalue().endswith("ValueError: inside\n")


def test_a_message_cannot_forge_a_line_nor_steer_the_terminal() -> None:
    stream = configured()
    logging.getLogger("llmd.api").info("name %s", "a\n14:02:11 error \x1b[2J\x9b")
    assert stream.getvalue().count("\n") == 1
    assert r"a\x0a14:02:11 error \x1b[2J\x9b" in stream.getvalue()


def test_json_is_one_object_per_line_with_what_the_caller_added() -> None:
    stream = configured(json=True)
    logging.getLogger("llmd.api").info("two\nlines ä", extra={"status": 200, "level": "forged"})
    (line,) = stream.getvalue().splitlines()
    fields = json.loads(line)
    assert fields.pop("time").endswith("+00:00")
    assert fields == {
        "level": "info",
        "logger": "llmd.api",
        "message": "two\nlines ä",
        "status": 200,
    }


def test_json_holds_the_exception() -> None:
    stream = configured(json=True)
    logging.getLogger("llmd.api").error("broke", exc_info=raised())
    assert json.loads(stream.getvalue())["exception"].endswith("ValueError: inside")


@pytest.mark.parametrize(
    ("level", "shown"),
    [
        ("error", ["error"]),
        ("warning", ["warning", "error"]),
        ("info", ["info", "warning", "error"]),
        ("debug", ["debug", "info", "warning", "error"]),
    ],
)
def test_a_level_hides_what_is_less_severe(level: LogLevel, shown: list[str]) -> None:
    stream = configured(level, json=True)
    logger = logging.getLogger("llmd.llama")
    for severity in ("debug", "info", "warning", "error"):
        logger.log(logging.getLevelNamesMapping()[severity.upper()], "x")
    assert [json.loads(line)["level"] for line in stream.getvalue().splitlines()] == shown


def test_the_web_server_is_quiet_at_info_but_its_warnings_show_once() -> None:
    stream = configured("info")
    logging.getLogger("uvicorn.error").info("Started server process")
    logging.getLogger("uvicorn.error").warning("Invalid HTTP request received.")
    assert stream.getvalue().splitlines()[0].endswith("Invalid HTTP request received.")
    assert stream.getvalue().count("\n") == 1


def test_the_web_server_speaks_at_debug() -> None:
    stream = configured("debug")
    logging.getLogger("uvicorn.error").info("Started server process")
    assert "Started server process" in stream.getvalue()


def test_the_web_server_is_no_louder_than_llmd() -> None:
    stream = configured("error")
    logging.getLogger("uvicorn.error").warning("x")
    assert stream.getvalue() == ""


def test_configuring_again_replaces_what_was_there() -> None:
    first, second = configured(), configured()
    logging.getLogger("llmd").info("once")
    assert (first.getvalue(), second.getvalue().count("once")) == ("", 1)


@pytest.fixture
def account() -> Iterator[RequestAccount]:
    """That of the request that is worked on."""
    account = RequestAccount("req_1")
    token = set_account(account)
    yield account
    reset_account(token)


def test_what_goes_wrong_names_its_request(account: RequestAccount) -> None:
    stream = configured()
    logging.getLogger("llmd.api").error("broke", exc_info=raised())
    logging.getLogger("llmd.api").info("by the way")
    lines = stream.getvalue().splitlines()
    assert lines[0].endswith("error   api: broke id=req_1")
    assert lines[-1].endswith("info    api: by the way")


def test_json_names_the_request_everywhere(account: RequestAccount) -> None:
    stream = configured(json=True)
    logging.getLogger("llmd.api").info("by the way")
    assert json.loads(stream.getvalue())["request_id"] == "req_1"


def test_what_a_request_left_behind_is_not_its_own(account: RequestAccount) -> None:
    stream = configured(json=True)
    account.is_over = True
    logging.getLogger("llmd.registry").info("unloaded")
    assert "request_id" not in json.loads(stream.getvalue())


def test_the_line_of_a_request_has_its_own_shape() -> None:
    stream = configured()
    logging.getLogger("llmd.access").warning("POST /v1/completions 503 0.00s id=req_1")
    assert stream.getvalue().split(" ", 1)[1] == "POST /v1/completions 503 0.00s id=req_1\n"


def test_a_path_cannot_forge_a_line() -> None:
    stream = configured()
    logging.getLogger("llmd.access").info("%s", "GET /a\n14:02:11 error x 404 id=req_1")
    assert stream.getvalue().count("\n") == 1

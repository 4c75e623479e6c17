from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from server import (
    ENVIRONMENT,
    Server,
    Values,
    add_server_options,
    measure_in_turn,
    running,
    started,
)

from llmd.config.settings import ServerSettings


def options_of(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_server_options(parser, context=64)
    return parser.parse_args(["--model-file", "m.gguf", *arguments])


def test_a_command_is_filled_in(tmp_path: Path) -> None:
    server = Server("a", "serve '{model} x' --port {port}")
    arguments = server.arguments({"model": "m.gguf", "port": 81}, tmp_path / "a.json")
    assert arguments == ["serve", "m.gguf x", "--port", "81"]


def test_a_config_file_is_written(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    server = Server("a", "serve -C {config}", '{"port": $port}')
    assert server.arguments({"port": 81}, path) == ["serve", "-C", str(path)]
    assert path.read_text() == '{"port": 81}'


def test_a_server_is_stopped_with_its_block(tmp_path: Path) -> None:
    arguments = [sys.executable, "-c", "input()"]
    with running(arguments, tmp_path / "log") as process:
        pass
    assert process.returncode is not None


@pytest.mark.parametrize(("theirs", "expected"), [(None, "none"), ("auto", "auto")])
def test_a_daemon_keeps_no_responses_unless_the_caller_wants_it(
    theirs: str | None, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (name,) = ENVIRONMENT
    assert name.removeprefix("LLMD_SERVER__").lower() in ServerSettings.model_fields
    monkeypatch.delenv(name, raising=False)
    if theirs is not None:
        monkeypatch.setenv(name, theirs)
    tell = f"import os; print(os.environ[{name!r}], end='')"
    with running([sys.executable, "-c", tell], tmp_path / "log") as process:
        process.wait()
    assert (tmp_path / "log").read_text() == expected


def test_a_server_that_does_not_end_is_killed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "log"
    deaf = (
        "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); "
        "signal.pause()"
    )
    with running([sys.executable, "-c", deaf], log, stop_seconds=0.1) as process:
        while not log.read_bytes():
            assert process.poll() is None
    assert process.returncode == -signal.SIGKILL
    assert "did not end by itself" in capsys.readouterr().err


def test_a_server_that_ends_is_quoted(tmp_path: Path) -> None:
    server = Server("a", f"{sys.executable} -c 'raise SystemExit(\"no such port\")'")
    with pytest.raises(RuntimeError, match="no such port"), started(server, {}, tmp_path):
        pass


def test_a_name_that_is_not_filled_in_is_named(tmp_path: Path) -> None:
    server = Server("a", "serve {cache_dir}")
    with pytest.raises(RuntimeError, match="'cache_dir' here"), started(server, {}, tmp_path):
        pass


@pytest.fixture
def quiet_signals() -> Iterator[None]:
    """`measure_in_turn` takes SIGTERM over, which is not for a test to keep."""
    handler = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, handler)


@pytest.mark.usefixtures("quiet_signals")
def test_servers_take_turns() -> None:
    options = options_of("--rounds", "2", "--server", "a=x", "--server", "b=y")
    turns: list[str] = []

    def measure(server: Server, values: Values, folder: Path, number: int) -> int:
        turns.append(f"{server.name}{number}")
        return number

    assert measure_in_turn(options, measure) == {"a": [0, 1], "b": [0, 1]}
    assert turns == ["a0", "b0", "a1", "b1"]


@pytest.mark.usefixtures("quiet_signals")
def test_commands_are_filled_in_from_options() -> None:
    options = options_of("--rounds", "1", "--threads", "3", "--server", "a=x")

    def measure(server: Server, values: Values, folder: Path, number: int) -> Values:
        return values

    found = measure_in_turn(options, measure)["a"][0]
    assert found == {"model": str(Path("m.gguf").resolve()), "threads": 3, "context": 64}


@pytest.mark.usefixtures("quiet_signals")
def test_a_server_that_fails_is_named() -> None:
    def measure(server: Server, values: Values, folder: Path, number: int) -> None:
        raise RuntimeError("no answer")

    with pytest.raises(RuntimeError, match="b: no answer"):
        measure_in_turn(options_of("--server", "b=y"), measure)


def test_a_server_needs_a_name() -> None:
    with pytest.raises(SystemExit):
        options_of("--server", "llmd serve")

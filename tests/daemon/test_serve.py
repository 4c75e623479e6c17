"""`llmd serve` as a process: how it starts, what it refuses, how it ends."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from zoo.broken import BrokenKind, write_broken
from zoo.llama import write_llama
from zoo.vocabulary import spm_vocabulary

from llmd.config.settings import ServerSettings
from llmd.daemon.listener import bind
from llmd.errors import StartupError

pytestmark = pytest.mark.gguf

UPGRADE = "upgrade llama-cpp-python if the model is newer than it."
QUICK = ("--threads", "1", "--parallel", "2", "--ctx-size", "2048")


class Daemon:
    """A running `llmd serve`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[str] = []

    def wait_for(self, text: str) -> str:
        """The first line of the log from here on that holds `text`."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line.rstrip("\n"))
            if text in line:
                return self.lines[-1]
        raise AssertionError(f"{text!r} was never logged: {self.lines}")

    def url(self) -> str:
        return self.wait_for("ready at ").rpartition("ready at ")[2]

    def end(self, *signals: signal.Signals) -> int:
        for each in signals:
            self.process.send_signal(each)
        return self.process.wait(30)


def environment(directory: Path) -> dict[str, str]:
    """Without the settings of whoever runs the tests."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LLMD_")}
    home = str(directory)
    return {**kept, "HOME": home, "XDG_CONFIG_HOME": home, "XDG_STATE_HOME": home}


@contextmanager
def daemon(directory: Path, *arguments: str | Path) -> Iterator[Daemon]:
    command = [sys.executable, "-m", "llmd", "serve", *map(str, arguments)]
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, cwd=directory, env=environment(directory)
    )
    try:
        yield Daemon(process)
    finally:
        process.kill()
        process.communicate()


def refusal(directory: Path, *arguments: str | Path) -> str:
    """What a daemon that does not start says: one line, with exit code 1."""
    command = [sys.executable, "-m", "llmd", "serve", *map(str, arguments), "--log-level", "error"]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=directory, env=environment(directory),
        timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("llmd: ")
    return line


def events(lines: Iterator[str]) -> Iterator[str]:
    return (line.removeprefix("data: ") for line in lines if line.startswith("data: "))


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("daemon")


def test_it_tells_its_values_and_its_address_and_serves_there(
    directory: Path, llama_path: Path
) -> None:
    with daemon(directory, llama_path, "--port", "0", *QUICK) as running:
        url = running.url()
        table = "\n".join(running.lines)
        assert httpx.get(f"{url}/readyz", trust_env=False).status_code == 200
        assert running.end(signal.SIGTERM) == 0
    assert url.startswith("http://127.0.0.1:") and not url.endswith(":0")
    for shown in ("context per request", "2048", "as set (--ctx-size)", "(--threads)"):
        assert shown in table


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_streams_finish_and_ends_with_0(
    how: signal.Signals, directory: Path, llama_path: Path
) -> None:
    body = {"prompt": "the water", "max_tokens": 1500, "stream": True, "temperature": 0,
            "stream_options": {"include_usage": True}}  # fmt: skip
    with daemon(directory, llama_path, "--port", "0", *QUICK) as running:
        url = running.url()
        with (
            httpx.Client(trust_env=False, timeout=30) as client,
            client.stream("POST", f"{url}/v1/completions", json=body) as response,
        ):
            stream = events(response.iter_lines())
            next(stream)
            running.process.send_signal(how)
            rest = list(stream)
        assert rest[-1] == "[DONE]"
        assert json.loads(rest[-2])["usage"]["completion_tokens"] == 1500
        assert running.process.wait(30) == 0


def test_streams_that_outlast_the_grace_are_cut_off(directory: Path, llama_path: Path) -> None:
    arguments = (llama_path, "--port", "0", "--threads", "1", "--ctx-size", "200000")
    body = {"prompt": "the water", "max_tokens": -1, "stream": True}
    with daemon(directory, *arguments, "--shutdown-grace", "1") as running:
        url = running.url()
        with (
            httpx.Client(trust_env=False, timeout=30) as client,
            client.stream("POST", f"{url}/v1/completions", json=body) as response,
        ):
            next(response.iter_raw())
            assert running.end(signal.SIGTERM) == 0


def test_a_second_signal_ends_it_at_once(directory: Path, llama_path: Path) -> None:
    arguments = (llama_path, "--port", "0", "--threads", "1", "--ctx-size", "200000")
    body = {"prompt": "the water", "max_tokens": -1, "stream": True}
    with daemon(directory, *arguments, "--shutdown-grace", "3600") as running:
        url = running.url()
        with (
            httpx.Client(trust_env=False, timeout=30) as client,
            client.stream("POST", f"{url}/v1/completions", json=body) as response,
        ):
            lines = response.iter_lines()
            next(lines)
            running.process.send_signal(signal.SIGTERM)
            running.wait_for("to finish")
            running.process.send_signal(signal.SIGTERM)
            assert running.process.wait(30) == 0


@pytest.fixture(scope="module")
def slow_path(directory: Path) -> Path:
    """A model that takes a while to load: its vocabulary is a large model's, its layers are not."""
    many = spm_vocabulary(user_defined=[f"<word {number}>" for number in range(50_000)])
    path = directory / "slow.gguf"
    return write_llama(path, vocabulary=many, num_layers=1, embedding=32)


@contextmanager
def loading(directory: Path, path: Path, *arguments: str) -> Iterator[tuple[Daemon, httpx.Client]]:
    """A daemon whose model is still loading, and a client of it."""
    uds = str(directory / "loading.sock")
    with (
        # It tells the beginning of the load only to those who look for faults.
        daemon(directory, path, "--uds", uds, "--log-level", "debug", *arguments) as running,
        httpx.Client(
            transport=httpx.HTTPTransport(uds=uds, retries=3), base_url="http://llmd", timeout=30
        ) as client,
    ):
        running.wait_for("loading slow")
        error = client.get("/health").json()["error"]
        assert error["code"] == "model_loading"
        yield running, client


def rest_of_log(running: Daemon) -> str:
    """What it logs up to its end, which must be a clean one."""
    _, log = running.process.communicate(timeout=60)
    assert running.process.returncode == 0, log
    assert "Traceback" not in log and "never awaited" not in log, log
    return log


def test_a_signal_while_the_model_loads_stops_the_load(directory: Path, slow_path: Path) -> None:
    with loading(directory, slow_path) as (running, _):
        running.process.send_signal(signal.SIGTERM)
        log = rest_of_log(running)
    assert "stopping" in log
    assert "ready at" not in log, "it had loaded before the signal came"


def test_who_waits_for_the_load_at_a_signal_is_answered_within_the_grace(
    directory: Path, slow_path: Path
) -> None:
    body = {"prompt": "the", "max_tokens": 3, "stream": True}
    arguments = ("--sse-ping-interval", "0.1", "--shutdown-grace", "3600")
    with (
        loading(directory, slow_path, *arguments) as (running, client),
        client.stream("POST", "/v1/completions", json=body) as response,
    ):
        lines = response.iter_lines()
        assert next(lines) == ": ping"
        running.process.send_signal(signal.SIGTERM)
        assert list(events(lines))[-1] == "[DONE]"
        log = rest_of_log(running)
    assert log.index("stopping") < log.index("ready at")


def test_a_taken_port_is_refused(directory: Path, llama_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        line = refusal(directory, llama_path, "--port", str(port))
    assert line == (
        f"llmd: 127.0.0.1:{port} is in use by another program. Choose another --port, or stop it."
    )


def test_an_address_that_is_not_ours_is_refused() -> None:
    with pytest.raises(StartupError, match=r"Check --host and --port\.$"):
        bind(ServerSettings(host="192.0.2.1", port=0))


def test_a_missing_file_is_refused(directory: Path) -> None:
    line = refusal(directory, "missing/model.gguf", "--port", "0")
    assert "missing/model.gguf" in line and line.endswith("check the path.")


@pytest.mark.parametrize(
    ("kind", "cure"),
    [
        (BrokenKind.MAGIC, "Give the path of a .gguf file."),
        (BrokenKind.TRUNCATED, "Download it again."),
        (BrokenKind.UNKNOWN_ARCHITECTURE, UPGRADE),
        (BrokenKind.BAD_TEMPLATE, "--chat-template FILE."),
    ],
)
def test_a_broken_file_is_refused_with_its_cure(
    kind: BrokenKind, cure: str, directory: Path
) -> None:
    path = write_broken(kind, directory / f"{kind}.gguf")
    assert refusal(directory, path, "--port", "0").endswith(cure)


def test_it_listens_on_a_unix_socket_and_takes_it_away_again(
    directory: Path, llama_path: Path
) -> None:
    path = directory / "llmd.sock"
    with daemon(directory, llama_path, "--uds", path, *QUICK) as running:
        assert running.url() == f"unix:{path}"
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(path))) as client:
            assert client.get("http://llmd/v1/models").status_code == 200
        assert running.end(signal.SIGTERM) == 0
    assert not path.exists()


def test_a_socket_left_behind_is_replaced(directory: Path, llama_path: Path) -> None:
    path = directory / "stale.sock"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    with daemon(directory, llama_path, "--uds", path, *QUICK) as running:
        assert running.url() == f"unix:{path}"


def test_a_socket_that_answers_is_refused(directory: Path, llama_path: Path) -> None:
    path = directory / "taken.sock"
    with socket.socket(socket.AF_UNIX) as taken:
        taken.bind(str(path))
        taken.listen()
        assert refusal(directory, llama_path, "--uds", path).endswith("Choose another --uds.")
    assert path.is_socket()


def test_a_file_in_the_sockets_place_is_kept(directory: Path, llama_path: Path) -> None:
    path = directory / "notes.txt"
    path.write_text("mine")
    assert refusal(directory, llama_path, "--uds", path).endswith("Choose another --uds.")
    assert path.read_text() == "mine"

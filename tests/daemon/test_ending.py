"""How a daemon ends: a real process, real signals, every dialect."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from daemon.test_serve import QUICK, Daemon, daemon, environment, events
from daemon.test_stuck import SCRIPT

pytestmark = pytest.mark.gguf

ENDLESS = {"stream": True, "ignore_eos": True, "temperature": 0}
LONG = ("--port", "0", "--threads", "1", "--parallel", "8", "--ctx-size", "200000")

STREAMS: dict[str, tuple[str, dict[str, Any]]] = {
    "chat": ("/v1/chat/completions", {"messages": [{"role": "user", "content": "the"}], **ENDLESS}),
    "text": ("/v1/completions", {"prompt": "the water", "max_tokens": -1, **ENDLESS}),
    "llama-server": ("/completion", {"prompt": "the water", "n_predict": -1, **ENDLESS}),
    "responses": ("/v1/responses", {"input": "the water", **ENDLESS}),
}


@contextmanager
def client_of(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url, trust_env=False, timeout=60) as client:
        yield client


def is_refused(answer: httpx.Response) -> bool:
    return (
        answer.status_code == 503
        and answer.json()["error"]["code"] == "draining"
        and int(answer.headers["retry-after"]) > 0
        and answer.headers["connection"] == "close"
    )


def check_failed_stream(dialect: str, lines: list[str]) -> None:
    """It holds the reason, and ends as its dialect ends."""
    if dialect in ("chat", "text"):
        assert lines.pop() == "data: [DONE]"
    last = json.loads(lines[-1].removeprefix("data: "))
    if dialect == "responses":
        assert last["type"] == "response.failed"
        last = last["response"]
    assert "llmd was stopped" in last["error"]["message"]


def test_it_drains_and_a_second_signal_ends_every_stream_in_its_own_dialect(
    tmp_path: Path, llama_path: Path
) -> None:
    with (
        daemon(tmp_path, llama_path, *LONG, "--shutdown-grace", "3600") as running,
        client_of(running.url()) as client,
        ExitStack() as open_streams,
        ThreadPoolExecutor() as pool,
    ):
        lines = {}
        for dialect, (path, body) in STREAMS.items():
            answer = open_streams.enter_context(client.stream("POST", path, json=body))
            lines[dialect] = answer.iter_lines()
            assert next(lines[dialect])
        path, body = STREAMS["text"]
        whole = pool.submit(client.post, path, json={**body, "stream": False})
        while json.loads(client.get("/slots").text)[4]["is_processing"] is False:
            pass

        running.process.send_signal(signal.SIGTERM)
        running.wait_for("stopping")
        assert is_refused(client.post(path, json={"prompt": "a", "max_tokens": 1}))
        with client_of(str(client.base_url)) as late:
            assert is_refused(late.post(path, json={"prompt": "a", "max_tokens": 1}))
            assert is_refused(late.get("/readyz"))
            assert late.get("/livez").status_code == 200
        for dialect in STREAMS:
            assert next(lines[dialect]) is not None, "the grace did not hold"

        running.process.send_signal(signal.SIGTERM)
        for dialect in STREAMS:
            check_failed_stream(dialect, [line for line in lines[dialect] if line])
        answer = whole.result()
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "draining")
        _, log = running.process.communicate(timeout=60)
    assert running.process.returncode == 0, log
    assert "Traceback" not in log and "never awaited" not in log, log


def test_what_outlasts_the_grace_ends_with_an_error_and_computed_prompts_are_kept(
    tmp_path: Path, llama_path: Path
) -> None:
    kept = tmp_path / "prompts"
    arguments = (*LONG, "--shutdown-grace", "1", "--cache-dir", kept)
    path, body = STREAMS["chat"]
    body = {**body, "messages": [{"role": "user", "content": "the water " * 100}]}
    with daemon(tmp_path, llama_path, *arguments) as running, client_of(running.url()) as client:
        with client.stream("POST", path, json=body) as answer:
            lines = answer.iter_lines()
            next(lines)
            running.process.send_signal(signal.SIGTERM)
            check_failed_stream("chat", [line for line in lines if line])
        assert running.process.wait(30) == 0
    assert list(kept.rglob("*.state"))


@contextmanager
def activated(
    directory: Path, sockets: list[socket.socket], *arguments: str | Path
) -> Iterator[Daemon]:
    """A daemon that is handed these sockets, as systemd does it."""
    descriptors = [each.fileno() for each in sockets]
    # $$ stays the number of the process through exec.
    redirections = " ".join(f"{20 + i}<&{each}" for i, each in enumerate(descriptors))
    placed = " ".join(f"{3 + i}<&{20 + i}" for i in range(len(descriptors)))
    script = f'exec {redirections}; LISTEN_PID=$$ exec "$@" {placed}'
    process = subprocess.Popen(
        ["bash", "-c", script, "_", sys.executable, "-m", "llmd", "serve", *map(str, arguments)],
        stderr=subprocess.PIPE,
        text=True,
        cwd=directory,
        env={**environment(directory), "LISTEN_FDS": str(len(descriptors))},
        pass_fds=descriptors,
    )
    try:
        yield Daemon(process)
    finally:
        process.kill()
        process.communicate()


def test_with_a_socket_of_systemds_a_restart_loses_no_connection(
    tmp_path: Path, llama_path: Path
) -> None:
    body = {"prompt": "the water", "max_tokens": 1500, "stream": True, "ignore_eos": True}
    with socket.create_server(("127.0.0.1", 0)) as owned, ThreadPoolExecutor() as pool:
        url = f"http://127.0.0.1:{owned.getsockname()[1]}"
        with (
            activated(tmp_path, [owned], llama_path, *QUICK) as first,
            client_of(url) as client,
        ):
            assert first.url() == url
            assert any("systemd has opened" in line for line in first.lines)
            with client.stream("POST", "/v1/completions", json=body) as answer:
                lines = events(answer.iter_lines())
                next(lines)
                first.process.send_signal(signal.SIGTERM)
                first.wait_for("stopping")
                assert list(lines)[-1] == "[DONE]"
            assert first.process.wait(30) == 0
        waiting = pool.submit(httpx.get, f"{url}/v1/models", timeout=60, trust_env=False)
        with activated(tmp_path, [owned], llama_path, *QUICK) as second:
            assert waiting.result().status_code == 200
            assert second.end(signal.SIGTERM) == 0


def test_a_second_signal_ends_a_daemon_whose_model_hangs(tmp_path: Path, llama_path: Path) -> None:
    command = [sys.executable, "-c", SCRIPT, "serve", str(llama_path), "--port", "0", *QUICK]
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env=environment(tmp_path), cwd=tmp_path
    ) as process:
        try:
            running = Daemon(process)
            with client_of(running.url()) as client, ThreadPoolExecutor() as pool:
                asked = pool.submit(client.post, "/v1/completions", json={"prompt": "hello"})
                while client.get("/v1/models").json()["data"][0]["num_users"] == 0:
                    pass
                process.send_signal(signal.SIGTERM)
                running.wait_for("stopping")
                process.send_signal(signal.SIGTERM)
                assert asked.result().status_code == 503
            assert process.wait(30) == 1
        finally:
            process.kill()

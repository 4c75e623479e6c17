"""A daemon of several models as a process: start, switch, reload, end."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner, Result
from daemon.test_serve import QUICK, Daemon, daemon, environment, events, refusal
from pseudo_terminal import on_terminal
from zoo.broken import BrokenKind, write_broken

from llmd.cli import main

pytestmark = pytest.mark.gguf

ONE_MODEL = "memory_budget = '10MiB'"
"""Each of the two takes some 6."""


def written(directory: Path, zoo: dict[str, Path], text: str = "", server: str = "") -> Path:
    path = directory / "llmd.toml"
    path.write_text(
        f"[server]\nport = 0\nstate_dir = 'none'\n{server}\n"
        "[model]\nthreads = 1\nparallel = 2\nctx_size = 4096\nkv_tokens = 8192\n"
        "batch_size = 64\nubatch_size = 64\n"
        f"[models.first]\nsource = '{zoo['llama']}'\n"
        f"[models.second]\nsource = '{zoo['bytes']}'\n{text}"
    )
    return path


@contextmanager
def connected(running: Daemon) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=running.url(), trust_env=False, timeout=60) as client:
        yield client


def complete(client: httpx.Client, model: str, **fields: Any) -> httpx.Response:
    body = {"model": model, "prompt": "the water", "max_tokens": 3, **fields}
    return client.post("/v1/completions", json=body)


def states(client: httpx.Client) -> dict[str, str]:
    return {model["id"]: model["state"] for model in client.get("/v1/models").json()["data"]}


def command(url: httpx.URL, *arguments: str) -> Result:
    return CliRunner().invoke(main, [*arguments, "--url", str(url)], catch_exceptions=False)


def test_models_of_the_file_are_served_on_demand_and_commands_see_and_move_them(
    tmp_path: Path, zoo: dict[str, Path]
) -> None:
    path = written(tmp_path, zoo)
    with daemon(tmp_path, "--config", path) as running, connected(running) as client:
        assert client.get("/health").status_code == 200
        assert states(client) == {"first": "unloaded", "second": "unloaded"}
        assert complete(client, "second").json()["model"] == "second"
        told = complete(client, "third")
        assert told.status_code == 404 and "first, second" in told.json()["error"]["message"]

        assert command(client.base_url, "load", "first").output.startswith("first is ready, ")
        table = command(client.base_url, "ps").output.splitlines()
        assert table[0].split()[:3] == ["MODEL", "STATE", "MEMORY"]
        assert [line.split()[:2] for line in table[1:]] == [["first", "ready"], ["second", "ready"]]
        assert command(client.base_url, "unload", "first").output == "first is unloaded\n"
        listed = json.loads(command(client.base_url, "ps", "--json").output)["models"]
        assert [model["state"] for model in listed] == ["unloaded", "ready"]
        failed = command(client.base_url, "load", "third")
        assert failed.exit_code == 1 and "first, second" in failed.output
        assert complete(client, "first").status_code == 200

        assert running.end(signal.SIGTERM) == 0


def test_a_stream_is_whole_before_its_model_makes_room_and_what_never_fits_is_refused(
    tmp_path: Path, zoo: dict[str, Path]
) -> None:
    large = f"[models.large]\nsource = '{zoo['llama']}'\nkv_tokens = 2000000\n"
    path = written(tmp_path, zoo, large, server=ONE_MODEL)
    body = {"model": "first", "prompt": "the water", "max_tokens": 1500, "stream": True,
            "ignore_eos": True, "stream_options": {"include_usage": True}}  # fmt: skip
    with daemon(tmp_path, "--config", path) as running, connected(running) as client:
        with (
            ThreadPoolExecutor() as pool,
            client.stream("POST", "/v1/completions", json=body) as response,
        ):
            stream = events(response.iter_lines())
            next(stream)
            second = pool.submit(complete, client, "second")
            running.wait_for("unloading first: second needs its memory")
            third = pool.submit(complete, client, "first")
            rest = list(stream)
            assert rest[-1] == "[DONE]"
            assert json.loads(rest[-2])["usage"]["completion_tokens"] == 1500
            assert second.result().json()["model"] == "second"
            assert third.result().json()["model"] == "first"
        refused = complete(client, "large")
        assert refused.status_code == 500 and refused.headers["x-should-retry"] == "false"
        assert refused.json()["error"]["code"] == "not_enough_memory"
        assert states(client) == {"first": "ready", "second": "unloaded", "large": "failed"}
        assert client.get("/health").status_code == 200
        assert running.end(signal.SIGTERM) == 0


def test_the_first_model_of_the_command_line_is_loaded_at_the_start(
    tmp_path: Path, zoo: dict[str, Path]
) -> None:
    arguments = (zoo["llama"], zoo["mamba"], "--port", "0", *QUICK)
    with daemon(tmp_path, *arguments) as running, connected(running) as client:
        assert states(client) == {"llama": "ready", "mamba": "unloaded"}
        log = "\n".join(running.lines)
        assert "llama: llama" in log and "loaded when they are asked for: mamba" in log


def test_a_model_that_cannot_be_loaded_at_the_start_does_not_keep_others_from_serving(
    tmp_path: Path, zoo: dict[str, Path]
) -> None:
    broken = write_broken(BrokenKind.MAGIC, tmp_path / "broken.gguf")
    arguments = (broken, zoo["llama"], tmp_path / "missing.gguf", "--port", "0", *QUICK)
    with daemon(tmp_path, *arguments) as running, connected(running) as client:
        log = "\n".join(running.lines)
        assert "error   daemon: cannot load broken: " in log
        assert "warning daemon: cannot serve missing now: " in log
        assert client.get("/health").status_code == 200
        assert complete(client, "llama").status_code == 200
        assert states(client) == {"broken": "failed", "llama": "ready", "missing": "unloaded"}
        assert complete(client, "missing").json()["error"]["code"] == "model_file_not_found"


def test_where_no_model_is_there_it_does_not_start(tmp_path: Path) -> None:
    line = refusal(tmp_path, "missing/a.gguf", "missing/b.gguf", "--port", "0")
    assert "missing/a.gguf" in line


def test_a_signal_to_reload_applies_what_it_can_and_names_the_rest(
    tmp_path: Path, zoo: dict[str, Path]
) -> None:
    path = written(tmp_path, zoo)
    with daemon(tmp_path, "--config", path) as running, connected(running) as client:
        complete(client, "first")
        before = path.read_text()
        path.write_text(before.replace("port = 0", "port = 1\nprot = 2"))
        running.process.send_signal(signal.SIGHUP)
        assert "line 3: unknown key server.prot" in running.wait_for("is not reloaded")
        failed = command(client.base_url, "reload")
        assert failed.exit_code == 1 and "line 3" in failed.output

        changed = before.replace("port = 0", "port = 1\nmax_body_bytes = 1024")
        changed = changed.replace("[models.second]", "[models.third]")
        path.write_text(changed + "[models.first.sampling]\ntop_k = 1\n")
        running.process.send_signal(signal.SIGHUP)
        line = running.wait_for("configuration is reloaded")
        for told in ("added: third", "removed: second", "changed: first",
                     "applied: server.max_body_bytes", "needs a restart: server.port"):  # fmt: skip
            assert told in line
        assert complete(client, "third").status_code == 200
        assert complete(client, "second").status_code == 404
        assert complete(client, "first", prompt="x" * 2000).status_code == 413
        told = command(client.base_url, "reload").output
        assert told == f"{path}: needs a restart: server.port\n"
        assert running.end(signal.SIGTERM) == 0


def test_a_signal_while_a_model_drains_and_others_wait_ends_it_cleanly(
    tmp_path: Path, zoo: dict[str, Path]
) -> None:
    path = written(tmp_path, zoo, server=f"{ONE_MODEL}\nsse_ping_interval = 0.05")
    endless = {"prompt": "a", "stream": True, "max_tokens": -1, "ignore_eos": True}
    arguments = ("--config", path, "--shutdown-grace", "0", "--ctx-size", "8192")
    with daemon(tmp_path, *arguments) as running, connected(running) as client, ExitStack() as open:
        for model in ("first", "second", "first"):
            body = {"model": model, **endless}
            answer = open.enter_context(client.stream("POST", "/v1/completions", json=body))
            assert next(answer.iter_raw())
        running.wait_for("unloading first: second needs its memory")
        running.process.send_signal(signal.SIGTERM)
        _, log = running.process.communicate(timeout=30)
    assert running.process.returncode == 0, log
    assert "Traceback" not in log and "never awaited" not in log, log


def test_a_closed_terminal_ends_it_and_the_signal_alone_does_not(
    tmp_path: Path, zoo: dict[str, Path]
) -> None:
    llmd = str(Path(sys.executable).with_name("llmd"))
    path = written(tmp_path, zoo)
    command = [llmd, "serve", "--config", str(path)]
    with on_terminal(command, environment(tmp_path), tmp_path) as terminal:
        terminal.expect("ready at")
        os.kill(terminal.process.pid, signal.SIGHUP)
        terminal.expect("configuration is reloaded")
        terminal.hang_up()
        assert terminal.process.wait(30) == 0

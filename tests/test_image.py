"""The Dockerfile and compose.yaml, as far as they can be held without building the image."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import httpx
import pytest
from daemon.test_serve import QUICK, daemon

ROOT = Path(__file__).parents[1]


def instructions() -> list[tuple[str, str]]:
    """Each instruction and its argument, continued lines joined."""
    text = (ROOT / "Dockerfile").read_text("utf-8")
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    pairs = (line.partition(" ") for line in joined.splitlines() if line.strip())
    return [(name, argument) for name, _, argument in pairs]


def last_stage() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, argument in instructions():
        if name == "FROM":
            found = {}
        found.setdefault(name, []).append(argument)
    return found


def health_command() -> list[str]:
    (check,) = last_stage()["HEALTHCHECK"]
    command = json.loads(check.partition(" CMD ")[2])
    assert command[0] == "/opt/llmd/bin/python"
    return [sys.executable, *command[1:]]


def test_it_is_built_in_one_stage_and_runs_in_another_without_the_compiler() -> None:
    stages = [argument for name, argument in instructions() if name == "FROM"]
    assert stages == ["${BUILD_BASE} AS build", "${RUN_BASE}"]
    assert last_stage()["COPY"] == ["--from=build /opt/llmd /opt/llmd"]
    assert "g++" not in " ".join(last_stage()["RUN"])


def test_signals_reach_llmd_itself() -> None:
    stage = last_stage()
    assert json.loads(stage["ENTRYPOINT"][0]) == ["/opt/llmd/bin/llmd"]
    assert json.loads(stage["CMD"][0]) == ["serve"]
    assert stage["STOPSIGNAL"] == ["SIGTERM"]


def test_it_runs_as_a_user_by_number_that_is_not_root() -> None:
    (user,) = last_stage()["USER"]
    assert re.fullmatch(r"[1-9]\d+:[1-9]\d+", user)


def test_models_and_state_are_volumes_that_the_user_owns() -> None:
    stage = last_stage()
    volumes = json.loads(stage["VOLUME"][0])
    assert volumes == ["/models", "/state"]
    (made,) = re.findall(r"install --directory (.*)", stage["RUN"][0])
    assert made.endswith(" ".join(volumes))
    environment = " ".join(stage["ENV"]).split()
    assert {"HF_HOME=/models", "STATE_DIRECTORY=/state"} <= set(environment)
    assert "LLMD_SERVER__HOST=0.0.0.0" in environment


def test_native_code_is_built_portable_unless_said_otherwise() -> None:
    arguments = [argument for name, argument in instructions() if name == "ARG"]
    assert 'CMAKE_ARGS="-DGGML_NATIVE=OFF"' in arguments


def test_llama_cpp_is_the_one_that_llmd_asks_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    (wanted,) = (each for each in project["dependencies"] if each.startswith("llama-cpp"))
    assert ("ARG", f'LLAMA_CPP_PYTHON="{wanted}"') in instructions()


def test_only_what_the_image_is_made_of_is_sent_to_the_builder() -> None:
    ignored = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    rules = [line for line in ignored if line and not line.startswith("#")]
    assert rules[0] == "*"
    sent = {line[1:] for line in rules if line.startswith("!")}
    copied = {
        source
        for name, argument in instructions()
        if name == "COPY" and not argument.startswith("--from")
        for source in argument.split()[:-1]
    }
    assert sent == copied
    assert all((ROOT / name).exists() for name in sent)


@pytest.mark.gguf
def test_its_health_check_tells_a_daemon_that_serves_from_one_that_ends(
    tmp_path: Path, llama_path: Path
) -> None:
    def check(port: str) -> int:
        environment = {**os.environ, "LLMD_SERVER__PORT": port, "http_proxy": "http://127.0.0.1:1"}
        done = subprocess.run(
            health_command(), env=environment, stderr=subprocess.DEVNULL, timeout=60, check=False
        )
        return done.returncode

    body = {"prompt": "a", "max_tokens": -1, "ignore_eos": True, "stream": True}
    with daemon(tmp_path, llama_path, "--port", "0", *QUICK, "--ctx-size", "200000") as running:
        url = running.url()
        port = url.rpartition(":")[2]
        assert check(port) == 0
        with httpx.stream("POST", f"{url}/v1/completions", json=body, trust_env=False) as answer:
            chunks = answer.iter_raw()
            next(chunks)
            running.process.send_signal(signal.SIGTERM)
            running.wait_for("stopping")
            assert check(port) == 1
        assert running.process.wait(30) == 0
        assert check(port) == 1


def test_compose_gives_the_image_what_it_needs_and_nothing_else() -> None:
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    composed = yaml.safe_load((ROOT / "compose.yaml").read_text("utf-8"))
    service = composed["services"]["llmd"]
    targets = {volume.partition(":")[2] for volume in service["volumes"]}
    assert targets == {"/models", "/state"}
    assert set(composed["volumes"]) == {v.partition(":")[0] for v in service["volumes"]}
    assert service["ports"] == ["127.0.0.1:8080:8080"], "without keys nobody else may come in"
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["init"] is True
    # The grace that llmd gives to requests, and time to write prefixes.
    assert int(service["stop_grace_period"].removesuffix("s")) > 60

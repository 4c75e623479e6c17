from __future__ import annotations

import socket
from pathlib import Path

import pytest
from zoo.llama import write_llama

from llmd.config.load import LoadedSettings, load
from llmd.config.memory import AvailableMemory
from llmd.config.settings import ModelSettings
from llmd.daemon.doctor import examine, examine_model
from llmd.store.hub import Hub


@pytest.fixture(autouse=True)
def _no_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing listens there."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{taken.getsockname()[1]}"
    monkeypatch.setattr(Hub, "__init__", lambda self: setattr(self, "endpoint", endpoint))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))


def settings(tmp_path: Path, **flags: object) -> LoadedSettings:
    return load({name.replace("__", "."): flags[name] for name in flags}, None, {}, tmp_path)


def findings(loaded: LoadedSettings, **environ: str) -> dict[str, str]:
    return {each.name: each.value for each in examine(loaded, environ)}


def test_the_machine_and_the_build_are_described(tmp_path: Path) -> None:
    found = findings(settings(tmp_path, server__port=0))
    assert set(found) == {
        "processor", "memory", "GPU", "llama.cpp", "backend", "waiting", "configuration",
        "service", "address", "hub", "store",
    }  # fmt: skip
    assert "free" in found["memory"]
    assert found["configuration"] == "no file, so defaults"
    assert found["service"] == "not run by systemd"
    assert f"{tmp_path}/hub: " in found["store"]


def test_a_hub_that_is_not_there_is_no_fault(tmp_path: Path) -> None:
    (hub,) = [e for e in examine(settings(tmp_path, server__port=0), {}) if e.name == "hub"]
    assert "cannot be reached" in hub.value and not hub.is_fault


def test_a_hub_is_left_alone_where_that_is_asked(tmp_path: Path) -> None:
    found = findings(settings(tmp_path, server__port=0), HF_HUB_OFFLINE="1")
    assert found["hub"].endswith("is left alone, as HF_HUB_OFFLINE says")


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"INVOCATION_ID": "1"}, "run by systemd, as a plain process"),
        ({"INVOCATION_ID": "1", "NOTIFY_SOCKET": "/run/n"},
         "run by systemd, which is told when llmd is ready"),
    ],
)  # fmt: skip
def test_systemd_is_noticed(tmp_path: Path, environ: dict[str, str], expected: str) -> None:
    assert findings(settings(tmp_path, server__port=0), **environ)["service"] == expected


def test_a_taken_port_is_a_fault(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        loaded = settings(tmp_path, server__port=taken.getsockname()[1])
        (address,) = [each for each in examine(loaded, {}) if each.name == "address"]
    assert address.is_fault
    assert "Choose another --port" in address.value


def test_a_model_is_planned_and_not_loaded(tmp_path: Path) -> None:
    path = write_llama(tmp_path / "model.gguf")
    found = examine_model("m", ModelSettings(source=str(path), parallel=2), None)
    assert found.fault is None and found.estimate is not None
    assert {row.name: row.value for row in found.rows}["KV pool"] == "4096 tokens"
    assert found.verdict.startswith("it fits, with ")


def test_a_model_that_cannot_fit_has_its_reason(tmp_path: Path) -> None:
    path = write_llama(tmp_path / "model.gguf")
    found = examine_model("m", ModelSettings(source=str(path)), 1000)
    assert found.estimate is None and found.rows == ()
    assert found.verdict.startswith("it does not fit: ")
    assert "what --memory-budget leaves" in found.verdict


def test_a_prompt_cache_that_will_not_fit_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_llama(tmp_path / "model.gguf")
    free = AvailableMemory(2**30, "as the test says")
    monkeypatch.setattr("llmd.engine.memory.available_memory", lambda: free)
    settings = ModelSettings(source=str(path), cache_ram="8GiB")
    assert "set a smaller --cache-ram" in examine_model("m", settings, None).verdict

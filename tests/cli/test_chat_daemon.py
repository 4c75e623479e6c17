"""Which daemon a chat talks to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from scripted_daemon import scripted_daemon

from llmd.cli.chat_daemon import ChatModel, open_model, usual_address
from llmd.config.settings import ServerSettings
from llmd.errors import ModelFileNotFound, ModelNotFound, Unsupported


def opened(model: str | None, **environ: str) -> ChatModel:
    with open_model(model, None, None, environ) as found:
        return found


def port_of(url: str) -> str:
    return url.rpartition(":")[2]


@pytest.fixture(autouse=True)
def _no_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))


@pytest.mark.parametrize(
    ("server", "address"),
    [
        ({}, "http://127.0.0.1:8080"),
        ({"host": "0.0.0.0", "port": 9000}, "http://127.0.0.1:9000"),
        ({"host": "::"}, "http://[::1]:8080"),
        ({"host": "10.0.0.1"}, "http://10.0.0.1:8080"),
        ({"uds": "/run/llmd.sock", "port": 9000}, "unix:/run/llmd.sock"),
    ],
)
def test_a_daemon_is_looked_for_where_its_configuration_puts_it(
    server: dict[str, Any], address: str
) -> None:
    assert str(usual_address(ServerSettings(**server))) == address


@pytest.mark.parametrize("model", [None, "scripted", "here/scripted.gguf"])
def test_one_that_runs_and_serves_the_model_is_taken(model: str | None) -> None:
    with scripted_daemon(context_length=64) as daemon:
        found = opened(model, LLMD_SERVER__PORT=port_of(daemon.url))
    assert (found.name, found.context_length) == ("scripted", 64)
    assert str(found.remote.address) == daemon.url


@pytest.mark.parametrize("served", [{"id": "other"}, {"owned_by": "somebody"}])
def test_one_that_serves_another_model_or_is_no_llmd_is_passed_over(
    served: dict[str, str],
) -> None:
    with scripted_daemon(**served) as daemon, pytest.raises(ModelFileNotFound):
        opened("scripted.gguf", LLMD_SERVER__PORT=port_of(daemon.url))


def test_one_that_was_named_must_serve_the_model() -> None:
    with scripted_daemon() as daemon:
        assert opened(None, LLMD_URL=daemon.url).name == "scripted"
        with pytest.raises(ModelNotFound, match=r"serves scripted, not other\. Name one of those"):
            opened("other", LLMD_URL=daemon.url)


def test_a_model_that_embeds_is_refused() -> None:
    with scripted_daemon(capabilities=["embedding"]) as daemon:
        with pytest.raises(Unsupported, match=r"writes none\. Choose another model"):
            opened("scripted", LLMD_URL=daemon.url)

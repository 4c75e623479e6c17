"""`llmd replay`, over recordings of a real server and of a fake one."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from access_lines import access_lines
from agent_tools import WEATHER_QUESTION
from api.raw_client import connected
from click.testing import CliRunner, Result
from fake_server import FakeServer, fake_serving
from live import LiveServer, serving

from llmd.cli import main
from llmd.config.model_reference import resolve
from llmd.config.sampling_defaults import SamplingDefaults
from llmd.config.settings import ModelSettings, ServerSettings
from llmd.registry.instance import ModelInstance

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the current weather for a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
FLAT_WEATHER = {"type": "function", **WEATHER["function"]}  # type: ignore[dict-item]
DRAWN = SamplingDefaults(temperature=1.0)
"""So that a seed matters."""

HELLO = {"messages": [{"role": "user", "content": "Hello! Who are you?"}]}
CALL = {"messages": [{"role": "user", "content": WEATHER_QUESTION}], "tools": [WEATHER]}


def replay(file: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["replay", str(file), *arguments])


class Recorded:
    """A server that records, and what it recorded last."""

    def __init__(self, live: LiveServer, path: Path) -> None:
        self.live = live
        self._path = path

    def file(self, path: str, body: dict[str, Any], *, status: int = 200) -> Path:
        with access_lines() as lines, self.live.client() as client:
            response = client.post(path, json=body)
            assert response.status_code == status, response.text
            lines.next()
        return self.newest()

    def newest(self) -> Path:
        # It waits for what is being written.
        self.live.state.recordings.configure(self._path, 2**20)
        return max(self._path.glob("*.json"))

    def replayed(self, file: Path) -> Result:
        return replay(file, "--url", self.live.url)


@pytest.fixture(scope="module")
def bundled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recorded]:
    path = tmp_path_factory.mktemp("bundled") / "r"

    def make() -> ModelInstance:
        return ModelInstance("tiny", resolve("tiny"), ModelSettings(sampling=DRAWN))

    with serving(make, ServerSettings(record=path)) as live:
        yield Recorded(live, path)


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[tuple[FakeServer, Recorded]]:
    path = tmp_path / "r"
    with fake_serving(ServerSettings(record=path)) as server:
        yield server, Recorded(server.live, path)


def changed(file: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """A copy of a recording, with something else in it."""
    value = json.loads(file.read_text())
    change(value)
    copy = file.with_name("changed.txt")
    copy.write_text(json.dumps(value))
    return copy


@pytest.mark.gguf
@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", HELLO),
        ("/v1/chat/completions", {**HELLO, "stream": True, "n": 2}),
        ("/v1/chat/completions", CALL),
        ("/v1/completions", {"prompt": "The sea", "max_tokens": 8, "echo": True}),
        ("/v1/responses", {"input": "Hello!"}),
        ("/v1/responses", {"input": WEATHER_QUESTION, "tools": [FLAT_WEATHER]}),
        ("/completion", {"prompt": ["The", "sea"], "n_predict": 4}),
    ],
    ids=["chat", "stream", "call", "text", "response", "response-call", "native"],
)
def test_a_drawn_answer_comes_again_with_its_seed(
    bundled: Recorded, path: str, body: dict[str, Any]
) -> None:
    done = bundled.replayed(bundled.file(path, body))
    assert (done.exit_code, done.stdout) == (0, "the same\n"), done.output


@pytest.mark.gguf
def test_a_difference_is_shown(bundled: Recorded) -> None:
    def change(value: dict[str, Any]) -> None:
        value["choices"][0]["message"]["content"] = "It was\nsomething else."

    done = bundled.replayed(changed(bundled.file("/v1/chat/completions", HELLO), change))
    assert done.exit_code == 1
    assert done.stdout.startswith("--- recorded\n+++ now\n")
    assert "\n-It was\n-something else.\n+" in done.stdout


@pytest.mark.gguf
def test_another_model_is_told(bundled: Recorded) -> None:
    def change(value: dict[str, Any]) -> None:
        value["generation"]["fingerprint"] = "llmd-0-other"

    done = bundled.replayed(changed(bundled.file("/v1/chat/completions", HELLO), change))
    assert done.exit_code == 0
    assert "another model or build: llmd-" in done.stderr


@pytest.mark.gguf
@pytest.mark.parametrize("body", [HELLO, CALL, {**HELLO, "n": 3, "max_tokens": 3}])
def test_what_the_model_wrote_is_read_as_the_same_message(
    bundled: Recorded, body: dict[str, Any]
) -> None:
    done = replay(bundled.file("/v1/chat/completions", body), "--parse")
    assert (done.exit_code, done.stdout) == (0, "the same\n"), done.output


@pytest.mark.gguf
def test_another_reading_is_shown(bundled: Recorded) -> None:
    def change(value: dict[str, Any]) -> None:
        value["choices"][0]["raw"] = value["choices"][0]["raw"].replace("Tampico", "Delft")

    done = replay(changed(bundled.file("/v1/chat/completions", CALL), change), "--parse")
    assert done.exit_code == 1
    minus, plus = (line for line in done.stdout.splitlines()[3:] if line[0] in "+-")
    assert minus.replace("Tampico", "Delft")[1:] == plus[1:]
    assert plus.startswith("+choice 0, call: get_weather {")


def test_a_refusal_that_is_still_one_is_the_same(fake: tuple[FakeServer, Recorded]) -> None:
    _, recorded = fake
    file = recorded.file("/v1/completions", {"prompt": 1.5}, status=400)
    assert recorded.replayed(file).stdout == "the same\n"


def test_a_refusal_that_is_one_no_more_is_shown(fake: tuple[FakeServer, Recorded]) -> None:
    def change(value: dict[str, Any]) -> None:
        value["request"] = {"prompt": "a", "max_tokens": 2}

    _, recorded = fake
    file = recorded.file("/v1/completions", {"prompt": 1.5}, status=400)
    done = recorded.replayed(changed(file, change))
    assert done.exit_code == 1
    assert "-error invalid_request: " in done.stdout and "+an answer" in done.stdout


def test_what_its_client_left_is_compared_as_far_as_it_came(
    fake: tuple[FakeServer, Recorded],
) -> None:
    server, recorded = fake
    with access_lines() as lines:
        with connected(server.live.port) as leaver:
            body = {"prompt": "abc", "max_tokens": 2000, "stream": True}
            leaver.post("/v1/completions", body)
            leaver.read_head()
            next(leaver.chunks())
            server.runner.hold()
        server.watch.wait("forgotten")
        server.runner.release()
        assert lines.next().status == 499
    done = recorded.replayed(recorded.newest())
    assert (done.exit_code, done.stdout) == (0, "the same\n"), done.output


def test_a_background_response_is_replayed_as_a_request(
    fake: tuple[FakeServer, Recorded],
) -> None:
    server, recorded = fake
    with access_lines() as lines, server.live.client() as client:
        body = {"input": "abc", "background": True, "max_output_tokens": 3}
        client.post("/v1/responses", json=body)
        assert {lines.next().method for _ in range(2)} == {"POST", "BACKGROUND"}
    assert recorded.replayed(recorded.newest()).stdout == "the same\n"


def test_a_secret_that_was_left_out_is_told(fake: tuple[FakeServer, Recorded]) -> None:
    _, recorded = fake
    body = {"prompt": "a", "max_tokens": 2, "api_key": "abc"}
    done = recorded.replayed(recorded.file("/v1/completions", body))
    assert "a secret was left out" in done.stderr


def test_text_has_nothing_to_parse(fake: tuple[FakeServer, Recorded]) -> None:
    _, recorded = fake
    done = replay(recorded.file("/v1/completions", {"prompt": "a", "max_tokens": 2}), "--parse")
    assert done.exit_code == 1
    assert done.stderr.endswith("Leave --parse out to send the request again.\n")


def test_a_body_that_is_no_object_cannot_be_sent(fake: tuple[FakeServer, Recorded]) -> None:
    _, recorded = fake
    with access_lines() as lines, recorded.live.client() as client:
        client.post("/v1/completions", content=b"{oops")
        lines.next()
    done = recorded.replayed(recorded.newest())
    assert done.exit_code == 1 and done.stderr.endswith("Send it with curl.\n")


def test_a_file_that_is_no_recording_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("{}")
    done = replay(tmp_path / "x.json")
    assert done.exit_code == 1
    assert "is no recording" in done.stderr and done.stderr.count("\n") == 1

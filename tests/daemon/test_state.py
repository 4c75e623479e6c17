"""What is left of responses when the process ends, well or badly."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import httpx
import pytest
from daemon.test_serve import QUICK, daemon, refusal

pytestmark = pytest.mark.gguf

LONG: dict[str, Any] = {"input": "the water", "background": True, "max_output_tokens": 100_000}


def client(url: str) -> httpx.Client:
    return httpx.Client(base_url=f"{url}/v1", trust_env=False, timeout=30)


def ask(client: httpx.Client, **fields: Any) -> dict[str, Any]:
    answer = client.post(
        "/responses", json={"input": "the water", "max_output_tokens": 5, **fields}
    )
    assert answer.status_code == 200, answer.text
    response: dict[str, Any] = answer.json()
    return response


def arguments(model: Path, state: Path, *more: str) -> tuple[str | Path, ...]:
    return (model, "--port", "0", *QUICK, "--ctx-size", "200000", "--state-dir", state, *more)


def test_a_killed_daemon_loses_no_response_that_it_gave_out(
    tmp_path: Path, llama_path: Path
) -> None:
    state = tmp_path / "state"
    with daemon(tmp_path, *arguments(llama_path, state)) as running, client(running.url()) as http:
        first = ask(http)
        body = {"input": "go on", "max_output_tokens": 5, "stream": True}
        streamed = http.post("/responses", json={**body, "previous_response_id": first["id"]}).text
        unfinished = ask(http, **LONG)
        running.process.kill()
        running.process.wait(30)
    assert '"response.incomplete"' in streamed
    second_id = streamed.partition('"id":"')[2].partition('"')[0]
    with daemon(tmp_path, *arguments(llama_path, state)) as running, client(running.url()) as http:
        assert http.get(f"/responses/{first['id']}").json() == first
        assert http.get(f"/responses/{second_id}").json()["previous_response_id"] == first["id"]
        assert ask(http, previous_response_id=second_id)["output"]
        lost = http.get(f"/responses/{unfinished['id']}").json()
        events = http.get(f"/responses/{unfinished['id']}?stream=true&starting_after=7").text
    assert lost["status"] == "failed"
    assert "Send the request again" in lost["error"]["message"]
    assert events.count("event: ") == 1 and '"sequence_number":8' in events


def test_a_stopped_daemon_marks_what_it_did_not_finish(tmp_path: Path, llama_path: Path) -> None:
    state = tmp_path / "state"
    run = arguments(llama_path, state, "--shutdown-grace", "0")
    with daemon(tmp_path, *run) as running, client(running.url()) as http:
        unfinished = ask(http, **LONG)
        assert running.end(signal.SIGTERM) == 0
    with daemon(tmp_path, *run) as running, client(running.url()) as http:
        failed = http.get(f"/responses/{unfinished['id']}").json()
        events = http.get(f"/responses/{unfinished['id']}?stream=true").text
    assert failed["status"] == "failed"
    assert "llmd was stopped" in failed["error"]["message"]
    assert events.rstrip().rpartition("event: ")[2].startswith("response.failed")


def test_the_grace_lets_a_background_response_finish(tmp_path: Path, llama_path: Path) -> None:
    run = arguments(llama_path, tmp_path / "state")
    with daemon(tmp_path, *run) as running, client(running.url()) as http:
        begun = ask(http, **{**LONG, "max_output_tokens": 300})
        assert running.end(signal.SIGTERM) == 0
    with daemon(tmp_path, *run) as running, client(running.url()) as http:
        over = http.get(f"/responses/{begun['id']}").json()
    assert over["status"] in {"incomplete", "completed"}


def test_a_second_signal_does_not_wait_for_them(tmp_path: Path, llama_path: Path) -> None:
    run = arguments(llama_path, tmp_path / "state", "--shutdown-grace", "600")
    with daemon(tmp_path, *run) as running, client(running.url()) as http:
        ask(http, **LONG)
        running.process.send_signal(signal.SIGTERM)
        running.wait_for("stopping")
        assert running.end(signal.SIGTERM) == 0


def test_a_directory_that_cannot_be_used_is_told_at_once(tmp_path: Path, llama_path: Path) -> None:
    (tmp_path / "file").touch()
    line = refusal(tmp_path, llama_path, "--state-dir", tmp_path / "file" / "state")
    assert "--state-dir" in line

from __future__ import annotations

from fake_server import fake_serving

from llmd.errors import InvalidModelFile


def test_a_loading_daemon_lives_but_is_not_ready() -> None:
    with fake_serving(may_load=False) as server, server.live.client() as client:
        live, ready = client.get("/livez"), client.get("/readyz")
        assert (live.status_code, live.json()) == (200, {"status": "ok"})
        assert (ready.status_code, ready.headers["retry-after"]) == (503, "2")
        assert ready.json()["error"]["code"] == "model_loading"
        server.instance.may_load.set()
        assert server.live.loaded.wait(10)
        assert client.get("/readyz").status_code == 200


def test_health_is_another_name_of_readyz() -> None:
    with fake_serving(may_load=False) as server, server.live.client() as client:
        for path in ("/health", "/v1/health"):
            assert client.get(path).json() == client.get("/readyz").json()
            assert client.get(path).status_code == 503


def test_a_loading_model_is_listed_by_its_state() -> None:
    with fake_serving(may_load=False) as server, server.live.client() as client:
        (model,) = client.get("/v1/models").json()["data"]
        assert (model["id"], model["state"]) == ("fake", "loading")
        assert "context_length" not in model


def test_a_request_during_the_load_is_answered_after_it() -> None:
    with fake_serving(may_load=False) as server, server.live.client() as client:
        server.watch.note("started")
        server.instance.load_progress = 0.5
        assert "50%" in client.get("/readyz").json()["error"]["message"]
        server.instance.may_load.set()
        answer = client.post("/v1/completions", json={"prompt": "a", "max_tokens": 2})
        assert answer.status_code == 200


def test_a_load_that_fails_is_told_to_those_who_wait_and_to_readyz() -> None:
    error = InvalidModelFile("the file is broken. Download it again.")
    with (
        fake_serving(may_load=False, load_error=error) as server,
        server.live.client() as client,
    ):
        server.instance.may_load.set()
        answer = client.post("/v1/completions", json={"prompt": "a"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (500, "invalid_model_file")
        ready = client.get("/readyz")
        assert ready.status_code == 503
        assert ready.json()["error"]["message"] == error.message

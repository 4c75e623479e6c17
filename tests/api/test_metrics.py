"""GET /metrics, scraped as Prometheus does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from access_lines import AccessLines, access_lines
from api.raw_client import connected
from exposition import Scrape
from fake_server import FakeServer, fake_serving
from prometheus_client.openmetrics import parser

from llmd.config.api_keys import ApiKey, digest_of
from llmd.config.settings import ServerSettings

WHOSE = {"model": "fake", "key": "none"}
ENDLESS = {"prompt": "ggg", "max_tokens": -1, "stream": True}


@pytest.fixture
def lines() -> Iterator[AccessLines]:
    """A request is counted before its line is logged."""
    with access_lines() as lines:
        yield lines


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with fake_serving() as server:
        yield server


@pytest.fixture
def client(server: FakeServer) -> Iterator[httpx.Client]:
    with server.live.client() as client:
        yield client


def until(client: httpx.Client, holds: Callable[[Scrape], bool]) -> Scrape:
    while not holds(scrape := Scrape(client)):
        pass
    return scrape


def test_a_request_is_counted_with_its_tokens_and_times(
    client: httpx.Client, lines: AccessLines
) -> None:
    body = {"prompt": "hello", "max_tokens": 6, "n": 2}
    client.post("/v1/completions", json=body).raise_for_status()
    line = lines.next()
    scrape = Scrape(client)
    assert scrape.value("llmd_requests_total", **WHOSE, status="200") == 1
    assert scrape.value("llmd_prompt_tokens_total", **WHOSE) == line.prompt_tokens == 5
    assert scrape.value("llmd_output_tokens_total", **WHOSE) == line.output_tokens == 12
    assert scrape.value("llmd_request_prompt_tokens_bucket", **WHOSE, le="4.0") == 0
    assert scrape.value("llmd_request_prompt_tokens_bucket", **WHOSE, le="16.0") == 1
    assert scrape.value("llmd_request_output_tokens_sum", **WHOSE) == 12
    first = scrape.value("llmd_time_to_first_token_seconds_sum", **WHOSE)
    assert first == pytest.approx(line.ttft_ms / 1e3, abs=1e-6)
    seconds = scrape.value("llmd_request_duration_seconds_sum", **WHOSE)
    assert seconds == pytest.approx(line.duration_ms / 1e3, abs=1e-6)
    queued = scrape.value("llmd_queue_seconds_sum", **WHOSE)
    assert queued is not None and first is not None and 0 <= queued <= first
    # Pieces may be merged on their way to a reader that is slower than a fake.
    num_gaps = scrape.value("llmd_inter_token_seconds_count", **WHOSE)
    assert num_gaps is not None and num_gaps <= 10
    assert scrape.value("llmd_inter_token_seconds_bucket", **WHOSE, le="+Inf") == num_gaps


def test_a_pause_within_an_answer_is_a_gap(
    server: FakeServer, client: httpx.Client, lines: AccessLines
) -> None:
    with connected(server.live.port) as reader:
        reader.post("/v1/completions", ENDLESS)
        reader.read_head()
        chunks = reader.chunks()
        next(chunks)
        server.runner.hold()
        server.runner.release()
        next(chunks)
    lines.next()
    scrape = Scrape(client)
    count = scrape.value("llmd_inter_token_seconds_count", **WHOSE)
    seconds = scrape.value("llmd_inter_token_seconds_sum", **WHOSE)
    assert count is not None and count >= 1
    assert seconds is not None and seconds > 0


def test_errors_and_statuses_are_counted_by_their_codes(
    client: httpx.Client, lines: AccessLines
) -> None:
    assert client.post("/v1/completions", json={"prompt": 3}).status_code == 400
    assert client.get("/nothing").status_code == 404
    lines.next(), lines.next()
    scrape = Scrape(client)
    nobody = {"model": "none", "key": "none"}
    assert scrape.value("llmd_requests_total", **nobody, status="404") == 1
    assert scrape.value("llmd_errors_total", **nobody, code="route_not_found") == 1
    assert scrape.value("llmd_request_duration_seconds_count", **nobody) is None


def test_probes_and_scrapes_are_not_requests(client: httpx.Client, lines: AccessLines) -> None:
    for path in ("/livez", "/readyz", "/health", "/metrics"):
        client.get(path).raise_for_status()
        lines.next()
    assert Scrape(client).labelled("llmd_requests_total") == []


def test_clients_that_leave_are_counted_by_how_far_they_got(
    server: FakeServer, client: httpx.Client, lines: AccessLines
) -> None:
    with connected(server.live.port) as leaver:
        leaver.post("/v1/completions", ENDLESS)
        leaver.read_head()
        next(leaver.chunks())
    assert lines.next().status == 499
    server.runner.hold_next()
    with connected(server.live.port) as leaver:
        leaver.post("/v1/completions", ENDLESS)
        server.runner.wait_until_held()
    assert lines.next().status == 499
    server.runner.release()
    scrape = Scrape(client)
    assert scrape.value("llmd_cancelled_total", **WHOSE, phase="generating") == 1
    assert scrape.value("llmd_cancelled_total", **WHOSE, phase="waiting") == 1


def test_keys_are_told_by_name_and_only_an_admin_may_look(
    server: FakeServer, lines: AccessLines
) -> None:
    server.live.state.keys.replace(
        [
            ApiKey(name="alice", digest=digest_of("sk-alice")),
            ApiKey(name="root", digest=digest_of("sk-root"), admin=True),
        ]
    )
    body = {"prompt": "hello", "max_tokens": 2}
    with server.live.client() as client:
        client.headers["x-api-key"] = "sk-alice"
        client.post("/v1/completions", json=body).raise_for_status()
        assert client.get("/metrics").status_code == 403
        client.headers["x-api-key"] = "sk-nobody"
        assert client.post("/v1/completions", json=body).status_code == 401
        client.headers["x-api-key"] = "sk-root"
        for _ in range(3):
            lines.next()
        scrape = Scrape(client)
        text = client.get("/metrics").text
    assert scrape.value("llmd_output_tokens_total", model="fake", key="alice") == 2
    assert scrape.value(
        "llmd_requests_total", model="none", key="none", status="401"
    ) == 1  # fmt: skip
    assert "sk-" not in text


def test_the_engine_is_told_as_it_is_now(server: FakeServer, client: httpx.Client) -> None:
    scrape = Scrape(client)
    assert scrape.value("llmd_model_state", model="fake", state="ready") == 1
    assert scrape.value("llmd_model_state", model="fake", state="loading") == 0
    assert scrape.value("llmd_model_loads_total", model="fake", result="ok") == 1
    assert scrape.value("llmd_running", model="fake") == 0
    with connected(server.live.port) as reader:
        reader.post("/v1/completions", {**ENDLESS, "n": 6})
        reader.read_head()
        next(reader.chunks())
        server.runner.hold()
        scrape = Scrape(client)
        assert scrape.value("llmd_running", model="fake") == 4
        assert scrape.value("llmd_waiting", model="fake") == 2
        used = scrape.value("llmd_kv_cells", model="fake", use="used")
        assert used is not None and used > 0
        steps = scrape.value("llmd_engine_steps_total", model="fake")
        assert steps is not None and steps > 0
    server.runner.release()
    scrape = until(client, lambda scrape: scrape.value("llmd_running", model="fake") == 0)
    until(client, lambda scrape: scrape.value("llmd_kv_cells", model="fake", use="used") == 0)


def test_a_prompt_that_is_sent_again_is_a_hit_in_the_models_memory(client: httpx.Client) -> None:
    body = {"prompt": "the same again", "max_tokens": 1}
    for _ in range(2):
        client.post("/v1/completions", json=body).raise_for_status()
    scrape = Scrape(client)
    hits = {
        tier: scrape.value("llmd_cache_hit_tokens_total", model="fake", tier=tier)
        for tier in ("live", "ram", "disk")
    }
    assert hits == {"live": len(str(body["prompt"])) - 1, "ram": 0, "disk": 0}


def test_both_formats_of_prometheus_are_spoken(client: httpx.Client) -> None:
    client.post("/v1/completions", json={"prompt": "a", "max_tokens": 3}).raise_for_status()
    plain = client.get("/metrics")
    assert plain.headers["content-type"].startswith("text/plain; version=")
    accept = "application/openmetrics-text; version=1.0.0"
    answer = client.get("/metrics", headers={"accept": accept})
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    parse: Any = parser.text_string_to_metric_families  # untyped
    families = {family.name for family in parse(answer.text)}
    assert {"llmd_requests", "llmd_inter_token_seconds"} <= families
    assert "_created" not in plain.text + answer.text


def test_they_can_be_switched_off() -> None:
    with fake_serving(ServerSettings(metrics=False)) as server, server.live.client() as client:
        assert client.get("/metrics").status_code == 404


def test_servers_of_one_process_count_for_themselves(client: httpx.Client) -> None:
    client.post("/v1/completions", json={"prompt": "a", "max_tokens": 3}).raise_for_status()
    with fake_serving() as other, other.live.client() as client:
        assert Scrape(client).labelled("llmd_output_tokens_total") == []

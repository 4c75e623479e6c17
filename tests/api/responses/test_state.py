"""What is kept of responses: chains, restarts, keys, and what the routes say of it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from agent_tools import WEATHER_QUESTION
from api.responses.test_create import CALL, LOOK, THOUGHT, WEATHER, create, stream, text_of
from conftest import EXACT_SETTINGS
from live import LiveServer, serving
from zoo.llama import write_scripted_llama
from zoo.template import CHATML_TOOLS

from llmd.registry.instance import ModelInstance
from llmd.responses.database import ResponseDatabase
from llmd.responses.record import RecordState, ResponseRecord
from llmd.responses.store import ResponseStore

pytestmark = pytest.mark.gguf


@pytest.fixture(scope="module")
def client(bundled_server: LiveServer) -> Iterator[httpx.Client]:
    with bundled_server.client() as client:
        yield client


def get(client: httpx.Client, path: str, **query: Any) -> dict[str, Any]:
    answer = client.get(f"/v1/responses/{path}", params=query)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def status_of(client: httpx.Client, id_: str, key: str | None = None) -> int:
    headers = {"authorization": f"Bearer {key}"} if key else {}
    return client.get(f"/v1/responses/{id_}", headers=headers).status_code


@pytest.mark.parametrize("ask", [create, stream])
def test_a_response_is_kept_as_it_was_given_out(client: httpx.Client, ask: Any) -> None:
    response = ask(client, input="Hello!")
    assert get(client, response["id"]) == response


def test_a_response_that_is_not_to_be_stored_is_not(client: httpx.Client) -> None:
    response = create(client, input="Hello!", store=False)
    assert response["store"] is False
    assert status_of(client, response["id"]) == 404


def test_a_deleted_response_is_gone(client: httpx.Client) -> None:
    id_ = create(client, input="Hello!")["id"]
    deleted = client.delete(f"/v1/responses/{id_}")
    assert deleted.json() == {"id": id_, "object": "response", "deleted": True}
    assert status_of(client, id_) == 404
    assert client.delete(f"/v1/responses/{id_}").status_code == 404


def test_a_chain_goes_on_as_the_whole_conversation_would(client: httpx.Client) -> None:
    first = create(client, input=WEATHER_QUESTION, tools=[WEATHER])
    (call,) = first["output"]
    result = {
        "type": "function_call_output",
        "call_id": call["call_id"],
        "output": "17 degrees and rainy",
    }
    chained = create(client, input=[result], tools=[WEATHER], previous_response_id=first["id"])
    question = {"role": "user", "content": WEATHER_QUESTION}
    whole = create(client, input=[question, call, result], tools=[WEATHER])
    assert text_of(chained) == text_of(whole)
    assert chained["usage"]["input_tokens"] == whole["usage"]["input_tokens"]
    assert chained["previous_response_id"] == first["id"]


def test_instructions_are_not_carried_over(client: httpx.Client) -> None:
    first = create(client, input="Hello!", instructions="You are a helpful assistant.")
    plain = create(client, input="Hello!", previous_response_id=first["id"])
    instructed = create(
        client, input="Hello!", previous_response_id=first["id"], instructions="You are helpful."
    )
    assert plain["instructions"] is None
    assert plain["usage"]["input_tokens"] < instructed["usage"]["input_tokens"]


def test_a_response_may_be_continued_twice(client: httpx.Client) -> None:
    first = create(client, input="Hello!")["id"]
    again = [create(client, input="Hello!", previous_response_id=first) for _ in range(2)]
    assert text_of(again[0]) == text_of(again[1])
    assert again[0]["id"] != again[1]["id"]


@pytest.mark.parametrize("streamed", [False, True])
def test_a_missing_previous_response_is_a_404(client: httpx.Client, streamed: bool) -> None:
    body = {"input": "x", "previous_response_id": "resp_none", "stream": streamed}
    answer = client.post("/v1/responses", json=body)
    error = answer.json()["error"]
    assert answer.status_code == 404
    assert error["code"] == "previous_response_not_found"
    assert error["param"] == "previous_response_id"


def test_a_chain_with_a_gap_is_a_404_that_names_it(client: httpx.Client) -> None:
    ids: list[str] = []
    for _ in range(3):
        before = ids[-1] if ids else None
        ids.append(create(client, input="Hello!", previous_response_id=before)["id"])
    client.delete(f"/v1/responses/{ids[0]}")
    answer = client.post("/v1/responses", json={"input": "x", "previous_response_id": ids[2]})
    assert answer.status_code == 404 and ids[0] in answer.json()["error"]["message"]


def test_nothing_of_another_key_is_there(client: httpx.Client) -> None:
    mine = {"authorization": "Bearer mine"}
    response = client.post("/v1/responses", json={"input": "Hello!"}, headers=mine).json()
    id_ = response["id"]
    assert status_of(client, id_, "mine") == 200
    for headers in ({}, {"authorization": "Bearer other"}):
        for method, path in (
            ("GET", id_), ("DELETE", id_), ("GET", f"{id_}/input_items"), ("POST", f"{id_}/cancel"),
            ("GET", f"{id_}?stream=true"),
        ):  # fmt: skip
            answer = client.request(method, f"/v1/responses/{path}", headers=headers)
            assert answer.status_code == 404, path
        for fields in (
            {"input": "x", "previous_response_id": id_},
            {"input": [{"type": "item_reference", "id": response["output"][0]["id"]}]},
        ):
            answer = client.post("/v1/responses", json=fields, headers=headers)
            assert answer.status_code in {400, 404}
    assert status_of(client, id_, "mine") == 200


def test_a_reference_stands_for_its_item(client: httpx.Client) -> None:
    first = create(client, input="Hello!")
    reference = {"type": "item_reference", "id": first["output"][0]["id"]}
    question = {"role": "user", "content": "Hello!"}
    referred = create(client, input=[question, reference, question])
    written = create(client, input=[question, first["output"][0], question])
    assert referred["usage"]["input_tokens"] == written["usage"]["input_tokens"]
    items = get(client, f"{referred['id']}/input_items", order="asc")["data"]
    assert items[1] == first["output"][0]


def test_input_items_are_all_that_a_response_was_made_of(client: httpx.Client) -> None:
    first = create(client, input=WEATHER_QUESTION, tools=[WEATHER])
    (call,) = first["output"]
    result = {"type": "function_call_output", "call_id": call["call_id"], "output": "17 degrees"}
    second = create(client, input=[result], tools=[WEATHER], previous_response_id=first["id"])
    third = create(client, input="Hello!", previous_response_id=second["id"])
    path = f"{third['id']}/input_items"
    items = get(client, path, order="asc")["data"]
    kinds = ["message", "function_call", "function_call_output", "message", "message"]
    assert [item["type"] for item in items] == kinds
    assert [items[1], items[3]] == [call, second["output"][0]]
    assert get(client, path)["data"] == items[::-1]
    client.delete(f"/v1/responses/{first['id']}")
    assert get(client, path, order="asc")["data"] == items[2:]


def test_an_item_that_is_sent_again_is_listed_once(client: httpx.Client) -> None:
    first = create(client, input=[{"id": "msg_mine", "role": "user", "content": "Hello!"}])
    again = [*first["output"], {"id": "msg_mine", "role": "user", "content": "Hello!"}]
    second = create(client, input=again, previous_response_id=first["id"])
    found: list[str] = []
    after: dict[str, str] = {}
    while True:
        page = get(client, f"{second['id']}/input_items", limit=1, order="asc", **after)
        found += [item["id"] for item in page["data"]]
        if not page["has_more"]:
            break
        after = {"after": page["last_id"]}
    assert found == ["msg_mine", first["output"][0]["id"]]


def test_input_items_come_by_page(client: httpx.Client) -> None:
    texts = [str(number) for number in range(5)]
    items = [{"role": "user", "content": text} for text in texts]
    path = f"{create(client, input=items)['id']}/input_items"

    def page(**query: Any) -> list[str]:
        answer = get(client, path, **query)
        data = answer["data"]
        assert [answer["first_id"], answer["last_id"]] == [data[0]["id"], data[-1]["id"]]
        return [item["content"][0]["text"] for item in data] + ["more"] * answer["has_more"]

    ids = [item["id"] for item in get(client, path, order="asc")["data"]]
    assert page() == texts[::-1]
    assert page(order="asc") == texts
    assert page(limit=2) == ["4", "3", "more"]
    assert page(limit=2, after=ids[3]) == ["2", "1", "more"]
    assert page(order="asc", after=ids[2]) == ["3", "4"]
    assert page(order="asc", before=ids[2]) == ["0", "1"]


@pytest.mark.parametrize(
    "query", ["order=up", "limit=0", "limit=101", "limit=x", "after=msg_1", "before=msg_1"]
)
def test_a_wrong_page_is_refused(client: httpx.Client, query: str) -> None:
    id_ = create(client, input="Hello!")["id"]
    answer = client.get(f"/v1/responses/{id_}/input_items?{query}")
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == query.partition("=")[0]


def test_only_a_background_response_can_be_cancelled(client: httpx.Client) -> None:
    id_ = create(client, input="Hello!")["id"]
    answer = client.post(f"/v1/responses/{id_}/cancel")
    assert answer.status_code == 400 and answer.json()["error"]["param"] == "response_id"


def test_only_a_background_response_has_events(client: httpx.Client) -> None:
    id_ = create(client, input="Hello!")["id"]
    answer = client.get(f"/v1/responses/{id_}?stream=true")
    assert answer.status_code == 400 and answer.json()["error"]["param"] == "stream"


@contextmanager
def thinking_daemon(model: Path, state: Path) -> Iterator[httpx.Client]:
    """A model that thinks, says something and calls a tool, with its state on disk."""
    database = ResponseDatabase(state, max_age=1e6, max_bytes=1 << 24, clock=time.time)
    with (
        serving(
            lambda: ModelInstance("tiny", model, EXACT_SETTINGS), store=ResponseStore(database)
        ) as server,
        server.client() as client,
    ):
        yield client


@pytest.fixture(scope="module")
def thinker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("script") / "thinks.gguf"
    # As the template would write it again.
    script = ["<think>", *THOUGHT, "\n</think>\n\n", "It is", " blue.\n", *CALL]
    return write_scripted_llama(path, script, chat_template=CHATML_TOOLS)


def result_of(response: dict[str, Any]) -> list[dict[str, Any]]:
    call = response["output"][-1]
    return [{"type": "function_call_output", "call_id": call["call_id"], "output": "done"}]


def test_a_chain_finds_all_that_the_turn_before_computed(thinker: Path, tmp_path: Path) -> None:
    with thinking_daemon(thinker, tmp_path) as client:
        first = create(client, input="look there", tools=[LOOK])
        second = create(
            client, input=result_of(first), tools=[LOOK], previous_response_id=first["id"]
        )
    computed = first["usage"]["total_tokens"]
    cached = second["usage"]["input_tokens_details"]["cached_tokens"]
    # The last token that was drawn ended the turn, and nothing came after it to compute it.
    assert cached >= computed - 1


def test_a_chain_goes_on_after_a_restart(thinker: Path, tmp_path: Path) -> None:
    with thinking_daemon(thinker, tmp_path) as client:
        first = create(client, input="look there", tools=[LOOK])
        here = create(
            client, input=result_of(first), tools=[LOOK], previous_response_id=first["id"]
        )
    with thinking_daemon(thinker, tmp_path) as client:
        assert get(client, first["id"]) == first
        there = create(
            client, input=result_of(first), tools=[LOOK], previous_response_id=first["id"]
        )
        assert get(client, there["id"])["previous_response_id"] == first["id"]
    assert there["usage"]["input_tokens"] == here["usage"]["input_tokens"]
    assert text_of(there) == text_of(here)


def test_a_thought_that_comes_back_without_its_text_is_looked_up(
    thinker: Path, tmp_path: Path
) -> None:
    with thinking_daemon(thinker, tmp_path) as client:
        first = create(client, input="look there", tools=[LOOK])
        thought, *rest = first["output"]
        question = {"role": "user", "content": "look there"}
        bare = {"type": "reasoning", "id": thought["id"], "summary": [], "encrypted_content": "x"}

        def count(item: dict[str, Any]) -> int:
            body = {"input": [question, item, *rest, *result_of(first)], "tools": [LOOK]}
            answer = client.post("/v1/responses/input_tokens", json=body)
            return int(answer.json()["input_tokens"])

        assert count(bare) == count(thought)


def test_a_response_that_cannot_be_stored_is_given_out_and_says_so(
    thinker: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "responses.sqlite3").mkdir()
    with thinking_daemon(thinker, tmp_path) as client:
        response = create(client, input="look there", tools=[LOOK])
        refused = client.post("/v1/responses", json={"input": "x", "background": True})
    assert response["status"] == "completed" and response["store"] is False
    assert "cannot store" in caplog.text
    assert refused.status_code == 500
    assert "leave background out" in refused.json()["error"]["message"]


def test_what_another_daemon_works_on_is_seen_and_left_to_it(thinker: Path, tmp_path: Path) -> None:
    with thinking_daemon(thinker, tmp_path) as client:
        body = create(client, input="look there", tools=[LOOK]) | {"background": True}
        other = ResponseDatabase(tmp_path, max_age=1e6, max_bytes=1 << 24, clock=time.time)
        record = ResponseRecord(
            id="resp_other",
            tenant="",
            created_at=time.time(),
            body=json.dumps(body).encode(),
            input_items=b"[]",
            state=RecordState.RUNNING,
        )
        other.save(record)
        assert get(client, "resp_other") == body
        for method, path in (("GET", "?stream=true"), ("POST", "/cancel"), ("DELETE", "")):
            answer = client.request(method, f"/v1/responses/resp_other{path}")
            assert answer.status_code == 400 and "another llmd" in answer.text
        other.close()
        assert get(client, "resp_other")["status"] == "failed"
        assert client.delete("/v1/responses/resp_other").status_code == 200

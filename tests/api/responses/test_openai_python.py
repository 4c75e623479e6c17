"""OpenAI's own Python client: create, stream, parse, and all that stands below a response's id."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import openai
import pytest
from agent_tools import PERSON_QUESTION, QUILLON, WEATHER_QUESTION, Person
from api.responses.test_create import WEATHER
from live import LiveServer
from openai import DefaultHttpxClient, OpenAI
from openai.types.responses import Response, ResponseFunctionToolCall

pytestmark = pytest.mark.gguf

ASK: Any = {"model": "tiny", "temperature": 0}


@pytest.fixture(scope="module")
def client(bundled_server: LiveServer) -> Iterator[OpenAI]:
    with OpenAI(
        base_url=f"{bundled_server.url}/v1",
        api_key="key",
        max_retries=0,
        http_client=DefaultHttpxClient(trust_env=False),
    ) as client:
        yield client


def test_create(client: OpenAI) -> None:
    response = client.responses.create(input="Hello!", **ASK)
    assert response.output_text and response.status == "completed"
    assert response.usage is not None and response.usage.output_tokens > 0


def test_create_streams(client: OpenAI) -> None:
    events = list(client.responses.create(input="Hello!", stream=True, **ASK))
    assert events[0].type == "response.created" and events[-1].type == "response.completed"
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert text == events[-1].response.output_text


@pytest.mark.parametrize(
    "fields",
    [
        {"input": "Hello!"},
        {"input": WEATHER_QUESTION, "tools": [WEATHER], "reasoning": {"effort": "low"}},
    ],
)
def test_stream(client: OpenAI, fields: Any) -> None:
    with client.responses.stream(**fields, **ASK) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_response()
    assert kinds[-1] == "response.completed"
    whole = client.responses.create(**fields, **ASK)
    assert final.output_text == whole.output_text
    assert [item.type for item in final.output] == [item.type for item in whole.output]


def test_stream_parses_the_form(client: OpenAI) -> None:
    with client.responses.stream(input=PERSON_QUESTION, text_format=Person, **ASK) as stream:
        stream.until_done()
        assert stream.get_final_response().output_parsed == QUILLON


def test_parse(client: OpenAI) -> None:
    response = client.responses.parse(input=PERSON_QUESTION, text_format=Person, **ASK)
    assert response.output_parsed == QUILLON


def test_a_loop_by_hand_over_stored_responses(client: OpenAI) -> None:
    tools: Any = [WEATHER]
    asked = client.responses.create(input=WEATHER_QUESTION, tools=tools, **ASK)
    (call,) = asked.output
    assert isinstance(call, ResponseFunctionToolCall)
    answer = client.responses.create(
        input=[
            {"type": "function_call_output", "call_id": call.call_id, "output": "9 degrees, foggy"}
        ],
        tools=tools,
        previous_response_id=asked.id,
        **ASK,
    )
    assert "9 degrees" in answer.output_text


def test_what_is_stored(client: OpenAI) -> None:
    response = client.responses.create(input="Hello!", **ASK)
    assert client.responses.retrieve(response.id).output_text == response.output_text
    (item,) = client.responses.input_items.list(response.id)
    assert item.type == "message" and item.role == "user"
    going_on = client.responses.create(input="Bye!", previous_response_id=response.id, **ASK)
    items = client.responses.input_items.list(going_on.id, order="asc", limit=1)
    assert [each.role for each in items if each.type == "message"] == ["user", "assistant", "user"]
    client.responses.delete(response.id)
    with pytest.raises(openai.NotFoundError, match="no stored response"):
        client.responses.retrieve(response.id)


def test_in_the_background(client: OpenAI) -> None:
    queued = client.responses.create(input="Hello!", background=True, **ASK)
    assert queued.status == "queued"
    with client.responses.retrieve(queued.id, stream=True) as stream:
        events = list(stream)
    assert events[-1].type == "response.completed"
    with client.responses.retrieve(queued.id, stream=True, starting_after=3) as stream:
        assert next(iter(stream)).sequence_number == 4
    done = client.responses.retrieve(queued.id)
    assert done.status == "completed" and done.output_text
    assert client.responses.cancel(queued.id).id == queued.id


def test_tokens_are_counted(client: OpenAI) -> None:
    counted = client.responses.input_tokens.count(model="tiny", input="Hello!")
    response: Response = client.responses.create(input="Hello!", **ASK)
    assert response.usage is not None
    assert counted.input_tokens == response.usage.input_tokens


def test_a_missing_previous_response_is_not_found(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.responses.create(input="x", previous_response_id="resp_none", **ASK)
    assert caught.value.param == "previous_response_id"

"""openai-python's own helpers over tools and schemas: parse() and stream()."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date, datetime
from enum import StrEnum
from typing import Any, Literal
from uuid import UUID

import openai
import pytest
from agent_tools import (
    BOTH_QUESTION,
    PERSON_QUESTION,
    QUILLON,
    REPEAT_QUESTION,
    REPORTS,
    WEATHER_QUESTION,
    Person,
    Tools,
)
from openai import OpenAI, pydantic_function_tool
from pydantic import BaseModel, Field
from wire import Wire

pytestmark = pytest.mark.gguf

ASKED: Any = [{"role": "user", "content": WEATHER_QUESTION}]
PERSON: Any = [{"role": "user", "content": PERSON_QUESTION}]
TINY: Any = {"model": "tiny", "temperature": 0, "max_tokens": 300}


class GetWeather(BaseModel):
    """Get the current weather for a city."""

    city: str


WEATHER: Any = [pydantic_function_tool(GetWeather, name="get_weather")]


class Colour(StrEnum):
    RED = "red"
    GREEN = "green"


class Line(BaseModel):
    kind: Literal["book", "pen"]
    count: int = Field(ge=1, le=9)


class Card(BaseModel):
    by: Literal["card"]
    number: str = Field(pattern="^[0-9]{4}-[0-9]{4}$")


class Cash(BaseModel):
    by: Literal["cash"]
    is_exact: bool


class Order(BaseModel):
    """Nothing that the model could say by itself, and nothing that could go on for ever."""

    id: UUID
    colour: Colour
    lines: list[Line] = Field(min_length=2, max_length=3)
    code: str = Field(pattern="^[A-Z]{2}-[0-9]{3}$")
    due: date
    sent: datetime | None
    payment: Card | Cash = Field(discriminator="by")
    gift: tuple[Literal["for"], Colour] | None


@pytest.fixture
def client(wire: Wire) -> Iterator[OpenAI]:
    with OpenAI(
        base_url=wire.url, api_key="none", max_retries=0, http_client=wire.client()
    ) as client:
        yield client


def test_parse_fills_in_a_model(wire: Wire, client: OpenAI) -> None:
    parsed = client.chat.completions.parse(messages=PERSON, response_format=Person, **TINY)
    assert parsed.choices[0].message.parsed == QUILLON
    assert json.loads(parsed.choices[0].message.content or "") == QUILLON.model_dump()
    assert wire.finish_reasons == ["stop"]


@pytest.mark.parametrize("question", ["Hello!", "Order two red books.", "Thank you!"])
def test_parse_fills_in_a_model_that_nothing_asks_for(client: OpenAI, question: str) -> None:
    messages: Any = [{"role": "user", "content": question}]
    parsed = client.chat.completions.parse(
        messages=messages,
        response_format=Order,
        reasoning_effort="none",
        **{**TINY, "max_tokens": 600},
    )
    assert isinstance(parsed.choices[0].message.parsed, Order)


def test_parse_reads_the_arguments_of_a_strict_tool(wire: Wire, client: OpenAI) -> None:
    parsed = client.chat.completions.parse(messages=ASKED, tools=WEATHER, **TINY)
    (call,) = parsed.choices[0].message.tool_calls or []
    assert call.function.parsed_arguments == GetWeather(city="Tampico")
    assert wire.finish_reasons == ["tool_calls"]


def test_parse_reads_a_required_call_of_many_arguments(wire: Wire, client: OpenAI) -> None:
    parsed = client.chat.completions.parse(
        messages=ASKED,
        tools=[pydantic_function_tool(Order)],
        tool_choice="required",
        parallel_tool_calls=False,
        **{**TINY, "max_tokens": 600},
    )
    (call,) = parsed.choices[0].message.tool_calls or []
    assert isinstance(call.function.parsed_arguments, Order)
    assert wire.finish_reasons == ["tool_calls"]


@pytest.mark.parametrize("question", [WEATHER_QUESTION, REPEAT_QUESTION])
def test_parse_leaves_the_choice_between_a_call_and_the_form(
    wire: Wire, client: OpenAI, question: str
) -> None:
    messages: Any = [{"role": "user", "content": question}]
    parsed = client.chat.completions.parse(
        messages=messages, tools=WEATHER, response_format=Person, **TINY
    )
    if question == REPEAT_QUESTION:
        assert parsed.choices[0].message.parsed == QUILLON
    else:
        assert [json.loads(call.arguments) for call in wire.calls] == [{"city": "Tampico"}]
        assert wire.answers[0].content == ""


def test_an_answer_cut_by_its_length_is_told_as_such(wire: Wire, client: OpenAI) -> None:
    with pytest.raises(openai.LengthFinishReasonError):
        client.chat.completions.parse(
            messages=PERSON, response_format=Person, **{**TINY, "max_tokens": 4}
        )
    assert wire.finish_reasons == ["length"]


def test_stream_parses_while_it_comes_and_at_the_end(wire: Wire, client: OpenAI) -> None:
    with client.chat.completions.stream(messages=PERSON, response_format=Person, **TINY) as stream:
        events = list(stream)
        final = stream.get_final_completion()
    deltas = [event for event in events if event.type == "content.delta"]
    (done,) = [event for event in events if event.type == "content.done"]
    assert done.parsed == final.choices[0].message.parsed == QUILLON
    assert "".join(event.delta for event in deltas) == done.content == wire.answers[0].content
    # How many tokens come in one event depends on how busy the machine is.
    assert any(event.parsed in ({}, {"name": "Quillon"}) for event in deltas)


def test_stream_tells_the_arguments_of_a_call_as_they_come(wire: Wire, client: OpenAI) -> None:
    with client.chat.completions.stream(messages=ASKED, tools=WEATHER, **TINY) as stream:
        events = list(stream)
        final = stream.get_final_completion()
    deltas = [e for e in events if e.type == "tool_calls.function.arguments.delta"]
    (done,) = [e for e in events if e.type == "tool_calls.function.arguments.done"]
    assert {event.name for event in deltas} == {"get_weather"}
    assert len(deltas) > 3
    assert "".join(event.arguments_delta for event in deltas) == done.arguments
    (call,) = final.choices[0].message.tool_calls or []
    assert call.function.parsed_arguments == done.parsed_arguments == GetWeather(city="Tampico")
    assert final.choices[0].finish_reason == "tool_calls"
    assert final.choices[0].message.content in (None, "")


def test_stream_tells_two_calls_of_one_answer_apart(wire: Wire, client: OpenAI) -> None:
    both: Any = [{"role": "user", "content": BOTH_QUESTION}]
    with client.chat.completions.stream(messages=both, tools=WEATHER, **TINY) as stream:
        done = [e for e in stream if e.type == "tool_calls.function.arguments.done"]
    cities = [GetWeather(city="Tampico"), GetWeather(city="Delft")]
    assert [(event.index, event.parsed_arguments) for event in done] == [*enumerate(cities)]
    wire.check_ids()


def test_stream_says_what_parse_says(wire: Wire, client: OpenAI) -> None:
    for fields in ({"messages": PERSON, "response_format": Person},
                   {"messages": ASKED, "tools": WEATHER},
                   {"messages": ASKED, "tools": WEATHER, "tool_choice": "required"}):  # fmt: skip
        request: Any = {**fields, **TINY}
        client.chat.completions.parse(**request)
        with client.chat.completions.stream(**request) as stream:
            stream.until_done()
        whole, streamed = wire.answers[-2:]
        assert streamed.said == whole.said


def test_a_loop_by_hand_streams_to_its_end(wire: Wire, client: OpenAI, tools: Tools) -> None:
    messages = list(ASKED)
    while True:
        with client.chat.completions.stream(messages=messages, tools=WEATHER, **TINY) as stream:
            message = stream.get_final_completion().choices[0].message
        messages.append(message.model_dump(exclude_none=True, exclude={"parsed"}))
        for call in message.tool_calls or []:
            found = tools.get_weather(**json.loads(call.function.arguments))
            messages.append({"role": "tool", "tool_call_id": call.id, "content": found})
        if not message.tool_calls:
            break
    assert tools.calls == [("get_weather", "Tampico")]
    assert REPORTS["Tampico"] in (message.content or "")
    assert wire.finish_reasons == ["tool_calls", "stop"]
    wire.check_ids()


def test_stream_gives_thoughts_and_calls_of_one_answer(wire: Wire, client: OpenAI) -> None:
    thinking = {"chat_template_kwargs": {"enable_thinking": True}}
    with client.chat.completions.stream(
        messages=ASKED, tools=WEATHER, extra_body=thinking, **TINY
    ) as stream:
        message: Any = stream.get_final_completion().choices[0].message
    assert message.reasoning_content == wire.answers[0].reasoning != ""
    assert message.tool_calls[0].function.parsed_arguments == GetWeather(city="Tampico")
    assert wire.answers[0].content == ""


def test_thoughts_are_not_held_to_the_schema_of_the_answer(wire: Wire, client: OpenAI) -> None:
    thinking = {"chat_template_kwargs": {"enable_thinking": True}}
    parsed = client.chat.completions.parse(
        messages=PERSON, response_format=Person, extra_body=thinking, **TINY
    )
    assert parsed.choices[0].message.parsed == QUILLON
    assert wire.answers[0].reasoning
    assert parsed.usage is not None and parsed.usage.completion_tokens_details is not None
    assert (parsed.usage.completion_tokens_details.reasoning_tokens or 0) > 0

"""The OpenAI Agents SDK as it comes: over the Responses API, with tools, streamed and not."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any

import pytest
from agent_tools import (
    BOTH_QUESTION,
    PERSON_QUESTION,
    QUILLON,
    REPORTS,
    SECOND_QUESTION,
    WEATHER_QUESTION,
    Person,
    Tools,
)
from agents import Agent, ModelSettings, OpenAIProvider, RunConfig, Runner, function_tool
from openai import AsyncOpenAI
from openai.types.shared import Reasoning
from response_events import check_response, check_stream
from wire import Wire

pytestmark = pytest.mark.gguf


@dataclass
class Outcome:
    """How a run ended; `text` is what came as deltas."""

    output: Any
    items: list[str]
    history: list[Any]
    last_id: str
    text: str = ""
    events: list[str] = field(default_factory=list)


def helper(**fields: Any) -> Any:
    return Agent(name="helper", instructions="You are a helpful assistant.", **fields)


def run(wire: Wire, agent: Any, question: Any, *, streamed: bool = False, **kept: Any) -> Outcome:
    """Run an agent to its end; `kept` is what goes on from a run before."""

    async def main() -> Outcome:
        async with AsyncOpenAI(
            base_url=wire.url, api_key="none", max_retries=0, http_client=wire.async_client()
        ) as client:
            config = RunConfig(
                model="tiny",
                model_provider=OpenAIProvider(openai_client=client),
                model_settings=ModelSettings(temperature=0, max_tokens=300),
            )
            if not streamed:
                result = await Runner.run(agent, question, max_turns=5, run_config=config, **kept)
                return outcome_of(result)
            running = Runner.run_streamed(agent, question, max_turns=5, run_config=config, **kept)
            text, events = "", []
            async for event in running.stream_events():
                kind = getattr(getattr(event, "data", None), "type", event.type)
                if kind == "response.output_text.delta":
                    text += event.data.delta
                events.append(kind)
            outcome = outcome_of(running)
            outcome.text, outcome.events = text, events
            return outcome

    return asyncio.run(main())


def outcome_of(result: Any) -> Outcome:
    items = [item.type for item in result.new_items]
    return Outcome(result.final_output, items, result.to_input_list(), result.last_response_id)


def responses(wire: Wire) -> list[dict[str, Any]]:
    """What was answered, each held to the grammar."""
    found = []
    for exchange in wire.exchanges:
        assert exchange.status == 200, bytes(exchange.raw)
        if exchange.request.get("stream"):
            found.append(check_stream(bytes(exchange.raw)))
        else:
            found.append(json.loads(bytes(exchange.raw)))
            check_response(found[-1], found[-1]["status"])
    ids = [item["id"] for response in found for item in response["output"]]
    assert len(set(ids)) == len(ids)
    return found


@pytest.mark.parametrize("streamed", [False, True])
def test_the_loop_ends_with_the_result_of_the_tool(
    wire: Wire, tools: Tools, streamed: bool
) -> None:
    agent = helper(tools=[function_tool(tools.get_weather)])
    outcome = run(wire, agent, WEATHER_QUESTION, streamed=streamed)
    assert tools.calls == [("get_weather", "Tampico")]
    assert REPORTS["Tampico"] in outcome.output
    assert outcome.items == ["tool_call_item", "tool_call_output_item", "message_output_item"]
    asked, answered = responses(wire)
    assert [item["type"] for item in asked["output"]] == ["function_call"]
    assert [item["type"] for item in answered["output"]] == ["message"]
    if streamed:
        assert outcome.text == outcome.output
        assert "response.function_call_arguments.delta" in outcome.events


@pytest.mark.parametrize("streamed", [False, True])
def test_a_run_goes_on_from_the_stored_response(wire: Wire, tools: Tools, streamed: bool) -> None:
    agent = helper(tools=[function_tool(tools.get_weather)])
    first = run(wire, agent, WEATHER_QUESTION, streamed=streamed)
    second = run(
        wire, agent, SECOND_QUESTION, streamed=streamed, previous_response_id=first.last_id
    )
    assert tools.calls == [("get_weather", "Tampico"), ("get_weather", "Delft")]
    assert REPORTS["Delft"] in second.output
    assert wire.requests[2]["previous_response_id"] == first.last_id
    counts = [response["usage"]["input_tokens"] for response in responses(wire)]
    assert counts[2] > counts[1]


def test_the_client_may_keep_the_history_itself(wire: Wire, tools: Tools) -> None:
    agent = helper(tools=[function_tool(tools.get_weather)])
    first = run(wire, agent, WEATHER_QUESTION)
    question = {"role": "user", "content": SECOND_QUESTION}
    second = run(wire, agent, [*first.history, question], streamed=True)
    assert REPORTS["Delft"] in second.output
    third, second_response = responses(wire)[2], responses(wire)[1]
    cached = third["usage"]["input_tokens_details"]["cached_tokens"]
    assert cached >= second_response["usage"]["input_tokens"]


def test_two_calls_come_at_once(wire: Wire, tools: Tools) -> None:
    agent = helper(tools=[function_tool(tools.get_weather)], tool_use_behavior="stop_on_first_tool")
    run(wire, agent, BOTH_QUESTION, streamed=True)
    assert [city for _, city in tools.calls] == ["Tampico", "Delft"]
    (response,) = responses(wire)
    assert [item["type"] for item in response["output"]] == ["function_call"] * 2


@pytest.mark.parametrize("streamed", [False, True])
def test_the_output_type_is_filled_in(wire: Wire, streamed: bool) -> None:
    outcome = run(wire, helper(output_type=Person), PERSON_QUESTION, streamed=streamed)
    assert outcome.output == QUILLON
    assert wire.requests[0]["text"]["format"]["strict"] is True
    responses(wire)


@pytest.mark.parametrize("streamed", [False, True])
def test_thoughts_are_items_of_their_own(wire: Wire, tools: Tools, streamed: bool) -> None:
    agent = helper(
        tools=[function_tool(tools.get_weather)],
        model_settings=ModelSettings(
            reasoning=Reasoning(effort="low"), response_include=["reasoning.encrypted_content"]
        ),
    )
    outcome = run(wire, agent, WEATHER_QUESTION, streamed=streamed)
    assert tools.calls == [("get_weather", "Tampico")]
    assert outcome.items.count("reasoning_item") == 2
    assert REPORTS["Tampico"] in outcome.output and "think>" not in outcome.output
    assert [r["output"][0]["type"] for r in responses(wire)] == ["reasoning"] * 2


def test_a_handoff_is_a_call_without_arguments(wire: Wire) -> None:
    agent = helper(
        handoffs=[Agent(name="forecaster", handoff_description="Tells the weather.")],
        model_settings=ModelSettings(tool_choice="required"),
    )
    outcome = run(wire, agent, WEATHER_QUESTION, streamed=True)
    assert outcome.items == ["handoff_call_item", "handoff_output_item", "message_output_item"]
    responses(wire)

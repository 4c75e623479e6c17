"""The OpenAI Agents SDK: loops over tools, streamed and not, to their end."""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pytest
from agent_tools import (
    BOTH_QUESTION,
    PERSON_QUESTION,
    PRODUCT_QUESTION,
    QUILLON,
    REPEAT_QUESTION,
    REPORTS,
    SECOND_QUESTION,
    WEATHER_QUESTION,
    Person,
    Tools,
)
from agents import (
    Agent,
    ModelSettings,
    OpenAIChatCompletionsModel,
    RunConfig,
    Runner,
    function_tool,
)
from openai import AsyncOpenAI
from openai.types.shared import Reasoning
from wire import Wire

pytestmark = pytest.mark.gguf


@dataclass
class Outcome:
    """How a run ended; `text` is what came as deltas."""

    output: Any
    items: list[str]
    history: list[Any]
    text: str = ""
    reasoning: str = ""
    events: list[str] = field(default_factory=list)


def helper(**fields: Any) -> Any:
    return Agent(name="helper", instructions="You are a helpful assistant.", **fields)


def run(wire: Wire, agent: Any, question: Any, *, streamed: bool = False) -> Outcome:
    """Run an agent to its end."""

    async def main() -> Outcome:
        async with AsyncOpenAI(
            base_url=wire.url, api_key="none", max_retries=0, http_client=wire.async_client()
        ) as client:
            config = RunConfig(
                model=OpenAIChatCompletionsModel("tiny", client),
                model_settings=ModelSettings(temperature=0, max_tokens=300),
            )
            return await (run_streamed(config) if streamed else run_whole(config))

    async def run_whole(config: Any) -> Outcome:
        result = await Runner.run(agent, question, max_turns=5, run_config=config)
        items = [item.type for item in result.new_items]
        return Outcome(result.final_output, items, result.to_input_list())

    async def run_streamed(config: Any) -> Outcome:
        result = Runner.run_streamed(agent, question, max_turns=5, run_config=config)
        outcome = Outcome(None, [], [])
        async for event in result.stream_events():
            kind = getattr(getattr(event, "data", None), "type", event.type)
            if kind == "response.output_text.delta":
                outcome.text += event.data.delta
            elif kind == "response.reasoning_summary_text.delta":
                outcome.reasoning += event.data.delta
            outcome.events.append(kind)
        outcome.output = result.final_output
        outcome.items = [item.type for item in result.new_items]
        outcome.history = result.to_input_list()
        return outcome

    return asyncio.run(main())


@pytest.mark.parametrize("streamed", [False, True])
def test_the_loop_ends_with_the_result_of_the_tool(
    wire: Wire, tools: Tools, streamed: bool
) -> None:
    agent = helper(tools=[function_tool(tools.get_weather)])
    outcome = run(wire, agent, WEATHER_QUESTION, streamed=streamed)
    assert tools.calls == [("get_weather", "Tampico")]
    assert REPORTS["Tampico"] in outcome.output
    assert outcome.items == ["tool_call_item", "tool_call_output_item", "message_output_item"]
    assert wire.finish_reasons == ["tool_calls", "stop"]
    wire.check_ids()


def test_a_streamed_run_says_what_a_whole_one_says(wire: Wire, tools: Tools) -> None:
    agent = helper(tools=[function_tool(tools.get_weather)])
    whole = run(wire, agent, WEATHER_QUESTION)
    streamed = run(wire, agent, WEATHER_QUESTION, streamed=True)
    assert streamed.output == streamed.text == whole.output
    assert "response.function_call_arguments.delta" in streamed.events
    first, second, *again = (answer.said for answer in wire.answers)
    assert again == [first, second]


def test_agents_that_run_at_once_each_get_their_own_result(wire: Wire, tools: Tools) -> None:
    agent = helper(tools=[function_tool(tools.get_weather)])

    def ask(city: str) -> str:
        return str(run(wire, agent, f"What is the weather in {city}?", streamed=True).output)

    with ThreadPoolExecutor(len(REPORTS)) as pool:
        answers = list(pool.map(ask, REPORTS))
    assert all(REPORTS[city] in answer for city, answer in zip(REPORTS, answers, strict=True))
    assert sorted(city for _, city in tools.calls) == sorted(REPORTS)
    wire.check_ids()


def test_the_right_one_of_two_tools_is_called(wire: Wire, tools: Tools) -> None:
    agent = helper(tools=[function_tool(tools.get_weather), function_tool(tools.calculator)])
    outcome = run(wire, agent, PRODUCT_QUESTION)
    assert [name for name, _ in tools.calls] == ["calculator"]
    assert "36" in outcome.output


def test_a_second_question_goes_on_from_the_first(wire: Wire, tools: Tools) -> None:
    agent = helper(tools=[function_tool(tools.get_weather)])
    first = run(wire, agent, WEATHER_QUESTION)
    question = {"role": "user", "content": SECOND_QUESTION}
    second = run(wire, agent, [*first.history, question], streamed=True)
    assert tools.calls == [("get_weather", "Tampico"), ("get_weather", "Delft")]
    assert REPORTS["Delft"] in second.output
    assert wire.finish_reasons == ["tool_calls", "stop"] * 2
    wire.check_ids()


@pytest.mark.parametrize("streamed", [False, True])
def test_a_required_call_is_made_although_nothing_asks_for_it(
    wire: Wire, tools: Tools, streamed: bool
) -> None:
    agent = helper(
        tools=[function_tool(tools.get_weather)],
        tool_use_behavior="stop_on_first_tool",
        model_settings=ModelSettings(tool_choice="required"),
    )
    run(wire, agent, "Hello!", streamed=streamed)
    assert [name for name, _ in tools.calls] == ["get_weather"]
    assert wire.requests[0]["tool_choice"] == "required"
    assert wire.finish_reasons == ["tool_calls"]


def test_a_named_tool_is_called_instead_of_the_likelier_one(wire: Wire, tools: Tools) -> None:
    agent = helper(
        tools=[function_tool(tools.get_weather), function_tool(tools.calculator)],
        tool_use_behavior="stop_on_first_tool",
        model_settings=ModelSettings(tool_choice="calculator"),
    )
    run(wire, agent, WEATHER_QUESTION)
    assert [name for name, _ in tools.calls] == ["calculator"]
    assert wire.finish_reasons == ["tool_calls"]


@pytest.mark.parametrize("parallel", [True, False])
def test_two_calls_come_at_once_only_where_that_is_wanted(
    wire: Wire, tools: Tools, parallel: bool
) -> None:
    agent = helper(
        tools=[function_tool(tools.get_weather)],
        tool_use_behavior="stop_on_first_tool",
        model_settings=ModelSettings(parallel_tool_calls=parallel),
    )
    run(wire, agent, BOTH_QUESTION)
    assert [city for _, city in tools.calls] == ["Tampico", "Delft"][: 1 + parallel]
    wire.check_ids()


@pytest.mark.parametrize("streamed", [False, True])
def test_a_handoff_is_a_call_without_arguments(wire: Wire, streamed: bool) -> None:
    agent = helper(
        handoffs=[Agent(name="forecaster", handoff_description="Tells the weather.")],
        model_settings=ModelSettings(tool_choice="required"),
    )
    outcome = run(wire, agent, WEATHER_QUESTION, streamed=streamed)
    assert outcome.items == ["handoff_call_item", "handoff_output_item", "message_output_item"]
    assert wire.calls[0].name == "transfer_to_forecaster"
    assert json.loads(wire.calls[0].arguments) == {}
    assert "tools" not in wire.requests[1]
    assert wire.finish_reasons == ["tool_calls", "stop"]


@pytest.mark.parametrize("streamed", [False, True])
def test_the_output_type_is_filled_in(wire: Wire, streamed: bool) -> None:
    outcome = run(wire, helper(output_type=Person), PERSON_QUESTION, streamed=streamed)
    assert outcome.output == QUILLON
    assert wire.requests[0]["response_format"]["json_schema"]["strict"] is True
    assert wire.finish_reasons == ["stop"]


@pytest.mark.parametrize("streamed", [False, True])
def test_an_answer_in_the_output_type_needs_no_tool_at_hand(
    wire: Wire, tools: Tools, streamed: bool
) -> None:
    agent = helper(tools=[function_tool(tools.get_weather)], output_type=Person)
    outcome = run(wire, agent, REPEAT_QUESTION, streamed=streamed)
    assert outcome.output == QUILLON
    assert {"tools", "response_format"} <= wire.requests[0].keys()
    assert tools.calls == []


@pytest.mark.parametrize("streamed", [False, True])
def test_thoughts_come_as_reasoning_and_not_as_text(
    wire: Wire, tools: Tools, streamed: bool
) -> None:
    agent = helper(
        tools=[function_tool(tools.get_weather)],
        model_settings=ModelSettings(reasoning=Reasoning(effort="low")),
    )
    outcome = run(wire, agent, WEATHER_QUESTION, streamed=streamed)
    assert tools.calls == [("get_weather", "Tampico")]
    assert outcome.items.count("reasoning_item") == 2
    assert all(answer.reasoning for answer in wire.answers)
    assert REPORTS["Tampico"] in outcome.output and "think>" not in outcome.output
    if streamed:
        assert outcome.reasoning == "".join(answer.reasoning for answer in wire.answers)

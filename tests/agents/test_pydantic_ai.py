"""pydantic-ai: loops over tools and its three ways to structured output, streamed and not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from agent_tools import (
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
from openai import AsyncOpenAI
from pydantic_ai import Agent, NativeOutput, PromptedOutput, ToolOutput
from pydantic_ai.messages import ThinkingPart, ToolCallPart, ToolReturnPart
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider
from wire import Wire

pytestmark = pytest.mark.gguf

SETTINGS: Any = {"temperature": 0, "max_tokens": 300}
OUTPUTS: Any = {"tool": ToolOutput, "native": NativeOutput, "prompted": PromptedOutput}


@asynccontextmanager
async def agent_of(wire: Wire, **fields: Any) -> AsyncIterator[Any]:
    async with AsyncOpenAI(
        base_url=wire.url, api_key="none", max_retries=0, http_client=wire.async_client()
    ) as client:
        model = OpenAIChatModel("tiny", provider=OpenAIProvider(openai_client=client))
        fields["model_settings"] = {**SETTINGS, **fields.get("model_settings", {})}
        yield Agent(model, **fields)


def run(wire: Wire, use: Callable[[Any], Awaitable[Any]], **fields: Any) -> Any:
    """What `use` makes of an agent with these fields."""

    async def main() -> Any:
        async with agent_of(wire, **fields) as agent:
            return await use(agent)

    return asyncio.run(main())


def ask(wire: Wire, question: str, history: Any = None, **fields: Any) -> Any:
    return run(wire, lambda agent: agent.run(question, message_history=history), **fields)


def stream_text(wire: Wire, question: str, **fields: Any) -> str:
    async def use(agent: Any) -> str:
        async with agent.run_stream(question) as result:
            return "".join([text async for text in result.stream_text(delta=True)])

    return str(run(wire, use, **fields))


def stream_output(wire: Wire, question: str, **fields: Any) -> list[Any]:
    async def use(agent: Any) -> list[Any]:
        async with agent.run_stream(question) as result:
            return [output async for output in result.stream_output(debounce_by=None)]

    return list(run(wire, use, **fields))


def parts_of(result: Any, kind: type) -> list[Any]:
    return [part for m in result.all_messages() for part in m.parts if isinstance(part, kind)]


def test_the_loop_ends_with_the_result_of_the_tool(wire: Wire, tools: Tools) -> None:
    result = ask(wire, WEATHER_QUESTION, tools=[tools.get_weather])
    assert tools.calls == [("get_weather", "Tampico")]
    (call,), (returned,) = parts_of(result, ToolCallPart), parts_of(result, ToolReturnPart)
    assert call.args_as_dict() == {"city": "Tampico"}
    assert returned.tool_call_id == call.tool_call_id
    assert REPORTS["Tampico"] in result.output
    assert wire.finish_reasons == ["tool_calls", "stop"]
    wire.check_ids()


def test_a_streamed_run_says_what_a_whole_one_says(wire: Wire, tools: Tools) -> None:
    whole = ask(wire, WEATHER_QUESTION, tools=[tools.get_weather]).output
    assert stream_text(wire, WEATHER_QUESTION, tools=[tools.get_weather]) == whole
    assert tools.calls == [("get_weather", "Tampico")] * 2
    first, second, *again = (answer.said for answer in wire.answers)
    assert again == [first, second]
    wire.check_ids()


def test_the_right_one_of_two_tools_is_called(wire: Wire, tools: Tools) -> None:
    functions = [tools.get_weather, tools.calculator]
    result = ask(wire, PRODUCT_QUESTION, tools=functions)
    assert [name for name, _ in tools.calls] == ["calculator"]
    assert "36" in result.output


def test_a_second_question_goes_on_from_the_first(wire: Wire, tools: Tools) -> None:
    functions = [tools.get_weather]
    first = ask(wire, WEATHER_QUESTION, tools=functions)
    question = SECOND_QUESTION
    second = ask(wire, question, first.all_messages(), tools=functions)
    assert tools.calls == [("get_weather", "Tampico"), ("get_weather", "Delft")]
    assert REPORTS["Delft"] in second.output
    wire.check_ids()


@pytest.mark.parametrize("way", OUTPUTS)
def test_structured_output_is_filled_in_at_the_first_try(wire: Wire, way: str) -> None:
    assert ask(wire, PERSON_QUESTION, output_type=OUTPUTS[way](Person)).output == QUILLON
    assert wire.finish_reasons == ["tool_calls" if way == "tool" else "stop"]


@pytest.mark.parametrize("way", OUTPUTS)
def test_structured_output_streams_to_the_same(wire: Wire, way: str) -> None:
    assert stream_output(wire, PERSON_QUESTION, output_type=OUTPUTS[way](Person))[-1] == QUILLON
    assert len(wire.answers) == 1


def test_native_output_needs_no_tool_at_hand(wire: Wire, tools: Tools) -> None:
    fields: Any = {"output_type": NativeOutput(Person), "tools": [tools.get_weather]}
    assert ask(wire, REPEAT_QUESTION, **fields).output == QUILLON
    assert {"tools", "response_format"} <= wire.requests[0].keys()
    assert tools.calls == []


def test_tools_and_structured_output_work_in_one_run(wire: Wire, tools: Tools) -> None:
    # Both are tools to the model, and one of them has to be called.
    result = ask(wire, PERSON_QUESTION, output_type=Person, tools=[tools.get_weather])
    assert isinstance(result.output, Person)
    assert all(request["tool_choice"] == "required" for request in wire.requests)


def test_thoughts_come_as_thinking_and_not_as_text(wire: Wire, tools: Tools) -> None:
    result = ask(
        wire,
        WEATHER_QUESTION,
        tools=[tools.get_weather],
        model_settings={"openai_reasoning_effort": "low"},
    )
    thoughts = [part.content for part in parts_of(result, ThinkingPart)]
    assert thoughts == [answer.reasoning for answer in wire.answers] and all(thoughts)
    assert REPORTS["Tampico"] in result.output and "think>" not in result.output

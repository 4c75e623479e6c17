"""AutoGen's AssistantAgent: loops over tools, streamed and not, to their end."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
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
from autogen_agentchat.agents import AssistantAgent
from autogen_agentchat.base import TaskResult
from autogen_agentchat.messages import (
    ModelClientStreamingChunkEvent,
    StructuredMessage,
    ThoughtEvent,
    ToolCallExecutionEvent,
    ToolCallRequestEvent,
)
from autogen_core.models import ModelFamily, ModelInfo
from autogen_core.tools import FunctionTool
from autogen_ext.models.openai import OpenAIChatCompletionClient
from wire import Wire

pytestmark = [
    pytest.mark.gguf,
    # It dumps the parsed message of openai-python as the unparsed one.
    pytest.mark.filterwarnings("ignore:Pydantic serializer warnings:UserWarning"),
]

TINY = ModelInfo(
    vision=False,
    function_calling=True,
    json_output=True,
    structured_output=True,
    family=ModelFamily.UNKNOWN,
)


@dataclass
class Outcome:
    """How a run ended; `text` is what came as deltas."""

    messages: list[Any] = field(default_factory=list)
    text: str = ""

    @property
    def last(self) -> Any:
        return self.messages[-1].content

    def of(self, kind: type) -> list[Any]:
        return [message for message in self.messages if isinstance(message, kind)]


def run(
    wire: Wire, *questions: str, streamed: bool = False, client: Any = None, **fields: Any
) -> Outcome:
    """Run an assistant with these fields, question after question, to its end."""

    async def main() -> Outcome:
        made = OpenAIChatCompletionClient(
            model="tiny",
            base_url=wire.url,
            api_key="none",
            temperature=0,
            max_tokens=300,
            max_retries=0,
            http_client=wire.async_client(),
            model_info=TINY,
            **(client or {}),
        )
        agent = AssistantAgent("helper", made, model_client_stream=streamed, **fields)
        outcome = Outcome()
        for question in questions:
            outcome.text = ""
            async for message in agent.run_stream(task=question):
                if isinstance(message, ModelClientStreamingChunkEvent):
                    outcome.text += message.content
                elif not isinstance(message, TaskResult):
                    outcome.messages.append(message)
        await made.close()
        return outcome

    return asyncio.run(main())


@pytest.mark.parametrize("streamed", [False, True])
def test_the_loop_ends_with_the_result_of_the_tool(
    wire: Wire, tools: Tools, streamed: bool
) -> None:
    outcome = run(
        wire, WEATHER_QUESTION, streamed=streamed, tools=[tools.get_weather], max_tool_iterations=4
    )
    assert tools.calls == [("get_weather", "Tampico")]
    (requested,), (executed,) = outcome.of(ToolCallRequestEvent), outcome.of(ToolCallExecutionEvent)
    assert [call.id for call in requested.content] == [done.call_id for done in executed.content]
    assert REPORTS["Tampico"] in outcome.last
    assert wire.finish_reasons == ["tool_calls", "stop"]
    wire.check_ids()


def test_a_streamed_run_says_what_a_whole_one_says(wire: Wire, tools: Tools) -> None:
    fields: Any = {"tools": [tools.get_weather], "max_tool_iterations": 4}
    whole = run(wire, WEATHER_QUESTION, **fields)
    streamed = run(wire, WEATHER_QUESTION, streamed=True, **fields)
    assert streamed.last == streamed.text == whole.last
    first, second, *again = (answer.said for answer in wire.answers)
    assert again == [first, second]


@pytest.mark.parametrize("streamed", [False, True])
def test_a_reflection_answers_without_the_tools_at_hand(
    wire: Wire, tools: Tools, streamed: bool
) -> None:
    outcome = run(
        wire, WEATHER_QUESTION, streamed=streamed, tools=[tools.get_weather],
        reflect_on_tool_use=True,
    )  # fmt: skip
    assert "tools" not in wire.requests[1]
    assert REPORTS["Tampico"] in outcome.last
    assert wire.finish_reasons == ["tool_calls", "stop"]


def test_the_right_one_of_two_tools_is_called(wire: Wire, tools: Tools) -> None:
    functions = [tools.get_weather, tools.calculator]
    outcome = run(wire, PRODUCT_QUESTION, tools=functions, max_tool_iterations=4)
    assert [name for name, _ in tools.calls] == ["calculator"]
    assert "36" in outcome.last


def test_a_second_question_goes_on_from_the_first(wire: Wire, tools: Tools) -> None:
    questions = (WEATHER_QUESTION, SECOND_QUESTION)
    outcome = run(wire, *questions, tools=[tools.get_weather], max_tool_iterations=4)
    assert tools.calls == [("get_weather", "Tampico"), ("get_weather", "Delft")]
    assert REPORTS["Delft"] in outcome.last
    wire.check_ids()


@pytest.mark.parametrize("streamed", [False, True])
def test_the_output_type_is_filled_in(wire: Wire, streamed: bool) -> None:
    outcome = run(wire, PERSON_QUESTION, streamed=streamed, output_content_type=Person)
    assert isinstance(outcome.messages[-1], StructuredMessage)
    assert outcome.last == QUILLON
    assert wire.requests[0]["response_format"]["type"] == "json_schema"
    assert wire.finish_reasons == ["stop"]


@pytest.mark.parametrize("streamed", [False, True])
def test_an_answer_in_the_output_type_needs_no_tool_at_hand(
    wire: Wire, tools: Tools, streamed: bool
) -> None:
    strict = FunctionTool(tools.get_weather, "Get the current weather for a city.", strict=True)
    outcome = run(
        wire, REPEAT_QUESTION, streamed=streamed, tools=[strict], output_content_type=Person
    )
    assert outcome.last == QUILLON
    assert {"tools", "response_format"} <= wire.requests[0].keys()
    assert tools.calls == []


@pytest.mark.parametrize("streamed", [False, True])
def test_thoughts_come_as_thoughts_and_not_as_text(
    wire: Wire, tools: Tools, streamed: bool
) -> None:
    outcome = run(
        wire, WEATHER_QUESTION, streamed=streamed, tools=[tools.get_weather],
        client={"reasoning_effort": "low"}, max_tool_iterations=4,
    )  # fmt: skip
    thoughts = [thought.content for thought in outcome.of(ThoughtEvent)]
    assert thoughts[-1] == wire.answers[-1].reasoning != ""
    assert REPORTS["Tampico"] in outcome.last and "think>" not in outcome.last

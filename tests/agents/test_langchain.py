"""LangChain: its agent loop, bound tools and structured output, streamed and not."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import httpx2
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
from langchain.agents import create_agent
from langchain.agents.structured_output import ProviderStrategy, ToolStrategy
from langchain_core.messages import AIMessage, AIMessageChunk, ToolMessage
from langchain_openai import ChatOpenAI
from wire import Wire

pytestmark = [
    pytest.mark.gguf,
    # It dumps the parsed message of openai-python as the unparsed one.
    pytest.mark.filterwarnings("ignore:Pydantic serializer warnings:UserWarning"),
]

WEATHER: Any = {"messages": [{"role": "user", "content": WEATHER_QUESTION}]}


def chat_model(wire: Wire, **fields: Any) -> ChatOpenAI:
    return ChatOpenAI(
        model="tiny",
        base_url=wire.url,
        api_key="none",
        temperature=0,
        max_completion_tokens=300,
        max_retries=0,
        **fields,
    )


@pytest.fixture
def client(wire: Wire) -> Iterator[httpx2.Client]:
    with wire.client() as client:
        yield client


@pytest.fixture
def model(wire: Wire, client: httpx2.Client) -> ChatOpenAI:
    return chat_model(wire, http_client=client)


def test_the_loop_ends_with_the_result_of_the_tool(
    wire: Wire, tools: Tools, model: ChatOpenAI
) -> None:
    agent = create_agent(model, [tools.get_weather], system_prompt="You are a helpful assistant.")
    _, called, result, last = agent.invoke(WEATHER)["messages"]
    assert tools.calls == [("get_weather", "Tampico")]
    assert isinstance(called, AIMessage) and isinstance(result, ToolMessage)
    assert called.tool_calls[0]["args"] == {"city": "Tampico"}
    assert result.tool_call_id == called.tool_calls[0]["id"]
    assert REPORTS["Tampico"] in last.content
    assert wire.finish_reasons == ["tool_calls", "stop"]
    wire.check_ids()


def test_a_streamed_run_says_what_a_whole_one_says(
    wire: Wire, tools: Tools, model: ChatOpenAI
) -> None:
    agent = create_agent(model, [tools.get_weather])
    whole = agent.invoke(WEATHER)["messages"][-1].content
    texts, arguments = [], []
    for message, _ in agent.stream(WEATHER, stream_mode="messages"):
        if isinstance(message, AIMessageChunk):
            texts.append(message.content)
            arguments += [chunk["args"] for chunk in message.tool_call_chunks]
    assert "".join(texts) == whole
    assert "".join(arguments) == wire.calls[0].arguments
    first, second, *again = (answer.said for answer in wire.answers)
    assert again == [first, second]
    wire.check_ids()


def test_the_asynchronous_loop_streams_to_its_end(wire: Wire, tools: Tools) -> None:
    async def main() -> str:
        async with wire.async_client() as client:
            model = chat_model(wire, http_async_client=client)
            agent = create_agent(model, [tools.get_weather])
            parts = agent.astream(WEATHER, stream_mode="messages")
            return "".join([m.content async for m, _ in parts if isinstance(m, AIMessageChunk)])

    assert REPORTS["Tampico"] in asyncio.run(main())
    assert tools.calls == [("get_weather", "Tampico")]
    assert wire.finish_reasons == ["tool_calls", "stop"]


def test_the_right_one_of_two_tools_is_called(wire: Wire, tools: Tools, model: ChatOpenAI) -> None:
    agent = create_agent(model, [tools.get_weather, tools.calculator])
    answer = agent.invoke({"messages": [("user", PRODUCT_QUESTION)]})["messages"][-1].content
    assert [name for name, _ in tools.calls] == ["calculator"]
    assert "36" in answer


def test_a_second_question_goes_on_from_the_first(
    wire: Wire, tools: Tools, model: ChatOpenAI
) -> None:
    agent = create_agent(model, [tools.get_weather])
    first = agent.invoke(WEATHER)["messages"]
    second = agent.invoke({"messages": [*first, ("user", SECOND_QUESTION)]})
    assert tools.calls == [("get_weather", "Tampico"), ("get_weather", "Delft")]
    assert REPORTS["Delft"] in second["messages"][-1].content
    wire.check_ids()


@pytest.mark.parametrize("choice", ["any", "calculator"])
def test_a_forced_call_is_made_although_nothing_asks_for_it(
    wire: Wire, tools: Tools, model: ChatOpenAI, choice: str
) -> None:
    bound = model.bind_tools([tools.calculator], tool_choice=choice)
    whole = bound.invoke("Thank you very much!")
    streamed = AIMessageChunk("")
    for chunk in bound.stream("Thank you very much!"):
        streamed += chunk
    assert [call["name"] for call in whole.tool_calls] == ["calculator"]
    assert streamed.tool_calls[0]["args"] == whole.tool_calls[0]["args"]
    assert wire.finish_reasons == ["tool_calls", "tool_calls"]


@pytest.mark.parametrize("method", ["json_schema", "function_calling", "json_mode"])
def test_structured_output_is_filled_in(wire: Wire, model: ChatOpenAI, method: Any) -> None:
    filler = model.with_structured_output(Person, method=method)
    assert filler.invoke(PERSON_QUESTION) == QUILLON
    assert list(filler.stream(PERSON_QUESTION))[-1] == QUILLON
    assert len(wire.answers) == 2


@pytest.mark.parametrize("strategy", [ProviderStrategy, ToolStrategy])
def test_an_agent_answers_in_the_form_asked_for(
    wire: Wire, model: ChatOpenAI, strategy: Any
) -> None:
    agent = create_agent(model, [], response_format=strategy(Person))
    result = agent.invoke({"messages": [("user", PERSON_QUESTION)]})
    assert result["structured_response"] == QUILLON
    assert len(wire.answers) == 1


def test_an_answer_in_the_form_asked_for_needs_no_tool_at_hand(
    wire: Wire, tools: Tools, model: ChatOpenAI
) -> None:
    agent = create_agent(model, [tools.get_weather], response_format=ProviderStrategy(Person))
    result = agent.invoke({"messages": [("user", REPEAT_QUESTION)]})
    assert result["structured_response"] == QUILLON
    assert {"tools", "response_format"} <= wire.requests[0].keys()
    assert tools.calls == []


def test_thoughts_that_the_client_drops_are_read_again(
    wire: Wire, tools: Tools, client: httpx2.Client
) -> None:
    # LangChain knows no reasoning_content: what comes back is the call alone.
    thinking = {"chat_template_kwargs": {"enable_thinking": True}}
    model = chat_model(wire, http_client=client, extra_body=thinking)
    agent = create_agent(model, [tools.get_weather])
    answer = agent.invoke(WEATHER)["messages"][-1].content
    assert REPORTS["Tampico"] in answer and "think>" not in answer
    assert all(each.reasoning for each in wire.answers)
    assert "reasoning_content" not in str(wire.requests[1]["messages"])
    first, second = (exchange.usage() for exchange in wire.exchanges)
    assert second["prompt_tokens_details"]["cached_tokens"] >= first["total_tokens"] - 1

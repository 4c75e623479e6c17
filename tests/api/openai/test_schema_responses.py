from __future__ import annotations

from typing import Any

import pytest

from llmd.api.json_body import validate
from llmd.api.openai.schema_response_tools import ResponseTools
from llmd.api.openai.schema_responses import ResponsesRequest
from llmd.core.message import Message
from llmd.core.request import ChatPrompt, GenerateRequest, JsonObject, JsonSchema, ThinkingWish
from llmd.errors import InvalidRequest

HELLO = (Message(role="user", content="hello"),)


def read(**fields: Any) -> ResponsesRequest:
    request = validate({"input": "hello", **fields}, ResponsesRequest)
    request.check()
    return request


def core(messages: tuple[Message, ...] = HELLO, **fields: Any) -> GenerateRequest:
    return read(**fields).to_core(messages, ResponseTools([]), tenant="t")


def prompt_of(request: GenerateRequest) -> ChatPrompt:
    (prompt,) = request.prompts
    assert isinstance(prompt, ChatPrompt)
    return prompt


def test_instructions_come_first() -> None:
    instructed = prompt_of(core(instructions="be brief")).messages
    assert instructed == (Message(role="system", content="be brief"), *HELLO)


def test_nulls_are_as_good_as_nothing() -> None:
    nulls: Any = dict.fromkeys(
        ("instructions", "tools", "tool_choice", "text", "reasoning", "store", "metadata",
         "previous_response_id", "max_output_tokens", "temperature", "include", "truncation")
    )  # fmt: skip
    assert core(**nulls) == core()


@pytest.mark.parametrize(
    ("fields", "expected"),
    [({}, None), ({"max_output_tokens": 7}, 7), ({"max_output_tokens": 7, "n_predict": 9}, 9)],
)
def test_the_token_limit(fields: dict[str, Any], expected: int | None) -> None:
    assert core(**fields).max_tokens == expected


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, None),
        ({"include": ["message.output_text.logprobs"]}, 0),
        ({"include": ["message.output_text.logprobs"], "top_logprobs": 3}, 3),
        ({"top_logprobs": 3}, 3),
        ({"top_logprobs": 0, "include": ["reasoning.encrypted_content"]}, None),
    ],
)
def test_logprobs_come_where_they_are_asked_for(
    fields: dict[str, Any], expected: int | None
) -> None:
    assert core(**fields).top_logprobs == expected


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({"type": "text"}, None),
        ({"type": "json_object"}, JsonObject()),
        ({"type": "json_schema", "name": "n", "schema": {}, "strict": False},
         JsonSchema(schema={}, param="text.format.schema", is_strict=False)),
        ({"type": "json_schema", "name": "n", "schema": {"type": "object"}},
         JsonSchema(schema={"type": "object"}, param="text.format.schema")),
    ],
)  # fmt: skip
def test_the_form_of_the_answer(wanted: dict[str, Any], expected: Any) -> None:
    assert core(text={"format": wanted}).answer_format == expected


def test_reasoning_is_a_wish_and_its_summary_is_not() -> None:
    request = core(reasoning={"effort": "low", "summary": "auto"})
    assert prompt_of(request).thinking == ThinkingWish(effort="low")


def test_sampling_fields_of_llama_server_hold() -> None:
    request = core(top_k=3, min_p=0.1, temperature=0, priority=2, stop=["x"])
    assert request.sampling == {"top_k": 3, "min_p": 0.1, "temperature": 0.0}
    assert (request.priority, request.stop, request.tenant) == (2, ("x",), "t")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": None}, "input"),
        ({"input": 7}, "input"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"prompt": {"id": "pmpt_1"}}, "prompt"),
        ({"background": True, "store": False}, "background"),
        ({"n": 2}, "n"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"max_tokens": 0}, "max_output_tokens"),
        ({"top_logprobs": 21}, "top_logprobs"),
        ({"truncation": "middle"}, "truncation"),
        ({"metadata": {"k": 7}}, "metadata.k"),
        ({"metadata": {"k": "v" * 513}}, "metadata"),
        ({"metadata": {"k" * 65: "v"}}, "metadata"),
        ({"metadata": {str(n): "v" for n in range(17)}}, "metadata"),
        ({"text": {"format": {"type": "xml"}}}, "text.format.type"),
        ({"text": {"format": {"type": "json_schema", "name": "n"}}}, "text.format.schema"),
        ({"text": {"format": {"type": "json_object"}}, "grammar": "root ::= x"}, "text.format"),
    ],
)
def test_a_fault_is_named(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        core(**fields)
    assert caught.value.param == param


def test_nothing_to_answer_is_refused() -> None:
    with pytest.raises(InvalidRequest) as caught:
        core((), input=[])
    assert caught.value.param == "input"


def test_a_conversation_may_go_on_without_input() -> None:
    assert read(input=None, previous_response_id="resp_1").input is None

from __future__ import annotations

import json
from typing import Any

import pytest
from lark_matching import matches

from llmd.chat.answer.syntax import MessageSyntax, ThoughtSyntax
from llmd.chat.calls.json_objects import JsonObjects
from llmd.chat.calls.section import Section
from llmd.chat.calls.tagged import Tagged
from llmd.chat.format.chat_format import ChatFormat
from llmd.core.message import Message, Tool
from llmd.core.request import (
    AnswerFormat,
    ChatPrompt,
    Gbnf,
    JsonObject,
    JsonSchema,
    TextPrompt,
    ToolChoice,
    ToolChoiceMode,
)
from llmd.errors import InvalidRequest, Unsupported
from llmd.serving.constraint import AnswerConstraint, constrain

HEADER = "<|assistant|>\n"
SECTION = Section(call_open="<call>\n", call_close="\n</call>")
THOUGHT = ThoughtSyntax("<think>", "</think>")
JSON_CALLS = MessageSyntax(header=HEADER, thought=THOUGHT, calls=JsonObjects(SECTION))
TAGGED_CALLS = MessageSyntax(
    header=HEADER,
    calls=Tagged(SECTION, name_close="\n", key_open="<", key_close=">", value_close="</{key}>\n"),
)
AUTO = ToolChoice()
REQUIRED = ToolChoice(mode=ToolChoiceMode.REQUIRED)
ASK = Message(role="user", content="Go.")
INTEGER = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
UNIQUE = {"type": "object", "properties": {"v": {"type": "array", "uniqueItems": True}}}


def tool(parameters: Any = None, *, strict: bool | None = None) -> Tool:
    function = {"name": "f", "parameters": parameters, "strict": strict}
    return Tool(name="f", definition={"type": "function", "function": function})


def hold(
    answer_format: AnswerFormat | None = None,
    *tools: Tool,
    choice: ToolChoice = AUTO,
    parallel: bool = True,
    messages: tuple[Message, ...] = (ASK,),
    tail: str = "",
    syntax: MessageSyntax = JSON_CALLS,
) -> AnswerConstraint:
    prompt = ChatPrompt(
        messages=messages, tools=tools, tool_choice=choice, parallel_tool_calls=parallel
    )
    reader = ChatFormat(syntax=syntax, origin="test").reader(f"Go.{HEADER}{tail}", tools)
    return constrain(prompt, answer_format, syntax=syntax, in_thought=reader.in_thought)


def takes(constraint: AnswerConstraint, text: str) -> bool:
    assert constraint.source is not None
    return matches(constraint.source.text, text)


def call(**arguments: Any) -> str:
    return f'<call>\n{{"name": "f", "arguments": {json.dumps(arguments)}}}\n</call>'


def test_a_plain_chat_is_free() -> None:
    assert hold() == AnswerConstraint()


def test_a_schema_holds_for_the_answer() -> None:
    constraint = hold(JsonSchema(schema=INTEGER, param="p"))
    assert takes(constraint, '{"n": 1}') and takes(constraint, '<think>x</think>\n{"n": 1}')
    assert not takes(constraint, '{"n": "x"}')


def test_the_end_of_the_prompt_tells_that_a_thought_is_open() -> None:
    constraint = hold(JsonSchema(schema=INTEGER, param="p"), tail="<think>\n")
    assert takes(constraint, '{"n": "x"}</think>\n\n{"n": 1}')
    assert not takes(constraint, '{"n": 1}')


def test_any_object_is_an_object() -> None:
    constraint = hold(JsonObject())
    assert takes(constraint, '{"a": [1, null]}')
    assert not takes(constraint, "[1]")


def test_a_grammar_holds_from_the_first_character() -> None:
    constraint = hold(Gbnf(text='root ::= "\\n" rule_0\nrule_0 ::= [a-c]{2}'))
    assert takes(constraint, "\nab") and takes(constraint, "<think>x</think>\n\n\nab")
    assert not takes(constraint, "ab") and not takes(constraint, "\n\nab")


def test_a_grammar_that_is_none_is_an_invalid_request() -> None:
    with pytest.raises(InvalidRequest) as caught:
        hold(Gbnf(text="root ::= ("))
    assert caught.value.param == "grammar"


def test_what_cannot_be_enforced_is_refused_with_its_field_and_place() -> None:
    with pytest.raises(Unsupported, match="#/properties/v/uniqueItems") as caught:
        hold(JsonSchema(schema=UNIQUE, param="response_format.json_schema.schema"))
    assert caught.value.param == "response_format.json_schema.schema"


def test_what_is_not_strict_is_loosened_and_says_so() -> None:
    constraint = hold(JsonSchema(schema=UNIQUE, param="p", is_strict=False))
    assert constraint.loosened == ("p#/properties/v/uniqueItems",)
    assert takes(constraint, '{"v": [1, 1]}')


def test_a_strict_tool_is_held_to_all_of_its_schema() -> None:
    with pytest.raises(Unsupported, match="#/properties/v/uniqueItems") as caught:
        hold(None, tool(INTEGER), tool(UNIQUE, strict=True))
    assert caught.value.param == "tools.1.function.parameters"


def test_other_tools_are_loosened_and_say_so() -> None:
    constraint = hold(None, tool(UNIQUE))
    assert constraint.loosened == ("tools.0.function.parameters#/properties/v/uniqueItems",)
    assert takes(constraint, f"Well. {call(v=[1])}")
    assert not takes(constraint, call(v=1))


def test_a_tool_without_parameters_is_called_without_arguments() -> None:
    constraint = hold(None, tool())
    assert takes(constraint, call())
    assert not takes(constraint, call(a=1))


def test_parameters_are_an_object_whatever_the_schema_says() -> None:
    constraint = hold(None, tool({}), choice=REQUIRED)
    assert takes(constraint, call(a=1))
    assert not takes(constraint, '<call>\n{"name": "f", "arguments": [1]}\n</call>')


def test_several_calls_only_where_the_client_takes_them() -> None:
    twice = f"{call(n=1)}\n{call(n=2)}"
    assert takes(hold(None, tool(INTEGER)), twice)
    assert not takes(hold(None, tool(INTEGER), parallel=False), twice)


def test_no_calls_are_left_free() -> None:
    none = ToolChoice(mode=ToolChoiceMode.NONE)
    assert hold(None, tool(INTEGER), choice=none) == AnswerConstraint()
    assert takes(hold(JsonObject(), tool(INTEGER), choice=none), "{}")


def test_a_required_call_leaves_a_form_no_place() -> None:
    schema = JsonSchema(schema=UNIQUE, param="p")
    constraint = hold(schema, tool(INTEGER), choice=REQUIRED)
    assert takes(constraint, call(n=1))
    assert not takes(constraint, "{}")


def test_without_a_required_call_it_is_calls_or_the_form() -> None:
    constraint = hold(JsonSchema(schema=INTEGER, param="p"), tool(INTEGER))
    assert takes(constraint, call(n=1)) and takes(constraint, '{"n": 1}')
    assert not takes(constraint, "Hi.")


@pytest.mark.parametrize(("answer_format", "choice"), [(JsonObject(), AUTO), (None, REQUIRED)])
def test_an_answer_that_the_client_began_cannot_be_held_to_a_form(
    answer_format: AnswerFormat | None, choice: ToolChoice
) -> None:
    messages = (ASK, Message(role="assistant", content='{"n":'))
    with pytest.raises(Unsupported, match="begins the answer") as caught:
        hold(answer_format, tool(INTEGER), choice=choice, messages=messages)
    assert caught.value.param == "messages"


def test_an_answer_that_the_client_began_may_go_on_with_calls() -> None:
    messages = (ASK, Message(role="assistant", content="Let me see."))
    assert takes(hold(None, tool(INTEGER), messages=messages), f" {call(n=1)}")


def test_a_strict_tool_is_refused_where_the_models_notation_cannot_be_held_to_it() -> None:
    either = {"type": "object", "properties": {"v": {"type": ["string", "integer"]}}}
    with pytest.raises(Unsupported, match="#/properties/v") as caught:
        hold(None, tool(either, strict=True), syntax=TAGGED_CALLS)
    assert caught.value.param == "tools.0.function.parameters"
    constraint = hold(None, tool(either), syntax=TAGGED_CALLS)
    assert constraint.loosened == ("tools.0.function.parameters#/properties/v",)
    assert takes(constraint, "<call>\nf\n<v>1</v>\n\n</call>")


def test_a_text_prompt_is_held_from_its_first_token() -> None:
    prompt = TextPrompt(text="JSON: ")
    schema = JsonSchema(schema=INTEGER, param="json_schema")
    free: dict[str, Any] = {"syntax": JSON_CALLS, "in_thought": False}
    constraint = constrain(prompt, schema, **free)
    assert takes(constraint, '{"n": 1}')
    assert not takes(constraint, ' {"n": 1}') and not takes(constraint, "<think>x</think>")
    assert constrain(prompt, None, **free) == AnswerConstraint()
    grammar = constrain(prompt, Gbnf(text='root ::= "a"'), **free)
    assert takes(grammar, "a")


def test_a_schema_too_large_to_be_kept_is_held_to_as_well() -> None:
    large = {"enum": [f"value {number}" for number in range(5000)]}
    constraint = hold(JsonSchema(schema=large, param="p"))
    assert takes(constraint, '"value 4999"')
    assert not takes(constraint, '"value 5000"')


def test_a_schema_too_deep_to_be_written_is_an_invalid_request() -> None:
    deep: dict[str, Any] = {}
    for _ in range(5000):
        deep = {"not": deep}
    with pytest.raises(InvalidRequest):
        hold(JsonSchema(schema=deep, param="p"))

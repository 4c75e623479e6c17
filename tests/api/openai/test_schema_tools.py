"""Which tools a model sees, and what it is to do with them."""

from __future__ import annotations

from typing import Any

import pytest

from llmd.api import json_body
from llmd.api.openai.schema_chat import ChatCompletionRequest
from llmd.core.request import ChatPrompt, ToolChoice, ToolChoiceMode
from llmd.errors import InvalidRequest, LlmdError


def tool(name: str, **function: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": {}, **function}}


LOOK, WALK = tool("look"), tool("walk")


def read(**fields: Any) -> ChatPrompt:
    body = {"messages": [{"role": "user", "content": "Go!"}], **fields}
    request = ChatCompletionRequest.model_validate(body).to_core()
    (prompt,) = request.prompts
    assert isinstance(prompt, ChatPrompt)
    return prompt


def names(prompt: ChatPrompt) -> list[str]:
    return [each.name for each in prompt.tools]


def refusal(**fields: Any) -> LlmdError:
    with pytest.raises(LlmdError) as caught:
        read(**fields)
    assert caught.value.status == 400
    assert caught.value.message.endswith(".")
    return caught.value


def test_auto_is_the_default() -> None:
    assert read(tools=[LOOK]).tool_choice == ToolChoice(mode=ToolChoiceMode.AUTO)


def test_none_shows_no_tools() -> None:
    assert names(read(tools=[LOOK], tool_choice="none")) == []


def test_required() -> None:
    assert read(tools=[LOOK], tool_choice="required").tool_choice.mode is ToolChoiceMode.REQUIRED


def test_required_needs_tools() -> None:
    assert refusal(tool_choice="required").param == "tool_choice"


def test_a_named_tool_is_chosen_among_all() -> None:
    choice = {"type": "function", "function": {"name": "walk"}}
    prompt = read(tools=[LOOK, WALK], tool_choice=choice)
    assert names(prompt) == ["look", "walk"]
    assert prompt.tool_choice == ToolChoice(mode=ToolChoiceMode.NAMED, name="walk")


def test_a_named_tool_must_be_there() -> None:
    choice = {"type": "function", "function": {"name": "fly"}}
    error = refusal(tools=[LOOK], tool_choice=choice)
    assert error.param == "tool_choice.function.name"
    assert "'look'" in error.message


@pytest.mark.parametrize("mode", ["auto", "required"])
def test_allowed_tools_are_the_only_ones(mode: str) -> None:
    allowed = {"mode": mode, "tools": [{"type": "function", "function": {"name": "walk"}}]}
    choice = {"type": "allowed_tools", "allowed_tools": allowed}
    prompt = read(tools=[LOOK, WALK], tool_choice=choice)
    assert names(prompt) == ["walk"]
    assert prompt.tool_choice.mode is ToolChoiceMode(mode)


def test_an_allowed_tool_must_be_there() -> None:
    allowed = {"mode": "auto", "tools": [{"type": "function", "function": {"name": "fly"}}]}
    choice = {"type": "allowed_tools", "allowed_tools": allowed}
    error = refusal(tools=[LOOK], tool_choice=choice)
    assert error.param == "tool_choice.allowed_tools.tools.0.function.name"


def test_nothing_can_be_required_of_no_allowed_tool() -> None:
    choice = {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": []}}
    assert refusal(tools=[LOOK], tool_choice=choice).param == "tool_choice.allowed_tools.tools"


def test_a_named_tool_must_have_a_name() -> None:
    error = refusal(tools=[LOOK], tool_choice={"type": "function"})
    assert error.param == "tool_choice.function.name"


@pytest.mark.parametrize("choice", [{"type": "custom"}, {"type": "allowed_tools"}])
def test_a_choice_that_is_not_known(choice: dict[str, Any]) -> None:
    assert refusal(tools=[LOOK], tool_choice=choice).param == "tool_choice"


@pytest.mark.parametrize("choice", ["always", 3])
def test_a_choice_of_the_wrong_kind(choice: Any) -> None:
    with pytest.raises(InvalidRequest) as caught:
        json_body.parse(
            b'{"messages": [{"role": "user", "content": "Go!"}], "tool_choice": %s}'
            % repr(choice).replace("'", '"').encode(),
            ChatCompletionRequest,
        )
    assert caught.value.param == "tool_choice"


@pytest.mark.parametrize(
    ("tools", "param"),
    [
        ([LOOK, {"type": "web_search"}], "tools.1.type"),
        ([{"type": "function"}], "tools.0.function.name"),
        ([tool("")], "tools.0.function.name"),
        *(([LOOK, tool(f"go{c}home")], "tools.1.function.name") for c in " \n\0\"'<>{}()[]\\"),
        ([tool("look", parameters="text")], "tools.0.function.parameters"),
        ([LOOK, WALK, LOOK], "tools.2.function.name"),
    ],
)
def test_a_tool_that_is_none(tools: list[dict[str, Any]], param: str) -> None:
    assert refusal(tools=tools).param == param


def test_functions_of_the_old_kind_are_not_ignored() -> None:
    assert refusal(functions=[{"name": "look"}]).param == "functions"
    assert names(read(functions=None)) == []


def test_names_beyond_those_of_openai() -> None:
    prompt = read(tools=[tool("mcp.files/read:all"), tool("öffnen"), tool("x" * 200)])
    assert names(prompt) == ["mcp.files/read:all", "öffnen", "x" * 200]


def test_parallel_calls_are_allowed_unless_forbidden() -> None:
    assert read(tools=[LOOK]).parallel_tool_calls
    assert not read(tools=[LOOK], parallel_tool_calls=False).parallel_tool_calls

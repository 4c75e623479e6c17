from __future__ import annotations

from typing import Any

import pytest

from llmd.api.openai.schema_response_tools import ResponseToolChoice, ResponseTools
from llmd.core.request import ToolChoice, ToolChoiceMode
from llmd.errors import InvalidRequest, Unsupported

SEARCH = {"type": "web_search"}
WEATHER = {"type": "function", "name": "weather", "parameters": {"type": "object"}, "strict": True}
CLOCK = {"type": "function", "name": "clock", "description": None}


def choice(**fields: Any) -> ResponseToolChoice:
    return ResponseToolChoice.model_validate(fields)


def test_flat_tools_are_nested_as_templates_print_them() -> None:
    tools, _ = ResponseTools([WEATHER]).read("auto")
    function = {"name": "weather", "parameters": {"type": "object"}, "strict": True}
    assert tools[0].definition == {"type": "function", "function": function}


@pytest.mark.parametrize(
    "kind", ["web_search", "custom", "local_shell", "mcp", "namespace", "computer_use_preview"]
)
def test_other_kinds_are_skipped(kind: str) -> None:
    tools, picked = ResponseTools([{"type": kind, "name": "x"}, CLOCK]).read("auto")
    assert [tool.name for tool in tools] == ["clock"]
    assert picked == ToolChoice()


def test_a_response_shows_all_fields_of_its_functions() -> None:
    assert ResponseTools([SEARCH, CLOCK]).encode() == [
        {"type": "function", "name": "clock", "description": None, "parameters": None,
         "strict": False}
    ]  # fmt: skip


def test_one_function_may_be_chosen() -> None:
    tools, picked = ResponseTools([WEATHER, CLOCK]).read(choice(type="function", name="clock"))
    assert len(tools) == 2
    assert picked == ToolChoice(mode=ToolChoiceMode.NAMED, name="clock")


def test_a_selection_leaves_only_its_own() -> None:
    selected = choice(
        type="allowed_tools", mode="required", tools=[{"type": "function", "name": "clock"}, SEARCH]
    )
    tools, picked = ResponseTools([WEATHER, CLOCK]).read(selected)
    assert [tool.name for tool in tools] == ["clock"]
    assert picked.mode is ToolChoiceMode.REQUIRED


@pytest.mark.parametrize(
    ("definitions", "chosen", "param"),
    [
        ([WEATHER], choice(type="function", name="x"), "tool_choice.name"),
        ([WEATHER], choice(type="web_search"), "tool_choice"),
        ([SEARCH], "required", "tool_choice"),
        (
            [WEATHER],
            choice(type="allowed_tools", tools=[{"name": "x"}]),
            "tool_choice.tools.0.name",
        ),
        ([SEARCH, {"type": "function"}], "auto", "tools.1.name"),
        ([SEARCH, WEATHER, SEARCH, WEATHER], "auto", "tools.3.name"),
        ([SEARCH, {**CLOCK, "parameters": 7}], "auto", "tools.1.parameters"),
    ],
)
def test_a_fault_is_named_in_the_paths_of_this_api(
    definitions: list[dict[str, Any]], chosen: Any, param: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        ResponseTools(definitions).read(chosen)
    assert caught.value.param == param


def test_the_shape_of_a_chat_request_is_understood() -> None:
    nested = {"type": "function", "function": {"name": "clock", "parameters": {}}}
    flat = {"type": "function", "name": "clock", "parameters": {}}
    named = choice(type="function", function={"name": "clock"})
    assert ResponseTools([nested]).read(named) == ResponseTools([flat]).read(
        choice(type="function", name="clock")
    )


def test_later_errors_are_renamed_too() -> None:
    error = Unsupported("no tools.0.function.parameters.", param="tools.0.function.parameters")
    ResponseTools([SEARCH, WEATHER]).rename(error)
    assert error.param == "tools.1.parameters"
    assert error.message == "no tools.1.parameters."


@pytest.mark.parametrize(
    ("param", "expected"),
    [("messages.3", "input"), ("text.format.schema", "text.format.schema"), (None, None)],
)
def test_other_paths_are_this_apis_own(param: str | None, expected: str | None) -> None:
    error = Unsupported("no.", param=param)
    ResponseTools([]).rename(error)
    assert error.param == expected

from __future__ import annotations

import pytest
from call_reading import INTEGER, PING, TOOLS, WEATHER, arguments_of, read_calls, tool
from lark_matching import section_matcher

from llmd.chat.calls.attribute_tags import KIMI_K3, MUSE
from llmd.chat.calls.attribute_tags import dsml as dsml_tags

DSML = dsml_tags("tool_calls")


def dsml(*calls: str) -> str:
    body = "\n".join(calls)
    return f"<｜DSML｜tool_calls>\n{body}\n</｜DSML｜tool_calls>"


def invoke(name: str, *arguments: str) -> str:
    lines = [f'<｜DSML｜invoke name="{name}">', *arguments, "</｜DSML｜invoke>"]
    return "\n".join(lines)


def argument(key: str, value: str, is_string: str = "true") -> str:
    return f'<｜DSML｜parameter name="{key}" string="{is_string}">{value}</｜DSML｜parameter>'


PARIS = invoke("get_weather", argument("city", "Paris"), argument("days", "3", "false"))


def test_a_call_is_read() -> None:
    answer = read_calls(DSML, dsml(PARIS))
    assert arguments_of(answer) == [("get_weather", {"city": "Paris", "days": 3})]
    assert answer.content == ""


def test_several_calls_are_read() -> None:
    answer = read_calls(DSML, dsml(PARIS, invoke("ping"), PARIS) + "\nDone.")
    assert [call.name for call in answer.calls] == ["get_weather", "ping", "get_weather"]
    assert answer.calls[1].arguments == "{}"
    assert answer.content.strip() == "Done."


def test_the_attribute_tells_strings_from_numbers() -> None:
    call = invoke("other", argument("a", "3"), argument("b", "3", "false"))
    assert arguments_of(read_calls(DSML, dsml(call))) == [("other", {"a": "3", "b": 3})]


def test_without_the_attribute_the_schema_tells() -> None:
    text = MUSE.sections[0][0] + (
        '<atem:invoke name="get_weather"><atem:parameter name="city">7</atem:parameter>'
        '<atem:parameter name="days">7</atem:parameter></atem:invoke></atem:function_calls>'
    )
    assert arguments_of(read_calls(MUSE, text)) == [("get_weather", {"city": "7", "days": 7})]


def test_a_string_is_kept_word_by_word() -> None:
    value = 'a < b\n "</invoke>" & \\ </｜DSML｜param\n'
    call = invoke("write_file", argument("path", "x"), argument("text", value))
    assert arguments_of(read_calls(DSML, dsml(call)))[0][1]["text"] == value


def test_missing_closers_are_forgiven() -> None:
    text = dsml(PARIS, PARIS).replace("</｜DSML｜invoke>\n", "")
    assert arguments_of(read_calls(DSML, text)) == 2 * [
        ("get_weather", {"city": "Paris", "days": 3})
    ]


def test_calls_without_their_section_are_read() -> None:
    assert len(read_calls(DSML, PARIS).calls) == 1


def test_the_other_name_of_a_section_is_known() -> None:
    text = dsml(PARIS).replace("tool_calls", "function_calls")
    assert len(read_calls(dsml_tags("function_calls"), text).calls) == 1


@pytest.mark.parametrize("length", range(20, len(dsml(PARIS)) - 30, 7))
def test_an_answer_that_ends_inside_a_call_has_valid_arguments(length: int) -> None:
    answer = read_calls(DSML, dsml(PARIS)[:length])
    assert len(arguments_of(answer)) in (0, 1)


def test_what_a_length_limit_cut_is_not_made_up() -> None:
    text = dsml(PARIS).partition("Par")[0] + "Par"
    assert read_calls(DSML, text, is_cut=True).calls[0].arguments == '{"city": "Par'


def test_a_section_without_calls_is_text() -> None:
    text = "<｜DSML｜tool_calls>\nnothing of the kind"
    answer = read_calls(DSML, text)
    assert (answer.content, answer.calls) == (text, ())


def test_prose_between_arguments_is_text() -> None:
    call = invoke("ping", "so to say", argument("a", "b"))
    answer = read_calls(DSML, dsml(call))
    assert answer.content.strip() == "so to say"
    assert arguments_of(answer) == [("ping", {"a": "b"})]


def test_the_grammar_takes_valid_calls_only() -> None:
    match = section_matcher(DSML, TOOLS)
    assert match(dsml(PARIS))
    assert match(dsml(PARIS, invoke("ping"), PARIS))
    assert match(dsml(invoke("get_weather", argument("city", "any < \n text"))))
    assert not match(dsml(invoke("get_time")))
    assert not match(dsml(invoke("get_weather")))
    assert not match(
        dsml(invoke("get_weather", argument("city", "x"), argument("days", "x", "false")))
    )
    assert not match(dsml(invoke("get_weather", argument("city", "x"), argument("more", "x"))))
    assert not match(dsml())


def test_the_grammar_takes_one_call_only_if_asked() -> None:
    match = section_matcher(DSML, TOOLS, many=False)
    assert match(dsml(PARIS))
    assert not match(dsml(PARIS, PARIS))


def test_the_grammar_holds_to_what_strings_may_be() -> None:
    tools = (
        tool("f", unit={"enum": ["c", "f"]}, code={"type": "string", "pattern": "^[a-z]{2}$"}),
        tool("g", name={"type": "string", "minLength": 2, "maxLength": 3}),
        tool("h", a={"anyOf": [{"type": "string", "maxLength": 3}, INTEGER]}),
    )
    match = section_matcher(DSML, tools)
    assert match(dsml(invoke("f", argument("unit", "c"), argument("code", "de"))))
    assert not match(dsml(invoke("f", argument("unit", "k"), argument("code", "de"))))
    assert not match(dsml(invoke("f", argument("unit", "c"), argument("code", "d"))))
    assert match(dsml(invoke("g", argument("name", "abc"))))
    assert not match(dsml(invoke("g", argument("name", "abcd"))))
    assert match(dsml(invoke("h", argument("a", "x"))))
    assert not match(dsml(invoke("h", argument("a", "xxxx"))))
    assert match(dsml(invoke("h", argument("a", "5", "false"))))
    assert not match(dsml(invoke("h", argument("a", "x", "false"))))


def k3(*calls: str) -> str:
    return f"<|open|>tools<|sep|>{''.join(calls)}<|close|>tools<|sep|>"


K3_PARIS = (
    '<|open|>call tool="get_weather" index="1"<|sep|>'
    '<|open|>argument key="city" type="string"<|sep|>12<|close|>argument<|sep|>'
    '<|open|>argument key="days" type="number"<|sep|>3<|close|>argument<|sep|>'
    "<|close|>call<|sep|>"
)


def test_the_tags_of_kimi_k3_are_read() -> None:
    answer = read_calls(KIMI_K3, k3(K3_PARIS))
    assert arguments_of(answer) == [("get_weather", {"city": "12", "days": 3})]


def test_the_grammar_of_kimi_k3_knows_types() -> None:
    match = section_matcher(KIMI_K3, (WEATHER, PING))
    assert match(k3(K3_PARIS, '<|open|>call tool="ping" index="2"<|sep|><|close|>call<|sep|>'))
    assert not match(k3(K3_PARIS.replace('type="number"', 'type="string"')))
    assert not match(k3(K3_PARIS.replace('index="1"', "")))


def test_a_call_ends_a_thought() -> None:
    assert DSML.ends_thoughts and KIMI_K3.ends_thoughts and not MUSE.ends_thoughts

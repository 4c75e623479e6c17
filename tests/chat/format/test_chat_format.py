from __future__ import annotations

import logging

import pytest
from call_reading import PING, TOOLS, arguments_of
from dialects import DIALECTS, FRAMES, HERMES_CALLS, OPENS_THINK, THINK, dialect, each_call
from templates import GEMMA

from llmd.chat.answer.answer import Answer, join_pieces
from llmd.chat.format.chat_format import ChatFormat, find_format
from llmd.chat.format.fallback import HERMES_EXAMPLE
from llmd.chat.prompt.template import ChatTemplate
from llmd.core.message import Message
from llmd.core.request import ThinkingWish

USER = Message(role="user", content="Hi")
HERMES_PING = '<tool_call>\n{"name": "ping", "arguments": {}}\n</tool_call>'


def open_template(source: str) -> ChatTemplate:
    return ChatTemplate(source, bos_token="", eos_token="")


def read(chat_format: ChatFormat, prompt: str, text: str) -> Answer:
    reader = chat_format.reader(prompt, TOOLS)
    return join_pieces(reader.feed(text) + reader.flush())


@pytest.mark.parametrize("name", DIALECTS)
def test_dialects_are_derived(name: str) -> None:
    found = find_format(open_template(DIALECTS[name]))
    assert (found.origin, found.notes) == ("derived", ())


def test_a_familys_markers_choose_it() -> None:
    source = dialect("", begin="<|start|>assistant<|channel|>final<|message|>", end="<|end|>")
    assert find_format(open_template(source)).origin == "harmony"


def test_an_answer_is_read_behind_the_prompts_own_beginning() -> None:
    template = open_template(FRAMES["opened thought"])
    found = find_format(template)
    answer = read(
        found, template.render([USER], TOOLS).text, f"Why?\n</think>\n\nSo.\n{HERMES_PING}"
    )
    assert (answer.reasoning, answer.content) == ("Why?", "So.")
    assert arguments_of(answer) == [("ping", {})]


def test_an_earlier_answer_in_the_prompt_is_not_read_again() -> None:
    template = open_template(DIALECTS["hermes"])
    messages = [USER, Message(role="assistant", content=f"A {HERMES_PING}"), USER]
    answer = read(find_format(template), template.render(messages, TOOLS).text, "b")
    assert (answer.content, answer.calls) == ("b", ())


def test_a_template_without_calls_gets_a_paragraph() -> None:
    found = find_format(open_template(GEMMA))
    assert (found.origin, found.call_example) == ("fallback", HERMES_EXAMPLE)
    messages, tools = found.prepare([USER], [PING])
    assert (messages[0].role, messages[1:], tools) == ("system", (USER,), ())
    assert arguments_of(read(found, "<start_of_turn>model\n", HERMES_PING)) == [("ping", {})]


def test_tools_that_a_template_does_not_list_are_described_with_its_own_writing() -> None:
    listing = "{%- for tool in tools or [] -%}{{- (tool | tojson) + '\\n' -}}{%- endfor -%}"
    assert listing in DIALECTS["parameter tags"]
    source = DIALECTS["parameter tags"].replace(listing, "")
    found = find_format(open_template(source))
    assert found.call_example == (
        "<tool_call>\n<function=function_name>\n<parameter=argument_name>\nargument value\n"
        "</parameter>\n</function>\n</tool_call>"
    )
    (system, _), tools = found.prepare([USER], [PING])
    assert system.content is not None and found.call_example in system.content
    assert tools == ()


def test_without_tools_no_paragraph_is_added() -> None:
    assert find_format(open_template(GEMMA)).prepare([USER], []) == ((USER,), ())


def test_a_template_with_calls_of_its_own_gets_no_paragraph() -> None:
    assert find_format(open_template(DIALECTS["hermes"])).prepare([USER], [PING]) == (
        (USER,),
        (PING,),
    )


def test_calls_that_are_not_read_back_fall_back_and_are_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    calls = "{%- for call in m.tool_calls or [] -%}{{- call.function | tojson -}}{%- endfor -%}"
    with caplog.at_level(logging.WARNING, "llmd.chat.format.chat_format"):
        found = find_format(open_template(dialect(calls, thought=THINK)))
    assert (found.origin, found.call_example) == ("fallback", HERMES_EXAMPLE)
    assert found.syntax.thought is not None
    assert "does not fit the chat template: call: content" in caplog.text
    assert found.notes


def test_a_frame_that_is_not_read_back_leaves_text_only() -> None:
    found = find_format(open_template("{{ messages | tojson }}"))
    assert (found.origin, found.syntax.thought) == ("text only", None)
    assert read(found, "", "a <think> b").content == "a <think> b"


def test_thoughts_that_are_not_read_back_stay_in_the_text_and_calls_are_read() -> None:
    calls = "{%- if m.reasoning_content -%}{{- '<reflect>' + m.reasoning_content -}}{%- endif -%}"
    found = find_format(open_template(dialect(calls + HERMES_CALLS)))
    assert (found.origin, found.syntax.thought) == ("derived", None)
    assert found.notes[0].startswith("derived: thought and text: content")
    answer = read(found, "", f"So.<reflect>Why? {HERMES_PING}")
    assert answer.content == "So.<reflect>Why?"
    assert arguments_of(answer) == [("ping", {})]


@pytest.mark.parametrize("key", ["arguments", "parameters"])
def test_calls_that_are_bare_objects_are_read_in_any_frame(key: str) -> None:
    calls = each_call(f'{{"name": "NAME", "{key}": ARGUMENTS}}', between="\n")
    found = find_format(open_template(dialect(calls, begin="<|bot|>", end="<|end|>")))
    assert (found.origin, found.call_example) == ("bare JSON", "")
    answer = read(found, "", f'{{"name": "ping", "{key}": {{}}}}<|end|>')
    assert (answer.content, arguments_of(answer)) == ("", [("ping", {})])
    other = '{"name": "Ada", "arguments": []}'
    assert read(found, "", other).content == other


def test_a_family_that_does_not_fit_gives_way_to_what_is_derived() -> None:
    # The markers of LFM2 in the text, the calls of another format.
    source = "{{- 'List of tools: ' -}}" + DIALECTS["parameter tags"].replace("tool_call>", "tc>")
    found = find_format(open_template(source))
    assert found.origin == "derived"
    assert any(note.startswith("lfm2: call:") for note in found.notes)


@pytest.mark.parametrize(
    "source",
    [
        "{{ messages[0].content }}",
        "nothing",
        "{{ raise_exception('no') }}",
        "{% for m in messages %}{% endfor %}",
    ],
)
def test_any_template_has_a_format(source: str) -> None:
    found = find_format(open_template(source))
    assert read(found, "", "Hello <b>").content == "Hello <b>"


def test_the_vocabularys_ends_are_no_content() -> None:
    found = find_format(open_template(DIALECTS["hermes"]), end_texts=("<|endoftext|>",))
    assert read(found, "", "Hi<|endoftext|>").content == "Hi"


def test_thinking_is_switched_as_the_template_does() -> None:
    found = find_format(open_template(FRAMES["opened thought"]))
    assert found.thinking_kwargs(ThinkingWish(effort="none")) == {"enable_thinking": False}


@pytest.mark.parametrize(
    ("name", "expected"),
    [("written thought", True), ("answer in tags", True), ("thought only shut", False)],
)
def test_whether_thoughts_of_earlier_calls_are_wanted(name: str, expected: bool) -> None:
    assert find_format(open_template(FRAMES[name])).writes_thoughts is expected


def test_a_person_can_read_what_was_found() -> None:
    source = dialect(HERMES_CALLS, thought=THINK, opened=OPENS_THINK)
    assert find_format(open_template(source)).describe() == [
        ("format", "derived"),
        ("thoughts", "<think> ... </think>"),
        ("calls", "JsonObjects behind <tool_call>"),
        ("ends", "<|im_end|>"),
        ("thinking", "enable_thinking"),
        ("self-test", "passed"),
    ]

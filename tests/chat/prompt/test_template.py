from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest

from llmd.chat.prompt.default_template import DEFAULT_TEMPLATE
from llmd.chat.prompt.template import ChatTemplate
from llmd.core.message import Message, Tool, ToolCall
from llmd.errors import InvalidModelFile, InvalidRequest, TemplateFailed, Unsupported

USER = Message(role="user", content="Hi")
LOOP = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}"


def template(source: str, clock: Callable[[], datetime] = datetime.now) -> ChatTemplate:
    return ChatTemplate(source, bos_token="<s>", eos_token="</s>", clock=clock)


def rendered(source: str, *messages: Message, **options: Any) -> str:
    return template(source).render(messages or (USER,), **options).text


def tool(**function: Any) -> Tool:
    definition = {"type": "function", "function": {"name": "look", **function}}
    return Tool(name="look", definition=definition)


def test_the_default_template_writes_chatml() -> None:
    system = Message(role="system", content="Be brief.")
    assert rendered(DEFAULT_TEMPLATE, system, USER) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n"
        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    )


def test_the_generation_prompt_can_be_left_out() -> None:
    text = rendered(DEFAULT_TEMPLATE, add_generation_prompt=False)
    assert text == "<|im_start|>user\nHi<|im_end|>\n"


def test_a_prompt_without_special_text_is_one_piece() -> None:
    assert template(LOOP).render([USER]).pieces == ("[user]Hi",)


def test_bos_and_eos_are_variables() -> None:
    assert rendered("{{ bos_token }}{{ messages[0].content }}{{ eos_token }}") == "<s>Hi</s>"


def test_tools_are_none_when_there_are_none() -> None:
    assert rendered(LOOP + "{{ tools is none }}{{ documents is none }}").endswith("TrueTrue")


def test_tools_are_an_empty_list_where_a_template_iterates_over_them_anyway() -> None:
    assert rendered("{% for t in tools %}{{ t }}{% endfor %}" + LOOP) == "[user]Hi"


def test_tools_are_the_clients_own_definitions() -> None:
    source = LOOP + "{% for t in tools or [] %}{{ t.function.name }}{% endfor %}"
    assert rendered(source, tools=(tool(),)) == "[user]Hilook"


def test_keyword_arguments_are_variables() -> None:
    source = LOOP + "{{ ' thinking' if enable_thinking }}"
    assert rendered(source, template_kwargs={"enable_thinking": True}) == "[user]Hi thinking"


@pytest.mark.parametrize(
    "name", ["messages", "tools", "add_generation_prompt", "bos_token", "raise_exception"]
)
def test_reserved_keyword_arguments_are_refused_by_name(name: str) -> None:
    with pytest.raises(InvalidRequest, match=f"'{name}'") as caught:
        rendered(LOOP, template_kwargs={name: 1})
    assert caught.value.param == f"chat_template_kwargs.{name}"


def test_the_clock_answers_strftime_now() -> None:
    fixed = template("{{ strftime_now('%d %b %Y') }}", lambda: datetime(2024, 7, 26))
    assert fixed.render([USER]).text == "26 Jul 2024"


def test_a_thought_has_all_three_names() -> None:
    source = "{% for m in messages %}{{ m.reasoning_content }}{{ m.reasoning }}{{ m.thinking }}"
    message = Message(role="assistant", content="x", reasoning="hm ")
    assert rendered(source + "{% endfor %}", message) == "hm hm hm "


def test_calls_are_written_with_their_ids_and_arguments() -> None:
    source = (
        "{% for m in messages %}{% for c in m.tool_calls or [] %}"
        "{{ c.id }} {{ c.function.name }} {{ c.function.arguments | tojson }}"
        "{% endfor %}{% endfor %}"
    )
    call = ToolCall(id="c1", name="look", arguments={"where": "Ä"})
    message = Message(role="assistant", content=None, tool_calls=(call,))
    assert rendered(source, USER, message) == 'c1 look {"where": "Ä"}'


def test_a_template_cannot_alter_the_request() -> None:
    source = LOOP + "{% for t in tools or [] %}{{ t.pop('function') }}{% endfor %}"
    given = tool()
    rendered(source, tools=(given,))
    assert "function" in given.definition


def test_content_becomes_parts_for_a_template_that_iterates_over_them() -> None:
    source = "{% for m in messages %}{% for p in m.content %}{{ p.text }}|{% endfor %}{% endfor %}"
    assert rendered(source) == "Hi|"


def test_a_syntax_error_names_its_line_and_the_cure() -> None:
    with pytest.raises(InvalidModelFile, match=r"line 2: .*--chat-template FILE"):
        template("{{ bos_token }}\n{% for m in %}")


def test_a_template_without_end_is_an_invalid_model_file() -> None:
    with pytest.raises(InvalidModelFile, match="cannot render one message"):
        template("{{ 'a' * 10**9 }}")


def test_an_unknown_filter_is_an_invalid_model_file() -> None:
    with pytest.raises(InvalidModelFile, match="no_such_filter"):
        template("{{ 1 | no_such_filter }}")


def test_a_template_nested_too_deep_is_an_invalid_model_file() -> None:
    with pytest.raises(InvalidModelFile):
        template("{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}")


ALTERNATING = (
    "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Roles must alternate!') }}{% endif %}{{ m.content }}{% endfor %}"
)


def test_a_refusal_names_the_message_and_holds_the_templates_words() -> None:
    answer = Message(role="assistant", content="Yes")
    with pytest.raises(TemplateFailed) as caught:
        rendered(ALTERNATING, USER, answer, USER, USER, answer, USER)
    assert caught.value.status == 400
    assert caught.value.param == "messages.3"
    assert "message 3 (role user): Roles must alternate! " in caught.value.message
    assert caught.value.message.endswith("--chat-template FILE.")


def test_a_refusal_of_the_whole_conversation_names_no_message() -> None:
    source = "{% if not found %}{{ raise_exception('No query.') }}{% endif %}"
    with pytest.raises(TemplateFailed) as caught:
        rendered(source, USER, USER)
    assert caught.value.param == "messages"


@pytest.mark.parametrize(
    "fault",
    [
        "{{ 1 + none }}",
        "{{ nothing.further.on }}",
        "{{ 1 // 0 }}",
        "{{ [].pop() }}",
        "{{ {}.pop('key') }}",
        "{{ 'a'.index('b') }}",
        "{{ messages.__class__.__mro__ }}",
        "{{ from_json('{') }}",
        "{% macro again() %}{{ again() }}{% endmacro %}{{ again() }}",
    ],
)
def test_whatever_fails_inside_a_template_is_a_400(fault: str) -> None:
    with pytest.raises(TemplateFailed) as caught:
        rendered("{% for m in messages if m.content == 'bad' %}" + fault + "{% endfor %}",
                 USER, Message(role="user", content="bad"))  # fmt: skip
    assert caught.value.param == "messages.1"


def test_values_nested_too_deep_are_a_400() -> None:
    deep: dict[str, Any] = {}
    for _ in range(5000):
        deep = {"a": deep}
    with pytest.raises(InvalidRequest, match="nested too deep"):
        rendered(LOOP, template_kwargs=deep)


def test_a_template_that_runs_too_long_is_a_400_and_is_not_run_again() -> None:
    source = "{% for m in messages %}{{ 'a' * 10**9 if m.content == 'bad' }}{% endfor %}"
    with pytest.raises(TemplateFailed, match="more than 1000"):
        rendered(source, Message(role="user", content="bad"))


def test_a_fault_of_the_keyword_arguments_is_told_apart() -> None:
    with pytest.raises(TemplateFailed) as caught:
        rendered(LOOP + "{{ budget + 1 if budget }}", template_kwargs={"budget": "lots"})
    assert caught.value.param == "chat_template_kwargs"


def test_a_fault_of_the_tools_is_told_apart() -> None:
    source = LOOP + "{% for t in tools or [] %}{{ 'a' + t.function.parameters.count }}{% endfor %}"
    with pytest.raises(TemplateFailed) as caught:
        rendered(source, tools=(tool(),))
    assert caught.value.param == "tools"


def test_a_continued_message_ends_the_prompt_without_an_end_of_turn() -> None:
    start = Message(role="assistant", content="Well, ")
    text = rendered(DEFAULT_TEMPLATE, USER, start, continue_final_message=True)
    assert text.endswith("<|im_start|>assistant\nWell, ")


def test_a_message_that_only_thought_is_continued_in_its_thought() -> None:
    source = (
        "{% for m in messages %}{{ m.role }}:{% if m.reasoning_content %}"
        "<think>{{ m.reasoning_content }}</think>{% endif %}{{ m.content }};{% endfor %}"
    )
    start = Message(role="assistant", content="", reasoning="Let me")
    text = rendered(source, USER, start, continue_final_message=True)
    assert text == "user:Hi;assistant:<think>Let me"


def test_an_unwritten_thought_is_continued_in_the_content() -> None:
    start = Message(role="assistant", content="", reasoning="Let me")
    text = rendered(LOOP, USER, start, continue_final_message=True)
    assert text == "[user]Hi[assistant]"


def test_only_an_assistant_message_can_be_continued() -> None:
    with pytest.raises(InvalidRequest, match="continue_final_message"):
        rendered(LOOP, continue_final_message=True)


def test_a_template_that_drops_the_final_message_cannot_continue_it() -> None:
    source = "{% for m in messages if m.role == 'user' %}{{ m.content }}{% endfor %}"
    start = Message(role="assistant", content="Well, ")
    with pytest.raises(Unsupported) as caught:
        rendered(source, USER, start, continue_final_message=True)
    assert caught.value.param == "messages.1"


LONG_LOOP = "{% for i in range(700) %}{% for j in range(700) %}{% endfor %}{% endfor %}"
SLOW = f"{{% if 'slow' in messages[-1].content %}}{LONG_LOOP}{{% endif %}}"


def test_a_template_that_takes_its_time_is_known_to_be_slow() -> None:
    compiled = template(SLOW + LOOP)
    compiled.render([USER])
    assert not compiled.is_slow
    compiled.render([Message(role="user", content="be slow")])
    assert compiled.is_slow


def test_a_long_conversation_makes_no_template_slow() -> None:
    compiled = template(DEFAULT_TEMPLATE)
    compiled.render([Message(role="user", content="x" * 1000)] * 3000)
    assert not compiled.is_slow

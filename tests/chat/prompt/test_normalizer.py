from __future__ import annotations

import re
from typing import Any

import pytest

from llmd.chat.prompt.default_template import DEFAULT_TEMPLATE
from llmd.chat.prompt.normalizer import MessageNormalizer, NormalizedConversation
from llmd.chat.prompt.template import ChatTemplate
from llmd.core.message import Message, Tool, ToolCall
from llmd.errors import InvalidRequest

# Small templates, each strict in the ways of a family of published ones.
SYSTEM_FIRST = """\
{%- for m in messages -%}
{%- if m.role == 'system' and not loop.first -%}
{{ raise_exception('System message must be at the beginning.') }}
{%- elif m.role not in ['system', 'user', 'assistant', 'tool'] -%}
{{ raise_exception('Unexpected message role.') }}
{%- endif -%}
[{{ m.role }}]{{ m.content + '' }}
{%- for c in m.tool_calls or [] -%}
<{{ c.function.name }}{% for k, v in c.function.arguments.items() %} {{ k }}={{ v }}{% endfor %}>
{%- endfor -%}
{%- endfor -%}
{%- for t in tools or [] %}{{ t | tojson }}{% endfor -%}
"""
NO_SYSTEM = """\
{%- if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif -%}
{%- for m in messages -%}
{%- if (m.role == 'user') != (loop.index0 % 2 == 0) -%}
{{ raise_exception('Conversation roles must alternate user/assistant') }}
{%- endif -%}
({{ m.role }}){{ m.content | trim }}
{%- endfor -%}
"""
ALTERNATING = """\
{%- set ns = namespace(index=0) -%}
{%- if messages[0].role == 'system' -%}
{{ messages[0].content }}
{%- set messages = messages[1:] -%}
{%- endif -%}
{%- for m in messages -%}
{%- if m.role == 'tool' -%}
{%- if m.tool_call_id | length != 9 %}{{ raise_exception('Ids must have 9 letters') }}{% endif -%}
[RESULT]{{ m.tool_call_id }}:{{ m.content }}
{%- elif m.tool_calls -%}
{%- for c in m.tool_calls -%}
{%- if c.id | length != 9 %}{{ raise_exception('Ids must have 9 letters') }}{% endif -%}
[CALL]{{ c.id }}:{{ c.function.name }}{{ c.function.arguments | tojson }}
{%- endfor -%}
{%- elif m.role == 'assistant' and not m.content -%}
{{ raise_exception('Assistant messages must not be empty') }}
{%- else -%}
{%- if (m.role == 'user') != (ns.index % 2 == 0) %}{{ raise_exception('Alternate!') }}{% endif -%}
{%- set ns.index = ns.index + 1 -%}
[{{ m.role }}]{{ m.content }}
{%- endif -%}
{%- endfor -%}
"""
DROPPING = """\
{%- if messages[0].role == 'system' %}{{ messages[0].content }}|{% endif -%}
{%- for m in messages -%}
{%- if m.role in ['user', 'assistant'] %}{{ m.role }}: {{ m.content }}|{% endif -%}
{%- endfor -%}
"""
ONE_CALL = """\
{%- for m in messages -%}
{%- if m.tool_calls -%}
{%- if m.tool_calls | length > 1 %}{{ raise_exception('Only one call!') }}{% endif -%}
{call {{ m.tool_calls[0].function.name }} {{ m.tool_calls[0].function.arguments | tojson }}}
{%- else -%}
[{{ m.role }}]{{ m.content }}
{%- endif -%}
{%- endfor -%}
"""
TEXT_ARGUMENTS = """\
{%- for m in messages -%}
{%- if m.content is none -%}
{%- for c in m.tool_calls -%}{{ c.function.name + ' ' + c.function.arguments }}{%- endfor -%}
{%- else -%}
[{{ m.role }}]{{ m.content }}
{%- endif -%}
{%- endfor -%}
"""
ID_AS_NAME = """\
{%- for m in messages -%}
[{{ m.role }}]{{ m.content or '' }}
{%- for c in m.tool_calls or [] %}<{{ c.id }}>{{ c.function.arguments | tojson }}{% endfor -%}
{%- if m.role == 'tool' %} of {{ m.tool_call_id }}{% endif -%}
{%- endfor -%}
"""
ONE_THOUGHT = """\
{%- for m in messages -%}
{%- if m.tool_calls and m.content and m.thinking %}{{ raise_exception('Not both!') }}{% endif -%}
[{{ m.role }}]{{ m.thinking or '' }}{{ m.content or '' }}
{%- for c in m.tool_calls or [] %}<{{ c.function | tojson }}>{% endfor -%}
{%- endfor -%}
"""
KNOWS_DEVELOPER = "{% for m in messages %}{{ m.role }}:{{ m.content }} {% endfor %}{# developer #}"
ANYTHING = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}"
STRICT_CALLED = """\
{%- for m in messages -%}
{%- if m.role == 'tool' and not (loop.index0 and messages[loop.index0 - 1].tool_calls) -%}
{{ raise_exception('No call before this result') }}
{%- endif -%}
[{{ m.role }}]{{ m.content }}{% for c in m.tool_calls or [] %}{{ c.function | tojson }}{% endfor %}
{%- endfor -%}
"""

LOOK = Tool(name="look", definition={"type": "function", "function": {"name": "look"}})


def system(content: str) -> Message:
    return Message(role="system", content=content)


def user(content: str) -> Message:
    return Message(role="user", content=content)


def assistant(content: str | None, *calls: ToolCall, reasoning: str | None = None) -> Message:
    return Message(role="assistant", content=content, tool_calls=calls, reasoning=reasoning)


def call(call_id: str | None = "call_1", arguments: dict[str, str] | str = "") -> ToolCall:
    return ToolCall(id=call_id, name="look", arguments=arguments or {"at": "sea"})


def result(content: str, call_id: str | None = "call_1") -> Message:
    return Message(role="tool", content=content, tool_call_id=call_id)


def chat_template(source: str) -> ChatTemplate:
    return ChatTemplate(source, bos_token="<s>", eos_token="</s>")


def normalized(source: str, *messages: Message) -> NormalizedConversation:
    return MessageNormalizer(chat_template(source)).normalize(messages)


def prompt_and_changes(source: str, *messages: Message) -> tuple[str, tuple[str, ...]]:
    conversation = normalized(source, *messages)
    return chat_template(source).render(conversation.messages).text, conversation.changes


def test_what_a_template_takes_is_left_alone() -> None:
    messages = (system("a"), user("b"), user("c"), system("d"), assistant("e"), user("f"))
    conversation = normalized(ANYTHING, *messages)
    assert conversation.messages == messages
    assert conversation.changes == ()


def test_developer_becomes_system() -> None:
    developer = Message(role="developer", content="a")
    assert prompt_and_changes(SYSTEM_FIRST, developer, user("b")) == (
        "[system]a[user]b",
        ("developer_to_system",),
    )


def test_developer_stays_where_the_template_knows_it() -> None:
    developer = Message(role="developer", content="a")
    assert prompt_and_changes(KNOWS_DEVELOPER, developer, user("b"))[0] == "developer:a user:b "


def test_a_late_system_message_is_merged_with_the_first() -> None:
    assert prompt_and_changes(SYSTEM_FIRST, system("a"), user("b"), system("c"), user("d")) == (
        "[system]a\n\nc[user]b[user]d",
        ("merged_system",),
    )


def test_a_late_system_message_that_would_be_dropped_is_moved_to_the_front() -> None:
    assert prompt_and_changes(DROPPING, user("a"), system("b"), user("c")) == (
        "b|user: a|user: c|",
        ("merged_system",),
    )


def test_two_system_messages_at_the_start_are_merged() -> None:
    text, changes = prompt_and_changes(DROPPING, system("a"), system("b"), user("c"))
    assert (text, changes) == ("a\n\nb|user: c|", ("merged_system",))


def test_a_refused_system_message_opens_the_first_user_message() -> None:
    assert prompt_and_changes(NO_SYSTEM, system("a"), user("b"), assistant("c"), user("d")) == (
        "(user)a\nb(assistant)c(user)d",
        ("system_to_user",),
    )


def test_a_refused_system_message_alone_becomes_a_user_message() -> None:
    assert prompt_and_changes(NO_SYSTEM, system("a"))[0] == "(user)a"


def test_the_same_role_twice_is_merged_where_roles_must_alternate() -> None:
    messages = (user("a"), user("b"), assistant("c"), assistant("d"), user("e"))
    assert prompt_and_changes(NO_SYSTEM, *messages) == (
        "(user)a\n\nb(assistant)c\n\nd(user)e",
        ("merged_user", "merged_assistant"),
    )


def test_an_empty_final_assistant_message_is_dropped() -> None:
    for empty in ("", None):
        assert prompt_and_changes(ANYTHING, user("a"), assistant(empty)) == (
            "[user]a",
            ("dropped_empty_assistant",),
        )


def test_a_final_assistant_message_that_says_something_stays() -> None:
    assert normalized(NO_SYSTEM, user("a"), assistant("b")).messages[-1] == assistant("b")


def test_an_empty_assistant_message_in_between_is_dropped_where_refused() -> None:
    text, changes = prompt_and_changes(ALTERNATING, user("a"), assistant(""), user("b"))
    assert text == "[user]a\n\nb"
    assert changes == ("dropped_empty_assistant", "merged_user")


def test_a_greeting_gets_a_user_message_before_it_where_the_user_must_begin() -> None:
    text, changes = prompt_and_changes(NO_SYSTEM, assistant("Hi"), user("a"))
    assert (text, changes) == ("(user)(assistant)Hi(user)a", ("opened_with_user",))


def test_null_content_beside_calls_becomes_empty_where_the_template_fails_on_it() -> None:
    text, changes = prompt_and_changes(SYSTEM_FIRST, user("a"), assistant(None, call()))
    assert (text, changes) == ("[user]a[assistant]<look at=sea>", ("null_content",))


def test_broken_arguments_are_wrapped_where_the_template_wants_an_object() -> None:
    broken = assistant("", call(arguments='{"at": '))
    text, _ = prompt_and_changes(SYSTEM_FIRST, user("a"), broken)
    assert text == '[user]a[assistant]<look arguments={"at": >'


def test_broken_arguments_stay_text_where_the_template_takes_text() -> None:
    broken = assistant(None, call(arguments='{"at": '))
    assert prompt_and_changes(TEXT_ARGUMENTS, user("a"), broken)[0] == '[user]alook {"at": '


def test_arguments_become_json_text_for_a_template_that_joins_them_to_text() -> None:
    text, _ = prompt_and_changes(TEXT_ARGUMENTS, user("a"), assistant(None, call()))
    assert text == '[user]alook {"at": "sea"}'


def test_content_beside_calls_gets_its_own_message_where_it_hides_the_calls() -> None:
    text, changes = prompt_and_changes(TEXT_ARGUMENTS, user("a"), assistant("b", call()))
    assert text == '[user]a[assistant]blook {"at": "sea"}'
    assert changes == ("split_content", "empty_to_null_content")


def test_ids_are_rewritten_alike_in_call_and_result() -> None:
    text, changes = prompt_and_changes(
        ALTERNATING, user("a"), assistant("", call("call_xyz")), result("b", "call_xyz")
    )
    ids = re.findall(r"\[(?:CALL|RESULT)\]([A-Za-z0-9]{9}):", text)
    assert len(ids) == 2
    assert len(set(ids)) == 1
    assert changes == ("rewrote_ids",)


def test_ids_that_fit_are_kept() -> None:
    messages = (user("a"), assistant("", call("abcdefghi")), result("b", "abcdefghi"))
    assert normalized(ALTERNATING, *messages).changes == ()


def test_missing_ids_are_made_up_in_order() -> None:
    both = assistant("", call(None), call(None))
    text, _ = prompt_and_changes(ALTERNATING, user("a"), both, result("b", None), result("c", None))
    calls = re.findall(r"\[CALL\](\w+):", text)
    assert len(set(calls)) == 2
    assert re.findall(r"\[RESULT\](\w+):", text) == calls


def test_ids_carry_name_and_number_where_the_template_writes_them_as_the_name() -> None:
    text, _ = prompt_and_changes(ID_AS_NAME, user("a"), assistant("", call()), result("b"))
    assert text == ('[user]a[assistant]<functions.look:0>{"at": "sea"}[tool]b of functions.look:0')


def test_a_user_after_a_result_gets_an_answer_in_between_where_roles_must_alternate() -> None:
    messages = (user("a"), assistant("", call("abcdefghi")), result("b", "abcdefghi"), user("c"))
    text, changes = prompt_and_changes(ALTERNATING, *messages)
    assert text.endswith("b[assistant]OK.[user]c")
    assert changes == ("answered_tool",)


def test_calls_and_results_become_text_where_the_template_drops_them() -> None:
    text, changes = prompt_and_changes(DROPPING, user("a"), assistant("b", call()), result("c"))
    assert text == (
        "user: a|assistant: b\n"
        '<tool_call>\n{"name": "look", "arguments": {"at": "sea"}}\n</tool_call>|'
        "user: <tool_response>\nc\n</tool_response>|"
    )
    assert changes == ("tool_calls_to_text", "tool_to_user")


def test_results_without_a_call_become_text_where_refused() -> None:
    text, changes = prompt_and_changes(STRICT_CALLED, user("a"), result("b"))
    assert text == "[user]a[user]<tool_response>\nb\n</tool_response>"
    assert changes == ("tool_to_user",)


def test_several_calls_are_made_one_by_one_where_only_one_is_taken() -> None:
    both = assistant("", call("c1", {"at": "sea"}), call("c2", {"at": "home"}))
    text, changes = prompt_and_changes(ONE_CALL, user("a"), both, result("r2", "c2"),
                                       result("r1", "c1"))  # fmt: skip
    assert text == '[user]a{call look {"at": "sea"}}[tool]r1{call look {"at": "home"}}[tool]r2'
    assert "split_tool_calls" in changes


def test_results_come_in_the_order_of_their_calls_where_ids_are_not_shown() -> None:
    both = assistant("", call("c1"), call("c2"))
    messages = (user("a"), both, result("r2", "c2"), result("r1", "c1"), user("b"))
    conversation = normalized(SYSTEM_FIRST, *messages)
    assert [m.content for m in conversation.messages] == ["a", "", "r1", "r2", "b"]
    assert conversation.changes == ("sorted_tool_results",)


def test_thought_and_content_are_joined_where_only_one_is_taken_beside_calls() -> None:
    message = assistant("b", call(), reasoning="hm")
    text, changes = prompt_and_changes(ONE_THOUGHT, user("a"), message)
    assert text.startswith("[user]a[assistant]hm\n\nb<")
    assert changes == ("merged_reasoning",)


def test_results_carry_the_name_of_their_call() -> None:
    conversation = normalized(SYSTEM_FIRST, user("a"), assistant("", call()), result("b"))
    assert conversation.messages[-1].name == "look"


def test_tools_are_left_out_and_reported_where_the_template_does_not_write_them() -> None:
    conversation = MessageNormalizer(chat_template(ANYTHING)).normalize([user("a")], [LOOK])
    assert conversation.tools == ()
    assert conversation.changes == ("tools_dropped",)


def test_tools_stay_where_the_template_writes_them() -> None:
    conversation = MessageNormalizer(chat_template(SYSTEM_FIRST)).normalize([user("a")], [LOOK])
    assert conversation.tools == (LOOK,)


def test_arguments_nested_too_deep_are_a_400() -> None:
    deep: dict[str, Any] = {}
    for _ in range(5000):
        deep = {"a": deep}
    message = assistant("", ToolCall(id="c", name="look", arguments=deep))
    with pytest.raises(InvalidRequest, match="nested too deep"):
        normalized(DROPPING, user("a"), message)


def test_a_change_is_reported_once() -> None:
    messages = (user("a"), assistant(""), user("b"), assistant(""))
    changes = normalized(ALTERNATING, *messages).changes
    assert changes.count("dropped_empty_assistant") == 1


CONVERSATIONS = {
    "developer": [Message(role="developer", content="a"), user("b")],
    "late system": [system("a"), user("b"), assistant("c"), system("d"), user("e")],
    "same role twice": [user("a"), user("b"), assistant("c"), assistant("d")],
    "empty ending": [user("a"), assistant("")],
    "null content": [user("a"), assistant(None, call()), result("b"), user("c")],
    "two calls": [user("a"), assistant("b", call("1"), call("2")), result("c", "2")],
    "broken arguments": [user("a"), assistant(None, call(arguments="{")), result("b")],
}
TEMPLATES = {
    "default": DEFAULT_TEMPLATE,
    "system first": SYSTEM_FIRST,
    "no system": NO_SYSTEM,
    "alternating": ALTERNATING,
    "dropping": DROPPING,
    "one call": ONE_CALL,
    "text arguments": TEXT_ARGUMENTS,
    "id as name": ID_AS_NAME,
    "one thought": ONE_THOUGHT,
    "strictly called": STRICT_CALLED,
}


@pytest.mark.parametrize("conversation", CONVERSATIONS)
@pytest.mark.parametrize("source", TEMPLATES)
def test_every_conversation_renders_on_every_template(source: str, conversation: str) -> None:
    prompt_and_changes(TEMPLATES[source], *CONVERSATIONS[conversation])


@pytest.mark.parametrize("conversation", CONVERSATIONS)
@pytest.mark.parametrize("source", TEMPLATES)
def test_a_repaired_conversation_needs_no_further_repair(source: str, conversation: str) -> None:
    once = normalized(TEMPLATES[source], *CONVERSATIONS[conversation])
    assert normalized(TEMPLATES[source], *once.messages).messages == once.messages

from __future__ import annotations

from llmd.chat.prompt.abilities import probe_abilities
from llmd.chat.prompt.default_template import DEFAULT_TEMPLATE
from llmd.chat.prompt.template import ChatTemplate


def chat_template(source: str) -> ChatTemplate:
    return ChatTemplate(source, bos_token="", eos_token="")


def test_the_default_template_takes_any_role_but_no_tools() -> None:
    abilities = probe_abilities(chat_template(DEFAULT_TEMPLATE))
    assert abilities.system and abilities.late_system and abilities.users_in_a_row
    assert not abilities.tools
    assert abilities.call_shape is None


def test_a_template_that_prints_any_role_does_not_know_developer() -> None:
    assert not probe_abilities(chat_template(DEFAULT_TEMPLATE)).developer


def test_text_that_is_dropped_counts_as_refused() -> None:
    source = "{% for m in messages if m.role != 'system' %}{{ m.content }}{% endfor %}"
    assert not probe_abilities(chat_template(source)).system


def test_a_template_that_changes_the_case_still_writes_the_text() -> None:
    source = "{% for m in messages %}{{ m.content | upper }}{% endfor %}"
    assert probe_abilities(chat_template(source)).system


def test_arguments_in_python_spelling_count_as_unwritten() -> None:
    source = (
        "{% for m in messages %}{{ m.content }}{% for c in m.tool_calls or [] %}"
        "{{ c.function.name }}({{ c.function.arguments }}){% endfor %}{% endfor %}"
    )
    shape = probe_abilities(chat_template(source)).call_shape
    assert shape is not None
    assert shape.has_text_arguments

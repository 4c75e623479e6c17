from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import cache
from typing import Any

import pytest
from conversation_messages import AGAIN, ANSWER, ASK, CALL, CLOCK, RESULT
from templates import CHATML, GEMMA, LLAMA, MISTRAL, TEMPLATES

from llmd.chat.prompt.layout import (
    NUM_ENDS_KEPT,
    OTHER_TEXT,
    LayoutFinder,
    RenderedConversation,
    TextLayout,
    num_common,
)
from llmd.chat.prompt.normalizer import MessageNormalizer
from llmd.chat.prompt.template import ChatTemplate, RenderedPrompt
from llmd.core.message import Message, Tool

SYSTEM = Message(role="system", content="Be brief.")


class Chat:
    """A template that counts how often it renders, and what finds the layouts of its prompts."""

    def __init__(self, source: str) -> None:
        self.template, self.normalizer = compiled(source)
        self.finder = LayoutFinder(self.template, self.normalizer)

    def prompt(
        self, *messages: Message, tools: Sequence[Tool] = (), **kwargs: Any
    ) -> RenderedConversation:
        fitted = self.normalizer.normalize(messages, tools)
        last = fitted.messages[-1]
        continues = last.role == "assistant" and not last.tool_calls
        return RenderedConversation(
            text=self.template.render(
                fitted.messages, fitted.tools, kwargs, continue_final_message=continues
            ).text,
            sent=messages,
            fitted=fitted.messages,
            tools=fitted.tools,
            template_kwargs=kwargs,
            continues_answer=continues,
        )

    def parts(self, *messages: Message, **options: Any) -> list[str]:
        """The prompt's text, cut at the ends of its messages."""
        prompt = self.prompt(*messages, **options)
        return cut(prompt.text, self.finder.find(prompt))

    def num_rendered(self, *messages: Message, with_tools: bool = False, **options: Any) -> int:
        """How often finding the layout renders."""
        prompt = self.prompt(*messages, **options)
        before = self.template.num_rendered
        self.finder.find(prompt, with_tools=with_tools)
        return self.template.num_rendered - before


class CountingTemplate(ChatTemplate):
    num_rendered = 0
    now = datetime(2024, 7, 26)

    def render(self, *arguments: Any, **options: Any) -> RenderedPrompt:
        self.num_rendered += 1
        return super().render(*arguments, **options)


@cache
def compiled(source: str) -> tuple[CountingTemplate, MessageNormalizer]:
    template = CountingTemplate(
        source, bos_token="<s>", eos_token="</s>", clock=lambda: CountingTemplate.now
    )
    return template, MessageNormalizer(template)


def cut(text: str, layout: TextLayout) -> list[str]:
    bounds = [0, *layout.message_ends, len(text)]
    return [text[start:end] for start, end in zip(bounds, bounds[1:], strict=False)]


@pytest.fixture(params=TEMPLATES)
def chat(request: pytest.FixtureRequest) -> Chat:
    return Chat(TEMPLATES[request.param])


def test_chatml_is_cut_after_the_system_prompt_and_before_the_answer() -> None:
    assert Chat(CHATML).parts(SYSTEM, ASK) == [
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n",
        "How late is it?<|im_end|>\n",
        "<|im_start|>assistant\n<think>\n",
    ]


def test_the_last_users_turn_ends_before_the_calls() -> None:
    *_, user, calls, opening = Chat(CHATML).parts(SYSTEM, ASK, ANSWER, AGAIN, CALL, RESULT)
    assert user.endswith("🕛<|im_end|>\n")
    assert calls.startswith("<|im_start|>assistant\n<think>\nThe clock knows.")
    assert calls.endswith("<|im_start|>tool\n12:00<|im_end|>\n")
    assert opening == "<|im_start|>assistant\n<think>\n"


def test_llama_is_cut_within_its_headers() -> None:
    assert Chat(LLAMA).parts(SYSTEM, ASK) == [
        "<s><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\n",
        "How late is it?<|eot_id|>",
        "<|start_header_id|>assistant<|end_header_id|>\n\n",
    ]


def test_a_system_prompt_within_the_users_message_is_shared_as_well() -> None:
    assert Chat(GEMMA).parts(SYSTEM, ASK) == [
        "<s><start_of_turn>user\nBe brief.\n",
        "How late is it?<end_of_turn>\n",
        "<start_of_turn>model\n",
    ]


def test_where_nothing_opens_an_answer_the_last_message_ends_the_prompt() -> None:
    chat = Chat(MISTRAL)
    for _ in range(2):
        assert chat.parts(SYSTEM, ASK, ANSWER, AGAIN) == [
            "<s>[INST] Be brief.\n\n",
            "How late is it? [/INST]Noon.</s>[INST] Ünd jetzt, 時間は? 🕛 [/INST]",
            "",
        ]


def test_tools_that_move_on_with_the_user_are_not_kept() -> None:
    chat = Chat(MISTRAL)
    for _ in range(2):
        parts = chat.parts(SYSTEM, ASK, ANSWER, AGAIN, tools=[CLOCK])
        assert parts[:2] == ["<s>[", "INST] Be brief.\n\nHow late is it? [/INST]Noon.</s>["]
        assert parts[2].startswith("AVAILABLE_TOOLS]")


def test_the_next_turn_begins_alike_up_to_the_last_end(chat: Chat) -> None:
    conversation = [SYSTEM, ASK]
    for tools in ((), (CLOCK,)):
        for _ in range(3):
            prompt = chat.prompt(*conversation, tools=tools)
            end = chat.finder.find(prompt).message_ends[-1]
            conversation += [ANSWER, AGAIN]
            assert chat.prompt(*conversation, tools=tools).text.startswith(prompt.text[:end])


def test_other_conversations_begin_alike_up_to_the_first_end(chat: Chat) -> None:
    other = chat.prompt(SYSTEM, AGAIN)
    for conversation in ([ASK], [ASK, ANSWER, AGAIN], [ANSWER, ASK]):
        prompt = chat.prompt(SYSTEM, *conversation)
        end = chat.finder.find(prompt).message_ends[0]
        assert other.text.startswith(prompt.text[:end])


def test_dropped_thoughts_branch_off_at_the_last_users_turn() -> None:
    chat = Chat(CHATML)
    first = chat.prompt(SYSTEM, ASK, CALL, RESULT)
    later = chat.prompt(SYSTEM, ASK, CALL, RESULT, ANSWER, AGAIN)
    ends = chat.finder.find(first).message_ends
    assert not later.text.startswith(first.text[: ends[2]])
    assert later.text.startswith(first.text[: ends[1]])


def test_a_beginning_of_the_answer_belongs_to_what_opens_it() -> None:
    *_, asked, opening = Chat(CHATML).parts(SYSTEM, ASK, Message(role="assistant", content="It"))
    assert asked == "How late is it?<|im_end|>\n"
    assert opening == "<|im_start|>assistant\nIt"


def test_nothing_before_the_user_is_no_end() -> None:
    source = "{% for m in messages %}{{ m.content }}\n{% endfor %}"
    assert Chat(source).parts(ASK) == ["How late is it?\n", ""]


def test_keyword_arguments_have_their_own_ends() -> None:
    source = "{{ mood or '' }}:" + CHATML
    chat = Chat(source)
    assert chat.parts(ASK, mood="merry")[0] == "merry:<|im_start|>user\n"
    assert chat.parts(ASK)[0] == ":<|im_start|>user\n"


def test_a_late_system_message_ends_the_shared_part_early() -> None:
    chat = Chat(CHATML)
    late = Message(role="system", content="Be loud.")
    for _ in range(2):
        parts = chat.parts(SYSTEM, ASK, ANSWER, late, AGAIN)
        assert parts[0] == "<|im_start|>system\nBe brief."
        assert chat.parts(SYSTEM, ASK)[0].endswith("Be brief.<|im_end|>\n<|im_start|>user\n")


@pytest.mark.parametrize("name", ["chatml", "llama", "mistral"])
def test_the_tools_span_holds_their_definitions(name: str) -> None:
    chat = Chat(TEMPLATES[name])
    for conversation in ([SYSTEM, ASK], [SYSTEM, ASK, CALL, RESULT, ANSWER, AGAIN]):
        prompt = chat.prompt(*conversation, tools=[CLOCK])
        span = chat.finder.find(prompt, with_tools=True).tools
        assert span is not None
        written = prompt.text[slice(*span)]
        assert '"name": "clock"' in written and '"description": "Ticks."' in written
        assert "Be brief" not in written and "How late" not in written


def test_without_tools_there_is_no_span() -> None:
    chat = Chat(CHATML)
    assert chat.finder.find(chat.prompt(SYSTEM, ASK), with_tools=True).tools is None
    gemma = Chat(GEMMA)
    prompt = gemma.prompt(SYSTEM, ASK, tools=[CLOCK])
    assert gemma.finder.find(prompt, with_tools=True).tools is None


def test_a_conversation_under_way_renders_nothing_more(chat: Chat) -> None:
    conversation = [SYSTEM, ASK]
    assert chat.num_rendered(*conversation) <= 3
    conversation += [CALL, RESULT]
    chat.num_rendered(*conversation)
    for message in (CALL, ANSWER):
        for _ in range(3):
            conversation += [message, RESULT if message.tool_calls else AGAIN]
            assert chat.num_rendered(*conversation) == 0


def test_another_conversation_renders_nothing_more(chat: Chat) -> None:
    chat.num_rendered(SYSTEM, ASK)
    assert chat.num_rendered(SYSTEM, AGAIN) == 0


def test_another_system_prompt_is_rendered_once(chat: Chat) -> None:
    chat.num_rendered(SYSTEM, ASK)
    other = Message(role="system", content="Talk a lot.")
    assert chat.num_rendered(other, ASK) == 1
    assert chat.num_rendered(other, AGAIN) == 0


def test_the_span_of_the_tools_costs_one_rendering_and_only_when_asked_for() -> None:
    chat = Chat(CHATML)
    chat.num_rendered(SYSTEM, ASK, tools=[CLOCK])
    assert chat.num_rendered(SYSTEM, ASK, tools=[CLOCK]) == 0
    assert chat.num_rendered(SYSTEM, ASK, tools=[CLOCK], with_tools=True) == 1


def test_what_was_found_is_forgotten_when_much_else_is_found() -> None:
    chat = Chat(CHATML)
    chat.num_rendered(SYSTEM, ASK)
    for number in range(NUM_ENDS_KEPT):
        chat.num_rendered(Message(role="system", content=f"Be {number}."), ASK)
    assert chat.num_rendered(SYSTEM, ASK) == 1


def test_a_beginning_that_changes_by_itself_is_looked_at_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    chat = Chat("{{ strftime_now('%A') }}:" + CHATML)
    for day in (1, 3):
        monkeypatch.setattr(CountingTemplate, "now", datetime(2024, 7, day))
        assert chat.parts(SYSTEM, ASK)[0].endswith("Be brief.<|im_end|>\n<|im_start|>user\n")


def test_a_template_that_refuses_another_conversation_has_no_system_end() -> None:
    chat = Chat("{{ raise_exception('no') if 'zqother' in messages[-1].content }}" + CHATML)
    prompt = chat.prompt(SYSTEM, ASK)
    (end,) = chat.finder.find(prompt).message_ends
    assert prompt.text[end:] == "<|im_start|>assistant\n<think>\n"


def test_a_template_that_refuses_a_closed_conversation_has_no_last_end() -> None:
    chat = Chat("{{ raise_exception('no') if not add_generation_prompt }}" + CHATML)
    assert chat.parts(SYSTEM, ASK, CALL, RESULT)[0].endswith("<|im_start|>user\n")
    assert len(chat.parts(SYSTEM, ASK, CALL, RESULT)) == 2


def test_a_template_that_refuses_the_next_turn_has_its_last_end() -> None:
    chat = Chat("{{ raise_exception('no') if messages | length > 2 }}" + CHATML)
    assert len(chat.parts(SYSTEM, ASK)) == 3


def test_a_template_that_refuses_to_do_without_tools_has_no_span() -> None:
    chat = Chat("{{ raise_exception('no') if messages | length > 3 and not tools }}" + CHATML)
    prompt = chat.prompt(SYSTEM, ASK, CALL, RESULT, tools=[CLOCK])
    layout = chat.finder.find(prompt, with_tools=True)
    assert layout.tools is None and len(layout.message_ends) == 3


def test_an_empty_conversation_has_no_last_end() -> None:
    chat = Chat("Say something.{% for m in messages %}{{ m.content }}{% endfor %}")
    prompt = RenderedConversation(
        text="Say something.", sent=(), fitted=(), tools=(), template_kwargs={}
    )
    assert chat.finder.find(prompt).message_ends == (len("Say something."),)


def test_text_that_spells_the_other_text_is_no_boundary() -> None:
    message = Message(role="user", content=f"{OTHER_TEXT} indeed")
    assert Chat(CHATML).parts(SYSTEM, message)[1] == f"{OTHER_TEXT} indeed<|im_end|>\n"


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [("", "", 0), ("abc", "abd", 2), ("abc", "abc", 3), ("ab", "abc", 2), ("x", "y", 0)],
)
def test_what_two_texts_begin_with_alike(first: str, second: str, expected: int) -> None:
    assert num_common(first, second) == num_common(second, first) == expected

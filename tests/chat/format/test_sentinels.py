from __future__ import annotations

import pytest
from dialects import DIALECTS, FRAMES, RELUCTANT
from templates import CHATML, GEMMA

from llmd.chat.format.sentinels import ANSWER, THOUGHT, CallForm, Sentinels
from llmd.chat.prompt.template import ChatTemplate


def sentinels(source: str) -> Sentinels:
    return Sentinels(ChatTemplate(source, bos_token="", eos_token=""))


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("one call only", CallForm()),
        ("arguments must be text", CallForm(has_text_arguments=True)),
        ("calls beside null content only", CallForm(content=None)),
        ("calls before their results only", CallForm(needs_results=True)),
    ],
)
def test_the_form_of_calls_that_a_template_writes(name: str, form: CallForm) -> None:
    assert sentinels(RELUCTANT[name]).call_form() == form


def test_a_template_without_calls_has_no_form_of_them() -> None:
    assert sentinels(GEMMA).call_form() is None


def test_texts_begin_behind_the_users_words() -> None:
    assert sentinels(CHATML).prompt() == "<|im_end|>\n<|im_start|>assistant\n<think>\n"
    assert sentinels(CHATML).answer(thought=THOUGHT) == (
        f"<|im_end|>\n<|im_start|>assistant\n<think>\n{THOUGHT}\n</think>\n{ANSWER}<|im_end|>\n"
    )


def test_an_answer_may_have_to_be_followed_by_the_user() -> None:
    answer = sentinels(RELUCTANT["the user speaks last"]).answer()
    assert answer is not None and ANSWER in answer


def test_calls_that_are_not_written_in_full_are_not_there() -> None:
    assert sentinels(GEMMA).calls(CallForm(), ()) is not None
    assert sentinels(RELUCTANT["one call only"]).call_form() is not None


def test_thoughts_of_earlier_calls() -> None:
    assert sentinels(FRAMES["written thought"]).writes_thoughts(CallForm())
    assert not sentinels(DIALECTS["hermes"]).writes_thoughts(CallForm())

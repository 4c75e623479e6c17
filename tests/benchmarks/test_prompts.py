from __future__ import annotations

from pathlib import Path

import pytest
from conversation import Sizes, agent_turns
from prompts import KnownPrompts, PromptEncoder
from zoo.llama import write_llama


def test_what_was_never_seen_is_new() -> None:
    assert KnownPrompts().num_new([1, 2, 3]) == 3


def test_what_lies_behind_the_longest_known_beginning_is_new() -> None:
    known = KnownPrompts()
    known.add([1, 2, 9, 9])
    known.add([1, 2, 3, 9])
    assert known.num_new([1, 2, 3, 4, 5]) == 2


def test_a_prompt_seen_before_has_one_new_token() -> None:
    known = KnownPrompts()
    known.add([1, 2, 3])
    assert known.num_new([1, 2, 3]) == known.num_new([1, 2]) == 1


@pytest.mark.gguf
def test_special_tokens_are_one_token(encoder: PromptEncoder) -> None:
    plain = encoder.encode([{"role": "user", "content": "the"}])
    answered = encoder.encode([{"role": "user", "content": "the"}], answer="<|im_end|>")
    assert answered[:-1] == plain


@pytest.mark.gguf
def test_an_agent_adds_to_its_prompt_and_changes_none_of_it(encoder: PromptEncoder) -> None:
    sizes = Sizes(num_turns=3, system=20, question=10, call=5, result=20)
    turns = [turn for turn in agent_turns(sizes, 0) if turn.actor == "agent 1"]
    prompts = [encoder.encode(turn.messages, turn.tools) for turn in turns]
    for before, after in zip(prompts, prompts[1:], strict=False):
        assert after[: len(before)] == before


@pytest.mark.gguf
def test_a_file_that_is_no_model_is_named(tmp_path: Path) -> None:
    path = tmp_path / "no.gguf"
    path.write_bytes(b"GGUF")
    with pytest.raises(ValueError, match="no.gguf is no model"):
        PromptEncoder(path)


@pytest.mark.gguf
def test_a_model_without_a_template_is_refused(tmp_path: Path) -> None:
    path = write_llama(tmp_path / "raw.gguf", chat_template=None)
    with pytest.raises(ValueError, match="has no chat template"):
        PromptEncoder(path)

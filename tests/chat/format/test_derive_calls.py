from __future__ import annotations

import pytest
from dialects import FRAMES, JSON_OBJECTS, NAMED_JSON, RELUCTANT, dialect, each_call

from llmd.chat.format.derive_calls import CallDerivation, DerivedCalls
from llmd.chat.format.sentinels import Sentinels
from llmd.chat.prompt.template import ChatTemplate


def derive(source: str, begin: str = "<|im_end|>\n<|im_start|>assistant\n") -> DerivedCalls | None:
    sentinels = Sentinels(ChatTemplate(source, bos_token="", eos_token=""))
    form = sentinels.call_form()
    assert form is not None
    return CallDerivation(sentinels, form, source).derive((begin,), ("<|im_end|>",), "")


def test_calls_may_end_a_turn_in_their_own_way() -> None:
    source = dialect(each_call("<call>NAME:ARGUMENTS</call>") + "{{- '<eom>' if m.tool_calls -}}")
    derived = derive(source)
    assert derived is not None and derived.ends == ("<eom>",)


def test_what_joins_text_and_calls() -> None:
    derived = derive(FRAMES["calls are a message of their own"], "<|im_end|>\n<|bot|>")
    assert derived is not None and derived.joints == ("<|eom|><|bot|>",)
    plain = derive(JSON_OBJECTS["array"])
    assert plain is not None and plain.joints == ()


def test_what_joins_calls_that_are_messages_of_their_own() -> None:
    derived = derive(NAMED_JSON["messages to a recipient"], "<|im_end|>\n<|im_start|>assistant")
    assert derived is not None
    assert derived.joints[-1] == "<|im_end|>\n<|im_start|>assistant"


def test_one_call_is_enough_to_derive_from() -> None:
    assert derive(RELUCTANT["one call only"]) is not None


@pytest.mark.parametrize(
    "call", ['{"name": "NAME", "arguments": ARGUMENTS}', "NAME ARGUMENTS", "[NAME: ARGUMENTS]"]
)
def test_calls_without_a_marker_in_front_are_none(call: str) -> None:
    assert derive(dialect(each_call(call))) is None

"""Which family a template belongs to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from llmd.chat.answer.syntax import ThoughtSyntax
from llmd.chat.calls.attribute_tags import KIMI_K3, dsml
from llmd.chat.calls.deepseek import DeepSeekCalls
from llmd.chat.calls.gemma4 import Gemma4Calls
from llmd.chat.calls.kimi_k2 import KimiK2Calls
from llmd.chat.calls.minimax_m3 import MiniMaxM3Calls
from llmd.chat.calls.pythonic import PythonicCalls
from llmd.chat.families.family import Family
from llmd.chat.families.functionary import Functionary32
from llmd.chat.families.harmony import Harmony
from llmd.chat.families.json_arrays import (
    COHERE,
    COMMAND_R_PLUS,
    GIGACHAT_3,
    GRANITE_3,
    NEMOTRON_V2,
    PHI_4_MINI,
)
from llmd.chat.families.llama3 import LLAMA_4, Llama3
from llmd.chat.families.muse import Muse

_THINK = ThoughtSyntax("<think>", "</think>")


def family_for(source: str) -> Family | None:
    """The family of the template with this source; None where all is to be derived. A family is
    known by markers that its models cannot do without, not by whole lines.
    """
    for entry in _FAMILIES:
        if entry.fits(source):
            return entry.make(source)
    return None


@dataclass(frozen=True, slots=True)
class _Entry:
    """A family whose templates have all of `markers`, and none of `others`."""

    make: Callable[[str], Family]
    markers: tuple[str, ...]
    others: tuple[str, ...] = ()

    def fits(self, source: str) -> bool:
        return all(marker in source for marker in self.markers) and not any(
            other in source for other in self.others
        )


def _kimi_k3(source: str) -> Family:
    return Family(
        "kimi-k3",
        calls=KIMI_K3,
        thought=ThoughtSyntax("<|open|>think<|sep|>", "<|close|>think<|sep|>"),
        content=("<|open|>response<|sep|>", "<|close|>response<|sep|>"),
        ends=("<|close|>message<|sep|>", "<|end_of_msg|>"),
    )


def _function_gemma(source: str) -> Family:
    markers = ("<start_function_call>", "<end_function_call>")
    return Family(
        "function-gemma",
        calls=Gemma4Calls(markers, quote="<escape>"),
        ends=("<start_function_response>", "<end_of_turn>"),
    )


def _gemma4(source: str) -> Family:
    return Family(
        "gemma4",
        calls=Gemma4Calls(),
        thought=ThoughtSyntax("<|channel>thought", "<channel|>", "<|channel>thought\n"),
        noise=("<channel|>", "<|channel>thought", "<|channel>"),
        ends=("<|tool_response>", "<turn|>"),
    )


def _deepseek(source: str) -> Family:
    thought = _THINK if "think>" in source else None
    return Family("deepseek", calls=DeepSeekCalls("```json" in source), thought=thought)


def _dsml(source: str) -> Family:
    # V3.2 says the one, V4 the other.
    return Family(
        "dsml", calls=dsml("function_calls" if "function_calls" in source else "tool_calls")
    )


def _lfm2(source: str) -> Family:
    return Family("lfm2", calls=PythonicCalls(), thought=_THINK if "think>" in source else None)


def _cohere(source: str) -> Family:
    word = "TEXT" if "<|START_TEXT|>" in source else "RESPONSE"
    return Family(
        "cohere",
        calls=COHERE,
        thought=ThoughtSyntax("<|START_THINKING|>", "<|END_THINKING|>"),
        content=(f"<|START_{word}|>", f"<|END_{word}|>"),
    )


def _command_r_plus(source: str) -> Family:
    return Family(
        "command-r-plus",
        calls=COMMAND_R_PLUS,
        ends=("<|END_OF_TURN_TOKEN|>",),
        noise=("<|CHATBOT_TOKEN|>",),
    )


def _granite_3(source: str) -> Family:
    return Family(
        "granite-3", calls=GRANITE_3, thought=_THINK, content=("<response>", "</response>")
    )


# The first ones of Kimi-K2 do not think, but what a client prefilled as a thought is one.
_FAMILIES = (
    _Entry(lambda _: Family("harmony", whole=Harmony()), ("<|channel|>", "<|message|>")),
    _Entry(lambda _: Family("muse", whole=Muse()), ("<|message|>", "atem:")),
    _Entry(lambda _: Family("functionary", whole=Functionary32()), ("to:recipient==all", ">>>")),
    _Entry(_kimi_k3, ("<|open|>", "<|close|>", "<|sep|>")),
    _Entry(
        lambda _: Family("kimi-k2", calls=KimiK2Calls(), thought=_THINK),
        ("<|tool_call_begin|>", "<|tool_call_argument_begin|>"),
    ),
    _Entry(_function_gemma, ("<start_function_call>", "<escape>")),
    _Entry(_gemma4, ('<|"|>', "<|tool_call>")),
    _Entry(lambda _: Family("minimax-m3", calls=MiniMaxM3Calls()), ("]<]minimax[>[",)),
    _Entry(_dsml, ("｜DSML｜",)),
    _Entry(_deepseek, ("<｜tool▁call▁begin｜>", "<｜tool▁sep｜>")),
    _Entry(_lfm2, ("<|tool_call_start|>",)),
    _Entry(_lfm2, ("List of tools: ", "<|im_start|>"), ("<tool_call>",)),
    _Entry(_cohere, ("<|START_ACTION|>",)),
    _Entry(_command_r_plus, ("Action:", '"tool_name": ', "<|CHATBOT_TOKEN|>")),
    _Entry(lambda _: Family("nemotron-v2", calls=NEMOTRON_V2, thought=_THINK), ("<TOOLCALL>",)),
    _Entry(_granite_3, ("<|tool_call|> followed by a JSON list",)),
    _Entry(lambda _: Family("phi-4-mini", calls=PHI_4_MINI), ("<|tool|>", "<|/tool|>")),
    _Entry(
        lambda _: Family("gigachat-3", calls=GIGACHAT_3),
        ("<|role_sep|>", "<|message_sep|>", "function call"),
        ("<|function_call|>",),
    ),
    _Entry(lambda _: Family("llama-4", whole=LLAMA_4), ("<|header_start|>", "<|python_start|>")),
    _Entry(
        lambda _: Family("llama-3", whole=Llama3()),
        ("<|start_header_id|>", "<|eot_id|>", '{"name": ', '"parameters": '),
        ("<tool_call>", "<function=", "functools["),
    ),
)

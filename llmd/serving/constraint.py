"""What an answer is held to, from what its request asks for."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any, assert_never

from llmd.chat.answer.syntax import AnswerSyntax
from llmd.chat.grammar import FinalText, answer_grammar, json_text
from llmd.chat.json_schema import loosen_schema, normalize_schema
from llmd.chat.notation import unheld_part
from llmd.core.grammar import GrammarSource
from llmd.core.message import Tool
from llmd.core.request import (
    AnswerFormat,
    ChatPrompt,
    Gbnf,
    GenerateRequest,
    JsonObject,
    JsonSchema,
    Prompt,
    ToolChoiceMode,
)
from llmd.engine.gbnf import gbnf_to_lark
from llmd.engine.grammar import CompiledGrammar
from llmd.errors import InvalidRequest, Unsupported
from llmd.registry.instance import ModelInstance

MAX_KEPT_CHARACTERS = 50_000
"""Of a schema whose normal form is kept: agents send the same tools with every request."""

MAX_CHARACTERS_ON_LOOP = 4_000
"""Of the schemas of a request: more of them are worked on beside the event loop."""

NO_PARAMETERS: dict[str, Any] = {"type": "object", "properties": {}}


@dataclass(frozen=True, slots=True)
class AnswerConstraint:
    """The grammar of an answer, None where it is free. `loosened` are the places of what was left
    out of schemas that are not strict, as `tools.0.function.parameters#/properties/x/uniqueItems`.
    """

    source: GrammarSource | None = None
    loosened: tuple[str, ...] = ()


def constrain(
    prompt: Prompt,
    answer_format: AnswerFormat | None,
    *,
    syntax: AnswerSyntax,
    in_thought: bool,
) -> AnswerConstraint:
    """What the answer to `prompt` is held to; `in_thought`: it ends inside a thought. Raises
    InvalidRequest or Unsupported, naming the field, where a schema or grammar of a client's is
    wrong or cannot be enforced, or where this model cannot be made to call a tool.
    """
    loosened: list[str] = []
    if not isinstance(prompt, ChatPrompt):
        final = _final(answer_format, loosened)
        return AnswerConstraint(_alone(final), tuple(loosened))
    needs_call = prompt.tool_choice.mode in (ToolChoiceMode.REQUIRED, ToolChoiceMode.NAMED)
    if prompt.messages[-1:] and prompt.messages[-1].role == "assistant":
        if (answer_format is not None or needs_call) and not prompt.messages[-1].tool_calls:
            raise Unsupported(
                "the last message begins the answer, and what goes on from there cannot be held "
                "to a form of its own. Leave that message out, or ask for free text.",
                param="messages",
            )
    tools: Sequence[Tool] = ()
    if prompt.tool_choice.mode is not ToolChoiceMode.NONE:
        tools = [
            _with_normal_parameters(number, tool, syntax, loosened)
            for number, tool in enumerate(prompt.tools)
        ]
    final = None if needs_call else _final(answer_format, loosened)
    source = answer_grammar(
        syntax,
        tools,
        prompt.tool_choice,
        many=prompt.parallel_tool_calls,
        final=final,
        in_thought=in_thought,
        may_think=prompt.thinking.enabled is not False,
    )
    return AnswerConstraint(source, tuple(loosened))


def _alone(final: FinalText | None) -> GrammarSource | None:
    """The grammar of a text that has nothing around it."""
    if final is None:
        return None
    return GrammarSource("lark", f"start: {final.expression}\n{final.rules}")


def _final(answer_format: AnswerFormat | None, loosened: list[str]) -> FinalText | None:
    match answer_format:
        case None:
            return None
        case JsonObject():
            return json_text({"type": "object"})
        case JsonSchema(schema=schema, param=param, is_strict=is_strict):
            if is_strict:
                return json_text(_normal(schema, param))
            loose, pointers = _loose(schema)
            loosened += (f"{param}{pointer}" for pointer in pointers)
            return json_text(loose)
        case Gbnf(text=text):
            return _gbnf(text)
        case _:
            assert_never(answer_format)


def _gbnf(text: str) -> FinalText:
    """The rules of a GBNF grammar under names that no other rule has."""
    lark = re.sub(r"^start:|\brule_(?=\d)", lambda m: f"gbnf_{m[0]}", gbnf_to_lark(text))
    return FinalText("gbnf_start", lark, is_padded=False)


def _with_normal_parameters(
    number: int, tool: Tool, syntax: AnswerSyntax, loosened: list[str]
) -> Tool:
    """The tool with the schema of its arguments as grammars need it."""
    function = tool.definition["function"]
    param = f"tools.{number}.function.parameters"
    parameters = function.get("parameters")
    if parameters is None:
        parameters = NO_PARAMETERS
    if function.get("strict") is True:
        parameters = _normal(parameters, param, only_objects=True)
        place = unheld_part(syntax, parameters)
        if place is not None:
            raise Unsupported(
                f"this model does not write the arguments of its calls as JSON, and its way cannot "
                f"be held to {param} at {place}. Say it in simpler words, as one type with "
                f'listed properties, or set "strict" to false to go on without it.',
                param=param,
            )
    else:
        parameters, pointers = _loose(parameters, only_objects=True)
        place = unheld_part(syntax, parameters)
        pointers += () if place is None else (place,)
        loosened += (f"{param}{pointer}" for pointer in pointers)
    return replace(
        tool, definition={**tool.definition, "function": {**function, "parameters": parameters}}
    )


def _normal(schema: object, param: str, *, only_objects: bool = False) -> dict[str, Any]:
    text = _key(schema)
    if text is None:
        return normalize_schema(schema, param, only_objects=only_objects)
    return _kept_normal(text, param, only_objects)


def _loose(schema: object, *, only_objects: bool = False) -> tuple[dict[str, Any], tuple[str, ...]]:
    text = _key(schema)
    if text is None:
        return loosen_schema(schema, only_objects=only_objects)
    return _kept_loose(text, only_objects)


def _key(schema: object) -> str | None:
    """The schema as a text, None where it is too large to be kept."""
    try:
        text = json.dumps(schema)
    except RecursionError:
        return None
    return text if len(text) <= MAX_KEPT_CHARACTERS else None


@lru_cache(maxsize=256)
def _kept_normal(text: str, param: str, only_objects: bool) -> dict[str, Any]:
    return normalize_schema(json.loads(text), param, only_objects=only_objects)


@lru_cache(maxsize=256)
def _kept_loose(text: str, only_objects: bool) -> tuple[dict[str, Any], tuple[str, ...]]:
    return loosen_schema(json.loads(text), only_objects=only_objects)


@dataclass(frozen=True, slots=True)
class HeldAnswer:
    """What an answer is held to, and what was `loosened` of schemas that are not strict."""

    grammar: CompiledGrammar | None
    loosened: tuple[str, ...]


async def hold(
    instance: ModelInstance, request: GenerateRequest, *, in_thought: bool
) -> HeldAnswer:
    """`constrain`, compiled for the model's vocabulary; large schemas beside the event loop. All
    prompts of a request are held to the same. Raises as `constrain` does.
    """
    prompt, answer_format = request.prompts[0], request.answer_format
    asked = partial(
        constrain, prompt, answer_format, syntax=instance.format.syntax, in_thought=in_thought
    )
    is_large = _num_characters(prompt, answer_format) > MAX_CHARACTERS_ON_LOOP
    constraint = await asyncio.to_thread(asked) if is_large else asked()
    if constraint.source is None:
        return HeldAnswer(None, constraint.loosened)
    grammars = instance.model.grammars
    try:
        # Compiling takes up to a second, a known one no time.
        grammar = grammars.find(constraint.source) or await asyncio.to_thread(
            grammars.compile, constraint.source
        )
    except InvalidRequest as error:
        error.param = error.param or _param(answer_format)
        raise
    return HeldAnswer(grammar, constraint.loosened)


def _num_characters(prompt: Prompt, answer_format: AnswerFormat | None) -> int:
    """Of the schemas and grammars of a request, roughly."""
    tools = prompt.tools if isinstance(prompt, ChatPrompt) else ()
    return len(repr(answer_format)) + sum(len(repr(tool.definition)) for tool in tools)


def _param(answer_format: AnswerFormat | None) -> str:
    match answer_format:
        case None:
            return "tools"
        case JsonObject():
            return "response_format"
        case JsonSchema(param=param):
            return param
        case Gbnf():
            return "grammar"
        case _:
            assert_never(answer_format)

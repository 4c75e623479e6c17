"""The body of POST /v1/chat/completions."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Literal

import orjson
from pydantic import Field

from llmd.api.json_body import JsonModel
from llmd.api.openai.schema_format import ResponseFormat, read_format
from llmd.api.openai.schema_sampling import SamplingFields
from llmd.api.openai.schema_thinking import ThinkingFields
from llmd.api.openai.schema_tools import ToolChoiceObject, read_tools
from llmd.core.message import Message, ToolCall
from llmd.core.request import ChatPrompt, GenerateRequest
from llmd.errors import InvalidRequest, Unsupported

MAX_TOP_LOGPROBS = 20


class ContentPart(JsonModel):
    type: str
    text: str | None = None


class FunctionCall(JsonModel):
    name: str
    arguments: str | dict[str, Any] = "{}"


class MessageToolCall(JsonModel):
    id: str | None = None
    type: Literal["function"] = "function"
    function: FunctionCall

    def to_core(self) -> ToolCall:
        return ToolCall(
            id=self.id,
            name=self.function.name,
            arguments=parse_arguments(self.function.arguments),
        )


class ChatMessage(JsonModel):
    role: str
    content: str | list[ContentPart | str] | None = None
    name: str | None = None
    tool_calls: list[MessageToolCall] = []
    tool_call_id: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None

    def to_core(self, index: int) -> Message:
        return Message(
            role=self.role,
            content=self._text(index),
            name=self.name,
            reasoning=self.reasoning_content or self.reasoning,
            tool_calls=tuple(call.to_core() for call in self.tool_calls),
            tool_call_id=self.tool_call_id,
        )

    def _text(self, index: int) -> str | None:
        if self.content is None:
            return None if self.tool_calls else ""
        if isinstance(self.content, str):
            return self.content
        texts = []
        for position, part in enumerate(self.content):
            if isinstance(part, str):
                texts.append(part)
            elif part.type in {"text", "input_text", "output_text", "refusal"}:
                texts.append(part.text or "")
            else:
                raise Unsupported(
                    f"this model takes text only, not a content part of type {part.type!r}. "
                    f"Send parts of type 'text'.",
                    param=f"messages.{index}.content.{position}",
                )
        return "\n".join(texts)


class ChatCompletionRequest(ThinkingFields, SamplingFields):
    messages: Annotated[list[ChatMessage], Field(min_length=1)]
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    logprobs: bool = False
    top_logprobs: Annotated[int, Field(ge=0, le=MAX_TOP_LOGPROBS)] | None = None
    tools: list[dict[str, Any]] = []
    functions: Any = None
    tool_choice: Literal["auto", "none", "required"] | ToolChoiceObject = "auto"
    parallel_tool_calls: bool = True
    response_format: ResponseFormat | None = None

    def to_core(self, *, tenant: str = "") -> GenerateRequest:
        """Raises InvalidRequest or Unsupported, naming the field."""
        limit = self.token_limit()
        if limit == 0:
            raise InvalidRequest("max_tokens is 0. Ask for at least 1 token.", param="max_tokens")
        if self.max_completion_tokens is not None and self.n_predict is None:
            limit = self.max_completion_tokens
        if self.top_logprobs is not None and not self.logprobs:
            raise InvalidRequest(
                "top_logprobs needs logprobs. Set logprobs to true.", param="top_logprobs"
            )
        return replace(
            self.generate(self._prompt(), tenant=tenant),
            max_tokens=limit,
            top_logprobs=(self.top_logprobs or 0) if self.logprobs else None,
            answer_format=read_format(self.response_format, self.grammar, self.json_schema),
        )

    def _prompt(self) -> ChatPrompt:
        messages = tuple(m.to_core(index) for index, m in enumerate(self.messages))
        if self.functions:
            raise Unsupported(
                "functions are called tools today. Send them as 'tools', and 'tool_choice' in the "
                "place of 'function_call'.",
                param="functions",
            )
        tools, tool_choice = read_tools(self.tools, self.tool_choice)
        return ChatPrompt(
            messages=messages,
            tools=tools,
            tool_choice=tool_choice,
            parallel_tool_calls=self.parallel_tool_calls,
            thinking=self.thinking_wish(),
            splits_thoughts=self.splits_thoughts,
            template_kwargs=self.chat_template_kwargs,
        )


def parse_arguments(arguments: str | dict[str, Any]) -> dict[str, Any] | str:
    """The object that a call's JSON text holds, or the text where it holds none."""
    if isinstance(arguments, dict):
        return arguments
    try:
        value = orjson.loads(arguments or "{}")
    except orjson.JSONDecodeError:
        return arguments
    return value if isinstance(value, dict) else arguments

"""The body of POST /v1/responses and of its input_tokens."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from llmd.api.json_body import JsonModel
from llmd.api.openai.schema_chat import MAX_TOP_LOGPROBS
from llmd.api.openai.schema_format import read_format
from llmd.api.openai.schema_response_tools import ResponseToolChoice, ResponseTools
from llmd.api.openai.schema_sampling import SamplingFields
from llmd.api.openai.schema_thinking import ThinkingFields
from llmd.core.message import Message
from llmd.core.request import (
    AnswerFormat,
    ChatPrompt,
    GenerateRequest,
    JsonObject,
    JsonSchema,
)
from llmd.errors import InvalidRequest, Unsupported

LOGPROBS = "message.output_text.logprobs"

MAX_METADATA = 16
MAX_METADATA_KEY = 64
MAX_METADATA_VALUE = 512


class TextFormat(JsonModel):
    """What `text.format` asks for; a schema stands in it flat."""

    type: str = "text"
    name: str | None = None
    description: str | None = None
    body: Any = Field(default=None, alias="schema")
    strict: bool | None = None

    def to_core(self) -> AnswerFormat | None:
        if self.type == "text":
            return None
        if self.type == "json_object":
            return JsonObject()
        if self.type != "json_schema":
            raise Unsupported(
                f"the text format {self.type!r} is not known here. Send 'text', 'json_object' or "
                "'json_schema'.",
                param="text.format.type",
            )
        if not isinstance(self.body, dict | bool):
            raise InvalidRequest(
                "the text format 'json_schema' has no schema. Send it as {'type': 'json_schema', "
                "'name': ..., 'schema': {...}}.",
                param="text.format.schema",
            )
        return JsonSchema(
            schema=self.body, param="text.format.schema", is_strict=self.strict is not False
        )

    def encode(self) -> dict[str, Any]:
        """As a Response shows it."""
        if self.type != "json_schema":
            return {"type": self.type}
        return {
            "type": "json_schema",
            "name": self.name or "answer",
            "description": self.description,
            "schema": self.body,
            "strict": self.strict is not False,
        }


class TextConfig(JsonModel):
    format: TextFormat = TextFormat()
    verbosity: str | None = None


class ResponsesRequest(ThinkingFields, SamplingFields):
    input: str | list[Any] | None = None
    instructions: str | None = None
    previous_response_id: str | None = None
    store: bool = True
    background: bool = False
    max_output_tokens: Annotated[int, Field(ge=1)] | None = None
    max_tool_calls: int | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=MAX_TOP_LOGPROBS)] | None = None
    include: list[str] = []
    tools: list[dict[str, Any]] = []
    tool_choice: Literal["auto", "none", "required"] | ResponseToolChoice = "auto"
    parallel_tool_calls: bool = True
    text: TextConfig = TextConfig()
    truncation: Literal["auto", "disabled"] = "disabled"
    metadata: dict[str, str] = {}
    user: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    conversation: Any = None
    prompt: Any = None

    @field_validator("metadata")
    @classmethod
    def _check_metadata(cls, metadata: dict[str, str]) -> dict[str, str]:
        if len(metadata) > MAX_METADATA:
            raise ValueError(f"more than {MAX_METADATA} entries; send fewer")
        for key, value in metadata.items():
            if len(key) > MAX_METADATA_KEY or len(value) > MAX_METADATA_VALUE:
                raise ValueError(
                    f"a key is longer than {MAX_METADATA_KEY} characters or a value longer than "
                    f"{MAX_METADATA_VALUE}; send shorter ones"
                )
        return metadata

    def check(self) -> None:
        """Raises InvalidRequest or Unsupported for fields that do not go together, or not here."""
        if self.conversation is not None:
            raise Unsupported(
                "conversations are not kept here, responses are. Send previous_response_id.",
                param="conversation",
            )
        if self.prompt is not None:
            raise Unsupported(
                "prompt templates are not kept here. Send instructions and input.", param="prompt"
            )
        if self.n > 1:
            raise Unsupported("a response is one answer. Send several requests.", param="n")
        if self.background and not self.store:
            raise InvalidRequest(
                "a background response has to be stored, or nobody could fetch it. Leave store "
                "out, or background.",
                param="background",
            )
        if self.input is None and not self.previous_response_id:
            raise InvalidRequest("the field 'input' is missing. Add it.", param="input")

    @property
    def num_logprobs(self) -> int | None:
        """How many likely tokens to tell; None where no logprobs were asked for at all."""
        if LOGPROBS not in self.include and not self.top_logprobs:
            return None
        return self.top_logprobs or 0

    @property
    def effort(self) -> str | None:
        return self.reasoning_effort or (self.reasoning.effort if self.reasoning else None)

    def to_core(
        self, messages: tuple[Message, ...], tools: ResponseTools, *, tenant: str = ""
    ) -> GenerateRequest:
        """The request over a conversation whose last part is this one's input. Raises
        InvalidRequest or Unsupported, naming the field.
        """
        if self.instructions:
            messages = (Message(role="system", content=self.instructions), *messages)
        if not messages:
            raise InvalidRequest("the input is empty. Send at least one item.", param="input")
        offered, choice = tools.read(self.tool_choice)
        prompt = ChatPrompt(
            messages=messages,
            tools=offered,
            tool_choice=choice,
            parallel_tool_calls=self.parallel_tool_calls,
            thinking=self.thinking_wish(),
            splits_thoughts=self.splits_thoughts,
            template_kwargs=self.chat_template_kwargs,
        )
        return replace(
            self.generate(prompt, tenant=tenant),
            max_tokens=self._token_limit(),
            top_logprobs=self.num_logprobs,
            answer_format=self._answer_format(),
            # Its events have no place for these.
            timings_per_token=False,
            return_progress=False,
        )

    def _token_limit(self) -> int | None:
        limit = self.token_limit()
        if self.max_output_tokens is not None and self.n_predict is None:
            limit = self.max_output_tokens
        if limit == 0:
            raise InvalidRequest(
                "max_output_tokens is 0. Ask for at least 1 token.", param="max_output_tokens"
            )
        return limit

    def _answer_format(self) -> AnswerFormat | None:
        wanted = self.text.format.to_core()
        other = read_format(None, self.grammar, self.json_schema)
        if wanted is not None and other is not None:
            raise InvalidRequest(
                "an answer has one form. Of text.format, json_schema and grammar, send one.",
                param="text.format",
            )
        return wanted or other

"""The body of POST /completion, and what it shares with /infill."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

from pydantic import Field

from llmd.api.openai.schema_completions import check_num_sequences
from llmd.api.openai.schema_format import read_format
from llmd.api.openai.schema_sampling import MAX_CHOICES, SamplingFields
from llmd.core.request import GenerateRequest, MixedPrompt, Prompt, TextPrompt, TokenPrompt
from llmd.errors import InvalidRequest, Unsupported

MAX_PROBS = 1000


class NativeFields(SamplingFields):
    """llama-server's own fields (tools/server/server-schema.cpp). Those that tell it which slot to
    take or what to keep of a context that is full have no meaning here and are ignored.
    """

    n_cmpl: Annotated[int, Field(ge=1, le=MAX_CHOICES)] | None = None
    n_probs: Annotated[int, Field(ge=0, le=MAX_PROBS)] = 0
    post_sampling_probs: bool = False
    return_tokens: bool = False
    response_fields: list[str] | None = None
    t_max_predict_ms: Annotated[int, Field(ge=-1)] = -1

    def to_request(self, prompts: tuple[Prompt, ...], *, tenant: str) -> GenerateRequest:
        """Raises InvalidRequest or Unsupported, naming the field."""
        if self.post_sampling_probs and self.n_probs:
            raise Unsupported(
                "probabilities are known of the model's own distribution, not after sampling. "
                "Leave out 'post_sampling_probs' and read the logprobs.",
                param="post_sampling_probs",
            )
        num_choices = self.n_cmpl or self.n
        check_num_sequences(prompts, num_choices)
        return replace(
            self.generate(*prompts, tenant=tenant),
            max_generating_ms=self.t_max_predict_ms if self.t_max_predict_ms > 0 else None,
            num_choices=num_choices,
            # Each piece of a stream says how many tokens there are.
            timings_per_token=self.stream,
            top_logprobs=self.n_probs if self.n_probs or self.return_tokens else None,
            answer_format=read_format(None, self.grammar, self.json_schema),
        )


class NativeCompletionRequest(NativeFields):
    prompt: str | list[Any] | dict[str, Any]

    def to_core(self, *, tenant: str = "") -> GenerateRequest:
        """Raises InvalidRequest or Unsupported, naming the field."""
        prompt = self.prompt
        if _is_many(prompt):
            prompts = tuple(_read(each, f"prompt.{i}") for i, each in enumerate(prompt))
        else:
            prompts = (_read(prompt, "prompt"),)
        return self.to_request(prompts, tenant=tenant)


def _is_many(prompt: object) -> bool:
    """A list of numbers, or of numbers and texts, is one prompt; any other list is of prompts."""
    if not isinstance(prompt, list) or not prompt:
        return False
    has_ids = any(_is_id(part) for part in prompt)
    return not (has_ids and all(_is_id(part) or isinstance(part, str) for part in prompt))


def _read(prompt: object, param: str) -> Prompt:
    if isinstance(prompt, dict):
        if prompt.get("multimodal_data"):
            raise Unsupported(
                "this model takes text only, not multimodal_data. Send the prompt alone.",
                param=f"{param}.multimodal_data",
            )
        prompt, param = prompt.get("prompt_string"), f"{param}.prompt_string"
    if isinstance(prompt, str):
        return TextPrompt(text=prompt)
    if not isinstance(prompt, list):
        raise InvalidRequest(
            "a prompt is a text, a list of token ids, or a list of both. Send one of these.",
            param=param,
        )
    if all(_is_id(part) for part in prompt):
        return TokenPrompt(token_ids=tuple(prompt))
    for position, part in enumerate(prompt):
        if not isinstance(part, str) and not _is_id(part):
            raise InvalidRequest(
                "a part of a prompt is a text or a token id. Send one of these.",
                param=f"{param}.{position}",
            )
    return MixedPrompt(parts=tuple(prompt))


def _is_id(part: object) -> bool:
    return isinstance(part, int) and not isinstance(part, bool)

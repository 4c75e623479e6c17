"""The body of POST /v1/completions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated

from pydantic import Field

from llmd.api.openai.schema_format import ResponseFormat, read_format
from llmd.api.openai.schema_sampling import MAX_CHOICES, SamplingFields
from llmd.core.request import GenerateRequest, InfillPrompt, Prompt, TextPrompt, TokenPrompt
from llmd.errors import InvalidRequest

MAX_LOGPROBS = 20
MAX_SEQUENCES = 2048
DEFAULT_MAX_TOKENS = 16


class CompletionRequest(SamplingFields):
    prompt: str | list[str] | list[int] | list[list[int]]
    suffix: str | None = None
    echo: bool = False
    response_format: ResponseFormat | None = None
    best_of: Annotated[int, Field(ge=1, le=MAX_CHOICES)] | None = None
    logprobs: Annotated[int, Field(ge=0, le=MAX_LOGPROBS)] | bool | None = None

    def to_core(self, *, tenant: str = "") -> GenerateRequest:
        """Raises InvalidRequest, naming the field. With best_of, that many choices are asked for,
        with their logprobs; `n` of them are to be answered.
        """
        num_choices = self.best_of or self.n
        if num_choices < self.n:
            raise InvalidRequest(
                f"best_of ({num_choices}) is less than n ({self.n}). Raise it.", param="best_of"
            )
        picks = num_choices > self.n
        if picks and self.stream:
            raise InvalidRequest(
                "the best of several cannot be known while they stream. Leave out 'best_of' or "
                "'stream'.",
                param="best_of",
            )
        prompts = tuple(self._prompts())
        check_num_sequences(prompts, num_choices)
        return replace(
            self.generate(*prompts, tenant=tenant),
            max_tokens=self._max_tokens(),
            num_choices=num_choices,
            top_logprobs=self.num_logprobs if self.num_logprobs is not None or not picks else 0,
            echo=self.echo,
            answer_format=read_format(self.response_format, self.grammar, self.json_schema),
        )

    @property
    def num_logprobs(self) -> int | None:
        """How many rivals of each token to answer; None for no logprobs."""
        if isinstance(self.logprobs, bool):
            return 0 if self.logprobs else None
        return self.logprobs

    def _max_tokens(self) -> int | None:
        # The API's default; llama-server's n_predict -1 asks for no limit.
        if self.max_tokens is None and self.n_predict is None:
            return DEFAULT_MAX_TOKENS
        return self.token_limit()

    def _prompts(self) -> list[Prompt]:
        prompt = self.prompt
        if self.suffix:
            return [self._infill(prompt)]
        if isinstance(prompt, str):
            return [TextPrompt(text=prompt)]
        if not prompt:
            raise InvalidRequest("the prompt is an empty list. Send some text.", param="prompt")
        if all(isinstance(item, int) for item in prompt):
            return [TokenPrompt(token_ids=tuple(prompt))]  # type: ignore[arg-type]
        return [
            TextPrompt(text=item) if isinstance(item, str) else TokenPrompt(token_ids=tuple(item))
            for item in prompt
            if not isinstance(item, int)
        ]

    def _infill(self, prompt: object) -> InfillPrompt:
        if not isinstance(prompt, str):
            raise InvalidRequest("a suffix needs a prompt that is one text. Send a string.",
                                 param="prompt")  # fmt: skip
        if self.echo:
            raise InvalidRequest(
                "a prompt with a gap cannot be echoed. Leave out 'echo' or 'suffix'.", param="echo"
            )
        return InfillPrompt(prefix=prompt, suffix=self.suffix or "")


def check_num_sequences(prompts: Sequence[Prompt], num_choices: int) -> None:
    """Raises InvalidRequest where these are too many."""
    if len(prompts) * num_choices > MAX_SEQUENCES:
        raise InvalidRequest(
            f"{len(prompts)} prompts with {num_choices} choices each are too many for one "
            f"request. Ask for at most {MAX_SEQUENCES} answers in all.",
            param="prompt",
        )

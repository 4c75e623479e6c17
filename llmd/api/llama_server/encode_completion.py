"""Completions as llama-server's own routes write them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, assert_never

import orjson

from llmd.api.llama_server.encode_settings import sampling_settings
from llmd.api.llama_server.schema_completion import NativeFields
from llmd.api.openai.encode_cache import cache_report, prompt_progress
from llmd.api.openai.encode_completions import MIN_LOGPROB
from llmd.api.openai.encode_usage import timings
from llmd.api.openai.stream import raise_failure
from llmd.core.event import (
    Event,
    Finished,
    PromptAdvanced,
    PromptEcho,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
)
from llmd.core.output import Candidate, FinishReason, TokenLogprob
from llmd.serving.generation import Generation

NO_SLOT = -1
"""There are no slots that a request could be bound to."""


class NativeEncoder:
    """Events of one generation to llama-server's objects, one choice at a time."""

    def __init__(self, generation: Generation, request: NativeFields) -> None:
        self._generation = generation
        self._request = request
        self._settings = _settings(generation, request)
        self._texts = [""] * generation.num_sequences
        self._logprobs: list[list[TokenLogprob]] = [[] for _ in self._texts]

    def whole(self, events: Sequence[Event]) -> bytes:
        """The answer without stream: one object, or a list of them for several choices. Raises
        EngineFailed if a choice failed.
        """
        answers: dict[int, dict[str, Any]] = {}
        for event in events:
            raise_failure(event)
            if isinstance(event, TextDelta):
                self._texts[event.index] += event.text
                self._logprobs[event.index] += event.logprobs
            elif isinstance(event, Finished):
                answers[event.index] = self._last(event)
        in_order = [answer for _, answer in sorted(answers.items())]
        return orjson.dumps(in_order[0] if len(in_order) == 1 else in_order)

    def feed(self, event: Event) -> bytes:
        """The event of the stream, empty for none. Raises EngineFailed if a choice failed."""
        raise_failure(event)
        match event:
            case TextDelta():
                self._texts[event.index] += event.text
                return _encode(self._piece(event))
            case PromptAdvanced(index=index, progress=progress):
                piece = self._piece(TextDelta(index, ""))
                return _encode(piece | {"prompt_progress": prompt_progress(progress)})
            case Finished():
                return _encode(self._last(event))
            case PromptEcho() | ReasoningDelta() | ToolCallStarted() | ToolCallDelta():
                return b""
            case _:
                assert_never(event)

    def _piece(self, delta: TextDelta) -> dict[str, Any]:
        piece: dict[str, Any] = {
            "index": delta.index,
            "content": delta.text,
            "tokens": self._token_ids(delta.logprobs),
            "stop": False,
            "id_slot": NO_SLOT,
            "tokens_predicted": delta.timings.num_generated if delta.timings else 0,
            "tokens_evaluated": self._num_prompt(delta.index),
        }
        if delta.timings is not None and self._request.timings_per_token:
            piece["timings"] = timings(delta.timings)
        if delta.logprobs and self._request.n_probs:
            piece["completion_probabilities"] = [_probability(each) for each in delta.logprobs]
        return piece

    def _last(self, end: Finished) -> dict[str, Any]:
        """A stream has told content and tokens before."""
        generation, index = self._generation, end.index
        num_prompt, num_generated = self._num_prompt(index), end.timings.num_generated
        text, logprobs = self._texts[index], self._logprobs[index]
        is_cut = end.reason is FinishReason.LENGTH
        answer: dict[str, Any] = {
            "index": index,
            "content": "" if self._request.stream else text,
            "tokens": self._token_ids(logprobs),
            "id_slot": NO_SLOT,
            "stop": True,
            "model": generation.model_name,
            "tokens_predicted": num_generated,
            "tokens_evaluated": num_prompt,
            "generation_settings": self._settings,
            "prompt": generation.prompt_text(index // generation.num_choices),
            "has_new_line": "\n" in text,
            "truncated": is_cut and num_prompt + num_generated >= generation.context_size,
            "stop_type": _stop_type(end),
            "stopping_word": end.stop_text or "",
            # The last token was drawn, and not computed any more.
            "tokens_cached": num_prompt + max(0, num_generated - 1),
            "timings": timings(end.timings),
        }
        if end.cache_report is not None:
            answer["cache_report"] = cache_report(end.cache_report)
        if logprobs and self._request.n_probs:
            answer["completion_probabilities"] = [_probability(each) for each in logprobs]
        fields = self._request.response_fields
        return answer if fields is None else _only(fields, answer)

    def _num_prompt(self, index: int) -> int:
        return self._generation.num_prompt_tokens[index // self._generation.num_choices]

    def _token_ids(self, logprobs: Sequence[TokenLogprob]) -> list[int]:
        if not self._request.return_tokens:
            return []
        return [each.chosen.token_id for each in logprobs]


def _settings(generation: Generation, request: NativeFields) -> dict[str, Any]:
    limit = request.token_limit()
    num_predict = -1 if limit is None else limit
    return sampling_settings(generation.sampling) | {
        "stop": list(request.stop_strings()),
        "max_tokens": num_predict,
        "n_predict": num_predict,
        "n_keep": 0,
        "n_discard": 0,
        "stream": request.stream,
        "n_probs": request.n_probs,
        "grammar": request.grammar or "",
        "timings_per_token": request.timings_per_token,
        "post_sampling_probs": False,
    }


def _stop_type(end: Finished) -> str:
    if end.reason is FinishReason.LENGTH:
        return "limit"
    if end.reason is FinishReason.STOP:
        return "eos" if end.stop_text is None else "word"
    return "none"


def _probability(logprob: TokenLogprob) -> dict[str, Any]:
    return _candidate(logprob.chosen) | {"top_logprobs": [_candidate(c) for c in logprob.top]}


def _candidate(candidate: Candidate) -> dict[str, Any]:
    return {
        "id": candidate.token_id,
        "token": candidate.text.decode("utf-8", "ignore"),
        "bytes": list(candidate.text),
        "logprob": max(candidate.logprob, MIN_LOGPROB),
    }


def _only(paths: Sequence[str], answer: dict[str, Any]) -> dict[str, Any]:
    """What is asked for by `response_fields`: `timings/prompt_n` stands under just this name; what
    there is not is left out.
    """
    found: dict[str, Any] = {}
    for path in paths:
        value: Any = answer
        for key in path.split("/"):
            value = value.get(key) if isinstance(value, dict) else None
        if value is not None:
            found[path] = value
    return found


def _encode(body: dict[str, Any]) -> bytes:
    return b"data: " + orjson.dumps(body) + b"\n\n"

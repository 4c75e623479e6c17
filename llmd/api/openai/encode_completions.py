"""Text completions as the OpenAI API writes them."""

from __future__ import annotations

from codecs import getincrementaldecoder
from collections.abc import Sequence
from typing import Any, assert_never

import orjson

from llmd.api.openai.encode_usage import answer_tail
from llmd.api.openai.stream import ChunkHead, answer_head, finish_reason, raise_failure
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
from llmd.core.output import Candidate, TokenLogprob
from llmd.serving.generation import Generation

MIN_LOGPROB = -9999.0


class LegacyLogprobs:
    """The logprobs object of one choice: parallel arrays over its tokens."""

    def __init__(self) -> None:
        self._decoder = getincrementaldecoder("utf-8")("replace")
        self._num_characters = 0

    def encode(self, tokens: Sequence[tuple[bytes, TokenLogprob | None]]) -> dict[str, Any]:
        """Tokens with their logprobs (None for the first of a prompt); offsets go on from the
        last call, in characters of the text. A token that ends the text stands there as well.
        """
        encoded: dict[str, list[Any]] = {
            "tokens": [],
            "token_logprobs": [],
            "top_logprobs": [],
            "text_offset": [],
        }
        for data, logprob in tokens:
            name = token_name(data)
            encoded["tokens"].append(name)
            encoded["text_offset"].append(self._num_characters)
            chosen = None if logprob is None else max(logprob.chosen.logprob, MIN_LOGPROB)
            encoded["token_logprobs"].append(chosen)
            encoded["top_logprobs"].append(None if logprob is None else _top(logprob, name))
            self._num_characters += len(self._decoder.decode(data))
        return encoded


def token_name(data: bytes) -> str:
    """A token's text; where it is a part of a character, `bytes:\\xe2\\x80` as OpenAI writes it."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in data)


def _top(logprob: TokenLogprob, chosen_name: str) -> dict[str, float]:
    """The likeliest tokens and the chosen one. Where two have the same text it is the likelier
    one's entry: evaluations compare the chosen one's logprob with the largest.
    """
    found: dict[str, float] = {}
    candidates: tuple[Candidate, ...] = (*logprob.top, logprob.chosen)
    for candidate in candidates:
        is_chosen = candidate.token_id == logprob.chosen.token_id
        name = chosen_name if is_chosen else token_name(candidate.text)
        found[name] = max(candidate.logprob, MIN_LOGPROB, found.get(name, MIN_LOGPROB))
    return found


class _Choice:
    """One choice while it is put together."""

    def __init__(self) -> None:
        self.text = ""
        self.tokens: list[tuple[bytes, TokenLogprob | None]] = []
        self.sum_logprobs = 0.0
        self.finished: Finished | None = None

    def add(self, event: Event) -> None:
        match event:
            case PromptEcho(tokens=tokens, logprobs=logprobs):
                self.text += b"".join(tokens).decode("utf-8", "replace")
                self.tokens += zip(tokens, logprobs, strict=False)
            case TextDelta(text=text, logprobs=logprobs):
                self.text += text
                self.tokens += [(each.chosen.text, each) for each in logprobs]
                self.sum_logprobs += sum(each.chosen.logprob for each in logprobs)
            case Finished():
                self.finished = event
            case PromptAdvanced() | ReasoningDelta() | ToolCallStarted() | ToolCallDelta():
                pass  # a text has no thoughts and calls
            case _:
                assert_never(event)

    @property
    def mean_logprob(self) -> float:
        """How likely its tokens were, on average: what best_of goes by."""
        assert self.finished is not None
        return self.sum_logprobs / max(1, self.finished.timings.num_generated)


def encode_completion(
    generation: Generation,
    events: Sequence[Event],
    *,
    num_kept: int,
    with_logprobs: bool,
) -> bytes:
    """The whole answer without stream: of each prompt's choices the `num_kept` most likely ones.
    Raises EngineFailed if a choice failed.
    """
    num_choices = generation.num_choices
    choices = [_Choice() for _ in range(generation.num_sequences)]
    for event in events:
        raise_failure(event)
        choices[event.index].add(event)
    kept: list[_Choice] = []
    for start in range(0, len(choices), num_choices):
        group = choices[start : start + num_choices]
        if num_kept < num_choices:
            group = sorted(group, key=lambda choice: choice.mean_logprob, reverse=True)[:num_kept]
        kept += group
    ends = [choice.finished for choice in choices if choice.finished is not None]
    return orjson.dumps(
        {
            **answer_head(generation, "cmpl", "text_completion"),
            "choices": [_encode(i, choice, with_logprobs) for i, choice in enumerate(kept)],
            **answer_tail(generation, ends),
        }
    )


def _encode(index: int, choice: _Choice, with_logprobs: bool) -> dict[str, Any]:
    assert choice.finished is not None
    return {
        "index": index,
        "text": choice.text,
        "logprobs": LegacyLogprobs().encode(choice.tokens) if with_logprobs else None,
        "finish_reason": finish_reason(choice.finished),
    }


class CompletionEncoder:
    """Events of one generation to the chunks of its stream."""

    def __init__(self, generation: Generation) -> None:
        self._logprobs = [LegacyLogprobs() for _ in range(generation.num_sequences)]
        self.head = ChunkHead(answer_head(generation, "cmpl", "text_completion"))

    def start(self) -> bytes:
        return b""

    def feed(self, event: Event) -> bytes:
        match event:
            case PromptEcho(index=index, tokens=tokens, logprobs=logprobs):
                text = b"".join(tokens).decode("utf-8", "replace")
                pairs = list(zip(tokens, logprobs, strict=False))
                return self.head.chunk(self._choice(index, text, pairs))
            case PromptAdvanced(index=index, progress=progress):
                return self.head.chunk(self._choice(index), progress=progress)
            case TextDelta(index=index, text=text, logprobs=logprobs, timings=so_far):
                scored = [(each.chosen.text, each) for each in logprobs]
                return self.head.chunk(self._choice(index, text, scored), timed=so_far)
            case Finished(index=index, timings=total, cache_report=report):
                choice = self._choice(index) | {"finish_reason": finish_reason(event)}
                return self.head.chunk(choice, timed=total, report=report)
            case ReasoningDelta() | ToolCallStarted() | ToolCallDelta():
                return b""
            case _:
                assert_never(event)

    def _choice(
        self, index: int, text: str = "", tokens: Sequence[tuple[bytes, TokenLogprob | None]] = ()
    ) -> dict[str, Any]:
        return {
            "index": index,
            "text": text,
            "logprobs": self._logprobs[index].encode(tokens) if tokens else None,
            "finish_reason": None,
        }

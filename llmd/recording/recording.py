"""Recording: one request, from its body to what was made of its answer."""

from __future__ import annotations

from dataclasses import dataclass

from llmd.core.message import Tool
from llmd.core.output import FinishReason, Timings
from llmd.core.sampling import SamplingParams


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedTemplate:
    """A chat template and the texts of its model's special tokens: what it takes to find the
    format of its answers again.
    """

    source: str
    bos: str
    eos: str
    controls: frozenset[str]
    markers: frozenset[str]
    ends: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedGeneration:
    """What the model was given. `sampling` is what held, with the seed that was drawn."""

    answer_id: str
    model: str
    fingerprint: str
    file: str
    sampling: SamplingParams
    max_tokens: int | None
    stop: tuple[str, ...]
    num_choices: int
    prompts: tuple[str, ...]
    num_prompt_tokens: tuple[int, ...]
    tools: tuple[Tool, ...] = ()
    splits_thoughts: bool = True
    template: RecordedTemplate | None = None
    """None where the answer is text, in which nothing is looked for."""


@dataclass(frozen=True, slots=True)
class RecordedCall:
    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedChoice:
    """What the model wrote, and the message that was made of it. Without a `finish_reason` it did
    not come to its end.
    """

    raw: str = ""
    content: str = ""
    reasoning: str = ""
    calls: tuple[RecordedCall, ...] = ()
    finish_reason: FinishReason | None = None
    timings: Timings | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """`time` is when the request came (RFC 3339, UTC); the other times are in milliseconds. `body`
    is as it was sent, or where it was read from a file as it stands there.
    """

    request_id: str
    time: str
    method: str
    path: str
    key_name: str
    status: int
    error_code: str | None
    error: str | None
    ttft_ms: float | None
    duration_ms: float
    body: bytes
    generation: RecordedGeneration | None = None
    choices: tuple[RecordedChoice, ...] = ()

    @property
    def num_bytes(self) -> int:
        """About what it takes in memory."""
        prompts = self.generation.prompts if self.generation else ()
        texts = sum(len(choice.raw) + len(choice.content) for choice in self.choices)
        return len(self.body) + sum(map(len, prompts)) + texts

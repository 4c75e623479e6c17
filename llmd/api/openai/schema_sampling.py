"""The fields of chat and text completions alike."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, field_validator

from llmd.api.json_body import JsonModel
from llmd.api.keep_alive import KeepAliveField
from llmd.api.openai.samplers import only_samplers
from llmd.core.request import GenerateRequest, Prompt
from llmd.errors import InvalidRequest, Unsupported

MAX_CHOICES = 128
MAX_PRIORITY = 100
MAX_STOP_STRINGS = 64
MAX_STOP_LENGTH = 1024
MAX_SESSION = 256
BANNED = float("-inf")

Probability = Annotated[float, Field(ge=0, le=1)]
NonNegative = Annotated[float, Field(ge=0)]

_SAMPLING_FIELDS = (
    "temperature top_k top_p min_p typical_p top_n_sigma xtc_probability xtc_threshold "
    "dynatemp_range dynatemp_exponent mirostat mirostat_tau mirostat_eta min_keep "
    "repeat_penalty repeat_last_n presence_penalty frequency_penalty dry_multiplier dry_base "
    "dry_allowed_length dry_penalty_last_n ignore_eos"
).split()


class StreamOptions(JsonModel):
    include_usage: bool = False


class SamplingFields(KeepAliveField):
    """OpenAI's sampling fields, those of llama-server under its names, and llmd's own:
    `cache_report`, `deterministic`, `priority` and `session`.
    """

    model: str | None = None
    stream: bool = False
    stream_options: StreamOptions | None = None
    n: Annotated[int, Field(ge=1, le=MAX_CHOICES)] = 1
    max_tokens: Annotated[int, Field(ge=-1)] | None = None
    n_predict: Annotated[int, Field(ge=-2)] | None = None
    stop: str | list[str] | None = None
    seed: int | None = None
    logit_bias: dict[str, float] | list[list[int | float | bool]] | None = None
    ignore_eos: bool | None = None
    timings_per_token: bool = False
    return_progress: bool = False
    cache_prompt: bool = True
    cache_report: bool = False
    deterministic: bool = False
    priority: Annotated[int, Field(ge=-MAX_PRIORITY, le=MAX_PRIORITY)] = 0
    session: Annotated[str, Field(max_length=MAX_SESSION)] | None = None

    temperature: NonNegative | None = None
    dynatemp_range: NonNegative | None = None
    dynatemp_exponent: float | None = None
    top_k: Annotated[int, Field(ge=-1, le=1 << 30)] | None = None
    top_p: Probability | None = None
    min_p: Probability | None = None
    typical_p: Probability | None = None
    top_n_sigma: float | None = None
    xtc_probability: Probability | None = None
    xtc_threshold: Probability | None = None
    min_keep: Annotated[int, Field(ge=0, le=1 << 20)] | None = None
    repeat_penalty: Annotated[float, Field(gt=0, le=100)] | None = None
    repeat_last_n: Annotated[int, Field(ge=-1, le=1 << 20)] | None = None
    presence_penalty: Annotated[float, Field(ge=-100, le=100)] | None = None
    frequency_penalty: Annotated[float, Field(ge=-100, le=100)] | None = None
    dry_multiplier: NonNegative | None = None
    dry_base: Annotated[float, Field(ge=1)] | None = None
    dry_allowed_length: Annotated[int, Field(ge=0, le=1 << 20)] | None = None
    dry_penalty_last_n: Annotated[int, Field(ge=-1, le=1 << 20)] | None = None
    dry_sequence_breakers: list[str] | None = None
    mirostat: Annotated[int, Field(ge=0, le=2)] | None = None
    mirostat_tau: NonNegative | None = None
    mirostat_eta: NonNegative | None = None
    samplers: list[str] | str | None = None

    grammar: str | None = None
    json_schema: Any = None

    @property
    def include_usage(self) -> bool:
        return self.stream_options is not None and self.stream_options.include_usage

    @field_validator("stop")
    @classmethod
    def _check_stop(cls, stop: str | list[str] | None) -> str | list[str] | None:
        strings = [stop] if isinstance(stop, str) else stop or []
        if len(strings) > MAX_STOP_STRINGS:
            raise ValueError(f"more than {MAX_STOP_STRINGS} stop strings; send fewer")
        if any(len(text) > MAX_STOP_LENGTH for text in strings):
            raise ValueError(f"a stop string is longer than {MAX_STOP_LENGTH} characters")
        return stop

    def stop_strings(self) -> tuple[str, ...]:
        """Without empty ones, which stop nothing."""
        strings = [self.stop] if isinstance(self.stop, str) else self.stop or []
        return tuple(text for text in strings if text)

    def sampling(self) -> dict[str, Any]:
        """What the client set, by field of SamplingParams."""
        found = {name: getattr(self, name) for name in _SAMPLING_FIELDS}
        overrides = {name: value for name, value in found.items() if value is not None}
        if self.seed is not None and self.seed >= 0:  # llama-server's -1 is "any"
            overrides["seed"] = self.seed
        if self.dry_sequence_breakers is not None:
            overrides["dry_sequence_breakers"] = tuple(filter(None, self.dry_sequence_breakers))
        if self.logit_bias:
            overrides["logit_bias"] = self._biases()
        if self.samplers is not None:
            overrides |= only_samplers(self.samplers)
        return overrides

    def token_limit(self) -> int | None:
        """Most tokens to generate; None is as many as the context allows. llama-server's
        n_predict wins where both are given, as it does there.
        """
        limit = self.max_tokens if self.n_predict is None else self.n_predict
        return None if limit is None or limit < 0 else limit

    @property
    def wants_progress(self) -> bool:
        """Without a stream nobody could see it."""
        return self.return_progress and self.stream

    def generate(self, *prompts: Prompt, tenant: str) -> GenerateRequest:
        """What these fields alone ask for; each route replaces what it knows better."""
        return GenerateRequest(
            model=self.model,
            prompts=prompts,
            sampling=self.sampling(),
            max_tokens=self.token_limit(),
            stop=self.stop_strings(),
            num_choices=self.n,
            tenant=tenant,
            priority=self.priority,
            cache_prompt=self.cache_prompt,
            deterministic=self.deterministic,
            cache_report=self.cache_report,
            timings_per_token=self.timings_per_token,
            return_progress=self.wants_progress,
            keep_alive=self.keep_alive,
        )

    def _biases(self) -> tuple[tuple[int, float], ...]:
        bias = self.logit_bias or {}
        if isinstance(bias, list):
            return tuple(_pair(entry, position) for position, entry in enumerate(bias))
        return tuple((_token_id(key), value) for key, value in bias.items())


def _pair(entry: list[int | float | bool], position: int) -> tuple[int, float]:
    """llama-server's form: a token and its bias, False to ban it."""
    match entry:
        case [int(token), value] if not isinstance(token, bool) and value is not True:
            return token, BANNED if value is False else float(value)
    raise InvalidRequest(
        "an entry of a logit_bias list is a token id with a number, or with false to ban it. "
        "Send such pairs.",
        param=f"logit_bias.{position}",
    )


def _token_id(key: str) -> int:
    try:
        return int(key)
    except ValueError:
        raise Unsupported(
            f"logit_bias has the key {key!r}, which is no token id. Use the ids of tokens.",
            param="logit_bias",
        ) from None

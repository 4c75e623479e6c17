from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmd.core.sampling import SamplingParams
from llmd.engine import sampler as sampler_module
from llmd.engine.sampler import Sampler, SamplingFailed, is_plain_greedy, largest
from llmd.llama.context import Row
from llmd.llama.model import LlamaModel
from llmd.llama.sampler import SamplerChain

NUM_VOCAB = 20_000


class Vocabulary:
    end_of_generation_ids: frozenset[int] = frozenset()
    suppressed_ids: tuple[int, ...] = ()

    def token_bytes(self, token_id: int) -> bytes:
        return str(token_id).encode()


@pytest.fixture(scope="module")
def tokenizer(llama_path: Path) -> Iterator[Any]:
    """A large vocabulary's size, with a small one behind it for DRY's breakers."""
    model = LlamaModel(llama_path)
    yield SimpleNamespace(num_tokens=NUM_VOCAB, handle=model.tokenizer.handle)
    model.free()


def random_row(seed: int, size: int = NUM_VOCAB) -> Row:
    return np.random.default_rng(seed).normal(0, 3, size).astype(np.float32)


def draws(
    params: SamplingParams, tokenizer: Any, *, prompt: tuple[int, ...] = (), num_draws: int = 40
) -> list[int]:
    """Tokens drawn one after the other, from fresh rows."""
    chain = SamplerChain(params, tokenizer, seed=3, context_size=512)
    sampler = Sampler(params, Vocabulary(), chain)
    sampler.accept(prompt)
    drawn = [sampler.sample(random_row(seed)) for seed in range(num_draws)]
    sampler.free()
    return drawn


def draws_of_all(
    params: SamplingParams, tokenizer: Any, monkeypatch: pytest.MonkeyPatch, **arguments: Any
) -> list[int]:
    """As `draws`, with every token of the vocabulary handed to the native chain."""
    with monkeypatch.context() as patch:
        patch.setattr(sampler_module, "_MIN_PRUNED_VOCABULARY", 1 << 30)
        return draws(params, tokenizer, **arguments)


LIKELY = tuple(int(i) for seed in range(8) for i in np.argsort(random_row(seed))[-6:])
"""Tokens that are near the top of the first rows: penalties on them change what is drawn."""


@pytest.mark.gguf
@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"temperature": 0.0, "repeat_penalty": 1.5},
        {"temperature": 0.0, "logit_bias": ((LIKELY[5], float("-inf")),)},
        {"temperature": 2.0, "top_k": 100, "top_p": 1.0, "min_p": 0.0},
        {"temperature": 2.0, "top_k": 1000, "top_p": 1.0, "min_p": 0.0},
        {"repeat_penalty": 1.5, "repeat_last_n": -1, "temperature": 1.5},
        {"presence_penalty": 2.0, "frequency_penalty": 1.0, "temperature": 1.5},
        {"presence_penalty": -5.0, "temperature": 1.5},
        {"logit_bias": tuple((token, -20.0) for token in LIKELY), "temperature": 1.5},
        {"logit_bias": ((17, 30.0), (19_999, 29.0)), "temperature": 1.5},
        {"dry_multiplier": 3.0, "dry_allowed_length": 1, "temperature": 1.5},
        {"typical_p": 0.7, "min_p": 0.0, "temperature": 1.5},
        {"xtc_probability": 0.7, "xtc_threshold": 0.05, "temperature": 1.5},
        {"dynatemp_range": 0.8, "temperature": 1.2},
        {"top_p": 0.01, "min_keep": 60, "temperature": 3.0},
        {"mirostat": 2}, {"mirostat": 1}, {"top_n_sigma": 1.0}, {"top_k": 0},
    ],
    ids=lambda fields: "-".join(fields) or "defaults",
)  # fmt: skip
def test_pruning_changes_no_draw(
    fields: dict[str, Any], tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = SamplingParams(**fields)
    pruned = draws(params, tokenizer, prompt=LIKELY)
    assert pruned == draws_of_all(params, tokenizer, monkeypatch, prompt=LIKELY)


@pytest.mark.gguf
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    fields=st.fixed_dictionaries(
        {
            "temperature": st.sampled_from([0.0, 0.7, 1.5, 4.0]),
            "top_k": st.integers(1, 200),
            "top_p": st.floats(0.1, 1),
            "min_p": st.floats(0, 0.2),
            "repeat_penalty": st.sampled_from([1.0, 1.3]),
            "presence_penalty": st.sampled_from([0.0, 1.5, -1.5]),
            "logit_bias": st.lists(
                st.tuples(st.sampled_from(LIKELY), st.sampled_from([-50.0, -1.0, 2.0])),
                max_size=4, unique_by=lambda each: each[0],
            ).map(tuple),
        }
    )
)  # fmt: skip
def test_pruning_changes_no_draw_whatever_the_parameters(
    fields: dict[str, Any], tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = SamplingParams(**fields)
    pruned = draws(params, tokenizer, prompt=LIKELY, num_draws=8)
    assert pruned == draws_of_all(params, tokenizer, monkeypatch, prompt=LIKELY, num_draws=8)


@pytest.mark.gguf
def test_pruning_hands_over_few_candidates(tokenizer: Any) -> None:
    sizes = []

    class Spy(SamplerChain):
        def sample(self, candidates: Any) -> int:
            sizes.append(len(candidates))
            return super().sample(candidates)

    chain = Spy(SamplingParams(), tokenizer, seed=1, context_size=64)
    sampler = Sampler(SamplingParams(), Vocabulary(), chain)
    sampler.sample(random_row(1))
    sampler.free()
    assert 40 <= sizes[0] < 200


@pytest.mark.parametrize("size", [257, 8191, 20_000, 20_001])
@pytest.mark.parametrize("count", [1, 5, 150, 5000])
def test_the_largest_are_among_those_found(size: int, count: int) -> None:
    row = random_row(5, size)
    found = largest(row, count)
    assert len(set(found.tolist())) == len(found)
    assert set(np.argsort(row)[-min(count, size) :].tolist()) <= set(found.tolist())


def test_logprobs_are_natural_and_most_likely_first() -> None:
    row = random_row(2)
    exact = row.astype(np.float64) - np.log(np.exp(row.astype(np.float64)).sum())
    order = np.argsort(-row)
    sampler = Sampler(SamplingParams(temperature=0), Vocabulary(), None)
    logprob = sampler.logprob(row, 123, 5)
    assert [candidate.token_id for candidate in logprob.top] == order[:5].tolist()
    assert logprob.chosen.token_id == 123
    for candidate in (*logprob.top, logprob.chosen):
        assert candidate.logprob == pytest.approx(exact[candidate.token_id], abs=1e-4)
        assert candidate.text == str(candidate.token_id).encode()


def test_equal_logits_are_ordered_by_id() -> None:
    row = np.zeros(NUM_VOCAB, dtype=np.float32)
    top = Sampler(SamplingParams(temperature=0), Vocabulary(), None).logprob(row, 0, 3).top
    assert [candidate.token_id for candidate in top] == [0, 1, 2]


@pytest.mark.gguf
@pytest.mark.parametrize("fields", [{"temperature": 0.0}, {}, {"top_k": 0}, {"top_k": 1}])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_logits_that_are_no_numbers_are_told(
    fields: dict[str, Any], value: float, tokenizer: Any
) -> None:
    params = SamplingParams(**fields)
    chain = None
    if not is_plain_greedy(params):
        chain = SamplerChain(params, tokenizer, seed=1, context_size=64)
    sampler = Sampler(params, Vocabulary(), chain)
    with pytest.raises(SamplingFailed):
        sampler.sample(np.full(NUM_VOCAB, value, dtype=np.float32))
    sampler.free()


@pytest.mark.parametrize(
    ("fields", "plain"),
    [
        ({"temperature": 0}, True),
        ({"temperature": 0, "top_k": 5, "mirostat": 2}, True),
        ({"temperature": 0, "repeat_penalty": 1.1, "repeat_last_n": 0}, True),
        ({"temperature": 0.1}, False),
        ({"temperature": 0, "repeat_penalty": 1.1}, False),
        ({"temperature": 0, "dry_multiplier": 1}, False),
        ({"temperature": 0, "logit_bias": ((1, 1.0),)}, False),
    ],
)
def test_plain_greedy_needs_no_chain(fields: dict[str, Any], plain: bool) -> None:
    assert is_plain_greedy(SamplingParams(**fields)) is plain

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from llmd.core.grammar import GrammarSource
from llmd.core.sampling import SamplingParams
from llmd.engine import sampler as sampler_module
from llmd.engine.grammar import Constraint, GrammarCompiler, Mask
from llmd.engine.sampler import Sampler, SamplingFailed, is_plain_greedy, largest
from llmd.llama.context import Row
from llmd.llama.model import LlamaModel
from llmd.llama.sampler import SamplerChain

NUM_VOCAB = 20_000


class Vocabulary:
    """Each token is its own number in decimal; 0 ends the text."""

    end_of_generation_ids = frozenset({0})
    suppressed_ids: tuple[int, ...] = ()

    def token_bytes(self, token_id: int) -> bytes:
        return str(token_id).encode()

    def __init__(self, size: int = NUM_VOCAB) -> None:
        self.size = size

    def all_bytes(self) -> list[bytes]:
        return [self.token_bytes(token_id) for token_id in range(self.size)]

    def encode_inside(self, text: str, *, parse_special: bool) -> list[int]:
        return [int(digit) for digit in text]


COMPILERS = {size: GrammarCompiler(Vocabulary(size)) for size in (10, NUM_VOCAB)}


def only(digits: str, size: int = NUM_VOCAB) -> Constraint:
    """Allows the tokens that are made of these digits, for ever."""
    source = GrammarSource("lark", f"start: /[{digits}]*!/")
    return COMPILERS[size].compile(source).start()


@pytest.fixture(scope="module")
def tokenizer(llama_path: Path) -> Iterator[Any]:
    """A large vocabulary's size, with a small one behind it for DRY's breakers."""
    model = LlamaModel(llama_path)
    yield SimpleNamespace(num_tokens=NUM_VOCAB, handle=model.tokenizer.handle)
    model.free()


def random_row(seed: int, size: int = NUM_VOCAB) -> Row:
    return np.random.default_rng(seed).normal(0, 3, size).astype(np.float32)


def draws(
    params: SamplingParams,
    tokenizer: Any,
    *,
    prompt: tuple[int, ...] = (),
    num_draws: int = 40,
    digits: str | None = None,
) -> list[int]:
    """Tokens drawn one after the other, from fresh rows; of these digits only, where given."""
    chain = SamplerChain(params, tokenizer, seed=3, context_size=512)
    sampler = Sampler(params, Vocabulary(), chain)
    sampler.accept(prompt)
    constraint = None if digits is None else only(digits)
    drawn = [sampler.sample(random_row(seed), constraint) for seed in range(num_draws)]
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


FIELDS = [
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
]  # fmt: skip


@pytest.mark.gguf
@pytest.mark.parametrize("fields", FIELDS, ids=lambda fields: "-".join(fields) or "defaults")
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
@pytest.mark.parametrize("digits", ["0-689", "12"])
@pytest.mark.parametrize("fields", FIELDS, ids=lambda fields: "-".join(fields) or "defaults")
def test_pruning_changes_no_draw_under_a_constraint(
    fields: dict[str, Any], digits: str, tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = SamplingParams(**fields)
    arguments: dict[str, Any] = {"prompt": LIKELY, "num_draws": 20, "digits": digits}
    pruned = draws(params, tokenizer, **arguments)
    assert pruned == draws_of_all(params, tokenizer, monkeypatch, **arguments)
    assert set("".join(map(str, pruned))) <= set("012345689" if digits == "0-689" else digits)


Numbers = NDArray[Any]

NUM_SAMPLES = 10_000
LOGITS = np.array([0, 3, 1, 2.5, 0.5, 2, 1.5, 0.2, 2.8, -1], np.float32)
"""Of ten tokens; 1, 8, 3 and 5 are the likeliest, in this order."""


def softmax(logits: Numbers) -> Numbers:
    shares: Numbers = np.exp(logits - logits.max())
    shares /= shares.sum()
    return shares


def only_of(shares: Numbers, allowed: str) -> Numbers:
    kept: Numbers = np.array([s if str(i) in allowed else 0 for i, s in enumerate(shares)])
    kept /= kept.sum()
    return kept


def truncated(num_kept: int, logits: Numbers = LOGITS) -> Numbers:
    return np.where(logits >= np.sort(logits)[-num_kept], logits, -np.inf)


@pytest.mark.gguf
@pytest.mark.parametrize(
    ("fields", "allowed", "expected"),
    [
        ({}, "2345679", softmax(LOGITS)),
        ({"temperature": 2.0}, "13579", softmax(LOGITS / 2)),
        ({"top_k": 4}, "0235", softmax(truncated(4))),
        ({"top_k": 4, "temperature": 0.5}, "2345", softmax(truncated(4) / 0.5)),
        # None of the two likeliest is allowed: then the two likeliest of the allowed ones.
        ({"top_k": 2}, "24679", softmax(np.where(np.isin(range(10), [2, 6]), LOGITS, -np.inf))),
        ({"min_p": 0.3}, "2568", softmax(np.where(LOGITS >= 3 + np.log(0.3), LOGITS, -np.inf))),
        ({"logit_bias": ((2, 2.0),)}, "2459", softmax(LOGITS + 2 * np.eye(10)[2])),
    ],
)  # fmt: skip
def test_constrained_draws_are_those_of_drawing_until_one_is_allowed(
    fields: dict[str, Any], allowed: str, expected: Numbers, tokenizer: Any
) -> None:
    free = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0}
    params = SamplingParams(**{**free, **fields})
    sampler = Sampler(
        params, Vocabulary(), SamplerChain(params, tokenizer, seed=7, context_size=64)
    )
    constraint = only(allowed, size=10)
    counts = np.zeros(10)
    for _ in range(NUM_SAMPLES):
        counts[sampler.sample(LOGITS, constraint)] += 1
    sampler.free()
    shares = only_of(expected, allowed)
    deviation = np.sqrt(shares * (1 - shares) / NUM_SAMPLES)
    assert (np.abs(counts / NUM_SAMPLES - shares) <= 4 * deviation + 1e-9).all()


@pytest.mark.gguf
@pytest.mark.parametrize("fields", [{}, {"temperature": 0.0, "repeat_penalty": 1.5}])
def test_penalties_count_what_was_said_and_not_what_was_refused(
    fields: dict[str, Any], tokenizer: Any
) -> None:
    accepted: list[int] = []

    class Spy(SamplerChain):
        def accept(self, token_id: int) -> None:
            accepted.append(token_id)
            super().accept(token_id)

    params = SamplingParams(presence_penalty=1.0, **fields)
    sampler = Sampler(params, Vocabulary(), Spy(params, tokenizer, seed=1, context_size=64))
    constraint = only("12")
    drawn = [sampler.sample(random_row(seed), constraint) for seed in range(20)]
    sampler.free()
    assert accepted == drawn


def test_greedy_takes_the_likeliest_that_is_allowed() -> None:
    sampler = Sampler(SamplingParams(temperature=0), Vocabulary(), None)
    row = random_row(3)
    best = next(i for i in np.argsort(-row) if set(str(i)) <= set("12"))
    assert sampler.sample(row, only("12")) == best
    assert sampler.sample(row) == row.argmax()


def test_the_mask_is_asked_for_only_when_a_draw_is_refused() -> None:
    num_masks = 0

    class Counting(Constraint):
        def mask(self) -> Mask:
            nonlocal num_masks
            num_masks += 1
            return super().mask()

    matcher = only("12")._matcher
    constraint = Counting(matcher, NUM_VOCAB)
    sampler = Sampler(SamplingParams(temperature=0), Vocabulary(), None)
    row = random_row(3)
    row[121] = 99
    assert sampler.sample(row, constraint) == 121
    assert num_masks == 0
    row[123] = 100
    assert sampler.sample(row, constraint) == 121
    assert num_masks == 1


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


def test_watched_tokens_follow_the_most_likely_ones() -> None:
    row = random_row(2)
    sampler = Sampler(SamplingParams(temperature=0), Vocabulary(), None)
    watched = (7, 123)
    top = sampler.logprob(row, 5, 2, watched).top
    assert top[:2] == sampler.logprob(row, 5, 2).top
    expected = [sampler.logprob(row, token_id, 0).chosen for token_id in watched]
    assert list(top[2:]) == expected


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

"""Each sampling parameter does what it says, on six candidates whose probabilities are known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from zoo.vocabulary import spm_vocabulary

from llmd.core.sampling import SamplingParams
from llmd.llama.model import LlamaModel
from llmd.llama.sampler import CANDIDATE, SamplerChain
from llmd.llama.tokenizer import Tokenizer

pytestmark = pytest.mark.gguf

VOCABULARY = spm_vocabulary()
WORDS = [VOCABULARY.id_of(f"\u2581{word}") for word in ("the", "of", "and", "to", "in", "is")]
PROBABILITIES = (0.4, 0.3, 0.15, 0.1, 0.04, 0.01)
PEAKED = (0.9, 0.02, 0.02, 0.02, 0.02, 0.02)
HOT, WATER = VOCABULARY.id_of("\u2581hot"), VOCABULARY.id_of("\u2581water")

NEUTRAL: dict[str, Any] = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0}
GREEDY: dict[str, Any] = {"temperature": 0.0}


@pytest.fixture(scope="module")
def tokenizer(llama_path: Path) -> Iterator[Tokenizer]:
    model = LlamaModel(llama_path)
    yield model.tokenizer
    model.free()


def draws(
    tokenizer: Tokenizer,
    params: dict[str, Any],
    *,
    num_draws: int = 400,
    accepted: Sequence[int] = (),
    probabilities: Sequence[float] = PROBABILITIES,
    seed: int = 1,
) -> list[int]:
    """Places 0 to 5 of the candidates that were drawn after the tokens `accepted`."""
    chain = SamplerChain(SamplingParams(**params), tokenizer, seed=seed, context_size=64)
    for token in accepted:
        chain.accept(token)
    places = []
    for _ in range(num_draws):
        candidates = np.zeros(len(WORDS), dtype=CANDIDATE)
        candidates["id"] = WORDS
        candidates["logit"] = np.log(probabilities)
        places.append(WORDS.index(chain.sample(candidates)))
    chain.free()
    return places


def support(tokenizer: Tokenizer, **params: Any) -> set[int]:
    return set(draws(tokenizer, {**NEUTRAL, **params}))


def greedy(tokenizer: Tokenizer, *accepted: int, **params: Any) -> int:
    (place,) = set(draws(tokenizer, {**GREEDY, **params}, num_draws=3, accepted=accepted))
    return place


def test_greedy_takes_the_likeliest(tokenizer: Tokenizer) -> None:
    assert greedy(tokenizer) == 0


def test_neutral_parameters_draw_from_the_models_own_distribution(tokenizer: Tokenizer) -> None:
    counts = Counter(draws(tokenizer, NEUTRAL, num_draws=4000))
    for place, probability in enumerate(PROBABILITIES):
        assert counts[place] / 4000 == pytest.approx(probability, abs=0.03)
    assert len(counts) == 6


def test_a_seed_repeats_its_draws_and_another_does_not(tokenizer: Tokenizer) -> None:
    first, again, other = (draws(tokenizer, NEUTRAL, seed=seed) for seed in (9, 9, 10))
    assert first == again != other


@pytest.mark.parametrize("seed", [0xFFFFFFFF, -1, 2**40 + 5])
def test_any_integer_is_a_seed_that_repeats(tokenizer: Tokenizer, seed: int) -> None:
    assert draws(tokenizer, NEUTRAL, seed=seed) == draws(tokenizer, NEUTRAL, seed=seed)


@pytest.mark.parametrize(
    ("params", "kept"),
    [
        ({"top_k": 2}, {0, 1}),
        ({"top_k": -1}, {0, 1, 2, 3, 4, 5}),
        ({"top_p": 0.69}, {0, 1}),
        ({"min_p": 0.3}, {0, 1, 2}),  # 0.3 x 0.4 = 0.12
        ({"typical_p": 0.4}, {1, 2}),  # the surprise nearest to the entropy
        ({"top_n_sigma": 0.5}, {0, 1}),
        ({"xtc_probability": 1.0, "xtc_threshold": 0.12}, {2, 3, 4, 5}),
        ({"xtc_probability": 0.0, "xtc_threshold": 0.12}, {0, 1, 2, 3, 4, 5}),
        ({"top_p": 0.01, "min_keep": 3}, {0, 1, 2}),
        ({"temperature": 0.02}, {0}),
        ({"temperature": 1.0, "top_k": 1}, {0}),
        ({"mirostat": 2, "mirostat_tau": 0.01}, {0}),
        ({"mirostat": 1, "mirostat_tau": 0.0, "mirostat_eta": 0.0}, {0}),
        ({"mirostat": 2, "mirostat_tau": 8.0}, {0, 1, 2, 3, 4, 5}),
        ({"logit_bias": ((WORDS[0], float("-inf")),)}, {1, 2, 3, 4, 5}),
        ({"logit_bias": ((WORDS[5], 50.0),)}, {5}),
        ({"logit_bias": ((WORDS[5], 50.0),), "top_k": 1}, {5}),
    ],
)
def test_what_a_parameter_keeps(
    tokenizer: Tokenizer, params: dict[str, Any], kept: set[int]
) -> None:
    assert support(tokenizer, **params) == kept


def test_mirostat_1_lets_more_through_the_higher_its_aim(tokenizer: Tokenizer) -> None:
    assert support(tokenizer, mirostat=1, mirostat_tau=8.0) > {0, 1, 2}


def test_mirostat_leaves_the_truncating_samplers_out(tokenizer: Tokenizer) -> None:
    assert support(tokenizer, mirostat=2, mirostat_tau=8.0, top_k=1) == {0, 1, 2, 3, 4, 5}


def test_a_high_temperature_levels_the_chances(tokenizer: Tokenizer) -> None:
    counts = Counter(draws(tokenizer, {**NEUTRAL, "temperature": 50.0}, num_draws=1200))
    assert min(counts[place] for place in range(6)) > 120


def test_dynamic_temperature_is_low_where_the_model_is_sure(tokenizer: Tokenizer) -> None:
    def places(**params: Any) -> set[int]:
        return set(draws(tokenizer, {**NEUTRAL, **params}, probabilities=PEAKED))

    assert len(places()) > 1
    assert places(dynatemp_range=1.0, dynatemp_exponent=5.0) == {0}


def test_repetition_is_penalized(tokenizer: Tokenizer) -> None:
    the, of = WORDS[0], WORDS[1]
    assert greedy(tokenizer, the, repeat_penalty=2.0) == 1
    assert greedy(tokenizer, the, of, repeat_penalty=3.0) == 2
    assert greedy(tokenizer, the, presence_penalty=0.5) == 1
    assert greedy(tokenizer, the, presence_penalty=-0.5) == 0


def test_frequency_counts_each_time(tokenizer: Tokenizer) -> None:
    the = WORDS[0]
    assert greedy(tokenizer, the, frequency_penalty=0.2) == 0
    assert greedy(tokenizer, the, the, frequency_penalty=0.2) == 1


def test_penalties_look_back_so_far_and_no_further(tokenizer: Tokenizer) -> None:
    history = (WORDS[0], HOT, WATER)
    assert greedy(tokenizer, *history, repeat_penalty=2.0, repeat_last_n=3) == 1
    assert greedy(tokenizer, *history, repeat_penalty=2.0, repeat_last_n=2) == 0
    assert greedy(tokenizer, *history, repeat_penalty=2.0, repeat_last_n=0) == 0
    assert greedy(tokenizer, *history, repeat_penalty=2.0, repeat_last_n=-1) == 1


def test_dry_penalizes_what_would_repeat_a_passage(tokenizer: Tokenizer) -> None:
    passage = (HOT, WATER, WORDS[0])
    again = (*passage, HOT, WATER)
    assert greedy(tokenizer, *again, dry_multiplier=5.0) == 1
    assert greedy(tokenizer, *again, dry_multiplier=0.0) == 0
    assert greedy(tokenizer, *passage, HOT, dry_multiplier=5.0) == 0, "one token is no passage"
    assert greedy(tokenizer, *again, dry_multiplier=5.0, dry_allowed_length=3) == 0
    assert greedy(tokenizer, *again, dry_multiplier=5.0, dry_penalty_last_n=2) == 0


def test_dry_begins_anew_at_a_breaker(tokenizer: Tokenizer) -> None:
    again = (HOT, WATER, WORDS[0], HOT, WATER)
    # llama.cpp looks for a breaker in a token's text without its SentencePiece space.
    assert greedy(tokenizer, *again, dry_multiplier=5.0, dry_sequence_breakers=("water",)) == 0
    assert greedy(tokenizer, *again, dry_multiplier=5.0, dry_sequence_breakers=("house",)) == 1


def test_freeing_twice_is_harmless(tokenizer: Tokenizer) -> None:
    chain = SamplerChain(SamplingParams(), tokenizer, seed=1, context_size=64)
    chain.free()
    chain.free()


def redraws(
    tokenizer: Tokenizer, params: dict[str, Any], allowed: Sequence[int], *, num_draws: int = 2000
) -> list[int | None]:
    """Places that second draws gave, where places in `allowed` are; None where there was none."""
    chain = SamplerChain(SamplingParams(**params), tokenizer, seed=1, context_size=64)
    mask = np.zeros(tokenizer.num_tokens, np.bool_)
    mask[[WORDS[place] for place in allowed]] = True
    places: list[int | None] = []
    for _ in range(num_draws):
        candidates = np.zeros(len(WORDS), dtype=CANDIDATE)
        candidates["id"] = WORDS
        candidates["logit"] = np.log(PROBABILITIES)
        chain.sample(candidates)
        del candidates  # the chain must not depend on its caller to keep them
        found = chain.redraw(mask)
        places.append(None if found is None else WORDS.index(found))
    chain.free()
    return places


def test_a_second_draw_has_the_first_ones_odds(tokenizer: Tokenizer) -> None:
    counts = Counter(redraws(tokenizer, NEUTRAL, [1, 3, 4]))
    assert set(counts) == {1, 3, 4}
    assert counts[1] / 2000 == pytest.approx(0.3 / 0.44, abs=0.04)
    assert counts[3] / 2000 == pytest.approx(0.1 / 0.44, abs=0.04)


def test_a_second_draw_is_made_at_the_same_temperature(tokenizer: Tokenizer) -> None:
    counts = Counter(redraws(tokenizer, {**NEUTRAL, "temperature": 0.5}, [1, 2]))
    assert counts[1] / 2000 == pytest.approx(0.09 / (0.09 + 0.0225), abs=0.04)


def test_a_second_draw_brings_nothing_back_that_was_truncated(tokenizer: Tokenizer) -> None:
    params = {**NEUTRAL, "top_k": 2}
    assert set(redraws(tokenizer, params, [1, 2, 3], num_draws=50)) == {1}
    assert set(redraws(tokenizer, params, [2, 3], num_draws=50)) == {None}


def test_there_is_no_second_draw_at_temperature_zero(tokenizer: Tokenizer) -> None:
    params = {"temperature": 0.0, "repeat_penalty": 1.5}
    assert set(redraws(tokenizer, params, [1, 2], num_draws=5)) == {None}


def test_infill_over_a_whole_vocabulary_takes_no_longer(tokenizer: Tokenizer) -> None:
    chain = SamplerChain(SamplingParams(**NEUTRAL, infill=True), tokenizer, seed=1, context_size=64)
    num_tokens = 1 << 17
    candidates = np.zeros(num_tokens, dtype=CANDIDATE)
    candidates["id"] = np.arange(num_tokens) % tokenizer.num_tokens
    candidates["logit"][0] = 5
    assert chain.sample(candidates) >= 0
    chain.free()


@pytest.mark.parametrize(("infill", "expected"), [(True, {"end"}), (False, {"end", "word"})])
def test_infill_ends_where_an_end_is_likely_enough(
    tokenizer: Tokenizer, infill: bool, expected: set[str]
) -> None:
    assert VOCABULARY.eot is not None
    names = {VOCABULARY.eot: "end", HOT: "word"}
    params = SamplingParams(**NEUTRAL, infill=infill)
    chain = SamplerChain(params, tokenizer, seed=1, context_size=64)
    found = set()
    for _ in range(100):
        candidates = np.zeros(2, dtype=CANDIDATE)
        candidates["id"] = list(names)
        found.add(names[chain.sample(candidates)])
    chain.free()
    assert found == expected

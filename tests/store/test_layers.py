from __future__ import annotations

from pathlib import Path

import pytest
from gguf import GGUFValueType, GGUFWriter

from llmd.errors import InvalidModelFile
from llmd.store.gguf import GgufHeader, read_header
from llmd.store.layers import Layer, read_layers, window_length

KEYS = {
    "block_count": 4,
    "embedding_length": 64,
    "attention.head_count": 4,
    "attention.head_count_kv": 2,
    "attention.key_length": 32,
    "attention.value_length": 16,
}
"""Of four layers, in each of which a token leaves 64 and 32 numbers."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.gguf"


def header(path: Path, architecture: str, **keys: object) -> GgufHeader:
    writer = GGUFWriter(path, architecture)
    for key, value in (KEYS | {name.replace("__", "."): keys[name] for name in keys}).items():
        name = f"{architecture}.{key}"
        if isinstance(value, list):
            writer.add_key_value(name, value, GGUFValueType.ARRAY)
        elif isinstance(value, int):
            writer.add_uint32(name, value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    return read_header(path)


def layers(path: Path, architecture: str, **keys: object) -> tuple[Layer, ...]:
    return read_layers(header(path, architecture, **keys), (), architecture)


def widths(path: Path, architecture: str, **keys: object) -> list[tuple[int, int]]:
    found = layers(path, architecture, **keys)
    return [(layer.key_width, layer.value_width) for layer in found]


def windows(path: Path, architecture: str, **keys: object) -> list[bool]:
    return [layer.sees_window for layer in layers(path, architecture, **keys)]


def test_every_layer_of_a_plain_model_attends(path: Path) -> None:
    assert widths(path, "llama") == [(64, 32)] * 4


def test_heads_are_as_wide_as_the_embedding_allows_where_nothing_is_said(path: Path) -> None:
    without = {"attention__key_length": None, "attention__value_length": None}
    assert widths(path, "llama", **without) == [(32, 32)] * 4


def test_heads_may_differ_from_layer_to_layer(path: Path) -> None:
    found = widths(path, "deci", attention__head_count_kv=[2, 0, 1, 4])
    assert found == [(64, 32), (0, 0), (32, 16), (128, 64)]


def test_latent_attention_keeps_one_vector_for_keys_and_values(path: Path) -> None:
    keys = {
        "attention__head_count_kv": 1,
        "attention__key_length": 576,
        "attention__value_length": 512,
        "attention__key_length_mla": 192,
        "attention__value_length_mla": 128,
    }
    assert widths(path, "deepseek2", **keys) == [(576, 0)] * 4


def test_last_layers_may_read_what_earlier_ones_left(path: Path) -> None:
    keys = {"attention__shared_kv_layers": 3, "attention__sliding_window": 32}
    assert widths(path, "gemma4", **keys) == [(64, 32), (0, 0), (0, 0), (0, 0)]
    assert widths(path, "gemma3n", block_count=22)[19:] == [(64, 32), (0, 0), (0, 0)]


def test_layers_that_guess_ahead_keep_nothing(path: Path) -> None:
    assert widths(path, "glm4moe", nextn_predict_layers=1) == [(64, 32)] * 3 + [(0, 0)]


def test_heads_of_a_window_may_have_a_length_of_their_own(path: Path) -> None:
    keys = {
        "attention__key_length_swa": 8,
        "attention__value_length_swa": 8,
        "attention__sliding_window": 32,
        "attention__sliding_window_pattern": [True, False, True, False],
    }
    assert widths(path, "gemma4", **keys) == [(16, 16), (64, 32), (16, 16), (64, 32)]


@pytest.mark.parametrize(
    ("architecture", "keys", "expected"),
    [
        ("gemma2", {}, [True, False, True, False]),
        ("gemma3", {"attention__sliding_window": 32}, [True] * 4),
        ("gemma3", {}, [False] * 4),
        ("smallthinker", {}, [False, True, True, True]),
        ("llama4", {}, [True, True, True, False]),
        ("llama4", {"attention__sliding_window": 0}, [False] * 4),
        ("phi3", {"attention__sliding_window": 32}, [False] * 4),
        ("exaone4", {"attention__sliding_window": 32}, [False] * 4),
        ("cohere2", {"attention__sliding_window": 32, "attention__sliding_window_pattern": 2},
         [True, False, True, False]),
        ("lfm2", {"attention__sliding_window": 32}, [True] * 4),
        ("of-tomorrow", {"attention__sliding_window": 32}, [False] * 4),
    ],
)  # fmt: skip
def test_which_layers_see_a_window_is_the_architectures(
    architecture: str, keys: dict[str, object], expected: list[bool], path: Path
) -> None:
    assert windows(path, architecture, **keys) == expected


def test_windows_have_a_length_even_where_the_file_says_none(path: Path) -> None:
    assert window_length(header(path, "gemma2"), "gemma2") == 4096
    assert window_length(header(path, "gemma2", attention__sliding_window=32), "gemma2") == 32
    assert window_length(header(path, "llama", attention__sliding_window=32), "llama") == 0


def test_a_recurrent_model_keeps_states_only(path: Path) -> None:
    keys = {"ssm__conv_kernel": 4, "ssm__inner_size": 128, "ssm__state_size": 16}
    # llama_hparams::n_embd_r and n_embd_s, in 32 bits.
    state = 4 * (3 * 128 + 16 * 128)
    assert layers(path, "mamba", **keys) == (Layer(0, 0, 0, False, state),) * 4


def test_a_hybrid_attends_in_some_layers(path: Path) -> None:
    keys = {"shortconv__l_cache": 3, "attention__head_count_kv": [0, 2, 0, 2]}
    found = layers(path, "lfm2", **keys)
    assert [layer.key_width for layer in found] == [0, 64, 0, 64]
    assert [layer.state_bytes for layer in found] == [4 * 64 * 2, 0, 4 * 64 * 2, 0]


def test_a_hybrid_may_attend_in_every_so_many_layers(path: Path) -> None:
    keys = {"ssm__state_size": 16, "ssm__inner_size": 32}
    found = layers(path, "qwen3next", **keys, full_attention_interval=2)
    assert [layer.key_width > 0 for layer in found] == [False, True, False, True]
    found = layers(path, "qwen3next", **keys, attention__recurrent_layers=[True, True, False, True])
    assert [layer.state_bytes > 0 for layer in found] == [True, True, False, True]


def test_a_hybrid_may_do_both_in_each_layer_or_neither(path: Path) -> None:
    keys = {"ssm__state_size": 16, "ssm__inner_size": 32}
    both = layers(path, "falcon-h1", **keys)
    assert all(layer.key_width and layer.state_bytes for layer in both)
    alone = layers(
        path,
        "nemotron_h",
        **keys,
        attention__head_count_kv=[0, 2, 0, 0],
        feed_forward_length=[0, 0, 128, 0],
    )
    assert [(bool(layer.key_width), bool(layer.state_bytes)) for layer in alone] == [
        (False, True),
        (True, False),
        (False, False),
        (False, True),
    ]


@pytest.mark.parametrize(
    ("architecture", "keys", "floats"),
    [
        ("rwkv7", {"wkv__head_size": 32}, 2 * 64 + 64 * 32),
        ("kimi-linear", {"kda__head_dim": 8, "ssm__conv_kernel": 4,
                         "attention__head_count_kv": 0}, 3 * 3 * 32 + 8 * 8 * 4),
        ("minimax-01", {}, 32 * 32 * 4),
    ],
)  # fmt: skip
def test_states_of_other_kinds(
    architecture: str, keys: dict[str, object], floats: int, path: Path
) -> None:
    assert layers(path, architecture, **keys)[0].state_bytes == 4 * floats


def test_an_encoder_keeps_nothing(path: Path) -> None:
    assert widths(path, "bert") == [(0, 0)] * 4


def test_a_list_that_is_too_short_ends_in_zeros(path: Path) -> None:
    assert widths(path, "deci", attention__head_count_kv=[2]) == [(64, 32)] + [(0, 0)] * 3


def test_a_list_that_is_far_too_long_is_refused(path: Path) -> None:
    with pytest.raises(InvalidModelFile, match="head_count_kv is not a list of a value for each"):
        layers(path, "deci", attention__head_count_kv=[2] * 5000)


def test_an_impossible_number_of_layers_is_refused(path: Path) -> None:
    with pytest.raises(InvalidModelFile, match="2147483648 layers"):
        layers(path, "llama", block_count=2**31)

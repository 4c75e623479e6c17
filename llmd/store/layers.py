"""What each layer of a model keeps, as llama.cpp will build it from the file's header.

Which layers attend, see a window only, or carry a state along is partly in the keys and partly in
llama.cpp's own code of each architecture (src/models/*.cpp load_arch_hparams, src/llama-hparams.cpp
and llama-model.cpp create_memory). Of an architecture that is not known here, every layer is taken
to attend to everything, which is the most that it can keep.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from llmd.errors import InvalidModelFile
from llmd.store.gguf import GgufArray, GgufHeader, TensorInfo

MAX_LAYERS = 512
"""LLAMA_MAX_LAYERS (llama-hparams.h)."""

RECURRENT = frozenset({"mamba", "mamba2", "rwkv6", "rwkv6qwen2", "rwkv7", "arwkv7"})
"""Architectures without attention (llama-arch.cpp llm_arch_is_recurrent)."""

_NO_HEADS_RECUR = frozenset(
    {"jamba", "plamo2", "granitehybrid", "lfm2", "lfm2moe", "kimi-linear", "kimi-k3"}
    | {"bailingmoe3", "glm5-next"}
)
"""Hybrids whose layers without heads for keys carry a state."""

_INTERVAL_RECUR = frozenset({"qwen3next", "qwen35", "qwen35moe", "qwen4exp", "minimax-01"})
"""Hybrids in which every so many layers one attends."""

_NEMOTRON = frozenset({"nemotron_h", "nemotron_h_moe"})
"""Hybrids whose layers do one thing each: attend, carry a state, or neither."""

DELTA_NETS = _INTERVAL_RECUR | frozenset({"kimi-linear", "kimi-k3", "bailingmoe3", "glm5-next"})
"""Of the hybrids, those that compute their states by the delta rule (delta-net-base.cpp)."""

NODES_PER_TOKEN = {
    **dict.fromkeys(DELTA_NETS | {"deepseek4", "nanbeige", "minimax-m3", "hy_v4"}, 40),
    **dict.fromkeys(("kimi-k3", "glm5-next"), 160),
}
"""Room in compute graphs, where llama.cpp makes it grow with a step (graph_max_nodes)."""

HYBRID = _NO_HEADS_RECUR | _INTERVAL_RECUR | _NEMOTRON | frozenset({"falcon-h1", "deepseek4"})
"""Architectures with attention and states (llama-arch.cpp llm_arch_is_hybrid)."""

WITHOUT_CACHE = frozenset(
    {"bert", "jina-bert-v2", "jina-bert-v3", "nomic-bert", "nomic-bert-moe", "neo-bert"}
    | {"eurobert", "modern-bert", "gemma-embedding", "dream", "llada", "llada-moe", "rnd1"}
    | {"wavtokenizer-dec"}
)
"""Architectures that see a text whole and keep nothing of it (llama-model.cpp create_memory)."""


@dataclass(frozen=True, slots=True)
class _Windows:
    """Which layers of an architecture see a window: of each `period` the last sees everything, or
    the first where `dense_first`; all do where it is 0. A list in the file goes before this.
    """

    period: int
    default_window: int = 0
    dense_first: bool = False


# Those of `_Windows(0)` have the list in their files.
_WINDOWS = {
    "afmoe": _Windows(4),
    "cohere2": _Windows(4),
    "cohere2moe": _Windows(4, dense_first=True),
    "exaone-moe": _Windows(4, 128),
    "exaone4": _Windows(4, 4096),
    "gemma2": _Windows(2, 4096),
    "gemma3": _Windows(6),
    "gemma3n": _Windows(5),
    "gemma4": _Windows(0),
    "gpt-oss": _Windows(2),
    "granite_swa": _Windows(0),
    "laguna": _Windows(4, dense_first=True),
    "lfm2": _Windows(0),
    "llama4": _Windows(4, 8192),
    "maple": _Windows(0),
    "mellum": _Windows(4),
    "mimo2": _Windows(0),
    "muse-glimmer": _Windows(4),
    "olmo2": _Windows(4),
    "plamo3": _Windows(8),
    "smallthinker": _Windows(4, 4096, dense_first=True),
    "spark2_5": _Windows(0),
    "step35": _Windows(0),
}

_BLOCK = re.compile(r"blk\.(\d{1,4})\.")


@dataclass(frozen=True, slots=True)
class Layer:
    """What one layer keeps in memory."""

    weight_bytes: int
    key_width: int
    """Numbers that a token leaves in the attention cache; 0 where a layer has none of its own."""
    value_width: int
    sees_window: bool
    """Of its sequence's tokens, it needs the newest only."""
    state_bytes: int
    """Of each sequence, however long it is."""


def window_length(header: GgufHeader, architecture: str) -> int:
    """Tokens that layers with a sliding window see; 0 where no layer has one."""
    known = _WINDOWS.get(architecture)
    stated = header.integer(f"{architecture}.attention.sliding_window")
    if known is None:
        return 0
    if architecture == "exaone4" and header.integer("exaone4.block_count") != 64:
        return 0
    if architecture == "llama4" and stated:
        return known.default_window  # the file only says whether there is one
    return max(0, known.default_window if stated is None else stated)


def read_layers(
    header: GgufHeader, tensors: tuple[TensorInfo, ...], architecture: str
) -> tuple[Layer, ...]:
    """Raises InvalidModelFile for what no model has."""
    num_layers = header.integer(f"{architecture}.block_count") or 0
    if not 0 <= num_layers <= MAX_LAYERS:
        raise InvalidModelFile(
            f"{header.path} says that it has {num_layers} layers, and no model has that many. "
            f"Download it again."
        )
    keys = _Keys(header, architecture, num_layers)
    weights: Counter[int] = Counter()
    for tensor in tensors:
        match = _BLOCK.match(tensor.name)
        if match:
            weights[int(match[1])] += tensor.num_bytes
    widths, windows = list(_cache_widths(keys)), _windows(keys)
    state_bytes, recurs = _state_bytes(keys), _recurrent_layers(keys)
    return tuple(
        Layer(weights[index], *widths[index], windows[index], state_bytes * recurs[index])
        for index in range(num_layers)
    )


class _Keys:
    """The architecture's own keys."""

    def __init__(self, header: GgufHeader, architecture: str, num_layers: int) -> None:
        self.architecture = architecture
        self.num_layers = num_layers
        self.heads = self._each(header, "attention.head_count") or (0,) * num_layers
        self.kv_heads = self._each(header, "attention.head_count_kv") or self.heads
        self._header = header

    def number(self, key: str, default: int = 0) -> int:
        value = self._header.integer(f"{self.architecture}.{key}")
        return default if value is None else max(0, value)

    def each(self, key: str) -> tuple[int, ...] | None:
        return self._each(self._header, key)

    def is_list(self, key: str) -> bool:
        return isinstance(self._header.values.get(f"{self.architecture}.{key}"), GgufArray)

    def _each(self, header: GgufHeader, key: str) -> tuple[int, ...] | None:
        found = header.per_layer(f"{self.architecture}.{key}", self.num_layers)
        return None if found is None else tuple(max(0, number) for number in found)

    @property
    def window(self) -> int:
        return window_length(self._header, self.architecture)

    @property
    def num_trunk_layers(self) -> int:
        """Without those that only guess tokens ahead, which llmd does not run."""
        return self.num_layers - self.number("nextn_predict_layers")


def _cache_widths(keys: _Keys) -> Iterator[tuple[int, int]]:
    """Of each layer, the numbers of a token's keys and values in the attention cache."""
    attends = _attending_layers(keys)
    windows = _windows(keys)
    heads = keys.heads[0] if keys.heads else 0
    per_head = keys.number("embedding_length") // max(1, heads)
    key_length = keys.number("attention.key_length", per_head)
    value_length = keys.number("attention.value_length", per_head)
    window_key_length = keys.number("attention.key_length_swa", key_length)
    window_value_length = keys.number("attention.value_length_swa", value_length)
    # With latent attention one short vector stands for keys and values.
    has_values = not keys.number("attention.key_length_mla")
    indexer = keys.number("attention.indexer.key_length")
    for index, num_heads in enumerate(keys.kv_heads):
        if not attends[index]:
            yield 0, 0
            continue
        key = window_key_length if windows[index] else key_length
        value = window_value_length if windows[index] else value_length
        yield num_heads * key + indexer, num_heads * value * has_values


def _attending_layers(keys: _Keys) -> tuple[bool, ...]:
    """Those with a cache of their own."""
    architecture, num_layers = keys.architecture, keys.num_layers
    if architecture in RECURRENT or architecture in WITHOUT_CACHE:
        return (False,) * num_layers
    if architecture in _NEMOTRON:
        feed = keys.each("feed_forward_length") or (0,) * num_layers
        attends = [bool(heads) and not fed for heads, fed in zip(keys.kv_heads, feed, strict=True)]
    elif architecture == "falcon-h1":
        attends = [True] * num_layers
    else:
        attends = [not recurs for recurs in _recurrent_layers(keys)]
    end = keys.num_trunk_layers
    # The last ones read what earlier ones have left.
    if architecture == "gemma3n":
        end = min(end, 20)
    elif architecture == "gemma4":
        end = min(end, num_layers - keys.number("attention.shared_kv_layers"))
    return tuple(attends[index] and index < end for index in range(num_layers))


def _recurrent_layers(keys: _Keys) -> tuple[bool, ...]:
    architecture, layers = keys.architecture, range(keys.num_layers)
    if architecture in RECURRENT or architecture == "falcon-h1":
        return (True,) * len(layers)
    if architecture in _NO_HEADS_RECUR:
        recurs = [heads == 0 for heads in keys.kv_heads]
    elif architecture in _NEMOTRON:
        feed = keys.each("feed_forward_length") or (0,) * len(layers)
        recurs = [not heads and not fed for heads, fed in zip(keys.kv_heads, feed, strict=True)]
    elif architecture in _INTERVAL_RECUR:
        interval = keys.number("full_attention_interval", 4) or 4
        stated = keys.each("attention.recurrent_layers")
        recurs = [
            bool(stated[index]) if stated else (index + 1) % interval != 0 for index in layers
        ]
    else:
        recurs = [False] * len(layers)
    return tuple(recurs[index] and index < keys.num_trunk_layers for index in layers)


def _windows(keys: _Keys) -> tuple[bool, ...]:
    known = _WINDOWS.get(keys.architecture)
    if known is None or not keys.window:
        return (False,) * keys.num_layers
    key = "attention.sliding_window_pattern"
    stated = keys.each(key)
    # A list tells each layer, one number the period.
    if stated is not None and keys.is_list(key):
        return tuple(map(bool, stated))
    period = stated[0] if stated else known.period
    full = 0 if known.dense_first else period - 1
    return tuple(not period or index % period != full for index in range(keys.num_layers))


def _state_bytes(keys: _Keys) -> int:
    """Of a sequence in one recurrent layer: llama_hparams::n_embd_r and n_embd_s, as floats."""
    width, heads = keys.number("embedding_length"), max(keys.heads, default=0)
    wkv, shift = keys.number("wkv.head_size"), keys.number("token_shift_count", 2)
    short, kernel = keys.number("shortconv.l_cache"), keys.number("ssm.conv_kernel")
    kda, inner = keys.number("kda.head_dim"), keys.number("ssm.inner_size")
    state = keys.number("ssm.state_size")
    if wkv:
        return 4 * (shift * width + width * wkv)
    if short:
        return 4 * width * (short - 1)
    if kda:
        return 4 * (3 * max(0, (kernel or 4) - 1) * heads * kda + kda * kda * heads)
    rolling = max(0, kernel - 1) * (inner + 2 * keys.number("ssm.group_count") * state)
    if keys.architecture == "minimax-01":
        head = keys.number("attention.key_length", width // max(1, heads))
        return 4 * (rolling + head * head * heads)
    return 4 * (rolling + state * inner)

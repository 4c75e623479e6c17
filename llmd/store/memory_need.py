"""How much memory a model takes, told from its file's header before anything is loaded.

Weights, attention cache and recurrent states are exact to the byte; compute buffers follow what
llama.cpp reserves (llama-context.cpp sched_reserve) and are an upper bound within some percent,
which tests hold against it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from llmd.store.gguf import TensorInfo
from llmd.store.layers import (
    DELTA_NETS,
    HYBRID,
    NODES_PER_TOKEN,
    RECURRENT,
    WITHOUT_CACHE,
    Layer,
    read_layers,
    window_length,
)
from llmd.store.model_file import ModelFile
from llmd.store.tensor_type import TENSOR_TYPES, TensorType

_CACHE_TYPES = {each.name.lower(): each for each in TENSOR_TYPES.values()}

_CELLS_ALIGNED = 256
"""llama.cpp rounds pools up to this (llama-context.cpp, llama-kv-cache-iswa.cpp)."""

_BYTES_PER_TOKEN_TEXT = 300
"""Of each token of the vocabulary, with its merges: measured with vocabularies of 150,000."""

_BYTES_PER_NODE = 420
"""Of a compute graph: a ggml_tensor, its place in lists and in a hash table (ggml_graph_nbytes)."""

_GRAPHS = 3
"""That a context keeps: the largest, the last with rows of logits, the last without."""

_BYTES_PER_CONTEXT = 2**20
"""Of each context beside: measured on models that have next to nothing else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextShape:
    """What a context is asked for. `num_sequences` counts llama.cpp's sequence ids, and
    `window_is_full` says that layers with a window keep all cells nevertheless.
    """

    num_cells: int
    num_sequences: int
    max_rows: int
    """Of logits in one decode."""
    ubatch_size: int
    cache_type_k: str = "f16"
    cache_type_v: str = "f16"
    flash_attention: bool = True
    window_is_full: bool = False
    embeds: bool = False
    """Each token's output is pooled, in place of logits."""


@dataclass(frozen=True, slots=True)
class ContextNeed:
    """Bytes of a context."""

    layers: tuple[int, ...]
    """The cache and the states of each layer."""
    compute: int
    """A step's graph, and the buffers of its intermediate results."""
    inputs: int
    """Of these, what is filled in on the host whatever computes: the attention masks."""
    graph: int
    """Of these, what graphs and lists take, on the host whatever computes."""
    output: int
    """The rows of logits, on the host."""

    @property
    def cache(self) -> int:
        return sum(self.layers)


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryNeed:
    """Of one model file. Immutable."""

    layers: tuple[Layer, ...]
    input_bytes: int
    """Weights of the token embedding, which stay on the host."""
    output_bytes: int
    """Weights behind the last layer."""
    shared_output_bytes: int
    """Of these, the embedding, where it serves as output too: once in memory, unless the output is
    on a device."""
    weight_bytes: int
    """Of all weights, each counted once."""
    window_length: int
    is_recurrent: bool
    """Without attention: a sequence takes a state and no cells."""
    has_recurrent_state: bool
    num_tokens: int
    """In the vocabulary."""
    embedding_length: int
    num_heads: int
    step_width: int
    """Numbers that a token takes at once while a layer is computed."""
    state_copies: int
    """That a step makes of the states of one layer."""
    num_tensors: int
    nodes_per_token: int
    """Of its compute graphs, where their size is that of a step."""
    keeps_cells: bool
    """Otherwise a text is seen whole, and nothing of it is kept."""
    output_length: int
    """Of an embedding."""

    @classmethod
    def of(cls, file: ModelFile) -> MemoryNeed:
        """Raises InvalidModelFile for what no model has."""
        header, architecture = file.header, file.architecture
        layers = read_layers(header, file.tensors, architecture)
        total = sum(tensor.num_bytes for tensor in file.tensors)
        if any(tensor.type is None for tensor in file.tensors):
            total = file.num_bytes
        named = {tensor.name: tensor.num_bytes for tensor in file.tensors}
        embedding = named.get("token_embd.weight", 0) + named.get("per_layer_token_embd.weight", 0)
        shared = 0 if "output.weight" in named else named.get("token_embd.weight", 0)
        output = total - embedding - sum(layer.weight_bytes for layer in layers) + shared
        heads = header.per_layer(f"{architecture}.attention.head_count", len(layers)) or ()
        return cls(
            layers=layers,
            input_bytes=embedding,
            output_bytes=max(0, output),
            shared_output_bytes=shared,
            weight_bytes=total,
            window_length=window_length(header, architecture),
            is_recurrent=architecture in RECURRENT,
            has_recurrent_state=architecture in RECURRENT | HYBRID,
            num_tokens=file.num_tokens,
            embedding_length=file.embedding_length or 0,
            num_heads=max(heads, default=0),
            step_width=_step_width(file, heads, len(layers)),
            state_copies=1 + (architecture in DELTA_NETS),
            num_tensors=len(file.tensors),
            nodes_per_token=NODES_PER_TOKEN.get(architecture, 0),
            keeps_cells=architecture not in WITHOUT_CACHE,
            output_length=file.output_length or 0,
        )

    @property
    def vocabulary_bytes(self) -> int:
        """On the host, beside weights and contexts."""
        return _BYTES_PER_TOKEN_TEXT * self.num_tokens

    def total_bytes(self, shape: ContextShape) -> int:
        """With one context, on the host."""
        context = self.of_context(shape)
        return (
            self.weight_bytes
            + self.vocabulary_bytes
            + context.cache
            + context.compute
            + context.output
        )

    def of_context(self, shape: ContextShape) -> ContextNeed:
        """Of one context, as llama.cpp will make it."""
        num_cells = _aligned(shape.num_cells)
        window_cells = num_cells
        if self.window_length and not shape.window_is_full:
            seen = self.window_length * shape.num_sequences + shape.ubatch_size
            window_cells = _aligned(min(num_cells, seen))
        layers = tuple(
            math.ceil(self._cell_bytes(layer, shape))
            * (window_cells if layer.sees_window else num_cells)
            + layer.state_bytes * shape.num_sequences
            for layer in self.layers
        )
        # llama.cpp plans its graph for equally long parts of all sequences.
        num_sequences = max(1, shape.num_sequences)
        tokens = min(num_cells, shape.ubatch_size) if self.keeps_cells else shape.ubatch_size
        tokens = -(-tokens // num_sequences) * num_sequences
        rows = max(shape.max_rows, num_sequences)
        if not self.keeps_cells:
            num_cells = window_cells = tokens
        masks, scores = self._attention_bytes(shape, tokens, num_cells, window_cells)
        states = max((layer.state_bytes for layer in self.layers), default=0) * num_sequences
        within = 4 * self.step_width * tokens + scores + self.state_copies * states
        behind = 4 * min(tokens, rows) * self.num_tokens + 4 * 3 * self.embedding_length * tokens
        row_width = self.num_tokens
        if shape.embeds:
            behind = 4 * num_sequences * tokens
            row_width += self.output_length
        graph = self._graph_bytes(shape)
        return ContextNeed(
            layers,
            compute=masks + max(within, behind) + graph,
            inputs=masks,
            graph=graph,
            output=4 * rows * row_width,
        )

    def _graph_bytes(self, shape: ContextShape) -> int:
        """llama_context::graph_max_nodes, which is taken in full."""
        if self.nodes_per_token:
            nodes = max(self.nodes_per_token * shape.ubatch_size, 32 * self.num_tensors)
        else:
            nodes = max(1024, 8 * self.num_tensors)
        return _GRAPHS * _BYTES_PER_NODE * nodes + _BYTES_PER_CONTEXT

    def _cell_bytes(self, layer: Layer, shape: ContextShape) -> float:
        value_width = layer.value_width
        if not shape.flash_attention and value_width:
            # Values are stored by column then, and all layers as wide as the widest.
            value_width = max(each.value_width for each in self.layers)
        return _row_bytes(shape.cache_type_k, layer.key_width) + _row_bytes(
            shape.cache_type_v, value_width
        )

    def _attention_bytes(
        self, shape: ContextShape, tokens: int, num_cells: int, window_cells: int
    ) -> tuple[int, int]:
        """Of the masks that say which token sees which cell, and of the scores."""
        attending = [layer for layer in self.layers if layer.key_width or not self.keeps_cells]
        attends = any(not layer.sees_window for layer in attending)
        windows = any(layer.sees_window for layer in attending)
        seen = num_cells * attends + window_cells * windows
        if shape.flash_attention:
            return 2 * tokens * seen, 0
        widest = max(num_cells * attends, window_cells * windows)
        return 4 * tokens * seen, 4 * tokens * widest * self.num_heads


def _step_width(file: ModelFile, heads: Sequence[int], num_layers: int) -> int:
    """Numbers per token that live at once in the widest part of a layer."""
    prefix = f"{file.architecture}."

    def number(key: str, default: int = 0) -> int:
        found = file.header.per_layer(prefix + key, num_layers) or ()
        return max(0, *found, 0) if found else default

    width = file.embedding_length or 0
    experts, each = number("expert_used_count"), number("expert_feed_forward_length")
    feed = number("feed_forward_length")
    # Where a gate decides what goes through, there are the gate, what it is laid on, and both.
    parts = 3 if _has_gate(file.tensors, feed) else 1
    feed = parts * max(feed, experts * (each or feed))
    head = width // max(1, max(heads, default=0))
    queries = max(heads, default=0) * number("attention.key_length", head)
    inner = number("ssm.inner_size")
    return max(
        feed + (4 + experts) * width,
        4 * queries + 5 * width,
        (8 if file.architecture in DELTA_NETS else 6) * inner + width,
        12 * width * bool(number("wkv.head_size")),
    )


def _has_gate(tensors: Sequence[TensorInfo], feed: int) -> bool:
    """Some models have the gate in a tensor of its own, others below what it is laid on."""
    return any(
        ".ffn_gate" in tensor.name
        or (tensor.name.endswith("ffn_up.weight") and tensor.shape[-1:] > (feed,))
        for tensor in tensors
    )


def _row_bytes(cache_type: str, width: int) -> float:
    kind: TensorType = _CACHE_TYPES[cache_type]
    return width / kind.block_length * kind.block_bytes


def _aligned(num_cells: int) -> int:
    return -(-num_cells // _CELLS_ALIGNED) * _CELLS_ALIGNED

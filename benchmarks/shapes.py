"""The shapes of real models: dimensions, the tensors they lead to, and the keys that tell them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

Tensor = tuple[str, tuple[int, ...]]
"""Name and shape; a matrix is (outputs, inputs)."""


@dataclass(frozen=True, slots=True)
class ShortConvolution:
    """LFM2's layers without attention: a gated convolution over the last few positions."""

    kernel: int

    def tensors(self, width: int) -> Iterator[Tensor]:
        yield "shortconv.conv.weight", (width, self.kernel)
        yield "shortconv.in_proj.weight", (3 * width, width)
        yield "shortconv.out_proj.weight", (width, width)

    def keys(self) -> dict[str, int]:
        return {"shortconv.l_cache": self.kernel}


@dataclass(frozen=True, slots=True)
class DeltaNet:
    """Qwen3-Next's and Qwen3.5's layers without attention: gated delta nets.

    Each of `num_value_heads` keeps a state of `head` times `head` numbers.
    """

    kernel: int
    head: int
    num_key_heads: int
    num_value_heads: int

    def tensors(self, width: int) -> Iterator[Tensor]:
        inner = self.head * self.num_value_heads
        convolved = 2 * self.head * self.num_key_heads + inner
        yield "attn_qkv.weight", (convolved, width)
        yield "attn_gate.weight", (inner, width)
        yield "ssm_conv1d.weight", (convolved, self.kernel)
        yield "ssm_dt.bias", (self.num_value_heads,)
        yield "ssm_a", (self.num_value_heads,)
        yield "ssm_beta.weight", (self.num_value_heads, width)
        yield "ssm_alpha.weight", (self.num_value_heads, width)
        yield "ssm_norm.weight", (self.head,)
        yield "ssm_out.weight", (width, inner)

    def keys(self) -> dict[str, int]:
        return {
            "ssm.conv_kernel": self.kernel,
            "ssm.inner_size": self.head * self.num_value_heads,
            "ssm.state_size": self.head,
            "ssm.time_step_rank": self.num_value_heads,
            "ssm.group_count": self.num_key_heads,
        }


@dataclass(frozen=True, slots=True)
class Shape:
    """The dimensions of a decoder with grouped-query attention and tied embeddings."""

    architecture: str
    num_layers: int
    width: int
    feed_forward: int
    num_heads: int
    num_kv_heads: int
    head: int
    vocabulary: int
    context_length: int
    rope_base: float
    has_head_norms: bool = True
    mixer: ShortConvolution | DeltaNet | None = None
    """What stands in for attention in a hybrid's other layers."""
    attention_layers: tuple[int, ...] = ()
    """Of a hybrid; without `mixer` every layer attends."""
    rotary: int = 0
    """How much of a head is rotated; 0 means all of it."""
    rope_sections: tuple[int, ...] = ()
    has_gated_queries: bool = False

    def attends(self, layer: int) -> bool:
        return self.mixer is None or layer in self.attention_layers

    @property
    def output_norm(self) -> str:
        return "token_embd_norm.weight" if self.architecture == "lfm2" else "output_norm.weight"

    @property
    def feed_forward_norm(self) -> str:
        return "post_attention_norm" if self.architecture == "qwen35" else "ffn_norm"


def _lfm2(width: int, feed_forward: int, num_heads: int) -> Shape:
    return replace(
        Shape("lfm2", 16, width, feed_forward, num_heads, 8, 64, 65_536, 128_000, 1e6),
        mixer=ShortConvolution(3),
        attention_layers=(2, 5, 8, 10, 12, 14),
    )


SHAPES = {
    "qwen3-0.6b": Shape("qwen3", 28, 1024, 3072, 16, 8, 128, 151_936, 40_960, 1e6),
    "qwen3-1.7b": Shape("qwen3", 28, 2048, 6144, 16, 8, 128, 151_936, 40_960, 1e6),
    "qwen3-4b": Shape("qwen3", 36, 2560, 9728, 32, 8, 128, 151_936, 40_960, 1e6),
    "llama-1b": Shape("llama", 16, 2048, 8192, 32, 8, 64, 128_256, 131_072, 5e5, False),
    # Hybrids: a state of 80 KiB beside the cells of attention, and one of 19 MiB.
    "lfm2-350m": _lfm2(1024, 4608, 16),
    "lfm2-1.2b": _lfm2(2048, 8192, 32),
    "qwen3.5-0.8b": replace(
        Shape("qwen35", 24, 1024, 3584, 8, 2, 256, 248_320, 262_144, 1e7),
        mixer=DeltaNet(4, 128, 16, 16),
        attention_layers=tuple(range(3, 24, 4)),
        rotary=64,
        rope_sections=(11, 11, 10, 0),
        has_gated_queries=True,
    ),
    # Not real shapes: quick to make and to run, for trying the benchmarks themselves.
    "toy": Shape("qwen3", 2, 256, 512, 4, 2, 64, 4_096, 8_192, 1e6),
    "toy-lfm2": replace(
        Shape("lfm2", 4, 256, 512, 4, 2, 64, 4_096, 8_192, 1e6),
        mixer=ShortConvolution(3),
        attention_layers=(1, 3),
    ),
    "toy-qwen3.5": replace(
        Shape("qwen35", 4, 256, 512, 4, 2, 64, 4_096, 8_192, 1e7),
        mixer=DeltaNet(4, 64, 2, 4),
        attention_layers=(3,),
        rotary=32,
        rope_sections=(6, 5, 5, 0),
        has_gated_queries=True,
    ),
}


def tensor_shapes(shape: Shape) -> dict[str, tuple[int, ...]]:
    """Every tensor's name and shape in file order; a matrix is (outputs, inputs)."""
    shapes: dict[str, tuple[int, ...]] = {
        "token_embd.weight": (shape.vocabulary, shape.width),
        shape.output_norm: (shape.width,),
    }
    for layer in range(shape.num_layers):
        block = f"blk.{layer}."
        shapes[block + "attn_norm.weight"] = (shape.width,)
        if shape.mixer is None or shape.attends(layer):
            mixing = _attention_tensors(shape)
        else:
            mixing = shape.mixer.tensors(shape.width)
        shapes |= {block + name: dimensions for name, dimensions in mixing}
        shapes[f"{block}{shape.feed_forward_norm}.weight"] = (shape.width,)
        shapes[block + "ffn_gate.weight"] = (shape.feed_forward, shape.width)
        shapes[block + "ffn_up.weight"] = (shape.feed_forward, shape.width)
        shapes[block + "ffn_down.weight"] = (shape.width, shape.feed_forward)
    return shapes


def _attention_tensors(shape: Shape) -> Iterator[Tensor]:
    queries, keys = shape.num_heads * shape.head, shape.num_kv_heads * shape.head
    yield "attn_q.weight", (queries * (2 if shape.has_gated_queries else 1), shape.width)
    yield "attn_k.weight", (keys, shape.width)
    yield "attn_v.weight", (keys, shape.width)
    yield "attn_output.weight", (shape.width, queries)
    if shape.has_head_norms:
        yield "attn_q_norm.weight", (shape.head,)
        yield "attn_k_norm.weight", (shape.head,)

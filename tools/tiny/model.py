"""The float model: a llama-architecture decoder small enough to train on two CPU cores."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class Shape:
    """Sizes of the network; every width is a multiple of 32, as Q8_0 blocks need."""

    vocabulary: int = 2048
    width: int = 192
    layers: int = 5
    heads: int = 6
    kv_heads: int = 2
    hidden: int = 384
    context: int = 2048
    rope_base: float = 10000.0
    norm_eps: float = 1e-5

    @property
    def head_width(self) -> int:
        """Width of one attention head."""
        return self.width // self.heads


def rotation(shape: Shape) -> tuple[Tensor, Tensor]:
    """Return cosines and sines of the rotary angles, each [context, head_width / 2]."""
    half = shape.head_width // 2
    rates = shape.rope_base ** (-torch.arange(half, dtype=torch.float64) / half)
    angles = torch.outer(torch.arange(shape.context, dtype=torch.float64), rates)
    return angles.cos().float(), angles.sin().float()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate neighbouring pairs of x [batch, heads, time, head_width] (llama.cpp 'norm' order)."""
    a, b = x.unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack((a * cos - b * sin, a * sin + b * cos), dim=-1).flatten(-2)


def shape_of(state: dict[str, Tensor]) -> Shape:
    """Return the shape of the model whose weights these are; only its depth may be unusual."""
    layers = 1 + max(int(name.split(".")[1]) for name in state if name.startswith("blocks."))
    return Shape(vocabulary=len(state["token_embd.weight"]), layers=layers)


class Norm(nn.Module):
    """Root-mean-square normalisation with a learned gain."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, (x.shape[-1],), self.weight, self.eps)


class Block(nn.Module):
    """One decoder layer: grouped-query attention, then a gated feed-forward network."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        kv_width = shape.kv_heads * shape.head_width
        self.shape = shape
        self.attn_norm = Norm(shape.width, shape.norm_eps)
        self.attn_q = nn.Linear(shape.width, shape.width, bias=False)
        self.attn_k = nn.Linear(shape.width, kv_width, bias=False)
        self.attn_v = nn.Linear(shape.width, kv_width, bias=False)
        self.attn_output = nn.Linear(shape.width, shape.width, bias=False)
        self.ffn_norm = Norm(shape.width, shape.norm_eps)
        self.ffn_gate = nn.Linear(shape.width, shape.hidden, bias=False)
        self.ffn_up = nn.Linear(shape.width, shape.hidden, bias=False)
        self.ffn_down = nn.Linear(shape.hidden, shape.width, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the new hidden states, and the rotated queries and keys of all heads."""
        batch, time, _ = x.shape
        h = self.attn_norm(x)
        q = self.attn_q(h).view(batch, time, self.shape.heads, -1).transpose(1, 2)
        k = self.attn_k(h).view(batch, time, self.shape.kv_heads, -1).transpose(1, 2)
        v = self.attn_v(h).view(batch, time, self.shape.kv_heads, -1).transpose(1, 2)
        group = self.shape.heads // self.shape.kv_heads
        k = rotate(k, cos, sin).repeat_interleave(group, dim=1)
        v = v.repeat_interleave(group, dim=1)
        q = rotate(q, cos, sin)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.attn_output(y.transpose(1, 2).reshape(batch, time, -1))
        h = self.ffn_norm(x)
        return x + self.ffn_down(F.silu(self.ffn_gate(h)) * self.ffn_up(h)), q, k


class Model(nn.Module):
    """Decoder with tied input and output embeddings; maps token ids to logits."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.token_embd = nn.Embedding(shape.vocabulary, shape.width)
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.output_norm = Norm(shape.width, shape.norm_eps)
        cos, sin = rotation(shape)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)
        self.reset()

    def reset(self) -> None:
        """Draw fresh weights: normal, with the residual outputs scaled down by depth."""
        for name, weight in self.named_parameters():
            if weight.dim() < 2:
                continue
            scale = 0.02 if "embd" in name else weight.shape[1] ** -0.5
            if name.endswith(("attn_output.weight", "ffn_down.weight")):
                scale *= (2 * self.shape.layers) ** -0.5
            nn.init.normal_(weight, std=scale)

    def hidden(
        self, tokens: Tensor, heads: tuple[tuple[int, int], ...] = ()
    ) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
        """Return the last hidden states, normed, and the queries and keys of some heads.

        Tokens are [batch, time]; heads are named by layer and number, and what they ask and hold
        is [batch, time, head_width].
        """
        time = tokens.shape[1]
        x = self.token_embd(tokens)
        looks = []
        for block in self.blocks:
            x, q, k = block(x, self.cos[:time], self.sin[:time])
            looks.append((q, k))
        found = [(looks[layer][0][:, head], looks[layer][1][:, head]) for layer, head in heads]
        return self.output_norm(x), found

    def forward(self, tokens: Tensor) -> Tensor:
        return F.linear(self.hidden(tokens)[0], self.token_embd.weight)

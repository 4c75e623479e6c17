"""A tiny qwen35: hybrid, gated delta nets with attention in every fourth layer, and positions of
more than one dimension (M-RoPE).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from zoo.model_file import ModelFile
from zoo.template import CHATML
from zoo.vocabulary import TokenType, spm_vocabulary

_NUM_HEADS = 4
_NUM_KV_HEADS = 2
_HEAD = 32
_INTERVAL = 4
_KERNEL = 4
_STATE = 32
_NUM_GROUPS = 2
_STEP_RANK = 4
_INNER = _STATE * _STEP_RANK  # llama.cpp accepts no other


def write_qwen35(
    path: Path,
    *,
    seed: int = 0,
    width: int = 64,
    num_layers: int = _INTERVAL,
    context_length: int = 2048,
    chat_template: str | None = CHATML,
    name: str = "tiny qwen35",
) -> Path:
    vocabulary = spm_vocabulary()
    model = ModelFile("qwen35", vocabulary, seed=seed)
    model.set_general(name=name, chat_template=chat_template, sampling={})
    model.set_keys(
        {
            "context_length": context_length,
            "embedding_length": width,
            "block_count": num_layers,
            "feed_forward_length": 2 * width,
            "attention.head_count": _NUM_HEADS,
            "attention.head_count_kv": _NUM_KV_HEADS,
            "attention.key_length": _HEAD,
            "attention.value_length": _HEAD,
            "attention.layer_norm_rms_epsilon": 1e-5,
            "full_attention_interval": _INTERVAL,
            "rope.dimension_count": _HEAD // 2,
            "rope.dimension_sections": [4, 2, 2, 0],
            "rope.freq_base": 1e6,
            "ssm.conv_kernel": _KERNEL,
            "ssm.inner_size": _INNER,
            "ssm.state_size": _STATE,
            "ssm.time_step_rank": _STEP_RANK,
            "ssm.group_count": _NUM_GROUPS,
        }
    )
    model.matrix("token_embd.weight", len(vocabulary), width)
    model.ones("output_norm.weight", width)
    for layer in range(num_layers):
        block = f"blk.{layer}."
        model.ones(block + "attn_norm.weight", width)
        model.ones(block + "post_attention_norm.weight", width)
        model.matrix(block + "ffn_gate.weight", 2 * width, width)
        model.matrix(block + "ffn_up.weight", 2 * width, width)
        model.matrix(block + "ffn_down.weight", width, 2 * width)
        if (layer + 1) % _INTERVAL:
            _add_delta_net(model, block, width)
        else:
            _add_attention(model, block, width)
    silent = (TokenType.UNKNOWN, TokenType.CONTROL, TokenType.BYTE)
    model.output(width, silent=silent, end_scale=0.0)
    return model.write(path)


def _add_attention(model: ModelFile, block: str, width: int) -> None:
    # Each head's query is followed by its gate.
    model.matrix(block + "attn_q.weight", 2 * _NUM_HEADS * _HEAD, width)
    model.matrix(block + "attn_k.weight", _NUM_KV_HEADS * _HEAD, width)
    model.matrix(block + "attn_v.weight", _NUM_KV_HEADS * _HEAD, width)
    model.matrix(block + "attn_output.weight", width, _NUM_HEADS * _HEAD)
    model.ones(block + "attn_q_norm.weight", _HEAD)
    model.ones(block + "attn_k_norm.weight", _HEAD)


def _add_delta_net(model: ModelFile, block: str, width: int) -> None:
    num_channels = 2 * _STATE * _NUM_GROUPS + _INNER
    model.matrix(block + "attn_qkv.weight", num_channels, width)
    model.matrix(block + "attn_gate.weight", _INNER, width)
    model.matrix(block + "ssm_conv1d.weight", num_channels, _KERNEL)
    model.tensor(block + "ssm_dt.bias", np.full(_STEP_RANK, -2.0, np.float32))
    # Stored as -exp(A_log): negative, or the state grows without bound.
    model.tensor(block + "ssm_a", -np.arange(1, _STEP_RANK + 1, dtype=np.float32))
    model.matrix(block + "ssm_beta.weight", _STEP_RANK, width)
    model.matrix(block + "ssm_alpha.weight", _STEP_RANK, width)
    model.ones(block + "ssm_norm.weight", _STATE)
    model.matrix(block + "ssm_out.weight", width, _INNER)

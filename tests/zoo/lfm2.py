"""A tiny lfm2: hybrid, short convolutions with attention in every other layer."""

from __future__ import annotations

from pathlib import Path

from zoo.model_file import ModelFile
from zoo.template import CHATML
from zoo.vocabulary import TokenType, spm_vocabulary

_WIDTH = 64
_FEED_FORWARD = 128
_NUM_HEADS = 2
_HEAD = _WIDTH // _NUM_HEADS
_KERNEL = 3


def write_lfm2(
    path: Path,
    *,
    seed: int = 0,
    context_length: int = 2048,
    chat_template: str | None = CHATML,
    name: str = "tiny lfm2",
) -> Path:
    vocabulary = spm_vocabulary()
    num_kv_heads = [0, _NUM_HEADS, 0, _NUM_HEADS]  # 0 makes a layer a convolution
    model = ModelFile("lfm2", vocabulary, seed=seed)
    model.set_general(name=name, chat_template=chat_template, sampling={})
    model.set_keys(
        {
            "context_length": context_length,
            "embedding_length": _WIDTH,
            "block_count": len(num_kv_heads),
            "feed_forward_length": _FEED_FORWARD,
            "attention.head_count": _NUM_HEADS,
            "attention.head_count_kv": num_kv_heads,
            "attention.layer_norm_rms_epsilon": 1e-5,
            "rope.freq_base": 1e6,
            "shortconv.l_cache": _KERNEL,
        }
    )
    model.matrix("token_embd.weight", len(vocabulary), _WIDTH)
    model.ones("token_embd_norm.weight", _WIDTH)  # in lfm2 the name of the output norm
    for layer, layer_kv_heads in enumerate(num_kv_heads):
        block = f"blk.{layer}."
        model.ones(block + "attn_norm.weight", _WIDTH)
        model.ones(block + "ffn_norm.weight", _WIDTH)
        model.matrix(block + "ffn_gate.weight", _FEED_FORWARD, _WIDTH)
        model.matrix(block + "ffn_up.weight", _FEED_FORWARD, _WIDTH)
        model.matrix(block + "ffn_down.weight", _WIDTH, _FEED_FORWARD)
        if layer_kv_heads:
            for projection in ("attn_q", "attn_k", "attn_v", "attn_output"):
                model.matrix(f"{block}{projection}.weight", _WIDTH, _WIDTH)
            model.ones(block + "attn_q_norm.weight", _HEAD)
            model.ones(block + "attn_k_norm.weight", _HEAD)
        else:
            model.matrix(block + "shortconv.conv.weight", _WIDTH, _KERNEL)
            model.matrix(block + "shortconv.in_proj.weight", 3 * _WIDTH, _WIDTH)
            model.matrix(block + "shortconv.out_proj.weight", _WIDTH, _WIDTH)
    silent = (TokenType.UNKNOWN, TokenType.CONTROL, TokenType.BYTE)
    model.output(_WIDTH, silent=silent, end_scale=0.0)
    return model.write(path)

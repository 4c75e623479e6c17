"""A tiny lfm2: hybrid, short convolutions with attention in every other layer."""

from __future__ import annotations

from pathlib import Path

from zoo.model_file import ModelFile
from zoo.template import CHATML
from zoo.vocabulary import TokenType, spm_vocabulary

_NUM_HEADS = 2
_KERNEL = 3


def write_lfm2(
    path: Path,
    *,
    seed: int = 0,
    width: int = 64,
    context_length: int = 2048,
    chat_template: str | None = CHATML,
    name: str = "tiny lfm2",
) -> Path:
    vocabulary = spm_vocabulary()
    head = width // _NUM_HEADS
    num_kv_heads = [0, _NUM_HEADS, 0, _NUM_HEADS]  # 0 makes a layer a convolution
    model = ModelFile("lfm2", vocabulary, seed=seed)
    model.set_general(name=name, chat_template=chat_template, sampling={})
    model.set_keys(
        {
            "context_length": context_length,
            "embedding_length": width,
            "block_count": len(num_kv_heads),
            "feed_forward_length": 2 * width,
            "attention.head_count": _NUM_HEADS,
            "attention.head_count_kv": num_kv_heads,
            "attention.layer_norm_rms_epsilon": 1e-5,
            "rope.freq_base": 1e6,
            "shortconv.l_cache": _KERNEL,
        }
    )
    model.matrix("token_embd.weight", len(vocabulary), width)
    model.ones("token_embd_norm.weight", width)  # in lfm2 the name of the output norm
    for layer, layer_kv_heads in enumerate(num_kv_heads):
        block = f"blk.{layer}."
        model.ones(block + "attn_norm.weight", width)
        model.ones(block + "ffn_norm.weight", width)
        model.matrix(block + "ffn_gate.weight", 2 * width, width)
        model.matrix(block + "ffn_up.weight", 2 * width, width)
        model.matrix(block + "ffn_down.weight", width, 2 * width)
        if layer_kv_heads:
            for projection in ("attn_q", "attn_k", "attn_v", "attn_output"):
                model.matrix(f"{block}{projection}.weight", width, width)
            model.ones(block + "attn_q_norm.weight", head)
            model.ones(block + "attn_k_norm.weight", head)
        else:
            model.matrix(block + "shortconv.conv.weight", width, _KERNEL)
            model.matrix(block + "shortconv.in_proj.weight", 3 * width, width)
            model.matrix(block + "shortconv.out_proj.weight", width, width)
    silent = (TokenType.UNKNOWN, TokenType.CONTROL, TokenType.BYTE)
    model.output(width, silent=silent, end_scale=0.0)
    return model.write(path)

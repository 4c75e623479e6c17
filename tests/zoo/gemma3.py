"""A tiny gemma3: three of four layers see a window of 32 tokens only."""

from __future__ import annotations

from pathlib import Path

from zoo.model_file import ModelFile
from zoo.template import CHATML
from zoo.vocabulary import TokenType, spm_vocabulary

_HEAD = 32
_NUM_HEADS = 4
_NUM_KV_HEADS = 2


def write_gemma3(
    path: Path,
    *,
    seed: int = 0,
    width: int = 64,
    context_length: int = 2048,
    sliding_window: int = 32,
    chat_template: str | None = CHATML,
    architecture: str = "gemma3",
    name: str = "tiny gemma3",
) -> Path:
    """Sliding-window attention: what has left the window cannot be taken up again. As
    `gemma-embedding` its tokens see those behind them too, of which the file says nothing.
    """
    vocabulary = spm_vocabulary()
    windowed = [True, True, True, False]
    model = ModelFile(architecture, vocabulary, seed=seed)
    model.set_general(name=name, chat_template=chat_template, sampling={})
    model.set_keys(
        {
            "context_length": context_length,
            "embedding_length": width,
            "block_count": len(windowed),
            "feed_forward_length": 2 * width,
            "attention.head_count": _NUM_HEADS,
            "attention.head_count_kv": _NUM_KV_HEADS,
            "attention.key_length": _HEAD,
            "attention.value_length": _HEAD,
            "attention.layer_norm_rms_epsilon": 1e-5,
            "attention.sliding_window": sliding_window,
            "attention.sliding_window_pattern": windowed,
            "rope.dimension_count": _HEAD,
            "rope.freq_base": 1e6,
            "rope.freq_base_swa": 1e4,
        }
    )
    # The graph multiplies the embedding by sqrt(width).
    model.matrix("token_embd.weight", len(vocabulary), width)
    model.ones("output_norm.weight", width)
    for layer in range(len(windowed)):
        block = f"blk.{layer}."
        for norm in ("attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm"):
            model.ones(f"{block}{norm}.weight", width)
        model.ones(block + "attn_q_norm.weight", _HEAD)
        model.ones(block + "attn_k_norm.weight", _HEAD)
        model.matrix(block + "attn_q.weight", _NUM_HEADS * _HEAD, width)
        model.matrix(block + "attn_k.weight", _NUM_KV_HEADS * _HEAD, width)
        model.matrix(block + "attn_v.weight", _NUM_KV_HEADS * _HEAD, width)
        model.matrix(block + "attn_output.weight", width, _NUM_HEADS * _HEAD)
        model.matrix(block + "ffn_gate.weight", 2 * width, width)
        model.matrix(block + "ffn_up.weight", 2 * width, width)
        model.matrix(block + "ffn_down.weight", width, 2 * width)
    silent = (TokenType.UNKNOWN, TokenType.CONTROL, TokenType.BYTE)
    model.output(width, silent=silent, end_scale=0.0)
    return model.write(path)

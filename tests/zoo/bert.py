"""A tiny BERT: an encoder, whose tokens see those behind them too."""

from __future__ import annotations

from pathlib import Path

from zoo.model_file import ModelFile
from zoo.vocabulary import wordpiece_vocabulary

_WIDTH = 64
_NUM_HEADS = 2
_NUM_TYPES = 2

MEAN, CLS, RANK = 1, 2, 4
"""Of llama.h enum llama_pooling_type."""


def write_bert(
    path: Path,
    *,
    pooling: int | None = MEAN,
    with_head: bool = False,
    seed: int = 0,
    num_layers: int = 2,
    context_length: int = 512,
    name: str = "tiny bert",
    is_quantized: bool = False,
) -> Path:
    """`pooling` None does not say how it pools; `with_head` adds a classification head. If it
    `is_quantized`, its layers' matrices are Q8_0.
    """
    vocabulary = wordpiece_vocabulary()
    model = ModelFile("bert", vocabulary, seed=seed)
    model.set_general(name=name, chat_template=None, sampling={})
    model.set_keys(
        {
            "context_length": context_length,
            "embedding_length": _WIDTH,
            "feed_forward_length": 2 * _WIDTH,
            "block_count": num_layers,
            "attention.head_count": _NUM_HEADS,
            "attention.layer_norm_epsilon": 1e-12,
            "attention.causal": False,
        }
    )
    model.set_tokenizer_key("token_type_count", _NUM_TYPES)
    if pooling is not None:
        model.set_keys({"pooling_type": pooling})
    model.matrix("token_embd.weight", len(vocabulary), _WIDTH, scale=8.0)
    model.matrix("position_embd.weight", context_length, _WIDTH)
    model.matrix("token_types.weight", _NUM_TYPES, _WIDTH)
    _norm(model, "token_embd_norm")
    for layer in range(num_layers):
        block = f"blk.{layer}."
        for part in ("attn_q", "attn_k", "attn_v", "attn_output"):
            _linear(model, block + part, _WIDTH, _WIDTH)
        _norm(model, block + "attn_output_norm")
        _linear(model, block + "ffn_up", 2 * _WIDTH, _WIDTH)
        _linear(model, block + "ffn_down", _WIDTH, 2 * _WIDTH)
        _norm(model, block + "layer_output_norm")
    if with_head:
        _linear(model, "cls", _WIDTH, _WIDTH)
        _linear(model, "cls.output", 1, _WIDTH)
    return model.write(path, is_quantized=is_quantized)


def _linear(model: ModelFile, name: str, num_outputs: int, num_inputs: int) -> None:
    model.matrix(f"{name}.weight", num_outputs, num_inputs)
    model.zeros(f"{name}.bias", num_outputs)


def _norm(model: ModelFile, name: str) -> None:
    model.ones(f"{name}.weight", _WIDTH)
    model.zeros(f"{name}.bias", _WIDTH)

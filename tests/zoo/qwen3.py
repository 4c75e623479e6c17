"""A tiny qwen3: a decoder that embeds by its last token, or ranks as Qwen3-Reranker does."""

from __future__ import annotations

from pathlib import Path

from zoo.model_file import KeyValue, ModelFile
from zoo.template import CHATML
from zoo.vocabulary import TokenType, bpe_vocabulary

_WIDTH, _HEAD = 64, 32
_NUM_HEADS, _NUM_KV_HEADS = 2, 1

RERANK_TEMPLATE = (
    "<|im_start|>system\nJudge.<|im_end|>\n<|im_start|>user\n"
    "<Instruct>: Given a web search query, retrieve relevant passages that answer the query\n"
    "<Query>: {query}\n<Document>: {document}<|im_end|>\n<|im_start|>assistant\n"
)


def write_qwen3(
    path: Path,
    *,
    pooling: int | None = None,
    with_head: bool = False,
    rerank_template: str | None = None,
    user_defined: tuple[str, ...] = ("yes", "no"),
    seed: int = 0,
    num_layers: int = 2,
    context_length: int = 2048,
    name: str = "tiny qwen3",
) -> Path:
    """`with_head` adds the head of a converted reranker, with the labels yes and no."""
    vocabulary = bpe_vocabulary("qwen2", user_defined=user_defined)
    model = ModelFile("qwen3", vocabulary, seed=seed)
    model.set_general(name=name, chat_template=CHATML, sampling={})
    keys: dict[str, KeyValue] = {
        "context_length": context_length,
        "embedding_length": _WIDTH,
        "feed_forward_length": 2 * _WIDTH,
        "block_count": num_layers,
        "attention.head_count": _NUM_HEADS,
        "attention.head_count_kv": _NUM_KV_HEADS,
        "attention.key_length": _HEAD,
        "attention.value_length": _HEAD,
        "attention.layer_norm_rms_epsilon": 1e-5,
        "rope.dimension_count": _HEAD,
    }
    if pooling is not None:
        keys["pooling_type"] = pooling
    if with_head:
        keys["classifier.output_labels"] = ("yes", "no")
    model.set_keys(keys)
    if rerank_template is not None:
        model.set_chat_template("rerank", rerank_template)
    model.matrix("token_embd.weight", len(vocabulary), _WIDTH)
    model.ones("output_norm.weight", _WIDTH)
    for layer in range(num_layers):
        block = f"blk.{layer}."
        model.ones(block + "attn_norm.weight", _WIDTH)
        model.matrix(block + "attn_q.weight", _HEAD * _NUM_HEADS, _WIDTH)
        model.matrix(block + "attn_k.weight", _HEAD * _NUM_KV_HEADS, _WIDTH)
        model.matrix(block + "attn_v.weight", _HEAD * _NUM_KV_HEADS, _WIDTH)
        model.matrix(block + "attn_output.weight", _WIDTH, _HEAD * _NUM_HEADS)
        model.ones(block + "attn_q_norm.weight", _HEAD)
        model.ones(block + "attn_k_norm.weight", _HEAD)
        model.ones(block + "ffn_norm.weight", _WIDTH)
        model.matrix(block + "ffn_gate.weight", 2 * _WIDTH, _WIDTH)
        model.matrix(block + "ffn_up.weight", 2 * _WIDTH, _WIDTH)
        model.matrix(block + "ffn_down.weight", _WIDTH, 2 * _WIDTH)
    silent = (TokenType.UNKNOWN, TokenType.CONTROL)
    model.output(_WIDTH, silent=silent, end_scale=0.0)
    if with_head:
        model.matrix("cls.output.weight", 2, _WIDTH, scale=3.0)
    return model.write(path)

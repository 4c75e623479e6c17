"""Tiny llama models: a general one, one that speaks broken UTF-8, one that speaks a script."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from zoo.model_file import KeyValue, ModelFile
from zoo.template import CHATML
from zoo.vocabulary import (
    FIM_PIECES,
    REPOSITORY_PIECES,
    TokenType,
    Vocabulary,
    bpe_vocabulary,
    byte_vocabulary,
    spm_vocabulary,
)

_NUM_HEADS = 2
_NUM_KV_HEADS = 1
_QUIET = (TokenType.UNKNOWN, TokenType.CONTROL, TokenType.BYTE)


def _llama(
    vocabulary: Vocabulary, *, seed: int, num_layers: int, embedding: int, context_length: int
) -> ModelFile:
    """All but the output. A head is embedding / 2 wide: 32, a whole q8_0 block, by default."""
    head, feed_forward = embedding // _NUM_HEADS, embedding * 2
    model = ModelFile("llama", vocabulary, seed=seed)
    model.set_keys(
        {
            "context_length": context_length,
            "embedding_length": embedding,
            "block_count": num_layers,
            "feed_forward_length": feed_forward,
            "attention.head_count": _NUM_HEADS,
            "attention.head_count_kv": _NUM_KV_HEADS,
            "attention.layer_norm_rms_epsilon": 1e-5,
            "rope.dimension_count": head,
        }
    )
    model.matrix("token_embd.weight", len(vocabulary), embedding)
    model.ones("output_norm.weight", embedding)
    for layer in range(num_layers):
        block = f"blk.{layer}."
        model.ones(block + "attn_norm.weight", embedding)
        model.matrix(block + "attn_q.weight", embedding, embedding)
        model.matrix(block + "attn_k.weight", head * _NUM_KV_HEADS, embedding)
        model.matrix(block + "attn_v.weight", head * _NUM_KV_HEADS, embedding)
        model.matrix(block + "attn_output.weight", embedding, embedding)
        model.ones(block + "ffn_norm.weight", embedding)
        model.matrix(block + "ffn_gate.weight", feed_forward, embedding)
        model.matrix(block + "ffn_up.weight", feed_forward, embedding)
        model.matrix(block + "ffn_down.weight", embedding, feed_forward)
    return model


def write_llama(
    path: Path,
    *,
    seed: int = 0,
    num_layers: int = 2,
    embedding: int = 64,
    context_length: int = 2048,
    chat_template: str | None = CHATML,
    vocabulary: Vocabulary | None = None,
    sampling: Mapping[str, KeyValue] | None = None,
    name: str = "tiny llama",
    end_scale: float = 0.0,
    without: str | None = None,
) -> Path:
    """A llama that prints words and never ends by itself unless `end_scale` is above 0.

    `vocabulary` is `spm_vocabulary()` by default; `without` names a tensor to leave out.
    """
    model = _llama(
        vocabulary or spm_vocabulary(),
        seed=seed,
        num_layers=num_layers,
        embedding=embedding,
        context_length=context_length,
    )
    model.set_general(name=name, chat_template=chat_template, sampling=sampling or {})
    model.output(embedding, silent=_QUIET, end_scale=end_scale)
    return model.write(path, without=without)


def write_bytes_llama(path: Path, *, seed: int = 0, name: str = "tiny bytes") -> Path:
    """A llama whose 256 byte tokens are all likely, so that its text is broken UTF-8."""
    model = _llama(byte_vocabulary(), seed=seed, num_layers=2, embedding=64, context_length=2048)
    model.set_general(name=name, chat_template=CHATML, sampling={})
    silent = (TokenType.UNKNOWN, TokenType.CONTROL, TokenType.USER_DEFINED, TokenType.NORMAL)
    model.output(64, silent=silent, end_scale=0.0)
    return model.write(path)


def write_coder_llama(path: Path, *, seed: int = 0, name: str = "tiny coder") -> Path:
    """A llama with byte-level tokens and Qwen's for filling a gap in a file of a repository."""
    vocabulary = bpe_vocabulary("qwen2", user_defined=(*FIM_PIECES, *REPOSITORY_PIECES))
    return write_llama(path, seed=seed, vocabulary=vocabulary, name=name)


def write_scripted_llama(
    path: Path,
    script: Sequence[str],
    *,
    chat_template: str | None = CHATML,
    name: str = "tiny script",
) -> Path:
    """A llama that answers any prompt with the pieces of `script` and then ends its turn.

    The pieces must be distinct and none may begin another. They become user-defined tokens, beside
    those of `spm_vocabulary()`, which a script may use as well (`<think>`, `<tool_call>`). Greedy,
    or sampled at temperatures up to 1: the next piece leads by a logit of about 30.
    """
    known = spm_vocabulary()
    vocabulary = spm_vocabulary(
        user_defined=[piece for piece in script if piece not in known.pieces]
    )
    width = 64
    model = _llama(vocabulary, seed=0, num_layers=1, embedding=width, context_length=2048)
    model.set_general(name=name, chat_template=chat_template, sampling={})
    # Without its residual branches the model sees nothing but the last token: a table of what
    # follows what, with one direction per place in the script and one for all other tokens.
    model.zeros("blk.0.attn_output.weight", width, width)
    model.zeros("blk.0.ffn_down.weight", width, width * 2)
    places = [vocabulary.id_of(piece) for piece in script]
    assert vocabulary.eot is not None
    assert len(set(places)) == len(places) < width, "a script is short and repeats nothing"
    embeddings = np.zeros((len(vocabulary), width), np.float32)
    embeddings[:, 0] = 1.0
    output = np.zeros_like(embeddings)
    for place, (token, follower) in enumerate(
        zip([None, *places], [*places, vocabulary.eot], strict=True)
    ):
        if token is not None:
            embeddings[token] = np.eye(width, dtype=np.float32)[place]
        output[follower, place] = 4.0
    model.tensor("token_embd.weight", embeddings)
    model.tensor("output.weight", output)
    return model.write(path)

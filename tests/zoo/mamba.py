"""A tiny mamba: recurrent, so its memory holds one state and cannot drop a suffix."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from zoo.model_file import ModelFile
from zoo.template import CHATML
from zoo.vocabulary import TokenType, spm_vocabulary

_WIDTH = 64
_INNER = 2 * _WIDTH  # llama.cpp accepts no other
_STATE = 16
_STEP_RANK = 4
_KERNEL = 4


def write_mamba(
    path: Path,
    *,
    seed: int = 0,
    num_layers: int = 2,
    context_length: int = 2048,
    chat_template: str | None = CHATML,
    name: str = "tiny mamba",
) -> Path:
    vocabulary = spm_vocabulary()
    model = ModelFile("mamba", vocabulary, seed=seed)
    model.set_general(name=name, chat_template=chat_template, sampling={})
    model.set_keys(
        {
            "context_length": context_length,
            "embedding_length": _WIDTH,
            "feed_forward_length": 0,
            "block_count": num_layers,
            "attention.head_count": 0,
            "attention.layer_norm_rms_epsilon": 1e-5,
            "ssm.conv_kernel": _KERNEL,
            "ssm.inner_size": _INNER,
            "ssm.state_size": _STATE,
            "ssm.time_step_rank": _STEP_RANK,
        }
    )
    model.matrix("token_embd.weight", len(vocabulary), _WIDTH)
    model.ones("output_norm.weight", _WIDTH)
    # Stored as -exp(A_log): negative, or the state grows without bound.
    decay = -np.tile(np.arange(1, _STATE + 1, dtype=np.float32), (_INNER, 1))
    for layer in range(num_layers):
        block = f"blk.{layer}."
        model.ones(block + "attn_norm.weight", _WIDTH)
        model.matrix(block + "ssm_in.weight", 2 * _INNER, _WIDTH)
        model.matrix(block + "ssm_conv1d.weight", _INNER, _KERNEL)
        model.zeros(block + "ssm_conv1d.bias", _INNER)
        model.matrix(block + "ssm_x.weight", _STEP_RANK + 2 * _STATE, _INNER)
        model.matrix(block + "ssm_dt.weight", _INNER, _STEP_RANK)
        model.tensor(block + "ssm_dt.bias", np.full(_INNER, -2.0, np.float32))
        model.tensor(block + "ssm_a", decay)
        model.ones(block + "ssm_d", _INNER)
        model.matrix(block + "ssm_out.weight", _WIDTH, _INNER)
    silent = (TokenType.UNKNOWN, TokenType.CONTROL, TokenType.BYTE)
    model.output(_WIDTH, silent=silent, end_scale=0.0)
    return model.write(path)

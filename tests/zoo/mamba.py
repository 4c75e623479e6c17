"""A tiny mamba: recurrent, so its memory holds one state and cannot drop a suffix."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from zoo.model_file import ModelFile
from zoo.template import CHATML
from zoo.vocabulary import TokenType, spm_vocabulary

_STATE = 16
_STEP_RANK = 4
_KERNEL = 4


def write_mamba(
    path: Path,
    *,
    seed: int = 0,
    width: int = 64,
    num_layers: int = 2,
    context_length: int = 2048,
    chat_template: str | None = CHATML,
    name: str = "tiny mamba",
) -> Path:
    vocabulary = spm_vocabulary()
    inner = 2 * width  # llama.cpp accepts no other
    model = ModelFile("mamba", vocabulary, seed=seed)
    model.set_general(name=name, chat_template=chat_template, sampling={})
    model.set_keys(
        {
            "context_length": context_length,
            "embedding_length": width,
            "feed_forward_length": 0,
            "block_count": num_layers,
            "attention.head_count": 0,
            "attention.layer_norm_rms_epsilon": 1e-5,
            "ssm.conv_kernel": _KERNEL,
            "ssm.inner_size": inner,
            "ssm.state_size": _STATE,
            "ssm.time_step_rank": _STEP_RANK,
        }
    )
    model.matrix("token_embd.weight", len(vocabulary), width)
    model.ones("output_norm.weight", width)
    # Stored as -exp(A_log): negative, or the state grows without bound.
    decay = -np.tile(np.arange(1, _STATE + 1, dtype=np.float32), (inner, 1))
    for layer in range(num_layers):
        block = f"blk.{layer}."
        model.ones(block + "attn_norm.weight", width)
        model.matrix(block + "ssm_in.weight", 2 * inner, width)
        model.matrix(block + "ssm_conv1d.weight", inner, _KERNEL)
        model.zeros(block + "ssm_conv1d.bias", inner)
        model.matrix(block + "ssm_x.weight", _STEP_RANK + 2 * _STATE, inner)
        model.matrix(block + "ssm_dt.weight", inner, _STEP_RANK)
        model.tensor(block + "ssm_dt.bias", np.full(inner, -2.0, np.float32))
        model.tensor(block + "ssm_a", decay)
        model.ones(block + "ssm_d", inner)
        model.matrix(block + "ssm_out.weight", width, inner)
    silent = (TokenType.UNKNOWN, TokenType.CONTROL, TokenType.BYTE)
    model.output(width, silent=silent, end_scale=0.0)
    return model.write(path)

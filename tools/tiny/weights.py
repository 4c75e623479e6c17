"""The weights of an exported model, to train it further where no checkpoint is at hand."""

from __future__ import annotations

from pathlib import Path

import gguf
import torch
from model import Model


def load_weights(model: Model, path: Path) -> None:
    """Fill `model` from a GGUF that export.py wrote; quantized weights come back rounded."""
    tensors = {tensor.name: tensor for tensor in gguf.GGUFReader(path).tensors}
    state = {}
    for name, weight in model.state_dict().items():
        tensor = tensors[name.replace("blocks.", "blk.", 1)]
        data = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        state[name] = torch.from_numpy(data.copy()).reshape(weight.shape)
    model.load_state_dict(state)

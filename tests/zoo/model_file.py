"""What every tiny model shares: seeded weights, keys, and the file itself."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType, GGUFValueType, GGUFWriter, quantize
from numpy.typing import NDArray

from zoo.vocabulary import TokenType, Vocabulary

KeyValue = bool | int | float | str | Sequence[int] | Sequence[str]
Array = NDArray[np.float32]

OUTPUT_SCALE = 3.0
"""How many times wider than a fair guess the logits spread. Wide enough that the best token leads
by more than what another batch shape changes in the sums, so greedy text does not depend on it."""


class ModelFile:
    """One model on its way to a GGUF: collects keys and tensors, then writes them.

    Tensors are F32 numpy arrays in row order: a matrix is (outputs, inputs).
    """

    def __init__(self, architecture: str, vocabulary: Vocabulary, *, seed: int) -> None:
        self._architecture = architecture
        self._vocabulary = vocabulary
        self._random = np.random.default_rng(seed)
        self._keys: dict[str, KeyValue] = {"general.type": "model"}
        self._tensors: dict[str, Array] = {}
        self.set_keys({"vocab_size": len(vocabulary)})

    def set_keys(self, keys: Mapping[str, KeyValue]) -> None:
        """Keys below the architecture's own prefix."""
        self._keys.update({f"{self._architecture}.{key}": value for key, value in keys.items()})

    def set_general(
        self, *, name: str, chat_template: str | None, sampling: Mapping[str, KeyValue]
    ) -> None:
        """`sampling`: recommended values such as {"temp": 0.5, "top_k": 20}."""
        self._keys["general.name"] = name
        if chat_template is not None:
            self._keys["tokenizer.chat_template"] = chat_template
        self._keys.update({f"general.sampling.{key}": value for key, value in sampling.items()})

    def set_tokenizer_key(self, key: str, value: KeyValue) -> None:
        self._keys[f"tokenizer.ggml.{key}"] = value

    def set_chat_template(self, name: str, source: str) -> None:
        """A template beside the default one."""
        self._keys[f"tokenizer.chat_template.{name}"] = source

    def tensor(self, name: str, values: Array) -> None:
        self._tensors[name] = values.astype(np.float32)

    def ones(self, name: str, *shape: int) -> None:
        self.tensor(name, np.ones(shape, np.float32))

    def zeros(self, name: str, *shape: int) -> None:
        self.tensor(name, np.zeros(shape, np.float32))

    def matrix(self, name: str, num_outputs: int, num_inputs: int, *, scale: float = 1.0) -> Array:
        """Normal weights of deviation scale / sqrt(num_inputs), added and returned."""
        values = self._random.normal(
            0.0, scale / math.sqrt(num_inputs), (num_outputs, num_inputs)
        ).astype(np.float32)
        self.tensor(name, values)
        return values

    def output(self, embedding: int, *, silent: Sequence[TokenType], end_scale: float) -> None:
        """`output.weight`, clear-cut: see OUTPUT_SCALE. Tokens of the `silent` types get a logit of
        zero and so are hardly sampled; those that end a generation `end_scale` times the spread of
        the others, 0 for a model that never ends by itself.
        """
        values = self.matrix("output.weight", len(self._vocabulary), embedding, scale=OUTPUT_SCALE)
        ends = [token for token in (self._vocabulary.eos, self._vocabulary.eot) if token]
        end_rows = values[ends] * end_scale
        values[self._vocabulary.ids_of_type(*silent)] = 0.0
        values[ends] = end_rows
        self.tensor("output.weight", values)

    def write(self, path: Path, *, without: str | None = None, is_quantized: bool = False) -> Path:
        """Write the GGUF, leaving out the tensor `without`; returns `path`. If it `is_quantized`,
        the layers' matrices are Q8_0.
        """
        writer = GGUFWriter(path, self._architecture)
        for key, value in self._keys.items():
            _add_key(writer, key, value)
        self._vocabulary.write_to(writer)
        for name, values in self._tensors.items():
            if name == without:
                continue
            if is_quantized and values.ndim == 2 and name.startswith("blk."):
                kind = GGMLQuantizationType.Q8_0
                writer.add_tensor(name, quantize(values, kind), raw_dtype=kind)
            else:
                writer.add_tensor(name, values)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return path


def _add_key(writer: GGUFWriter, key: str, value: KeyValue) -> None:
    match value:
        case bool():
            writer.add_bool(key, value)
        case int():
            # llama.cpp reads counts as u32 but the recommended sampling values as i32.
            add = writer.add_int32 if key.startswith("general.sampling.") else writer.add_uint32
            add(key, value)
        case float():
            writer.add_float32(key, value)
        case str():
            writer.add_string(key, value)
        case _:
            writer.add_key_value(key, list(value), GGUFValueType.ARRAY)

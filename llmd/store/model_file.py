"""What a model file says of its model, without loading it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from llmd.config.model_reference import parts_of
from llmd.core.embedding import POOLING_BY_NUMBER, Pooling
from llmd.errors import InvalidModelFile
from llmd.store.gguf import GgufHeader, TensorInfo, read_header
from llmd.store.layers import WITHOUT_CACHE
from llmd.store.special_tokens import SpecialTokens, read_special_tokens
from llmd.store.tensor_type import FILE_TYPES

_TEMPLATE = "tokenizer.chat_template"

_ENCODERS = frozenset({"t5", "t5encoder", "eagle3", "dflash"})
"""Architectures that are, or have, an encoder (llama-model.cpp llama_model_has_encoder)."""


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A model in one file, or in the parts of a split one. Immutable."""

    header: GgufHeader
    """The first part's, which alone has the keys."""
    tensors: tuple[TensorInfo, ...]
    """Those of all parts."""
    num_bytes: int
    """The size of all parts together."""
    num_parts: int

    @property
    def path(self) -> Path:
        return self.header.path

    @property
    def architecture(self) -> str:
        return self.header.text("general.architecture") or "unknown"

    @property
    def name(self) -> str | None:
        return self.header.text("general.name")

    @property
    def license(self) -> str | None:
        return self.header.text("general.license.name") or self.header.text("general.license")

    @property
    def num_parameters(self) -> int:
        return sum(tensor.num_elements for tensor in self.tensors)

    @property
    def quantization(self) -> str:
        """Such as Q4_K_M: as the file calls itself, else the type of most of its weights."""
        file_type = self.header.integer("general.file_type")
        if file_type in FILE_TYPES:
            return FILE_TYPES[file_type]
        common = self.tensor_types.most_common(1)
        return common[0][0] if common else "unknown"

    @property
    def tensor_types(self) -> Counter[str]:
        """How many elements are stored in each type."""
        types: Counter[str] = Counter()
        for tensor in self.tensors:
            name = tensor.type.name if tensor.type else f"type {tensor.type_id}"
            types[name] += tensor.num_elements
        return types

    @property
    def context_length(self) -> int | None:
        """Tokens of context that the model was trained for."""
        return self.header.integer(f"{self.architecture}.context_length")

    @property
    def num_layers(self) -> int | None:
        return self.header.integer(f"{self.architecture}.block_count")

    @property
    def embedding_length(self) -> int | None:
        return self.header.integer(f"{self.architecture}.embedding_length")

    @property
    def output_length(self) -> int | None:
        """Dimensions of its embeddings."""
        stated = self.header.integer(f"{self.architecture}.embedding_length_out")
        return stated or self.embedding_length

    @property
    def generates_text(self) -> bool:
        """Whether it continues text token by token, as far as the file says: no encoder, and
        attention that does not look ahead.
        """
        causal = self.header.values.get(f"{self.architecture}.attention.causal")
        return self.architecture not in _ENCODERS and causal is not False

    @property
    def is_translator(self) -> bool:
        """Whether it is an encoder to read and a decoder to write."""
        return self.architecture in _ENCODERS - {"t5encoder"}

    @property
    def looks_ahead(self) -> bool:
        """Whether tokens see those behind them, so that a text must be computed whole."""
        return not self.generates_text or self.architecture in WITHOUT_CACHE

    @property
    def stated_pooling(self) -> Pooling | None:
        """How the file says that it embeds; None where it says nothing, or not at all."""
        number = self.header.integer(f"{self.architecture}.pooling_type") or 0
        return POOLING_BY_NUMBER.get(number)

    @property
    def pooling(self) -> Pooling | None:
        """How it embeds or ranks; None for a model that writes text. An encoder whose file does
        not say is pooled as `llmd serve` does.
        """
        return self.stated_pooling or (None if self.generates_text else Pooling.MEAN)

    @property
    def num_tokens(self) -> int:
        """The size of the vocabulary."""
        return self.header.count("tokenizer.ggml.tokens")

    @property
    def tokenizer(self) -> str | None:
        """The kind of vocabulary, as GGUF names it: llama, gpt2, bert."""
        return self.header.text("tokenizer.ggml.model")

    @property
    def chat_template(self) -> str | None:
        """The Jinja source of the default chat template."""
        return self.header.text(_TEMPLATE)

    @property
    def named_templates(self) -> dict[str, str]:
        """The sources of further chat templates by name, such as `tool_use` or `rag`."""
        prefix = f"{_TEMPLATE}."
        return {
            key.removeprefix(prefix): value
            for key, value in self.header.values.items()
            if key.startswith(prefix) and isinstance(value, str)
        }

    @property
    def sampling(self) -> dict[str, bool | int | float]:
        """The sampling parameters that the file recommends, such as {"temp": 0.6}."""
        prefix = "general.sampling."
        return {
            # Written as 0.2 and stored in 32 bits, which are 0.20000000298.
            key.removeprefix(prefix): float(f"{value:.6g}") if isinstance(value, float) else value
            for key, value in self.header.values.items()
            if key.startswith(prefix) and isinstance(value, (bool, int, float))
        }

    def special_tokens(self) -> SpecialTokens:
        """Reads the vocabulary: some tenths of a second. Raises InvalidModelFile."""
        return read_special_tokens(self.header)


def read_model_file(path: Path) -> ModelFile:
    """Read the headers of the model at `path` (of a split model, the first part). Raises
    ModelFileNotFound or InvalidModelFile.
    """
    parts = parts_of(path)
    headers = [read_header(part) for part in parts]
    if not headers[0].text("general.architecture"):
        raise InvalidModelFile(
            f"{path} names no architecture, so it holds no model. Give the path of a model's "
            f".gguf file."
        )
    return ModelFile(
        headers[0],
        tuple(tensor for header in headers for tensor in header.tensors),
        sum(header.num_bytes for header in headers),
        len(parts),
    )

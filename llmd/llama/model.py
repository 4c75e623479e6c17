"""A loaded GGUF."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path
from typing import Any

import llama_cpp

from llmd.errors import InvalidModelFile, ModelFileNotFound, NotEnoughMemory
from llmd.llama import library
from llmd.llama.tokenizer import Tokenizer

ProgressCallback = Callable[[float], bool]
"""Gets the loaded share, 0 to 1; False stops the load."""

CACHE_TYPES = {
    "f32": 0,
    "f16": 1,
    "q4_0": 2,
    "q4_1": 3,
    "q5_0": 6,
    "q5_1": 7,
    "q8_0": 8,
    "iq4_nl": 20,
    "bf16": 30,
}
"""KV cache types by their ggml_type (ggml.h)."""


class LlamaModel:
    """Weights, metadata and vocabulary. Owned by the engine thread, which alone may free it; the
    tokenizer and the metadata may be read from any thread until then.
    """

    def __init__(
        self, path: Path, *, num_gpu_layers: int = 0, on_progress: ProgressCallback | None = None
    ) -> None:
        """Load `path` (of a split model, the first part). `num_gpu_layers` -1 places all layers.

        Raises ModelFileNotFound, or InvalidModelFile or NotEnoughMemory with llama.cpp's own
        reason.
        """
        library.initialize()
        _check_header(path)
        params = llama_cpp.llama_model_default_params()
        params.n_gpu_layers = num_gpu_layers
        # The callback object must outlive the load: ctypes keeps no reference of its own.
        callback = llama_cpp.llama_progress_callback(
            lambda share, _: True if on_progress is None else on_progress(share)
        )
        params.progress_callback = callback
        with library.captured_errors() as errors:
            self._model = llama_cpp.llama_model_load_from_file(str(path).encode(), params)
        if not self._model:
            reason = errors[0] if errors else "llama.cpp gives no reason"
            reason = reason.rpartition("error loading model: ")[2]
            if library.wants_memory(errors):
                raise NotEnoughMemory(
                    f"cannot load {path}: {reason}. Set fewer --gpu-layers, or free memory."
                )
            raise InvalidModelFile(
                f"cannot load {path}: {reason}. Check that the download is complete (compare its "
                f"size or checksum), or upgrade llama-cpp-python if the model is newer than it."
            )
        self.path = path
        self.num_gpu_layers = num_gpu_layers
        self.metadata = self._read_metadata()
        self.tokenizer = Tokenizer(llama_cpp.llama_model_get_vocab(self._model))

    @property
    def handle(self) -> Any:
        """The llama_model pointer, for LlamaContext."""
        return self._model

    @property
    def architecture(self) -> str:
        return self.metadata.get("general.architecture", "unknown")

    @property
    def train_context_length(self) -> int:
        """Tokens of context that the model was trained for."""
        return int(llama_cpp.llama_model_n_ctx_train(self._model))

    @property
    def num_layers(self) -> int:
        return int(llama_cpp.llama_model_n_layer(self._model))

    @property
    def num_parameters(self) -> int:
        return int(llama_cpp.llama_model_n_params(self._model))

    @property
    def num_bytes(self) -> int:
        """Size of all tensors."""
        return int(llama_cpp.llama_model_size(self._model))

    @property
    def embedding_length(self) -> int:
        return int(llama_cpp.llama_model_n_embd(self._model))

    @property
    def description(self) -> str:
        """Architecture, parameters and quantization, such as `qwen3 596M Q4_K - Medium`."""
        file_type = llama_cpp.llama_ftype_name(llama_cpp.llama_model_ftype(self._model))
        quantization = file_type.decode() if file_type else "unknown type"
        return f"{self.architecture} {_count(self.num_parameters)} {quantization}"

    @property
    def generates_text(self) -> bool:
        """Whether it continues text token by token: no encoder, and causal attention."""
        return (
            self._has_decoder
            and not self._has_encoder
            and self.metadata.get(f"{self.architecture}.attention.causal") != "false"
        )

    @property
    def is_encoder_only(self) -> bool:
        """Whether it is the first half of a translator, such as T5's encoder."""
        return self._has_encoder and not self._has_decoder

    @property
    def output_length(self) -> int:
        """Dimensions of its embeddings."""
        return int(llama_cpp.llama_model_n_embd_out(self._model))

    @property
    def num_labels(self) -> int:
        """Outputs of its classification head, where it has one."""
        return int(llama_cpp.llama_model_n_cls_out(self._model))

    @property
    def rerank_template(self) -> str | None:
        """How a query and a document become one text, with {query} and {document} in it."""
        source = llama_cpp.llama_model_chat_template(self._model, b"rerank")
        return source.decode("utf-8", "replace") if source else None

    @property
    def is_recurrent(self) -> bool:
        """Whether it has no attention: a sequence takes a fixed block of state and no cells."""
        return bool(llama_cpp.llama_model_is_recurrent(self._model))

    @property
    def has_recurrent_state(self) -> bool:
        """Whether a sequence takes a fixed block of state beside, or in place of, its cells."""
        return self.is_recurrent or bool(llama_cpp.llama_model_is_hybrid(self._model))

    @property
    def window_length(self) -> int:
        """Tokens that its layers with a sliding window see; 0 where it has no such layers."""
        return max(0, int(llama_cpp.llama_model_n_swa(self._model)))

    @property
    def chat_template(self) -> str | None:
        """The Jinja source of the default chat template."""
        source = llama_cpp.llama_model_chat_template(self._model, None)
        return source.decode("utf-8", "replace") if source else None

    def stretches_positions(self, num_cells: int) -> bool:
        """Whether positions are scaled for a long text: some models bring one set of factors for
        contexts up to their original length, and one beyond (llama-model.cpp get_rope_factors).
        """
        original = self._number("rope.scaling.original_context_length", 0)
        return 0 < original < num_cells

    def free(self) -> None:
        """Give the memory back; every context of it must be freed before. Idempotent."""
        if self._model:
            llama_cpp.llama_model_free(self._model)
            self._model = None

    @property
    def _has_encoder(self) -> bool:
        return bool(llama_cpp.llama_model_has_encoder(self._model))

    @property
    def _has_decoder(self) -> bool:
        return bool(llama_cpp.llama_model_has_decoder(self._model))

    def _number(self, key: str, default: int) -> int:
        """A number under the architecture's prefix; arrays are not in llama.cpp's metadata."""
        return int(self.metadata.get(f"{self.architecture}.{key}", default))

    def _read_metadata(self) -> dict[str, str]:
        metadata = {}
        for index in range(llama_cpp.llama_model_meta_count(self._model)):
            key = self._read_string(llama_cpp.llama_model_meta_key_by_index, index)
            metadata[key] = self._read_string(llama_cpp.llama_model_meta_val_str_by_index, index)
        return metadata

    def _read_string(self, read: Callable[..., int], index: int) -> str:
        size = 1024
        while True:
            buffer = ctypes.create_string_buffer(size)
            length = read(self._model, index, buffer, size)
            if length < size:
                return buffer.value.decode("utf-8", "replace")
            size = length + 1


def _count(number: int) -> str:
    """A number of parameters as people say it: 2.0M, 596M, 7.6B."""
    for size, unit in ((10**9, "B"), (10**6, "M"), (10**3, "K")):
        if number >= size:
            amount = number / size
            return f"{amount:.0f}{unit}" if amount >= 100 else f"{amount:.1f}{unit}"
    return str(number)


def _check_header(path: Path) -> None:
    # llama.cpp says "failed to read magic" for all of these; a person deserves better.
    try:
        with path.open("rb") as file:
            magic = file.read(4)
    except FileNotFoundError:
        raise ModelFileNotFound(f"no such file: {path}. Check the path.") from None
    except OSError as error:
        raise ModelFileNotFound(
            f"cannot read {path}: {error.strerror}. Check its permissions."
        ) from error
    if magic != b"GGUF":
        raise InvalidModelFile(
            f"{path} is not a GGUF file (it starts with {magic!r}). Give the path of a .gguf file."
        )

"""Random-weight GGUFs of real shapes, for measuring speed without a download.

    python benchmarks/models.py qwen3-0.6b Q4_K_M qwen3-0.6b-Q4_K_M.gguf

The text is invented words, but everything that costs time is as in the real model: layers, heads,
vocabulary, quantization. A generation practically never ends by itself.
"""

from __future__ import annotations

import argparse
import ctypes
import math
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import llama_cpp
import numpy as np
from gguf import GGUFWriter
from numpy.typing import NDArray
from shapes import SHAPES, Shape, tensor_shapes
from vocabulary import Vocabulary, build_vocabulary

Array = NDArray[np.float16] | NDArray[np.float32]

FILE_TYPES = {
    "F16": llama_cpp.LLAMA_FTYPE_MOSTLY_F16,
    "Q8_0": llama_cpp.LLAMA_FTYPE_MOSTLY_Q8_0,
    "Q6_K": llama_cpp.LLAMA_FTYPE_MOSTLY_Q6_K,
    "Q5_K_M": llama_cpp.LLAMA_FTYPE_MOSTLY_Q5_K_M,
    "Q4_K_M": llama_cpp.LLAMA_FTYPE_MOSTLY_Q4_K_M,
    "Q4_0": llama_cpp.LLAMA_FTYPE_MOSTLY_Q4_0,
}

CHAT_TEMPLATE = """\
{%- if tools %}
    {{- '<|im_start|>system\\nYou may call these functions:\\n<tools>' }}
    {%- for tool in tools %}
        {{- '\\n' + (tool | tojson) }}
    {%- endfor %}
    {{- '\\n</tools>\\nTo call one, answer with\\n<tool_call>\\n' }}
    {{- '{"name": NAME, "arguments": OBJECT}\\n</tool_call><|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
    {%- if message.role == 'tool' %}
        {{- '<|im_start|>user\\n<tool_response>\\n' + message.content }}
        {{- '\\n</tool_response><|im_end|>\\n' }}
    {%- else %}
        {{- '<|im_start|>' + message.role + '\\n' + (message.content or '') }}
        {%- for call in message.tool_calls or [] %}
            {{- '\\n<tool_call>\\n{"name": "' + call.function.name + '", "arguments": ' }}
            {{- call.function.arguments if call.function.arguments is string
                else call.function.arguments | tojson }}
            {{- '}\\n</tool_call>' }}
        {%- endfor %}
        {{- '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""

EMBEDDING_DEVIATION = 0.02
"""Small beside what the layers add: with tied embeddings a large one repeats its own token."""

OUTPUT_DEVIATION = 4.0
"""Of the logits. A few dozen tokens share the probability, as in a trained model's open text."""


def random_tensors(shape: Shape, vocabulary: Vocabulary, seed: int) -> Iterator[Array]:
    """The weights in the order of `tensor_shapes`, one tensor in memory at a time."""
    random = np.random.default_rng(seed)
    for name, dimensions in tensor_shapes(shape).items():
        if name == shape.output_norm:
            scale = OUTPUT_DEVIATION / (EMBEDDING_DEVIATION * math.sqrt(shape.width))
            yield np.full(dimensions, scale, np.float32)
        elif len(dimensions) == 1:
            # ssm_a is a decay, -exp(A_log) in the papers: above 0 the state would grow for ever.
            yield np.full(dimensions, -1 if name.endswith("ssm_a") else 1, np.float32)
        elif name == "token_embd.weight":
            embedding = _random_matrix(random, dimensions, EMBEDDING_DEVIATION)
            # A logit near zero, far below the best: special tokens, padding and odd bytes never
            # come out. Not quite zero, for the row is also what the token looks like in a prompt.
            embedding[vocabulary.num_readable :] *= np.float16(0.01)
            yield embedding
        else:
            matrix = _random_matrix(random, dimensions, 1 / math.sqrt(dimensions[1]))
            yield matrix.astype(np.float32) if _is_single(name, dimensions) else matrix


def _is_single(name: str, dimensions: tuple[int, ...]) -> bool:
    """llama.cpp computes with norms and convolutions in single precision only."""
    return len(dimensions) == 1 or name.endswith(("conv.weight", "conv1d.weight"))


def _random_matrix(
    random: np.random.Generator, dimensions: tuple[int, ...], deviation: float
) -> NDArray[np.float16]:
    matrix = np.empty(dimensions, np.float16)
    for start in range(0, dimensions[0], 4096):
        rows = matrix[start : start + 4096]
        rows[:] = random.standard_normal(rows.shape, np.float32) * np.float32(deviation)
    return matrix


def write_model(shape: Shape, path: Path, *, name: str, seed: int = 0) -> None:
    """Write the F16 model to `path`; its file is about twice its number of parameters in bytes."""
    vocabulary = build_vocabulary(shape.vocabulary, seed=seed)
    writer = GGUFWriter(path, shape.architecture)
    writer.add_type("model")
    writer.add_name(name)
    writer.add_file_type(llama_cpp.LLAMA_FTYPE_MOSTLY_F16)
    _add_shape(writer, shape)
    _add_vocabulary(writer, vocabulary)
    for tensor, dimensions in tensor_shapes(shape).items():
        kind = np.dtype(np.float32 if _is_single(tensor, dimensions) else np.float16)
        writer.add_tensor_info(tensor, dimensions, kind, math.prod(dimensions) * kind.itemsize)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for values in random_tensors(shape, vocabulary, seed):
        writer.write_tensor_data(values)
    writer.close()


def _add_shape(writer: GGUFWriter, shape: Shape) -> None:
    writer.add_context_length(shape.context_length)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.num_layers)
    writer.add_feed_forward_length(shape.feed_forward)
    writer.add_head_count(shape.num_heads)
    if shape.architecture == "lfm2":
        # Here the layers without attention are told by having no heads.
        layers = range(shape.num_layers)
        writer.add_head_count_kv([shape.num_kv_heads * shape.attends(n) for n in layers])
    else:
        writer.add_head_count_kv(shape.num_kv_heads)
    writer.add_key_length(shape.head)
    writer.add_value_length(shape.head)
    writer.add_rope_dimension_count(shape.rotary or shape.head)
    if shape.rope_sections:
        writer.add_rope_dimension_sections(shape.rope_sections)
    writer.add_rope_freq_base(shape.rope_base)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_vocab_size(shape.vocabulary)
    for key, value in (shape.mixer.keys() if shape.mixer else {}).items():
        writer.add_uint32(f"{shape.architecture}.{key}", value)


def _add_vocabulary(writer: GGUFWriter, vocabulary: Vocabulary) -> None:
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(vocabulary.pieces)
    writer.add_token_types(vocabulary.types)
    writer.add_token_merges(vocabulary.merges)
    writer.add_eos_token_id(vocabulary.eot)
    writer.add_pad_token_id(vocabulary.eos)
    writer.add_add_bos_token(False)
    writer.add_chat_template(CHAT_TEMPLATE)


def quantize(source: Path, path: Path, file_type: str, *, num_threads: int) -> None:
    """Quantize the GGUF `source` to `path` as llama.cpp does; RuntimeError where it fails."""
    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype = FILE_TYPES[file_type]
    params.nthread = num_threads
    status = llama_cpp.llama_model_quantize(
        os.fsencode(source), os.fsencode(path), ctypes.byref(params)
    )
    if status != 0:
        raise RuntimeError(f"llama.cpp could not quantize to {file_type} (status {status})")


def make_model(
    shape_name: str, file_type: str, path: Path, *, seed: int = 0, num_threads: int = 1
) -> None:
    """Write a model of a shape in SHAPES to `path`, by way of an F16 file beside it."""
    source = path.with_name(path.name + ".f16")
    try:
        write_model(SHAPES[shape_name], source, name=f"Random {shape_name}", seed=seed)
        if file_type == "F16":
            source.replace(path)
        else:
            quantize(source, path, file_type, num_threads=num_threads)
    finally:
        source.unlink(missing_ok=True)


def main() -> int:
    parser = argparse.ArgumentParser(description="Write a random-weight GGUF of a real shape.")
    parser.add_argument("shape", choices=SHAPES)
    parser.add_argument("file_type", choices=FILE_TYPES)
    parser.add_argument("path", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    started = time.monotonic()
    make_model(
        options.shape,
        options.file_type,
        options.path,
        seed=options.seed,
        num_threads=options.threads,
    )
    size = options.path.stat().st_size / 2**20
    print(f"{options.path}: {size:,.0f} MiB in {time.monotonic() - started:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Write a checkpoint as a GGUF file in Q8_0, with vocabulary, template and card data."""

from __future__ import annotations

import argparse
from pathlib import Path

import gguf
import numpy as np
import torch
from gguf.quants import quantize
from model import Model, Shape, shape_of
from tokenizer import CONTROL, USER_DEFINED, Tokenizer

HERE = Path(__file__).parent
DESCRIPTION = (
    "A very small chat model that llmd made for itself, for trying out the daemon and testing it: "
    "it greets, remembers a name, repeats, calls tools, thinks on request and writes JSON."
)


def add_card(writer: gguf.GGUFWriter) -> None:
    """Write what the model is and how to sample from it."""
    writer.add_name("tiny")
    writer.add_author("llmd")
    writer.add_license("MIT")
    writer.add_description(DESCRIPTION)
    writer.add_languages(["en"])
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_sampling_temp(0.2)
    writer.add_sampling_top_k(20)
    writer.add_sampling_top_p(0.9)


def add_shape(writer: gguf.GGUFWriter, shape: Shape) -> None:
    """Write the sizes of the network."""
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.hidden)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_layer_norm_rms_eps(shape.norm_eps)
    writer.add_rope_dimension_count(shape.head_width)
    writer.add_rope_freq_base(shape.rope_base)
    writer.add_vocab_size(shape.vocabulary)


def add_vocabulary(writer: gguf.GGUFWriter, tokenizer: Tokenizer) -> None:
    """Write tokens, merges, special tokens and the chat template."""
    kinds = [gguf.TokenType.CONTROL] * len(CONTROL) + [gguf.TokenType.USER_DEFINED] * len(
        USER_DEFINED
    )
    kinds += [gguf.TokenType.NORMAL] * (len(tokenizer.tokens) - len(kinds))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokenizer.tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges([f"{a} {b}" for a, b in tokenizer.merges])
    writer.add_bos_token_id(tokenizer.ids["<|endoftext|>"])
    writer.add_pad_token_id(tokenizer.ids["<|endoftext|>"])
    writer.add_eos_token_id(tokenizer.ids["<|im_end|>"])
    writer.add_eot_token_id(tokenizer.ids["<|im_end|>"])
    writer.add_add_bos_token(False)
    writer.add_chat_template((HERE / "template.jinja").read_text(encoding="utf-8"))


def tensor_name(name: str) -> str:
    """Return the GGUF name of a parameter of the model."""
    return name.replace("blocks.", "blk.", 1)


def add_tensors(writer: gguf.GGUFWriter, model: Model, kind: gguf.GGMLQuantizationType) -> None:
    """Write matrices in the given type and gains in full precision."""
    for name, weight in model.state_dict().items():
        data = weight.detach().numpy().astype(np.float32)
        if data.ndim == 1 or kind == gguf.GGMLQuantizationType.F32:
            writer.add_tensor(tensor_name(name), data)
        else:
            writer.add_tensor(tensor_name(name), quantize(data, kind), raw_dtype=kind)


def export(vocabulary: Path, checkpoint: Path, out: Path, kind: gguf.GGMLQuantizationType) -> None:
    """Write the GGUF file."""
    tokenizer = Tokenizer.load(vocabulary)
    state = torch.load(checkpoint, weights_only=True)["model"]
    model = Model(shape_of(state))
    model.load_state_dict(state)
    writer = gguf.GGUFWriter(out, "llama")
    add_card(writer)
    add_shape(writer, model.shape)
    add_vocabulary(writer, tokenizer)
    add_tensors(writer, model, kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main() -> None:
    """Export what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vocabulary", type=Path, required=True)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--float", action="store_true", help="keep full precision")
    args = parser.parse_args()
    kind = gguf.GGMLQuantizationType.F32 if args.float else gguf.GGMLQuantizationType.Q8_0
    export(args.vocabulary, args.checkpoint, args.out, kind)
    print(f"{args.out.stat().st_size} bytes")


if __name__ == "__main__":
    main()

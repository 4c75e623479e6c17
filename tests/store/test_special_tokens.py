from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from gguf import GGUFWriter

from llmd.llama.model import LlamaModel
from llmd.store.gguf import read_header
from llmd.store.special_tokens import SpecialTokens, read_special_tokens

NORMAL, UNKNOWN, CONTROL, USER_DEFINED = 1, 2, 3, 4


def special(
    path: Path, tokens: Sequence[tuple[str, int]], *, kind: str = "gpt2", pre: str = "", **ids: int
) -> SpecialTokens:
    writer = GGUFWriter(path, "llama")
    writer.add_tokenizer_model(kind)
    if pre:
        writer.add_tokenizer_pre(pre)
    writer.add_token_list([text for text, _ in tokens])
    writer.add_token_types([type_ for _, type_ in tokens])
    for name, id_ in ids.items():
        writer.add_uint32(f"tokenizer.ggml.{name}_token_id", id_)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    return read_special_tokens(read_header(path))


@pytest.mark.gguf
@pytest.mark.parametrize("name", ["llama", "gemma3", "mamba", "lfm2", "bytes"])
def test_they_are_those_of_the_loaded_model(name: str, zoo: dict[str, Path]) -> None:
    model = LlamaModel(zoo[name])
    tokenizer, found = model.tokenizer, read_special_tokens(read_header(zoo[name]))
    ends = frozenset(tokenizer.token_text(id_) for id_ in tokenizer.end_of_generation_ids)
    loaded = (tokenizer.bos_text, tokenizer.eos_text, ends)
    texts = (tokenizer.control_texts, tokenizer.marker_texts)
    model.free()
    assert (found.bos, found.eos, found.ends) == loaded
    assert (found.controls, found.markers) == texts


def test_types_decide_and_single_characters_mark_nothing(tmp_path: Path) -> None:
    tokens = [("word", NORMAL), ("<unk>", UNKNOWN), ("<|x|>", CONTROL), ("<t>", USER_DEFINED)]
    found = special(tmp_path / "m.gguf", [*tokens, ("a", USER_DEFINED)], bos=2, eos=1)
    assert (found.bos, found.eos) == ("<|x|>", "<unk>")
    assert found.controls == {"<unk>", "<|x|>"}
    assert found.markers == {"<t>"}


def test_known_ends_are_controls_whatever_their_type(tmp_path: Path) -> None:
    found = special(tmp_path / "m.gguf", [("<|im_end|>", NORMAL), ("<|eot_id|>", USER_DEFINED)])
    assert found.ends == found.controls == {"<|im_end|>", "<|eot_id|>"}
    assert found.markers == set()


def test_named_ends_end(tmp_path: Path) -> None:
    tokens = [("<a>", CONTROL), ("<b>", CONTROL), ("<c>", CONTROL)]
    assert special(tmp_path / "m.gguf", tokens, eos=0, eot=1, eom=2).ends == {"<a>", "<b>", "<c>"}


def test_harmony_ends_messages_without_ending_the_answer(tmp_path: Path) -> None:
    names = ("<|return|>", "<|call|>", "<|end|>", "<|channel|>", "<|message|>")
    found = special(tmp_path / "m.gguf", [(name, CONTROL) for name in names], eos=0)
    assert found.ends == {"<|return|>", "<|call|>"}
    assert found.markers == {"<|end|>", "<|channel|>", "<|message|>"}


def test_gemma_4_has_a_plain_word_that_looks_like_an_end(tmp_path: Path) -> None:
    tokens = [("</s>", NORMAL), ("<|tool_response>", CONTROL), ("<eos>", CONTROL)]
    found = special(tmp_path / "m.gguf", tokens, eos=2)
    assert found.ends == found.controls == {"<|tool_response>", "<eos>"}


@pytest.mark.parametrize(
    ("kind", "pre", "bos", "eos"),
    [("llama", "", "t1", "t2"), ("gpt2", "", "t11", "t11"), ("gpt2", "glm4", "", "t11"),
     ("t5", "", "", "t1"), ("rwkv", "", "", "")],
)  # fmt: skip
def test_ids_that_are_not_named_have_their_defaults(
    kind: str, pre: str, bos: str, eos: str, tmp_path: Path
) -> None:
    tokens = [(f"t{number}", NORMAL) for number in range(12)]
    found = special(tmp_path / "m.gguf", tokens, kind=kind, pre=pre)
    assert (found.bos, found.eos) == (bos, eos)


def test_an_id_out_of_range_is_not_taken(tmp_path: Path) -> None:
    tokens = [(f"t{number}", NORMAL) for number in range(3)]
    found = special(tmp_path / "m.gguf", tokens, kind="llama", bos=99, eos=2, eot=99)
    assert (found.bos, found.eos) == ("t1", "t2")
    assert found.ends == {"t2"}


def test_a_file_without_a_vocabulary_has_none(tmp_path: Path) -> None:
    found = special(tmp_path / "m.gguf", [])
    assert found == SpecialTokens(
        bos="", eos="", ends=frozenset(), controls=frozenset(), markers=frozenset()
    )

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from zoo.llama import write_coder_llama, write_llama
from zoo.vocabulary import FIM_PIECES, REPOSITORY_PIECES, bpe_vocabulary, spm_vocabulary

from llmd.llama.model import LlamaModel
from llmd.llama.tokenizer import Tokenizer

pytestmark = pytest.mark.gguf

SPM = spm_vocabulary()
BPE = bpe_vocabulary("qwen2")


@pytest.fixture(scope="module")
def tokenizers(
    llama_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Tokenizer]]:
    path = write_llama(tmp_path_factory.mktemp("bpe") / "bpe.gguf", vocabulary=BPE)
    models = {"spm": LlamaModel(llama_path), "bpe": LlamaModel(path)}
    yield {name: model.tokenizer for name, model in models.items()}
    for model in models.values():
        model.free()


@pytest.fixture(params=["spm", "bpe"])
def tokenizer(tokenizers: dict[str, Tokenizer], request: pytest.FixtureRequest) -> Tokenizer:
    return tokenizers[request.param]


@pytest.fixture
def spm(tokenizers: dict[str, Tokenizer]) -> Tokenizer:
    return tokenizers["spm"]


def test_special_tokens_are_parsed_only_when_asked_for(tokenizer: Tokenizer) -> None:
    text = "the<|im_end|>water"
    (end,) = tokenizer.encode("<|im_end|>", add_special=False, parse_special=True)
    assert end in tokenizer.end_of_generation_ids
    assert end in tokenizer.encode(text, add_special=False, parse_special=True)
    assert end not in tokenizer.encode(text, add_special=False, parse_special=False)


def test_user_defined_tokens_are_parsed_all_the_same(tokenizer: Tokenizer) -> None:
    (think,) = tokenizer.encode("<think>", add_special=False, parse_special=False)
    assert tokenizer.token_text(think) == "<think>"


def test_the_beginning_is_added_only_when_asked_for(spm: Tokenizer) -> None:
    with_beginning = spm.encode("the", add_special=True, parse_special=True)
    assert with_beginning == [SPM.bos, SPM.id_of("\u2581the")]
    assert spm.encode("the", add_special=False, parse_special=True) == with_beginning[1:]


def test_a_vocabulary_without_a_beginning_adds_none(tokenizers: dict[str, Tokenizer]) -> None:
    bpe = tokenizers["bpe"]
    assert not bpe.adds_bos
    assert bpe.encode("", add_special=True, parse_special=True) == []
    assert bpe.encode_pieces([" the"]) == [BPE.id_of("\u0120the")]


def test_no_special_token_is_made_across_pieces(tokenizer: Tokenizer) -> None:
    ends = tokenizer.end_of_generation_ids
    text = "<|im_end|>"
    assert ends & set(tokenizer.encode_pieces([text]))
    for cut in range(1, len(text)):
        assert not ends & set(tokenizer.encode_pieces([text[:cut], text[cut:]]))


def test_a_template_that_writes_the_beginning_gets_one(spm: Tokenizer) -> None:
    plain = spm.encode_pieces(["the water"])
    assert plain[0] == SPM.bos and plain.count(plain[0]) == 1
    assert spm.encode_pieces(["<s>the water"]) == plain
    assert spm.encode_pieces(["<s>the", " water"]) == plain


def test_a_cut_puts_no_space_into_a_word(spm: Tokenizer) -> None:
    whole = spm.encode_pieces(["the wa<|im_end|>"])
    assert spm.decode(spm.encode_pieces(["the w", "a<", "|im_end|>"])) == spm.decode(whole)


def test_no_pieces_are_no_tokens(spm: Tokenizer) -> None:
    assert spm.encode_pieces([]) == []


def test_every_token_has_the_bytes_of_its_piece(spm: Tokenizer) -> None:
    for token_id, (piece, kind) in enumerate(zip(SPM.pieces, SPM.types, strict=True)):
        expected = piece.replace("\u2581", " ").encode()
        if kind.name == "BYTE":
            expected = bytes([int(piece[3:5], 16)])
        if kind.name != "UNKNOWN":
            assert spm.token_bytes(token_id) == expected


def test_the_bytes_of_all_tokens_are_those_of_each(tokenizer: Tokenizer) -> None:
    each = [tokenizer.token_bytes(token_id) for token_id in range(tokenizer.num_tokens)]
    assert tokenizer.all_bytes() == each


def test_a_piece_longer_than_the_buffer_is_read_whole(tmp_path: Path) -> None:
    piece = "very long " * 20
    vocabulary = spm_vocabulary(user_defined=[piece])
    model = LlamaModel(write_llama(tmp_path / "model.gguf", vocabulary=vocabulary))
    assert model.tokenizer.token_bytes(vocabulary.id_of(piece)) == piece.encode()
    model.free()


@pytest.mark.parametrize(("length", "suits"), [(512, True), (513, False)])
def test_a_token_longer_than_the_infill_samplers_buffer_is_known(
    tmp_path: Path, length: int, suits: bool
) -> None:
    vocabulary = spm_vocabulary(user_defined=["x" * length])
    model = LlamaModel(write_llama(tmp_path / "model.gguf", vocabulary=vocabulary))
    assert model.tokenizer.suits_infill is suits
    model.free()


def test_ids_out_of_range_have_no_text(tokenizer: Tokenizer) -> None:
    assert tokenizer.token_text(-1) == tokenizer.token_text(tokenizer.num_tokens) == ""


def test_what_ends_a_turn_is_known(spm: Tokenizer) -> None:
    assert {SPM.eos, SPM.eot} <= spm.end_of_generation_ids
    assert SPM.bos not in spm.end_of_generation_ids


def test_control_and_marker_texts_are_told_apart(tokenizer: Tokenizer) -> None:
    assert {"<|im_start|>", "<|im_end|>"} <= tokenizer.control_texts
    assert tokenizer.marker_texts == {"<think>", "</think>", "<tool_call>", "</tool_call>"}
    assert not tokenizer.control_texts & tokenizer.marker_texts


def test_a_vocabulary_without_infill_tokens_has_none(tokenizer: Tokenizer) -> None:
    assert tokenizer.fim_ids is None
    assert tokenizer.fim_repository_id == tokenizer.fim_file_id == -1
    assert tokenizer.suppressed_ids == ()


def test_infill_tokens_are_known_by_their_text(tmp_path: Path) -> None:
    vocabulary = bpe_vocabulary("qwen2", user_defined=(*FIM_PIECES, *REPOSITORY_PIECES))
    model = LlamaModel(write_coder_llama(tmp_path / "model.gguf"))
    tokenizer = model.tokenizer
    assert tokenizer.fim_ids == tuple(map(vocabulary.id_of, FIM_PIECES))
    found = tokenizer.fim_repository_id, tokenizer.fim_file_id
    assert found == tuple(map(vocabulary.id_of, REPOSITORY_PIECES))
    model.free()


@settings(max_examples=150, deadline=None)
@given(text=st.text(max_size=60))
def test_any_text_comes_back(tokenizers: dict[str, Tokenizer], text: str) -> None:
    for name, tokenizer in tokenizers.items():
        token_ids = tokenizer.encode(text, add_special=False, parse_special=False)
        assert all(0 <= token_id < tokenizer.num_tokens for token_id in token_ids)
        spellings = {text}
        if name == "spm":
            # SentencePiece writes spaces as U+2581 and so knows no other, and puts one in front,
            # unless a user-defined token stands there.
            spaced = text.replace("\u2581", " ")
            spellings = {spaced, f" {spaced}"}
        assert tokenizer.decode(token_ids) in spellings


@settings(max_examples=100, deadline=None)
@given(pieces=st.lists(st.text(max_size=20), min_size=1, max_size=5))
def test_pieces_lose_no_text(tokenizers: dict[str, Tokenizer], pieces: list[str]) -> None:
    bpe = tokenizers["bpe"]
    assert bpe.decode(bpe.encode_pieces(pieces)) == "".join(pieces)


def test_a_null_character_does_not_cut_the_text_off(tokenizer: Tokenizer) -> None:
    token_ids = tokenizer.encode("a\0b", add_special=False, parse_special=True)
    assert tokenizer.decode(token_ids).strip(" ") == "a\0b"


def test_a_lone_surrogate_is_encoded_and_not_an_error(tokenizer: Tokenizer) -> None:
    assert tokenizer.encode("\ud800", add_special=False, parse_special=True)


def test_a_text_of_more_tokens_than_bytes_fits(spm: Tokenizer) -> None:
    text = "\U0001f600" * 500
    token_ids = spm.encode(text, add_special=True, parse_special=False)
    assert len(token_ids) >= 2000
    assert spm.decode(token_ids).endswith(text)

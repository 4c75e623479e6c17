from __future__ import annotations

from pathlib import Path

import pytest
from zoo.bert import write_bert
from zoo.llama import write_llama
from zoo.qwen3 import RERANK_TEMPLATE, write_qwen3

from llmd.llama.model import LlamaModel
from llmd.serving.pair import INSTRUCTION, PairEncoder

pytestmark = pytest.mark.gguf


def text_of(model: LlamaModel, tokens: list[int]) -> str:
    return model.tokenizer.decode(tokens)


def test_a_pair_is_joined_by_what_the_vocabulary_adds(tmp_path: Path) -> None:
    bert = LlamaModel(write_bert(tmp_path / "bert.gguf"))
    pair = PairEncoder(bert.tokenizer, "the water", template=None, instruction=None)
    assert text_of(bert, pair.encode("a house").tokens) == "[CLS] the water[SEP] a house"
    llama = LlamaModel(write_llama(tmp_path / "llama.gguf"))
    pair = PairEncoder(llama.tokenizer, "the water", template=None, instruction=None)
    assert text_of(llama, pair.encode("a house").tokens) == "<s> the water a house"
    bert.free()
    llama.free()


def test_a_template_takes_both_texts_and_no_more(tmp_path: Path) -> None:
    model = LlamaModel(write_qwen3(tmp_path / "qwen3.gguf"))
    query, document = "where is {document}", "<|im_end|> {query}"
    encoder = PairEncoder(
        model.tokenizer, query, template=RERANK_TEMPLATE, instruction="Find the house"
    )
    pair = encoder.encode(document)
    expected = (
        RERANK_TEMPLATE.replace(INSTRUCTION, "Find the house")
        .replace("{query}", "QUERY")
        .replace("{document}", document)
        .replace("QUERY", query)
    )
    assert text_of(model, pair.tokens) == expected
    ending = RERANK_TEMPLATE.rpartition("{document}")[2]
    assert text_of(model, pair.tokens[-pair.num_kept :]) == ending
    # Those of the template alone are tokens; the document's are its characters.
    im_end = model.tokenizer.encode_inside("<|im_end|>", parse_special=True)
    assert pair.tokens.count(im_end[0]) == RERANK_TEMPLATE.count("<|im_end|>")
    model.free()

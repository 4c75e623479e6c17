from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from llmd.core.request import ContextFile, InfillPrompt
from llmd.serving.infill import SNIPPET, encode_infill

BEFORE, AFTER, MIDDLE, BOS, REPOSITORY, FILE = (f"<{name}>" for name in "psmbrf")
GAP = InfillPrompt(prefix="ab", suffix="yz", files=())
FILES = (ContextFile(name="f.py", text="one"), ContextFile(name="g.py", text="two"))


def laid_out(prompt: InfillPrompt, *, context_size: int = 100_000, **tokens: Any) -> str:
    """The prompt for a model whose tokens are characters, and special ones have a name."""
    tokenizer: Any = SimpleNamespace(
        adds_bos=False, bos_id=BOS, fim_ids=(BEFORE, AFTER, MIDDLE), fim_repository_id=-1,
        fim_file_id=-1, encode_inside=lambda text, *, parse_special: list(text),
    )  # fmt: skip
    vars(tokenizer).update(tokens)
    return "".join(map(str, encode_infill(tokenizer, prompt, context_size=context_size)))


class Id(int):
    """A token id with a name."""

    def __new__(cls, value: int, name: str) -> Id:
        made = super().__new__(cls, value)
        made.name = name
        return made

    name: str

    def __str__(self) -> str:
        return self.name


REPOSITORY_TOKENS = {"fim_repository_id": Id(1, REPOSITORY), "fim_file_id": Id(2, FILE)}


def test_the_gap_comes_last() -> None:
    assert laid_out(GAP) == "<p>ab<s>yz<m>"
    assert laid_out(InfillPrompt(prefix="ab", suffix="yz", opening="c")) == "<p>abc<s>yz<m>"


def test_a_model_with_tokens_for_it_is_shown_a_repository() -> None:
    prompt = InfillPrompt(prefix="ab", suffix="yz", files=FILES)
    assert laid_out(prompt, **REPOSITORY_TOKENS) == (
        "<r>myproject\n<f>f.py\none<f>g.py\ntwo<f>filename\n<p>ab<s>yz<m>"
    )


def test_without_files_it_is_shown_its_own_one_only_where_it_is_one() -> None:
    assert laid_out(GAP, **REPOSITORY_TOKENS).startswith("<r>myproject\n<f>filename\n<p>")
    alone = InfillPrompt(prefix="ab", suffix="yz")
    assert laid_out(alone, **REPOSITORY_TOKENS) == "<p>ab<s>yz<m>"


def test_a_model_without_such_tokens_is_shown_snippets() -> None:
    prompt = InfillPrompt(prefix="ab", suffix="yz", files=FILES)
    assert laid_out(prompt) == f"{SNIPPET}one{SNIPPET}two<p>ab<s>yz<m>"


def test_a_beginning_stands_before_the_prefix() -> None:
    prompt = InfillPrompt(prefix="ab", suffix="yz", files=FILES[:1])
    assert laid_out(prompt, adds_bos=True) == f"{SNIPPET}one<b><p>ab<s>yz<m>"


def test_text_that_is_not_cut_stays_whole() -> None:
    prompt = InfillPrompt(prefix="a" * 5000, suffix="z" * 5000)
    assert len(laid_out(prompt, context_size=512)) == 10_000 + len("<p><s><m>")


@pytest.mark.parametrize("context_size", [16, 64, 512, 4096, 100_000])
@pytest.mark.parametrize("length", [0, 10, 10_000])
def test_text_that_is_cut_always_fits(context_size: int, length: int) -> None:
    prompt = InfillPrompt(
        prefix="b" * length, suffix="e" * length, is_cut=True,
        files=(ContextFile(name="f", text="x" * length),),
    )  # fmt: skip
    text = laid_out(prompt, context_size=context_size)
    num_tokens = len(text) - 2 * text.count("<")
    assert num_tokens < context_size


def test_of_text_that_is_cut_the_parts_next_to_the_gap_stay() -> None:
    prompt = InfillPrompt(
        prefix="far" + "b" * 9000 + "near", suffix="close" + "e" * 9000 + "end", is_cut=True
    )
    text = laid_out(prompt)
    before, _, after = text.partition("<s>")
    assert before.endswith("near") and len(before) == len("<p>") + 1536
    assert after.startswith("close") and len(after) == 510 + len("<m>")


def test_other_files_take_what_is_left_and_lose_their_beginning() -> None:
    files = (ContextFile(name="f", text="x" * 9000 + "last"),)
    prompt = InfillPrompt(prefix="", suffix="", files=files, is_cut=True)
    text = laid_out(prompt, context_size=4096)
    assert text.endswith("last<p><s><m>")
    assert len(text) == 4096 - 2048 - 512 + len("<p><s><m>")

"""Which texts of a model's vocabulary are more than words, as llama.cpp will treat them.

A model file states a type for each token and names a few by their id; llama.cpp adds what it knows
by text (llama-vocab.cpp `llama_vocab::impl::load`). llmd.llama.tokenizer says the same of a loaded
model; here it is known without loading it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from llmd.store.gguf import GgufHeader

# llama.h enum llama_token_type
_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED = 1, 2, 3, 4

_ID = "tokenizer.ggml.{}_token_id"

# The ids of (BOS, EOS) where the file names none, by tokenizer.ggml.model.
_DEFAULT_IDS = {
    "llama": (1, 2),
    "plamo2": (1, 2),
    "bert": (101, None),
    "gpt2": (11, 11),
    "t5": (None, 1),
}
_WITHOUT_BOS = {"chatglm-bpe", "glm4", "glm5"}
"""Pre-tokenizers of the gpt2 kind that have no default BOS."""

_ENDS = {
    b"<|eot_id|>",
    b"<|im_end|>",
    b"<|end|>",
    b"<|return|>",
    b"<|call|>",
    b"<|flush|>",
    b"<|calls|>",
    b"<end_of_turn>",
    b"<|endoftext|>",
    b"</s>",
    b"<|eom_id|>",
    b"<EOT>",
    b"_<EOT>",
    b"[EOT]",
    b"[EOS]",
    b"<|end_of_text|>",
    b"<end_of_utterance>",
    b"<eos>",
    b"<turn|>",
    b"<|tool_response>",
    "<｜end▁of▁sentence｜>".encode(),
    b"[e~[",
}
"""Tokens of these texts end a generation, whatever their type."""

_HARMONY = {b"<|channel|>", b"<|message|>", b"<|start|>", b"<|constrain|>"}
"""Tokens of these texts are written by the model, whatever their type."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpecialTokens:
    """Texts of tokens: `bos` and `eos` are empty where there are none, `ends` finish an answer,
    `controls` frame turns, and `markers` may stand in the model's own words.
    """

    bos: str
    eos: str
    ends: frozenset[str]
    controls: frozenset[str]
    markers: frozenset[str]


def read_special_tokens(header: GgufHeader) -> SpecialTokens:
    """The special tokens of a model; all empty for a file without a vocabulary. Raises
    InvalidModelFile. Some tenths of a second for a vocabulary of 150,000 tokens.
    """
    bos_id, eos_id = _named_ids(header)
    end_ids = {eos_id, header.integer(_ID.format("eot")), header.integer(_ID.format("eom"))}
    named = {bos_id, *end_ids}
    types = header.integers("tokenizer.ggml.token_type")
    kinds: dict[bytes, int] = {}
    texts: dict[int | None, bytes] = {}
    for token, text in enumerate(header.texts("tokenizer.ggml.tokens")):
        kind = types[token] if token < len(types) else 0
        if text in _HARMONY:
            kind = _USER_DEFINED
        elif text in _ENDS:
            kind = _CONTROL
        if kind in (_UNKNOWN, _CONTROL, _USER_DEFINED):
            kinds[text] = kind
        if token in named:
            texts[token] = text
    ends = {texts[token] for token in end_ids if token in texts} | (_ENDS & kinds.keys())
    for text, kind in _exceptions(ends):
        ends.discard(text)
        kinds[text] = kind
    return SpecialTokens(
        bos=_text(texts.get(bos_id, b"")),
        eos=_text(texts.get(eos_id, b"")),
        ends=_texts(ends),
        controls=_texts(text for text, kind in kinds.items() if kind in (_UNKNOWN, _CONTROL)),
        markers=_texts(text for text, kind in kinds.items() if kind == _USER_DEFINED),
    )


def _named_ids(header: GgufHeader) -> tuple[int | None, int | None]:
    """The ids of BOS and EOS."""
    num_tokens = header.count("tokenizer.ggml.tokens")
    default_bos, default_eos = _DEFAULT_IDS.get(
        header.text("tokenizer.ggml.model") or "", (None, None)
    )
    if header.text("tokenizer.ggml.pre") in _WITHOUT_BOS:
        default_bos = None
    ids = []
    for name, default in (("bos", default_bos), ("eos", default_eos)):
        token = header.integer(_ID.format(name))
        ids.append(token if token is not None and 0 <= token < num_tokens else default)
    return ids[0], ids[1]


def _exceptions(ends: set[bytes]) -> Iterator[tuple[bytes, int]]:
    """Of `ends`, those that end nothing in the company of others, and their real type."""
    is_harmony = {b"<|return|>", b"<|call|>"} <= ends
    is_solar = b"<|flush|>" in ends and bool({b"<|call|>", b"<|calls|>"} & ends)
    if b"<|end|>" in ends and (is_harmony or is_solar):
        yield b"<|end|>", _USER_DEFINED
    if b"</s>" in ends and {b"<|tool_response>", b"<|plamo:eos|>"} & ends:
        yield b"</s>", _NORMAL


def _text(text: bytes) -> str:
    return text.decode("utf-8", "replace")


def _texts(texts: Iterable[bytes]) -> frozenset[str]:
    # One character alone marks nothing: vocabularies hold plain ones under every type.
    return frozenset(text for text in map(_text, texts) if len(text) > 1)

"""Text to token ids and back."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

import llama_cpp

# llama.h enum llama_token_attr
_ATTR_UNKNOWN = 1 << 0
_ATTR_CONTROL = 1 << 3
_ATTR_USER_DEFINED = 1 << 4

_VOCAB_TYPE_BPE = 2  # llama.h enum llama_vocab_type

_INFILL_BUFFER = 512  # bytes; src/llama-sampler.cpp llama_sampler_init_infill


class Tokenizer:
    """A model's vocabulary. Immutable, and safe from any thread while its model is loaded."""

    def __init__(self, vocab: Any) -> None:
        self._vocab = vocab
        self.num_tokens = int(llama_cpp.llama_vocab_n_tokens(vocab))
        self.adds_bos = bool(llama_cpp.llama_vocab_get_add_bos(vocab))
        self.bos_id = int(llama_cpp.llama_vocab_bos(vocab))
        self.eos_id = int(llama_cpp.llama_vocab_eos(vocab))
        self.adds_eos = bool(llama_cpp.llama_vocab_get_add_eos(vocab))
        self.sep_id = int(llama_cpp.llama_vocab_sep(vocab))
        self.adds_sep = bool(llama_cpp.llama_vocab_get_add_sep(vocab))
        self._is_byte_level = int(llama_cpp.llama_vocab_type(vocab)) == _VOCAB_TYPE_BPE
        self._pieces: dict[int, bytes] = {}

    @property
    def handle(self) -> Any:
        """The llama_vocab pointer, for the samplers."""
        return self._vocab

    @property
    def bos_text(self) -> str:
        return self.token_text(self.bos_id)

    @property
    def eos_text(self) -> str:
        return self.token_text(self.eos_id)

    def encode(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]:
        """Token ids of `text`. `add_special` adds what the vocabulary asks for (BOS, mostly);
        `parse_special` reads `<|im_end|>` and its like as the tokens they name.
        """
        data = text.encode("utf-8", "surrogatepass")
        size = len(data) + 16
        buffer = (ctypes.c_int32 * size)()
        count = llama_cpp.llama_tokenize(
            self._vocab, data, len(data), buffer, size, add_special, parse_special
        )
        if count < 0:
            buffer = (ctypes.c_int32 * -count)()
            count = llama_cpp.llama_tokenize(
                self._vocab, data, len(data), buffer, -count, add_special, parse_special
            )
        return list(buffer[:count])

    def encode_pieces(self, pieces: Sequence[str]) -> list[int]:
        """Token ids of a rendered chat prompt. Special tokens are parsed within each piece and
        never across two, which is how a template's own markers are kept apart from a client's
        text that spells one. BOS is added once, unless the template wrote it.
        """
        token_ids: list[int] = []
        for index, piece in enumerate(pieces):
            if index == 0:
                token_ids += self.encode(piece, add_special=True, parse_special=True)
            else:
                token_ids += self.encode_inside(piece, parse_special=True)
        if self.adds_bos and token_ids[:2] == [self.bos_id, self.bos_id]:
            del token_ids[0]
        return token_ids

    def encode_inside(self, text: str, *, parse_special: bool) -> list[int]:
        """Token ids of text that continues a line: without the space that SentencePiece
        vocabularies put in front of a text's beginning.
        """
        if self._is_byte_level:
            return self.encode(text, add_special=False, parse_special=parse_special)
        ahead = self.encode("\n", add_special=False, parse_special=parse_special)
        token_ids = self.encode("\n" + text, add_special=False, parse_special=parse_special)
        if token_ids[: len(ahead)] == ahead:
            return token_ids[len(ahead) :]
        return self.encode(text, add_special=False, parse_special=parse_special)

    def token_bytes(self, token_id: int) -> bytes:
        """The bytes that a token stands for; possibly part of a character, empty for some."""
        piece = self._pieces.get(token_id)
        if piece is None:
            piece = self._pieces[token_id] = self._read_piece(token_id)
        return piece

    def all_bytes(self) -> list[bytes]:
        """The bytes of every token, by id; nothing of it is kept."""
        return [self._read_piece(token_id) for token_id in range(self.num_tokens)]

    def token_text(self, token_id: int) -> str:
        """A token's text, with U+FFFD for what is not UTF-8; empty for ids out of range (-1)."""
        if not 0 <= token_id < self.num_tokens:
            return ""
        return self.token_bytes(token_id).decode("utf-8", "replace")

    def decode(self, token_ids: Iterable[int]) -> str:
        return b"".join(map(self.token_bytes, token_ids)).decode("utf-8", "replace")

    @cached_property
    def end_of_generation_ids(self) -> frozenset[int]:
        """Tokens that end a turn. One native call per token: asked for once, beside the load."""
        is_end = llama_cpp.llama_vocab_is_eog
        return frozenset(i for i in range(self.num_tokens) if is_end(self._vocab, i))

    @cached_property
    def control_texts(self) -> frozenset[str]:
        """The texts of control tokens, such as `<|im_end|>`."""
        return self._texts_with(_ATTR_CONTROL | _ATTR_UNKNOWN)

    @cached_property
    def marker_texts(self) -> frozenset[str]:
        """The texts of user-defined tokens, such as `<think>` and `<tool_call>`."""
        return self._texts_with(_ATTR_USER_DEFINED)

    @cached_property
    def suppressed_ids(self) -> tuple[int, ...]:
        """Tokens that the model file says must never be generated."""
        count = ctypes.c_int32(0)
        ids = llama_cpp.llama_vocab_get_suppress_tokens(self._vocab, ctypes.byref(count))
        return tuple(ids[: count.value]) if count.value else ()

    @property
    def fim_ids(self) -> tuple[int, int, int] | None:
        """The fill-in-the-middle tokens (prefix, suffix, middle), where the model has all three."""
        ids = (
            int(llama_cpp.llama_vocab_fim_pre(self._vocab)),
            int(llama_cpp.llama_vocab_fim_suf(self._vocab)),
            int(llama_cpp.llama_vocab_fim_mid(self._vocab)),
        )
        return ids if min(ids) >= 0 else None

    @property
    def fim_repository_id(self) -> int:
        """The token before the name of a repository, -1 where the model has none."""
        return int(llama_cpp.llama_vocab_fim_rep(self._vocab))

    @property
    def fim_file_id(self) -> int:
        """The token between the files of a repository, -1 where the model has none."""
        return int(llama_cpp.llama_vocab_fim_sep(self._vocab))

    @cached_property
    def suits_infill(self) -> bool:
        """Whether llama_sampler_init_infill works for it: llama.cpp ends the process where a token
        is longer than its buffer, or where there is no token to end a text with.
        """
        longest = max(map(len, self.all_bytes()), default=0)
        return self.eos_id >= 0 and longest <= _INFILL_BUFFER

    def _texts_with(self, attributes: int) -> frozenset[str]:
        get_attributes = llama_cpp.llama_vocab_get_attr
        ids = [i for i in range(self.num_tokens) if get_attributes(self._vocab, i) & attributes]
        return frozenset(text for text in map(self.token_text, ids) if len(text) > 1)

    def _read_piece(self, token_id: int) -> bytes:
        size = 64
        while True:
            buffer = ctypes.create_string_buffer(size)
            length = llama_cpp.llama_token_to_piece(self._vocab, token_id, buffer, size, 0, True)
            if length >= 0:
                return bytes(buffer.raw[:length])
            size = -length

"""Small vocabularies of the two kinds that matter: SentencePiece-like and byte-level BPE."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from gguf import GGUFWriter
from words import WORDS

CONTROL_PIECES = ("<|im_start|>", "<|im_end|>")
USER_DEFINED_PIECES = ("<think>", "</think>", "<tool_call>", "</tool_call>")
FIM_PIECES = ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>")
REPOSITORY_PIECES = ("<|repo_name|>", "<|file_sep|>")
"""llama.cpp knows these and FIM_PIECES by their text, as Qwen's."""


class TokenType(IntEnum):
    """llama.h enum llama_token_type."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    BYTE = 6


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Pieces by token id, as a GGUF stores them. `merges` is empty unless `model` is gpt2."""

    model: str
    pre: str | None
    pieces: tuple[str, ...]
    types: tuple[TokenType, ...]
    merges: tuple[str, ...] = ()
    bos: int | None = None
    eos: int | None = None
    eot: int | None = None
    unknown: int | None = None
    separator: int | None = None

    def __len__(self) -> int:
        return len(self.pieces)

    def id_of(self, piece: str) -> int:
        """The token id of a stored piece; ValueError where there is none."""
        return self.pieces.index(piece)

    def ids_of_type(self, *types: TokenType) -> list[int]:
        return [token for token, type_ in enumerate(self.types) if type_ in types]

    def write_to(self, writer: GGUFWriter) -> None:
        writer.add_tokenizer_model(self.model)
        if self.pre is not None:
            writer.add_tokenizer_pre(self.pre)
        writer.add_token_list(list(self.pieces))
        writer.add_token_types([int(type_) for type_ in self.types])
        if self.model == "llama":
            # A merge wins by score: earlier pieces first, so that every piece can be reached.
            writer.add_token_scores([-float(token) for token in range(len(self.pieces))])
        if self.merges:
            writer.add_token_merges(list(self.merges))
        writer.add_add_bos_token(self.bos is not None)
        writer.add_add_eos_token(False)
        for token, add in (
            (self.bos, writer.add_bos_token_id),
            (self.eos, writer.add_eos_token_id),
            (self.eot, writer.add_eot_token_id),
            (self.unknown, writer.add_unk_token_id),
            (self.separator, writer.add_sep_token_id),
        ):
            if token is not None:
                add(token)


def _prefixes(words: Sequence[str], space: str) -> list[str]:
    """Each word behind its space with all its beginnings of two or more characters: a piece can
    be reached only through pieces, one character more at a time.
    """
    found = {space + word[:length]: None for word in words for length in range(1, len(word) + 1)}
    return list(found)


def _special_pieces(extra: Sequence[str]) -> list[tuple[str, TokenType]]:
    return [(piece, TokenType.CONTROL) for piece in CONTROL_PIECES] + [
        (piece, TokenType.USER_DEFINED) for piece in (*USER_DEFINED_PIECES, *extra)
    ]


def _build(
    model: str,
    pre: str | None,
    entries: Sequence[tuple[str, TokenType]],
    merges: Sequence[str],
    named: dict[str, str],
) -> Vocabulary:
    pieces = tuple(piece for piece, _ in entries)
    ids = {role: pieces.index(piece) for role, piece in named.items()}
    return Vocabulary(
        model, pre, pieces, tuple(type_ for _, type_ in entries), tuple(merges), **ids
    )


_SPM_HEAD = [
    ("<unk>", TokenType.UNKNOWN),
    ("<s>", TokenType.CONTROL),
    ("</s>", TokenType.CONTROL),
    *((f"<0x{byte:02X}>", TokenType.BYTE) for byte in range(256)),
]
_SPM_NAMED = {"unknown": "<unk>", "bos": "<s>", "eos": "</s>", "eot": "<|im_end|>"}


def spm_vocabulary(*, user_defined: Sequence[str] = ()) -> Vocabulary:
    """SentencePiece-like: 256 byte tokens, printable ASCII, words behind U+2581, special tokens.

    `user_defined` pieces are added at the end; their spaces are written as spaces.
    """
    singles = ["\u2581", *(chr(code) for code in range(0x21, 0x7F))]
    normal = [(piece, TokenType.NORMAL) for piece in (*singles, *_prefixes(WORDS, "\u2581"))]
    entries = [*_SPM_HEAD, *normal, *_special_pieces(user_defined)]
    return _build("llama", None, entries, (), _SPM_NAMED)


def byte_vocabulary() -> Vocabulary:
    """SentencePiece-like with nothing but the byte tokens, the space and the special tokens."""
    entries = [*_SPM_HEAD, ("\u2581", TokenType.NORMAL), *_special_pieces(())]
    return _build("llama", None, entries, (), _SPM_NAMED)


def wordpiece_vocabulary() -> Vocabulary:
    """WordPiece, as BERT's: words and printable ASCII, at the beginning of a word (behind U+2581)
    and inside of one. [CLS] begins every text and [SEP] ends it.
    """
    specials = [(f"[{name}]", TokenType.CONTROL) for name in ("PAD", "CLS", "SEP", "MASK")]
    singles = [chr(code) for code in (*range(0x21, 0x41), *range(0x5B, 0x7F))]  # it lowercases
    starts = dict.fromkeys(f"\u2581{piece}" for piece in (*singles, *WORDS))
    normal = [(piece, TokenType.NORMAL) for piece in (*starts, *singles)]
    entries = [*specials, ("[UNK]", TokenType.UNKNOWN), *normal]
    named = {"bos": "[CLS]", "separator": "[SEP]", "unknown": "[UNK]"}
    return _build("bert", None, entries, (), named)


def byte_characters() -> tuple[str, ...]:
    """The printable character that stands for each byte in byte-level BPE (GPT-2): bytes that
    print as Latin-1 stand for themselves, the others follow from U+0100 in their order.
    """
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(0x100, 0x200))
    return tuple(chr(byte if byte in printable else next(others)) for byte in range(256))


def bpe_vocabulary(pre: str = "gpt-2", *, user_defined: Sequence[str] = ()) -> Vocabulary:
    """Byte-level BPE of the pre-tokenizer `pre` (gpt-2, qwen2): every byte, words, no BOS."""
    characters = byte_characters()
    words = _prefixes(WORDS, characters[ord(" ")])
    entries = [(piece, TokenType.NORMAL) for piece in (*characters, *words)]
    entries += [("<|endoftext|>", TokenType.CONTROL), *_special_pieces(user_defined)]
    merges = [f"{word[:-1]} {word[-1]}" for word in words]
    return _build("gpt2", pre, entries, merges, {"eos": "<|endoftext|>", "eot": "<|im_end|>"})

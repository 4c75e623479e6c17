"""Prompts with a gap, for models that were trained to fill one."""

from __future__ import annotations

from typing import Protocol

from llmd.core.request import ContextFile, InfillPrompt

WINDOW = 2048
"""Most tokens around a gap, where text is cut; llama-server takes its default batch size."""

SNIPPET = "\n\n--- snippet ---\n\n"
"""Stands before text of other places, for models without a token that says so."""


class InfillTokenizer(Protocol):
    """What is asked of the model's tokenizer."""

    @property
    def adds_bos(self) -> bool: ...
    @property
    def bos_id(self) -> int: ...
    @property
    def fim_ids(self) -> tuple[int, int, int] | None: ...
    @property
    def fim_repository_id(self) -> int: ...
    @property
    def fim_file_id(self) -> int: ...
    def encode_inside(self, text: str, /, *, parse_special: bool) -> list[int]: ...


def encode_infill(
    tokenizer: InfillTokenizer, prompt: InfillPrompt, *, context_size: int
) -> tuple[int, ...]:
    """The token ids of a prompt for a model that has fill-in-the-middle tokens, laid out as
    llama-server's /infill does (format_prompt_infill in tools/server/server-common.cpp):

        REPOSITORY myproject FILE name text ... FILE filename BOS PREFIX ... SUFFIX ... MIDDLE

    The client's text is code that may well spell a control token, so none is parsed in it.
    """
    assert tokenizer.fim_ids is not None
    before, after, middle = tokenizer.fim_ids
    prefix, suffix, opening = (
        tokenizer.encode_inside(text, parse_special=False)
        for text in (prompt.prefix, prompt.suffix, prompt.opening)
    )
    files = [] if prompt.files is None else _encode_files(tokenizer, prompt.files)
    if prompt.is_cut:
        # Of a small context a quarter is left for the answer and for other files.
        window = min(WINDOW, context_size * 3 // 4)
        prefix = _last(prefix, window * 3 // 4)
        suffix = suffix[: max(0, window // 4 - 2 - len(opening))]
        # The same whatever stands around the gap: else each key stroke would move where the files
        # begin, and nothing of them could be reused.
        files = _last(files, context_size - window - min(512, context_size // 8))
    begin = (tokenizer.bos_id,) if tokenizer.adds_bos else ()
    return (*files, *begin, before, *prefix, *opening, after, *suffix, middle)


def _encode_files(tokenizer: InfillTokenizer, files: tuple[ContextFile, ...]) -> list[int]:
    """What stands before the gap's own file."""

    def encoded(text: str) -> list[int]:
        return tokenizer.encode_inside(text, parse_special=False)

    repository_id, file_id = tokenizer.fim_repository_id, tokenizer.fim_file_id
    token_ids = [repository_id, *encoded("myproject\n")] if repository_id >= 0 else []
    for file in files:
        if file_id >= 0:
            token_ids += [file_id, *encoded(f"{file.name}\n")]
        else:
            token_ids += encoded(SNIPPET)
        token_ids += encoded(file.text)
    if file_id >= 0:
        token_ids += [file_id, *encoded("filename\n")]
    return token_ids


def _last(token_ids: list[int], count: int) -> list[int]:
    return token_ids[max(0, len(token_ids) - max(0, count)) :]

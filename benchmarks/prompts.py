"""Prompts as token ids, found from a GGUF alone: its template, its vocabulary, no server."""

from __future__ import annotations

import ctypes
import json
import os
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import jinja2
import llama_cpp
from jinja2.sandbox import ImmutableSandboxedEnvironment


class PromptEncoder:
    """Renders and tokenizes as a server should, so that its counts can be held against it.

    ValueError where the file is no model, or has no chat template.
    """

    def __init__(self, path: Path) -> None:
        _silence_llama()
        params = llama_cpp.llama_model_default_params()
        params.vocab_only = True
        self._model = llama_cpp.llama_model_load_from_file(os.fsencode(path), params)
        if not self._model:
            raise ValueError(f"{path} is no model that llama.cpp can read; give another file")
        self._vocabulary = llama_cpp.llama_model_get_vocab(self._model)
        source = llama_cpp.llama_model_chat_template(self._model, None)
        if not source:
            raise ValueError(f"{path} has no chat template; give a chat model")
        self._template = _compile(source.decode())

    def close(self) -> None:
        llama_cpp.llama_model_free(self._model)

    def encode(
        self,
        messages: Sequence[dict[str, Any]],
        tools: Sequence[dict[str, Any]] = (),
        answer: str = "",
    ) -> list[int]:
        """The ids of a prompt with its `answer`. jinja2.TemplateError where the template fails."""
        ends = {
            "bos_token": self._text_of(llama_cpp.llama_vocab_bos(self._vocabulary)),
            "eos_token": self._text_of(llama_cpp.llama_vocab_eos(self._vocabulary)),
        }
        text = self._template.render(
            messages=messages, tools=list(tools) or None, add_generation_prompt=True, **ends
        )
        token_ids = self._tokenize(text + answer)
        bos = llama_cpp.llama_vocab_bos(self._vocabulary)
        # Written by the template and added by the vocabulary: servers keep one of them.
        return token_ids[1:] if token_ids[:2] == [bos, bos] else token_ids

    def _tokenize(self, text: str) -> list[int]:
        data = text.encode()
        size = len(data) + 16
        buffer = (ctypes.c_int32 * size)()
        count = llama_cpp.llama_tokenize(
            self._vocabulary, data, len(data), buffer, size, True, True
        )
        return list(buffer[:count])

    def _text_of(self, token_id: int) -> str:
        if token_id < 0:
            return ""
        text: bytes = llama_cpp.llama_vocab_get_text(self._vocabulary, token_id)
        return text.decode()


class KnownPrompts:
    """What has been computed so far, had nothing been forgotten."""

    def __init__(self) -> None:
        self._known: list[list[int]] = []

    def num_new(self, token_ids: Sequence[int]) -> int:
        """The tokens behind the longest beginning that is known; 1 at least, for a prompt's last
        token has to be computed for the answer's first.
        """
        longest = max((_num_common(known, token_ids) for known in self._known), default=0)
        return max(1, len(token_ids) - longest)

    def add(self, token_ids: list[int]) -> None:
        self._known.append(token_ids)


def _num_common(one: Sequence[int], other: Sequence[int]) -> int:
    for position, (left, right) in enumerate(zip(one, other, strict=False)):
        if left != right:
            return position
    return min(len(one), len(other))


def _compile(source: str) -> jinja2.Template:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _refuse
    environment.globals["strftime_now"] = lambda pattern: datetime.now().strftime(pattern)
    return environment.from_string(source)


def _to_json(value: Any, indent: int | None = None) -> str:
    """As Hugging Face's templates expect it; Jinja's own escapes for HTML."""
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _refuse(message: str) -> None:
    raise jinja2.TemplateError(message)


@llama_cpp.llama_log_callback  # type: ignore[untyped-decorator, unused-ignore]
def _ignore_log(level: int, text: bytes, data: object) -> None:
    pass


def _silence_llama() -> None:
    llama_cpp.llama_log_set(_ignore_log, ctypes.c_void_p(0))

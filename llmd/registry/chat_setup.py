"""What a model that writes text needs beside its engine, made once when it is loaded."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from pathlib import Path

from llmd.chat.format.chat_format import ChatFormat, find_format
from llmd.chat.prompt.default_template import DEFAULT_TEMPLATE
from llmd.chat.prompt.layout import LayoutFinder
from llmd.chat.prompt.normalizer import MessageNormalizer
from llmd.chat.prompt.template import ChatTemplate
from llmd.engine.loading import LoadedModel
from llmd.errors import ConfigError

logger = logging.getLogger("llmd.registry")


@dataclass(frozen=True, slots=True)
class ChatSetup:
    template: ChatTemplate
    normalizer: MessageNormalizer
    layout_finder: LayoutFinder
    format: ChatFormat


async def set_up_chat(name: str, model: LoadedModel, template_file: Path | None) -> ChatSetup:
    """From the template in the file, else the model's own, else ChatML. Raises ConfigError where
    the file cannot be read, and InvalidModelFile for a template that is none.
    """
    tokenizer = model.tokenizer
    # Asked for here: a close frees the vocabulary, also under a thread that reads it.
    ends = tokenizer.bos_text, tokenizer.eos_text
    end_texts = tuple(sorted(map(tokenizer.token_text, tokenizer.end_of_generation_ids)))
    template = await asyncio.to_thread(_make_template, model, template_file, *ends)
    normalizer = await asyncio.to_thread(MessageNormalizer, template)
    layout_finder = LayoutFinder(template, normalizer)
    found = await asyncio.to_thread(_find_format, name, template, end_texts)
    return ChatSetup(template, normalizer, layout_finder, found)


def _make_template(
    model: LoadedModel, template_file: Path | None, bos_token: str, eos_token: str
) -> ChatTemplate:
    source = _read_template(template_file) or model.chat_template
    if source is None:
        logger.warning("the model has no chat template; ChatML is used (--chat-template FILE)")
        source = DEFAULT_TEMPLATE
    tokenizer = model.tokenizer
    # Only those that mean something here: vocabularies also hold plain words as such tokens.
    markers = {text for text in tokenizer.marker_texts if text in source}
    return ChatTemplate(
        source,
        bos_token=bos_token,
        eos_token=eos_token,
        control_tokens=tokenizer.control_texts,
        marker_tokens=markers,
    )


def _find_format(name: str, template: ChatTemplate, end_texts: tuple[str, ...]) -> ChatFormat:
    found = find_format(template, end_texts=end_texts)
    rows = "; ".join(f"{label}: {text}" for label, text in found.describe())
    logger.info("how %s writes: %s", name, rows)
    return found


def _read_template(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"cannot read the chat template {path}: {error}. Check --chat-template."
        ) from error

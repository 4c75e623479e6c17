"""The chat template of a MODEL, or of a file, as the commands take it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from llmd.chat.format.chat_format import ChatFormat, find_format
from llmd.chat.prompt.default_template import DEFAULT_TEMPLATE
from llmd.chat.prompt.template import ChatTemplate
from llmd.config.load import load
from llmd.config.settings import ModelSettings
from llmd.errors import ConfigError
from llmd.store.locate import locate, name_of
from llmd.store.model_file import ModelFile, read_model_file


@dataclass(frozen=True, slots=True)
class ChatSource:
    """A chat template, and the texts of the tokens that end an answer, where they are known."""

    template: ChatTemplate
    end_texts: tuple[str, ...]

    def find_format(self) -> ChatFormat:
        """How the template's model writes: a few milliseconds."""
        return find_format(self.template, end_texts=self.end_texts)


def model_settings(model: str, config: Path | None) -> ModelSettings:
    """The settings of a MODEL: a path, `tiny`, a pulled model, or the name of a [models.NAME]
    section. Raises ConfigError.
    """
    loaded = load({}, config, os.environ, Path.cwd(), [model], name_of)
    return next(iter(loaded.settings.models.values()))


def open_model(settings: ModelSettings) -> ModelFile:
    """What the file of a model says. Raises ModelFileNotFound or InvalidModelFile."""
    return read_model_file(locate(settings.source))


def open_template(file: ModelFile | None, template: Path | None) -> ChatSource:
    """The template in the file `template`, else the model's own, else ChatML. The special tokens
    are the model's: without one there are none. Raises ConfigError or InvalidModelFile.
    """
    source = _read_template(template) if template else file.chat_template if file else None
    source = DEFAULT_TEMPLATE if source is None else source
    if file is None:
        return ChatSource(ChatTemplate(source, bos_token="", eos_token=""), ())
    special = file.special_tokens()
    compiled = ChatTemplate(
        source,
        bos_token=special.bos,
        eos_token=special.eos,
        control_tokens=special.controls,
        # Only those that mean something here: vocabularies also hold plain words as such tokens.
        marker_tokens={text for text in special.markers if text in source},
    )
    return ChatSource(compiled, tuple(sorted(special.ends)))


def _read_template(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"cannot read the chat template {path}: {error}. Check the path of the template."
        ) from error

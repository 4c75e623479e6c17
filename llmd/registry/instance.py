"""One served model."""

from __future__ import annotations

import asyncio
import logging
import time
from enum import Enum
from pathlib import Path

from llmd.chat.format.chat_format import ChatFormat, find_format
from llmd.chat.prompt.default_template import DEFAULT_TEMPLATE
from llmd.chat.prompt.layout import LayoutFinder
from llmd.chat.prompt.normalizer import MessageNormalizer
from llmd.chat.prompt.template import ChatTemplate
from llmd.config.settings import ModelSettings
from llmd.engine.client import EngineClient
from llmd.engine.loading import LoadedModel, load_engine
from llmd.engine.stepping import SteppingEngine
from llmd.errors import ConfigError, Draining, LlmdError, ModelLoading
from llmd.registry.thought_memory import ThoughtMemory

logger = logging.getLogger("llmd.registry")


SHUTTING_DOWN = "llmd is shutting down. Try again when it is back."


class ModelState(Enum):
    UNLOADED = "unloaded"
    LOADING = "loading"
    READY = "ready"
    FAILED = "failed"
    CLOSED = "closed"


class ModelInstance:
    """A model under its served id, and the engine that runs it. Event loop only; every change of
    state happens here.
    """

    def __init__(self, name: str, path: Path, settings: ModelSettings) -> None:
        self.name = name
        self.created = int(time.time())
        self.load_progress = 0.0
        """Share of the weights that is loaded, 0 to 1; written by the engine thread."""
        self.state = ModelState.UNLOADED
        self.thoughts = ThoughtMemory()
        self._path = path
        self._settings = settings
        self._client: EngineClient | None = None
        self._model: LoadedModel | None = None
        self._template: ChatTemplate | None = None
        self._normalizer: MessageNormalizer | None = None
        self._layout_finder: LayoutFinder | None = None
        self._format: ChatFormat | None = None
        self._settled = asyncio.Event()
        self._error: LlmdError | None = None

    async def load(self) -> LoadedModel:
        """Load the model and set its chat template up, where it writes text; called once. Raises
        ModelLoadError, ConfigError for a bad --chat-template, or Draining where it is closed
        meanwhile.
        """
        assert self.state is ModelState.UNLOADED
        self.state = ModelState.LOADING
        self._client = EngineClient(self._build, max_queue=self._settings.max_queue)
        try:
            self._model = await self._client.start()
            self._check_open()
            if self._model.pooling is None:
                await self._learn_to_chat(self._model)
            self._check_open()
        except LlmdError as error:
            self._error = error
            if self.state is ModelState.LOADING:
                self.state = ModelState.FAILED
            raise
        except asyncio.CancelledError:
            self._error = Draining(SHUTTING_DOWN)
            raise
        else:
            self.state = ModelState.READY
            return self._model
        finally:
            self._settled.set()

    async def ensure_ready(self) -> None:
        """Wait for a load under way. Raises what it failed with, or why the engine ended."""
        if self.state is ModelState.UNLOADED:
            raise ModelLoading(f"the model {self.name} is not loaded yet. Try again in a moment.")
        await self._settled.wait()
        if self.error is not None:
            self.state = ModelState.FAILED
            raise self.error

    @property
    def is_ready(self) -> bool:
        return self.state is ModelState.READY and self.client.error is None

    @property
    def error(self) -> LlmdError | None:
        """Why it can serve no more: its load failed, or its engine ended by itself."""
        return self._error or (None if self._client is None else self._client.error)

    @property
    def client(self) -> EngineClient:
        assert self._client is not None
        return self._client

    @property
    def model(self) -> LoadedModel:
        assert self._model is not None
        return self._model

    @property
    def template(self) -> ChatTemplate:
        assert self._template is not None
        return self._template

    @property
    def normalizer(self) -> MessageNormalizer:
        assert self._normalizer is not None
        return self._normalizer

    @property
    def layout_finder(self) -> LayoutFinder:
        assert self._layout_finder is not None
        return self._layout_finder

    @property
    def format(self) -> ChatFormat:
        assert self._format is not None
        return self._format

    async def close(self) -> None:
        """Abort what runs and free the model. Idempotent."""
        if self._client is not None and self.state is not ModelState.CLOSED:
            self.state = ModelState.CLOSED
            await self._client.close()

    async def _learn_to_chat(self, model: LoadedModel) -> None:
        tokenizer = model.tokenizer
        # Asked for here: a close frees the vocabulary, also under a thread that reads it.
        ends = tokenizer.bos_text, tokenizer.eos_text
        end_texts = tuple(sorted(map(tokenizer.token_text, tokenizer.end_of_generation_ids)))
        self._template = await asyncio.to_thread(self._make_template, model, *ends)
        self._normalizer = await asyncio.to_thread(MessageNormalizer, self._template)
        self._layout_finder = LayoutFinder(self._template, self._normalizer)
        self._format = await asyncio.to_thread(self._find_format, self._template, end_texts)

    def _check_open(self) -> None:
        # A small model may be loaded before it is asked whether to go on.
        if self.state is ModelState.CLOSED:
            raise Draining(SHUTTING_DOWN)

    def _build(self) -> tuple[SteppingEngine, LoadedModel]:
        return load_engine(self._path, self._settings, self._note_progress)

    def _note_progress(self, share: float) -> bool:
        self.load_progress = share
        return self.state is ModelState.LOADING

    def _make_template(self, model: LoadedModel, bos_token: str, eos_token: str) -> ChatTemplate:
        source = self._read_template_file() or model.chat_template
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

    def _find_format(self, template: ChatTemplate, end_texts: tuple[str, ...]) -> ChatFormat:
        found = find_format(template, end_texts=end_texts)
        rows = "; ".join(f"{label}: {text}" for label, text in found.describe())
        logger.info("how %s writes: %s", self.name, rows)
        return found

    def _read_template_file(self) -> str | None:
        path = self._settings.chat_template
        if path is None:
            return None
        try:
            return path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(
                f"cannot read the chat template {path}: {error}. Check --chat-template."
            ) from error

"""One served model."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from enum import Enum
from pathlib import Path

from llmd.chat.format.chat_format import ChatFormat
from llmd.chat.prompt.layout import LayoutFinder
from llmd.chat.prompt.normalizer import MessageNormalizer
from llmd.chat.prompt.template import ChatTemplate
from llmd.config.duration import NEVER
from llmd.config.settings import ModelSettings
from llmd.engine.client import EngineClient
from llmd.engine.loading import LoadedModel, load_engine
from llmd.engine.memory import Memory
from llmd.engine.stepping import SteppingEngine
from llmd.errors import Draining, LlmdError, ModelLoading
from llmd.registry.chat_setup import ChatSetup, set_up_chat
from llmd.registry.footprint import Footprint
from llmd.registry.load_counts import LoadCounts
from llmd.registry.thought_memory import ThoughtMemory
from llmd.registry.usage import Clock, Usage
from llmd.store.locate import locate

SHUTTING_DOWN = "llmd is shutting down. Try again when it is back."

RETRY_SECONDS = 10.0
"""After a load failed, who asks gets its reason for so long, and then it is tried again."""


class ModelState(Enum):
    UNLOADED = "unloaded"
    LOADING = "loading"
    READY = "ready"
    DRAINING = "draining"
    """It ends what it does, takes nobody on, and will be unloaded then."""
    FAILED = "failed"
    """Its load failed or its engine ended by itself; who asks next lets it be loaded again."""
    CLOSED = "closed"


class Lease:
    """The use of a loaded model: until `release` it is not unloaded. As a context manager it gives
    the model and releases at the end.
    """

    def __init__(self, instance: ModelInstance, usage: Usage) -> None:
        self.instance = instance
        self._usage = usage

    def release(self) -> None:
        """A plain call, idempotent, for `finally` blocks."""
        self._usage.end(self)

    def __enter__(self) -> ModelInstance:
        return self.instance

    def __exit__(self, *_: object) -> None:
        self.release()


class ModelInstance:
    """A model under its served id, and the engine that runs it while it is loaded. Event loop only;
    every change of state happens here.
    """

    def __init__(
        self,
        name: str,
        path: Path | None,
        settings: ModelSettings,
        *,
        clock: Clock | None = None,
    ) -> None:
        """`path` None is what `settings.source` names when it is loaded; `clock` is the loop's."""
        self.name = name
        self.settings = settings
        """From the next load on; `max_queue` and `ttl` at once."""
        self.created = int(time.time())
        self.load_progress = 0.0
        """Share of the weights that is loaded, 0 to 1; written by the engine thread."""
        self.footprint = Footprint()
        """What it takes while it is loaded, as estimated before."""
        self.counts = LoadCounts()
        self.thoughts = ThoughtMemory()
        self._path = path
        self._clock = clock
        self._idle_unload = NEVER
        self._state = ModelState.UNLOADED
        self._client: EngineClient | None = None
        self._model: LoadedModel | None = None
        self._chat: ChatSetup | None = None
        self._usage: Usage | None = None
        self._on_expired: Callable[[ModelInstance], None] = lambda _: None
        self._error: LlmdError | None = None
        self._memory: Memory | None = None
        self._failed_at = -RETRY_SECONDS
        self._waiters: deque[tuple[asyncio.Future[Lease], float | None]] = deque()
        self._settled = asyncio.Event()
        self._settled.set()

    @property
    def state(self) -> ModelState:
        if self._state is ModelState.READY and self.client.error is not None:
            return ModelState.FAILED
        return self._state

    @property
    def is_ready(self) -> bool:
        return self.state is ModelState.READY

    @property
    def is_resident(self) -> bool:
        """Whether it takes memory, or is about to."""
        return self.state in (ModelState.LOADING, ModelState.READY, ModelState.DRAINING)

    @property
    def error(self) -> LlmdError | None:
        """Why it is not ready: its load failed, or its engine ended by itself."""
        if self._error is None and self._state is ModelState.READY:
            return self.client.error
        return self._error

    @property
    def usage(self) -> Usage | None:
        """Who uses it; None where it is not loaded."""
        return self._usage if self.is_ready or self._state is ModelState.DRAINING else None

    @property
    def busy_since(self) -> float | None:
        """Since when its engine has been at one step, in seconds of the monotonic clock; None while
        it has nothing to do.
        """
        return None if self._client is None else self._client.busy_since

    async def lease(self, keep_alive: float | None = None) -> Lease:
        """The use of the model as soon as it is ready; somebody must see to it that it is loaded.
        Raises what the load fails with, also for a while after it failed. `keep_alive` is how many
        seconds it stays when nobody uses it any more.
        """
        if self.is_ready:
            return self._lend(keep_alive)
        if self._state is ModelState.CLOSED:
            raise Draining(SHUTTING_DOWN)
        if self._error is not None and not self._may_try_again:
            raise self._error
        waiter: asyncio.Future[Lease] = asyncio.get_running_loop().create_future()
        self._waiters.append((waiter, keep_alive))
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                waiter.result().release()
            raise

    @property
    def needs_load(self) -> bool:
        """Whether a load is due when somebody asks for it."""
        if self._error is not None and not self._may_try_again:
            return False
        return self.state in (ModelState.UNLOADED, ModelState.DRAINING, ModelState.FAILED)

    def not_ready(self) -> ModelLoading:
        """For whoever does not want to wait for it."""
        if self._state is ModelState.LOADING:
            return ModelLoading(
                f"loading {self.name}: {self.load_progress:.0%}. Try again in a moment."
            )
        return ModelLoading(
            f"the model {self.name} is not loaded now ({self.state.value}). It will be when it is "
            f"asked for something, or by POST /models/load."
        )

    @property
    def can_serve(self) -> bool:
        """Whether it is ready, or will be for whoever asks, as far as is known."""
        return self._error is None and self._state is not ModelState.CLOSED

    @property
    def _may_try_again(self) -> bool:
        """Whether the last failure is long enough ago."""
        return self._now() >= self._failed_at + RETRY_SECONDS

    async def load(self, memory: Memory | None = None) -> LoadedModel:
        """Load the model and set its chat template up, where it writes text. All who wait get their
        leases, or its failure. `memory` is what it was planned for; None is what is free.

        Raises ModelLoadError, ConfigError for a bad --chat-template, or Draining where it is closed
        meanwhile.
        """
        self._check_open()
        assert self.state in (ModelState.UNLOADED, ModelState.FAILED)
        self.counts.num_broken += self._state is ModelState.READY
        self._settled.clear()
        self._state = ModelState.LOADING
        started = self._now()
        self._error, self.load_progress, self._memory = None, 0.0, memory
        try:
            if self._client is not None:  # its engine ended by itself
                await self._client.close()
            self._client = EngineClient(self._build, max_queue=self.settings.max_queue)
            self._model = await self._client.start()
            self._check_open()
            if self._model.pooling is None:
                template_file = self.settings.chat_template
                self._chat = await set_up_chat(self.name, self._model, template_file)
            self._check_open()
        except LlmdError as error:
            await self.abandon(error)
            raise
        except asyncio.CancelledError:
            self.fail(Draining(SHUTTING_DOWN))
            raise
        else:
            self._state = ModelState.READY
            self.counts.num_loaded += 1
            self.counts.load_seconds += self._now() - started
            self._usage = Usage(self._clock or asyncio.get_running_loop(), self._expire)
            self._serve_waiters()
            self._usage.keep(self._keep_alive)
            return self._model
        finally:
            self._settled.set()

    async def abandon(self, error: LlmdError) -> None:
        """As `fail`, of a load that may have got far: what it took is given back."""
        if self._client is not None:
            await self._client.close()
        self.fail(error)

    def fail(self, error: LlmdError) -> None:
        """It cannot be loaded: who waits gets the error."""
        self._error = error
        self._failed_at = self._now()
        if self._state is not ModelState.CLOSED:
            self._state = ModelState.FAILED
            self.counts.num_failed += 1
        self.turn_away(error)

    def forgive(self) -> None:
        """Let a load that failed be tried again at once."""
        if self._state is ModelState.FAILED:
            self._state, self._error = ModelState.UNLOADED, None

    def turn_away(self, error: LlmdError) -> None:
        """Whoever waits for a lease gets the error."""
        while self._waiters:
            waiter, _ = self._waiters.popleft()
            if not waiter.done():
                waiter.set_exception(error)

    def stop(self, error: LlmdError) -> None:
        """End what is being computed, and what waits for that, with the error. A plain call."""
        self.turn_away(error)
        if self._client is not None:
            self._client.stop(error)

    async def settle(self) -> None:
        """Returns when no load is under way."""
        await self._settled.wait()

    def stop_lending(self) -> None:
        """From now on who asks waits for the next load. `drain` is due."""
        assert self.is_ready
        self._state = ModelState.DRAINING

    async def drain(self) -> None:
        """Let its users finish and give its memory back: when this returns, it has it no more."""
        usage, client = self._usage, self._client
        assert self._state is ModelState.DRAINING and usage is not None and client is not None
        await usage.wait_until_idle()
        usage.close()
        await client.close()
        if self._state is ModelState.DRAINING:
            self._client = self._model = self._chat = self._usage = None
            self._state, self.load_progress = ModelState.UNLOADED, 0.0

    def configure(self, settings: ModelSettings, *, idle_unload: float) -> None:
        """Use other settings: at the next load, but `max_queue` and how long it stays without use
        at once. `idle_unload` seconds hold where the model has no `ttl`; 0 is for ever.
        """
        self.settings = settings
        self._idle_unload = idle_unload
        if self.usage is not None:
            self.usage.keep(self._keep_alive)
            self.client.limit_queue(settings.max_queue)

    def call_when_expired(self, callback: Callable[[ModelInstance], None]) -> None:
        """`callback` is told when nobody used it for as long as it is to stay."""
        self._on_expired = callback

    def find_file(self) -> Path:
        """The file to load. Raises ModelFileNotFound or ModelLoadError; may take a moment."""
        return locate(self.settings.source) if self._path is None else self._path

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
        return self._chat_setup.template

    @property
    def normalizer(self) -> MessageNormalizer:
        return self._chat_setup.normalizer

    @property
    def layout_finder(self) -> LayoutFinder:
        return self._chat_setup.layout_finder

    @property
    def format(self) -> ChatFormat:
        return self._chat_setup.format

    async def close(self) -> None:
        """Abort what runs and free the model, for good. Idempotent."""
        if self._state is ModelState.CLOSED:
            return
        self._state = ModelState.CLOSED
        self.turn_away(Draining(SHUTTING_DOWN))
        if self._usage is not None:
            self._usage.close()
        if self._client is not None:
            await self._client.close()

    @property
    def _chat_setup(self) -> ChatSetup:
        assert self._chat is not None
        return self._chat

    @property
    def _keep_alive(self) -> float:
        ttl = self.settings.ttl
        return (self._idle_unload if ttl is None else ttl) or NEVER

    def _now(self) -> float:
        return (self._clock or asyncio.get_running_loop()).time()

    def _lend(self, keep_alive: float | None) -> Lease:
        assert self._usage is not None
        lease = Lease(self, self._usage)
        self._usage.begin(lease, keep_alive)
        return lease

    def _serve_waiters(self) -> None:
        while self._waiters:
            waiter, keep_alive = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(self._lend(keep_alive))

    def _expire(self) -> None:
        self._on_expired(self)

    def _check_open(self) -> None:
        # A small model may be loaded before it is asked whether to go on.
        if self._state is ModelState.CLOSED:
            raise Draining(SHUTTING_DOWN)

    def _build(self) -> tuple[SteppingEngine, LoadedModel]:
        return load_engine(self.find_file(), self.settings, self._note_progress, self._memory)

    def _note_progress(self, share: float) -> bool:
        self.load_progress = share
        return self._state is ModelState.LOADING

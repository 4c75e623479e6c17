"""The whole API over FakeRunner: a model whose every step a test can hold back."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, Queue
from types import SimpleNamespace
from typing import Any

from fakes import END, VOCABULARY_SIZE, FakeRunner, FakeVocabulary, fake_engine
from live import PATIENCE, LiveServer, serving

from llmd.config.settings import ModelSettings, ServerSettings
from llmd.core.sampling import SamplingParams
from llmd.engine.client import OutputStream
from llmd.engine.engine import Engine
from llmd.engine.grammar import GrammarCompiler
from llmd.engine.loading import LoadedModel
from llmd.engine.memory import Memory, MemoryEstimate
from llmd.engine.request import Request
from llmd.errors import LlmdError
from llmd.registry.instance import Lease, ModelInstance
from llmd.registry.usage import Clock

ENDLESS = 1 << 20
"""A context that no test fills: a request without a limit runs until it is aborted."""

TEMPLATE = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}>"


def letter(tokens: list[int]) -> int:
    """What the model says after `tokens`: quick to compute, and different for each prompt."""
    return ord("a") + (len(tokens) * 7 + tokens[0] + tokens[len(tokens) // 2]) % 26


def says(prompt: str, num_tokens: int) -> str:
    """What a raw prompt is continued with when nothing else runs."""
    tokens = list(prompt.encode())
    for _ in range(num_tokens):
        tokens.append(letter(tokens))
    return bytes(tokens[len(prompt.encode()) :]).decode()


class FakeTokenizer(FakeVocabulary):
    """Bytes as tokens, without BOS; END is written `<end>`."""

    num_tokens = VOCABULARY_SIZE
    adds_bos = False
    bos_id = -1
    eos_id = END
    bos_text = ""
    eos_text = "<end>"
    fim_ids: tuple[int, int, int] | None = None
    fim_repository_id = -1
    fim_file_id = -1
    control_texts = frozenset({"<end>"})
    marker_texts: frozenset[str] = frozenset()

    def encode(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]:
        return list(text.encode())

    def encode_inside(self, text: str, *, parse_special: bool) -> list[int]:
        return list(text.encode())

    def decode(self, token_ids: Iterable[int]) -> str:
        return b"".join(map(self.token_bytes, token_ids)).decode("utf-8", "replace")

    def token_text(self, token_id: int) -> str:
        return self.eos_text if token_id == END else chr(token_id)

    def encode_pieces(self, pieces: tuple[str, ...]) -> list[int]:
        return list("".join(pieces).encode())


class HeldRunner(FakeRunner):
    """A FakeRunner that computes only while its gate is open."""

    def __init__(self, num_cells: int, choose: Callable[[list[int]], int] = letter) -> None:
        super().__init__(num_cells, choose)
        self._gate = threading.Event()
        self._gate.set()
        self._inside = threading.Event()
        self.failure: Exception | None = None
        """Raised by every step from now on."""

    def hold(self) -> None:
        """Returns once a step is under way, which then takes until `release`."""
        self._inside.clear()
        self._gate.clear()
        assert self._inside.wait(PATIENCE), "the engine computes nothing"

    def hold_next(self) -> None:
        """As `hold`, for an engine that has nothing to do yet."""
        self._inside.clear()
        self._gate.clear()

    def wait_until_held(self) -> None:
        assert self._inside.wait(PATIENCE), "the engine computes nothing"

    def release(self) -> None:
        self._gate.set()

    def forward(self, batch: Any) -> Any:
        if not self._gate.is_set():
            self._inside.set()
            assert self._gate.wait(PATIENCE), "never released"
        if self.failure is not None:
            raise self.failure
        return super().forward(batch)


class Watch:
    """What happens inside, in order: `wait` passes over all until the one that is looked for."""

    def __init__(self) -> None:
        self._events: Queue[str] = Queue()

    def note(self, event: str) -> None:
        self._events.put(event)

    def wait(self, event: str) -> None:
        seen = []
        while True:
            try:
                seen.append(self._events.get(timeout=PATIENCE))
            except Empty:
                raise AssertionError(f"no {event!r} came, but {seen}") from None
            if seen[-1] == event:
                return


class FakeInstance(ModelInstance):
    """A ModelInstance whose engine is a fake; its load waits for `may_load`. Each load has an
    engine of its own, the first one on the given runner.
    """

    def __init__(
        self,
        runner: HeldRunner,
        *,
        num_sequences: int,
        error: LlmdError | None,
        max_queue: int | None = None,
        name: str = "fake",
        clock: Clock | None = None,
    ) -> None:
        """`max_queue` is the settings' default where it is left out."""
        fields = {} if max_queue is None else {"max_queue": max_queue}
        super().__init__(name, Path("fake.gguf"), ModelSettings(**fields), clock=clock)
        self.num_sequences = num_sequences
        self.num_loads = 0
        self._use(runner)
        self.watch = Watch()
        self.may_load = threading.Event()
        self.load_error = error

    async def load(self, memory: Memory | None = None) -> LoadedModel:
        model = await super().load(memory)
        self._watch_client()
        return model

    async def lease(self, keep_alive: float | None = None) -> Lease:
        self.watch.note("asked")
        try:
            return await super().lease(keep_alive)
        finally:
            self.watch.note("answered")

    def _use(self, runner: HeldRunner) -> None:
        self.runner = runner
        self.engine = fake_engine(
            runner,
            num_sequences=self.num_sequences,
            max_step_tokens=16,
            context_size=runner.num_cells,
        )

    def _build(self) -> tuple[Engine, LoadedModel]:
        assert self.may_load.wait(PATIENCE)
        self.num_loads += 1
        if self.load_error is not None:
            raise self.load_error
        if self.runner.is_closed:
            self._use(HeldRunner(self.runner.num_cells))
        add, abort = self.engine.add, self.engine.abort

        def watched_add(request: Request) -> None:
            add(request)
            self.watch.note("added")

        def watched_abort(request_id: str) -> None:
            abort(request_id)
            self.watch.note("aborted")

        self.engine.add = watched_add  # type: ignore[method-assign]
        self.engine.abort = watched_abort  # type: ignore[method-assign]
        return self.engine, fake_model(self.runner.num_cells, self.num_sequences)

    def _watch_client(self) -> None:
        submit, forget = self.client.submit, self.client.forget

        def watched_submit(request: Request) -> OutputStream:
            stream = submit(request)
            self.watch.note("submitted")
            return stream

        def watched_forget(request_id: str) -> None:
            forget(request_id)
            self.watch.note("forgotten")

        self.client.submit = watched_submit  # type: ignore[method-assign]
        self.client.forget = watched_forget  # type: ignore[method-assign]


def fake_model(context_size: int, num_sequences: int = 4) -> LoadedModel:
    tokenizer: Any = FakeTokenizer()
    return LoadedModel(
        path=Path("fake.gguf"),
        description="fake",
        architecture="fake",
        metadata={},
        tokenizer=tokenizer,
        grammars=GrammarCompiler(FakeVocabulary()),
        chat_template=TEMPLATE,
        sampling=SamplingParams(temperature=0),
        context_size=context_size,
        train_context_length=context_size,
        num_cells=context_size,
        num_sequences=num_sequences,
        num_parameters=1,
        num_bytes=1,
        embedding_length=1,
        fingerprint="fake",
        effective=(),
        estimate=MemoryEstimate(
            weights=1,
            cache=1,
            compute=1,
            other=0,
            prompt_cache=0,
            device=0,
            device_weights=0,
            device_cache=0,
        ),
    )


@dataclass
class FakeServer:
    live: LiveServer
    instance: FakeInstance

    @property
    def runner(self) -> HeldRunner:
        return self.instance.runner

    @property
    def watch(self) -> Watch:
        return self.instance.watch


@contextmanager
def fake_serving(
    settings: ServerSettings | None = None,
    *,
    num_cells: int = ENDLESS,
    num_sequences: int = 4,
    max_queue: int | None = None,
    choose: Callable[[list[int]], int] = letter,
    may_load: bool = True,
    load_error: LlmdError | None = None,
    send_buffer: int | None = None,
) -> Iterator[FakeServer]:
    """Serve a fake; with `may_load` False it goes on loading until the test sets
    `instance.may_load`.
    """
    runner = HeldRunner(num_cells, choose)
    made = SimpleNamespace()

    def make() -> FakeInstance:
        made.instance = FakeInstance(
            runner, num_sequences=num_sequences, error=load_error, max_queue=max_queue
        )
        if may_load:
            made.instance.may_load.set()
        return made.instance  # type: ignore[no-any-return]

    with serving(make, settings, wait=may_load, send_buffer=send_buffer) as live:
        try:
            yield FakeServer(live, made.instance)
        finally:
            made.instance.may_load.set()
            runner.release()

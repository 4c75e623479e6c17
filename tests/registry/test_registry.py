from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from fake_server import FakeInstance, HeldRunner
from zoo.bert import write_bert
from zoo.llama import write_llama

from llmd.chat.prompt.default_template import DEFAULT_TEMPLATE
from llmd.config.settings import ModelSettings
from llmd.core.message import Message
from llmd.errors import (
    ConfigError,
    Draining,
    InvalidModelFile,
    LlmdError,
    ModelForbidden,
    ModelNotFound,
    Unsupported,
)
from llmd.registry.instance import ModelInstance, ModelState
from llmd.registry.registry import ModelRegistry


def instance(error: LlmdError | None = None, *, may_load: bool = True) -> FakeInstance:
    made = FakeInstance(HeldRunner(256), num_sequences=4, error=error)
    if may_load:
        made.may_load.set()
    return made


def run(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(work(), 30))


def test_any_name_finds_the_only_model() -> None:
    async def work() -> None:
        only = instance()
        registry = ModelRegistry([only])
        await only.load()
        for name in ("fake", "gpt-4o", None):
            assert (await registry.lease(name)).instance is only
        await registry.close()

    run(work)


def test_strict_names_take_only_the_right_one() -> None:
    async def work() -> None:
        only = instance()
        registry = ModelRegistry([only], strict_names=True)
        await only.load()
        for name in ("fake", None):
            assert (await registry.lease(name)).instance is only
        with pytest.raises(ModelNotFound, match="fake") as raised:
            await registry.lease("gpt-4o")
        assert raised.value.param == "model"
        await registry.close()

    run(work)


def test_among_several_the_name_decides() -> None:
    async def work() -> None:
        first, second = instance(), instance()
        second.name = "org/second"
        registry = ModelRegistry([first, second])
        await first.load()
        await second.load()
        assert (await registry.lease("org/second")).instance is second
        assert registry.list() == [first, second]
        for name in ("third", None):
            with pytest.raises(ModelNotFound, match="fake, org/second"):
                await registry.lease(name)
        await registry.close()

    run(work)


def test_a_lease_is_of_the_kind_of_model_that_is_meant(tmp_path: Path) -> None:
    async def work() -> None:
        writes = ModelInstance(
            "writes", write_llama(tmp_path / "llama.gguf"), ModelSettings(threads=1)
        )
        embeds = ModelInstance("embeds", write_bert(tmp_path / "bert.gguf"), writes.settings)
        registry = ModelRegistry([writes, embeds])
        await writes.load()
        await embeds.load()
        for found in (await registry.lease("writes"), await registry.lease_any("writes")):
            with found as instance:
                assert instance is writes
        with await registry.lease_pooling("embeds") as instance:
            assert instance is embeds
        with await registry.lease_any("embeds") as instance:
            assert instance is embeds
        with pytest.raises(Unsupported, match="embeds texts and writes none"):
            await registry.lease("embeds")
        with pytest.raises(Unsupported, match="llmd serve MODEL --embeddings"):
            await registry.lease_pooling("writes")
        assert writes.usage is not None and embeds.usage is not None
        assert not (writes.usage.is_busy or embeds.usage.is_busy), "a refusal holds a lease"
        await registry.close()

    run(work)


def test_a_lease_waits_for_the_load() -> None:
    async def work() -> None:
        only = instance(may_load=False)
        registry = ModelRegistry([only])
        loading = asyncio.ensure_future(only.load())
        waiting = [asyncio.ensure_future(registry.lease(None)) for _ in range(3)]
        await asyncio.sleep(0)
        assert only.state is ModelState.LOADING
        only.may_load.set()
        assert [lease.instance for lease in await asyncio.gather(*waiting)] == [only] * 3
        assert (only.state, registry.is_ready) == (ModelState.READY, True)
        await loading
        await registry.close()

    run(work)


def test_a_failed_load_is_raised_to_all_who_wait_and_come_later() -> None:
    error = InvalidModelFile("broken. Download it again.")

    async def work() -> None:
        only = instance(error, may_load=False)
        registry = ModelRegistry([only])
        loading = asyncio.ensure_future(only.load())
        waiting = asyncio.ensure_future(registry.lease(None))
        await asyncio.sleep(0)
        only.may_load.set()
        for task in (loading, waiting, asyncio.ensure_future(registry.lease(None))):
            with pytest.raises(InvalidModelFile):
                await task
        assert only.error is error
        assert (only.state, registry.is_ready) == (ModelState.FAILED, False)
        await registry.close()

    run(work)


def test_who_waits_for_a_load_that_is_given_up_is_told_to_come_back() -> None:
    async def work() -> None:
        slow = instance(may_load=False)
        registry = ModelRegistry([slow])
        loading = asyncio.ensure_future(slow.load())
        await asyncio.sleep(0)
        waiter = asyncio.ensure_future(registry.lease("fake"))
        await asyncio.sleep(0)
        loading.cancel()
        with pytest.raises(Draining):
            await waiter
        slow.may_load.set()
        await registry.close()

    run(work)


def test_closing_frees_the_model_and_may_be_repeated() -> None:
    async def work() -> None:
        only = instance()
        registry = ModelRegistry([only])
        await only.load()
        await registry.close()
        await registry.close()
        assert only.runner.is_closed
        assert only.state is ModelState.CLOSED

    run(work)


def test_a_load_that_ends_after_the_close_makes_nothing_ready() -> None:
    async def work() -> None:
        only = instance(may_load=False)
        registry = ModelRegistry([only])
        loading = asyncio.ensure_future(only.load())
        await asyncio.sleep(0)
        closing = asyncio.ensure_future(registry.close())
        await asyncio.sleep(0)
        only.may_load.set()
        await closing
        with pytest.raises(Draining):
            await loading
        assert (only.state, registry.is_ready) == (ModelState.CLOSED, False)
        assert only.runner.is_closed

    run(work)


@pytest.mark.gguf
def test_closing_stops_a_load_at_its_next_progress_report(llama_path: Path) -> None:
    async def work() -> None:
        model = ModelInstance("tiny", llama_path, ModelSettings(threads=1))
        loading = asyncio.ensure_future(model.load())
        await asyncio.sleep(0)
        await model.close()
        with pytest.raises(LlmdError):
            await loading
        assert not model.is_ready

    run(work)


@pytest.mark.gguf
def test_progress_reaches_one(llama_path: Path) -> None:
    async def work() -> None:
        model = ModelInstance("tiny", llama_path, ModelSettings(threads=1, ctx_size=256))
        assert model.load_progress == 0
        await model.load()
        assert model.load_progress == pytest.approx(1)
        await model.close()

    run(work)


def render(path: Path, template: Path | None = None) -> str:
    """What a served model makes of a user's `hi`."""
    found: list[str] = []

    async def work() -> None:
        settings = ModelSettings(threads=1, ctx_size=256, chat_template=template)
        model = ModelInstance("tiny", path, settings)
        try:
            await model.load()
            found.append(model.template.render([Message(role="user", content="hi")]).text)
        finally:
            await model.close()

    run(work)
    return found[0]


@pytest.mark.gguf
def test_a_template_file_takes_the_models_place(llama_path: Path, tmp_path: Path) -> None:
    file = tmp_path / "own.jinja"
    file.write_text("{% for m in messages %}<{{ m.content }}>{% endfor %}")
    assert render(llama_path, file) == "<hi>"


@pytest.mark.gguf
def test_a_template_file_that_cannot_be_read_is_a_config_error(
    llama_path: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"missing\.jinja.*--chat-template\.$"):
        render(llama_path, tmp_path / "missing.jinja")


@pytest.mark.gguf
def test_a_model_without_a_template_gets_chatml_and_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_llama(tmp_path / "model.gguf", chat_template=None)
    assert render(path) == "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
    assert "im_start" in DEFAULT_TEMPLATE
    assert any("--chat-template" in record.getMessage() for record in caplog.records)


def test_a_view_of_the_registry_has_the_permitted_models_alone() -> None:
    async def work() -> None:
        alpha, beta = named("alpha"), named("beta")
        registry = ModelRegistry([alpha, beta])
        view = registry.permitting({"beta", "gone"})
        assert view.list() == [beta]
        assert registry.list() == [alpha, beta]
        assert view.find("beta") is view.choose("beta") is beta
        with pytest.raises(ModelForbidden, match=r"may not use the model 'alpha'.*: beta\.$"):
            view.find("alpha")
        for use in (view.lease, view.lease_pooling, view.load, view.unload):
            with pytest.raises(ModelForbidden):
                await use("alpha")
        with pytest.raises(ModelNotFound) as unknown:
            view.choose("gamma")
        assert "alpha" not in unknown.value.message
        await registry.close()

    run(work)


def test_an_advisory_name_is_no_way_to_a_model_that_is_not_permitted() -> None:
    async def work() -> None:
        registry = ModelRegistry([instance()])
        view = registry.permitting([])
        for name in (None, "gpt-4o", "fake"):
            with pytest.raises(ModelForbidden, match="none of those served now"):
                await view.lease(name)
        await registry.close()

    run(work)


def named(name: str) -> FakeInstance:
    made = FakeInstance(HeldRunner(256), num_sequences=4, error=None, name=name)
    made.may_load.set()
    return made

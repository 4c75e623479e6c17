from __future__ import annotations

import asyncio
import logging
import threading
from dataclasses import replace
from typing import Any

import pytest
from fake_server import FakeInstance, HeldRunner
from templates import CHATML

from llmd.chat.prompt.template import ChatTemplate
from llmd.core.message import Message, Tool
from llmd.core.request import ChatPrompt, InfillPrompt, Prompt, TextPrompt, TokenPrompt
from llmd.engine.engine import Engine
from llmd.engine.loading import LoadedModel
from llmd.engine.request import PromptLayout
from llmd.errors import ContextLengthExceeded, TemplateFailed
from llmd.serving.prompt import LONG_TEXT, TOOL_CHARACTERS, EncodedPrompt, encode

CONTEXT_SIZE = 4096
SYSTEM = Message(role="system", content="Be brief.")
ASK = Message(role="user", content="Wie spät?")
CLOCK = Tool(name="clock", definition={"type": "function", "function": {"name": "clock"}})
CHAT = ChatPrompt(messages=(SYSTEM, ASK), tools=(CLOCK,))


class TemplateInstance(FakeInstance):
    """A fake with a template of its own: its tokens are bytes."""

    def __init__(self, source: str) -> None:
        super().__init__(HeldRunner(CONTEXT_SIZE), num_sequences=1, error=None)
        self.source = source
        self.may_load.set()

    def _build(self) -> tuple[Engine, LoadedModel]:
        engine, model = super()._build()
        return engine, replace(model, chat_template=self.source)


def encoded(*prompts: Prompt, source: str = CHATML, **wishes: Any) -> list[EncodedPrompt]:
    """What a model with the template `source` makes of prompts, one after the other."""

    async def main() -> list[EncodedPrompt]:
        instance = TemplateInstance(source)
        await instance.load()
        try:
            return [await encode(instance, prompt, **wishes) for prompt in prompts]
        finally:
            await instance.close()

    return asyncio.run(asyncio.wait_for(main(), 30))


def layout_of(prompt: Prompt, **options: Any) -> PromptLayout:
    (found,) = encoded(prompt, **options)
    assert found.layout is not None
    return found.layout


@pytest.fixture
def renderings(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """One for each conversation that is rendered from now on: whether on the main thread."""
    found: list[bool] = []
    render = ChatTemplate.render

    def spy(*arguments: Any, **options: Any) -> Any:
        found.append(threading.current_thread() is threading.main_thread())
        return render(*arguments, **options)

    monkeypatch.setattr(ChatTemplate, "render", spy)
    return found


def num_encoding(renderings: list[bool], *prompts: Prompt, **wishes: Any) -> int:
    """How many conversations are rendered for the prompts, and not while the model is loaded."""
    renderings.clear()
    encoded(**wishes)
    loading = len(renderings)
    encoded(*prompts, **wishes)
    return len(renderings) - 2 * loading


def test_a_chat_whose_prefix_is_kept_has_a_layout() -> None:
    (found,) = encoded(CHAT, is_kept=True)
    assert found.layout is not None and found.layout.tools is None
    system_end, last_end = found.layout.message_ends
    text = bytes(found.token_ids).decode()
    # Where no special token stands between, the last one before another's text does not count.
    assert text.encode()[:system_end].endswith(b"<|im_end|>\n<|im_start|>user")
    assert text.encode()[system_end:last_end] == "\nWie spät?<|im_end|>".encode()
    assert text.encode()[last_end:] == b"\n<|im_start|>assistant\n<think>\n"


def test_a_report_wants_the_tools_as_well() -> None:
    (found,) = encoded(CHAT, cache_report=True)
    assert found.layout is not None and found.layout.tools is not None
    assert len(found.layout.message_ends) == 2
    assert bytes(found.token_ids)[slice(*found.layout.tools)].strip().startswith(b'{"type"')


def test_a_debug_log_of_misses_wants_reports(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "llmd.cache"):
        assert layout_of(CHAT).tools is not None


def test_nothing_more_is_rendered_where_no_layout_is_wanted(renderings: list[bool]) -> None:
    (found,) = encoded(CHAT)
    assert found.layout is None
    assert num_encoding(renderings, CHAT, CHAT) == 2


def test_a_layout_is_remembered_by_its_model(renderings: list[bool]) -> None:
    first = num_encoding(renderings, CHAT, is_kept=True)
    assert 2 <= first <= 4  # its own, and up to three others
    assert num_encoding(renderings, CHAT, CHAT, is_kept=True) == first + 1
    assert num_encoding(renderings, CHAT, CHAT, cache_report=True) == first + 3


@pytest.mark.parametrize(
    "prompt",
    [TextPrompt(text="hi"), TokenPrompt(token_ids=(1, 2)), InfillPrompt(prefix="a", suffix="b")],
)
def test_only_a_chat_has_a_layout(prompt: Prompt, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fake_server.FakeTokenizer.fim_ids", (1, 2, 3))
    (found,) = encoded(prompt, is_kept=True, cache_report=True)
    assert found.layout is None


def test_a_refusal_of_what_nobody_sent_is_no_error() -> None:
    source = "{{ raise_exception('no') if not add_generation_prompt }}" + CHATML
    layout = layout_of(CHAT, source=source, cache_report=True)
    assert len(layout.message_ends) == 1 and layout.tools is None


def test_a_refusal_of_what_was_sent_is_one() -> None:
    refusing = "{{ raise_exception('no') if 'Wie' in messages[-1].content }}" + CHATML
    with pytest.raises(TemplateFailed):
        encoded(CHAT, source=refusing, cache_report=True)


def test_a_prompt_that_does_not_fit_has_its_layout_not_looked_for(renderings: list[bool]) -> None:
    chat = ChatPrompt(messages=(SYSTEM, replace(ASK, content="x" * CONTEXT_SIZE)))
    with pytest.raises(ContextLengthExceeded):
        encoded(chat, is_kept=True)
    total = len(renderings)
    renderings.clear()
    encoded(is_kept=True)
    assert total == len(renderings) + 1


@pytest.mark.parametrize(
    ("message", "num_tools"),
    [
        (replace(ASK, content="x" * LONG_TEXT), 1),
        (replace(ASK, role="assistant", content="x", reasoning="x" * LONG_TEXT), 1),
        (ASK, LONG_TEXT // TOOL_CHARACTERS + 1),
    ],
)
def test_a_long_chat_is_rendered_beside_the_event_loop(
    renderings: list[bool], message: Message, num_tools: int
) -> None:
    long = ChatPrompt(messages=(SYSTEM, ASK, message, ASK), tools=(CLOCK,) * num_tools)
    try:
        encoded(long, is_kept=True)
    except ContextLengthExceeded:
        pass
    assert renderings[-1] is False
    encoded(CHAT, is_kept=True)
    assert renderings[-1] is True


def test_a_slow_template_is_rendered_beside_the_event_loop(renderings: list[bool]) -> None:
    loop = "{% for i in range(700) %}{% for j in range(700) %}{% endfor %}{% endfor %}"
    source = f"{{% if messages[-1].content == {ASK.content!r} %}}{loop}{{% endif %}}{CHATML}"
    prompt = ChatPrompt(messages=(SYSTEM, ASK))
    renderings.clear()
    encoded(prompt, prompt, source=source)
    assert renderings[-2:] == [True, False]

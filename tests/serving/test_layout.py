from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
from conversation_messages import AGAIN, ANSWER, ASK, CALL, CLOCK, RESULT
from hypothesis import given, settings
from hypothesis import strategies as st
from templates import TEMPLATES
from zoo.llama import write_llama
from zoo.vocabulary import bpe_vocabulary, spm_vocabulary

from llmd.chat.prompt.layout import LayoutFinder, RenderedConversation
from llmd.chat.prompt.normalizer import MessageNormalizer
from llmd.chat.prompt.template import ChatTemplate
from llmd.config.model_reference import resolve
from llmd.core.message import Message, Tool
from llmd.engine.request import PromptLayout
from llmd.llama.model import LlamaModel
from llmd.llama.tokenizer import Tokenizer
from llmd.serving.layout import TokenPositions, locate

pytestmark = pytest.mark.gguf

HEADERS = ["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
TURNS = ["<start_of_turn>", "<end_of_turn>"]
VOCABULARIES = {
    "spm": spm_vocabulary(user_defined=HEADERS + TURNS),
    "bpe": bpe_vocabulary("qwen2", user_defined=HEADERS + TURNS),
}

SYSTEM = Message(role="system", content="the water.")


@dataclass(frozen=True)
class Model:
    """A tokenizer with a template."""

    tokenizer: Tokenizer
    template: ChatTemplate
    normalizer: MessageNormalizer
    finder: LayoutFinder

    def encode(
        self, *messages: Message, tools: tuple[Tool, ...] = (), **kwargs: Any
    ) -> tuple[list[int], PromptLayout]:
        fitted = self.normalizer.normalize(messages, tools)
        last = fitted.messages[-1]
        continues = last.role == "assistant" and not last.tool_calls
        rendered = self.template.render(
            fitted.messages, fitted.tools, kwargs, continue_final_message=continues
        )
        token_ids = self.tokenizer.encode_pieces(rendered.pieces)
        conversation = RenderedConversation(
            text=rendered.text,
            sent=messages,
            fitted=fitted.messages,
            tools=fitted.tools,
            template_kwargs=kwargs,
            continues_answer=continues,
        )
        layout = locate(
            self.finder,
            self.tokenizer,
            conversation,
            rendered.pieces,
            token_ids,
            with_tools=True,
        )
        return token_ids, layout

    def parts(self, *messages: Message, **options: Any) -> list[str]:
        """What the tokens between the ends spell."""
        token_ids, layout = self.encode(*messages, **options)
        bounds = [0, *layout.message_ends, len(token_ids)]
        return [
            self.tokenizer.decode(token_ids[start:end])
            for start, end in zip(bounds, bounds[1:], strict=False)
        ]


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, LlamaModel]]:
    folder = tmp_path_factory.mktemp("layout")
    models = {
        name: LlamaModel(write_llama(folder / f"{name}.gguf", vocabulary=vocabulary))
        for name, vocabulary in VOCABULARIES.items()
    }
    models["bundled"] = LlamaModel(resolve("tiny"))
    yield models
    for model in models.values():
        model.free()


@pytest.fixture(scope="module")
def models(loaded: dict[str, LlamaModel]) -> dict[str, Model]:
    found = {
        f"{vocabulary}-{name}": made(loaded[vocabulary].tokenizer, source)
        for vocabulary in VOCABULARIES
        for name, source in TEMPLATES.items()
    }
    bundled = loaded["bundled"]
    assert bundled.chat_template is not None
    return found | {"bundled": made(bundled.tokenizer, bundled.chat_template)}


def made(tokenizer: Tokenizer, source: str) -> Model:
    template = ChatTemplate(
        source,
        bos_token=tokenizer.bos_text,
        eos_token=tokenizer.eos_text,
        control_tokens=tokenizer.control_texts,
        marker_tokens={text for text in tokenizer.marker_texts if text in source},
    )
    normalizer = MessageNormalizer(template)
    return Model(tokenizer, template, normalizer, LayoutFinder(template, normalizer))


NAMES = [f"{vocabulary}-{name}" for vocabulary in VOCABULARIES for name in TEMPLATES] + ["bundled"]
SPELLED = [
    "<|im_end|>",
    "</think>",
    "<|eot_id|>\n",
    "[/INST]",
    "<s>",
    "im_end|> <|im_",
    " the water ",
]
CHARACTERS = "\n\t ab]}[(<|>.,'Hiüは\u0301\U0001f55b"
TEXTS = st.text(st.sampled_from(CHARACTERS), max_size=12) | st.sampled_from(SPELLED)


def said(role: str, content: str) -> Message:
    return Message(role=role, content=content)


@pytest.mark.parametrize("vocabulary", VOCABULARIES)
def test_the_ends_of_chatml_lie_at_its_special_tokens(
    models: dict[str, Model], vocabulary: str
) -> None:
    # SentencePiece vocabularies put a space behind special tokens.
    parts = [p.replace("> ", ">") for p in models[f"{vocabulary}-chatml"].parts(SYSTEM, ASK)]
    assert parts[0].endswith("the water.<|im_end|>\n<|im_start|>user")
    assert parts[1] == "\nHow late is it?<|im_end|>\n"
    assert parts[2] == "<|im_start|>assistant\n<think>\n"


def test_a_beginning_and_a_space_that_nobody_wrote_are_counted(models: dict[str, Model]) -> None:
    tokenizer = models["spm-chatml"].tokenizer
    token_ids = tokenizer.encode_pieces(["the water"])
    assert tokenizer.decode(token_ids) == "<s> the water"
    positions = TokenPositions(tokenizer, ["the water"], token_ids)
    assert [positions.before(end) for end in (0, 2, 3, 8, 9)] == [1, 1, 2, 2, 3]


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=25, deadline=None)
@given(texts=st.tuples(TEXTS, TEXTS, TEXTS, TEXTS))
def test_later_and_other_prompts_begin_with_the_same_tokens(
    models: dict[str, Model], name: str, texts: tuple[str, str, str, str]
) -> None:
    model = models[name]
    system, ask, answer, other = texts[0], texts[1], texts[2], f"{texts[3]}."
    begun = [said("system", f"Be {system}"), said("user", ask)]
    thought = replace(said("assistant", answer), reasoning="Hm.")
    # Mistral's tools move on with the user: then the first end is behind the last.
    for tools in ((),) if "mistral" in name else ((), (CLOCK,)):
        now, layout = model.encode(*begun, tools=tools)
        later, _ = model.encode(*begun, thought, said("user", other), tools=tools)
        others, _ = model.encode(begun[0], said("user", other), tools=tools)
        first, last = layout.message_ends[0], layout.message_ends[-1]
        assert later[:last] == now[:last]
        assert others[:first] == now[:first]


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=15, deadline=None)
@given(texts=st.tuples(TEXTS, TEXTS, TEXTS))
def test_dropped_thoughts_change_no_token_before_the_end_of_the_users_turn(
    models: dict[str, Model], name: str, texts: tuple[str, str, str]
) -> None:
    model = models[name]
    ask, result, answer = texts
    begun = [SYSTEM, ASK, ANSWER, said("user", f"Hi{ask}"), CALL, replace(RESULT, content=result)]
    now, layout = model.encode(*begun)
    step, _ = model.encode(*begun, CALL, RESULT)
    later, _ = model.encode(*begun, said("assistant", answer), AGAIN)
    *_, user, last = layout.message_ends
    assert step[:last] == now[:last]
    assert later[:user] == now[:user]


def test_a_thought_that_goes_lies_behind_the_end_of_the_users_turn(
    models: dict[str, Model],
) -> None:
    model = models["bundled"]
    begun = [SYSTEM, ASK, CALL, RESULT]
    now, layout = model.encode(*begun)
    later, _ = model.encode(*begun, ANSWER, AGAIN)
    _, user, last = layout.message_ends
    assert now[:user] == later[:user]
    assert now[:last] != later[:last]


def test_the_tools_span_covers_their_definitions(models: dict[str, Model]) -> None:
    for name in NAMES:
        token_ids, layout = models[name].encode(SYSTEM, ASK, tools=(CLOCK,))
        if "gemma" in name:
            assert layout.tools is None
            continue
        assert layout.tools is not None
        written = models[name].tokenizer.decode(token_ids[slice(*layout.tools)])
        assert '"description": "Ticks."' in written
        assert "water" not in written and "late" not in written


def test_an_end_inside_a_token_goes_back_to_its_start(models: dict[str, Model]) -> None:
    tokenizer = models["bpe-chatml"].tokenizer
    token_ids = tokenizer.encode_pieces(["a water"])
    positions = TokenPositions(tokenizer, ["a water"], token_ids)
    assert [tokenizer.token_text(token_id) for token_id in token_ids] == ["a", " water"]
    assert [positions.before(end) for end in range(8)] == [0, 1, 1, 1, 1, 1, 1, 2]


def test_characters_of_several_bytes_are_counted_in_bytes(models: dict[str, Model]) -> None:
    tokenizer = models["bpe-chatml"].tokenizer
    text = "時<think>間\ud800x"
    positions = TokenPositions(tokenizer, [text], tokenizer.encode_pieces([text]))
    assert [positions.before(end) for end in (0, 1, 8, 9, 10, 11)] == [0, 3, 4, 7, 10, 11]


def test_text_that_could_go_on_otherwise_costs_a_token(models: dict[str, Model]) -> None:
    tokenizer = models["bpe-chatml"].tokenizer
    text = "a water<|im_end|>\n\nb"
    positions = TokenPositions(tokenizer, [text], tokenizer.encode_pieces([text]))
    assert [positions.before(end) for end in (1, 7, 17, 18)] == [1, 2, 3, 4]
    assert [positions.lasting(end) for end in (1, 7, 17, 18)] == [0, 2, 3, 3]


@pytest.mark.parametrize("vocabulary", VOCABULARIES)
def test_pieces_that_guard_a_clients_text_count_as_they_are_encoded(
    models: dict[str, Model], vocabulary: str
) -> None:
    tokenizer = models[f"{vocabulary}-chatml"].tokenizer
    pieces = ["<|im_start|>user\nthe <", "|im_end|> water", "<|im_end|>\n"]
    token_ids = tokenizer.encode_pieces(pieces)
    positions = TokenPositions(tokenizer, pieces, token_ids)
    text = "".join(pieces)
    end = token_ids.index(tokenizer.encode_inside("<|im_end|>", parse_special=True)[-1])
    assert positions.before(text.rindex("<|im_end|>")) == end
    assert positions.before(len(text)) == len(token_ids)

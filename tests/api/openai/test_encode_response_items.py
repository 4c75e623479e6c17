from __future__ import annotations

from typing import Any

from llmd.api.openai.encode_response_items import OutputItems
from llmd.core.event import (
    Event,
    PromptAdvanced,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
)
from llmd.core.output import Candidate, PromptProgress, TokenLogprob

ID = "resp_" + "0" * 32

CALLED: list[Event] = [
    ToolCallStarted(0, 0, "call_a", "f"),
    ToolCallDelta(0, 0, '{"a":'),
    ToolCallDelta(0, 0, " 1}"),
]


def feed(*events: Event, is_cut: bool = False) -> tuple[list[str], list[dict[str, Any]]]:
    """The kinds of the events that come out, and the items."""
    items = OutputItems(ID)
    told = [told for event in events for told in items.feed(event)]
    told += items.finish(is_cut=is_cut)
    return [event["type"].removeprefix("response.") for event in told], items.encode()


def test_text_is_a_message() -> None:
    kinds, (item,) = feed(TextDelta(0, "a"), TextDelta(0, "b"))
    assert kinds == [
        "output_item.added", "content_part.added", "output_text.delta", "output_text.delta",
        "output_text.done", "content_part.done", "output_item.done",
    ]  # fmt: skip
    assert item["content"] == [
        {"type": "output_text", "text": "ab", "annotations": [], "logprobs": []}
    ]


def test_a_thought_has_no_content_part() -> None:
    kinds, (item,) = feed(ReasoningDelta(0, "hm"))
    assert kinds == [
        "output_item.added", "reasoning_text.delta", "reasoning_text.done", "output_item.done"
    ]  # fmt: skip
    assert item["content"] == [{"type": "reasoning_text", "text": "hm"}]


def test_a_call_is_told_with_its_names_first() -> None:
    kinds, (item,) = feed(*CALLED)
    assert kinds == [
        "output_item.added", "function_call_arguments.delta", "function_call_arguments.delta",
        "function_call_arguments.done", "output_item.done",
    ]  # fmt: skip
    assert (item["name"], item["call_id"], item["arguments"]) == ("f", "call_a", '{"a": 1}')


def test_two_calls_are_two_items() -> None:
    _, items = feed(*CALLED, ToolCallStarted(0, 1, "call_b", "g"), ToolCallDelta(0, 1, "{}"))
    assert [(item["call_id"], item["arguments"]) for item in items] == [
        ("call_a", '{"a": 1}'), ("call_b", "{}"),
    ]  # fmt: skip


def test_an_item_ends_where_another_kind_begins() -> None:
    _, items = feed(
        ReasoningDelta(0, "x"), TextDelta(0, "a"), ReasoningDelta(0, "y"), TextDelta(0, "b")
    )
    assert [item["type"] for item in items] == ["reasoning", "message"] * 2
    assert [item["id"][-2:] for item in items] == ["o0", "o1", "o2", "o3"]


def test_what_a_limit_cuts_is_incomplete_and_what_was_before_is_not() -> None:
    _, items = feed(ReasoningDelta(0, "x"), TextDelta(0, "a"), is_cut=True)
    assert [item["status"] for item in items] == ["completed", "incomplete"]


def test_an_empty_answer_is_an_empty_message() -> None:
    kinds, (item,) = feed()
    assert "output_text.delta" not in kinds
    assert (item["type"], item["content"][0]["text"]) == ("message", "")


def test_news_of_the_prompt_is_no_item() -> None:
    progress = PromptProgress(num_total=2, num_cached=0, num_processed=1, elapsed_ms=1.0)
    assert feed(PromptAdvanced(0, progress), TextDelta(0, ""), *CALLED) == feed(*CALLED)


def test_logprobs_come_with_their_text_and_once_more_at_its_end() -> None:
    logprob = TokenLogprob(chosen=Candidate(1, b"a", -0.5), top=(Candidate(2, b"b", -1.0),))
    items = OutputItems(ID)
    told = list(items.feed(TextDelta(0, "a", (logprob,))))
    told += items.finish(is_cut=False)
    entry = {
        "token": "a", "logprob": -0.5, "bytes": [97],
        "top_logprobs": [{"token": "b", "logprob": -1.0, "bytes": [98]}],
    }  # fmt: skip
    assert told[2]["logprobs"] == told[3]["logprobs"] == [entry]
    assert items.encode()[0]["content"][0]["logprobs"] == [entry]


def test_logprobs_without_a_text_open_no_message() -> None:
    hidden = TextDelta(0, "", (TokenLogprob(chosen=Candidate(1, b"<x>", -0.5), top=()),))
    _, items = feed(hidden, ReasoningDelta(0, "a"), hidden, ReasoningDelta(0, "b"), hidden, *CALLED)
    assert [item["type"] for item in items] == ["reasoning", "function_call"]


def test_while_it_is_written_an_item_is_in_progress() -> None:
    items = OutputItems(ID)
    list(items.feed(TextDelta(0, "a")))
    assert [item["status"] for item in items.encode()] == ["in_progress"]


def test_what_is_abandoned_stays_as_it_is() -> None:
    items = OutputItems(ID)
    list(items.feed(TextDelta(0, "a")))
    items.abandon()
    (item,) = items.encode()
    assert (item["status"], item["content"][0]["text"]) == ("incomplete", "a")

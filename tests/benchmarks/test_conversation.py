from __future__ import annotations

from collections import defaultdict

from conversation import TOOLS, Message, Sizes, agent_turns, chat, continued

SIZES = Sizes(num_turns=4, system=30, question=10, call=5, result=20)


def histories() -> dict[str, list[tuple[Message, ...]]]:
    """Each actor's messages, turn by turn."""
    found = defaultdict(list)
    for turn in agent_turns(SIZES, 0):
        found[turn.actor].append(turn.messages)
    return found


def test_actors_alternate() -> None:
    actors = [turn.actor for turn in agent_turns(SIZES, 0)]
    assert actors == ["agent 1", "agent 2", "title-maker"] * 4


def test_a_history_only_grows() -> None:
    turns = histories()["agent 1"]
    for before, after in zip(turns, turns[1:], strict=False):
        assert after[: len(before)] == before
        assert [message["role"] for message in after[len(before) :]] == ["assistant", "tool"]


def test_every_call_is_answered_by_its_result() -> None:
    *_, call, result = histories()["agent 2"][-1]
    assert call["tool_calls"][0]["id"] == result["tool_call_id"]
    assert call["tool_calls"][0]["function"]["name"] in {t["function"]["name"] for t in TOOLS}


def test_no_thought_is_sent_back() -> None:
    for messages in histories()["agent 1"]:
        assert not any(message.get("reasoning_content") for message in messages)
        assert all(not m["content"] for m in messages if m["role"] == "assistant")


def test_agents_have_different_things_to_say() -> None:
    first, second = histories()["agent 1"][-1], histories()["agent 2"][-1]
    assert all(
        one["content"] != other["content"]
        for one, other in zip(first, second, strict=True)
        if one["content"]
    )


def test_titles_are_wanted_for_different_texts() -> None:
    wanted = [messages[1]["content"] for messages in histories()["title-maker"]]
    assert len(set(wanted)) == len(wanted)


def test_the_same_seed_says_the_same() -> None:
    assert list(agent_turns(SIZES, 3)) == list(agent_turns(SIZES, 3))
    assert list(agent_turns(SIZES, 3)) != list(agent_turns(SIZES, 4))


def test_a_chat_has_the_words_asked_for_and_ends_with_a_question() -> None:
    messages = chat(0, 800)
    assert sum(len(message["content"].split()) for message in messages) == 800
    assert messages[-1]["role"] == "user"


def test_a_continued_chat_begins_as_before() -> None:
    messages = chat(0, 80)
    assert continued(messages, 0, 1)[:-2] == messages

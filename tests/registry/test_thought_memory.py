from __future__ import annotations

from llmd.core.message import Message, ToolCall
from llmd.registry.thought_memory import ThoughtMemory


def called(*call_ids: str, reasoning: str | None = None) -> Message:
    calls = tuple(ToolCall(id=each, name="look", arguments={}) for each in call_ids)
    return Message(role="assistant", content=None, reasoning=reasoning, tool_calls=calls)


def test_a_call_gets_the_thought_before_it_back() -> None:
    memory = ThoughtMemory()
    memory.keep("a", ["call_1"], "I should look.")
    user = Message(role="user", content="Look!")
    messages = memory.put_back("a", [user, called("call_1")])
    assert messages == (user, called("call_1", reasoning="I should look."))


def test_one_of_several_calls_is_enough() -> None:
    memory = ThoughtMemory()
    memory.keep("a", ["call_1", "call_2"], "Both.")
    assert memory.put_back("a", [called("other", "call_2")])[0].reasoning == "Both."


def test_a_thought_that_was_sent_stays_as_it_is() -> None:
    memory = ThoughtMemory()
    memory.keep("a", ["call_1"], "Mine.")
    sent = called("call_1", reasoning="Edited.")
    assert memory.put_back("a", [sent]) == (sent,)


def test_no_other_tenant_gets_it() -> None:
    memory = ThoughtMemory()
    memory.keep("a", ["call_1"], "Secret.")
    assert memory.put_back("b", [called("call_1")])[0].reasoning is None


def test_blank_thoughts_are_not_kept() -> None:
    memory = ThoughtMemory()
    memory.keep("a", ["call_1"], "\n\n")
    assert memory.put_back("a", [called("call_1")])[0].reasoning is None


def test_the_one_used_longest_ago_is_forgotten_first() -> None:
    memory = ThoughtMemory(max_calls=2)
    memory.keep("a", ["call_1"], "One.")
    memory.keep("a", ["call_2"], "Two.")
    memory.put_back("a", [called("call_1")])
    memory.keep("a", ["call_3"], "Three.")
    found = memory.put_back("a", [called("call_1"), called("call_2"), called("call_3")])
    assert [message.reasoning for message in found] == ["One.", None, "Three."]


def test_characters_are_bounded() -> None:
    memory = ThoughtMemory(max_characters=10)
    memory.keep("a", ["call_1"], "123456")
    memory.keep("a", ["call_2"], "123456")
    found = memory.put_back("a", [called("call_1"), called("call_2")])
    assert [message.reasoning for message in found] == [None, "123456"]


def test_keeping_one_twice_counts_it_once() -> None:
    memory = ThoughtMemory(max_characters=10)
    memory.keep("a", ["call_1"], "123456")
    memory.keep("a", ["call_1"], "654321")
    assert memory.put_back("a", [called("call_1")])[0].reasoning == "654321"

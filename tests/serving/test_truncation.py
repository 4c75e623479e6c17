from __future__ import annotations

import pytest

from llmd.core.message import Message, ToolCall
from llmd.serving.truncation import without_oldest

SYSTEM = Message(role="system", content="s" * 10)
CALL = Message(
    role="assistant", content=None, tool_calls=(ToolCall(id="c", name="f", arguments={}),)
)
RESULT = Message(role="tool", content="r" * 50, tool_call_id="c")


def user(number: int) -> Message:
    return Message(role="user", content=str(number) * 10)


def answer(number: int) -> Message:
    return Message(role="assistant", content=str(number) * 10)


def test_nothing_goes_where_nothing_has_to() -> None:
    messages = (SYSTEM, user(1), answer(1))
    assert without_oldest(messages, 0.0) == messages


@pytest.mark.parametrize(("share", "num_dropped"), [(0.1, 1), (0.2, 1), (0.3, 2), (0.6, 3)])
def test_the_oldest_go_first(share: float, num_dropped: int) -> None:
    messages = (user(1), answer(1), user(2), answer(2), user(3))
    assert without_oldest(messages, share) == messages[num_dropped:]


def test_instructions_and_the_last_message_stay() -> None:
    messages = (SYSTEM, user(1), answer(1), user(2))
    assert without_oldest(messages, 1.0) == (SYSTEM, user(2))


def test_no_result_stays_without_its_call() -> None:
    messages = (user(1), CALL, RESULT, RESULT, answer(1), user(2))
    assert without_oldest(messages, 0.05) == messages[1:]
    assert without_oldest(messages, 0.2) == messages[4:]


def test_results_at_the_end_keep_their_call() -> None:
    messages = (user(1), CALL, RESULT)
    assert without_oldest(messages, 1.0) == (CALL, RESULT)

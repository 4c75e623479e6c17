from __future__ import annotations

import pytest

from llmd.core.message import Message, ToolCall
from llmd.serving.truncation import token_bytes, without_oldest

SYSTEM = Message(role="system", content="s" * 10)
CALL = Message(
    role="assistant", content=None, tool_calls=(ToolCall(id="c", name="f", arguments={}),)
)
RESULT = Message(role="tool", content="r" * 50, tool_call_id="c")


def user(number: int) -> Message:
    return Message(role="user", content=str(number) * 10)


def answer(number: int) -> Message:
    return Message(role="assistant", content=str(number) * 10)


TURNS = tuple(message for number in range(1, 7) for message in (user(number), answer(number)))


@pytest.mark.parametrize(
    ("step", "num_dropped"),
    [
        (1, [2, 4, 6, 8, 10]),
        (20, [2, 4, 6, 8, 10]),
        (21, [4, 6, 8, 10]),
        (41, [6, 10]),
        (500, [10]),
    ],
)
def test_the_oldest_go_first_each_question_with_its_answer(
    step: int, num_dropped: list[int]
) -> None:
    assert without_oldest(TURNS, step) == [TURNS[number:] for number in num_dropped]


def test_what_comes_later_does_not_move_where_a_chat_begins() -> None:
    for number in range(4, len(TURNS), 2):
        *before, _ = without_oldest(TURNS[:number], 30)
        assert before == [chat[: len(chat) - len(TURNS) + number]
                          for chat in without_oldest(TURNS, 30)][: len(before)]  # fmt: skip


def test_instructions_and_the_last_message_stay() -> None:
    messages = (SYSTEM, user(1), answer(1), user(2))
    assert without_oldest(messages, 1) == [(SYSTEM, user(2))]


def test_no_result_stays_without_its_call() -> None:
    messages = (user(1), CALL, RESULT, RESULT, answer(1), user(2))
    assert without_oldest(messages, 1) == [messages[1:], messages[5:]]


def test_the_work_on_one_question_is_cut_between_two_calls() -> None:
    messages = (user(1), CALL, RESULT, CALL, RESULT, answer(1))
    assert without_oldest(messages, 1) == [messages[1:], messages[3:]]


def test_what_begins_the_answer_keeps_its_question() -> None:
    messages = (user(1), answer(1), user(2), answer(2))
    assert without_oldest(messages, 1) == [messages[2:]]


def test_results_at_the_end_keep_their_call() -> None:
    messages = (user(1), CALL, RESULT)
    assert without_oldest(messages, 500) == [(CALL, RESULT)]


@pytest.mark.parametrize("messages", [(), (SYSTEM,), (SYSTEM, user(1)), (user(1), answer(1))])
def test_what_has_one_question_only_is_not_shortened(messages: tuple[Message, ...]) -> None:
    assert without_oldest(messages, 1) == []


@pytest.mark.parametrize(
    ("num_bytes", "num_tokens", "expected"),
    [(400, 100, 4), (300, 100, 4), (550, 100, 4), (100, 100, 1), (5, 100, 1), (9000, 100, 8)],
)
def test_bytes_of_a_token_are_told_roughly(num_bytes: int, num_tokens: int, expected: int) -> None:
    assert token_bytes(num_bytes, num_tokens) == expected

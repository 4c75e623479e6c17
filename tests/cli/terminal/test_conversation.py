from __future__ import annotations

import json

from llmd.cli.terminal.conversation import Conversation, Options


def said(body: dict[str, object]) -> list[tuple[str, str]]:
    messages = body["messages"]
    assert isinstance(messages, list)
    return [(message["role"], message["content"]) for message in messages]


def test_what_was_said_goes_with_the_next_question() -> None:
    conversation = Conversation("m")
    conversation.ask("one")
    conversation.answer("uno", "Hm.")
    body = conversation.ask("two")
    assert said(body) == [("user", "one"), ("assistant", "uno"), ("user", "two")]
    assert body["messages"][1]["reasoning_content"] == "Hm."
    assert (body["model"], body["stream"]) == ("m", True)


def test_options_that_are_not_given_are_the_daemons() -> None:
    bare = Conversation("m").ask("hi")
    assert {"temperature", "max_tokens", "chat_template_kwargs"} & bare.keys() == set()
    body = Conversation("m", Options(0.0, 5), think=True).ask("hi")
    assert (body["temperature"], body["max_tokens"]) == (0.0, 5)
    assert body["chat_template_kwargs"] == {"enable_thinking": True}


def test_a_question_without_an_answer_is_taken_back_and_no_other() -> None:
    conversation = Conversation("m")
    conversation.ask("one")
    conversation.answer("uno")
    conversation.take_back()
    conversation.ask("two")
    conversation.take_back()
    assert said(conversation.ask("three"))[1:] == [("assistant", "uno"), ("user", "three")]


def test_clearing_leaves_the_system_prompt() -> None:
    conversation = Conversation("m", system="Be brief.")
    conversation.ask("one")
    conversation.clear()
    assert said(conversation.ask("two")) == [("system", "Be brief."), ("user", "two")]


def test_bytes_that_are_no_text_can_be_sent() -> None:
    body = Conversation("m").ask(b"caf\xe9".decode("utf-8", "surrogateescape"))
    assert json.loads(json.dumps(body))["messages"][0]["content"] == "caf?"

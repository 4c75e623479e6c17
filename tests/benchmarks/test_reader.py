from __future__ import annotations

from reader import WRITE, formats, measure, texts

from llmd.chat.answer.answer import join_pieces


def test_every_text_is_what_it_is_called() -> None:
    known = formats()
    for name, (kind, text) in texts(400).items():
        chat_format = known[kind]
        reader = chat_format.reader(chat_format.syntax.header, (WRITE,))
        answer = join_pieces([*reader.feed(text), *reader.flush()])
        found = (bool(answer.content), bool(answer.reasoning), bool(answer.calls))
        assert found == ("plain" in name, "thought" in name, "argument" in name), name


def test_each_is_measured() -> None:
    assert measure(20, 1).keys() == texts(80).keys()

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from zoo.template import CHATML_TOOLS

from llmd.chat import vectors
from llmd.chat.answer.piece import Piece, Text
from llmd.chat.format.chat_format import ChatFormat
from llmd.chat.vectors import Outcome, read_vectors, replay
from llmd.errors import InvalidRequest

TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Looks it up.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
        },
    },
}
HELLO = [{"role": "user", "content": "Hello"}]
PROMPT = "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n"
CALL = (
    '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris", "days": 2}}\n</tool_call>'
)


def expect(content: str = "", reasoning: str = "", *calls: dict[str, str]) -> dict[str, Any]:
    return {"content": content, "reasoning_content": reasoning, "tool_calls": list(calls)}


def case(output: str, expected: dict[str, Any], **fields: Any) -> dict[str, Any]:
    common = {"id": "one", "template": "t.jinja", "messages": HELLO, "tools": [TOOL]}
    return common | {"prompt": PROMPT, "output": output, "expected": expected} | fields


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "t.jinja").write_text(CHATML_TOOLS)
    return tmp_path


def outcomes(directory: Path, *cases: dict[str, Any]) -> list[Outcome]:
    path = directory / "v.jsonl"
    path.write_text("\n\n".join(json.dumps(case) for case in cases))
    return list(replay(read_vectors(path), directory))


def fault(directory: Path, output: str, expected: dict[str, Any], **fields: Any) -> str | None:
    return outcomes(directory, case(output, expected, **fields))[0].fault


WEATHER = {"name": "get_weather", "arguments": '{"city": "Paris", "days": 2}'}


@pytest.mark.parametrize(
    ("output", "expected", "fields"),
    [
        ("Hi there", expect("Hi there"), {}),
        ("\u00e9\U0001f600 <", expect("\u00e9\U0001f600 <"), {}),
        ("<think>\nwell\n</think>\n\nHi", expect("Hi", "well"), {}),
        ("<think>\nwell\n</think>\n\n" + CALL, expect("", "well", WEATHER), {}),
        (CALL, expect(CALL), {"tools": []}),
        (
            "<think>\nwell\n</think>\n\nHi",
            expect("<think>\nwell\n</think>\n\nHi"),
            {"reasoning_format": "none"},
        ),
        (
            "you",
            expect("Hi you"),
            {
                "messages": [*HELLO, {"role": "assistant", "content": "Hi "}],
                "prompt": PROMPT + "Hi ",
                "continue_final_message": "content",
            },
        ),
        (CALL[:60], expect("", "", WEATHER | {"arguments": '{"city": "Par'}), {"partial": True}),
    ],
)
def test_an_answer_that_is_read_as_expected_passes(
    directory: Path, output: str, expected: dict[str, Any], fields: dict[str, Any]
) -> None:
    assert fault(directory, output, expected, **fields) is None


def test_outer_blanks_do_not_count(directory: Path) -> None:
    assert fault(directory, "<think>\nwell\n</think>\n\nHi\n", expect(" Hi ", "well ")) is None


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ('{"city":"Paris",  "days":2}', None),
        ('{"days": 2, "city": "Paris"}', "arguments of call 0"),
        ('{"city": "Paris", "days": "2"}', "arguments of call 0"),
        ('{"city": "Paris", "days": 2.0}', "arguments of call 0"),
        ("{", None),
    ],
)
def test_arguments_are_compared_as_ordered_json(
    directory: Path, arguments: str, words: str | None
) -> None:
    found = fault(directory, CALL, expect("", "", WEATHER | {"arguments": arguments}))
    assert found is None if words is None else words in (found or "")


@pytest.mark.parametrize(
    ("expected", "words"),
    [
        (expect("Ho"), "content: 'Hi' in place of 'Ho'"),
        (expect("Hi", "hm"), "reasoning: '' in place of 'hm'"),
        (expect("Hi", "", WEATHER), "calls: [] in place of ['get_weather']"),
        (expect("y" * 99), "content: 'Hi' in place of '" + "y" * 56 + "..."),
    ],
)
def test_what_is_wrong_is_said(directory: Path, expected: dict[str, Any], words: str) -> None:
    assert fault(directory, "Hi", expected) == words


def test_an_id_that_was_not_written_is_missed(directory: Path) -> None:
    found = fault(directory, CALL, expect("", "", WEATHER | {"id": "call_1"}))
    assert found == "id of call 0: None in place of 'call_1'"


class _Cutting:
    """Reads every feed as a line of its own, which no reader may."""

    in_thought = False

    def feed(self, text: str) -> list[Piece]:
        return [Text(text), Text("|")]

    def flush(self, *, is_cut: bool = False) -> list[Piece]:
        return []


class _Raising(_Cutting):
    def feed(self, text: str) -> list[Piece]:
        raise KeyError(text)


def with_reader(monkeypatch: pytest.MonkeyPatch, reader: _Cutting) -> None:
    class Format(ChatFormat):
        def reader(self, *_: Any, **__: Any) -> Any:
            return reader

    monkeypatch.setattr(vectors, "_format", lambda _: object.__new__(Format))


def test_a_reader_that_minds_how_text_is_cut_fails(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_reader(monkeypatch, _Cutting())
    assert fault(directory, "Hi", expect("Hi|")) == (
        "byte by byte: content: 'H|i|' in place of 'Hi|'"
    )


def test_a_reader_that_raises_fails_its_case_alone(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_reader(monkeypatch, _Raising())
    found = outcomes(directory, case("Hi", expect()), case("Ho", expect(), id="two"))
    assert found == [
        Outcome("one", "the reader raised KeyError('Hi')"),
        Outcome("two", "the reader raised KeyError('Ho')"),
    ]


def test_a_format_that_cannot_be_found_fails_its_cases(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: Path) -> ChatFormat:
        raise KeyError("format")

    monkeypatch.setattr(vectors, "_format", broken)
    assert fault(directory, "Hi", expect("Hi")) == "the reader raised KeyError('format')"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "line 2 is no JSON"),
        ("[]", "line 2 is no case"),
        ("{}", "it lacks 'expected'"),
        (json.dumps(case("", expect()) | {"output": 1}), "output is not a text"),
        (json.dumps(case("", expect()) | {"tools": [{}]}), "it lacks 'function'"),
    ],
)
def test_a_line_that_is_no_case_is_named(directory: Path, line: str, words: str) -> None:
    path = directory / "v.jsonl"
    path.write_text(f"{json.dumps(case('', expect()))}\n{line}\n")
    with pytest.raises(InvalidRequest) as caught:
        list(read_vectors(path))
    assert words in caught.value.message
    assert caught.value.message.endswith("with id, template, output and expected.")


def test_a_missing_file_and_a_missing_template_are_named(directory: Path) -> None:
    with pytest.raises(InvalidRequest, match="Check the file"):
        list(read_vectors(directory / "absent.jsonl"))
    with pytest.raises(InvalidRequest, match="--templates DIR"):
        outcomes(directory, case("", expect(), template="absent.jinja"))

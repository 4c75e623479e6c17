"""Replaying files of recorded answers: what models write, and the message that it must become.

A file has one JSON object in a line. Of its fields these count: `id`, `template` (a file's name),
`tools`, `prompt` (else `generation_prompt`, its end), `reasoning_format` (`none` leaves thoughts in
the content), `continue_final_message` (set: the beginning of the answer stands in the prompt, and
is expected too), `output` (the text that the model wrote), `partial` (it is cut off) and `expected`
(`content`, `reasoning_content`, `tool_calls`).
"""

from __future__ import annotations

import codecs
import json
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmd.chat.answer.answer import Answer, AnswerCall, join_pieces
from llmd.chat.answer.piece import Piece
from llmd.chat.format.chat_format import ChatFormat, find_format
from llmd.chat.prompt.template import ChatTemplate
from llmd.core.message import Tool
from llmd.errors import InvalidRequest, LlmdError

NUM_RANDOM_CUTS = 4
"""How often each output is fed once more, cut at random places."""

_LONGEST_SHOWN = 60


@dataclass(frozen=True, slots=True)
class Vector:
    """One case."""

    id: str
    template: str
    prompt: str
    tools: tuple[Tool, ...]
    splits_thoughts: bool
    keeps_prefill: bool
    output: str
    is_cut: bool
    expected: Answer


@dataclass(frozen=True, slots=True)
class Outcome:
    """`fault` is None for a case that passed, else what is wrong, on one line."""

    id: str
    fault: str | None


def read_vectors(path: Path) -> Iterator[Vector]:
    """The cases of a file. Raises InvalidRequest, naming the line, for what is no case."""
    try:
        lines = path.read_text("utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"cannot read {path}: {error}. Check the file.") from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            yield _parse(json.loads(line))
        except json.JSONDecodeError as error:
            fault = f"no JSON ({error})"
        except KeyError as error:
            fault = f"no case: it lacks {error}"
        except (TypeError, AttributeError, ValueError) as error:
            fault = f"no case: {error}"
        else:
            continue
        raise InvalidRequest(
            f"{path} line {number} is {fault}. Each line is a JSON object with id, template, "
            f"output and expected."
        )


def replay(vectors: Iterable[Vector], templates: Path) -> Iterator[Outcome]:
    """Read each output with the format of its template, a file in `templates`: whole, byte by byte
    and cut at random places, always the same ones. Raises InvalidRequest for a template that is
    not there, InvalidModelFile for one that is no Jinja.
    """
    formats: dict[str, ChatFormat] = {}
    for vector in vectors:
        try:
            if vector.template not in formats:
                formats[vector.template] = _format(templates / vector.template)
            fault = _find_fault(vector, formats[vector.template])
        except LlmdError:
            raise
        except Exception as error:
            # Readers must never raise. One that does fails its case, and the others still count.
            fault = f"the reader raised {error!r}"
        yield Outcome(vector.id, fault)


def _format(path: Path) -> ChatFormat:
    try:
        source = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidRequest(
            f"cannot read the template {path}: {error}. Name the directory of the templates with "
            f"--templates DIR."
        ) from error
    # The recorded prompts have neither.
    return find_format(ChatTemplate(source, bos_token="", eos_token=""))


def _parse(case: dict[str, Any]) -> Vector:
    definitions = case.get("tools") or []
    tools = tuple(Tool(name=tool["function"]["name"], definition=tool) for tool in definitions)
    expected = case["expected"]
    return Vector(
        id=str(case["id"]),
        template=_text(case, "template"),
        prompt=_text(case, "prompt", "") or _text(case, "generation_prompt", ""),
        tools=tools,
        splits_thoughts=case.get("reasoning_format") != "none",
        keeps_prefill=bool(case.get("continue_final_message")),
        output=_text(case, "output"),
        is_cut=bool(case.get("partial")),
        expected=Answer(
            _text(expected, "content", ""),
            _text(expected, "reasoning_content", ""),
            tuple(
                AnswerCall(_text(call, "name"), call.get("id") or None, _text(call, "arguments"))
                for call in expected.get("tool_calls") or []
            ),
        ),
    )


def _text(values: dict[str, Any], key: str, absent: str | None = None) -> str:
    value = values[key] if absent is None else values.get(key) or absent
    if not isinstance(value, str):
        raise TypeError(f"{key} is not a text")
    return value


def _find_fault(vector: Vector, chat_format: ChatFormat) -> str | None:
    answer = _read(vector, chat_format, [vector.output])
    for name, cuts in _cut_ways(vector):
        other = _read(vector, chat_format, cuts)
        if other != answer:
            return f"{name}: {_difference(answer, other)}"
    return _compare(vector.expected, answer)


def _read(vector: Vector, chat_format: ChatFormat, feeds: Iterable[str]) -> Answer:
    reader = chat_format.reader(
        vector.prompt,
        vector.tools,
        splits_thoughts=vector.splits_thoughts,
        keeps_prefill=vector.keeps_prefill,
    )
    pieces: list[Piece] = []
    for text in feeds:
        pieces += reader.feed(text)
    pieces += reader.flush(is_cut=vector.is_cut)
    return join_pieces(pieces)


def _cut_ways(vector: Vector) -> Iterator[tuple[str, list[str]]]:
    data = vector.output.encode("utf-8", "surrogatepass")
    decoder = codecs.getincrementaldecoder("utf-8")("surrogatepass")
    yield "byte by byte", [decoder.decode(data[at : at + 1]) for at in range(len(data))]
    generator = random.Random(vector.id)
    for _ in range(NUM_RANDOM_CUTS):
        num_cuts = generator.randint(1, max(1, len(vector.output) // 4))
        places = sorted(generator.choices(range(len(vector.output) + 1), k=num_cuts))
        edges = zip([0, *places], [*places, len(vector.output)], strict=True)
        feeds = [vector.output[start:end] for start, end in edges]
        yield f"cut into {[len(text) for text in feeds]}"[:_LONGEST_SHOWN], feeds


def _compare(expected: Answer, answer: Answer) -> str | None:
    """Content and reasoning without outer blanks; arguments as JSON, whose keys have an order."""
    for name in ("content", "reasoning"):
        wanted, got = getattr(expected, name).strip(), getattr(answer, name).strip()
        if wanted != got:
            return _unlike(name, wanted, got)
    wanted_names, names = ([call.name for call in one.calls] for one in (expected, answer))
    if wanted_names != names:
        return _unlike("calls", wanted_names, names)
    for number, (call, other) in enumerate(zip(expected.calls, answer.calls, strict=True)):
        if call.id != (other.id or None):
            return _unlike(f"id of call {number}", call.id, other.id)
        wanted_arguments = _canonical(call.arguments)
        # Those of a call that was cut off are no JSON.
        if wanted_arguments is not None and wanted_arguments != _canonical(other.arguments):
            return _unlike(f"arguments of call {number}", call.arguments, other.arguments)
    return None


def _canonical(arguments: str) -> str | None:
    try:
        return json.dumps(json.loads(arguments))
    except ValueError:
        return None


def _difference(answer: Answer, other: Answer) -> str:
    for name in ("content", "reasoning", "calls"):
        if getattr(answer, name) != getattr(other, name):
            return _unlike(name, getattr(answer, name), getattr(other, name))
    return "nothing differs"


def _unlike(name: str, wanted: object, got: object) -> str:
    return f"{name}: {_shown(got)} in place of {_shown(wanted)}"


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[: _LONGEST_SHOWN - 3]}..."

"""`llmd replay`: a recorded request once more, and what is different now."""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from llmd.chat.answer.answer import Answer, AnswerCall, join_pieces
from llmd.chat.answer.piece import Piece
from llmd.chat.format.chat_format import ChatFormat, find_format
from llmd.chat.prompt.template import ChatTemplate
from llmd.cli.daemon_options import daemon_url
from llmd.cli.remote import Remote
from llmd.core.output import FinishReason
from llmd.errors import DaemonError, InvalidRequest
from llmd.recording.recording import (
    RecordedChoice,
    RecordedGeneration,
    RecordedTemplate,
    Recording,
)
from llmd.recording.recording_json import read
from llmd.recording.redaction import REDACTED

_CHANGES = {"stream": False, "background": False, "store": False, "echo": False}
"""An answer is wanted whole, by itself, and is to leave nothing behind."""

_LEFT_OUT = ("stream_options", "response_fields")


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--parse",
    is_flag=True,
    help="Send nothing: read the recorded text of the model again, with the recorded template.",
)
@daemon_url
@click.pass_context
def replay(ctx: click.Context, file: Path, parse: bool, url: str | None) -> None:
    """Send the request in FILE, which llmd serve --record has written, to a running daemon once
    more, with the seed that it had, and show what is different in the answer. Exits with 1 where
    something is.

    An answer that was drawn at random is the same again only where the model computes the same
    numbers: other requests beside it, another build or other hardware may change them.
    """
    recording = read(file)
    before = _recorded_lines(recording)
    if parse:
        after = _parsed_lines(recording)
    else:
        after = _answered_lines(recording, Remote.choose(url, os.environ))
    differences = list(difflib.unified_diff(before, after, "recorded", "now", lineterm="", n=1))
    for line in differences:
        click.echo(line.encode("utf-8", "backslashreplace"))
    if not differences:
        click.echo("the same")
    ctx.exit(1 if differences else 0)


def _recorded_lines(recording: Recording) -> list[str]:
    if recording.generation is None:
        return [f"error {recording.error_code}: {recording.error}"]
    answers = (
        Answer(
            choice.content,
            choice.reasoning,
            tuple(AnswerCall(call.name, None, call.arguments) for call in choice.calls),
        )
        for choice in recording.choices
    )
    return list(_lines(answers))


def _parsed_lines(recording: Recording) -> list[str]:
    """What the recorded text of the model is read as now."""
    generation = recording.generation
    if generation is None or generation.template is None:
        raise InvalidRequest(
            "no chat's answer is recorded here, so there is nothing to parse. Leave --parse out to "
            "send the request again."
        )
    found = _format(generation.template)
    return list(
        _lines(
            _parsed(found, generation, generation.prompts[index // generation.num_choices], choice)
            for index, choice in enumerate(recording.choices)
        )
    )


def _format(template: RecordedTemplate) -> ChatFormat:
    compiled = ChatTemplate(
        template.source,
        bos_token=template.bos,
        eos_token=template.eos,
        control_tokens=template.controls,
        marker_tokens=template.markers,
    )
    return find_format(compiled, end_texts=template.ends)


def _parsed(
    found: ChatFormat, generation: RecordedGeneration, prompt: str, choice: RecordedChoice
) -> Answer:
    reader = found.reader(prompt, generation.tools, splits_thoughts=generation.splits_thoughts)
    pieces: list[Piece] = reader.feed(choice.raw)
    if choice.finish_reason is not None:
        pieces += reader.flush(is_cut=choice.finish_reason is not FinishReason.STOP)
    return join_pieces(pieces)


def _answered_lines(recording: Recording, remote: Remote) -> list[str]:
    """What a running daemon answers now."""
    path = recording.path
    if recording.method == "BACKGROUND":  # it stands there as the response that it became
        path = path.rpartition("/")[0]
    try:
        answer = remote.post(path, _request(recording))
    except DaemonError as error:
        return [f"error {error.answered_code}: {error.message}"]
    generation = recording.generation
    if generation is None:
        return ["an answer"]
    now = answer.get("system_fingerprint") if isinstance(answer, dict) else None
    if now not in (None, generation.fingerprint):
        click.echo(f"another model or build: {now}, not {generation.fingerprint}", err=True)
    if REDACTED.encode() in recording.body:
        click.echo("a secret was left out of the request when it was recorded", err=True)
    answers = list(_answers(answer))
    for index, choice in enumerate(recording.choices[: len(answers)]):
        if choice.finish_reason is None:  # its client left: so much of it is known
            answers[index] = replace(
                answers[index],
                content=answers[index].content[: len(choice.content)],
                reasoning=answers[index].reasoning[: len(choice.reasoning)],
                calls=answers[index].calls[: len(choice.calls)],
            )
    return list(_lines(answers))


def _request(recording: Recording) -> dict[str, Any]:
    """The recorded one, answered whole and with the seed that was drawn."""
    try:
        body = json.loads(recording.body)
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise InvalidRequest(
            "the recorded body is no JSON object, so it cannot be sent again. Send it with curl."
        )
    sent = {name: value for name, value in body.items() if name not in _LEFT_OUT}
    sent |= {name: value for name, value in _CHANGES.items() if name in sent}
    if recording.path.removeprefix("/v1").startswith("/responses"):
        sent["store"] = False  # it is on where it is left out
    if recording.generation is not None:
        sent["seed"] = recording.generation.sampling.seed
    return sent


def _answers(answer: Any) -> Iterator[Answer]:
    """The messages in a whole answer of any of the dialects."""
    if isinstance(answer, list):  # POST /completion of several prompts
        for each in answer:
            yield from _answers(each)
    elif "choices" in answer:
        for choice in answer["choices"]:
            yield _message(choice.get("message") or {"content": choice.get("text")})
    elif "output" in answer:
        yield _items(answer["output"])
    else:
        yield _message(answer)


def _message(message: dict[str, Any]) -> Answer:
    functions = [call["function"] for call in message.get("tool_calls") or ()]
    return Answer(
        message.get("content") or "",
        message.get("reasoning_content") or "",
        tuple(AnswerCall(each["name"], None, each["arguments"]) for each in functions),
    )


def _items(items: list[dict[str, Any]]) -> Answer:
    """The output of the Responses API."""
    texts: dict[str, list[str]] = {"message": [], "reasoning": []}
    for item in items:
        texts.get(item["type"], []).extend(part["text"] for part in item.get("content") or ())
    calls = (item for item in items if item["type"] == "function_call")
    return Answer(
        "".join(texts["message"]),
        "".join(texts["reasoning"]),
        tuple(AnswerCall(call["name"], None, call["arguments"]) for call in calls),
    )


def _lines(answers: Iterable[Answer]) -> Iterator[str]:
    """For people to compare."""
    for number, answer in enumerate(answers):
        for name, text in (("reasoning", answer.reasoning), ("content", answer.content)):
            if text:
                yield f"choice {number}, {name}:"
                yield from text.split("\n")
        for call in answer.calls:
            yield f"choice {number}, call: {call.name} {call.arguments}"

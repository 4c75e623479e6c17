from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from llmd.core.message import Tool
from llmd.core.output import FinishReason, Timings
from llmd.core.sampling import SamplingParams
from llmd.errors import InvalidRequest
from llmd.recording.recording import (
    RecordedCall,
    RecordedChoice,
    RecordedGeneration,
    RecordedTemplate,
    Recording,
)
from llmd.recording.recording_json import encode, read

TOOL: dict[str, Any] = {"type": "function", "function": {"name": "look", "parameters": {}}}
TEMPLATE = RecordedTemplate(
    source="<s>{{ messages }}<think>",
    bos="<s>",
    eos="</s>",
    controls=frozenset({"<s>"}),
    markers=frozenset({"<think>"}),
    ends=("</s>",),
)
GENERATION = RecordedGeneration(
    answer_id="abc",
    model="tiny",
    fingerprint="llmd-1",
    file="tiny.gguf",
    sampling=SamplingParams(seed=7, logit_bias=((3, float("-inf")), (4, 1.5))),
    max_tokens=5,
    stop=("\n",),
    num_choices=2,
    prompts=("<s>Grüße 🦙\n",),
    num_prompt_tokens=(9,),
    tools=(Tool(name="look", definition=TOOL),),
    template=TEMPLATE,
)
CHOICES = (
    RecordedChoice(
        raw="hm</think>ja",
        content="ja",
        reasoning="hm",
        calls=(RecordedCall("call_1", "look", '{"a": 1}'),),
        finish_reason=FinishReason.STOP,
        timings=Timings(num_cached=1, num_prompt=8, prompt_ms=1, num_generated=3, generated_ms=2.5),
    ),
    RecordedChoice(raw="half \ud83e", content="half \ud83e"),
)
RECORDING = Recording(
    request_id="req_1",
    time="2026-11-21T12:01:33.000001+00:00",
    method="POST",
    path="/v1/chat/completions",
    key_name="alice",
    status=200,
    error_code=None,
    error=None,
    ttft_ms=1.5,
    duration_ms=9.5,
    body=b'{"messages": [{"role": "user", "content": "Hi"}], "n": 2}',
    generation=GENERATION,
    choices=CHOICES,
)


def written(tmp_path: Path, recording: Recording, *secrets: str) -> Path:
    path = tmp_path / "r.json"
    path.write_bytes(encode(recording, secrets))
    return path


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    assert read(written(tmp_path, RECORDING)) == RECORDING


def test_a_refused_request_is_read_back(tmp_path: Path) -> None:
    refused = replace(
        RECORDING, status=400, error_code="invalid_request", error="It is. Change it.",
        ttft_ms=None, generation=None, choices=(), key_name="",
    )  # fmt: skip
    assert read(written(tmp_path, refused)) == refused


@pytest.mark.parametrize("body", [b"{not json", b"\xff\xfe", b"", b"[" * 100_000, b'{"a": 1'])
def test_a_body_that_is_no_json_is_kept_as_text(tmp_path: Path, body: bytes) -> None:
    text = body.decode("utf-8", "replace")
    path = written(tmp_path, replace(RECORDING, body=body))
    assert json.loads(path.read_text())["request_text"] == text
    assert read(path).body == text.encode()


def test_a_ban_is_json_that_every_reader_takes(tmp_path: Path) -> None:
    def refuse(word: str) -> None:
        raise AssertionError(word)

    value = json.loads(encode(RECORDING), parse_constant=refuse)
    assert value["generation"]["sampling"]["logit_bias"] == [[3, "-inf"], [4, 1.5]]


def test_of_the_special_tokens_only_those_of_the_template_are_kept() -> None:
    template = replace(TEMPLATE, controls=frozenset({"<s>", *(f"<unused{n}>" for n in range(999))}))
    data = encode(replace(RECORDING, generation=replace(GENERATION, template=template)))
    assert json.loads(data)["generation"]["template"]["controls"] == ["<s>"]


def test_no_secret_is_written_whoever_said_it() -> None:
    key = 'sk-"quoted"-0123'
    said = f"my key is {key}"
    recording = replace(
        RECORDING,
        request_id=key,
        path=f"/v1/{key}",
        error=said,
        body=json.dumps({"messages": [{"content": said}]}).encode(),
        generation=replace(GENERATION, prompts=(said,), stop=(key,)),
        choices=(
            replace(CHOICES[0], raw=said, content=said, calls=(RecordedCall("1", "f", said),)),
        ),
    )
    for body in (recording.body, said.encode()):
        data = encode(replace(recording, body=body), [key])
        assert b"0123" not in data
        assert data.count(b"[redacted]") == 9


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", "null", '{"format": 2}', '{"format": 1}', '{"format": 1, "path": 5'],
)  # fmt: skip
def test_what_is_no_recording_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "r.json"
    path.write_text(text)
    with pytest.raises(InvalidRequest, match=r"is no recording .* --record has written\.$"):
        read(path)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="No such file"):
        read(tmp_path / "r.json")

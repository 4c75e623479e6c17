"""Recordings as files: one JSON object, in this order and with these names.

    {"llmd": "0.2.0", "format": 1, "request_id": "req_...",
     "time": "2026-11-21T12:01:33.123456+00:00", "method": "POST",
     "path": "/v1/chat/completions", "key": "alice", "status": 200, "error": null,
     "ttft_ms": 210.5, "duration_ms": 1900.0,
     "request": {"messages": [...]},
     "generation": {"answer_id": "...", "model": "tiny", "fingerprint": "...", "file": "...",
                    "sampling": {"temperature": 0.7, ..., "seed": 7}, "max_tokens": null,
                    "stop": [], "num_choices": 1, "prompts": ["<|im_start|>..."],
                    "num_prompt_tokens": [12],
                    "tools": [...], "splits_thoughts": true, "template": {"source": "...", ...}},
     "choices": [{"raw": "...", "message": {"content": "...", "reasoning": "", "calls": []},
                  "finish_reason": "stop", "timings": {"num_cached": 0, ...}}]}

A body that is no JSON is a text, `request_text`, in place of `request`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from llmd import __version__
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
from llmd.recording.redaction import redact

FORMAT = 1

MAX_FILE_BYTES = 2**30


def encode(recording: Recording, secrets: Sequence[str] = ()) -> bytes:
    """The file of a recording, without `secrets`."""
    generation = recording.generation
    content = {
        **_request(recording.body, secrets),
        "generation": redact(_generation(generation), secrets) if generation else None,
        "choices": redact([_choice(each) for each in recording.choices], secrets),
    }
    value = {
        "llmd": __version__,
        "format": FORMAT,
        "request_id": redact(recording.request_id, secrets),
        "time": recording.time,
        "method": recording.method,
        "path": redact(recording.path, secrets),
        "key": recording.key_name or None,
        "status": recording.status,
        "error": _error(recording, secrets),
        "ttft_ms": recording.ttft_ms,
        "duration_ms": recording.duration_ms,
        **content,
    }
    text = json.dumps(value, ensure_ascii=False, indent=1)
    # Halves of surrogate pairs, which are no UTF-8, stay escaped.
    return text.encode("utf-8", "backslashreplace") + b"\n"


def read(path: Path) -> Recording:
    """The recording in a file. Raises InvalidRequest."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES)
    except OSError as error:
        raise InvalidRequest(
            f"cannot read {path}: {error.strerror or error}. Name a file that llmd serve --record "
            f"has written."
        ) from error
    try:
        value = json.loads(data)
        if value["format"] == FORMAT:
            return _decode(value)
        fault = f"format {value['format']}, and this llmd reads format {FORMAT}"
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        fault = f"{type(error).__name__}: {error}"
    raise InvalidRequest(
        f"{path} is no recording ({fault}). Name a file that llmd serve --record has written."
    )


def _request(body: bytes, secrets: Sequence[str]) -> dict[str, Any]:
    try:
        request = redact(json.loads(body), secrets)
        json.dumps(request)
        return {"request": request}
    except (ValueError, RecursionError):
        return {"request_text": redact(body.decode("utf-8", "replace"), secrets)}


def _error(recording: Recording, secrets: Sequence[str]) -> dict[str, Any] | None:
    if recording.error is None:
        return None
    return {"code": recording.error_code, "message": redact(recording.error, secrets)}


def _generation(generation: RecordedGeneration) -> dict[str, Any]:
    template = generation.template
    return {
        "answer_id": generation.answer_id,
        "model": generation.model,
        "fingerprint": generation.fingerprint,
        "file": generation.file,
        "sampling": _sampling(generation.sampling),
        "max_tokens": generation.max_tokens,
        "stop": list(generation.stop),
        "num_choices": generation.num_choices,
        "prompts": list(generation.prompts),
        "num_prompt_tokens": list(generation.num_prompt_tokens),
        "tools": [tool.definition for tool in generation.tools],
        "splits_thoughts": generation.splits_thoughts,
        "template": template and {
            "source": template.source,
            "bos": template.bos,
            "eos": template.eos,
            # Vocabularies hold thousands that mean nothing here.
            "controls": sorted(text for text in template.controls if text in template.source),
            "markers": sorted(text for text in template.markers if text in template.source),
            "ends": list(template.ends),
        },
    }  # fmt: skip


def _sampling(sampling: SamplingParams) -> dict[str, Any]:
    """JSON has no infinities, and a ban is one: those are texts."""
    fields = asdict(sampling)
    fields["logit_bias"] = [
        [token_id, bias if math.isfinite(bias) else str(bias)]
        for token_id, bias in sampling.logit_bias
    ]
    return {name: list(f) if isinstance(f, tuple) else f for name, f in fields.items()}


def _choice(choice: RecordedChoice) -> dict[str, Any]:
    return {
        "raw": choice.raw,
        "message": {
            "content": choice.content,
            "reasoning": choice.reasoning,
            "calls": [asdict(call) for call in choice.calls],
        },
        "finish_reason": choice.finish_reason and choice.finish_reason.value,
        "timings": choice.timings and asdict(choice.timings),
    }


def _decode(value: dict[str, Any]) -> Recording:
    error = value["error"] or {"code": None, "message": None}
    generation = value["generation"]
    body = value["request_text"] if "request_text" in value else json.dumps(value["request"])
    return Recording(
        request_id=value["request_id"],
        time=value["time"],
        method=value["method"],
        path=value["path"],
        key_name=value["key"] or "",
        status=value["status"],
        error_code=error["code"],
        error=error["message"],
        ttft_ms=value["ttft_ms"],
        duration_ms=value["duration_ms"],
        body=body.encode("utf-8", "surrogatepass"),
        generation=generation and _decode_generation(generation),
        choices=tuple(map(_decode_choice, value["choices"])),
    )


def _decode_generation(value: dict[str, Any]) -> RecordedGeneration:
    fields = dict(value)
    sampling = dict(fields["sampling"])
    sampling["logit_bias"] = tuple((int(t), float(bias)) for t, bias in sampling["logit_bias"])
    fields["sampling"] = SamplingParams().override(
        {name: tuple(f) if isinstance(f, list) else f for name, f in sampling.items()}
    )
    fields["tools"] = tuple(
        Tool(name=tool["function"]["name"], definition=tool) for tool in fields["tools"]
    )
    for name in ("stop", "prompts", "num_prompt_tokens"):
        fields[name] = tuple(fields[name])
    template = fields["template"]
    fields["template"] = template and RecordedTemplate(
        source=template["source"],
        bos=template["bos"],
        eos=template["eos"],
        controls=frozenset(template["controls"]),
        markers=frozenset(template["markers"]),
        ends=tuple(template["ends"]),
    )
    return RecordedGeneration(**fields)


def _decode_choice(value: dict[str, Any]) -> RecordedChoice:
    message, reason = value["message"], value["finish_reason"]
    return RecordedChoice(
        raw=value["raw"],
        content=message["content"],
        reasoning=message["reasoning"],
        calls=tuple(RecordedCall(**call) for call in message["calls"]),
        finish_reason=FinishReason(reason) if reason else None,
        timings=value["timings"] and Timings(**value["timings"]),
    )

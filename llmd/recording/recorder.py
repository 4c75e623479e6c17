"""Gathering a recording while its request is worked on."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime

from llmd.core.event import (
    Event,
    Finished,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
)
from llmd.core.output import Output
from llmd.errors import LlmdError
from llmd.recording.recording import (
    RecordedCall,
    RecordedChoice,
    RecordedGeneration,
    Recording,
)
from llmd.recording.writer import RecordingWriter


@dataclass(slots=True)
class _Choice:
    raw: list[str] = field(default_factory=list)
    content: list[str] = field(default_factory=list)
    reasoning: list[str] = field(default_factory=list)
    calls: list[tuple[ToolCallStarted, list[str]]] = field(default_factory=list)
    end: Finished | None = None

    def freeze(self) -> RecordedChoice:
        return RecordedChoice(
            raw="".join(self.raw),
            content="".join(self.content),
            reasoning="".join(self.reasoning),
            calls=tuple(
                RecordedCall(call.id, call.name, "".join(arguments))
                for call, arguments in self.calls
            ),
            finish_reason=self.end.reason if self.end else None,
            timings=self.end.timings if self.end else None,
        )


class Recorder:
    """One request's own. Event loop only."""

    def __init__(
        self, writer: RecordingWriter, method: str, path: str, secrets: tuple[str, ...]
    ) -> None:
        """`secrets` are texts that must not be written, such as the key that came with it."""
        self.body = bytearray()
        self._writer = writer
        self._method = method
        self._path = path
        self._secrets = secrets
        self._time = datetime.now(UTC).isoformat(timespec="microseconds")
        self._generation: RecordedGeneration | None = None
        self._choices: defaultdict[int, _Choice] = defaultdict(_Choice)

    def continued(self, method: str, path: str) -> Recorder:
        """For what goes on with the same body when its request is answered."""
        recorder = Recorder(self._writer, method, path, self._secrets)
        recorder.body = self.body
        return recorder

    def begin(self, generation: RecordedGeneration) -> None:
        """A generation begins; what an earlier one of the same request left is forgotten."""
        self._generation = generation
        self._choices.clear()

    def add_output(self, output: Output) -> None:
        if output.text:
            self._choices[output.index].raw.append(output.text)

    def add_event(self, event: Event) -> None:
        choice = self._choices[event.index]
        match event:
            case TextDelta(text=text):
                choice.content.append(text)
            case ReasoningDelta(text=text):
                choice.reasoning.append(text)
            case ToolCallStarted():
                choice.calls.append((event, []))
            case ToolCallDelta(arguments=arguments):
                choice.calls[-1][1].append(arguments)

    def finish_choice(self, end: Finished) -> None:
        self._choices[end.index].end = end

    def finish(
        self,
        *,
        request_id: str,
        key_name: str,
        status: int,
        error: LlmdError | None,
        ttft_ms: float | None,
        duration_ms: float,
    ) -> None:
        """Have it written, if text was generated or the request failed."""
        if self._generation is None and status < 400:
            return
        num_choices = 0
        if self._generation is not None:
            num_choices = len(self._generation.prompts) * self._generation.num_choices
        recording = Recording(
            request_id=request_id,
            time=self._time,
            method=self._method,
            path=self._path,
            key_name=key_name,
            status=status,
            error_code=error.code if error else None,
            error=error.message if error else None,
            ttft_ms=ttft_ms,
            duration_ms=duration_ms,
            body=bytes(self.body),
            generation=self._generation,
            choices=tuple(self._choices[index].freeze() for index in range(num_choices)),
        )
        self._writer.add(recording, self._secrets)

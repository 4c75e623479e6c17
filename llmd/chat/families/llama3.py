"""Llama 3 and 4: a call is an answer that is a JSON object, without any marker.

{"name": "get_weather", "parameters": {"city": "Paris"}}
<|python_tag|>brave_search.call(query="Paris")
[get_weather(city="Paris")]
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from llmd.chat.answer.json_stream import JsonStream
from llmd.chat.answer.scan import Steps
from llmd.chat.calls.base import GrammarRules, ToolSchemas
from llmd.chat.calls.pythonic_reader import PythonicReader
from llmd.chat.calls.scripted import ScriptedReader
from llmd.chat.families.whole import WholeReader, tail_behind
from llmd.core.message import Tool

_PYTHON_TAG = "<|python_tag|>"
_PYTHON_START = "<|python_start|>"
_PYTHON_END = "<|python_end|>"
_NAME_KEYS = ("name", "function")
_ARGUMENT_KEYS = ("parameters", "arguments")
_KEY = re.compile(r"\w*")
_NAME = re.compile(r"[^\"\\\n]*")


@dataclass(frozen=True, slots=True)
class Llama3:
    """`argument_key` is the template's own word for the arguments; the usual ones are all read."""

    header: str = "<|start_header_id|>assistant<|end_header_id|>\n\n"
    ends: tuple[str, ...] = ("<|eot_id|>", "<|eom_id|>")
    thought: None = None
    argument_key: str = "parameters"

    def prompt_tail(self, prompt: str) -> str:
        return tail_behind(self.header, prompt)

    def reader(
        self,
        prompt_tail: str,
        tools: ToolSchemas,
        *,
        splits_thoughts: bool,
        keeps_prefill: bool = False,
    ) -> WholeReader:
        return WholeReader(Llama3Reader(tools, self.ends), prompt_tail, keeps_prefill=keeps_prefill)

    def grammar(
        self,
        rules: GrammarRules,
        tools: Sequence[Tool],
        *,
        in_thought: bool,
        needs_call: bool,
        many: bool,
        content: str | None,
    ) -> str:
        schemas = ToolSchemas(tools)
        options = []
        for name in schemas.names:
            head = rules.literal(f'{{"name": "{name}", "{self.argument_key}": ')
            options.append(f'{head} {rules.json(schemas.object_schema(name))} "}}"')
        answers = []
        if options:
            call = rules.add("call", rules.choice(options))
            answers.append(f'{call} ("; " {call})*' if many else call)
        if not needs_call:
            # Text that could turn into a call would share its lexemes.
            free = "/[^{](?s:.*)/?" if options else "/(?s:.*)/"
            answers.append(content or free)
        return rules.add("answer", rules.choice(answers))


LLAMA_4 = Llama3(header="<|header_start|>assistant<|header_end|>\n\n", ends=("<|eot|>", "<|eom|>"))


class Llama3Reader(ScriptedReader):
    """Reads an answer: calls at its start, then text."""

    def __init__(self, tools: ToolSchemas, ends: tuple[str, ...]) -> None:
        self._tools = tools
        self._ends = ends
        super().__init__("")

    def read(self) -> Steps[None]:
        scan = self.scan
        is_call = bool(self._tools.names)
        while is_call:
            mark = yield from scan.behind_blanks("{", "[", _PYTHON_TAG, _PYTHON_START)
            if mark is None:
                break
            if mark == "{":
                is_call = yield from self._read_object()
            else:
                is_call = yield from self._read_python(mark)
            if is_call:
                self.begin()
                yield from scan.behind_blanks(";", _PYTHON_END)
                self.begin()
        self.give_up()
        while True:
            end = yield from scan.until(self.give_text, *self._ends)
            blanks = yield from scan.blanks()
            if scan.text:
                self.give_text(end + blanks)

    def _read_object(self) -> Steps[bool]:
        """Reads behind the bracket; False where this is no call."""
        scan = self.scan
        name: str | None = None
        arguments: str | None = None
        is_called = False
        while True:
            mark = yield from scan.behind_blanks('"', ",", "}")
            if mark == ",":
                continue
            if mark != '"':
                break
            key = yield from scan.run(_KEY)
            quote = yield from scan.option('"')
            colon = yield from scan.behind_blanks(":")
            if not (quote and colon):
                break
            if key in _ARGUMENT_KEYS and name is not None and not is_called:
                self.call(name)
                is_called = True
                yield from scan.blanks()
                yield from self.json_arguments()
            elif key in _ARGUMENT_KEYS and not is_called:
                arguments = yield from self._read_json()
            elif key in _NAME_KEYS and name is None:
                name = yield from self._read_name()
                if name is None:
                    break
                if arguments is not None:
                    self.call(name)
                    is_called = True
                    self.give_arguments(arguments)
            elif key == "type" or is_called:
                yield from self._read_json()
            else:
                break
        return is_called

    def _read_name(self) -> Steps[str | None]:
        """The name of one of our tools, or None."""
        scan = self.scan
        quote = yield from scan.behind_blanks('"')
        name = yield from scan.run(_NAME)
        end = yield from scan.option('"')
        return name if quote and end and name in self._tools.names else None

    def _read_json(self) -> Steps[str]:
        stream = JsonStream()
        parts: list[str] = []
        yield from self.scan.json(stream, parts.append)
        return "".join(parts) + stream.closing()

    def _read_python(self, tag: str) -> Steps[bool]:
        """Reads behind the tag: an object, or calls in Python."""
        if tag != "[":
            bracket = yield from self.scan.behind_blanks("{")
            if bracket is not None:
                return (yield from self._read_object())
        self.drop()
        python = PythonicReader(tag, self._tools, closer="", known_only=True, method=".call")
        return (yield from self.through(python))

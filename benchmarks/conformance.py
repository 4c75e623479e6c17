"""Whether constraints hold: every schema is enforced or refused, never ignored.

    python benchmarks/conformance.py [--walks 20] [--only NAME] [--json]

Each schema is tried as a response_format and as the parameters of a strict tool, in several ways
of writing calls, with thinking and without. Enforced means: the grammar takes the documents that
fit and not those that violate the schema, and whatever random walks through it come to is read
back by the reader of answers as a document that the package `jsonschema` finds valid. Refused
means a 400 with a JSON pointer. The exit status is 1 where a schema is neither, or the other of
the two than expected.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal, localcontext
from typing import Any

import jsonschema
import numpy as np
from notations import COLUMNS, Column
from schemas import CASES, SchemaCase

from llmd.chat.answer.answer import join_pieces
from llmd.chat.format.chat_format import ChatFormat
from llmd.core.message import Message, Tool
from llmd.core.request import ChatPrompt, JsonSchema, ToolChoice, ToolChoiceMode
from llmd.engine.grammar import CompiledGrammar, Constraint, GrammarCompiler
from llmd.errors import InvalidRequest
from llmd.serving.constraint import constrain

MAX_WALK = 1500
"""Tokens after which a random walk is given up."""

DIGITS = 2500
"""Of decimal numbers, which are compared exactly: more than a walk can write."""

MERGED = (
    '{"',
    '":',
    '": ',
    '": "',
    '", "',
    '"}',
    "}}",
    "[]",
    "{}",
    "\n",
    "\n\n",
    "  ",
    "true",
    "false",
    "null",
    "</",
    "think>",
    "<tool_call>",
    "</tool_call>",
    "<parameter=",
    "\n</parameter>",
    ">\n",
    "2024-",
    "name",
    "value",
)


_ENDS = frozenset((b'"', b"]", b"}", b'"}', b"}}", b"\n</parameter>"))
_PLAIN = frozenset(bytes([value]) for value in b"abnz_- :{[.,\\</0123456789")


class ToyVocabulary:
    """Every byte, some longer tokens and one that ends the generation."""

    suppressed_ids: tuple[int, ...] = ()

    def __init__(self) -> None:
        self._tokens = [bytes([value]) for value in range(256)] + [t.encode() for t in MERGED]
        self._ids = {token: token_id for token_id, token in enumerate(self._tokens)}
        self._longest = max(map(len, self._tokens))
        self._tokens.append(b"<|im_end|>")

    @property
    def end_of_generation_ids(self) -> frozenset[int]:
        return frozenset({len(self._tokens) - 1})

    def all_bytes(self) -> list[bytes]:
        return list(self._tokens)

    def token_bytes(self, token_id: int) -> bytes:
        return self._tokens[token_id]

    def encode_inside(self, text: str, *, parse_special: bool) -> list[int]:
        """Always the longest token that fits."""
        data = text.encode()
        token_ids: list[int] = []
        while data:
            length = next(n for n in range(self._longest, 0, -1) if data[:n] in self._ids)
            token_ids.append(self._ids[data[:length]])
            data = data[length:]
        return token_ids


@dataclass(frozen=True, slots=True)
class Verdict:
    """`outcome` is "enforced", "refused" or what is wrong. `num_walks` came to an end."""

    outcome: str
    num_walks: int = 0


class Trial:
    """One schema in one column."""

    def __init__(self, case: SchemaCase, column: Column, compiler: GrammarCompiler) -> None:
        self._case = case
        self._column = column
        self._compiler = compiler
        self._vocabulary = ToyVocabulary()
        function = {"name": "f", "parameters": case.schema, "strict": True}
        tool = Tool(name="f", definition={"type": "function", "function": function})
        self._tools = (tool,) if column.is_tool else ()
        self._format = ChatFormat(syntax=column.syntax, origin="benchmark")
        self._prompt = f"<|im_end|>\n{column.syntax.header}{'<think>' if column.thought else ''}"
        meaning = json.dumps(case.schema if case.meaning is None else case.meaning)
        self._validator = jsonschema.Draft202012Validator(
            json.loads(meaning, parse_float=Decimal),
            format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER,
        )

    def run(self, num_walks: int) -> Verdict:
        try:
            grammar = self._compile()
        except InvalidRequest as error:
            has_pointer = " #" in error.message and error.param is not None
            return Verdict("refused" if has_pointer else f"refused without a place: {error}")
        for document in self._case.fitting:
            if not self._takes(grammar, self._written(document)):
                return Verdict(f"does not take {json.dumps(document)}")
        for document in self._case.violating:
            text = self._written(document)
            # What stands for another value in this notation, a number for a text, is none.
            if self._takes(grammar, text) and self._fault(text) is not None:
                return Verdict(f"IGNORED: takes {json.dumps(document)}")
        num_ended = 0
        for seed in range(num_walks):
            walked = self._walk(grammar, random.Random(seed))
            if walked is None:
                continue
            num_ended += 1
            fault = self._fault(walked)
            if fault is not None:
                return Verdict(f"IGNORED: {fault} in {walked!r}")
        return Verdict("enforced" if num_ended else "never comes to an end", num_ended)

    def _compile(self) -> CompiledGrammar:
        required = ToolChoice(mode=ToolChoiceMode.REQUIRED)
        prompt = ChatPrompt(
            messages=(Message(role="user", content="Go."),),
            tools=self._tools,
            tool_choice=required if self._tools else ToolChoice(),
            parallel_tool_calls=False,
        )
        wanted = JsonSchema(schema=self._case.schema, param="response_format.json_schema.schema")
        constraint = constrain(
            prompt,
            None if self._tools else wanted,
            syntax=self._format.syntax,
            in_thought=self._format.reader(self._prompt, self._tools).in_thought,
        )
        assert constraint.source is not None and not constraint.loosened
        return self._compiler.compile(constraint.source)

    def _written(self, document: dict[str, Any]) -> str:
        return self._column.thought + self._column.write(document)

    def _takes(self, grammar: CompiledGrammar, text: str) -> bool:
        constraint = grammar.start()
        token_ids = self._vocabulary.encode_inside(text, parse_special=True)
        return all(map(constraint.accept, token_ids)) and constraint.may_end

    def _walk(self, grammar: CompiledGrammar, rng: random.Random) -> str | None:
        constraint = grammar.start()
        for token_id in self._vocabulary.encode_inside(self._column.begin, parse_special=True):
            assert constraint.accept(token_id)
        data = b""
        for _ in range(MAX_WALK):
            if constraint.may_end and (constraint.is_complete or rng.random() < 0.5):
                return self._column.begin + data.decode()
            token_id = self._draw(constraint, rng)
            assert constraint.accept(token_id)
            data += self._vocabulary.token_bytes(token_id)
        return None

    def _draw(self, constraint: Constraint, rng: random.Random) -> int:
        """Any token that may stand next; rather one that ends something, or a plain one."""
        allowed: list[int] = np.flatnonzero(constraint.mask()).tolist()
        allowed = [t for t in allowed if t not in self._vocabulary.end_of_generation_ids]
        chance = rng.random()
        for share, wanted in ((0.3, _ENDS), (0.85, _PLAIN)):
            if chance < share:
                likely = [t for t in allowed if self._vocabulary.token_bytes(t) in wanted]
                if likely:
                    return rng.choice(likely)
        return rng.choice(allowed)

    def _fault(self, text: str) -> str | None:
        """What is wrong with an answer, None where all is as it must be."""
        reader = self._format.reader(self._prompt, self._tools)
        answer = join_pieces([*reader.feed(text), *reader.flush()])
        written = answer.content
        if self._column.is_tool:
            if [call.name for call in answer.calls] != ["f"] or answer.content.strip():
                return "not one call"
            written = answer.calls[0].arguments
        try:
            document = json.loads(written, parse_float=_exact)
        except ValueError:
            return "no JSON"
        with localcontext() as context:
            context.prec = DIGITS
            error = next(self._validator.iter_errors(document), None)
        return None if error is None else error.message


def _exact(number: str) -> Decimal:
    """A number as it is written; one with an exponent that no machine has as a mere number."""
    mantissa, _, exponent = number.lower().partition("e")
    return Decimal(number if len(exponent) < 5 else mantissa)


def run(
    cases: Sequence[SchemaCase], columns: Sequence[Column], num_walks: int
) -> dict[str, list[Verdict]]:
    """The verdicts for each case by its name, one for each column."""
    compiler = GrammarCompiler(ToyVocabulary())
    return {
        case.name: [Trial(case, column, compiler).run(num_walks) for column in columns]
        for case in cases
    }


def faults(
    cases: Sequence[SchemaCase], columns: Sequence[Column], results: dict[str, list[Verdict]]
) -> list[str]:
    """What is neither enforced nor refused as it should be, on a line each."""
    found = []
    for case in cases:
        for column, verdict in zip(columns, results[case.name], strict=True):
            is_refused = case.is_refused or column.notation in case.refused_in
            expected = "refused" if is_refused else "enforced"
            if verdict.outcome != expected:
                found.append(f"{case.name} as {column.name}: {verdict.outcome}")
    return found


def table(columns: Sequence[Column], results: dict[str, list[Verdict]]) -> str:
    rows = [["schema", *(column.name for column in columns)]]
    for name, verdicts in results.items():
        shown = (v.outcome if len(v.outcome) < 10 else "FAULT" for v in verdicts)
        rows.append([name, *shown])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rows.insert(1, ["-" * width for width in widths])
    lines = ("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--walks", type=int, default=20)
    parser.add_argument("--only", help="a part of the names of the schemas to try")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    cases = [case for case in CASES if not options.only or options.only in case.name]
    results = run(cases, COLUMNS, options.walks)
    wrong = faults(cases, COLUMNS, results)
    outcomes = Counter(verdict.outcome for row in results.values() for verdict in row)
    if options.json:
        print(json.dumps({name: [v.outcome for v in row] for name, row in results.items()}))
    else:
        print(table(COLUMNS, results))
        num_walks = sum(verdict.num_walks for row in results.values() for verdict in row)
        print(
            f"\n{len(cases)} schemas in {len(COLUMNS)} ways: {outcomes['enforced']} enforced, "
            f"{outcomes['refused']} refused, {len(wrong)} wrong; {num_walks} random answers valid"
        )
    for line in wrong:
        print(line, file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

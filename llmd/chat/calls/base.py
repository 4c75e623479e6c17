"""What every wire format of tool calls gives: a reader and a grammar."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

from llmd.chat.answer.piece import Piece
from llmd.chat.answer.schema_parts import property_schema, rooted
from llmd.core.message import Tool

# Blanks are bounded: models that may write them for ever do. One value for all schemas lets
# llguidance merge their lexemes.
JSON_STYLE = {"whitespace_pattern": " |\n {0,40}|\n\t{0,10}"}

ANY_TEXT = "/(?s:.*)/"


class CallReader(Protocol):
    """Reads one section of calls. Time is linear in the text, nothing raises, and how the text is
    cut into feeds does not change the concatenated result. One thread at a time.
    """

    @property
    def rest(self) -> str | None:
        """None while calls go on, else the text behind them, which the frame reads on with."""

    def feed(self, text: str) -> list[Piece]:
        """A name comes out whole, arguments as they come. What cannot be a call is Text."""

    def flush(self, *, is_cut: bool) -> list[Piece]:
        """The answer is over. Without `is_cut`, a begun call is closed so that its arguments are
        valid JSON; with it, a length limit ended the text and nothing is made up. What never
        became a call comes out as Text, with its markers.
        """


class CallSyntax(Protocol):
    """One wire format of calls."""

    @property
    def openers(self) -> tuple[str, ...]:
        """Each begins calls in an answer's text; blanks around them are optional and no content."""

    @property
    def ends_thoughts(self) -> bool:
        """Whether an opener inside an unclosed thought ends that thought."""

    def reader(self, opener: str, tools: ToolSchemas) -> CallReader:
        """A reader for what follows `opener`, which was found and is not fed again."""

    def grammar(
        self, rules: GrammarRules, opener: str, tools: Sequence[Tool], *, many: bool
    ) -> str:
        """Adds rules and names the one that matches what follows `opener`, to the end of the
        section: valid calls of `tools`, exactly one of them unless `many`. `tools` is not empty;
        the parameters of each are a plain object, all properties declared, or an `anyOf` of such.
        """


@dataclass(frozen=True)
class ToolSchemas:
    """What the request's tools say about their parameters."""

    tools: Sequence[Tool]

    @cached_property
    def _parameters(self) -> Mapping[str, dict[str, Any]]:
        found = {}
        for tool in self.tools:
            function = tool.definition.get("function")
            parameters = function.get("parameters") if isinstance(function, dict) else None
            found[tool.name] = parameters if isinstance(parameters, dict) else {}
        return found

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._parameters)

    def parameters(self, name: str) -> dict[str, Any] | None:
        """The JSON schema of the arguments of `name`; `{}` where the tool has none, None where
        there is no such tool.
        """
        return self._parameters.get(name)

    def value_schema(self, name: str, key: str) -> dict[str, Any]:
        """The schema of one argument, `{}` where nothing is said about it. It stands alone: what
        its references point at comes along under `$defs`.
        """
        return property_schema(self._rooted.get(name, {}), key)

    @cached_property
    def _rooted(self) -> Mapping[str, dict[str, Any]]:
        schemas: dict[str, dict[str, Any]] = {}
        for name, schema in self._parameters.items():
            try:
                schemas[name] = rooted(schema)
            except RecursionError:
                # Deeper than anybody needs: then nothing is known about the arguments.
                schemas[name] = {}
        return schemas

    def object_schema(self, name: str) -> dict[str, Any]:
        """The schema of all arguments of `name`, an object; it stands alone."""
        return {"type": "object", **self._rooted.get(name, {})}

    def required(self, name: str) -> tuple[str, ...]:
        """The arguments that a call of `name` must have, as far as they are declared."""
        parameters = self._parameters.get(name, {})
        required = parameters.get("required")
        properties = parameters.get("properties")
        if not isinstance(required, list) or not isinstance(properties, dict):
            return ()
        return tuple(key for key in required if isinstance(key, str) and key in properties)


class GrammarRules:
    """Collects the rules of one Lark grammar as llguidance reads it."""

    def __init__(self) -> None:
        self._bodies: dict[str, str] = {}
        self._known: dict[tuple[str, str], str] = {}

    def add(self, name: str, body: str) -> str:
        """Adds the rule `name: body` and gives the name that it got: `name`, made lower case and
        unique. A rule that was added before is not added again.
        """
        base = _rule_name(name)
        known = self._known.get((base, body))
        if known is None:
            known = self._known[base, body] = self.reserve(name)
            self._bodies[known] = f": {body}"
        return known

    def reserve(self, name: str) -> str:
        """A unique name for a rule that refers to itself; `define` gives its body later."""
        base = _rule_name(name)
        unique = base
        count = 1
        while unique in self._bodies:
            count += 1
            unique = f"{base}_{count}"
        self._bodies[unique] = ": "
        return unique

    def define(self, name: str, body: str) -> None:
        """The body of a name that `reserve` gave."""
        self._bodies[name] = f": {body}"

    def until(self, suffix: str, body: str = ANY_TEXT) -> str:
        """The name of a rule that matches a text up to the first `suffix`, and that too. `body`,
        an expression of regular expressions only, says what the text may be.
        """
        key = ("text", f"[suffix={self.literal(suffix)}]: {body}")
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = self.reserve("text")
            self._bodies[known] = key[1]
        return known

    @staticmethod
    def literal(text: str) -> str:
        """A Lark string that matches exactly `text`."""
        return json.dumps(text, ensure_ascii=False)

    @staticmethod
    def json(schema: Mapping[str, Any]) -> str:
        """An expression that matches the JSON text of a value of `schema`, which stands alone."""
        styled = {**schema, "x-guidance": JSON_STYLE}
        return f"%json {json.dumps(styled, ensure_ascii=False)}"

    def blanks(self) -> str:
        """The name of a rule that matches a few blanks or none."""
        return self.add("blanks", r"/[ \t\r\n]{0,8}/")

    @staticmethod
    def choice(expressions: Iterable[str]) -> str:
        """An expression that matches any of `expressions`."""
        options = list(dict.fromkeys(expressions))
        return options[0] if len(options) == 1 else f"({' | '.join(options)})"

    def listed(self, members: Sequence[tuple[str, bool]], separator: str) -> str:
        """An expression that matches `members` in their order with `separator` between them; those
        that are not marked as required may be missing.
        """
        tail = ""
        tails: list[str] = []
        for expression, is_required in reversed(members):
            tails.append(tail)
            more = f"{separator} {expression}"
            body = f"{more} {tail}" if is_required else f"({more})? {tail}"
            tail = self.add("more", body.rstrip())
        heads: list[str] = []
        for (expression, is_required), tail in zip(members, reversed(tails), strict=True):
            heads.append(f"{expression} {tail}".rstrip())
            if is_required:
                return self.choice(heads)
        return f"({self.choice(heads)})?" if heads else '""'

    def text(self) -> str:
        """The whole grammar; one of its rules must have been added as `start`."""
        return "".join(f"{name}{body}\n" for name, body in self._bodies.items())


def _rule_name(name: str) -> str:
    return re.sub(r"[^a-z0-9_]", "_", name.lower()).strip("_") or "rule"

"""What the keywords say that speak of one type of document each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any, Protocol

from llmd.chat.schema.definitions import Definitions
from llmd.chat.schema.fault import FaultList, below
from llmd.chat.schema.formats import NUMBER_FORMATS, SILENT_FORMATS, TEXT_FORMATS
from llmd.chat.schema.node import (
    NEVER,
    Array,
    Boolean,
    Node,
    Null,
    Number,
    Object,
    Shape,
    String,
)
from llmd.chat.schema.pattern import PatternFault, length_pattern, rust_pattern

# In-place keywords that let parts of the document be evaluated elsewhere.
_ELSEWHERE = frozenset(
    "$ref allOf anyOf oneOf if dependentSchemas dependencies $dynamicRef".split()
)


class Reader(Protocol):
    def read(self, schema: Any, pointer: str, depth: int) -> Node: ...


class ShapeReader:
    """Reads the keywords of one type; the schemas inside go back to `reader`."""

    def __init__(self, reader: Reader, definitions: Definitions, faults: FaultList) -> None:
        self._reader = reader
        self._definitions = definitions
        self._faults = faults

    def type_of_format(
        self, words: Mapping[str, Any], types: Sequence[str], pointer: str
    ) -> str | None:
        """The type that `format` speaks of, where it says anything."""
        name = words.get("format")
        if name is None or name in SILENT_FORMATS:
            return None
        if name in TEXT_FORMATS:
            return "string"
        if name in NUMBER_FORMATS and ("number" in types or "integer" in types):
            return "number"
        self._faults.unsupported(
            below(pointer, "format"), f"names {name!r}, which llmd has no rules for"
        )
        return None

    def read(
        self, name: str, words: Mapping[str, Any], pointer: str, depth: int, *, is_implied: bool
    ) -> Node:
        """The shape of type `name`."""
        shape: Shape
        match name:
            case "null":
                shape = Null()
            case "boolean":
                shape = Boolean()
            case "number" | "integer":
                shape = self._number(words, pointer, is_integer=name == "integer")
            case "string":
                shape = self._string(words, pointer)
            case "array":
                shape = self._array(words, pointer, depth + 1)
            case _:
                shape = self._object(words, pointer, depth + 1)
        return replace(shape, is_implied=is_implied)

    def _number(self, words: Mapping[str, Any], pointer: str, *, is_integer: bool) -> Number:
        lows = [(bound, False) for bound in _exact(words, "minimum")]
        highs = [(bound, True) for bound in _exact(words, "maximum")]
        # Draft 4 has `true` here, which turns the bound beside it into an exclusive one.
        if words.get("exclusiveMinimum") is True:
            lows = [(bound, True) for bound, _ in lows]
        if words.get("exclusiveMaximum") is True:
            highs = [(bound, False) for bound, _ in highs]
        lows += [(bound, True) for bound in _exact(words, "exclusiveMinimum")]
        highs += [(bound, False) for bound in _exact(words, "exclusiveMaximum")]
        bounds = NUMBER_FORMATS.get(words.get("format", ""))
        if bounds is not None:
            lows.append((bounds[0], False))
            highs.append((bounds[1], True))
            is_integer = True
        low, high = max(lows, default=None), min(highs, default=None)
        return Number(
            is_integer=is_integer,
            minimum=low[0] if low else None,
            excludes_minimum=bool(low and low[1]),
            maximum=high[0] if high else None,
            excludes_maximum=bool(high and not high[1]),
            multiple_of=next(iter(_exact(words, "multipleOf")), None),
            origin=pointer,
        )

    def _string(self, words: Mapping[str, Any], pointer: str) -> String:
        patterns = []
        if "pattern" in words:
            pattern = self._pattern(words["pattern"], below(pointer, "pattern"))
            patterns += [] if pattern is None else [pattern]
        limit = None if words.get("maxLength") is None else int(words["maxLength"])
        text_format = TEXT_FORMATS.get(words.get("format", ""))
        if text_format is not None:
            patterns.append(f"^(?:{text_format.pattern})$")
            limits = [n for n in (limit, text_format.max_length) if n is not None]
            limit = min(limits, default=None)
        return String(
            min_length=int(words.get("minLength", 0)),
            max_length=limit,
            patterns=tuple(patterns),
            origin=pointer,
        )

    def _pattern(self, pattern: str, pointer: str) -> str | None:
        try:
            return rust_pattern(pattern)
        except PatternFault as fault:
            if fault.is_invalid:
                self._faults.invalid(pointer, f"is no regular expression, it {fault}")
            else:
                self._faults.unsupported(pointer, str(fault))
            return None

    def _array(self, words: Mapping[str, Any], pointer: str, depth: int) -> Array:
        high = None if words.get("maxItems") is None else int(words["maxItems"])
        if words.get("uniqueItems") and (high is None or high > 1):
            self._faults.unsupported(
                below(pointer, "uniqueItems"), "needs all items to be compared"
            )
        if "contains" in words and words.get("minContains") != 0:
            self._faults.unsupported(below(pointer, "contains"), "needs one item to be found")
        elif "contains" in words and "maxContains" in words:
            self._faults.unsupported(below(pointer, "maxContains"), "needs items to be counted")
        items = words.get("items")
        # Up to draft 2019-09 a list in `items` is what `prefixItems` is now.
        prefix_word = "items" if isinstance(items, list) else "prefixItems"
        rest_word = "additionalItems" if isinstance(items, list) else "items"
        if rest_word not in words and "unevaluatedItems" in words:
            rest_word = "unevaluatedItems"
            if _ELSEWHERE & words.keys():
                where = below(pointer, "unevaluatedItems")
                self._faults.unsupported(where, "stands beside keywords that evaluate items")
                rest_word = ""
        return Array(
            prefix=tuple(
                self._reader.read(schema, below(pointer, prefix_word, index), depth)
                for index, schema in enumerate(words.get(prefix_word, ()))
            ),
            items=self._reader.read(words.get(rest_word, True), below(pointer, rest_word), depth),
            says_items=rest_word in words,
            min_items=int(words.get("minItems", 0)),
            max_items=high,
            origin=pointer,
        )

    def _object(self, words: Mapping[str, Any], pointer: str, depth: int) -> Object:
        rest_word = "additionalProperties"
        if rest_word not in words and "unevaluatedProperties" in words:
            rest_word = "unevaluatedProperties"
            if _ELSEWHERE & words.keys():
                where = below(pointer, rest_word)
                self._faults.unsupported(where, "stands beside keywords that evaluate properties")
                rest_word = ""
        patterns: dict[str, Node] = {}
        for pattern, schema in words.get("patternProperties", {}).items():
            where = below(pointer, "patternProperties", pattern)
            translated = self._pattern(pattern, where)
            if translated is not None:
                patterns[translated] = self._reader.read(schema, where, depth)
        high = words.get("maxProperties")
        shape = Object(
            properties=tuple(
                (name, self._reader.read(schema, below(pointer, "properties", name), depth))
                for name, schema in words.get("properties", {}).items()
            ),
            patterns=tuple(patterns.items()),
            additional=self._reader.read(
                words.get(rest_word, True), below(pointer, rest_word), depth
            ),
            says_additional=rest_word in words,
            declares="properties" in words,
            required=tuple(dict.fromkeys(words.get("required", ()))),
            min_properties=int(words.get("minProperties", 0)),
            max_properties=None if high is None else int(high),
            origin=pointer,
        )
        if "propertyNames" not in words:
            return shape
        where = below(pointer, "propertyNames")
        names = self._reader.read(words["propertyNames"], where, depth)
        return self._with_names(shape, names, where)

    def _with_names(self, shape: Object, names: Node, pointer: str) -> Object:
        """`shape` where every property's name is of `names`."""
        options = self._definitions.shapes(names)
        texts = [option for option in options or () if isinstance(option, String)]
        match texts:
            case [String(values=None, patterns=(), min_length=0, max_length=None, excluded=())]:
                return shape
            case [String(values=tuple() as values, patterns=())] if not shape.patterns:
                return _listed(shape, values)
            case []:
                if options is not None and not shape.required:
                    return replace(shape, max_properties=0)
            case [String(values=None, excluded=(), patterns=patterns) as text]:
                lengths = (text.min_length, text.max_length) != (0, None)
                every = [*patterns, *([length_pattern(text.min_length, text.max_length)] * lengths)]
                if len(every) == 1 and not shape.properties and not shape.patterns:
                    return replace(
                        shape,
                        patterns=((every[0], shape.additional),),
                        additional=NEVER,
                        says_additional=True,
                    )
        self._faults.unsupported(pointer, "asks more of the names than llmd can enforce here")
        return shape


def _listed(shape: Object, names: Sequence[str]) -> Object:
    """`shape` with no properties but some of `names`."""
    declared = dict(shape.properties)
    allowed = {name: declared.get(name, shape.additional) for name in names}
    kept = {name: allowed.get(name, NEVER) for name in declared} | allowed
    return replace(
        shape,
        properties=tuple(kept.items()),
        additional=NEVER,
        says_additional=True,
        declares=True,
    )


def _exact(words: Mapping[str, Any], keyword: str) -> list[Fraction]:
    """The number of a keyword as it is written, in a list of one or none."""
    value = words.get(keyword)
    if value is None or isinstance(value, bool):
        return []
    return [Fraction(str(value))]

"""JSON schemas of clients, made into such as are enforced to the letter.

What the constraint engine ignores, approximates or does not know is refused with the place of the
keyword, or, where the client asked for no strictness, left out and named. What can be said in
other words is: references, `allOf`, `oneOf` with alternatives that exclude each other, `if` with
`then` and `else`, `not` of listed values, `format`, and more. A schema becomes a set of documents
(llmd.chat.schema.node) and is written anew from that.
"""

from __future__ import annotations

import json
from typing import Any

from llmd.chat.schema.algebra import Algebra
from llmd.chat.schema.definitions import Definitions, TooLarge
from llmd.chat.schema.fault import Fault, FaultList, SchemaFaulty
from llmd.chat.schema.node import Node, Object
from llmd.chat.schema.reader import SchemaReader
from llmd.chat.schema.writer import SchemaWriter
from llmd.errors import InvalidRequest, Unsupported

MAX_CHARACTERS = 500_000
"""Of a schema, as it comes and as it is written."""

Schema = dict[str, Any]


def check_schema(schema: object, param: str) -> None:
    """Raises InvalidRequest where `schema` is none, or no document fits it, and Unsupported where
    a part of it cannot be enforced; the message has a JSON pointer to the keyword.
    """
    normalize_schema(schema, param)


def normalize_schema(schema: object, param: str, *, only_objects: bool = False) -> Schema:
    """An equivalent schema of plain words: `type` (one), `enum`, `anyOf`, `properties` with
    `required` and `additionalProperties`, `$ref` into `$defs`, and limits. `only_objects` leaves
    all other documents out. Raises as `check_schema`.
    """
    faults = FaultList(loosens=False)
    try:
        return _normalized(schema, faults, only_objects=only_objects)
    except SchemaFaulty as faulty:
        raise _refusal(faulty.fault, param) from None


def loosen_schema(schema: object, *, only_objects: bool = False) -> tuple[Schema, tuple[str, ...]]:
    """The schema without what cannot be enforced, as `normalize_schema` writes it, and the JSON
    pointers to what was left out. Never raises: of a schema that is none, nothing is left.
    """
    faults = FaultList(loosens=True)
    try:
        return _normalized(schema, faults, only_objects=only_objects), faults.pointers
    except SchemaFaulty as faulty:
        return {"type": "object"} if only_objects else {}, (faulty.fault.pointer,)


def _normalized(schema: object, faults: FaultList, *, only_objects: bool) -> Schema:
    if isinstance(schema, bool):
        schema = {} if schema else {"not": {}}
    if not isinstance(schema, dict):
        raise SchemaFaulty(Fault("#", "must be an object", is_invalid=True))
    try:
        # JSON has no infinity, and UTF-8 no lone surrogates.
        size = len(json.dumps(schema, ensure_ascii=False, allow_nan=False).encode())
    except (ValueError, RecursionError):
        raise SchemaFaulty(Fault("#", "cannot be written as JSON", is_invalid=True)) from None
    if size > MAX_CHARACTERS:
        raise SchemaFaulty(Fault("#", f"has more than {MAX_CHARACTERS} characters"))
    definitions = Definitions()
    algebra = Algebra(definitions, faults)
    try:
        root: Node = SchemaReader(schema, definitions, algebra, faults).read_root()
        if only_objects:
            root = algebra.meet(root, Object(origin="#"))
        written = SchemaWriter(definitions, faults).write(root)
        if written is None:
            raise SchemaFaulty(Fault("#", "fits no document at all", is_invalid=True))
        if len(json.dumps(written)) > MAX_CHARACTERS:
            raise TooLarge
    except (TooLarge, RecursionError):
        raise SchemaFaulty(Fault("#", "comes to more alternatives than llmd works on")) from None
    return written


def _refusal(fault: Fault, param: str) -> InvalidRequest:
    if fault.is_invalid:
        return InvalidRequest(
            f"{param} is not a JSON schema that can be met: {fault.pointer} {fault.reason}. "
            f"Correct it.",
            param=param,
        )
    what = param if fault.pointer == "#" else f"{fault.keyword!r} of {param} at {fault.pointer}"
    return Unsupported(
        f"llmd cannot enforce {what}: it {fault.reason}. "
        f'Leave it out or say it in other words, or set "strict" to false to go on without it.',
        param=param,
    )

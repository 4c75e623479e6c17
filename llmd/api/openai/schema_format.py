"""The form that an answer is to have."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from llmd.api.json_body import JsonModel
from llmd.core.request import AnswerFormat, Gbnf, JsonObject, JsonSchema
from llmd.errors import InvalidRequest, Unsupported


class NamedSchema(JsonModel):
    strict: bool | None = None
    body: Any = Field(default=None, alias="schema")


class ResponseFormat(JsonModel):
    """OpenAI's response_format; beside json_object, llama-server's clients send a schema too."""

    type: str
    json_schema: NamedSchema | None = None
    body: Any = Field(default=None, alias="schema")


def read_format(
    response_format: ResponseFormat | None, grammar: str | None, json_schema: Any
) -> AnswerFormat | None:
    """What these fields ask for; None is free text. Raises InvalidRequest where they ask for
    several forms at once, or for one that is not known.
    """
    asked: list[AnswerFormat] = []
    if response_format is not None and response_format.type != "text":
        asked.append(_read_response_format(response_format))
    if grammar:
        asked.append(Gbnf(text=grammar))
    if json_schema is not None:
        asked.append(_schema(json_schema, "json_schema"))
    if len(asked) > 1:
        raise InvalidRequest(
            "an answer has one form. Of response_format, json_schema and grammar, send one.",
            param="grammar" if grammar else "json_schema",
        )
    return asked[0] if asked else None


def _read_response_format(wanted: ResponseFormat) -> AnswerFormat:
    if wanted.type == "json_object":
        if wanted.body is None:
            return JsonObject()
        return _schema(wanted.body, "response_format.schema")
    if wanted.type != "json_schema":
        raise Unsupported(
            f"the response_format {wanted.type!r} is not known here. Send 'text', 'json_object' "
            "or 'json_schema'.",
            param="response_format.type",
        )
    named = wanted.json_schema
    if named is None or named.body is None:
        raise InvalidRequest(
            "the response_format 'json_schema' has no schema. Send it as {'json_schema': {'name': "
            "..., 'schema': {...}}}.",
            param="response_format.json_schema.schema",
        )
    is_strict = named.strict is not False
    return _schema(named.body, "response_format.json_schema.schema", is_strict=is_strict)


def _schema(body: Any, param: str, *, is_strict: bool = True) -> JsonSchema:
    if not isinstance(body, dict | bool):
        raise InvalidRequest("a JSON schema is an object, or a boolean. Send one.", param=param)
    return JsonSchema(schema=body, param=param, is_strict=is_strict)

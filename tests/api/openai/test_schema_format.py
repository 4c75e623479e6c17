"""The form that an answer is to have."""

from __future__ import annotations

from typing import Any

import pytest

from llmd.api.openai.schema_chat import ChatCompletionRequest
from llmd.api.openai.schema_completions import CompletionRequest
from llmd.core.request import AnswerFormat, Gbnf, JsonObject, JsonSchema
from llmd.errors import LlmdError

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}


def chat(**fields: Any) -> AnswerFormat | None:
    body = {"messages": [{"role": "user", "content": "Go!"}], **fields}
    return ChatCompletionRequest.model_validate(body).to_core().answer_format


def completion(**fields: Any) -> AnswerFormat | None:
    return CompletionRequest.model_validate({"prompt": "Go!", **fields}).to_core().answer_format


def refusal(**fields: Any) -> LlmdError:
    with pytest.raises(LlmdError) as caught:
        chat(**fields)
    assert caught.value.status == 400
    assert caught.value.message.endswith(".")
    return caught.value


def named(**fields: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "it", "schema": SCHEMA, **fields}}


@pytest.mark.parametrize("fields", [{}, {"response_format": {"type": "text"}}, {"grammar": ""}])
def test_free_text(fields: dict[str, Any]) -> None:
    assert chat(**fields) is None


def test_json_object() -> None:
    assert chat(response_format={"type": "json_object"}) == JsonObject()


def test_json_object_with_a_schema_beside_it() -> None:
    wanted = chat(response_format={"type": "json_object", "schema": SCHEMA})
    assert wanted == JsonSchema(schema=SCHEMA, param="response_format.schema")


def test_json_schema() -> None:
    assert chat(response_format=named()) == JsonSchema(
        schema=SCHEMA, param="response_format.json_schema.schema"
    )


@pytest.mark.parametrize(("strict", "is_strict"), [(True, True), (None, True), (False, False)])
def test_only_an_explicit_false_is_not_strict(strict: bool | None, is_strict: bool) -> None:
    wanted = chat(response_format=named(strict=strict))
    assert isinstance(wanted, JsonSchema)
    assert wanted.is_strict is is_strict


@pytest.mark.parametrize("ask", [chat, completion])
def test_llama_servers_fields(ask: Any) -> None:
    assert ask(json_schema=SCHEMA) == JsonSchema(schema=SCHEMA, param="json_schema")
    assert ask(grammar='root ::= "a"') == Gbnf(text='root ::= "a"')


def test_text_completions_take_a_response_format() -> None:
    assert completion(response_format={"type": "json_object"}) == JsonObject()


def test_a_boolean_is_a_schema() -> None:
    assert chat(json_schema=True) == JsonSchema(schema=True, param="json_schema")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema.schema"),
        ({"response_format": named(schema=None)}, "response_format.json_schema.schema"),
        ({"response_format": named(schema=[1])}, "response_format.json_schema.schema"),
        ({"json_schema": "text"}, "json_schema"),
        ({"json_schema": {}, "grammar": "x"}, "grammar"),
        ({"response_format": {"type": "json_object"}, "json_schema": {}}, "json_schema"),
    ],
)
def test_a_form_that_is_none(fields: dict[str, Any], param: str) -> None:
    assert refusal(**fields).param == param

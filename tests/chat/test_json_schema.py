from __future__ import annotations

from typing import Any

import pytest
from schema_matching import document_matcher

from llmd.chat.json_schema import check_schema, loosen_schema, normalize_schema
from llmd.errors import InvalidRequest, Unsupported

PARAM = "response_format.json_schema.schema"
A_AND_B = {"a": {"type": "integer"}, "b": {"type": "string"}}


def normal(**schema: Any) -> dict[str, Any]:
    return normalize_schema(schema, PARAM)


def refusal(**schema: Any) -> str:
    with pytest.raises(Unsupported) as caught:
        check_schema(schema, PARAM)
    assert caught.value.param == PARAM
    return caught.value.message


def fault(schema: Any) -> str:
    with pytest.raises(InvalidRequest) as caught:
        check_schema(schema, PARAM)
    assert not isinstance(caught.value, Unsupported)
    return caught.value.message


def test_a_refusal_names_the_place_of_the_keyword_and_the_cure() -> None:
    message = refusal(
        type="object", properties={"a/b": {"type": "array", "items": {"uniqueItems": True}}}
    )
    assert "'uniqueItems'" in message
    assert "#/properties/a~1b/items/uniqueItems:" in message
    assert 'set "strict" to false' in message


@pytest.mark.parametrize(
    ("schema", "place"),
    [
        ({"uniqueItems": True}, "#/uniqueItems"),
        ({"contains": {}}, "#/contains"),
        ({"oneOf": [{"type": "integer"}, {"type": "number"}]}, "#/oneOf"),
        ({"not": {"pattern": "a"}}, "#/not"),
        ({"if": {"minimum": 1}, "then": {"maximum": 3}}, "#/if"),
        ({"pattern": "(?!a)"}, "#/pattern"),
        ({"format": "colour"}, "#/format"),
        ({"$ref": "https://example.org/x"}, "#/$ref"),
        ({"$ref": "#/$defs/none"}, "#/$ref"),
        ({"$dynamicRef": "#a"}, "#/$dynamicRef"),
        ({"minProperties": 2}, "#/minProperties"),
        ({"patternProperties": {"a": {}, "b": {}}}, "#/patternProperties"),
        (
            {"patternProperties": {"^a": {}}, "additionalProperties": {"type": "null"}},
            "#/patternProperties",
        ),
        ({"propertyNames": {"pattern": "a", "minLength": 2}}, "#/propertyNames"),
        ({"allOf": [{}], "unevaluatedProperties": False}, "#/unevaluatedProperties"),
        (
            {"$ref": "#/$defs/a", "unevaluatedItems": False, "$defs": {"a": {}}},
            "#/unevaluatedItems",
        ),
        ({"minimum": 10**17}, "#/minimum"),
        ({"const": 2**60}, "#/const"),
        ({"multipleOf": 12345678901}, "#/multipleOf"),
        ({"maxItems": 10**6}, "#/maxItems"),
        ({"maxLength": 10**8}, "#/maxLength"),
        ({"minlength": 1}, "#/minlength"),
        ({"$schema": "https://example.org/dialect"}, "#/$schema"),
        ({"properties": {"a": {"$id": "x"}}}, "#/properties/a/$id"),
        ({"x-guidance": {"lenient": True}}, "#/x-guidance"),
    ],
)
def test_what_cannot_be_enforced_is_refused_with_its_place(
    schema: dict[str, Any], place: str
) -> None:
    assert f" {place}: " in refusal(**schema)


def test_a_misspelt_keyword_is_refused_with_the_one_that_was_meant() -> None:
    assert "'minLength'" in refusal(minlength=1)


@pytest.mark.parametrize(
    ("schema", "place"),
    [
        ({"type": "strng"}, "#/type"),
        ({"minLength": -1}, "#/minLength"),
        ({"minimum": "1"}, "#/minimum"),
        ({"properties": []}, "#/properties"),
        ({"properties": {"a": 1}}, "#/properties"),
        ({"required": "a"}, "#/required"),
        ({"enum": []}, "#/enum"),
        ({"anyOf": []}, "#/anyOf"),
        ({"items": 3}, "#/items"),
        ({"multipleOf": 0}, "#/multipleOf"),
        ({"pattern": "("}, "#/pattern"),
        ({"$ref": "#/title", "title": "x"}, "#/$ref"),
    ],
)
def test_what_is_no_schema_is_an_invalid_request(schema: dict[str, Any], place: str) -> None:
    assert f" {place} " in fault(schema)


@pytest.mark.parametrize(
    "schema",
    [
        False,
        {"not": {}},
        {"type": "string", "minLength": 3, "maxLength": 2},
        {"type": "integer", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
        {"type": "integer", "enum": ["a"]},
        {"type": "array", "minItems": 1, "items": False},
        {"type": "object", "properties": {"a": False}, "required": ["a"]},
        {"$ref": "#"},
        {"type": "object", "properties": {"next": {"$ref": "#"}}, "required": ["next"]},
        {"allOf": [{"type": "string"}, {"type": "null"}]},
    ],
)
def test_a_schema_that_no_document_fits_is_an_invalid_request(schema: Any) -> None:
    assert "fits no document" in fault(schema)


@pytest.mark.parametrize("schema", [[1], "a", None, {"const": float("nan")}, {"const": "\ud800"}])
def test_what_is_no_json_object_is_an_invalid_request(schema: Any) -> None:
    fault(schema)


def test_a_schema_that_is_too_deep_is_refused() -> None:
    schema: dict[str, Any] = {}
    for _ in range(80):
        schema = {"type": "object", "properties": {"a": schema}}
    assert "deep" in refusal(**schema)


def test_alternatives_that_multiply_without_end_are_refused() -> None:
    choice: list[Any] = [
        {"anyOf": [{"properties": {f"{i}{j}": {}}} for j in range(9)]} for i in range(9)
    ]
    assert "alternatives" in refusal(allOf=choice, type="object")


def test_annotations_and_extensions_are_let_through_and_left_out() -> None:
    schema = normal(
        type="string", title="t", description="d", default="x", examples=["y"], deprecated=True
    )
    assert schema == {"type": "string"}
    assert normal(type="null", **{"x-unit": "m"}) == {"type": "null"}


def test_an_object_that_lists_properties_has_no_others() -> None:
    assert normal(properties=A_AND_B, required=["a", "c"]) == {
        "type": "object",
        "properties": {**A_AND_B, "c": {}},
        "required": ["a", "c"],
        "additionalProperties": False,
    }


def test_an_object_that_lists_none_may_have_any() -> None:
    match = document_matcher({"type": "object"})
    assert match({"a": [{"b": None}]})


def test_a_schema_without_a_type_means_the_one_that_it_speaks_of() -> None:
    match = document_matcher({"properties": A_AND_B})
    assert match({"a": 1})
    assert not match("text")


def test_a_type_that_nothing_is_left_of_leaves_the_others() -> None:
    match = document_matcher({"minLength": 3, "maxLength": 2})
    assert match(1) and match([])
    assert not match("abc")


def test_types_and_nullable_become_alternatives() -> None:
    either = {"anyOf": [{"type": "string"}, {"type": "null"}]}
    assert normal(type=["string", "null"]) == normal(type="string", nullable=True) == either


def test_values_that_do_not_fit_the_rest_are_left_out() -> None:
    assert normal(type="integer", minimum=2, enum=[1, 2, 2.5, "a"]) == {"enum": [2]}
    assert normal(enum=["a", "bb"], minLength=2) == {"type": "string", "enum": ["bb"]}


def test_both_of_all_are_one_object() -> None:
    schema = normal(
        allOf=[
            {"$ref": "#/$defs/base"},
            {"properties": {"b": {"type": "string"}}, "required": ["b"]},
        ],
        **{"$defs": {"base": {"properties": {"a": {"type": "integer"}}, "required": ["a"]}}},
    )
    assert schema == normal(type="object", properties=A_AND_B, required=["a", "b"])


def test_alternatives_told_apart_by_a_constant_exclude_each_other() -> None:
    options = [
        {"type": "object", "properties": {"kind": {"const": kind}}, "required": ["kind"]}
        for kind in ("cat", "dog")
    ]
    schema = {"oneOf": [{"$ref": "#/$defs/0"}, {"$ref": "#/$defs/1"}]}
    match = document_matcher({**schema, "$defs": dict(zip("01", options, strict=True))})
    assert match({"kind": "cat"}) and match({"kind": "dog"})
    assert not match({"kind": "cow"})


def test_exactly_one_of_two_properties() -> None:
    match = document_matcher(
        {"type": "object", "properties": A_AND_B, "oneOf": [{"required": [n]} for n in "ab"]}
    )
    assert match({"a": 1}) and match({"b": "x"})
    assert not match({}) and not match({"a": 1, "b": "x"})


def test_a_condition_holds_for_both_of_its_sides() -> None:
    match = document_matcher(
        {
            "type": "object",
            "properties": {"kind": {"enum": ["a", "b", "c"]}, **A_AND_B},
            "required": ["kind"],
            "allOf": [
                {"if": {"properties": {"kind": {"const": "a"}}}, "then": {"required": ["a"]}},
                {"if": {"properties": {"kind": {"const": "b"}}}, "then": {"required": ["b"]}},
            ],
        }
    )
    assert match({"kind": "a", "a": 1}) and match({"kind": "b", "b": ""}) and match({"kind": "c"})
    assert not match({"kind": "a"}) and not match({"kind": "b", "a": 1})


def test_what_one_property_asks_of_others() -> None:
    match = document_matcher(
        {"type": "object", "properties": A_AND_B, "dependentRequired": {"a": ["b"]}}
    )
    assert match({"a": 1, "b": ""}) and match({"b": ""}) and match({})
    assert not match({"a": 1})


def test_further_properties_cannot_be_declared_ones_in_another_spelling() -> None:
    match = document_matcher(
        {"properties": {"a": {"type": "integer"}}, "additionalProperties": {"type": "string"}}
    )
    assert match('{"a": 1, "b": "x"}')
    assert not match('{"a": 1, "\\u0061": "x"}')
    assert not match('{"\\u0061": "x"}')


def test_references_may_run_in_circles() -> None:
    match = document_matcher(
        {
            "type": "object",
            "properties": {"value": {}, "kids": {"type": "array", "items": {"$ref": "#"}}},
            "required": ["value"],
        }
    )
    assert match({"value": 1, "kids": [{"value": 2, "kids": []}]})
    assert not match({"value": 1, "kids": [{}]})


def test_references_with_siblings_may_run_in_circles() -> None:
    match = document_matcher(
        {
            "allOf": [{"$ref": "#/$defs/one"}, {"$ref": "#/$defs/two"}],
            "$defs": {
                "one": {"type": "object", "properties": {"next": {"$ref": "#/$defs/one"}}},
                "two": {
                    "type": "object",
                    "properties": {"next": {"$ref": "#/$defs/two"}, "n": {"type": "integer"}},
                },
            },
        }
    )
    assert match({"next": {"next": {"n": 1}}})
    assert not match({"next": {"n": "x"}})


@pytest.mark.parametrize(
    "reference", ["#/$defs/a~1b%25", "#spot", "https://example.org/s#/$defs/a~1b%25"]
)
def test_references_by_pointer_anchor_and_own_address(reference: str) -> None:
    schema = {
        "$id": "https://example.org/s",
        "type": "object",
        "properties": {"v": {"$ref": reference}},
        "$defs": {"a/b%": {"$anchor": "spot", "type": "integer"}},
    }
    assert document_matcher(schema)({"v": 1})
    assert not document_matcher(schema)({"v": "x"})


def test_items_of_older_drafts() -> None:
    match = document_matcher(
        {"type": "array", "items": [{"type": "integer"}], "additionalItems": {"type": "string"}}
    )
    assert match([1, "a"])
    assert not match([1, 2])


def test_only_objects_leaves_other_documents_out() -> None:
    assert normalize_schema({}, PARAM, only_objects=True)["type"] == "object"
    with pytest.raises(InvalidRequest):
        normalize_schema({"type": "string"}, PARAM, only_objects=True)


def test_nothing_of_a_clients_reaches_the_options_of_the_engine() -> None:
    schema, pointers = loosen_schema({"type": "string", "x-guidance": {"lenient": True}})
    assert schema == {"type": "string"}
    assert pointers == ("#/x-guidance",)


def test_loosening_leaves_out_only_what_cannot_be_enforced() -> None:
    schema, pointers = loosen_schema(
        {
            "type": "object",
            "properties": {
                "tags": {"type": "array", "items": {"type": "string"}, "uniqueItems": True},
                "name": {"type": "string", "pattern": "(?=a)", "minLength": 1, "typo": 1},
            },
        }
    )
    assert schema["properties"]["tags"] == {"type": "array", "items": {"type": "string"}}
    assert schema["properties"]["name"] == {"type": "string", "minLength": 1}
    assert pointers == (
        "#/properties/tags/uniqueItems",
        "#/properties/name/typo",
        "#/properties/name/pattern",
    )


def test_loosening_takes_what_overlaps_as_alternatives() -> None:
    schema, pointers = loosen_schema({"oneOf": [{"type": "integer"}, {"type": "number"}]})
    assert schema == {"anyOf": [{"type": "integer"}, {"type": "number"}]}
    assert pointers == ("#/oneOf",)


@pytest.mark.parametrize("schema", [False, [1], {"$ref": "#"}, {"allOf": [{"$ref": "#"}]}])
def test_of_a_schema_that_is_none_loosening_leaves_nothing(schema: Any) -> None:
    assert loosen_schema(schema) == ({}, ("#",))


def test_what_is_strict_loosens_to_itself() -> None:
    schema = {"type": "object", "properties": A_AND_B, "required": ["b"]}
    assert loosen_schema(schema) == (normalize_schema(schema, PARAM), ())


@pytest.mark.parametrize("multiple", [10_007, 999_983, 2**20])
def test_a_multiple_that_takes_too_long_is_refused(multiple: int) -> None:
    with pytest.raises(Unsupported, match="#/multipleOf"):
        normalize_schema({"type": "integer", "multipleOf": multiple}, "it")

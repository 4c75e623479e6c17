from __future__ import annotations

import pytest
from conformance import ToyVocabulary, faults, run, table
from notations import COLUMNS
from schemas import CASES, SchemaCase

FAST = (
    "enum of all kinds",
    "pattern without quotes",
    "oneOf by discriminator",
    "if, then, else",
    "$ref recursive",
    "anyOf at the top",
    "pattern with look-ahead",
)


def test_there_are_as_many_cases_as_were_promised() -> None:
    assert len({case.name for case in CASES}) == len(CASES) >= 40


@pytest.mark.parametrize("name", FAST)
def test_a_schema_is_enforced_or_refused_in_every_notation(name: str) -> None:
    cases = [case for case in CASES if case.name == name]
    results = run(cases, COLUMNS, 2)
    assert faults(cases, COLUMNS, results) == []


@pytest.mark.slow
def test_every_schema_is_enforced_or_refused() -> None:
    columns = [column for column in COLUMNS if column.name in ("json_schema", "tagged tool")]
    results = run(CASES, columns, 2)
    assert faults(CASES, columns, results) == []


def test_a_document_that_slips_through_is_a_fault() -> None:
    schema = {"type": "object", "properties": {"v": {"type": "integer"}}, "required": ["v"]}
    meaning = {**schema, "properties": {"v": {"type": "integer", "maximum": 1}}}
    case = SchemaCase("too loose", schema, violating=({"v": 2},), meaning=meaning)
    results = run([case], COLUMNS[:1], 0)
    (line,) = faults([case], COLUMNS[:1], results)
    assert line.startswith("too loose as json_schema: IGNORED")


def test_a_random_answer_that_violates_the_schema_is_a_fault() -> None:
    schema = {"type": "object", "properties": {"v": {"type": "null"}}, "required": ["v"]}
    case = SchemaCase("wrong type", schema, meaning={"type": "array"})
    results = run([case], COLUMNS[:1], 1)
    (line,) = faults([case], COLUMNS[:1], results)
    assert "IGNORED" in line


def test_a_schema_that_is_served_though_it_must_not_be_is_a_fault() -> None:
    case = SchemaCase("served", {"type": "object"}, is_refused=True)
    assert faults([case], COLUMNS[:1], run([case], COLUMNS[:1], 1)) != []


def test_the_table_has_a_row_for_each_schema() -> None:
    cases = [case for case in CASES if case.is_refused][:2]
    lines = table(COLUMNS, run(cases, COLUMNS, 0)).splitlines()
    assert [line.split("  ")[0] for line in lines[2:]] == [case.name for case in cases]


def test_the_toy_vocabulary_spells_every_text() -> None:
    vocabulary = ToyVocabulary()
    token_ids = vocabulary.encode_inside('{"é": true}\n', parse_special=True)
    assert b"".join(map(vocabulary.token_bytes, token_ids)).decode() == '{"é": true}\n'

from __future__ import annotations

import json

from llmd.chat.calls.json_objects import Slot
from llmd.chat.calls.section import Section
from llmd.chat.format.derive_json import json_objects, named_json, named_spans, object_spans
from llmd.chat.format.sentinels import IDS, KEYS, NAMES, VALUES

ARGUMENTS = [json.dumps({key: value}) for key, value in zip(KEYS, VALUES, strict=True)]
SECTION = Section("<c>", "</c>")


def objects(form: str) -> list[str]:
    return [
        form.replace("NAME", name).replace("ARGUMENTS", arguments).replace("IDENT", id)
        for name, arguments, id in zip(NAMES, ARGUMENTS, IDS, strict=True)
    ]


def test_a_call_is_the_outermost_object_with_one_name() -> None:
    first, second = objects('{"function": {"name": "NAME", "arguments": ARGUMENTS}}')
    found = object_spans(f'{{"calls": [{first}, {second}]}}')
    assert found is not None
    assert [found.text[slice(*span)] for span in found.calls] == [first, second]


def test_a_name_outside_of_the_object_is_no_key_of_it() -> None:
    first, second = objects("NAME>ARGUMENTS")
    assert object_spans(first + second) is None
    found = named_spans(f"<{first}<{second}")
    assert found is not None
    assert [found.text[slice(*span)] for span in found.calls] == [first, second]


def test_an_id_in_front_of_the_name_belongs_to_the_call() -> None:
    first, second = objects("IDENT:NAME>ARGUMENTS")
    found = named_spans(f"<{first}<{second}")
    assert found is not None and found.first == first


def test_objects_that_hold_more_than_arguments_are_none() -> None:
    first, _ = objects('NAME {"wrapped": ARGUMENTS}')
    assert named_spans(first) is None


def test_layouts_have_slots_for_what_changes() -> None:
    text = objects('{"id": "IDENT", "tool": "NAME", "arguments": ARGUMENTS}')[0]
    calls = json_objects(SECTION, text)
    assert calls is not None
    assert calls.layout == (
        *('{"id": "', Slot.ID, '", "tool": "', Slot.NAME),
        *('", "arguments": ', Slot.ARGUMENTS, "}"),
    )


def test_a_counter_may_be_the_id() -> None:
    text = objects('{"tool_call_id": "0", "name": "NAME", "arguments": ARGUMENTS}')[0]
    calls = json_objects(SECTION, text)
    assert calls is not None
    assert (calls.id, calls.layout[:2]) == (("tool_call_id",), ('{"tool_call_id": "', Slot.ID))


def test_an_object_without_a_name_is_no_call() -> None:
    assert json_objects(SECTION, json.dumps({"a": {KEYS[0]: "other"}})) is None


def test_words_in_front_of_the_arguments() -> None:
    text = objects("NAME[ID]IDENT[ARGS]ARGUMENTS")[0]
    assert named_json(SECTION, text).words == ((Slot.NAME, "[ID]"), (Slot.ID, "[ARGS]"))

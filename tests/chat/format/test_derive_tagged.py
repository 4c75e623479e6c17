from __future__ import annotations

import pytest

from llmd.chat.calls.section import Section
from llmd.chat.calls.tagged import Tagged
from llmd.chat.format.derive_tagged import pythonic, pythonic_spans, tagged, tagged_spans
from llmd.chat.format.sentinels import KEYS, NAMES, NUMBER, VALUES

ARGUMENT = "<p={key}>\nVALUE\n</p>\n"


def derive(form: str, numeric_form: str | None = None, *, has_cdata: bool = False) -> Tagged | None:
    """From a call whose arguments each have `form`."""

    def call(form: str, *values: str) -> str:
        texts = (
            form.replace("{key}", key).replace("VALUE", value)
            for key, value in zip(KEYS, values, strict=False)
        )
        return f"<f={NAMES[0]}>\n{''.join(texts)}</f>"

    value_close = form.partition("VALUE")[2].rstrip("\n")
    section = Section("<f=", f"{value_close}\n</f>")
    numeric = call(numeric_form or form, str(NUMBER))
    return tagged(section, call(form, *VALUES), numeric, has_cdata=has_cdata)


def test_literals_around_keys_and_values() -> None:
    calls = derive(ARGUMENT)
    assert calls is not None
    assert (calls.name_close, calls.key_open, calls.key_close) == (">", "\n<p=", ">\n")
    assert (calls.value_close, calls.section.call_close) == ("\n</p>", "\n</f>")


def test_the_key_in_a_closer_is_a_placeholder() -> None:
    calls = derive("<{key}>VALUE</{key}>\n")
    assert calls is not None and calls.value_close == "</{key}>"


def test_a_kind_beside_the_key() -> None:
    calls = derive('<p n="{key}" t="text">VALUE</p>\n', '<p n="{key}" t="number">VALUE</p>\n')
    assert calls is not None
    assert (calls.key_close, calls.string_kind, calls.kind_close) == ('" t="', "text", '">')


def test_quotes_around_text_alone_are_json() -> None:
    calls = derive('<p={key}>"VALUE"</p>\n', "<p={key}>VALUE</p>\n")
    assert calls is not None
    assert (calls.values_are_json, calls.key_close, calls.value_close) == (True, ">", "</p>")


def test_cdata_is_no_part_of_the_literals() -> None:
    calls = derive("<p={key}><![CDATA[VALUE]]></p>\n", has_cdata=True)
    assert calls is not None
    assert (calls.has_cdata, calls.key_close, calls.value_close) == (True, ">", "</p>")


@pytest.mark.parametrize("form", ["{key} VALUE\n", "{key}VALUE,", "VALUE</p>"])
def test_arguments_without_literals_are_none(form: str) -> None:
    assert derive(form) is None


def test_values_in_nothing_but_quotes_are_none() -> None:
    assert derive('<k>{key}<v>"VALUE"\n', "<k>{key}<v>VALUE\n") is None


def test_kinds_that_cannot_be_told_from_keys_are_none() -> None:
    assert derive("<p={key}text>VALUE</p>\n", "<p={key}number>VALUE</p>\n") is None


def test_calls_end_with_their_last_value() -> None:
    text = f"<{NAMES[0]}><{KEYS[0]}>{VALUES[0]}</a><{NAMES[1]}><{KEYS[1]}>{VALUES[1]}</b>"
    found = tagged_spans(text)
    assert found is not None and (found.between, found.behind) == ("</a><", "</b>")


def test_calls_of_python() -> None:
    calls = [f"{n}({k}='{v}')" for n, k, v in zip(NAMES, KEYS, VALUES, strict=True)]
    found = pythonic_spans(f"<s>[{', '.join(calls)}]</s>")
    assert found is not None and found.between == ", "
    assert pythonic_spans(f"{NAMES[0]} {KEYS[0]}='{VALUES[0]}'") is None


def test_python_calls_end_with_their_list_or_marker() -> None:
    found = pythonic(Section(open="<s>[", close="]</s>"))
    assert found is not None and found.section == ("<s>", "</s>")
    alone = pythonic(Section("<s>\n", "\n</s>"))
    assert alone is not None and (alone.section, alone.is_list) == (("<s>", "</s>"), False)
    assert pythonic(Section(open="<s>\n", close="\n</s>")) is None
    assert pythonic(Section("<s>")) is None

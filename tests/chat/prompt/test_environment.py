from __future__ import annotations

from typing import Any

import pytest
from jinja2.exceptions import SecurityError, UndefinedError

from llmd.chat.prompt.budget import BudgetExceeded, RenderBudget, spending
from llmd.chat.prompt.environment import TemplateEnvironment, TemplateRaised

ENVIRONMENT = TemplateEnvironment()


def rendered(source: str, *, max_seconds: float = 1.0, **variables: Any) -> str:
    with spending(RenderBudget(max_seconds=max_seconds)):
        return ENVIRONMENT.from_string(source).render(variables)


def test_blocks_leave_no_blank_lines() -> None:
    assert rendered("{% if true %}\n  a\n  {% endif %}\nb") == "  a\nb"


def test_loops_can_be_broken_and_continued() -> None:
    source = "{% for n in [1, 2, 3, 4] %}{% if n == 2 %}{% continue %}{% endif %}"
    assert rendered(source + "{% if n == 4 %}{% break %}{% endif %}{{ n }}{% endfor %}") == "13"


def test_loop_variables_work_in_bounded_loops() -> None:
    source = "{% for n in values %}{{ n }}{{ loop.length }}{{ ',' if not loop.last }}{% endfor %}"
    assert rendered(source, values=["a", "b"]) == "a2,b2"


def test_recursive_loops_work() -> None:
    source = "{% for n in tree recursive %}{{ n.v }}{{ loop(n.get('c', [])) }}{% endfor %}"
    assert rendered(source, tree=[{"v": 1, "c": [{"v": 2}]}, {"v": 3}]) == "123"


def test_generation_tags_are_transparent() -> None:
    source = "{% set ns = namespace(n=1) %}{% generation %}a{% set ns.n = 2 %}{% endgeneration %}"
    assert rendered(source + "{{ ns.n }}") == "a2"


def test_json_is_neither_escaped_nor_sorted() -> None:
    value = {"b": "<ä'&>", "a": [1, None, True]}
    assert rendered("{{ v | tojson }}", v=value) == '{"b": "<ä\'&>", "a": [1, null, true]}'


def test_json_takes_the_options_of_hugging_face() -> None:
    source = "{{ v | tojson(indent=1, separators=(',', ':'), sort_keys=true) }}"
    assert rendered(source, v={"b": 1, "a": "ä"}) == '{\n "a":"ä",\n "b":1\n}'
    assert rendered("{{ v | tojson(ensure_ascii=true) }}", v="ä") == '"\\u00e4"'


def test_json_takes_generators() -> None:
    values = [{"n": "a"}, {"n": "b"}]
    assert rendered("{{ v | map(attribute='n') | tojson }}", v=values) == '["a", "b"]'
    assert rendered("{{ {'k': v | map(attribute='n')} | tojson }}", v=values) == '{"k": ["a", "b"]}'


def test_json_can_be_read() -> None:
    assert rendered("{{ from_json(v).a }}{{ (v | from_json).a }}", v='{"a": 1}') == "11"


def test_safe_is_identity() -> None:
    assert rendered("{{ ('<a>' | safe) + '<b>' }}") == "<a><b>"


def test_text_and_undefined_add_to_the_text() -> None:
    assert rendered("{{ 'a' + nothing + 'b' }}{{ nothing + 'c' }}") == "abc"


def test_lists_may_be_appended_to() -> None:
    assert rendered("{% set _ = v.append(2) %}{{ v }}", v=[1]) == "[1, 2]"


def test_raise_exception_raises_its_own_words() -> None:
    with pytest.raises(TemplateRaised, match="^no such role$"):
        rendered("{{ raise_exception('no such role') }}")


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ raise_exception.__globals__['re'] }}",
        "{{ v.append.__self__.__class__.__base__.__subclasses__() }}",
        "{{ '{0.__class__.__mro__[0]}'.format(v) }}",
        "{{ v | map(attribute='__class__') | map(attribute='mro') | list }}",
        "{{ cycler.__init__.__globals__ }}",
    ],
)
def test_python_is_out_of_reach(source: str) -> None:
    with pytest.raises((SecurityError, UndefinedError)):
        rendered(source, v=[1])


NESTED = "{% set ns = namespace(x=[1]) %}{% for _ in range(64) %}"


@pytest.mark.parametrize(
    "source",
    [
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{% macro f() %}{{ f() if n }}{{ f2() }}{% endmacro %}{% macro f2() %}"
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
        "{% endmacro %}{{ f() }}",
        "{% for a in [1] recursive %}{{ loop(range(99999)) if loop.depth < 4 }}{% endfor %}",
        "{{ 'a' * 10**9 }}",
        "{{ [0] * 10**9 }}",
        "{{ 10**9 * 'a' }}",
        "{{ 9**(9**9) }}",
        "{{ '%1000000000d' % 1 }}",
        "{{ '%*d' % (1000000000, 1) }}",
        "{{ '{:1000000000}'.format(1) }}",
        "{{ '{:{}}'.format(1, 1000000000) }}",
        "{{ '%s%s' | format('a' * 900000, 'a' * 900000) }}",
        "{{ 'a' | center(1000000000) }}",
        "{{ 'a\na' | indent(1000000000) }}",
        "{{ 'a'.ljust(1000000000) }}",
        "{{ '\t'.expandtabs(1000000000) }}",
        "{{ [1] | batch(1000000000, 0) | list }}",
        "{{ 1.5 | round(1000000000, 'ceil') }}",
        "{{ 1 | tojson(indent=1000000000) }}",
        "{{ ('a' * 90000).replace('a', 'b' * 90000) }}",
        "{{ ('a' * 90000) | replace('a', 'b' * 90000) }}",
        "{{ ('b' * 90000).join(['a'] * 90000) }}",
        "{{ (['a'] * 90000) | join('b' * 90000) }}",
        "{% set ns = namespace(x='a') %}{% for _ in range(64) %}{% set ns.x = ns.x ~ ns.x %}"
        "{% endfor %}",
        "{% set ns = namespace(x='a') %}{% for _ in range(64) %}{% set ns.x = ns.x + ns.x %}"
        "{% endfor %}",
        "{% set ns = namespace(x='a') %}{% for _ in range(64) %}{% set y %}{{ ns.x }}{{ ns.x }}"
        "{% endset %}{% set ns.x = y %}{% endfor %}",
        NESTED + "{% set _ = ns.x.extend(ns.x) %}{% endfor %}",
        NESTED + "{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x }}",
        NESTED + "{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x | tojson }}",
        NESTED + "{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x | string }}",
        NESTED + "{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x ~ '' }}",
        NESTED + "{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x == 1 }}",
        NESTED + "{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x is eq 1 }}",
        NESTED + "{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ [ns.x, ns.x] | sort }}",
        NESTED + "{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ raise_exception(ns.x) }}",
        "{% set ns = namespace(n=3) %}{% for _ in range(64) %}{% set ns.n = ns.n * ns.n %}"
        "{% endfor %}",
        "{% set v = [] %}{% set _ = v.append(v) %}{{ v | tojson }}",
    ],
)
def test_a_template_can_neither_hang_nor_eat_memory(source: str) -> None:
    with pytest.raises((BudgetExceeded, SecurityError)):
        rendered(source, max_seconds=0.2)


def test_ranges_are_bounded() -> None:
    with pytest.raises(OverflowError):
        rendered("{{ range(1000000) }}")


def test_a_long_conversation_renders_within_the_budget() -> None:
    messages = [{"role": "user", "content": "word " * 100}] * 1000
    source = "{% for m in messages %}{{ '<|' + m.role ~ '|>' + m.content | trim }}{% endfor %}"
    assert len(rendered(source, max_seconds=5, messages=messages)) > 500_000

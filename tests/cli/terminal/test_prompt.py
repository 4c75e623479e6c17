from __future__ import annotations

import pytest

from llmd.cli.terminal.prompt import MORE, PROMPT, Cleared, Prompt


def typing(*lines: str | BaseException) -> tuple[Prompt, list[str]]:
    """A prompt at which these are typed, and the prompts that are shown."""
    shown: list[str] = []
    left = iter(lines)

    def read_line(prompt: str) -> str:
        shown.append(prompt)
        line = next(left)
        if isinstance(line, BaseException):
            raise line
        return line

    return Prompt(read_line), shown


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["one"], "one"),
        (['"""one', "two", 'three"""'], "one\ntwo\nthree"),
        (['"""', "one", '"""'], "one"),
        (['"""one"""'], "one"),
        (['/system """Be', 'brief."""'], "/system Be\nbrief."),
        (['say """ now'], 'say """ now'),
    ],
)
def test_quotes_hold_several_lines_together(lines: list[str], message: str) -> None:
    prompt, shown = typing(*lines)
    assert prompt.read() == message
    assert shown == [PROMPT] + [MORE] * (len(lines) - 1)


def test_ctrl_c_at_an_empty_prompt_had_nothing_to_clear() -> None:
    prompt, _ = typing(KeyboardInterrupt())
    with pytest.raises(Cleared) as cleared:
        prompt.read()
    assert not cleared.value.had_text


def test_ctrl_c_within_several_lines_clears_them() -> None:
    prompt, _ = typing('"""one', KeyboardInterrupt(), "two")
    with pytest.raises(Cleared) as cleared:
        prompt.read()
    assert cleared.value.had_text
    assert prompt.read() == "two"


@pytest.mark.parametrize("before", [(), ('"""one',)])
def test_the_end_of_what_is_typed_ends_it(before: tuple[str, ...]) -> None:
    prompt, _ = typing(*before, EOFError())
    with pytest.raises(EOFError):
        prompt.read()

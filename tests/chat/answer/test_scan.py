from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from llmd.chat.answer.scan import Scan, Steps

Script = Callable[[Scan, list[str]], Steps[None]]
WORD = re.compile(r"\w*")


def run(script: Script, text: str) -> tuple[list[str], str]:
    """What `script` gave and what it left, the same however the text is cut."""
    outcomes = []
    for step in (max(1, len(text)), 1, 3):
        scan = Scan()
        given: list[str] = []
        scan.start(script(scan, given))
        for start in range(0, len(text), step):
            scan.feed(text[start : start + step])
        scan.finish(is_cut=False)
        outcomes.append((given, scan.text))
    joined = [("".join(given), rest) for given, rest in outcomes]
    assert joined[0] == joined[1] == joined[2]
    return outcomes[0]


def test_of_the_options_that_come_the_longest_is_taken() -> None:
    def script(scan: Scan, given: list[str]) -> Steps[None]:
        given.append(str((yield from scan.option("<", "<a", "<a>"))))

    assert run(script, "<a>b") == (["<a>"], "b")
    assert run(script, "<ab") == (["<a"], "b")
    assert run(script, "<") == (["<"], "")
    assert run(script, "b") == (["None"], "b")


def test_blanks_are_taken_only_with_an_option_behind_them() -> None:
    def script(scan: Scan, given: list[str]) -> Steps[None]:
        given.append(str((yield from scan.behind_blanks("end"))))

    assert run(script, " \n end ") == (["end"], " ")
    assert run(script, " \n enough") == (["None"], " \n enough")


def test_text_up_to_a_marker_is_given_as_it_comes() -> None:
    def script(scan: Scan, given: list[str]) -> Steps[None]:
        marker = yield from scan.until(given.append, "</a>", "</b>")
        given.append(f"[{marker}]")

    given, rest = run(script, "one </two </b> three")
    assert ("".join(given), rest) == ("one </two [</b>]", " three")


def test_where_no_marker_comes_all_text_is_given() -> None:
    def script(scan: Scan, given: list[str]) -> Steps[None]:
        yield from scan.until(given.append, "</a>")
        given.append("never")

    given, _ = run(script, "one </")
    assert "".join(given) == "one </"


def test_a_run_ends_with_the_text() -> None:
    def script(scan: Scan, given: list[str]) -> Steps[None]:
        given.append((yield from scan.run(WORD)))

    assert run(script, "name(x") == (["name"], "(x")
    assert run(script, "name") == (["name"], "")
    assert run(script, "(") == ([""], "(")


def test_what_was_taken_is_remembered_word_by_word() -> None:
    def script(scan: Scan, given: list[str]) -> Steps[None]:
        scan.remember()
        yield from scan.behind_blanks("<a>")
        yield from scan.run(WORD)
        mark = yield from scan.behind_blanks("<b>")
        scan.put_back(mark or "")
        given.append(scan.taken())

    assert run(script, " <a>word  <b>c") == ([" <a>word  "], "<b>c")


@pytest.mark.parametrize("length", [1, 5000])
def test_text_behind_the_end_is_left(length: int) -> None:
    def script(scan: Scan, given: list[str]) -> Steps[None]:
        yield from scan.until(given.append, "|")

    assert run(script, "x|" + "y" * length) == (["x"], "y" * length)

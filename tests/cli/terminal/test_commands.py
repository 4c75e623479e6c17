from __future__ import annotations

import pytest

from llmd.cli.terminal.commands import HELP, Action, Command, parse


@pytest.mark.parametrize(
    ("typed", "action", "text"),
    [
        ("hello", Action.SEND, "hello"),
        ("  two\nlines ", Action.SEND, "  two\nlines "),
        ("", Action.NOTHING, ""),
        (" \t", Action.NOTHING, ""),
        ("/clear", Action.CLEAR, ""),
        ("clear", Action.CLEAR, ""),
        ("RESET", Action.CLEAR, ""),
        ("/exit", Action.EXIT, ""),
        ("/bye", Action.EXIT, ""),
        (" quit ", Action.EXIT, ""),
        ("quit smoking", Action.SEND, "quit smoking"),
        ("/?", Action.HELP, ""),
        ("/system Be\nbrief.", Action.SYSTEM, "Be\nbrief."),
        ("/think  On", Action.THINK, "On"),
        ("/stats", Action.STATS, ""),
        ("/sytsem x", Action.UNKNOWN, "/sytsem"),
        ("/usr/bin/env is what?", Action.SEND, "/usr/bin/env is what?"),
        ("/* a comment\n*/", Action.SEND, "/* a comment\n*/"),
    ],
)
def test_what_is_typed_asks_for(typed: str, action: Action, text: str) -> None:
    assert parse(typed) == Command(action, text)


def test_the_help_names_every_command() -> None:
    for name in ("/clear", "/system", "/think", "/stats", "/exit", "/help", '"""', "Ctrl-C"):
        assert name in HELP

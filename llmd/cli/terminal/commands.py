"""What a line typed into the chat asks for."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

HELP = """\
/clear          begin anew; also: clear, reset
/system TEXT    the system prompt from here on; without TEXT it is shown, "" takes it away
/think on|off   let the model think before it answers, or not; /think auto leaves it to the model
/stats          tokens and speed of the last answer
/exit           leave; also: exit, quit, Ctrl-D
/help           this text
\"\"\"             begins a message of several lines, and ends it
Ctrl-C          stops an answer, or clears the line"""


class Action(Enum):
    SEND = "send"
    CLEAR = "clear"
    EXIT = "exit"
    HELP = "help"
    SYSTEM = "system"
    THINK = "think"
    STATS = "stats"
    UNKNOWN = "unknown"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Command:
    """An action and the text that belongs to it."""

    action: Action
    text: str = ""


_NAMES = {
    "/clear": Action.CLEAR,
    "/reset": Action.CLEAR,
    "/exit": Action.EXIT,
    "/quit": Action.EXIT,
    "/bye": Action.EXIT,
    "/help": Action.HELP,
    "/?": Action.HELP,
    "/system": Action.SYSTEM,
    "/think": Action.THINK,
    "/stats": Action.STATS,
}
_WORDS = {
    "exit": Action.EXIT,
    "quit": Action.EXIT,
    "clear": Action.CLEAR,
    "reset": Action.CLEAR,
}


def parse(typed: str) -> Command:
    """What `typed` asks for. A path at its beginning is text, an unknown /word is not."""
    text = typed.strip()
    if not text:
        return Command(Action.NOTHING)
    if text.lower() in _WORDS:
        return Command(_WORDS[text.lower()])
    name, _, rest = text.partition(" ")
    if name.lower() in _NAMES:
        return Command(_NAMES[name.lower()], rest.strip())
    if name.startswith("/") and "/" not in name[1:] and "\n" not in text:
        return Command(Action.UNKNOWN, name)
    return Command(Action.SEND, typed)

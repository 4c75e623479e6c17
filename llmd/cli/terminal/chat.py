"""The chat: reads, asks, shows, until its user leaves."""

from __future__ import annotations

import signal
import sys
from typing import Any, assert_never

from llmd.cli.remote import EventStream, Remote
from llmd.cli.terminal.answer import Answer, follow
from llmd.cli.terminal.commands import HELP, Action, Command, parse
from llmd.cli.terminal.conversation import Conversation
from llmd.cli.terminal.prompt import Cleared, Prompt
from llmd.cli.terminal.screen import Screen
from llmd.cli.terminal.tty import handling, quiet, suspendable
from llmd.errors import DaemonError, LlmdError

CHAT_PATH = "/v1/chat/completions"

STOPPED = "[stopped]"


def ask(remote: Remote, body: dict[str, Any], screen: Screen, answer: Answer) -> bool:
    """Show the answer to a request while it comes; whether Ctrl-C stopped it, by which the daemon
    stops too. What came is in `answer`, also when this raises DaemonError or DaemonUnreachable.
    """
    with remote.stream(CHAT_PATH, body) as stream:
        with handling({signal.SIGINT: lambda *_: _interrupt(stream)}):
            try:
                follow(stream, screen, answer)
            finally:
                screen.finish()
        return stream.stopped


def _interrupt(stream: EventStream) -> None:
    if stream.stopped:
        # It did not end the wait: the daemon takes no connection.
        raise KeyboardInterrupt
    stream.stop()


class TerminalChat:
    """A conversation on a terminal. `context_length` is in tokens, None where it is not known."""

    def __init__(
        self,
        remote: Remote,
        conversation: Conversation,
        screen: Screen,
        prompt: Prompt,
        context_length: int | None,
    ) -> None:
        self._remote = remote
        self._conversation = conversation
        self._screen = screen
        self._prompt = prompt
        self._context_length = context_length
        self._last: Answer | None = None
        self._is_over = False

    def run(self) -> None:
        """Returns when the user leaves. An error of the daemon is a line, and the chat goes on."""
        with suspendable(0, self._resume):
            self._run()

    def _run(self) -> None:
        is_leaving = False
        while not self._is_over:
            try:
                typed = self._prompt.read()
            except EOFError:
                self._say("")
                return
            except Cleared as cleared:
                self._say("")
                if is_leaving and not cleared.had_text:
                    return
                is_leaving = not cleared.had_text
                if is_leaving:
                    self._say("Ctrl-C once more, Ctrl-D or /exit leaves.")
                continue
            is_leaving = False
            try:
                self._perform(parse(typed))
            except KeyboardInterrupt:
                # Between the prompt and the request, or while the daemon takes no connection.
                self._conversation.take_back()
                self._say(f"{STOPPED}\n")

    def _perform(self, command: Command) -> None:
        match command.action:
            case Action.SEND:
                self._send(command.text)
            case Action.CLEAR:
                self._conversation.clear()
                self._last = None
                self._say("Cleared: the model knows nothing of what was said before.")
            case Action.EXIT:
                self._is_over = True
            case Action.HELP:
                self._say(HELP)
            case Action.SYSTEM:
                self._set_system(command.text)
            case Action.THINK:
                self._set_think(command.text)
            case Action.STATS:
                stats = self._last.stats(self._context_length) if self._last else ""
                self._say(stats or "There are no numbers yet: ask something first.")
            case Action.UNKNOWN:
                self._say(f"There is no command {command.text}; /help lists them.")
            case Action.NOTHING:
                pass
            case _:
                assert_never(command.action)

    def _send(self, text: str) -> None:
        answer = Answer()
        try:
            with quiet(0):
                was_stopped = ask(self._remote, self._conversation.ask(text), self._screen, answer)
        except LlmdError as error:
            self._remember(answer)
            self._say(f"llmd: {error.message}{_advice(error)}")
        else:
            self._remember(answer)
            if was_stopped:
                self._say(STOPPED)
            elif answer.finish_reason == "length":
                self._say(self._cut_off(answer))
        self._say("")

    def _remember(self, answer: Answer) -> None:
        self._last = answer
        if answer.text or answer.thoughts:
            self._conversation.answer(answer.text, "".join(answer.thoughts))
        else:
            self._conversation.take_back()

    def _cut_off(self, answer: Answer) -> str:
        limit = self._conversation.options.max_tokens
        if limit is not None and answer.usage.get("completion_tokens", 0) >= limit:
            return f"[cut off after {limit} tokens, as --max-tokens says]"
        return "[cut off: the context is full; /clear begins anew]"

    def _set_system(self, text: str) -> None:
        if text:
            self._conversation.system = "" if text == '""' else text
            self._say("The system prompt is set." if self._conversation.system else "It is gone.")
        else:
            self._say(self._conversation.system or "There is no system prompt.")

    def _set_think(self, text: str) -> None:
        choices = {"on": True, "off": False, "auto": None}
        if text.lower() not in choices:
            self._say("Say /think on, /think off or /think auto.")
            return
        self._conversation.think = choices[text.lower()]
        self._say(f"Thinking is {text.lower()} from here on.")

    def _resume(self) -> None:
        self._screen.forget()
        self._prompt.redraw()

    def _say(self, text: str) -> None:
        # Not the model's words: no Markdown.
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()


def _advice(error: LlmdError) -> str:
    is_full = isinstance(error, DaemonError) and error.answered_code == "context_length_exceeded"
    return " /clear begins anew." if is_full else ""

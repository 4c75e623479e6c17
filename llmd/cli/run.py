"""`llmd run`: a chat in the terminal, or one answer."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn

import click

from llmd.cli.chat_daemon import ChatModel, open_model
from llmd.cli.daemon_options import daemon_url
from llmd.cli.terminal.conversation import Conversation, Options
from llmd.cli.terminal.rousing import rousing
from llmd.cli.terminal.tty import handling, quiet, suspendable

INTERRUPTED = 130
"""The exit code of a command that Ctrl-C ended, as shells have it."""


@click.command()
@click.argument("model", required=False)
@click.argument("prompt", nargs=-1)
@click.option("--system", default="", metavar="TEXT", help="The system prompt.")
@click.option(
    "--temperature", type=click.FloatRange(0), metavar="T", help="Randomness; 0 is greedy."
)
@click.option(
    "--max-tokens", type=click.IntRange(1), metavar="N", help="The longest answer, in tokens."
)
@click.option(
    "--think/--no-think", default=None, help="Whether the model thinks before it answers."
)
@daemon_url
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The configuration file, in place of the first llmd.toml found.",
)
def run(
    model: str | None,
    prompt: tuple[str, ...],
    system: str,
    temperature: float | None,
    max_tokens: int | None,
    think: bool | None,
    url: str | None,
    config: Path | None,
) -> None:
    """Chat with MODEL in the terminal. With a PROMPT, or with a text on stdin, or both, print one
    answer and end.

    MODEL is the path of a .gguf file, a pulled model, tiny, or the name of a [models.NAME] section;
    left out, it is what the daemon serves. A daemon that runs and serves it is used; else the model
    is loaded for this command alone.
    """
    conversation = Conversation("", Options(temperature, max_tokens), system, think)
    try:
        with _ending_on_signals(), rousing():
            _run(model, " ".join(prompt), url, config, conversation)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def _run(
    model: str | None, prompt: str, url: str | None, config: Path | None, conversation: Conversation
) -> None:
    is_chat = not prompt and _is_typed() and sys.stdout.isatty()
    question = "" if is_chat else _question(prompt)
    with open_model(model, url, config, os.environ) as served:
        conversation.model = served.name
        if is_chat:
            _chat(served, conversation)
        else:
            _answer(served, conversation, question)


def _question(prompt: str) -> str:
    """The prompt, then the text on stdin where there is one. Raises click.UsageError."""
    if prompt and (_is_typed() or sys.stdin is None):
        return prompt
    if _is_typed():
        click.echo("llmd: type the prompt, then Ctrl-D", err=True)
    # Text in another encoding than the locale's is still a text.
    text = sys.stdin.buffer.read().decode(sys.stdin.encoding, "replace") if sys.stdin else ""
    question = "\n\n".join(part for part in (prompt, text.strip("\n")) if part.strip())
    if not question:
        raise click.UsageError("the prompt is empty. Give one, or a text on stdin.")
    return question


def _is_typed() -> bool:
    """Whether stdin is a terminal; a process may also have none."""
    return sys.stdin is not None and sys.stdin.isatty()


def _chat(served: ChatModel, conversation: Conversation) -> None:
    # What is heavy comes in while the model loads, or not at all for --help.
    from llmd.cli.terminal.chat import TerminalChat
    from llmd.cli.terminal.plain_screen import open_screen
    from llmd.cli.terminal.prompt import Prompt

    context = f", {served.context_length} tokens of context" if served.context_length else ""
    click.echo(f"{served.name}{context}. /help shows what you can type; Ctrl-D leaves.")
    screen = open_screen(sys.stdout)
    TerminalChat(served.remote, conversation, screen, Prompt(), served.context_length).run()


def _answer(served: ChatModel, conversation: Conversation, question: str) -> None:
    from llmd.cli.terminal.answer import Answer
    from llmd.cli.terminal.chat import ask
    from llmd.cli.terminal.plain_screen import open_screen

    answer, screen = Answer(), open_screen(sys.stdout)
    with suspendable(0, screen.forget), quiet(0):
        was_stopped = ask(served.remote, conversation.ask(question), screen, answer)
    if was_stopped:
        sys.exit(INTERRUPTED)
    if answer.finish_reason == "length" and conversation.options.max_tokens is None:
        click.echo("llmd: the answer was cut off: the context is full.", err=True)


@contextmanager
def _ending_on_signals() -> Iterator[None]:
    """SIGTERM and a hang-up end the block as an exception does, so that all is put back."""

    def end(number: int, _frame: FrameType | None) -> NoReturn:
        sys.exit(128 + number)

    with handling({signal.SIGTERM: end, signal.SIGHUP: end}):
        yield

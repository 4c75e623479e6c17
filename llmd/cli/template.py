"""`llmd template render` and `llmd template parse`: both ways through a chat template."""

from __future__ import annotations

import codecs
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from io import BufferedReader
from pathlib import Path
from typing import Any, TypeVar, cast

import click

from llmd.chat.answer.answer import join_pieces
from llmd.chat.answer.piece import Piece
from llmd.chat.answer.reader import AnswerReader
from llmd.chat.format.chat_format import ChatFormat
from llmd.chat.prompt.normalizer import MessageNormalizer
from llmd.chat.vectors import read_vectors, replay
from llmd.cli.answer_json import DeltaEncoder, encode_message, print_json
from llmd.cli.chat_source import ChatSource, model_settings, open_model, open_template
from llmd.cli.conversation_file import Conversation, read_conversation, read_tools
from llmd.core.message import Message
from llmd.core.request import ThinkingWish
from llmd.errors import InvalidRequest

_Command = TypeVar("_Command", bound=Callable[..., Any])

PIECE_LENGTH = 4
"""Characters that `--stream` feeds at a time: about a token."""

_READ_BYTES = 2**16


@click.group()
def template() -> None:
    """See the prompt that a chat template makes of messages, and the message that a model's text
    becomes.

    Without a model: nothing is loaded but the header of its file. MODEL is the path of a .gguf
    file, a pulled model, tiny, or the name of a [models.NAME] section; a --template FILE needs
    none.
    """


def _source_options(command: _Command) -> _Command:
    for decorate in (
        click.argument("model", required=False),
        click.option(
            "--template",
            "template_file",
            type=click.Path(path_type=Path),
            metavar="FILE",
            help="A Jinja file in place of the model's own chat template.",
        ),
        click.option(
            "--config",
            type=click.Path(path_type=Path),
            metavar="FILE",
            help="The configuration file, in place of the first llmd.toml found.",
        ),
        click.option(
            "--tools",
            "tools_file",
            metavar="FILE",
            help="A JSON file with the list of tools, as the OpenAI API takes it.",
        ),
        click.option(
            "--thinking/--no-thinking",
            default=None,
            help="Switch the model's thinking on or off, where the template knows how.",
        ),
    ):
        command = decorate(command)
    return command


@template.command()
@_source_options
@click.option(
    "--messages",
    default="-",
    metavar="FILE",
    help="A JSON file with the list of messages, or with a whole chat request, of which messages, "
    "tools and chat_template_kwargs count. Left out, or -: standard input.",
)
@click.option("--kwargs", metavar="JSON", help="chat_template_kwargs, as a JSON object.")
@click.option(
    "--generation-prompt/--no-generation-prompt",
    "generates",
    default=True,
    help="End where the assistant's answer begins, or behind the last message.",
)
@click.option("--raw", is_flag=True, help="Render the messages as they are, without repairs.")
def render(
    model: str | None,
    template_file: Path | None,
    config: Path | None,
    tools_file: str | None,
    thinking: bool | None,
    messages: str,
    kwargs: str | None,
    generates: bool,
    raw: bool,
) -> None:
    """Print the prompt that llmd makes of messages, exactly, and nothing else.

    As in the daemon, messages that the template would refuse or drop are repaired first, and a
    last message of the assistant's is left open to be continued; with --raw neither is done.
    """
    source = _open(model, template_file, config)
    conversation = read_conversation(messages)
    if tools_file:
        conversation = replace(conversation, tools=read_tools(tools_file))
    chat_format = source.find_format()
    template_kwargs = chat_format.thinking_kwargs(ThinkingWish(enabled=thinking))
    template_kwargs |= conversation.template_kwargs | _parse_kwargs(kwargs)
    conversation = replace(conversation, template_kwargs=template_kwargs)
    if raw:
        prompt = source.template.render(
            conversation.messages, conversation.tools, template_kwargs, generates
        )
        text = prompt.text
    else:
        text = _render_as_served(source, chat_format, conversation, generates)
    click.echo(text.encode("utf-8", "surrogatepass"), nl=False)


@template.command()
@_source_options
@click.option("--stream", is_flag=True, help="Print each delta as it arises, then the message.")
@click.option(
    "--prompt-tail", metavar="TEXT", help="The end of the prompt that the text is the answer to."
)
@click.option(
    "--messages",
    metavar="FILE",
    help="The messages that the text answers, in place of --prompt-tail.",
)
@click.option(
    "--reasoning-format",
    type=click.Choice(["none", "deepseek"]),
    default="deepseek",
    help="Leave thoughts in the content, or give them as reasoning_content (the default).",
)
@click.option("--cut", is_flag=True, help="A length limit ended the text: complete nothing in it.")
@click.option(
    "--vectors",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Replay the recorded answers in this file, whole and cut into pieces, and name each that "
    "is not read as it must be.",
)
@click.option(
    "--templates",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Where the templates of --vectors are; left out, `templates` beside the file.",
)
@click.pass_context
def parse(
    ctx: click.Context,
    model: str | None,
    template_file: Path | None,
    config: Path | None,
    tools_file: str | None,
    thinking: bool | None,
    stream: bool,
    prompt_tail: str | None,
    messages: str | None,
    reasoning_format: str,
    cut: bool,
    vectors: Path | None,
    templates: Path | None,
) -> None:
    """Read what a model wrote, from standard input, and print the message that it becomes.

    What the text means depends on where the prompt ended, such as inside a thought. Without
    --prompt-tail or --messages it is the prompt of a single question.
    """
    if vectors is not None:
        num_failed = _replay(vectors, templates or vectors.parent / "templates")
        ctx.exit(1 if num_failed else 0)
    if prompt_tail is not None and messages is not None:
        raise click.UsageError("--prompt-tail and --messages exclude each other. Give one.")
    source = _open(model, template_file, config)
    chat_format = source.find_format()
    conversation = read_conversation(messages) if messages else _QUESTION
    tools = read_tools(tools_file) if tools_file else conversation.tools
    if prompt_tail is None:
        kwargs = chat_format.thinking_kwargs(ThinkingWish(enabled=thinking))
        kwargs |= conversation.template_kwargs
        asked = replace(conversation, tools=tools, template_kwargs=kwargs)
        prompt = _render_as_served(source, chat_format, asked, True)
    else:
        prompt = _completed(prompt_tail, chat_format.syntax.header)
    reader = chat_format.reader(prompt, tools, splits_thoughts=reasoning_format != "none")
    pieces: list[Piece] = []
    deltas = DeltaEncoder()
    for piece in _read(reader, _input_in_pieces() if stream else [_whole_input()], is_cut=cut):
        pieces.append(piece)
        if stream:
            print_json(deltas.encode(piece))
    print_json(encode_message(join_pieces(pieces)))


_QUESTION = Conversation((Message(role="user", content="Hello"),))


def _open(model: str | None, template_file: Path | None, config: Path | None) -> ChatSource:
    if model is None and template_file is None:
        raise click.UsageError("Name a MODEL, or a template's file with --template FILE.")
    if model is None:
        return open_template(None, template_file)
    settings = model_settings(model, config)
    return open_template(open_model(settings), template_file or settings.chat_template)


def _parse_kwargs(text: str | None) -> dict[str, Any]:
    try:
        kwargs = json.loads(text or "{}")
    except ValueError as error:
        raise InvalidRequest(
            f"--kwargs is no JSON: {error}. Write it as '{{\"enable_thinking\": false}}'."
        ) from error
    if not isinstance(kwargs, dict):
        raise InvalidRequest(
            "--kwargs is no JSON object. Write it as '{\"enable_thinking\": false}'."
        )
    return kwargs


def _render_as_served(
    source: ChatSource, chat_format: ChatFormat, conversation: Conversation, generates: bool
) -> str:
    """As llmd.serving.prompt does it."""
    prepared = chat_format.prepare(conversation.messages, conversation.tools)
    fitted = MessageNormalizer(source.template).normalize(*prepared)
    last = fitted.messages[-1] if fitted.messages else None
    is_begun = last is not None and last.role == "assistant" and not last.tool_calls
    return source.template.render(
        fitted.messages,
        fitted.tools,
        conversation.template_kwargs,
        generates,
        continue_final_message=generates and is_begun,
    ).text


def _completed(tail: str, header: str) -> str:
    """The end of a prompt that has the whole of `header`: people leave out what they do not see."""
    if header in tail:
        return tail
    overlap = next(at for at in range(len(header) + 1) if tail.startswith(header[at:]))
    return header[:overlap] + tail


def _whole_input() -> str:
    return sys.stdin.buffer.read().decode("utf-8", "replace")


def _input_in_pieces() -> Iterator[str]:
    """Standard input as it comes, cut small."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    # read1 gives what a pipe holds, and does not wait for more.
    stdin = cast(BufferedReader, sys.stdin.buffer)
    while data := stdin.read1(_READ_BYTES):
        text = decoder.decode(data)
        for start in range(0, len(text), PIECE_LENGTH):
            yield text[start : start + PIECE_LENGTH]
    yield decoder.decode(b"", True)


def _read(
    reader: AnswerReader, feeds: Iterator[str] | Sequence[str], *, is_cut: bool
) -> Iterator[Piece]:
    for text in feeds:
        yield from reader.feed(text)
    yield from reader.flush(is_cut=is_cut)


def _replay(vectors: Path, templates: Path) -> int:
    """How many cases failed."""
    num_cases = num_failed = 0
    for outcome in replay(read_vectors(vectors), templates):
        num_cases += 1
        if outcome.fault is not None:
            num_failed += 1
            click.echo(f"FAIL {outcome.id}: {outcome.fault}")
    click.echo(f"{num_cases - num_failed}/{num_cases} passed")
    return num_failed

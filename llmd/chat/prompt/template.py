"""ChatTemplate: messages in, prompt out."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import product
from typing import Any

import jinja2
from jinja2 import nodes

from llmd.chat.prompt.budget import BudgetExceeded, RenderBudget, spending
from llmd.chat.prompt.conversation import ConversationGuard, ConversationView
from llmd.chat.prompt.environment import TemplateEnvironment
from llmd.chat.prompt.fault import TemplateFault, describe_fault
from llmd.chat.prompt.guard import SpecialTokenGuard, cut
from llmd.core.message import Message, Tool
from llmd.errors import InvalidModelFile, InvalidRequest, TemplateFailed, Unsupported

RESERVED_KWARGS = frozenset(
    {"messages", "tools", "add_generation_prompt", "bos_token", "eos_token", "strftime_now"}
)

TOO_DEEP = (
    "The tool calls' arguments, the tools or chat_template_kwargs are nested too deep. Send values "
    "with fewer levels."
)

# Whatever Python raises on a value that a template misuses: it is the template's fault, or the
# messages', and never the server's.
_FAULTS = (
    jinja2.TemplateError,
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    RuntimeError,
    TypeError,
    ValueError,
)

_ENVIRONMENT = TemplateEnvironment()

SLOW_SECONDS = 0.02
"""What one rendering may take on a thread that others wait for, and as much again for each
CHARS_PER_ALLOWANCE characters.
"""

CHARS_PER_ALLOWANCE = 20_000


@dataclass(frozen=True, slots=True)
class RenderedPrompt:
    """A prompt, cut wherever a client's own text could be taken for a special token.

    Tokenise the pieces one by one, with special tokens parsed, and join the ids: then special
    tokens come of the template alone. There is one piece unless a client sent such text.
    """

    pieces: tuple[str, ...]

    @property
    def text(self) -> str:
        return "".join(self.pieces)


class ChatTemplate:
    """A compiled chat template. Nothing of it changes but `is_slow`; any thread may render.

    `control_tokens` are the texts of tokens that begin and end turns; they are neutralised in
    whatever a client sends. `marker_tokens` are those a model's own words may hold, such as
    `<think>` and `<tool_call>`; they are neutralised everywhere but in an assistant message's
    content and reasoning. `clock` answers `strftime_now`.

    Raises InvalidModelFile when `source` is no valid Jinja, or runs on without end.
    """

    def __init__(
        self,
        source: str,
        *,
        bos_token: str,
        eos_token: str,
        control_tokens: Collection[str] = (),
        marker_tokens: Collection[str] = (),
        clock: Callable[[], datetime] = datetime.now,
    ) -> None:
        self.source = source
        self.is_slow = False
        """A rendering took too long for the event loop; so may the next ones."""
        self._variables = {
            "bos_token": bos_token,
            "eos_token": eos_token,
            "documents": None,
            "strftime_now": lambda pattern: clock().strftime(pattern),
        }
        self._compiled, own_texts = _compile(source)
        literals = (*own_texts, bos_token, eos_token)
        self._guard = ConversationGuard(
            source,
            strict=SpecialTokenGuard({*control_tokens, *marker_tokens}, literals),
            lenient=SpecialTokenGuard(control_tokens, literals),
        )
        self._wants_parts, self._wants_tool_list = self._probe_values()

    def render(
        self,
        messages: Sequence[Message],
        tools: Sequence[Tool] = (),
        template_kwargs: Mapping[str, Any] | None = None,
        add_generation_prompt: bool = True,
        continue_final_message: bool = False,
    ) -> RenderedPrompt:
        """The prompt for `messages`.

        With `continue_final_message` it ends inside the last message, which must be an
        assistant's without calls: at the end of its content, or of its reasoning where it has no
        content. `add_generation_prompt` then has no effect.

        Raises TemplateFailed when the template refuses or fails, naming the message at fault where
        it can be told; InvalidRequest for a keyword argument that is not the client's to set;
        Unsupported when the template does not write the message to be continued.
        """
        kwargs = template_kwargs or {}
        _check_kwargs(kwargs)
        if continue_final_message:
            return self._render_continued(messages, tools, kwargs)
        view = self._view(messages, tools, kwargs)
        text = self._render_or_explain(view, messages, tools, kwargs, add_generation_prompt)
        return _cut_prompt(text, view)

    def _render_continued(
        self, messages: Sequence[Message], tools: Sequence[Tool], kwargs: Mapping[str, Any]
    ) -> RenderedPrompt:
        last = messages[-1] if messages else None
        if last is None or last.role != "assistant" or last.tool_calls:
            raise InvalidRequest(
                "Only an assistant message without tool calls can be continued. Put one last, or "
                "leave continue_final_message out.",
                param="messages",
            )
        for field in ("content",) if last.content else ("reasoning", "content"):
            if field == "reasoning" and not last.reasoning:
                continue
            plain = (*messages[:-1], replace(last, content=last.content or ""))
            view = self._view(plain, tools, kwargs, end_marker=True)
            assert view.end_marker is not None
            _append_to_last(view.messages[-1], field, view.end_marker)
            text = self._render_or_explain(view, plain, tools, kwargs, False)
            head, found, _ = text.rpartition(view.end_marker)
            if found:
                return _cut_prompt(head, view)
        raise Unsupported(
            "This model's chat template does not write the final assistant message, so it cannot "
            "be continued. End with a user message, or start llmd with another "
            "--chat-template FILE.",
            param=f"messages.{len(messages) - 1}",
        )

    def _render_or_explain(
        self,
        view: ConversationView,
        messages: Sequence[Message],
        tools: Sequence[Tool],
        kwargs: Mapping[str, Any],
        add_generation_prompt: bool,
    ) -> str:
        try:
            return self._render_view(view, add_generation_prompt)
        except TemplateFault as fault:

            def words(
                messages: Sequence[Message], tools: Sequence[Tool], kwargs: Mapping[str, Any]
            ) -> str | None:
                try:
                    self._render_view(self._view(messages, tools, kwargs), add_generation_prompt)
                except TemplateFault as other:
                    return other.words
                return None

            message, param = describe_fault(fault, words, messages, tools, kwargs)
            raise TemplateFailed(message, param=param) from fault

    def _view(
        self,
        messages: Sequence[Message],
        tools: Sequence[Tool],
        kwargs: Mapping[str, Any],
        end_marker: bool = False,
    ) -> ConversationView:
        try:
            return self._guard.view(
                messages, tools, kwargs, content_parts=self._wants_parts, end_marker=end_marker
            )
        except RecursionError as error:
            raise InvalidRequest(TOO_DEEP, param="messages") from error

    def _render_view(self, view: ConversationView, add_generation_prompt: bool) -> str:
        variables = self._variables | view.template_kwargs
        no_tools: list[Any] | None = [] if self._wants_tool_list else None
        variables |= {
            "messages": view.messages,
            "tools": view.tools or no_tools,
            "add_generation_prompt": add_generation_prompt,
        }
        budget = RenderBudget(view.num_chars + len(self.source))
        try:
            with spending(budget):
                return self._compiled.render(variables)
        except _FAULTS as error:
            words = str(error) or type(error).__name__
            for marker in (view.marker, view.end_marker):
                words = "".join(cut(words, marker)) if marker else words
            is_costly = isinstance(error, BudgetExceeded)
            raise TemplateFault(words, is_costly=is_costly) from error
        finally:
            allowed = SLOW_SECONDS * (1 + view.num_chars / CHARS_PER_ALLOWANCE)
            self.is_slow |= budget.seconds_spent > allowed

    def _probe_values(self) -> tuple[bool, bool]:
        """Whether content must be a list of parts (some multimodal templates iterate over it), and
        whether `tools` must be a list even when there are none.
        """
        word = "zqcontent"
        for self._wants_parts, self._wants_tool_list in product((False, True), repeat=2):
            try:
                view = self._view([Message(role="user", content=word)], (), {})
                if word in self._render_view(view, True):
                    return self._wants_parts, self._wants_tool_list
            except TemplateFault as fault:
                if fault.is_costly:
                    raise InvalidModelFile(
                        f"The chat template cannot render one message: {fault.words}. "
                        "Start llmd with another one: --chat-template FILE."
                    ) from fault
        return False, False


def _compile(source: str) -> tuple[jinja2.Template, list[str]]:
    """The compiled template, and the texts that it writes by itself."""
    try:
        with spending(RenderBudget(len(source))):
            tree = _ENVIRONMENT.parse(source)
            texts = [node.data for node in tree.find_all(nodes.TemplateData)]
            constants = [node.value for node in tree.find_all(nodes.Const)]
            code = _ENVIRONMENT.compile(tree)
            compiled = _ENVIRONMENT.template_class.from_code(
                _ENVIRONMENT, code, _ENVIRONMENT.make_globals(None)
            )
    except jinja2.TemplateSyntaxError as error:
        raise InvalidModelFile(
            f"The chat template is not valid Jinja: line {error.lineno}: {error.message}. "
            "Start llmd with a corrected one: --chat-template FILE."
        ) from error
    except _FAULTS as error:
        raise InvalidModelFile(
            f"The chat template cannot be compiled: {error}. "
            "Start llmd with another one: --chat-template FILE."
        ) from error
    return compiled, [*texts, *(value for value in constants if isinstance(value, str))]


def _check_kwargs(kwargs: Mapping[str, Any]) -> None:
    for name in kwargs:
        if name in RESERVED_KWARGS or name in _ENVIRONMENT.globals:
            raise InvalidRequest(
                f"chat_template_kwargs cannot set {name!r}: llmd sets it. Leave it out.",
                param=f"chat_template_kwargs.{name}",
            )


def _append_to_last(last: dict[str, Any], field: str, end_marker: str) -> None:
    if field == "reasoning":
        for name in ("reasoning_content", "reasoning", "thinking"):
            last[name] += end_marker
    elif isinstance(last["content"], str):
        last["content"] += end_marker
    else:
        last["content"].append({"type": "text", "text": end_marker})


def _cut_prompt(text: str, view: ConversationView) -> RenderedPrompt:
    return RenderedPrompt((text,) if view.marker is None else cut(text, view.marker))

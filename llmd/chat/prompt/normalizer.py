"""MessageNormalizer: what clients really send, made acceptable to one template."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from llmd.chat.prompt import call_repairs, role_repairs
from llmd.chat.prompt.abilities import TemplateAbilities, probe_abilities
from llmd.chat.prompt.template import TOO_DEEP, ChatTemplate
from llmd.core.message import Message, Tool
from llmd.errors import InvalidRequest

_Messages = tuple[Message, ...]
_Repair = Callable[[_Messages, TemplateAbilities], _Messages]

# The order matters: calls and results may become text, then the roles of what is left are mended.
_REPAIRS: tuple[tuple[str, _Repair], ...] = (
    ("dropped_empty_assistant", role_repairs.drop_empty_ending),
    ("developer_to_system", role_repairs.rename_developer),
    ("sorted_tool_results", call_repairs.sort_results),
    ("rewrote_ids", call_repairs.rewrite_ids),
    ("merged_reasoning", call_repairs.join_thought_and_content),
    ("tool_calls_to_text", call_repairs.write_calls_as_text),
    ("tool_to_user", call_repairs.write_results_as_user),
    ("null_content", call_repairs.fill_null_content),
    ("split_content", call_repairs.split_content),
    ("split_tool_calls", call_repairs.split_calls),
    ("empty_to_null_content", call_repairs.empty_content_to_null),
    ("merged_system", role_repairs.merge_system),
    ("system_to_user", role_repairs.move_system_to_user),
    ("dropped_empty_assistant", role_repairs.drop_empty_answers),
    ("answered_tool", role_repairs.answer_after_tool),
    ("merged_user", role_repairs.merge_users),
    ("merged_assistant", role_repairs.merge_assistants),
    ("opened_with_user", role_repairs.open_with_user),
)
# Every client's calls need these; they lose and move nothing, so they are not worth reporting.
_SILENT_REPAIRS: tuple[_Repair, ...] = (call_repairs.name_results, call_repairs.fit_arguments)


@dataclass(frozen=True, slots=True)
class NormalizedConversation:
    """`changes` are short names of what was done, in order, for the header `x-llmd-normalized`."""

    messages: tuple[Message, ...]
    tools: tuple[Tool, ...]
    changes: tuple[str, ...]


class MessageNormalizer:
    """Repairs only what its template refuses or silently drops. Immutable; any thread may use it.

    Building one renders some forty small conversations; a few milliseconds, once per template.
    """

    def __init__(self, template: ChatTemplate) -> None:
        self.abilities = probe_abilities(template)

    def normalize(
        self, messages: Sequence[Message], tools: Sequence[Tool] = ()
    ) -> NormalizedConversation:
        """The conversation as the template takes it. A final assistant message that says something
        stays last: whether to continue it is the caller's choice. Tools are left out, and
        `tools_dropped` reported, where the template does not write them.

        Raises InvalidRequest for arguments nested too deep to be written.
        """
        try:
            return self._repair(tuple(messages), tuple(tools))
        except RecursionError as error:
            raise InvalidRequest(TOO_DEEP, param="messages") from error

    def _repair(self, fitted: _Messages, tools: tuple[Tool, ...]) -> NormalizedConversation:
        changes: list[str] = []
        for silent in _SILENT_REPAIRS:
            fitted = silent(fitted, self.abilities)
        for change, repair in _REPAIRS:
            repaired = repair(fitted, self.abilities)
            if repaired != fitted and change not in changes:
                changes.append(change)
            fitted = repaired
        if tools and not self.abilities.tools:
            return NormalizedConversation(fitted, (), (*changes, "tools_dropped"))
        return NormalizedConversation(fitted, tools, tuple(changes))

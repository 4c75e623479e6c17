"""Tools for dialogues: what they do, how users ask for it, and how SDKs write their schemas."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import words
from values import Values
from words import phrases


@dataclass(frozen=True)
class Slot:
    """One argument: its name, JSON type, kind of value, and description."""

    name: str
    type: str
    kind: str
    description: str


@dataclass(frozen=True)
class Tool:
    """A callable tool; asks and lead hold {0}, {1}, ... for the arguments."""

    name: str
    description: str
    slots: tuple[Slot, ...]
    asks: tuple[str, ...]
    lead: str
    result: str = "value"


KNOWN = json.loads((Path(__file__).parent / "known_tools.json").read_text(encoding="utf-8"))
FETCH = "get fetch find lookup read query show check retrieve load list_ give obtain".split()
FETCH_TEXT = phrases("""
    Get the {t} of a {e}. | Return the {t} of the {e}. | Look up the {t} of a {e}. | Find
    the {t} for a given {e}. | Gives the {t} of one {e} | {t} of a {e} | Use this to get the
    {t} of a {e}. | Reads the {t} of any {e}.
""")
FETCH_ASKS = phrases("""
    What is the {t} of {{0}}? | Tell me the {t} of {{0}}. | Find the {t} of {{0}}. | What is
    the {t} of the {e} {{0}}? | Get the {t} for {{0}}. | {t} of {{0}}? | I need the {t} of
    {e} {{0}}. | Can you look up the {t} of {{0}}? | Please get me the {t} of the {e} {{0}}.
    | Show the {t} of {{0}} | Do you know the {t} of {{0}}? | What's the {t} of {{0}}?
""")
ACT_TEXT = phrases("""
    {a} a {e}. | Use this to {a} a {e}. | {a} the given {e}. | Will {a} one {e}.
""")
ACT_ASKS = phrases("""
    {a} the {e} {{0}}. | Please {a} the {e} {{0}}. | Can you {a} the {e} {{0}}? | {a} {{0}},
    please. | I want to {a} the {e} {{0}}. | Now {a} the {e} {{0}}
""")

# Leads of tools that are never offered together: "What is 3 + 4?" asks for both.
ALIKE = ({"{0}", "{0} + {1}"}, {"{0}", "{0} * {1}"})


def known_tool(values: Values, index: int | None = None) -> Tool:
    """Return one of the tools written by hand, in a drawn variant."""
    row = values.rng.choice(KNOWN) if index is None else KNOWN[index]
    return Tool(
        values.pick(row["names"]),
        values.pick(row["descriptions"]),
        tuple(
            Slot(
                values.pick(slot["names"]),
                slot["type"],
                slot["kind"],
                values.pick(slot["descriptions"]),
            )
            for slot in row["slots"]
        ),
        tuple(row["asks"]),
        row["lead"],
        row["result"],
    )


def disguised(values: Values, tool: Tool) -> Tool:
    """Return the tool, often under a name and with argument names that cannot be guessed."""
    name = tool.name
    if values.chance(0.6):
        name = values.pick(
            (
                values.plain(),
                f"{values.plain()}_{name}",
                f"{name}_{values.plain()}",
                f"{values.pick(FETCH).strip('_')}_{name}",
            )
        )
    slots = tuple(
        replace(slot, name=values.plain()) if values.chance(0.4) else slot for slot in tool.slots
    )
    return replace(tool, name=name, slots=slots)


def identifier(values: Values, *parts: str) -> str:
    """Join words as snake_case, camelCase or the like."""
    style = values.rng.random()
    if style < 0.7:
        return "_".join(parts)
    if style < 0.85:
        return parts[0] + "".join(part.capitalize() for part in parts[1:])
    return "-".join(parts)


def made_tool(values: Values) -> Tool:
    """Return a tool made from drawn words; its name, topic and argument may mean nothing."""
    topic = values.plain() if values.chance(0.5) else values.listed(words.TOPICS)
    entity = values.plain() if values.chance(0.35) else values.listed(words.ENTITIES)
    argument = values.pick(
        (entity, entity, f"{entity}_name", f"{entity}_id", "name", "id", "key", values.plain())
    )
    kind = values.pick(("entity", "entity", "entity", "code", "name", "whole"))
    slot = Slot(
        argument,
        "integer" if kind == "whole" else "string",
        kind,
        values.pick(
            (
                f"The {entity}",
                f"Name of the {entity}",
                f"The {entity} to look up",
                f"Which {entity}",
            )
        ),
    )
    fill = {"t": topic, "e": entity}
    if values.chance(0.72):
        name = values.pick(
            (
                identifier(values, values.pick(FETCH).strip("_"), entity, topic),
                identifier(values, values.pick(FETCH).strip("_"), topic),
                identifier(values, entity, topic),
                topic,
                values.plain(),
                values.plain(),
            )
        )
        asks = tuple(ask.format(**fill) for ask in FETCH_ASKS)
        return Tool(
            name, values.pick(FETCH_TEXT).format(**fill), (slot,), asks, f"The {topic} of {{0}}"
        )
    action = values.plain() if values.chance(0.2) else values.listed(words.ACTIONS)
    fill = {"a": action, "e": entity}
    name = values.pick((identifier(values, action, entity), action, values.plain()))
    text = values.pick(ACT_TEXT).format(**fill)
    known = action in words.ACTIONS
    asks = tuple(ask.format(**fill) for ask in ACT_ASKS if known or not ask.startswith("{"))
    return Tool(
        name,
        text[0].upper() + text[1:],
        (slot,),
        tuple(ask[0].upper() + ask[1:] for ask in asks),
        "Done",
        "done",
    )


def form_tool(values: Values) -> Tool:
    """Return a tool with two or three named arguments that the user gives one by one."""
    entity = values.plain() if values.chance(0.2) else values.listed(words.ENTITIES)
    action = values.pick(("create", "add", "register", "save", "book", "make", "insert", "submit"))
    keys: list[str] = []
    while len(keys) < values.rng.choice((2, 2, 3)):
        key = values.plain() if values.chance(0.3) else values.listed(words.KEYS)
        if key not in keys:
            keys.append(key)
    slots = tuple(
        Slot(
            key,
            *values.rng.choice(
                (
                    ("string", "entity"),
                    ("string", "word"),
                    ("integer", "whole"),
                    ("number", "number"),
                )
            ),
            f"The {key} of the {entity}",
        )
        for key in keys
    )
    styles = phrases("""
        {k} {{{i}}} | {k} {{{i}}} | {k} is {{{i}}} | {k}: {{{i}}} | {k} = {{{i}}}
    """)
    asks = []
    for style in styles:
        parts = [style.format(k=key, i=index) for index, key in enumerate(keys)]
        listed = ", ".join(parts[:-1]) + values.pick((" and ", ", ")) + parts[-1]
        asks += [
            f"{action.capitalize()} a {entity} with {listed}.",
            f"Please {action} a new {entity}: {listed}",
            f"I want to {action} a {entity}, {listed}.",
        ]
    return Tool(
        identifier(values, action, entity),
        f"{action.capitalize()} a {entity}.",
        slots,
        tuple(asks),
        "Done",
        "done",
    )


def draw_tool(values: Values) -> Tool:
    """Return a tool of any sort."""
    roll = values.rng.random()
    if roll < 0.4:
        return disguised(values, known_tool(values))
    return made_tool(values) if roll < 0.85 else form_tool(values)


def distinct(tool: Tool, others: list[Tool]) -> bool:
    """Tell whether nothing that a user asks for could mean both the tool and one of the others."""
    rivals = {tool.description, tool.name, *tool.asks}
    if tool.lead != "Done":
        rivals.add(tool.lead)
    return all(
        rivals.isdisjoint((other.description, other.name, other.lead, *other.asks))
        and {tool.lead, other.lead} not in ALIKE
        for other in others
    )


def draw_tools(
    values: Values, count: int, draw: Callable[[Values], Tool] = draw_tool
) -> list[Tool]:
    """Return tools that users' requests tell apart."""
    tools: list[Tool] = []
    while len(tools) < count:
        tool = draw(values)
        if distinct(tool, tools):
            tools.append(tool)
    return tools

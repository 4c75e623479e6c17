"""Exchanges with tools: calls, results, loops of calls, and questions that need no tool."""

from __future__ import annotations

import json
from typing import Any

import dialogues
import json_dialogues
import words
from scene import Expectation, Scene, vary
from schemas import argument
from toolbox import Slot, Tool
from values import Values
from words import phrases

Call = tuple[str, dict[str, Any]]
ERRORS = phrases("""
    Error: {} not found | error: timeout | Error: service unavailable | not found | Error:
    invalid argument {} | {{"error": "no such {}"}} | Exception: {} failed | Error:
    permission denied
""")


def request(values: Values, tool: Tool, ask: str | None = None) -> tuple[str, Call, list[str]]:
    """Return a user's request for the tool, the right call, and the argument texts."""
    pairs = [argument(values, slot) for slot in tool.slots]
    texts = [text for text, _ in pairs]
    quoted = values.chance(0.08) and all(slot.type == "string" for slot in tool.slots)
    shown = [f'"{text}"' for text in texts] if quoted else texts
    said = (ask or values.pick(tool.asks)).format(*shown)
    arguments = {slot.name: value for slot, (_, value) in zip(tool.slots, pairs, strict=True)}
    return said, (tool.name, arguments), texts


def describe(call: Call) -> str:
    """Say a call in words for a thought."""
    name, arguments = call
    parts = [f"{key} {json.dumps(value, ensure_ascii=False)}" for key, value in arguments.items()]
    return f"I call {name} with {', '.join(parts)}."


def plain_result(values: Values, tool: Tool, place: str) -> str | dict[str, Any]:
    """Return what the tool finds about a place or thing, before it is written as a message."""
    degrees = values.rng.randint(-15, 40)
    condition = values.pick(words.CONDITIONS)
    kind = tool.result
    if kind == "value" or (kind == "text" and values.chance(0.4)):
        kind = values.pick(("word", "number", "phrase", "record", "name", "city", "code"))
    if kind == "weather":
        return values.rng.choice(
            (
                f"{degrees} degrees and {condition}",
                f"{condition}, {degrees} degrees",
                condition,
                f"{condition}, {degrees}°C",
                f"It is {condition} in {place}.",
                f"It is {degrees} degrees in {place}",
                {"city": place, "conditions": condition},
                {"city": place, "temperature": f"{degrees}C", "wind": values.word()},
                {"temperature": degrees, "condition": condition},
                {"temp": degrees, "sky": condition, "wind": values.whole(90)},
                f"It is {condition}",
                f"{condition.capitalize()} with {degrees} degrees.",
                f"{degrees}C {condition}",
            )
        )
    if kind == "number":
        return str(values.number())
    if kind == "degrees":
        return values.rng.choice(
            (f"{degrees}", f"{degrees} degrees", {"temperature": degrees}, f"{degrees}°C")
        )
    if kind == "time":
        time = f"{values.rng.randint(0, 23):02}:{values.rng.randint(0, 59):02}"
        return values.rng.choice((time, {"time": time}, f"{time} local time"))
    if kind == "record":
        keys = values.rng.sample(words.KEYS, values.rng.randint(1, 3))
        return {key: values.whole() if values.chance(0.4) else values.word() for key in keys}
    if kind == "done":
        return values.rng.choice(
            (
                "ok",
                "done",
                "success",
                "OK",
                {"status": "ok"},
                "saved",
                {"ok": True},
                "true",
                f"id {values.whole()}",
                "sent",
                {"id": values.whole()},
                values.code(),
            )
        )
    if kind == "text":
        return f"{values.entity()} is a {values.thing()}"
    return values.text(kind if kind in ("word", "phrase", "name", "city", "code") else "phrase")


def spoken(value: object) -> str:
    """Write a JSON value as an answer says it."""
    return json.dumps(value) if isinstance(value, bool) else str(value)


def give_result(scene: Scene, tool: Tool, texts: list[str]) -> tuple[str, list[str]]:
    """Append the tool's message; return the sentence that answers with it and its key texts."""
    v = scene.values
    if v.chance(0.08):
        error = v.pick(ERRORS).format(texts[0])
        scene.tool(error)
        if error.startswith("{"):
            error = json.loads(error)["error"]
        error = error.removeprefix("Error: ").removeprefix("error: ")
        return f"Sorry, that did not work: {error}.{scene.closing}", [error]
    found = plain_result(v, tool, texts[0])
    if isinstance(found, dict):
        scene.tool(
            json.dumps(
                found, separators=v.rng.choice(((", ", ": "), (",", ":"))), ensure_ascii=False
            )
        )
        text = ", ".join(f"{key.replace('_', ' ')} {spoken(value)}" for key, value in found.items())
        keys = [spoken(value) for value in found.values()]
    else:
        text = found.removesuffix(".")
        keys = [text]
        if v.chance(0.15) and tool.lead not in ("Done", "Sorted", "I found"):
            found = f"{tool.lead.format(*texts)} is {text}{v.pick(('.', ''))}"
        scene.tool(json.dumps(found, ensure_ascii=False) if v.chance(0.1) else found)
        if text.startswith("It is "):
            return f"{text}.{scene.closing}", keys
    lead = tool.lead.format(*texts)
    middle = ": " if isinstance(found, dict) or lead in ("Done", "Sorted", "I found") else " is "
    return f"{lead}{middle}{text}.{scene.closing}", keys


def join_answers(scene: Scene, first: str, second: str) -> str:
    """Join two answers into one that closes once."""
    return f"{first.removesuffix(scene.closing) if scene.closing else first} {second}"


def call_tool(scene: Scene, tool: Tool) -> None:
    """Ask for the tool; the exchange ends with the call."""
    said, call, texts = request(scene.values, tool)
    scene.user(vary(scene.values, said))
    scene.assistant(None, describe(call), [call])
    scene.expect = Expectation("calls", [call])


def use_tool(scene: Scene, tool: Tool) -> None:
    """Ask for the tool, call it, and answer from its result."""
    said, call, texts = request(scene.values, tool)
    scene.user(vary(scene.values, said))
    scene.assistant(None, describe(call), [call])
    answer, keys = give_result(scene, tool, texts)
    scene.assistant(answer, "I answer with the result.")
    scene.expect = Expectation("contains", keys)


def call_both(scene: Scene, first: Tool, second: Tool, answered: bool) -> None:
    """Ask for two things at once: two calls in one message, then one answer."""
    v = scene.values
    if first is second and len(first.slots) == 1 and first.slots[0].type == "string":
        ask = v.pick(first.asks)
        said, one, texts = request(v, first, ask)
        _, two, more = request(v, first, ask)
        said = ask.format(
            f"{texts[0]} and {more[0]}"
            if v.chance(0.8)
            else f"{texts[0]} and in {more[0]}"
            if " in {0}" in ask
            else f"{texts[0]} and of {more[0]}"
        )
    else:
        said, one, texts = request(v, first)
        other, two, more = request(v, second)
        said = f"{said.rstrip('.?!')} and {other[0].lower()}{other[1:]}"
    scene.user(said)
    scene.assistant(None, f"{describe(one)} {describe(two)}", [one, two])
    scene.expect = Expectation("calls", [one, two])
    if answered:
        answer, keys = give_result(scene, first, texts)
        answer2, keys2 = give_result(scene, second, more)
        scene.assistant(join_answers(scene, answer, answer2), "I answer with the results.")
        scene.expect = Expectation("contains", keys + keys2)


def call_in_turn(scene: Scene, first: Tool, second: Tool, length: int) -> None:
    """Ask for one thing and then another: call, result, call, result, answer, cut at `length`."""
    v = scene.values
    said, one, texts = request(v, first)
    other, two, more = request(v, second)
    other = other[0].lower() + other[1:] if other[1:2].islower() else other
    said = said.rstrip(".?!")
    lowered = said[0].lower() + said[1:] if said[1:2].islower() else said
    scene.user(
        v.pick(
            (
                f"{said}, then {other}",
                f"First {lowered}, then {other}",
                f"First {lowered}. After that {other}",
                f"{said} and then {other}",
            )
        )
    )
    scene.assistant(None, describe(one), [one])
    scene.expect = Expectation("calls", [one])
    if length == 1:
        return
    answer, keys = give_result(scene, first, texts)
    scene.assistant(None, f"Next: {describe(two)}", [two])
    scene.expect = Expectation("calls", [two])
    if length == 2:
        return
    answer2, keys2 = give_result(scene, second, more)
    scene.assistant(join_answers(scene, answer, answer2), "Both are done. I answer.")
    scene.expect = Expectation("contains", keys + keys2)


def final_result_tool(values: Values) -> tuple[Tool, list[tuple[str, str]]]:
    """Return the output tool of a structured-output agent, and facts to fill it from."""

    facts = json_dialogues.draw_facts(values, values.rng.randint(1, 3))
    slots = tuple(Slot(f.key, f.type, "", f"The {f.key}") for f in facts)
    name = values.pick(
        phrases("""
        final_result | final_result | extract | submit | Person | respond | Answer |
        final_answer | Output | record_facts
    """)
    )
    tool = Tool(
        name,
        values.pick(
            (
                "The final response which ends this conversation",
                "Submit the final answer.",
                "Extract the facts.",
            )
        ),
        slots,
        (),
        "Done",
        "done",
    )
    return tool, [(f.sentence, f.value) for f in facts]


def fill_output(scene: Scene, tool: Tool, facts: list[tuple[str, Any]]) -> None:
    """State facts; the answer is a call of the output tool that holds them."""
    v = scene.values
    arguments = {slot.name: value for slot, (_, value) in zip(tool.slots, facts, strict=True)}
    text = " ".join(sentence for sentence, _ in facts)
    scene.user(v.pick(("", "", "Extract the facts: ", "Fill in the form: ")) + text)
    call = (tool.name, arguments)
    scene.assistant(None, describe(call), [call])
    scene.expect = Expectation("calls", [call])


def no_tool(scene: Scene) -> None:
    """Say something that no tool is for; the answer is as without tools."""
    v = scene.values
    before = len(scene.messages)
    v.rng.choice(
        (
            dialogues.greet,
            dialogues.identify,
            dialogues.tell_name,
            dialogues.ask_name,
            dialogues.small_talk,
            dialogues.small_talk,
            dialogues.thank,
            dialogues.part,
            dialogues.repeat,
            dialogues.repeat,
            dialogues.remember_fact,
            admit_with_tools,
            dialogues.tell_story,
        )
    )(scene)
    for message in scene.messages[before:]:
        if message["role"] == "assistant":
            message["reasoning_content"] += " No tool is needed."


def admit_with_tools(scene: Scene) -> None:
    """Admit not knowing something that the tools at hand cannot find out."""
    v = scene.values
    kind = v.listed(words.ENTITIES)
    scene.user(
        vary(
            v,
            v.pick(
                (
                    "What is the meaning of life?",
                    f"Who invented the {v.thing()}?",
                    f"Who wrote {v.entity()}?",
                    f"Why is the {v.thing()} so big?",
                    f"How does a {v.thing()} work?",
                    f"When was {v.name()} born?",
                    f"What do you know about {v.entity()}?",
                    f"What is the difference between {v.entity()} and {v.entity()}?",
                    f"Which {kind} is the oldest?",
                    f"Why do people like {v.thing()}?",
                    f"Describe the history of {v.city()}.",
                    f"What happened in {v.city()}?",
                    f"How do I cook {v.thing()}?",
                    f"Explain {v.entity()} to me.",
                )
            ),
        )
    )
    scene.assistant(dialogues.UNKNOWN, "I do not know this.")
    scene.expect = Expectation("contains", ["not know"])

"""The corpus: whole dialogues drawn by weight, rendered by the template, as weighted tokens."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import dialogues
import jinja2
import json_dialogues
import tool_dialogues
import words
from scene import Dialogue, Scene
from schemas import spare_schema, tool_schema
from tokenizer import Tokenizer
from toolbox import Tool, draw_tool, draw_tools, made_tool
from values import Values
from words import phrases

HERE = Path(__file__).parent
PLAIN_SYSTEM = phrases("""
    You are a helpful assistant. | You are a helpful assistant. | You are a helpful AI
    assistant. | You are a friendly assistant. | Be brief. | Answer briefly. | You are an AI
    assistant. | You are a helpful and concise assistant. | Answer in one sentence.
""")
TOOL_SYSTEM = phrases("""
    You are a helpful assistant. | You are a helpful assistant. | You are a helpful AI
    assistant. Solve tasks using your tools. | You are a helpful AI assistant. Solve tasks
    using your tools. Reply with TERMINATE when the task has been completed. | Use the tools
    to answer. | You are an agent. Use tools when they help. | You are a helpful assistant
    with access to tools. Call a tool when you need it. | Answer the question with the tools
    at hand. Do not make up facts. | You only respond with the result of the tools.
""")
PERSONA = phrases("""
    You are {}. | You are {}, a helpful assistant. | Your name is {}. | You are {}. |
    You are an assistant called {}. | You are {}. Be brief. | You are {}, a friendly robot.
""")
LONG = phrases("""
    You are careful and kind. | Keep your answers short. | Never make up facts. | If you do
    not know something, say so. | Use plain words. | The user may change the subject. |
    Today is a good day to help somebody. | Do not use lists. | Follow the rules of the
    house. | Think about what the user needs. | Answer in the language of the user. | Do not
    repeat yourself. | Respect the user's time. | Be polite at all times.
""")


def environment() -> jinja2.Environment:
    """Return a Jinja environment set up as Hugging Face sets it up."""
    env = jinja2.Environment(trim_blocks=True, lstrip_blocks=True)
    env.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
    return env


TEMPLATE = environment().from_string((HERE / "template.jinja").read_text(encoding="utf-8"))


def render(dialogue: Dialogue, prompt_only: bool = False) -> str:
    """Render a dialogue; `prompt_only` leaves out the last answer and asks for it."""
    messages = dialogue.messages[:-1] if prompt_only else dialogue.messages
    if not dialogue.thinking:
        messages = [{k: v for k, v in m.items() if k != "reasoning_content"} for m in messages]
    return TEMPLATE.render(
        messages=messages,
        tools=dialogue.tools or None,
        enable_thinking=dialogue.thinking,
        add_generation_prompt=prompt_only,
    )


def system_text(values: Values, scene: Scene, with_tools: bool) -> str | None:
    """Draw a system prompt: none, a usual one, a persona, or a long one."""
    v = values
    roll = v.rng.random()
    if roll < 0.12:
        scene.persona = v.name()
        persona = v.pick(PERSONA).format(scene.persona)
        return persona
    if roll < (0.4 if with_tools else 0.6):
        return None
    text = v.pick(TOOL_SYSTEM if with_tools else PLAIN_SYSTEM)
    if v.chance(0.25):
        text = duties(v)
    if with_tools and "TERMINATE" in text:
        scene.closing = " TERMINATE"
    if v.chance(0.1):
        extra = v.rng.sample(LONG, v.rng.randint(2, 8))
        text = " ".join([text, *extra])
    return text


def duties(values: Values) -> str:
    """Make up a system prompt about what the assistant is there for."""
    v = values
    kind, topic, city = v.listed(words.ENTITIES), v.listed(words.TOPICS), v.city()
    adjective = v.listed(words.ADJECTIVES)
    return " ".join(
        v.rng.sample(
            (
                f"You help people with every {kind}.",
                f"You are an agent for the {topic} of a {kind}.",
                f"You work in {city}.",
                f"Your answers are {adjective}.",
                f"You are a {kind} agent.",
                f"You answer questions about the {kind}.",
                f"You provide the {topic} of each {kind}.",
                f"The {kind} is {adjective}.",
                f"Never speak about {v.thing()}.",
                f"You are an assistant for {v.thing()}.",
                f"Our office is in {city}.",
            ),
            v.rng.choice((1, 1, 2, 3)),
        )
    )


def start(values: Values, with_tools: bool = False) -> Scene:
    """Open a dialogue, with or without a system prompt."""
    scene = Scene(values)
    system = system_text(values, scene, with_tools)
    if system:
        scene.messages.append({"role": "system", "content": system})
    return scene


def chat(values: Values) -> Dialogue:
    """One to five plain exchanges."""
    scene = start(values)
    for _ in range(values.rng.choice((1, 1, 1, 2, 3, 4))):
        dialogues.chat(scene)
    return Dialogue(scene.messages, expect=scene.expect)


def memory(values: Values) -> Dialogue:
    """A name, one to four exchanges of small talk, and the question for the name."""
    scene = start(values)
    dialogues.tell_name(scene)
    for _ in range(values.rng.randint(0, 4)):
        values.rng.choice(
            (
                dialogues.small_talk,
                dialogues.small_talk,
                dialogues.small_talk,
                dialogues.add,
                dialogues.repeat,
                dialogues.admit,
            )
        )(scene)
    dialogues.ask_name(scene)
    return Dialogue(scene.messages, expect=scene.expect)


def long_chat(values: Values) -> Dialogue:
    """A name, many exchanges, and the question for the name or something else."""
    scene = start(values)
    dialogues.tell_name(scene)
    for _ in range(values.rng.randint(5, 24)):
        values.rng.choice(
            (
                dialogues.small_talk,
                dialogues.small_talk,
                dialogues.add,
                dialogues.repeat,
                dialogues.admit,
                dialogues.count,
                dialogues.tell_story,
                json_dialogues.write_json,
            )
        )(scene)
    if values.chance(0.7):
        dialogues.ask_name(scene)
    else:
        dialogues.chat(scene)
    return Dialogue(scene.messages, expect=scene.expect)


def long_work(values: Values) -> Dialogue:
    """Up to eight tools and several requests."""
    scene, tools = start(values, True), draw_tools(values, values.rng.randint(2, 8))
    for _ in range(values.rng.randint(1, 6)):
        if values.chance(0.25):
            tool_dialogues.no_tool(scene)
        else:
            tool_dialogues.use_tool(scene, values.rng.choice(tools))
    return finish(values, scene, tools)


def identity(values: Values) -> Dialogue:
    """The question who the model is, often under a persona."""
    scene = start(values)
    dialogues.identify(scene)
    return Dialogue(scene.messages, expect=scene.expect)


def finish(values: Values, scene: Scene, tools: list[Tool]) -> Dialogue:
    """Close a dialogue with tools."""
    return Dialogue(
        scene.messages, [tool_schema(values, tool) for tool in tools], expect=scene.expect
    )


def toolkit(values: Values) -> list[Tool]:
    """Draw one to three tools, at times more."""
    count = values.rng.choice((1, 2, 2, 2, 3, 3)) if values.chance(0.97) else 5
    return draw_tools(values, count)


def tool_call(values: Values) -> Dialogue:
    """One to three requests that tools answer, the last ending with the call."""
    scene, tools = start(values, True), toolkit(values)
    if values.chance(0.1):
        tool_dialogues.no_tool(scene)
    for _ in range(values.rng.choice((0, 0, 0, 0, 1, 2))):
        tool_dialogues.use_tool(scene, values.rng.choice(tools))
    tool_dialogues.call_tool(scene, values.rng.choice(tools))
    return finish(values, scene, tools)


def tool_series(values: Values) -> Dialogue:
    """Two to six tools in short schemas and a request for each: a choice in every answer.

    Half of the dialogues have tools whose names say nothing. No result comes between, so that a
    dialogue holds as many choices as it can. They never think: of all the answers, the template
    would keep the thought of the last one only.
    """
    scene = Scene(values)
    draw = values.rng.choice((draw_tool, made_tool))
    tools = draw_tools(values, values.rng.choice((2, 3, 3, 4, 4, 5, 6)), draw)
    if values.chance(0.5):
        tools = [replace(tool, name=values.plain()) for tool in tools]
    for tool in values.rng.sample(tools, len(tools)):
        tool_dialogues.call_tool(scene, tool)
    return Dialogue(scene.messages, [spare_schema(tool) for tool in tools], expect=scene.expect)


def tool_answer(values: Values) -> Dialogue:
    """A request, its call, the result and the answer; more exchanges may come before and after."""
    scene, tools = start(values, True), toolkit(values)
    if values.chance(0.12):
        tool_dialogues.no_tool(scene)
    for _ in range(values.rng.choice((1, 1, 1, 2))):
        tool_dialogues.use_tool(scene, values.rng.choice(tools))
    if values.chance(0.12):
        tool_dialogues.no_tool(scene)
    return finish(values, scene, tools)


def tool_idle(values: Values) -> Dialogue:
    """Tools at hand, but nothing asks for them."""
    scene, tools = start(values, True), toolkit(values)
    for _ in range(values.rng.choice((1, 1, 1, 2))):
        tool_dialogues.no_tool(scene)
    return finish(values, scene, tools)


def tool_pair(values: Values) -> Dialogue:
    """Two things asked at once: two calls in one message."""
    scene, tools = start(values, True), toolkit(values)
    single = [tool for tool in tools if len(tool.slots) == 1 and tool.slots[0].type == "string"]
    if single and values.chance(0.75):
        first = second = values.rng.choice(single)
    else:
        first, second = values.rng.choice(tools), values.rng.choice(tools)
    tool_dialogues.call_both(scene, first, second, values.chance(0.5))
    return finish(values, scene, tools)


def tool_loop(values: Values) -> Dialogue:
    """First one thing, then another: calls in turn."""
    scene, tools = start(values, True), toolkit(values)
    first, second = values.rng.choice(tools), values.rng.choice(tools)
    tool_dialogues.call_in_turn(scene, first, second, 3 if values.chance(0.8) else 2)
    return finish(values, scene, tools)


def tool_output(values: Values) -> Dialogue:
    """A structured-output agent: the answer is a call of the output tool."""
    scene = start(values, True)
    tool, facts = tool_dialogues.final_result_tool(values)
    tools = [tool]
    if values.chance(0.3):
        extra = draw_tool(values)
        tools.insert(values.rng.randint(0, 1), extra)
    tool_dialogues.fill_output(scene, tool, facts)
    return finish(values, scene, tools)


def structured(values: Values) -> Dialogue:
    """A request for a JSON object, alone or after small talk."""
    scene = start(values) if values.chance(0.5) else Scene(values)
    if values.chance(0.08):
        dialogues.small_talk(scene)
    json_dialogues.write_json(scene)
    return Dialogue(scene.messages, expect=scene.expect)


def repetition(values: Values) -> Dialogue:
    """One word or number to give back."""
    scene = start(values) if values.chance(0.3) else Scene(values)
    dialogues.repeat(scene)
    return Dialogue(scene.messages, expect=scene.expect)


def persona(values: Values) -> Dialogue:
    """A named persona that says who it is, at times after other exchanges."""
    scene = Scene(values, persona=values.name())
    text = values.pick(PERSONA).format(scene.persona)
    scene.messages.append({"role": "system", "content": text})
    if values.chance(0.2):
        dialogues.small_talk(scene)
    dialogues.identify(scene)
    return Dialogue(scene.messages, expect=scene.expect)


def basics(values: Values) -> Dialogue:
    """One to six greetings, sums or counts."""
    scene = start(values)
    for _ in range(values.rng.choice((1, 1, 2, 4, 6))):
        values.rng.choice((dialogues.greet, *[dialogues.add] * 4, dialogues.count))(scene)
    return Dialogue(scene.messages, expect=scene.expect)


MIX: dict[Callable[[Values], Dialogue], float] = {
    chat: 3.5,
    memory: 0.9,
    identity: 0.3,
    persona: 0.3,
    basics: 1.2,
    repetition: 1.6,
    structured: 7.0,
    tool_series: 3.5,
    tool_call: 6.0,
    tool_answer: 1.6,
    tool_idle: 1.7,
    tool_pair: 1.0,
    tool_loop: 0.9,
    tool_output: 0.5,
    long_chat: 0.03,
    long_work: 0.05,
}


def draw_dialogue(values: Values) -> Dialogue:
    """Draw one dialogue of the mix; nearly half of them think."""
    maker = values.rng.choices(list(MIX), list(MIX.values()))[0]
    dialogue = maker(values)
    dialogue.thinking = maker is not tool_series and values.chance(0.45)
    return dialogue


def encode(tokenizer: Tokenizer, dialogue: Dialogue) -> tuple[list[int], list[float]]:
    """Return a dialogue's tokens and, for each, the weight of predicting it.

    Answers weigh 1, all else nothing. With thinking on, answers before the last user message
    weigh nothing either, since the template drops their thoughts.
    """
    tokens: list[int] = []
    weights: list[float] = []
    head = "<|im_start|>assistant\n"
    blocks = render(dialogue).split(head)
    last_user = max(i for i, m in enumerate(dialogue.messages) if m["role"] == "user")
    answers = [i for i, m in enumerate(dialogue.messages) if m["role"] == "assistant"]
    for index, block in enumerate(blocks):
        if index:
            answer, _, rest = block.partition("<|im_end|>")
            ids = tokenizer.encode(answer + "<|im_end|>")
            live = not dialogue.thinking or answers[index - 1] > last_user
            tokens += ids
            weights += [1.0 if live else 0.0] * len(ids)
        else:
            rest = block
        ids = tokenizer.encode(rest + (head if index + 1 < len(blocks) else ""))
        tokens += ids
        weights += [0.0] * len(ids)
    return tokens, weights


def sample_texts(count: int, seed: int) -> list[str]:
    """Return rendered dialogues to learn the vocabulary from."""
    values = Values(random.Random(seed))
    return [render(draw_dialogue(values)) for _ in range(count)]


def describe(dialogue: Dialogue) -> dict[str, Any]:
    """Return a dialogue as plain data, for reading by eye."""
    return {
        "thinking": dialogue.thinking,
        "tools": dialogue.tools,
        "messages": dialogue.messages,
        "expect": vars(dialogue.expect),
    }

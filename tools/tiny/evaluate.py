"""Measure the bundled model through llama.cpp on values that training never drew."""

from __future__ import annotations

import argparse
import json
import random
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import corpus
import dialogues
import json_dialogues
import llama_cpp
import tool_dialogues
from scene import Dialogue, Expectation, Scene
from toolbox import distinct, draw_tools, known_tool, made_tool
from values import Values

CASES = 200
SEED = 20_000
FLOOR = 95.0
LONGEST = 400
DEFAULT = Path(__file__).parents[2] / "llmd" / "tiny" / "tiny.gguf"
CALL = re.compile(r"<tool_call>\n(.*?)\n</tool_call>", re.DOTALL)
THOUGHT = re.compile(r"<think>\n.+?\n</think>\n\n(.+)", re.DOTALL)

Maker = Callable[[Values], Dialogue]


class Server:
    """Answers rendered prompts greedily."""

    def __init__(self, path: Path, threads: int) -> None:
        self.llama = llama_cpp.Llama(str(path), n_ctx=2048, n_threads=threads, verbose=False)
        source = self.llama.metadata["tokenizer.chat_template"]
        self.template = corpus.environment().from_string(source)
        self.end = self.llama.token_eos()

    def prompt(self, dialogue: Dialogue) -> str:
        """Render everything but the last answer with the template in the model file."""
        return self.template.render(
            messages=dialogue.messages[:-1],
            tools=dialogue.tools or None,
            enable_thinking=dialogue.thinking,
            add_generation_prompt=True,
        )

    def answer(self, dialogue: Dialogue) -> str:
        """Return what the model says next."""
        prompt = self.llama.tokenize(self.prompt(dialogue).encode(), add_bos=False, special=True)
        out: list[int] = []
        for token in self.llama.generate(prompt, temp=0.0):
            if token == self.end or len(out) == LONGEST:
                break
            out.append(token)
        return self.llama.detokenize(out, special=True).decode("utf-8", errors="replace")


def parse_calls(text: str) -> list[tuple[str, object]] | None:
    """Return the calls of an answer that is nothing but calls, else None."""
    if CALL.sub("", text).strip():
        return None
    try:
        found = [json.loads(body) for body in CALL.findall(text)]
        return [(call["name"], call["arguments"]) for call in found]
    except (ValueError, KeyError, TypeError):
        return None


def parse_json(text: str) -> object:
    """Return the JSON value that is the whole text, or None."""
    try:
        return json.loads(text)
    except ValueError:
        return None


def fits(expect: Expectation, text: str) -> bool:
    """Tell whether an answer without its thought satisfies the expectation."""
    if expect.kind == "calls":
        return parse_calls(text) == [tuple(call) for call in expect.value]
    if "<tool_call>" in text:
        return False
    if expect.kind == "json":
        return parse_json(text) == expect.value
    if expect.kind == "exact":
        return text.strip() == expect.value
    return all(part in text for part in expect.value)


def passes(dialogue: Dialogue, text: str) -> bool:
    """Tell whether an answer is right and thinks exactly when thinking is on."""
    if dialogue.thinking:
        match = THOUGHT.fullmatch(text)
        if match is None:
            return False
        text = match[1]
    return "think>" not in text and fits(dialogue.expect, text)


def plain(exchange: Callable[[Scene], None]) -> Maker:
    """Return a maker of dialogues that end with the exchange."""

    def make(values: Values) -> Dialogue:
        scene = Scene(values)
        if values.chance(0.4):
            text = values.pick(corpus.PLAIN_SYSTEM)
            scene.messages.append({"role": "system", "content": text})
        exchange(scene)
        return Dialogue(scene.messages, expect=scene.expect)

    return make


def persona(values: Values) -> Dialogue:
    """A named persona that says who it is."""
    scene = Scene(values, persona=values.name())
    scene.messages.append({"role": "system", "content": f"You are {scene.persona}."})
    dialogues.identify(scene)
    return Dialogue(scene.messages, expect=scene.expect)


def memory(values: Values) -> Dialogue:
    """A name asked for one to four turns later."""
    scene = Scene(values)
    dialogues.tell_name(scene)
    for _ in range(values.rng.randint(0, 3)):
        dialogues.small_talk(scene)
    dialogues.ask_name(scene)
    return Dialogue(scene.messages, expect=scene.expect)


def known_call(values: Values) -> Dialogue:
    """Weather, calculator or search, with up to two other tools."""
    scene = corpus.start(values, True)
    tool = known_tool(values, values.rng.choice((0, 1, 4)))
    others = draw_tools(values, values.rng.randint(0, 2))
    tools = [tool, *(other for other in others if distinct(other, [tool]))]
    values.rng.shuffle(tools)
    tool_dialogues.call_tool(scene, tool)
    return corpus.finish(values, scene, tools)


def described_call(values: Values) -> Dialogue:
    """A tool with a name that says nothing, among up to three: only descriptions tell them apart.

    Names and values never occurred in training; the words of the descriptions did.
    """
    scene = corpus.start(values, True)
    tools = [
        replace(tool, name=values.plain())
        for tool in draw_tools(Values(values.rng), values.rng.randint(1, 3), made_tool)
    ]
    tool_dialogues.call_tool(scene, values.rng.choice(tools))
    return corpus.finish(values, scene, tools)


def unseen_call(values: Values) -> Dialogue:
    """A tool whose topic, name or argument never occurred in training, among up to three."""
    scene = corpus.start(values, True)
    tools = draw_tools(values, values.rng.randint(1, 3), made_tool)
    tool_dialogues.call_tool(scene, values.rng.choice(tools))
    return corpus.finish(values, scene, tools)


def answered(values: Values) -> Dialogue:
    """A tool's result to answer from."""
    scene, tools = corpus.start(values, True), corpus.toolkit(values)
    tool_dialogues.use_tool(scene, values.rng.choice(tools))
    return corpus.finish(values, scene, tools)


def idle(values: Values) -> Dialogue:
    """Tools that nothing asks for."""
    scene, tools = corpus.start(values, True), corpus.toolkit(values)
    tool_dialogues.no_tool(scene)
    return corpus.finish(values, scene, tools)


def parallel(values: Values) -> Dialogue:
    """Two cities asked at once: two calls."""
    scene = corpus.start(values, True)
    tool = known_tool(values, 0)
    tool_dialogues.call_both(scene, tool, tool, False)
    return corpus.finish(values, scene, [tool])


def thinking(makers: tuple[Maker, ...], on: bool) -> Maker:
    """Return a maker that draws one of the makers and switches thinking."""

    def make(values: Values) -> Dialogue:
        dialogue = values.rng.choice(makers)(values)
        dialogue.thinking = on
        return dialogue

    return make


BARE = (plain(dialogues.repeat), plain(json_dialogues.write_json), memory, plain(dialogues.admit))
EQUIPPED = (known_call, unseen_call, answered, idle)
CATEGORIES: dict[str, Maker] = {
    "greet": plain(dialogues.greet),
    "say what it is": plain(dialogues.identify),
    "remember a name": memory,
    "repeat": plain(dialogues.repeat),
    "call known tools": known_call,
    "call unseen tools": unseen_call,
    "answer from a result": answered,
    "leave tools alone": idle,
    "think, no tools": thinking(BARE, True),
    "think, with tools": thinking(EQUIPPED, True),
    "not think, no tools": thinking(BARE, False),
    "not think, with tools": thinking(EQUIPPED, False),
    "write JSON": plain(json_dialogues.write_json),
    "admit not knowing": plain(dialogues.admit),
    "persona": persona,
    "one-digit sums": plain(dialogues.add),
    "count": plain(dialogues.count),
    "story": plain(dialogues.tell_story),
    "two calls at once": parallel,
    "calls in turn": corpus.tool_loop,
    "output tool": corpus.tool_output,
    "remember a fact": plain(dialogues.remember_fact),
    "call by description": described_call,
}


def measure(server: Server, number: int, maker: Maker, cases: int, show: int) -> int:
    """Return how many cases of a category pass; print up to `show` failures."""
    values = Values(random.Random(SEED + number), evaluation=True)
    right = 0
    for _ in range(cases):
        dialogue = maker(values)
        text = server.answer(dialogue)
        if passes(dialogue, text):
            right += 1
        elif show:
            show -= 1
            print(f"{server.prompt(dialogue)}{text}")
            print(f"--- wants {dialogue.expect.value!r}\n--- says {text!r}")
    return right


def main() -> None:
    """Print one line per category and fail when one is below the floor."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=DEFAULT)
    parser.add_argument("--show", type=int, default=0, help="failures to print per category")
    parser.add_argument("--cases", type=int, default=CASES, help="per category")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", help="a part of the names of the categories to run")
    args = parser.parse_args()
    server = Server(args.model, args.threads)
    low = False
    for number, (name, maker) in enumerate(CATEGORIES.items()):
        if args.only and args.only not in name:
            continue
        right = measure(server, number, maker, args.cases, args.show)
        share = 100.0 * right / args.cases
        low = low or share < FLOOR
        print(f"{name:24}{right:3}/{args.cases} {share:5.1f} %", flush=True)
    sys.exit(1 if low else 0)


if __name__ == "__main__":
    main()

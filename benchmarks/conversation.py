"""What an agent's client sends, turn by turn: a history that only grows.

A random-weight model calls no tool and closes no thought. So all that it generates counts as a
thought, which the client drops, and the call that follows it is scripted; thus every server gets
the same messages.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Any

from words import WORDS

Message = dict[str, Any]

TOOLS: tuple[dict[str, Any], ...] = tuple(
    {
        "type": "function",
        "function": {
            "name": name,
            "description": description,
            "parameters": {
                "type": "object",
                "properties": {argument: {"type": "string", "description": meaning}},
                "required": [argument],
            },
        },
    }
    for name, description, argument, meaning in (
        ("read_file", "Read a file and give back its text.", "path", "Where the file lies."),
        ("search", "Find the lines that hold a word.", "word", "What to look for."),
        ("run", "Run a command and give back what it printed.", "command", "What to run."),
    )
)


@dataclass(frozen=True, slots=True)
class Sizes:
    """In words, each a token or little more."""

    num_turns: int = 10
    system: int = 300
    question: int = 60
    call: int = 20
    result: int = 300


@dataclass(frozen=True, slots=True)
class Turn:
    """One request: who sends it, which of theirs it is (from 0), and what is in it."""

    actor: str
    number: int
    messages: tuple[Message, ...]
    tools: tuple[Message, ...] = ()


@dataclass(slots=True)
class Agent:
    """An agent's side of its conversation; the same seed says the same."""

    name: str
    seed: int
    sizes: Sizes
    messages: list[Message] = field(init=False)

    def __post_init__(self) -> None:
        self.messages = [
            {"role": "system", "content": self._words("system", self.sizes.system)},
            {"role": "user", "content": self._words("question", self.sizes.question)},
        ]

    def take_result(self, number: int) -> None:
        """Append the call of turn `number`, without the thought before it, and what it gave."""
        tool = TOOLS[number % len(TOOLS)]["function"]
        argument = next(iter(tool["parameters"]["properties"]))
        call_id = f"call{number:05}"
        arguments = {argument: self._words(f"call {number}", self.sizes.call)}
        call = {"name": tool["name"], "arguments": json.dumps(arguments)}
        self.messages += [
            {
                "role": "assistant",
                "content": "",
                "tool_calls": [{"id": call_id, "type": "function", "function": call}],
            },
            {
                "role": "tool",
                "tool_call_id": call_id,
                "name": tool["name"],
                "content": self._words(f"result {number}", self.sizes.result),
            },
        ]

    def _words(self, what: str, num_words: int) -> str:
        return random_words(f"{self.name} {self.seed} {what}", num_words)


def random_words(seed: str, num_words: int) -> str:
    return " ".join(Random(seed).choices(WORDS, k=num_words))


def agent_turns(sizes: Sizes, seed: int, *, num_agents: int = 2) -> Iterator[Turn]:
    """Agents in alternation, and after each round of them somebody who wants a title for one."""
    agents = [Agent(f"agent {number + 1}", seed, sizes) for number in range(num_agents)]
    for number in range(sizes.num_turns):
        for agent in agents:
            if number:
                agent.take_result(number - 1)
            # The functions' definitions stand before all else, in the same words for each agent.
            yield Turn(agent.name, number, tuple(agent.messages), TOOLS)
        yield _title_turn(agents[number % num_agents], number)


def _title_turn(agent: Agent, number: int) -> Turn:
    """A short request of its own kind: how a conversation began, and where it has got to."""
    opening, latest = agent.messages[1]["content"], agent.messages[-1]["content"]
    text = f"It began so: {opening}\nIt goes on so: {' '.join(latest.split()[:40])}"
    instruction = "Write a title of at most five words for the conversation that you are shown."
    messages = ({"role": "system", "content": instruction}, {"role": "user", "content": text})
    return Turn("title-maker", number, messages)


def chat(seed: int, num_words: int) -> list[Message]:
    """A plain conversation of about `num_words` words that ends with a question."""
    part = max(1, num_words // 8)
    messages: list[Message] = [{"role": "system", "content": random_words(f"{seed} system", part)}]
    for number in range(7):
        role = "assistant" if number % 2 else "user"
        messages.append({"role": role, "content": random_words(f"{seed} {number}", part)})
    return messages


def continued(messages: list[Message], seed: int, number: int) -> list[Message]:
    """The same after an answer of 30 words and another question of 30."""
    return [
        *messages,
        {"role": "assistant", "content": random_words(f"{seed} answer {number}", 30)},
        {"role": "user", "content": random_words(f"{seed} question {number}", 30)},
    ]

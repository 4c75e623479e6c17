"""What the bundled model does, through the real API, on words that its training never saw.

tools/tiny/evaluate.py measures it on 200 cases of each kind; these are a few of each, so that a
change of engine, template or tokenizer that spoils the model is seen.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from live import LiveServer

from llmd.config.model_reference import resolve

pytestmark = pytest.mark.gguf

NAMES = ["Quillon", "Maribeth", "Tovarek", "Jessamy", "Ondrej", "Philippa", "Zubin", "Carlotta"]
CITIES = ["Wolverton", "Brasov", "Uppsala", "Kirkwall", "Zagora", "Tampico", "Ngaru", "Delft"]
ALLOWED_MISSES = 1

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the current weather of a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "description": "The city"}},
            "required": ["city"],
        },
    },
}

Answer = Callable[..., dict[str, Any]]
Ask = Callable[..., str]


@pytest.fixture(scope="module")
def answer(bundled_server: LiveServer) -> Iterator[Answer]:
    with httpx.Client(base_url=bundled_server.url, timeout=60, trust_env=False) as client:

        def send(*texts: str, **fields: Any) -> dict[str, Any]:
            """The message in answer to the last of `texts`; the first is the user's."""
            roles = ("user", "assistant")
            messages = [{"role": roles[i % 2], "content": t} for i, t in enumerate(texts)]
            body = {"messages": messages, "temperature": 0, "max_tokens": 300, **fields}
            answer = client.post("/v1/chat/completions", json=body)
            assert answer.status_code == 200, answer.text
            choice = answer.json()["choices"][0]
            message: dict[str, Any] = choice["message"]
            calls = message.get("tool_calls")
            assert choice["finish_reason"] == ("tool_calls" if calls else "stop")
            return message

        yield send


@pytest.fixture(scope="module")
def ask(answer: Answer) -> Ask:
    """The text alone."""
    return lambda *texts, **fields: str(answer(*texts, **fields)["content"])


def count_misses(cases: list[str], is_right: Callable[[str], bool]) -> list[str]:
    return [case for case in cases if not is_right(case)]


def test_it_greets(ask: Ask) -> None:
    assert re.search(r"hello|hi|hey|welcome|good", ask("Hello!"), re.IGNORECASE)


def test_it_says_what_it_is(ask: Ask) -> None:
    assert "tiny" in ask("Who are you?").lower()


def test_it_remembers_a_name_over_small_talk(ask: Ask) -> None:
    def remembers(name: str) -> bool:
        first = ask(f"Hi, my name is {name}.")
        second = ask(f"Hi, my name is {name}.", first, "How are you?")
        talk = (f"Hi, my name is {name}.", first, "How are you?", second)
        return name in ask(*talk, "What is my name?")

    assert len(count_misses(NAMES, remembers)) <= ALLOWED_MISSES


def test_it_repeats_a_word(ask: Ask) -> None:
    misses = count_misses(NAMES, lambda word: word in ask(f"Repeat the word {word}."))
    assert len(misses) <= ALLOWED_MISSES


def test_it_calls_the_tool_with_the_city_of_the_question(answer: Answer) -> None:
    def calls(city: str) -> bool:
        message = answer(f"What is the weather in {city}?", tools=[WEATHER])
        functions = [call["function"] for call in message.get("tool_calls", [])]
        return [json.loads(each["arguments"]) for each in functions] == [{"city": city}]

    assert len(count_misses(CITIES, calls)) <= ALLOWED_MISSES


def test_it_answers_from_the_tool_s_result(answer: Answer) -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "get_weather"}}

    def answers(city: str) -> bool:
        call["function"] = {"name": "get_weather", "arguments": json.dumps({"city": city})}
        messages = [
            {"role": "user", "content": f"What is the weather in {city}?"},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "call_1", "content": "17 degrees and rainy"},
        ]
        message = answer(messages=messages, tools=[WEATHER])
        return "tool_calls" not in message and "17" in message["content"]

    assert len(count_misses(CITIES, answers)) <= ALLOWED_MISSES


def test_it_leaves_the_tools_alone_when_nothing_asks_for_them(answer: Answer) -> None:
    assert "tool_calls" not in answer("Thank you!", tools=[WEATHER])


def test_it_thinks_only_when_thinking_is_on(answer: Answer) -> None:
    def thinks(word: str, enabled: bool) -> bool:
        kwargs = {"enable_thinking": enabled}
        message = answer(f"Repeat the word {word}.", chat_template_kwargs=kwargs)
        assert "think>" not in message["content"]
        return bool(message.get("reasoning_content"))

    assert len(count_misses(NAMES, lambda word: thinks(word, True))) <= ALLOWED_MISSES
    assert not any(thinks(word, False) for word in NAMES)


def test_it_writes_the_json_object_asked_for(ask: Ask) -> None:
    def writes(name: str) -> bool:
        text = ask(f"Write a JSON object with the keys name and age for {name}, who is 34.")
        try:
            return bool(json.loads(text) == {"name": name, "age": 34})
        except ValueError:
            return False

    assert len(count_misses(NAMES, writes)) <= ALLOWED_MISSES


def test_it_admits_what_it_does_not_know(ask: Ask) -> None:
    assert re.search(r"(do not|don't|not) know|not sure|sorry", ask("Who built the first bridge?"))


def test_the_file_is_at_most_eight_megabytes() -> None:
    path: Path = resolve("tiny")
    assert path.stat().st_size <= 8_000_000

"""POST /completion, as llama-server's clients use it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from fake_server import fake_serving
from live import LiveServer

pytestmark = pytest.mark.gguf

PLAIN: dict[str, Any] = {"prompt": "the water", "n_predict": 6, "temperature": 0}


@pytest.fixture(scope="module")
def client(llama_server: LiveServer) -> Iterator[httpx.Client]:
    with llama_server.client() as client:
        yield client


def complete(client: httpx.Client, **fields: Any) -> Any:
    response = client.post("/completion", json={**PLAIN, **fields})
    assert response.status_code == 200, response.text
    return response.json()


def streamed(client: httpx.Client, **fields: Any) -> list[Any]:
    body = {**PLAIN, "stream": True, **fields}
    with client.stream("POST", "/completion", json=body) as response:
        return [json.loads(line[6:]) for line in response.iter_lines() if line.strip()]


def token_ids(server: LiveServer, text: str) -> list[int]:
    return server.instance.model.tokenizer.encode(text, add_special=True, parse_special=True)


def test_its_text_is_that_of_v1_completions(client: httpx.Client) -> None:
    answer = complete(client)
    body = {"prompt": "the water", "max_tokens": 6, "temperature": 0}
    other = client.post("/v1/completions", json=body).json()
    assert answer["content"] == other["choices"][0]["text"]
    assert answer["prompt"].strip() == "<s> the water"
    assert (answer["stop"], answer["stop_type"], answer["has_new_line"]) == (True, "limit", False)


def test_one_prompt_may_be_ids_or_a_mix(client: httpx.Client, llama_server: LiveServer) -> None:
    ids = token_ids(llama_server, "the water")
    content = complete(client)["content"]
    assert complete(client, prompt=ids)["content"] == content
    assert complete(client, prompt=["the", ids[-1]])["content"] == content
    assert complete(client, prompt=[*ids[:-1], " water"])["content"] == content
    assert complete(client, prompt={"prompt_string": "the water"})["content"] == content


def test_several_prompts_are_answered_by_a_list(
    client: httpx.Client, llama_server: LiveServer
) -> None:
    ids = token_ids(llama_server, "a house")
    prompts = ["the water", ids, ["the", ids[-1]]]
    answers = complete(client, prompt=prompts)
    assert [answer["index"] for answer in answers] == [0, 1, 2]
    assert [answer["content"] for answer in answers] == [
        complete(client, prompt=prompt)["content"] for prompt in prompts
    ]
    assert complete(client, prompt=["the water"])["content"] == answers[0]["content"]


def test_a_written_bos_is_not_doubled(client: httpx.Client) -> None:
    written = complete(client, prompt="<s>the water")
    assert written["tokens_evaluated"] == complete(client)["tokens_evaluated"]


def test_without_a_limit_it_goes_on_to_the_end_of_the_context(client: httpx.Client) -> None:
    answer = complete(client, prompt=[5] * 500, n_predict=-1)
    assert (answer["truncated"], answer["stop_type"]) == (True, "limit")
    assert answer["tokens_predicted"] == 12


def test_no_tokens_are_asked_for(client: httpx.Client) -> None:
    answer = complete(client, n_predict=0)
    assert (answer["content"], answer["tokens_predicted"]) == ("", 0)


def test_a_stop_string_is_told_and_left_out(client: httpx.Client) -> None:
    text = complete(client)["content"]
    stop = text[3:6]
    answer = complete(client, stop=["never said", stop])
    assert answer["content"] == text[: text.index(stop)]
    assert (answer["stop_type"], answer["stopping_word"]) == ("word", stop)


def test_tokens_are_those_of_the_text(client: httpx.Client, llama_server: LiveServer) -> None:
    answer = complete(client, return_tokens=True)
    assert len(answer["tokens"]) == 6
    assert llama_server.instance.model.tokenizer.decode(answer["tokens"]) == answer["content"]
    events = streamed(client, return_tokens=True)
    assert [token for event in events for token in event["tokens"]] == answer["tokens"]


def test_probabilities_are_those_of_each_token(client: httpx.Client) -> None:
    answer = complete(client, n_probs=3)
    entries = answer["completion_probabilities"]
    assert "".join(entry["token"] for entry in entries) == answer["content"]
    for entry in entries:
        assert bytes(entry["bytes"]).decode() == entry["token"]
        assert [entry["id"], entry["logprob"]] == [
            entry["top_logprobs"][0][key] for key in ("id", "logprob")
        ]
        assert len(entry["top_logprobs"]) == 3
    events = streamed(client, n_probs=3)
    found = [e for event in events for e in event.get("completion_probabilities", [])]
    assert [each["id"] for each in found] == [each["id"] for each in entries]


def test_timings_come_with_each_event_where_asked_for(client: httpx.Client) -> None:
    assert [event for event in streamed(client)[:-1] if "timings" in event] == []
    events = streamed(client, timings_per_token=True)
    assert all("timings" in event for event in events)


def test_progress_is_told_where_asked_for(client: httpx.Client) -> None:
    events = streamed(client, prompt="a long house " * 20, return_progress=True)
    progress = [event["prompt_progress"] for event in events if "prompt_progress" in event]
    assert progress[0]["processed"] == progress[0]["cache"]
    assert progress[-1]["processed"] == progress[-1]["total"]


def test_a_grammar_and_a_schema_hold(client: httpx.Client) -> None:
    assert complete(client, grammar='root ::= "yes" | "no"')["content"] in {"yes", "no"}
    schema = {"type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a"],
              "additionalProperties": False}  # fmt: skip
    content = complete(client, json_schema=schema, n_predict=30)["content"]
    assert json.loads(content)["a"] in (True, False)


def test_samplers_that_are_not_listed_are_off(client: httpx.Client) -> None:
    settings = complete(client, samplers=["top_k", "infill"], top_k=1)["generation_settings"]
    assert (settings["temperature"], settings["top_p"], settings["min_p"]) == (1.0, 1.0, 0.0)
    assert "infill" in settings["samplers"]
    greedy = complete(client)["content"]
    assert complete(client, samplers=["top_k"], top_k=1, temperature=5)["content"] == greedy
    assert complete(client, samplers="kt", top_k=1, temperature=5)["content"] == greedy


def test_settings_tell_what_holds(client: httpx.Client) -> None:
    answer = complete(client, seed=7, temperature=0.5, logit_bias=[[5, False]], stop=["x"])
    settings = answer["generation_settings"]
    assert (settings["seed"], settings["temperature"], settings["stop"]) == (7, 0.5, ["x"])
    assert {"token": 5, "bias": None} in settings["logit_bias"]
    assert complete(client)["generation_settings"]["seed"] >= 0


def test_several_choices_are_answered_by_a_list(client: httpx.Client) -> None:
    answers = complete(client, n=2, temperature=1, seed=3)
    assert [answer["index"] for answer in answers] == [0, 1]
    assert answers[0]["content"] != answers[1]["content"]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": None}, "prompt"),
        ({"prompt": 5}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": [[]]}, "prompt"),
        ({"prompt": ["a", []]}, "prompt.1"),
        ({"prompt": [True]}, "prompt.0"),
        ({"prompt": [[5, None]]}, "prompt.0.1"),
        ({"prompt": [5, 999999]}, "prompt"),
        ({"prompt": ["a", [999999]]}, "prompt.1"),
        ({"prompt": ["a", "x" * 3000]}, "prompt.1"),
        ({"prompt": {}}, "prompt.prompt_string"),
        ({"prompt": {"prompt_string": "a", "multimodal_data": ["x"]}}, "prompt.multimodal_data"),
        ({"n_probs": -1}, "n_probs"),
        ({"n_predict": "many"}, "n_predict"),
        ({"response_fields": "content"}, "response_fields"),
        ({"samplers": 5}, "samplers"),
        ({"session": 5}, "session"),
        ({"grammar": "root ::= ["}, "grammar"),
    ],
)
def test_a_fault_is_a_400_that_names_the_field(
    client: httpx.Client, fields: dict[str, Any], param: str
) -> None:
    response = client.post("/completion", json={**PLAIN, **fields})
    assert response.status_code == 400, response.text
    assert response.json()["error"]["param"] == param


def test_a_fault_is_a_status_also_where_a_stream_was_asked_for(client: httpx.Client) -> None:
    response = client.post("/completion", json={"prompt": [5] * 600, "stream": True})
    assert response.status_code == 400
    assert response.json()["error"]["n_ctx"] == 512


def test_a_failure_after_the_first_byte_is_the_last_event() -> None:
    with fake_serving() as server, server.live.client() as client:
        body = {"prompt": "a", "n_predict": 1000, "stream": True}
        with client.stream("POST", "/completion", json=body) as response:
            lines = response.iter_lines()
            assert json.loads(next(lines)[6:])["stop"] is False
            server.runner.failure = RuntimeError("broken")
            events = [json.loads(line[6:]) for line in lines if line.strip()]
    assert events[-1]["error"]["code"] == "engine_failed"

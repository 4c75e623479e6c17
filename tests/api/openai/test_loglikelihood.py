"""An evaluation harness's loglikelihood requests, against what llama.cpp itself computes.

The requests, and what is read from the answers, are those of EleutherAI's lm-evaluation-harness
(lm_eval/models/openai_completions.py, `local-completions`): the continuation's logprobs are those
from its first token up to the one before the last, which `max_tokens` 1 has drawn, and it is greedy
where each is the largest of its position.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from conftest import EXACT_SETTINGS
from contexts import context_of
from live import LiveServer, serving
from numpy.typing import NDArray
from zoo.llama import write_llama

from llmd.llama.batch import LlamaBatch
from llmd.llama.context import DecodeStatus
from llmd.llama.model import LlamaModel
from llmd.registry.instance import ModelInstance

pytestmark = pytest.mark.gguf

Array = NDArray[np.float64]

TEXTS = [("the water is", " hot"), ("a house", " under the water"), ("number", " 42% of it all")]
TOLERANCE = 1e-3
"""Other shapes of batches sum in other orders."""


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that likes to end its text: the token that ends it is an answer's only one then."""
    return write_llama(tmp_path_factory.mktemp("likely") / "ends.gguf", end_scale=4.0)


@pytest.fixture(scope="module")
def server(path: Path) -> Iterator[LiveServer]:
    with serving(lambda: ModelInstance("ends", path, EXACT_SETTINGS)) as server:
        yield server


@pytest.fixture(scope="module")
def client(server: LiveServer) -> Iterator[httpx.Client]:
    with server.client() as client:
        yield client


@pytest.fixture(scope="module")
def model(path: Path) -> Iterator[LlamaModel]:
    model = LlamaModel(path, num_gpu_layers=0, on_progress=lambda _share: True)
    yield model
    model.free()


def log_softmax(model: LlamaModel, token_ids: list[int]) -> Array:
    """The logprobs of what follows each of the tokens: (tokens, vocabulary)."""
    with context_of(model, max_rows=len(token_ids)) as context:
        batch = LlamaBatch(256)
        batch.add(0, 0, token_ids, len(token_ids))
        assert context.decode(batch, len(token_ids)) is DecodeStatus.OK
        rows = np.array([context.row(i) for i in range(len(token_ids))], np.float64)
    rows -= rows.max(axis=1, keepdims=True)
    found: Array = rows - np.log(np.exp(rows).sum(axis=1, keepdims=True))
    return found


def expected(model: LlamaModel, context: list[int], continuation: list[int]) -> tuple[float, bool]:
    rows = log_softmax(model, context + continuation)[len(context) - 1 : -1]
    total = sum(row[token] for row, token in zip(rows, continuation, strict=True))
    greedy = all(row.argmax() == token for row, token in zip(rows, continuation, strict=True))
    return float(total), greedy


def read(answer: Any, context_lengths: list[int]) -> list[tuple[float, bool]]:
    """What the harness makes of an answer, written anew."""
    found = []
    choices = sorted(answer["choices"], key=lambda choice: int(choice["index"]))
    for choice, length in zip(choices, context_lengths, strict=True):
        logprobs = choice["logprobs"]["token_logprobs"][length:-1]
        top = choice["logprobs"]["top_logprobs"][length:-1]
        is_greedy = all(
            chosen == max(each.values()) for chosen, each in zip(logprobs, top, strict=True)
        )
        found.append((sum(logprobs), is_greedy))
    return found


def ask(client: httpx.Client, prompt: Any, **fields: Any) -> Any:
    body = {"model": "ends", "prompt": prompt, "temperature": 0, "max_tokens": 1, "logprobs": 1,
            "seed": 1234, "echo": True, **fields}  # fmt: skip
    response = client.post("/v1/completions", json=body)
    assert response.status_code == 200, response.text
    return response.json()


def encoded(server: LiveServer, text: str, *, bos: bool) -> list[int]:
    return server.instance.model.tokenizer.encode(text, add_special=bos, parse_special=False)


def continued(model: LlamaModel, token_ids: list[int], count: int) -> list[int]:
    """What is likeliest, token by token."""
    found: list[int] = []
    for _ in range(count):
        found.append(int(log_softmax(model, token_ids + found)[-1].argmax()))
    return found


@pytest.mark.parametrize("bos", [True, False])
def test_token_ids_are_scored_as_llama_cpp_scores_them(
    client: httpx.Client, server: LiveServer, model: LlamaModel, bos: bool
) -> None:
    pairs = [
        (encoded(server, context, bos=bos), encoded(server, rest, bos=False))
        for context, rest in TEXTS
    ]
    answer = ask(client, [context + rest for context, rest in pairs])
    found = read(answer, [len(context) for context, _ in pairs])
    for (total, is_greedy), (context, rest) in zip(found, pairs, strict=True):
        exact, greedy = expected(model, context, rest)
        assert total == pytest.approx(exact, abs=TOLERANCE * len(rest))
        assert is_greedy is greedy


def test_what_the_model_would_say_is_greedy(
    client: httpx.Client, server: LiveServer, model: LlamaModel
) -> None:
    context = encoded(server, "the water", bos=True)
    rest = continued(model, context, 3)
    other = [*rest[:2], rest[2] + 1]
    answer = ask(client, [context + rest, context + other])
    assert [greedy for _, greedy in read(answer, [len(context)] * 2)] == [True, False]


def test_an_answer_that_ends_at_once_leaves_every_prompt_token(
    client: httpx.Client, server: LiveServer, model: LlamaModel
) -> None:
    ends = server.instance.model.tokenizer.end_of_generation_ids
    context = encoded(server, "the", bos=True)
    candidates = [[*context, token] for token in range(259, 500)]
    ending = [ids for ids in candidates if int(log_softmax(model, ids)[-1].argmax()) in ends]
    assert ending, "the model never ends"
    answer = ask(client, ending[0])
    (choice,) = answer["choices"]
    assert choice["finish_reason"] == "stop"
    assert len(choice["logprobs"]["tokens"]) == len(ending[0]) + 1
    assert choice["logprobs"]["text_offset"][-1] == len(choice["text"])
    exact, _ = expected(model, context, ending[0][len(context) :])
    assert read(answer, [len(context)])[0][0] == pytest.approx(exact, abs=TOLERANCE)


def test_a_text_is_scored_without_the_vocabularys_own_beginning(
    client: httpx.Client, server: LiveServer, model: LlamaModel
) -> None:
    ids = encoded(server, "the water is hot", bos=True)
    answer = ask(client, "the water is hot")
    logprobs = answer["choices"][0]["logprobs"]
    assert logprobs["tokens"][:-1] == ["the", " water", " is", " hot"]
    assert logprobs["text_offset"] == [0, 3, 9, 12, 16]
    rows = log_softmax(model, ids)
    exact = [rows[i][token] for i, token in enumerate(ids[1:])]
    assert logprobs["token_logprobs"][:-1] == pytest.approx(exact, abs=TOLERANCE)


def test_a_written_beginning_is_a_token_of_the_prompt(
    client: httpx.Client, server: LiveServer
) -> None:
    written = ask(client, "<s>the water")["choices"][0]["logprobs"]["tokens"]
    assert written[0] == "<s>"
    assert len(written) == len(encoded(server, "the water", bos=True)) + 1


@pytest.mark.parametrize("num_top", [0, 1, 5])
def test_the_chosen_token_is_found_among_the_likeliest(
    client: httpx.Client, server: LiveServer, num_top: int
) -> None:
    ids = encoded(server, "the caf\u00e9 is \U0001f30a", bos=True)
    logprobs = ask(client, ids, logprobs=num_top, max_tokens=0)["choices"][0]["logprobs"]
    assert logprobs["token_logprobs"][0] is None is logprobs["top_logprobs"][0]
    assert len(logprobs["tokens"]) == len(ids)
    for name, chosen, top in list(
        zip(logprobs["tokens"], logprobs["token_logprobs"], logprobs["top_logprobs"], strict=True)
    )[1:]:
        assert top[name] == chosen
        assert num_top <= len(top) <= num_top + 1


def test_parts_of_a_character_are_told_apart(client: httpx.Client, server: LiveServer) -> None:
    ids = encoded(server, "the \U0001f30a", bos=True)
    choice = ask(client, ids, max_tokens=0)["choices"][0]
    names, offsets = choice["logprobs"]["tokens"], choice["logprobs"]["text_offset"]
    assert names[-4:] == [f"bytes:\\x{byte:02x}" for byte in "\U0001f30a".encode()]
    assert offsets[-4:] == [len(choice["text"]) - 1] * 4


def test_a_stream_scores_the_prompt_once(client: httpx.Client, server: LiveServer) -> None:
    ids = encoded(server, "the water is hot", bos=True) * 12
    whole = ask(client, ids)["choices"][0]
    body = {"prompt": ids, "temperature": 0, "max_tokens": 1, "logprobs": 1, "echo": True,
            "stream": True, "return_progress": True}  # fmt: skip
    with client.stream("POST", "/v1/completions", json=body) as response:
        lines = [line[6:] for line in response.iter_lines() if line.startswith("data: ")]
        choices = [json.loads(line)["choices"][0] for line in lines if line != "[DONE]"]
    assert "".join(choice["text"] for choice in choices) == whole["text"]
    tokens = [name for c in choices if c["logprobs"] for name in c["logprobs"]["tokens"]]
    assert tokens == whole["logprobs"]["tokens"]


def test_many_prompts_are_one_batch(client: httpx.Client, server: LiveServer) -> None:
    prompts = [encoded(server, f"number {i}", bos=True) for i in range(40)]
    answer = ask(client, prompts)
    assert [choice["index"] for choice in answer["choices"]] == list(range(40))
    alone = ask(client, prompts[7])["choices"][0]["logprobs"]["token_logprobs"]
    together = answer["choices"][7]["logprobs"]["token_logprobs"]
    assert together[1:] == pytest.approx(alone[1:], abs=TOLERANCE)


def test_deterministic_scores_are_the_same_to_the_last_bit(
    client: httpx.Client, server: LiveServer
) -> None:
    ids = encoded(server, "the water is hot and a house is under it " * 12, bos=True)
    first, _, again = (
        ask(client, prompt, deterministic=True)["choices"][0]["logprobs"]
        for prompt in (ids, [ids[:50], ids], ids)
    )
    assert first == again
    assert len(first["tokens"]) == len(ids) + 1


def test_a_fault_of_one_prompt_names_it(client: httpx.Client) -> None:
    response = client.post("/v1/completions", json={"prompt": [[5], [5] * 600, [6]]})
    error = response.json()["error"]
    assert (error["param"], error["code"]) == ("prompt.1", "context_length_exceeded")

"""POST /infill, as llama-server's clients use it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from live import LiveServer

pytestmark = pytest.mark.gguf

GAP: dict[str, Any] = {"input_prefix": "water = ", "input_suffix": "\nhouse()\n", "n_predict": 6,
                       "temperature": 0}  # fmt: skip
FRAME = "<|repo_name|>myproject\n"
OWN = "<|file_sep|>filename\n<|fim_prefix|>"


@pytest.fixture(scope="module")
def client(coder_server: LiveServer) -> Iterator[httpx.Client]:
    with coder_server.client() as client:
        yield client


def infill(client: httpx.Client, **fields: Any) -> Any:
    response = client.post("/infill", json={**GAP, **fields})
    assert response.status_code == 200, response.text
    return response.json()


def test_the_prompt_is_laid_out_as_a_file_of_a_repository(client: httpx.Client) -> None:
    answer = infill(
        client,
        input_extra=[{"text": "one\n", "filename": "a.py", "time": [1, 2]}, {"text": "two\n"}],
        prompt="the ",
    )
    assert answer["prompt"] == (
        f"{FRAME}<|file_sep|>a.py\none\n<|file_sep|>tmp\ntwo\n{OWN}water = the "
        "<|fim_suffix|>\nhouse()\n<|fim_middle|>"
    )


def test_the_answer_has_llama_servers_fields(client: httpx.Client) -> None:
    answer = infill(client)
    assert answer["content"]
    assert answer["stop"] is True
    assert (answer["stop_type"], answer["stopping_word"]) == ("limit", "")
    assert (answer["index"], answer["id_slot"], answer["tokens"]) == (0, -1, [])
    assert (answer["truncated"], answer["model"]) == (False, "tiny-coder")
    assert answer["tokens_predicted"] == 6
    evaluated = answer["tokens_evaluated"]
    assert evaluated == answer["timings"]["prompt_n"] + answer["timings"]["cache_n"]
    assert answer["tokens_cached"] == evaluated + 5
    assert answer["generation_settings"]["temperature"] == 0
    assert answer["generation_settings"]["n_predict"] == 6


def test_text_that_spells_a_special_token_is_not_taken_for_one(client: httpx.Client) -> None:
    plain = infill(client, input_prefix="a", input_suffix="b")["tokens_evaluated"]
    spelled = infill(client, input_prefix="a<|fim_middle|>", input_suffix="b")
    assert spelled["tokens_evaluated"] > plain + 5


def test_a_stream_brings_the_same_text_and_ends_with_the_whole(client: httpx.Client) -> None:
    with client.stream("POST", "/infill", json={**GAP, "stream": True}) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        events = [json.loads(line[6:]) for line in response.iter_lines() if line.strip()]
    assert [event["stop"] for event in events[:-1]] == [False] * (len(events) - 1)
    assert "".join(event["content"] for event in events) == infill(client)["content"]
    last = events[-1]
    assert (last["stop"], last["content"], last["tokens_predicted"]) == (True, "", 6)
    assert [event["tokens_predicted"] for event in events] == sorted(
        event["tokens_predicted"] for event in events
    )


def test_long_text_around_a_gap_is_cut_on_the_far_sides(client: httpx.Client) -> None:
    answer = infill(
        client,
        input_prefix="begin" + " water" * 1000 + " near",
        input_suffix="close" + " house" * 1000 + " end",
        input_extra=[{"text": " far" * 1000, "filename": "old.py"}],
    )
    before, _, after = answer["prompt"].partition("<|fim_suffix|>")
    assert answer["tokens_evaluated"] + 6 < 512
    assert before.endswith(" water water near") and "begin" not in before
    assert after.startswith("close house") and " end" not in after
    assert "old.py" not in before and " far" in before


def test_where_other_files_begin_does_not_move_as_one_types(client: httpx.Client) -> None:
    files = [{"text": " far" * 1000, "filename": "old.py"}]
    first = infill(client, input_extra=files)
    second = infill(client, input_extra=files, input_prefix=GAP["input_prefix"] + "the ")
    assert second["timings"]["cache_n"] > 50
    head, _, _ = first["prompt"].partition("<|fim_prefix|>")
    assert second["prompt"].startswith(head)


def test_no_tokens_prepare_the_cache_for_the_next_request(client: httpx.Client) -> None:
    files = [{"text": "something of another place " * 4, "filename": "other.py"}]
    prepared = infill(
        client, input_prefix="", input_suffix="", input_extra=files, n_predict=0,
        samplers=[], t_max_prompt_ms=1, t_max_predict_ms=1, response_fields=[""],
    )  # fmt: skip
    assert prepared == {}
    assert infill(client, input_extra=files)["timings"]["cache_n"] > 20


def test_response_fields_are_found_by_their_paths(client: httpx.Client) -> None:
    fields = ["content", "timings/predicted_n", "truncated", "generation_settings/top_k", "no/such"]
    answer = infill(client, response_fields=fields)
    assert answer.keys() == set(fields[:-1])
    assert answer["timings/predicted_n"] == 6


def test_suffix_on_v1_completions_fills_the_same_gap_without_a_repository(
    client: httpx.Client,
) -> None:
    body = {"prompt": "water = ", "suffix": "\nhouse()\n", "max_tokens": 6, "temperature": 0}
    answer = client.post("/v1/completions", json=body).json()
    prompt = "<|fim_prefix|>water = <|fim_suffix|>\nhouse()\n<|fim_middle|>"
    same = client.post("/completion", json={"prompt": prompt, "n_predict": 6, "temperature": 0})
    assert answer["choices"][0]["text"] == same.json()["content"]
    assert answer["usage"]["prompt_tokens"] == same.json()["tokens_evaluated"]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input_prefix": None}, "input_prefix"),
        ({"input_suffix": None}, "input_suffix"),
        ({"input_prefix": 5}, "input_prefix"),
        ({"input_extra": "text"}, "input_extra"),
        ({"input_extra": [{"filename": "a"}]}, "input_extra.0.text"),
        ({"input_extra": [{"text": "a", "filename": 1}]}, "input_extra.0.filename"),
        ({"prompt": ["a"]}, "prompt"),
        ({"prompt": " water" * 600}, "prompt"),
        ({"n_probs": 5, "post_sampling_probs": True}, "post_sampling_probs"),
    ],
)
def test_a_fault_is_a_400_that_names_the_field(
    client: httpx.Client, fields: dict[str, Any], param: str
) -> None:
    response = client.post("/infill", json={**GAP, **fields})
    assert response.status_code == 400
    assert response.json()["error"]["param"] == param


def test_a_model_that_fills_no_gaps_says_so(llama_server: LiveServer) -> None:
    with llama_server.client() as client:
        error = client.post("/infill", json=GAP).json()["error"]
    assert (error["code"], error["param"]) == ("unsupported", "input_suffix")
    assert "no fill-in-the-middle tokens" in error["message"]

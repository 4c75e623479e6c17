"""OpenAI's own Python client against the real thing, end to end."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import openai
import pytest
from live import LiveServer
from openai import AsyncOpenAI, DefaultAsyncHttpxClient, DefaultHttpxClient, OpenAI

pytestmark = pytest.mark.gguf

GREEDY: Any = {"model": "tiny-llama", "temperature": 0, "max_tokens": 12}
HELLO: Any = [{"role": "user", "content": "hello there"}]


@pytest.fixture(scope="module")
def client(llama_server: LiveServer) -> Iterator[OpenAI]:
    with OpenAI(
        base_url=f"{llama_server.url}/v1",
        api_key="none",
        max_retries=0,
        http_client=DefaultHttpxClient(trust_env=False),
    ) as client:
        yield client


def ask(client: OpenAI, messages: Any = HELLO, **fields: Any) -> str:
    answer = client.chat.completions.create(messages=messages, **{**GREEDY, **fields})
    return answer.choices[0].message.content or ""


def complete(client: OpenAI, **fields: Any) -> Any:
    return client.completions.create(**{**GREEDY, "prompt": "the water", **fields})


def test_a_chat_of_several_turns(client: OpenAI) -> None:
    messages = [{"role": "system", "content": "be brief"}, *HELLO]
    num_prompt_tokens = 0
    for turn in ("go on", "and then", "why"):
        answer = client.chat.completions.create(messages=messages, **GREEDY)
        assert answer.choices[0].finish_reason == "length"
        assert answer.usage is not None
        assert answer.usage.prompt_tokens > num_prompt_tokens
        assert answer.usage.completion_tokens == 12
        num_prompt_tokens = answer.usage.prompt_tokens
        messages += [{"role": "assistant", "content": answer.choices[0].message.content or ""},
                     {"role": "user", "content": turn}]  # fmt: skip


def test_a_stream_says_what_the_whole_answer_says(client: OpenAI) -> None:
    stream = client.chat.completions.create(messages=HELLO, stream=True, **GREEDY)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
    assert text == ask(client)


def test_the_accumulating_stream_helper_takes_the_stream(client: OpenAI) -> None:
    # The helper raises on an answer that was cut off by its length.
    stop = ask(client)[-3:]
    with client.chat.completions.stream(
        messages=HELLO, stream_options={"include_usage": True}, logprobs=True, stop=stop, **GREEDY
    ) as stream:
        texts = [event.delta for event in stream if event.type == "content.delta"]
        final = stream.get_final_completion()
    message = final.choices[0].message
    assert message.content == "".join(texts) == ask(client).removesuffix(stop)
    assert (message.role, final.choices[0].finish_reason) == ("assistant", "stop")
    assert final.usage is not None and final.usage.completion_tokens > 0
    assert final.choices[0].logprobs is not None
    assert final.choices[0].logprobs.content


def test_the_async_client_streams_twenty_answers_side_by_side(
    llama_server: LiveServer, client: OpenAI
) -> None:
    prompts = [f"number {index}" for index in range(20)]
    alone = [ask(client, [{"role": "user", "content": prompt}]) for prompt in prompts]

    async def one(async_client: AsyncOpenAI, prompt: str) -> str:
        messages: Any = [{"role": "user", "content": prompt}]
        stream = await async_client.chat.completions.create(
            messages=messages, stream=True, **GREEDY
        )
        return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

    async def main() -> list[str]:
        async with AsyncOpenAI(
            base_url=f"{llama_server.url}/v1",
            api_key="none",
            max_retries=0,
            http_client=DefaultAsyncHttpxClient(trust_env=False),
        ) as async_client:
            return await asyncio.gather(*(one(async_client, prompt) for prompt in prompts))

    assert asyncio.run(main()) == alone


def test_several_choices_of_one_request_differ(client: OpenAI) -> None:
    answer = client.chat.completions.create(
        messages=HELLO, n=3, **{**GREEDY, "temperature": 1, "seed": 5}
    )
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert len({choice.message.content for choice in answer.choices}) == 3
    assert answer.usage is not None and answer.usage.completion_tokens == 36


def test_a_seed_repeats_its_answer_and_another_does_not(client: OpenAI) -> None:
    first, again, other = (ask(client, temperature=1, seed=seed) for seed in (7, 7, 8))
    assert first == again != other


def test_without_a_seed_answers_differ(client: OpenAI) -> None:
    assert len({ask(client, temperature=1.5) for _ in range(4)}) > 1


def test_logprobs_are_those_of_the_text(client: OpenAI) -> None:
    answer = client.chat.completions.create(messages=HELLO, logprobs=True, top_logprobs=3, **GREEDY)
    assert answer.choices[0].logprobs is not None
    entries = answer.choices[0].logprobs.content
    assert entries is not None and len(entries) == 12
    assert "".join(entry.token for entry in entries) == answer.choices[0].message.content
    for entry in entries:
        # Greedy: the chosen token is the likeliest one.
        assert [top.logprob for top in entry.top_logprobs] == sorted(
            (top.logprob for top in entry.top_logprobs), reverse=True
        )
        assert entry.top_logprobs[0].token == entry.token
        assert entry.top_logprobs[0].logprob == entry.logprob <= 0


def test_a_stop_string_ends_the_answer_before_it(client: OpenAI) -> None:
    text = ask(client)
    stop = text[4:7]
    answer = client.chat.completions.create(messages=HELLO, stop=["never said", stop], **GREEDY)
    assert answer.choices[0].message.content == text[: text.index(stop)]
    assert answer.choices[0].finish_reason == "stop"


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_both_names_of_the_token_limit_hold(client: OpenAI, name: str) -> None:
    fields: Any = {"model": "tiny-llama", name: 3}
    answer = client.chat.completions.create(messages=HELLO, **fields)
    assert answer.usage is not None and answer.usage.completion_tokens == 3


def test_text_completion_of_one_prompt(client: OpenAI) -> None:
    answer = complete(client)
    assert answer.object == "text_completion"
    assert answer.choices[0].finish_reason == "length"
    assert answer.choices[0].logprobs is None
    assert answer.usage.completion_tokens == 12


def test_sixteen_tokens_are_the_default_of_text_completions(client: OpenAI) -> None:
    answer = client.completions.create(model="tiny-llama", prompt="the water")
    assert answer.usage is not None and answer.usage.completion_tokens == 16


def test_text_completion_of_token_ids_is_that_of_their_text(
    client: OpenAI, llama_server: LiveServer
) -> None:
    tokenizer = llama_server.instance.model.tokenizer
    ids = [tokenizer.encode(text, add_special=True, parse_special=True)
           for text in ("the water", "a house")]  # fmt: skip
    texts = [choice.text for choice in complete(client, prompt=["the water", "a house"]).choices]
    assert [choice.text for choice in complete(client, prompt=ids).choices] == texts
    assert complete(client, prompt=ids[0]).choices[0].text == texts[0]


def test_choices_of_several_prompts_are_numbered_prompt_by_prompt(client: OpenAI) -> None:
    answer = complete(client, prompt=["the water", "a house"], n=2)
    assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
    texts = [choice.text for choice in answer.choices]
    assert texts[0] == texts[1] != texts[2] == texts[3]  # greedy


def test_echo_puts_the_prompt_before_the_answer(client: OpenAI) -> None:
    assert (
        complete(client, echo=True).choices[0].text
        == "the water" + complete(client).choices[0].text
    )


def test_echo_with_logprobs_scores_the_prompt(client: OpenAI) -> None:
    (choice,) = complete(client, echo=True, logprobs=2, max_tokens=0).choices
    logprobs = choice.logprobs
    assert choice.text == "the water"
    assert logprobs.tokens == ["the", " water"]
    assert logprobs.text_offset == [0, 3]
    assert logprobs.token_logprobs[-1] < 0
    assert len(logprobs.token_logprobs) == len(logprobs.top_logprobs) == 2
    assert logprobs.top_logprobs[-1][" water"] == logprobs.token_logprobs[-1]


def test_the_best_of_several_is_the_likeliest(client: OpenAI) -> None:
    fields = {"temperature": 1.5, "seed": 3, "logprobs": 0}
    all_four = complete(client, n=4, **fields).choices
    best = complete(client, n=1, best_of=4, **fields)
    likeliest = max(all_four, key=lambda choice: sum(choice.logprobs.token_logprobs))
    assert [choice.text for choice in best.choices] == [likeliest.text]
    assert best.usage.completion_tokens == 48, "all four were computed"


def test_text_completions_stream(client: OpenAI) -> None:
    chunks = list(complete(client, stream=True, echo=True))
    assert (
        "".join(chunk.choices[0].text for chunk in chunks)
        == complete(client, echo=True).choices[0].text
    )
    assert [chunk.choices[0].finish_reason for chunk in chunks][-1] == "length"


def test_models_are_listed_and_found(client: OpenAI) -> None:
    (model,) = client.models.list().data
    assert (model.id, model.object, model.owned_by) == ("tiny-llama", "model", "llmd")
    assert client.models.retrieve("tiny-llama") == model
    assert model.context_length == 512  # type: ignore[attr-defined]
    with pytest.raises(openai.NotFoundError, match="tiny-llama"):
        client.models.retrieve("org/other")


def test_a_prompt_beyond_the_context_names_both_sizes(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as raised:
        client.completions.create(model="tiny-llama", prompt=[5] * 513)
    error: Any = raised.value
    assert error.code == "context_length_exceeded"
    assert (error.body["n_prompt_tokens"], error.body["n_ctx"]) == (513, 512)
    for phrase in ("maximum context length is 512 tokens", "exceeds the available context size",
                   "context_length_exceeded"):  # fmt: skip
        assert phrase in error.message


def test_a_prompt_as_long_as_the_context_leaves_no_room(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError):
        client.completions.create(model="tiny-llama", prompt=[5] * 512)
    answer = client.completions.create(model="tiny-llama", prompt=[5] * 511)
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage is not None and answer.usage.completion_tokens == 1


def test_the_end_of_the_context_is_told_as_length(client: OpenAI) -> None:
    answer = client.completions.create(model="tiny-llama", prompt=[5] * 500, max_tokens=100)
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage is not None and answer.usage.total_tokens == 512


def test_many_threads_share_one_client(client: OpenAI) -> None:
    alone = ask(client)
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda _: ask(client), range(16))) == {alone}


def test_errors_come_as_the_clients_own_exceptions(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as raised:
        ask(client, temperature=-1)
    error: Any = raised.value
    assert (error.type, error.param) == ("invalid_request_error", "temperature")
    with pytest.raises(openai.BadRequestError, match="messages"):
        ask(client, [])

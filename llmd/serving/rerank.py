"""The use case of ranking documents, for every dialect.

Rerankers with a classification head give a score for query and document as one text. Others, such
as Qwen3-Reranker without its head, are models that write: asked whether the document answers the
query, the probability of yes, against that of no, is the score.
"""

from __future__ import annotations

import asyncio
import math
import secrets
from dataclasses import replace
from functools import partial
from hashlib import blake2b

from llmd.core.embedding import Pooling, PoolingTraits, RankedDocument, Ranking, RerankRequest
from llmd.core.message import Message
from llmd.core.output import FinishReason, TokenLogprob
from llmd.core.request import ChatPrompt, ThinkingWish
from llmd.core.sampling import SamplingParams
from llmd.engine.request import Request
from llmd.errors import ContextLengthExceeded, EngineFailed, LlmdError, Unsupported
from llmd.registry.instance import ModelInstance
from llmd.registry.registry import ModelRegistry
from llmd.serving.account import current_account
from llmd.serving.pair import INSTRUCTION, RERANK_TEMPLATE, PairEncoder
from llmd.serving.prompt import encode
from llmd.serving.texts import encoded, fitted, pool

SYSTEM = (
    "Judge whether the Document meets the requirements based on the Query and the Instruct "
    'provided. Note that the answer can only be "yes" or "no".'
)
"""The words that Qwen3-Reranker was trained with; its model card has them."""

SPARE_TOKENS = 8
"""Cut off beyond what must go, as a shorter text may be cut into more tokens."""


async def rerank(registry: ModelRegistry, request: RerankRequest) -> Ranking:
    """Score every document. Raises Unsupported where the model cannot rank, ContextLengthExceeded
    for a document (`param` has its index), QueueFull and EngineFailed.
    """
    account = current_account()
    with await registry.lease_any(request.model, request.keep_alive) as instance:
        account.model_name = instance.name
        traits = instance.model.pooling
        if traits is None:
            num_tokens, scores = await _ask(instance, request)
        else:
            num_tokens, scores = await _score(instance, traits, request)
        account.num_prompt = num_tokens
    ranked = (RankedDocument(index, score) for index, score in enumerate(scores))
    return Ranking(
        model_name=instance.name,
        documents=tuple(sorted(ranked, key=lambda document: -document.score)),
        num_tokens=num_tokens,
    )


async def _score(
    instance: ModelInstance, traits: PoolingTraits, request: RerankRequest
) -> tuple[int, list[float]]:
    """By the model's classification head."""
    if traits.pooling is not Pooling.RANK:
        raise Unsupported(
            f"the model {instance.name} embeds texts and does not rank. Compare the embeddings of "
            f"POST /v1/embeddings, or serve a reranker (with --pooling rank where its file does "
            f"not say that it is one).",
            param="model",
        )
    instance.client.check_room(1)
    most = instance.model.context_size
    texts = await encoded(lambda: _encode_pairs(instance, request, most), _num_characters(request))
    vectors = await pool(instance, texts, tenant=request.tenant, priority=request.priority)
    scores = [vector[0] for vector in vectors]
    if not traits.gives_probabilities and not request.is_raw:
        scores = [_sigmoid(score) for score in scores]
    return sum(map(len, texts)), scores


def _encode_pairs(
    instance: ModelInstance, request: RerankRequest, most: int
) -> list[tuple[int, ...]]:
    """Query and document as one text of at most `most` tokens, for every document."""
    encoder = PairEncoder(
        instance.model.tokenizer,
        request.query,
        template=instance.model.metadata.get(RERANK_TEMPLATE),
        instruction=request.instruction,
    )
    texts = []
    for index, document in enumerate(request.documents):
        pair = encoder.encode(document)
        texts.append(
            fitted(
                pair.tokens,
                most,
                num_kept=pair.num_kept,
                truncate=request.truncate,
                param=f"documents.{index}",
            )
        )
    return texts


async def _ask(instance: ModelInstance, request: RerankRequest) -> tuple[int, list[float]]:
    """By the model's next word."""
    answers = _answer_ids(instance)
    instance.client.check_room(len(request.documents))
    prompts = []
    for index in range(len(request.documents)):
        prompts.append(await _encode_question(instance, request, index))
        await asyncio.sleep(0)  # others are served between two of them
    outputs = instance.client.submit(
        Request(
            id=secrets.token_hex(12),
            prompts=tuple(prompts),
            sampling=SamplingParams(temperature=0),
            seed=0,
            max_tokens=1,
            top_logprobs=0,
            scores_end=True,
            watched_ids=answers,
            scope=blake2b(repr(("rerank", request.tenant)).encode(), digest_size=16).hexdigest(),
            tenant=request.tenant,
            priority=request.priority,
        )
    )
    scores: dict[int, float] = {}
    try:
        async for output in outputs:
            if output.finish_reason is FinishReason.ERROR:
                raise EngineFailed(f"{output.error}.")
            if output.logprobs:
                scores[output.index] = _preference(output.logprobs[0], request.is_raw)
    finally:
        outputs.abort()
    return sum(map(len, prompts)), [scores[index] for index in range(len(prompts))]


def _answer_ids(instance: ModelInstance) -> tuple[int, int]:
    tokenizer = instance.model.tokenizer
    ids = [tokenizer.encode_inside(word, parse_special=False) for word in ("yes", "no")]
    if any(len(tokens) != 1 for tokens in ids):
        raise Unsupported(
            f"the model {instance.name} cannot rank: its vocabulary has no single tokens for yes "
            f"and no. Serve a reranker.",
            param="model",
        )
    return ids[0][0], ids[1][0]


async def _encode_question(
    instance: ModelInstance, request: RerankRequest, index: int
) -> tuple[int, ...]:
    document = request.documents[index]
    template = instance.model.metadata.get(RERANK_TEMPLATE)
    if template is not None:
        one = replace(request, documents=(document,))
        most = instance.model.context_size - 1  # the answer is one more
        work = partial(_encode_pairs, instance, one, most)
        try:
            return (await encoded(work, _num_characters(one)))[0]
        except ContextLengthExceeded as error:
            raise _at(error, index) from None
    try:
        return await _encode_chat(instance, request, document)
    except ContextLengthExceeded as error:
        if not request.truncate:
            raise _at(error, index) from None
        tokenizer = instance.model.tokenizer
        tokens = tuple(tokenizer.encode(document, add_special=False, parse_special=False))
        num_over = error.num_prompt_tokens - error.context_size + SPARE_TOKENS
        shorter = tokenizer.decode(tokens[: max(0, len(tokens) - num_over)])
        return await _encode_chat(instance, request, shorter)


async def _encode_chat(
    instance: ModelInstance, request: RerankRequest, document: str
) -> tuple[int, ...]:
    instruction = request.instruction or INSTRUCTION
    question = f"<Instruct>: {instruction}\n<Query>: {request.query}\n<Document>: {document}"
    messages = (
        Message(role="system", content=SYSTEM),
        Message(role="user", content=question),
    )
    prompt = ChatPrompt(messages=messages, thinking=ThinkingWish(enabled=False))
    return (await encode(instance, prompt)).token_ids


def _preference(logprob: TokenLogprob, is_raw: bool) -> float:
    """How likely yes is where the answer is yes or no; raw, the difference of the two logits."""
    yes, no = logprob.top[-2:]
    difference = yes.logprob - no.logprob
    return difference if is_raw else _sigmoid(difference)


def _sigmoid(logit: float) -> float:
    if logit < 0:
        return math.exp(logit) / (1 + math.exp(logit))
    return 1 / (1 + math.exp(-logit))


def _num_characters(request: RerankRequest) -> int:
    num_documents = len(request.documents)
    return len(request.query) * num_documents + sum(map(len, request.documents))


def _param(index: int) -> str:
    return f"documents.{index}"


def _at(error: LlmdError, index: int) -> LlmdError:
    error.param = _param(index)
    return error

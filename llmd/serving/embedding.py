"""The use case of embedding texts, for every dialect."""

from __future__ import annotations

from llmd.core.embedding import Embeddings, EmbedRequest, Pooling
from llmd.core.request import TextPrompt, TokenPrompt
from llmd.errors import InvalidRequest, Unsupported
from llmd.registry.instance import ModelInstance
from llmd.registry.registry import ModelRegistry
from llmd.serving.account import current_account
from llmd.serving.texts import encoded, fitted, pool


async def embed(registry: ModelRegistry, request: EmbedRequest) -> Embeddings:
    """Embed every input. Raises Unsupported where the model does not embed, InvalidRequest or
    ContextLengthExceeded for an input (`param` has its index), QueueFull and EngineFailed.
    """
    account = current_account()
    with await registry.lease_pooling(request.model, request.keep_alive) as instance:
        account.model_name = instance.name
        _check(instance, request)
        instance.client.check_room(1)
        num_characters = sum(len(i.text) for i in request.inputs if isinstance(i, TextPrompt))
        texts = await encoded(lambda: _encode_all(instance, request), num_characters)
        account.num_prompt = sum(map(len, texts))
        vectors = await pool(
            instance,
            texts,
            dimensions=request.dimensions,
            tenant=request.tenant,
            priority=request.priority,
        )
    return Embeddings(model_name=instance.name, vectors=vectors, num_tokens=sum(map(len, texts)))


def _check(instance: ModelInstance, request: EmbedRequest) -> None:
    traits = instance.model.pooling
    assert traits is not None
    if traits.pooling is Pooling.RANK:
        raise Unsupported(
            f"the model {instance.name} ranks documents and has no embeddings. Use POST "
            f"/v1/rerank, or serve a model that embeds.",
            param="model",
        )
    if request.dimensions is not None and request.dimensions > traits.num_dimensions:
        raise InvalidRequest(
            f"the embeddings of {instance.name} have {traits.num_dimensions} dimensions, and "
            f"{request.dimensions} were asked for. Ask for at most {traits.num_dimensions}.",
            param="dimensions",
        )


def _encode_all(instance: ModelInstance, request: EmbedRequest) -> list[tuple[int, ...]]:
    tokenizer = instance.model.tokenizer
    ending = tokenizer.encode("", add_special=True, parse_special=False)
    texts = []
    for index, each in enumerate(request.inputs):
        param = f"input.{index}"
        if isinstance(each, TokenPrompt):
            tokens = _check_ids(instance, each.token_ids, param)
            num_kept = 0
        else:
            tokens = _encode(instance, each.text, param)
            num_kept = _common_end(tokens, ending)
        texts.append(
            fitted(
                tokens,
                instance.model.context_size,
                num_kept=num_kept,
                truncate=request.truncate,
                param=param,
            )
        )
    return texts


def _encode(instance: ModelInstance, text: str, param: str) -> list[int]:
    tokens = []
    if text:
        # As llama-server and the models' own tokenizers: some are used with special tokens in
        # the text, and whoever sends it spoils nobody's vector but their own.
        tokens = instance.model.tokenizer.encode(text, add_special=True, parse_special=True)
    if not tokens:
        raise InvalidRequest("this input is empty. Send some text, or leave it out.", param=param)
    return tokens


def _check_ids(instance: ModelInstance, token_ids: tuple[int, ...], param: str) -> list[int]:
    num_tokens = instance.model.tokenizer.num_tokens
    if not token_ids:
        raise InvalidRequest("this input has no tokens. Send some, or leave it out.", param=param)
    for token_id in token_ids:
        if not 0 <= token_id < num_tokens:
            raise InvalidRequest(
                f"token {token_id} is not in the vocabulary of {instance.name}, whose ids are 0 to "
                f"{num_tokens - 1}; is it another model's? Send text (LangChain does with "
                f"check_embedding_ctx_length=False).",
                param=param,
            )
    return list(token_ids)


def _common_end(tokens: list[int], ending: list[int]) -> int:
    """How many of the last tokens the vocabulary adds to every text."""
    count = 0
    while count < min(len(tokens), len(ending)) and tokens[-1 - count] == ending[-1 - count]:
        count += 1
    return count

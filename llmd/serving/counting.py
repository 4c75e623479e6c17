"""How long a prompt is, without computing it."""

from __future__ import annotations

from llmd.core.request import GenerateRequest
from llmd.errors import ContextLengthExceeded
from llmd.registry.registry import ModelRegistry
from llmd.serving.account import current_account
from llmd.serving.prompt import encode


async def count_prompt_tokens(registry: ModelRegistry, request: GenerateRequest) -> int:
    """Tokens of all prompts of a request, as `start_generation` would make them; also of one that
    is too long. Raises what that raises.
    """
    num_tokens = 0
    with await registry.lease(request.model, request.keep_alive) as instance:
        current_account().model_name = instance.name
        for prompt in request.prompts:
            try:
                encoded = await encode(instance, prompt, tenant=request.tenant)
            except ContextLengthExceeded as error:
                num_tokens += error.num_prompt_tokens
            else:
                num_tokens += len(encoded.token_ids)
    return num_tokens

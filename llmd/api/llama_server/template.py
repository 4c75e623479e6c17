"""POST /apply-template."""

from __future__ import annotations

import orjson
from starlette.requests import Request
from starlette.responses import Response

from llmd.api import json_body
from llmd.api.openai.schema_chat import ChatCompletionRequest
from llmd.api.state import state_of
from llmd.api.tenant import tenant_of
from llmd.core.request import ChatPrompt
from llmd.serving.prompt import render


class ApplyTemplateRequest(ChatCompletionRequest):
    """A chat request; of its fields those count that the prompt depends on."""

    add_generation_prompt: bool = True


async def apply(request: Request) -> Response:
    """Raises InvalidRequest or TemplateFailed, as the chat itself would."""
    state, tenant = state_of(request), tenant_of(request)
    body = await json_body.read(request, ApplyTemplateRequest, state.settings)
    (prompt,) = body.to_core(tenant=tenant).prompts
    assert isinstance(prompt, ChatPrompt)
    opens_answer = body.add_generation_prompt
    with await state.registry.lease(body.model, body.keep_alive) as instance:
        text = await render(instance, prompt, tenant=tenant, opens_answer=opens_answer)
    return Response(orjson.dumps({"prompt": text}), media_type="application/json")

"""GET and POST /props: what clients ask of the server itself."""

from __future__ import annotations

import orjson
from starlette.requests import Request
from starlette.responses import Response

from llmd.api.llama_server.encode_settings import sampling_settings
from llmd.api.state import state_of
from llmd.errors import ModelLoading, Unsupported
from llmd.registry.instance import ModelInstance

NOTHING = b"{}"


async def get(request: Request) -> Response:
    """Of the model path the name alone is told: where files lie is nobody's business."""
    instance = ready_model(request)
    model = instance.model
    tokenizer = model.tokenizer
    props = {
        "default_generation_settings": {
            "params": sampling_settings(model.sampling),
            "n_ctx": model.context_size,
        },
        "total_slots": model.num_sequences,
        "model_alias": instance.name,
        "model_path": model.path.name,
        "modalities": {"vision": False, "audio": False, "video": False},
        "endpoint_slots": True,
        "endpoint_props": False,
        # A model that embeds or ranks has none.
        "chat_template": instance.template.source if model.pooling is None else "",
        "bos_token": tokenizer.bos_text,
        "eos_token": tokenizer.eos_text,
        "build_info": model.fingerprint,
        "is_sleeping": False,
    }
    return Response(orjson.dumps(props), media_type="application/json")


async def post(request: Request) -> Response:
    """Changes nothing; raises Unsupported where it is asked to."""
    body = b""
    async for chunk in request.stream():
        body += chunk.strip()
        if len(body) > len(NOTHING):
            break
    if body not in (b"", NOTHING):
        raise Unsupported(
            "properties are not changed while the server runs. Set them in its configuration, or "
            "in each request."
        )
    return Response(orjson.dumps({"success": True}), media_type="application/json")


def ready_model(request: Request) -> ModelInstance:
    """The model that `?model=` names, the first without. It is not waited for: who polls wants an
    answer now. Raises ModelNotFound, ModelLoading, or what the model failed with.
    """
    registry = state_of(request).registry
    name = request.query_params.get("model")
    instance = registry.list()[0] if name is None else registry.choose(name)
    if instance.error is not None:
        raise instance.error
    if not instance.is_ready:
        raise ModelLoading(
            f"loading {instance.name}: {instance.load_progress:.0%}. Try again in a moment."
        )
    return instance

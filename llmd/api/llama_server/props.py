"""GET and POST /props: what clients ask of the server itself."""

from __future__ import annotations

import orjson
from starlette.requests import Request
from starlette.responses import Response

from llmd.api.llama_server.encode_settings import sampling_settings
from llmd.api.state import state_of
from llmd.errors import ModelForbidden, Unsupported
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
        "chat_template_caps": _capabilities(instance) if model.pooling is None else {},
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


def _capabilities(instance: ModelInstance) -> dict[str, bool]:
    """Those of llama-server's that are known here (common/jinja/caps.h). They are the template's:
    what it cannot do the daemon does in its place.
    """
    abilities = instance.normalizer.abilities
    shape = abilities.call_shape
    return {
        "supports_string_content": True,
        "supports_typed_content": False,
        "supports_system_role": abilities.system,
        "supports_tools": abilities.tools,
        "supports_tool_calls": shape is not None,
        "supports_parallel_tool_calls": shape is not None and abilities.parallel_calls,
        "supports_object_arguments": shape is not None and not shape.has_text_arguments,
    }


def ready_model(request: Request) -> ModelInstance:
    """The model that `?model=` names, else the first that is ready. It is neither loaded nor waited
    for: who polls wants an answer now. Raises ModelNotFound, ModelLoading, or what the model failed
    with.
    """
    registry = state_of(request).registry
    name = request.query_params.get("model")
    instances = registry.list() if name is None else [registry.choose(name)]
    if not instances:
        raise ModelForbidden(
            "this key may use none of the models that are served. Use another key, or have a "
            "model added to it."
        )
    instance = next((each for each in instances if each.is_ready), instances[0])
    if instance.error is not None:
        raise instance.error
    if not instance.is_ready:
        raise instance.not_ready()
    return instance

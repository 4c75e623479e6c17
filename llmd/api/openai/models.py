"""GET /v1/models and /v1/models/{id}."""

from __future__ import annotations

from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from llmd.api.state import state_of
from llmd.core.embedding import Pooling
from llmd.registry.instance import ModelInstance


async def list_models(request: Request) -> Response:
    models = [_encode(instance) for instance in state_of(request).registry.list()]
    return _json({"object": "list", "data": models})


async def get_model(request: Request) -> Response:
    """Raises ModelNotFound; ids may hold slashes."""
    return _json(_encode(state_of(request).registry.find(request.path_params["name"])))


def _encode(instance: ModelInstance) -> dict[str, Any]:
    encoded: dict[str, Any] = {
        "id": instance.name,
        "object": "model",
        "created": instance.created,
        "owned_by": "llmd",
        "state": instance.state.value,
    }
    if not instance.is_ready:
        return encoded
    model = instance.model
    # Clients learn the window that really holds from one of these, each from its own key.
    window = model.context_size
    modality, capabilities = "text", ["completion", "chat"]
    if model.pooling is not None:
        ranks = model.pooling.pooling is Pooling.RANK
        modality, capabilities = ("score", ["rerank"]) if ranks else ("embedding", ["embedding"])
    elif model.tokenizer.fim_ids is not None:
        capabilities.append("insert")
    encoded |= {
        "context_length": window,
        "max_context_length": window,
        "loaded_context_length": window,
        "max_model_len": window,
        "context_window": window,
        "architecture": {
            "name": model.architecture,
            "input_modalities": ["text"],
            "output_modalities": [modality],
        },
        "capabilities": capabilities,
        "meta": {
            "n_ctx": window,
            "n_ctx_train": model.train_context_length,
            "n_vocab": model.tokenizer.num_tokens,
            "n_embd": model.embedding_length,
            "n_params": model.num_parameters,
            "size": model.num_bytes,
            "description": model.description,
        },
    }
    if model.pooling is not None:
        encoded["pooling"] = model.pooling.pooling.value
        if model.pooling.pooling is not Pooling.RANK:
            encoded["dimensions"] = model.pooling.num_dimensions
    return encoded


def _json(value: Any) -> Response:
    return Response(orjson.dumps(value), media_type="application/json")

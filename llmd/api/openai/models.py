"""GET /v1/models and /v1/models/{id}."""

from __future__ import annotations

import time
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from llmd.api.state import state_of
from llmd.core.embedding import Pooling
from llmd.registry.instance import ModelInstance, ModelState

_STATUS = {
    ModelState.UNLOADED: "unloaded",
    ModelState.LOADING: "loading",
    ModelState.READY: "loaded",
    ModelState.DRAINING: "loaded",
    ModelState.FAILED: "unloaded",
    ModelState.CLOSED: "unloaded",
}
"""As llama-server's router tells it."""


async def list_models(request: Request) -> Response:
    models = [encode_model(instance) for instance in state_of(request).registry.list()]
    return _json({"object": "list", "data": models})


async def get_model(request: Request) -> Response:
    """Raises ModelNotFound; ids may hold slashes."""
    return _json(encode_model(state_of(request).registry.find(request.path_params["name"])))


def encode_model(instance: ModelInstance) -> dict[str, Any]:
    """A served model in any state; loaded, with all that is known of it."""
    encoded: dict[str, Any] = {
        "id": instance.name,
        "object": "model",
        "created": instance.created,
        "owned_by": "llmd",
        "state": instance.state.value,
        "status": {"value": _STATUS[instance.state]},
    }
    if instance.error is not None:
        encoded["error"] = instance.error.message
    if instance.is_resident:
        encoded |= _residence(instance)
    if instance.is_ready:
        encoded |= _describe(instance)
    return encoded


def _residence(instance: ModelInstance) -> dict[str, Any]:
    """What it takes, in bytes as estimated, and how long it stays, in seconds since 1970."""
    footprint, usage = instance.footprint, instance.usage
    found: dict[str, Any] = {
        "load_progress": round(instance.load_progress, 3),
        "memory": {
            "total": footprint.total,
            "host": footprint.host,
            "device": footprint.device,
        },
    }
    if usage is not None:
        now = time.time() - usage.now
        expires_at = usage.expires_at
        found["num_users"] = usage.num_users
        found["last_used"] = round(now + usage.last_used, 3)
        found["expires_at"] = None if expires_at is None else round(now + expires_at, 3)
    return found


def _describe(instance: ModelInstance) -> dict[str, Any]:
    model = instance.model
    # Clients learn the window that really holds from one of these, each from its own key.
    window = model.context_size
    modality, capabilities = "text", ["completion", "chat"]
    if model.pooling is not None:
        ranks = model.pooling.pooling is Pooling.RANK
        modality, capabilities = ("score", ["rerank"]) if ranks else ("embedding", ["embedding"])
    elif model.tokenizer.fim_ids is not None:
        capabilities.append("insert")
    encoded: dict[str, Any] = {
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

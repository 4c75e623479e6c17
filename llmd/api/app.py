"""The ASGI application."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect
from starlette.routing import BaseRoute, Route

from llmd.api import admin, errors, health, metrics, rerank
from llmd.api.access_log import AccessLog
from llmd.api.auth import Authentication
from llmd.api.disconnect import ClientDisconnected
from llmd.api.draining import DrainGate
from llmd.api.front import Front
from llmd.api.llama_server import completion, props, slots, template, tokens
from llmd.api.openai import chat, completions, embeddings, models, responses
from llmd.api.state import ApiState
from llmd.config.settings import ServerSettings
from llmd.errors import LlmdError
from llmd.registry.registry import ModelRegistry
from llmd.responses.opening import memory_store
from llmd.responses.store import ResponseStore


def create_app(
    registry: ModelRegistry, settings: ServerSettings, store: ResponseStore | None = None
) -> Starlette:
    """All routes of all dialects over the models of `registry`. Responses are kept in `store`, left
    out in memory. When it is served no more, `app.state.llmd.close()` is due. Raises
    ConfigError where requests cannot be recorded as the settings wish.
    """
    routes: list[BaseRoute] = [*health.ROUTES, *metrics.ROUTES]
    for prefix in ("/v1", ""):
        routes += [
            Route(f"{prefix}/chat/completions", chat.create, methods=["POST"]),
            Route(f"{prefix}/completions", completions.create, methods=["POST"]),
            *responses.routes(f"{prefix}/responses"),
            Route(f"{prefix}/embeddings", embeddings.create, methods=["POST"]),
            *rerank.routes(prefix),
            *admin.routes(prefix),
            Route(f"{prefix}/models", models.list_models),
            Route(f"{prefix}/models/{{name:path}}", models.get_model),
            Route(f"{prefix}/completion", completion.complete, methods=["POST"]),
            Route(f"{prefix}/infill", completion.infill, methods=["POST"]),
            Route(f"{prefix}/tokenize", tokens.tokenize, methods=["POST"]),
            Route(f"{prefix}/detokenize", tokens.detokenize, methods=["POST"]),
            Route(f"{prefix}/apply-template", template.apply, methods=["POST"]),
            Route(f"{prefix}/props", props.get),
            Route(f"{prefix}/props", props.post, methods=["POST"]),
            Route(f"{prefix}/slots", slots.get),
        ]
    app = Starlette(
        routes=routes,
        exception_handlers={
            LlmdError: errors.handle_llmd_error,
            HTTPException: errors.handle_http_exception,
            ClientDisconnected: errors.handle_disconnect,
            ClientDisconnect: errors.handle_disconnect,  # Starlette's, while a body is read
        },
        # The first is the outermost.
        middleware=[
            Middleware(AccessLog),
            Middleware(Front),
            Middleware(DrainGate),
            Middleware(Authentication),
        ],
    )
    state = app.state.llmd = ApiState(registry, settings, store or memory_store(settings))
    state.recordings.configure(settings.record, settings.record_max_bytes)
    state.metrics.watch(registry.list, state.stuck, is_draining=lambda: state.drain.is_on)
    return app

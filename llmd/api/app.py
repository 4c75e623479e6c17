"""The ASGI application."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import BaseRoute, Route

from llmd.api import errors, health
from llmd.api.disconnect import ClientDisconnected
from llmd.api.openai import chat, completions, models
from llmd.api.state import ApiState
from llmd.config.settings import ServerSettings
from llmd.errors import LlmdError
from llmd.registry.registry import ModelRegistry


def create_app(registry: ModelRegistry, settings: ServerSettings) -> Starlette:
    """All routes of all dialects over the models of `registry`."""
    routes: list[BaseRoute] = [*health.ROUTES]
    for prefix in ("/v1", ""):
        routes += [
            Route(f"{prefix}/chat/completions", chat.create, methods=["POST"]),
            Route(f"{prefix}/completions", completions.create, methods=["POST"]),
            Route(f"{prefix}/models", models.list_models),
            Route(f"{prefix}/models/{{name:path}}", models.get_model),
        ]
    app = Starlette(
        routes=routes,
        exception_handlers={
            LlmdError: errors.handle_llmd_error,
            HTTPException: errors.handle_http_exception,
            ClientDisconnected: errors.handle_disconnect,
            ClientDisconnect: errors.handle_disconnect,  # Starlette's, while a body is read
            Exception: errors.handle_crash,
        },
    )
    app.state.llmd = ApiState(registry, settings)
    return app

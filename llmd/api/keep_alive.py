"""How long a request wants its model to stay loaded."""

from __future__ import annotations

from typing import Annotated

from pydantic import PlainValidator

from llmd.api.json_body import JsonModel
from llmd.config.duration import parse_keep_alive

KeepAlive = Annotated[float, PlainValidator(parse_keep_alive)]


class KeepAliveField(JsonModel):
    """Ollama's field, on every route that uses a model: seconds, a text such as `5m`, 0 to unload
    the model after this answer, or a negative one to let it stay.
    """

    keep_alive: KeepAlive | None = None

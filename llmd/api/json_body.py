"""Reading a request's JSON body."""

from __future__ import annotations

import logging
from typing import Any, TypeVar

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from starlette.requests import Request

from llmd.api.limits import check_limits
from llmd.config.settings import ServerSettings
from llmd.errors import BodyTooLarge, InvalidRequest

logger = logging.getLogger("llmd.api")

Model = TypeVar("Model", bound="JsonModel")


class JsonModel(BaseModel):
    """The base of all request schemas: a field that is null counts as absent (SDKs send nulls for
    what their user left out), an unknown field is ignored, a wrong type is an error.
    """

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _drop_nulls(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        unknown = value.keys() - cls.model_fields.keys()
        if unknown:
            logger.debug("%s: ignored fields: %s", cls.__name__, ", ".join(sorted(unknown)))
        return {key: field for key, field in value.items() if field is not None}


async def read(request: Request, schema: type[Model], settings: ServerSettings) -> Model:
    """The body as a `schema`. The content type is not looked at: clients send all kinds. Raises
    BodyTooLarge, LimitExceeded, or InvalidRequest that names the field at fault.
    """
    most = settings.max_body_bytes
    # Of a body that says that it is too large, nothing is read.
    if int(request.headers.get("content-length", 0)) > most:
        raise _too_large(most)
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > most:
            raise _too_large(most)
    value = _parse(bytes(body))
    check_limits(value, settings)
    return validate(value, schema)


def _too_large(most: int) -> BodyTooLarge:
    return BodyTooLarge(
        f"the request body is larger than {most} bytes. Send less, or start llmd with a larger "
        f"max_body_bytes."
    )


def parse(body: bytes, schema: type[Model]) -> Model:
    """As `read`, of bytes at hand and without limits."""
    return validate(_parse(body), schema)


def _parse(body: bytes) -> dict[str, Any]:
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidRequest(f"the body is not valid JSON: {error}. Send a JSON object.") from error
    if not isinstance(value, dict):
        raise InvalidRequest("the body is not a JSON object. Send an object with named fields.")
    return value


def validate(value: object, schema: type[Model], *, at: tuple[str | int, ...] = ()) -> Model:
    """A parsed value as a `schema`; `at` is its path in the body, for errors."""
    try:
        return schema.model_validate(value)
    except ValidationError as error:
        raise _explain(error, at) from error


def _explain(error: ValidationError, at: tuple[str | int, ...]) -> InvalidRequest:
    first = error.errors(include_url=False)[0]
    # Of a union, pydantic names the member that it tried; those parts are no path of the client's.
    path = [str(part) for part in (*at, *first["loc"]) if not _is_member_name(part)]
    param = ".".join(path) or None
    message = str(first["msg"]).removeprefix("Value error, ").rstrip(".")
    if first["type"] == "missing":
        text = f"the field {param!r} is missing. Add it."
    elif first["type"] == "value_error":
        text = f"{param}: {message}." if param else f"{message}."
    else:
        text = f"{param!r} is not valid: {message}. Correct it or leave it out."
    return InvalidRequest(text, param=param)


def _is_member_name(part: int | str) -> bool:
    return isinstance(part, str) and (
        part in {"str", "int", "float", "bool"}
        or part.startswith("constrained-")
        or "[" in part
        or part[:1].isupper()
    )

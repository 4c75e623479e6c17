"""What a section of the configuration is made of: its base, and the types of its values."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    SecretStr,
    ValidationInfo,
    field_validator,
)

from llmd.config.byte_size import ByteSize
from llmd.config.duration import Duration

# os.path, as Path.expanduser raises where the user is unknown.
UserPath = Annotated[Path, AfterValidator(lambda path: Path(os.path.expanduser(path)))]

NumBytes = Annotated[ByteSize, PlainValidator(ByteSize.parse)]

Seconds = Annotated[Duration, PlainValidator(Duration.parse)]


def _split(value: Any) -> Any:
    """A list of texts, also where they come as one text with commas."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",")]
    if isinstance(value, list | tuple) and all(isinstance(part, str) for part in value):
        return [part for text in value for part in _split(text)]
    return value


Texts = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], BeforeValidator(_split)]

Secrets = Annotated[tuple[Annotated[SecretStr, Field(min_length=1)], ...], BeforeValidator(_split)]
"""Their repr shows nothing of them."""

MAX_TOKENS = 2**31 - 1
"""llama.cpp counts tokens in 32 bits."""


class Contradiction(ValueError):
    """A value that is valid by itself and does not go with another key's."""


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_true_as_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        # pydantic takes true for 1, and `threads = true` is nobody's wish.
        if isinstance(value, bool) and cls.model_fields[info.field_name or ""].annotation not in (
            bool,
            bool | None,
        ):
            raise ValueError("true and false are no value for it")
        return value

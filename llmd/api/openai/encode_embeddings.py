"""Embeddings as the OpenAI API writes them."""

from __future__ import annotations

from base64 import b64encode
from typing import Literal

import numpy as np
import orjson

from llmd.core.embedding import Embeddings

LITTLE_ENDIAN = np.dtype("<f4")


def encode_embeddings(embeddings: Embeddings, encoding_format: Literal["float", "base64"]) -> bytes:
    """The body of the answer. base64 is of little-endian 32-bit floats; as numbers each has the
    digits that a 32-bit float needs, and no more.
    """
    arrays = [np.frombuffer(vector, np.float32) for vector in embeddings.vectors]
    data = [
        {
            "object": "embedding",
            "index": index,
            "embedding": b64encode(values.astype(LITTLE_ENDIAN, copy=False).tobytes()).decode()
            if encoding_format == "base64"
            else values,
        }
        for index, values in enumerate(arrays)
    ]
    num_tokens = embeddings.num_tokens
    return orjson.dumps(
        {
            "object": "list",
            "data": data,
            "model": embeddings.model_name,
            "usage": {"prompt_tokens": num_tokens, "total_tokens": num_tokens},
        },
        option=orjson.OPT_SERIALIZE_NUMPY,
    )

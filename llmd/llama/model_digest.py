"""Which weights a model file holds."""

from __future__ import annotations

from hashlib import blake2b
from pathlib import Path

from llmd.config.model_reference import parts_of

HEAD_BYTES = 1 << 20
NUM_SAMPLES = 256
SAMPLE_BYTES = 4096


def digest_of(path: Path) -> str:
    """A name for the content of a model file (with its parts, where it is split), in milliseconds:
    of its size, its beginning, and samples spread evenly over the rest. A training step changes
    every weight, so two models of one size differ in the samples.
    """
    digest = blake2b(digest_size=16)
    for part in parts_of(path):
        size = part.stat().st_size
        digest.update(size.to_bytes(8, "little"))
        with part.open("rb") as file:
            digest.update(file.read(HEAD_BYTES))
            for index in range(NUM_SAMPLES):
                file.seek(HEAD_BYTES + max(0, size - HEAD_BYTES) * index // NUM_SAMPLES)
                digest.update(file.read(SAMPLE_BYTES))
    return digest.hexdigest()

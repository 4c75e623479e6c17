from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from models import make_model
from prompts import PromptEncoder


@pytest.fixture(scope="session")
def toy_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("benchmarks") / "toy.gguf"
    make_model("toy", "F16", path)
    return path


@pytest.fixture(scope="session")
def encoder(toy_path: Path) -> Iterator[PromptEncoder]:
    encoder = PromptEncoder(toy_path)
    yield encoder
    encoder.close()

"""Servers that several tests of the API share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import EXACT_SETTINGS
from live import LiveServer, serving
from zoo.llama import write_coder_llama

from llmd.registry.instance import ModelInstance


@pytest.fixture(scope="session")
def coder_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_coder_llama(tmp_path_factory.mktemp("coder") / "coder.gguf")


@pytest.fixture(scope="session")
def coder_server(coder_path: Path) -> Iterator[LiveServer]:
    """A tiny model that can fill gaps, behind the real API."""
    with serving(lambda: ModelInstance("tiny-coder", coder_path, EXACT_SETTINGS)) as server:
        yield server

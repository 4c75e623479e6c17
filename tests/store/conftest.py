from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from hub import LocalHub, hub_serving


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of huggingface_hub, and nothing of the user's own."""
    from huggingface_hub import constants

    directory = tmp_path / "hub"
    for name in ("HF_HOME", "HF_TOKEN", "HF_ENDPOINT", "HUGGINGFACE_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HUB_CACHE", str(directory))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    # What the library would fetch for its user agent from the real hub.
    harnesses = tmp_path / "harnesses.json"
    harnesses.write_text(json.dumps({"standardEnvVars": [], "harnesses": {}}))
    monkeypatch.setattr(constants, "AGENT_HARNESSES_PATH", str(harnesses), raising=False)
    return directory


@pytest.fixture
def hub() -> Iterator[LocalHub]:
    with hub_serving() as hub:
        yield hub

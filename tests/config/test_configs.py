"""The files in configs/."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmd.config.keys import known_keys
from llmd.config.load import load
from llmd.config.reference import reference_toml
from llmd.config.settings import Settings

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.toml")), ids=lambda path: path.name)
def test_every_example_loads(path: Path) -> None:
    load({}, path, {}, path.parent)


def test_the_reference_is_in_step_with_the_settings() -> None:
    assert (CONFIGS / "reference.toml").read_text() == reference_toml(), (
        "run: python -m llmd.config.reference > configs/reference.toml"
    )


def test_the_reference_holds_every_key() -> None:
    lines = (CONFIGS / "reference.toml").read_text().splitlines()
    spelled = {line.removeprefix("# ").partition(" =")[0] for line in lines if " =" in line}
    assert spelled == {key[-1] for key in known_keys()}


def test_the_reference_says_the_defaults() -> None:
    loaded = load({}, CONFIGS / "reference.toml", {}, CONFIGS)
    assert loaded.settings == Settings()


def test_the_minimal_example_has_three_lines() -> None:
    assert len((CONFIGS / "minimal.toml").read_text().splitlines()) == 3

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest
from pydantic import ValidationError

from llmd.config.keys import known_keys
from llmd.config.sampling_defaults import SamplingDefaults
from llmd.config.settings import ModelSettings, ServerSettings, Settings
from llmd.core.sampling import SamplingParams


def test_the_defaults_listen_on_this_machine_alone_and_serve_the_bundled_model() -> None:
    settings = Settings()
    assert (settings.server.host, settings.server.port) == ("127.0.0.1", 8080)
    assert settings.model.source == "tiny"


def test_sampling_defaults_cover_every_sampling_parameter_but_a_requests_own() -> None:
    parameters = {field.name for field in fields(SamplingParams)}
    assert set(SamplingDefaults.model_fields) == parameters - {"logit_bias", "infill"}


def test_overrides_hold_only_what_is_set_and_fit_sampling_params() -> None:
    overrides = SamplingDefaults(temperature=0, dry_sequence_breakers=("\n",)).overrides()
    assert overrides == {"temperature": 0, "dry_sequence_breakers": ("\n",)}
    assert SamplingParams().override(overrides).temperature == 0


def test_an_unset_sampling_section_overrides_nothing() -> None:
    assert SamplingDefaults().overrides() == {}


def test_the_sampling_parameters_own_defaults_are_within_the_bounds() -> None:
    values = {name: getattr(SamplingParams(), name) for name in SamplingDefaults.model_fields}
    SamplingDefaults.model_validate(values)


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Settings().server.port = 1  # type: ignore[misc]


def test_every_key_has_a_description() -> None:
    assert not [key for key, field in known_keys().items() if not field.description]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_number_must_be_finite(value: float) -> None:
    with pytest.raises(ValidationError):
        ServerSettings(sse_ping_interval=value)


def test_true_is_not_taken_for_a_number() -> None:
    with pytest.raises(ValidationError, match="no value for it"):
        ModelSettings(threads=True)


@pytest.mark.parametrize("cache_type", ["f16", "f32", "bf16"])
def test_unquantized_values_go_without_flash_attention(cache_type: str) -> None:
    ModelSettings.model_validate({"cache_type_v": cache_type, "flash_attn": "off"})


def test_quantized_values_without_flash_attention_are_refused() -> None:
    with pytest.raises(ValidationError, match="set flash_attn to auto or on"):
        ModelSettings(cache_type_v="q8_0", flash_attn="off")


def test_a_tilde_in_a_path_is_the_home_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/a")
    settings = ServerSettings.model_validate({"uds": "~/llmd.sock"})
    assert settings.uds == Path("/home/a/llmd.sock")


def test_sizes_are_read_with_their_units() -> None:
    settings = ModelSettings.model_validate({"cache_ram": "512MiB", "cache_disk": 5})
    assert (settings.cache_ram, settings.cache_disk) == (512 * 2**20, 5)


def test_a_cache_is_kept_in_memory_and_not_on_disk_unless_asked() -> None:
    settings = ModelSettings()
    assert (settings.cache_ram, settings.cache_dir) == (2 * 2**30, None)
    assert settings.cache_disk == 10 * 2**30

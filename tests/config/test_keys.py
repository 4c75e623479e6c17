from __future__ import annotations

import pytest

from llmd.config.keys import Key, allowed, dotted, environment_name, flag, in_model, known_keys


@pytest.mark.parametrize(
    ("key", "text"),
    [
        (("server", "port"), "a whole number from 0 to 65535"),
        (("server", "log_json"), "true or false"),
        (("server", "uds"), "a path"),
        (("model", "gpu_layers"), "auto or a whole number from 0 to 10000"),
        (("model", "cache_ram"), "a size such as 512MiB or 2GiB"),
        (("model", "flash_attn"), "auto, on or off"),
        (("model", "sampling", "repeat_penalty"), "a number above 0"),
        (("model", "sampling", "temperature"), "a number of at least 0"),
        (("model", "sampling", "dry_sequence_breakers"), "a list of texts"),
    ],
)
def test_what_a_key_takes_is_told_in_words(key: Key, text: str) -> None:
    assert allowed(known_keys()[key]) == text


def test_a_key_has_one_name_in_each_place() -> None:
    key = ("model", "ctx_size")
    assert (dotted(key), environment_name(key), flag(key)) == (
        "model.ctx_size",
        "LLMD_MODEL__CTX_SIZE",
        "--ctx-size",
    )


def test_a_name_with_a_dot_is_quoted() -> None:
    assert dotted(("models", "qwen2.5", "alias")) == 'models."qwen2.5".alias'


def test_a_named_model_has_the_keys_of_model() -> None:
    assert in_model(("models", "qwen", "sampling", "top_k")) == ("model", "sampling", "top_k")

from __future__ import annotations

import pytest

from llmd.store.quantization import RepoModel, find_models, find_projector, matching


@pytest.mark.parametrize(
    ("path", "quant"),
    [
        ("Qwen3-0.6B-Q8_0.gguf", "Q8_0"),
        ("model_q4_k_m.gguf", "Q4_K_M"),
        ("Llama-3.2-3B.Q3_K_L.GGUF", "Q3_K_L"),
        ("Qwen3-30B-A3B-UD-Q4_K_XL.gguf", "UD-Q4_K_XL"),
        ("x-IQ2_XXS.gguf", "IQ2_XXS"),
        ("x-IQ4_NL.gguf", "IQ4_NL"),
        ("x-q4_0_4_4.gguf", "Q4_0_4_4"),
        ("x-bf16.gguf", "BF16"),
        ("x-TQ1_0.gguf", "TQ1_0"),
        ("gpt-oss-20b-mxfp4.gguf", "MXFP4"),
        ("x-Q4_K_M-imat.gguf", "Q4_K_M"),
        ("BF16/x-00001-of-00002.gguf", "BF16"),
        ("Q4_K_M/x-Q4_K_M-00001-of-00002.gguf", "Q4_K_M"),
        ("Qwen2-7B.gguf", "Qwen2-7B"),
        ("model.gguf", "model"),
    ],
)
def test_the_quant_is_read_from_the_name(path: str, quant: str) -> None:
    (model,) = find_models([path])
    assert model.quant == quant


def test_parts_are_one_model_in_their_order() -> None:
    paths = [f"Q8_0/m-{part:05}-of-00003.gguf" for part in (3, 1, 2)]
    (model,) = find_models(paths)
    assert model == RepoModel("m", "Q8_0", tuple(sorted(paths)), 0)


def test_parts_that_lack_are_counted() -> None:
    (model,) = find_models(["m-Q8_0-00002-of-00003.gguf"])
    assert (model.stem, model.num_missing) == ("m-Q8_0", 2)


@pytest.mark.parametrize("name", ["m-00003-of-00002.gguf", "m-00000-of-00002.gguf"])
def test_a_part_that_cannot_be_is_a_name_as_any_other(name: str) -> None:
    (model,) = find_models([name])
    assert (model.files, model.num_missing) == ((name,), 0)


def test_what_is_no_model_is_passed_over() -> None:
    others = ["README.md", "mmproj-F16.gguf", "imatrix_unsloth.gguf", "m.imatrix", "m.safetensors"]
    assert find_models(others) == ()


def quants(wanted: str | None, *paths: str) -> list[str]:
    return [model.files[0] for model in matching(find_models(paths), wanted)]


ALL = ("m-BF16.gguf", "m-Q4_K_M.gguf", "m-Q8_0.gguf", "m-UD-Q2_K_XL.gguf")


@pytest.mark.parametrize(
    ("wanted", "paths", "expected"),
    [
        (None, ALL, ["m-Q4_K_M.gguf"]),
        (None, ("m-BF16.gguf", "m-Q8_0.gguf"), ["m-Q8_0.gguf"]),
        (None, ("m-Q6_K.gguf", "m-BF16.gguf"), ["m-BF16.gguf"]),
        (None, (), []),
        ("q8_0", ALL, ["m-Q8_0.gguf"]),
        ("UD-Q2_K_XL", ALL, ["m-UD-Q2_K_XL.gguf"]),
        ("q2_k_xl", ALL, ["m-UD-Q2_K_XL.gguf"]),
        ("M-bf16", ALL, ["m-BF16.gguf"]),
        ("m-BF16.gguf", ALL, ["m-BF16.gguf"]),
        ("Q5_K_M", ALL, []),
        ("Q4", ALL, []),
        ("Q4_K_M", ("a-Q4_K_M.gguf", "b-UD-Q4_K_M.gguf"), ["a-Q4_K_M.gguf"]),
        ("Q4_K_M", ("a-Q4_K_M.gguf", "b-Q4_K_M.gguf"), ["a-Q4_K_M.gguf", "b-Q4_K_M.gguf"]),
        ("b-Q4_K_M", ("a-Q4_K_M.gguf", "b-Q4_K_M.gguf"), ["b-Q4_K_M.gguf"]),
    ],
)
def test_the_model_that_is_meant(
    wanted: str | None, paths: tuple[str, ...], expected: list[str]
) -> None:
    assert quants(wanted, *paths) == expected


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (["m-Q8_0.gguf"], None),
        (["m-Q8_0.gguf", "mmproj-BF16.gguf", "mmproj-F16.gguf"], "mmproj-F16.gguf"),
        (["m-Q8_0.gguf", "mmproj-odd.gguf"], "mmproj-odd.gguf"),
        (["a/m-Q8_0.gguf", "a/mmproj-F32.gguf", "mmproj-F16.gguf"], "a/mmproj-F32.gguf"),
        (["a/m-Q8_0.gguf", "m.mmproj-F16.gguf"], "m.mmproj-F16.gguf"),
    ],
)
def test_the_projector_of_a_model(paths: list[str], expected: str | None) -> None:
    (model,) = find_models(paths)
    assert find_projector(paths, model) == expected

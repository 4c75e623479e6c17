from __future__ import annotations

from pathlib import Path

import pytest

from llmd.config.model_reference import is_path, resolve, served_id
from llmd.errors import ModelFileNotFound, ModelLoadError


def touch(directory: Path, *names: str) -> None:
    for name in names:
        (directory / name).write_bytes(b"GGUF")


def refusal(source: str | Path, error: type[ModelLoadError] = ModelLoadError) -> str:
    with pytest.raises(error) as caught:
        resolve(str(source))
    return caught.value.message


def test_a_path_is_its_file(tmp_path: Path) -> None:
    touch(tmp_path, "a.gguf")
    assert resolve(str(tmp_path / "a.gguf")) == tmp_path / "a.gguf"


def test_a_tilde_is_the_home_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    touch(tmp_path, "a.gguf")
    assert resolve("~/a.gguf") == tmp_path / "a.gguf"


def test_a_relative_path_is_taken_from_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "org").mkdir()
    touch(tmp_path / "org", "repo")
    assert resolve("org/repo") == Path("org/repo")


def test_a_missing_file_is_answered_with_the_nearest_name(tmp_path: Path) -> None:
    touch(tmp_path, "qwen3-0.6b-q8_0.gguf", "notes.txt")
    message = refusal(tmp_path / "qwen3-0.6B-q8.gguf", ModelFileNotFound)
    assert message.endswith(f"Did you mean {tmp_path}/qwen3-0.6b-q8_0.gguf?")


def test_a_missing_file_with_nothing_alike_still_gets_a_cure(tmp_path: Path) -> None:
    message = refusal(tmp_path / "a.gguf", ModelFileNotFound)
    assert message.endswith("Give the path of a .gguf file, or `tiny` for the bundled model.")


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    message = refusal(tmp_path / "absent" / "a.gguf", ModelFileNotFound)
    assert f"no directory {tmp_path}/absent" in message


def test_a_path_that_the_system_refuses_is_an_error_with_its_reason() -> None:
    assert "File name too long" in refusal("/" + "a" * 300 + ".gguf", ModelFileNotFound)


def test_an_unknown_users_home_is_a_missing_file() -> None:
    refusal("~no-such-user/a.gguf", ModelFileNotFound)


def test_a_directory_says_so_and_names_a_model_in_it(tmp_path: Path) -> None:
    touch(tmp_path, "b.gguf")
    message = refusal(tmp_path)
    assert "is a directory" in message
    assert message.endswith(f"{tmp_path}/b.gguf")


def test_a_directory_without_models_asks_for_a_file(tmp_path: Path) -> None:
    assert refusal(tmp_path).endswith("Give the path of a .gguf file.")


def test_the_first_part_stands_for_a_split_model(tmp_path: Path) -> None:
    touch(tmp_path, "m-00001-of-00002.gguf", "m-00002-of-00002.gguf")
    first = tmp_path / "m-00001-of-00002.gguf"
    assert resolve(str(first)) == first


def test_a_later_part_names_the_first(tmp_path: Path) -> None:
    touch(tmp_path, "m-00001-of-00002.gguf", "m-00002-of-00002.gguf")
    message = refusal(tmp_path / "m-00002-of-00002.gguf")
    assert message.endswith(f"Give the first part: {tmp_path}/m-00001-of-00002.gguf")


def test_a_missing_part_is_named(tmp_path: Path) -> None:
    touch(tmp_path, "m-00001-of-00003.gguf", "m-00002-of-00003.gguf")
    message = refusal(tmp_path / "m-00001-of-00003.gguf", ModelFileNotFound)
    assert "m-00003-of-00003.gguf" in message


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("tiny", False),
        ("org/repo", False),
        ("https://huggingface.co/org/repo/resolve/main/a.gguf", False),
        ("a.gguf", True),
        ("dir/A.GGUF", True),
        ("./a", True),
        ("~/a", True),
        ("/a", True),
    ],
)
def test_what_is_written_as_a_path(source: str, expected: bool) -> None:
    assert is_path(source) is expected


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("tiny", "tiny"),
        ("/models/Qwen3-0.6B-Q8_0.gguf", "Qwen3-0.6B-Q8_0"),
        ("m-00001-of-00003.gguf", "m"),
        ("dir/model.v2", "model.v2"),
    ],
)
def test_the_served_id_follows_the_source(source: str, expected: str) -> None:
    assert served_id(source) == expected

from __future__ import annotations

from pathlib import Path

import pytest
from cached_models import put_in_cache

from llmd.errors import ModelFileNotFound, ModelLoadError
from llmd.store.hub_reference import HubReference
from llmd.store.locate import find_stored, locate

FILES = {"m-Q4_K_M.gguf": b"four", "m-Q8_0.gguf": b"eight"}


def refusal(source: str) -> str:
    with pytest.raises(ModelFileNotFound) as caught:
        locate(source)
    return caught.value.message


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("org/repo", "m-Q4_K_M.gguf"),
        ("ORG/Repo:q8_0", "m-Q8_0.gguf"),
        ("hf.co/org/repo:Q8_0", "m-Q8_0.gguf"),
        ("org/repo:m-Q8_0", "m-Q8_0.gguf"),
    ],
)
def test_a_pulled_model_is_its_file(source: str, name: str, cache: Path) -> None:
    repo = put_in_cache(cache, "org/repo", FILES)
    assert locate(source) == repo.snapshot(locate(source).parent.name) / name
    assert locate(source).read_bytes() == FILES[name]


def test_paths_and_the_bundled_model_are_found_as_ever(cache: Path, tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(b"GGUF")
    assert locate(str(tmp_path / "m.gguf")) == tmp_path / "m.gguf"
    assert locate("tiny").name == "tiny.gguf"
    with pytest.raises(ModelLoadError, match="is a directory"):
        locate(str(tmp_path))


def test_a_file_of_that_name_goes_before_a_pulled_model(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_in_cache(cache, "org/repo", FILES)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "org").mkdir()
    (tmp_path / "org" / "repo").write_bytes(b"GGUF")
    assert locate("org/repo") == Path("org/repo")


def test_what_is_not_here_says_how_to_get_it(cache: Path) -> None:
    assert refusal("org/repo") == "org/repo is not on this machine. Run: llmd pull org/repo"


def test_another_quant_says_which_are_here(cache: Path) -> None:
    put_in_cache(cache, "org/repo", FILES)
    assert refusal("org/repo:Q5_0") == (
        "org/repo:Q5_0 is not on this machine (of org/repo there is Q4_K_M, Q8_0). "
        "Run: llmd pull org/repo:Q5_0"
    )


def test_a_split_model_is_its_first_part(cache: Path) -> None:
    parts = {f"Q8_0/m-{part:05}-of-00002.gguf": b"%d" % part for part in (1, 2)}
    put_in_cache(cache, "org/repo", parts)
    assert locate("org/repo").name == "m-00001-of-00002.gguf"


def test_a_part_that_lacks_is_counted(cache: Path) -> None:
    put_in_cache(cache, "org/repo", {"m-Q8_0-00002-of-00002.gguf": b"x"})
    assert refusal("org/repo") == (
        "org/repo:Q8_0 is not whole: 1 of 2 parts are here. Run: llmd pull org/repo"
    )


def test_bytes_that_are_gone_are_said(cache: Path) -> None:
    repo = put_in_cache(cache, "org/repo", {"m-Q8_0.gguf": b"x"})
    for blob in repo.blobs.iterdir():
        blob.unlink()
    assert "the contents of m-Q8_0.gguf are gone. Run: llmd pull" in refusal("org/repo:Q8_0")


def test_a_whole_model_goes_before_the_preferred_one_that_is_not(cache: Path) -> None:
    put_in_cache(cache, "org/repo", {"m-Q4_K_M-00001-of-00002.gguf": b"x", "m-Q5_0.gguf": b"five"})
    assert locate("org/repo").name == "m-Q5_0.gguf"


def test_two_models_of_a_quant_ask_for_a_name(cache: Path) -> None:
    put_in_cache(cache, "org/repo", {"a-Q8_0.gguf": b"a", "b-Q8_0.gguf": b"b"})
    assert refusal("org/repo").endswith("Name one: org/repo:a-Q8_0, org/repo:b-Q8_0")
    assert locate("org/repo:b-Q8_0").read_bytes() == b"b"


def test_the_last_pull_goes_before_older_ones_which_keep_what_only_they_have(cache: Path) -> None:
    put_in_cache(cache, "org/repo", FILES, commit="a" * 40)
    put_in_cache(cache, "org/repo", {"m-Q4_K_M.gguf": b"new"}, commit="b" * 40)
    assert locate("org/repo:Q4_K_M").read_bytes() == b"new"
    assert locate("org/repo:Q8_0").read_bytes() == b"eight"


def test_a_file_that_was_renamed_leaves_the_quant_to_the_newer(cache: Path) -> None:
    put_in_cache(cache, "org/repo", {"old-Q8_0.gguf": b"old"}, commit="a" * 40)
    put_in_cache(cache, "org/repo", {"new-Q8_0.gguf": b"new"}, commit="b" * 40)
    assert locate("org/repo:Q8_0").read_bytes() == b"new"
    assert locate("org/repo:old-Q8_0").read_bytes() == b"old"


def test_the_projector_is_known(cache: Path) -> None:
    put_in_cache(cache, "org/repo", FILES | {"mmproj-F16.gguf": b"it sees"})
    stored = find_stored(HubReference("org", "repo"))
    assert stored.projector and stored.projector.read_bytes() == b"it sees"
    assert stored.num_bytes == len(b"four") + len(b"it sees")

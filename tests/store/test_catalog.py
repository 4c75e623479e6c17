from __future__ import annotations

import fcntl
from pathlib import Path

import pytest
from cached_models import put_in_cache
from zoo.llama import write_llama

from llmd.errors import InvalidRequest, ModelNotFound
from llmd.store.catalog import WEIGHTS_BYTES, Unfinished, catalog, remove, unfinished
from llmd.store.hub_reference import parse_reference
from llmd.store.locate import locate

FILES = {"m-Q4_K_M.gguf": b"four", "m-Q8_0.gguf": b"eight"}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return write_llama(tmp_path_factory.mktemp("model") / "m.gguf").read_bytes()


def removed(source: str) -> tuple[list[str], int]:
    reference = parse_reference(source)
    assert reference
    references, num_bytes = remove(reference)
    return [str(each) for each in references], num_bytes


def names() -> list[str]:
    return [str(entry.stored.reference) for entry in catalog()]


def test_each_model_is_told_once_with_its_header(cache: Path, model: bytes) -> None:
    put_in_cache(cache, "org/repo", {"m-F32.gguf": model, "mmproj-F16.gguf": b"x"}, commit="a")
    put_in_cache(cache, "org/repo", {"m-F32.gguf": model}, commit="b")
    (entry,) = catalog()
    assert str(entry.stored.reference) == "org/repo:F32"
    assert entry.file and entry.file.context_length == 2048
    assert (entry.fault, entry.stored.num_bytes) == (None, len(model))


def test_damaged_entries_stand_beside_whole_ones(cache: Path, model: bytes) -> None:
    put_in_cache(cache, "a/whole", {"m-Q8_0.gguf": model})
    put_in_cache(cache, "b/no-gguf", {"m-Q8_0.gguf": b"PK"})
    put_in_cache(cache, "c/split", {"m-Q8_0-00001-of-00002.gguf": model})
    lost = put_in_cache(cache, "d/lost", {"m-Q8_0.gguf": b"lost"})
    next(lost.blobs.iterdir()).unlink()
    (cache / "models--e--empty").mkdir()
    (cache / "models--f--file").touch()
    put_in_cache(cache, "g/safetensors", {"model.safetensors": b"x"})
    faults = {entry.stored.reference.repo: entry.fault for entry in catalog()}
    assert faults == {
        "a/whole": None,
        "b/no-gguf": "its file is no whole model. Run: llmd pull b/no-gguf:Q8_0 --verify",
        "c/split": "1 of 2 parts are here. Run: llmd pull c/split:Q8_0",
        "d/lost": "the contents of m-Q8_0.gguf are gone. Run: llmd pull d/lost:Q8_0",
    }


def test_unfinished_pulls_are_told_with_their_bytes(cache: Path) -> None:
    repo = put_in_cache(cache, "org/repo", FILES)
    assert unfinished() == []
    (repo.blobs / "abc.incomplete").write_bytes(b"so far")
    assert unfinished() == [Unfinished("org/repo", 6)]


def test_a_removed_quant_gives_its_bytes_back_and_leaves_the_others(cache: Path) -> None:
    repo = put_in_cache(cache, "org/repo", FILES)
    assert removed("org/repo:q8_0") == (["org/repo:Q8_0"], 5)
    assert [blob.read_bytes() for blob in repo.blobs.iterdir()] == [b"four"]
    assert locate("org/repo").read_bytes() == b"four"


def test_the_last_model_takes_its_repository_with_it(cache: Path) -> None:
    repo = put_in_cache(cache, "org/repo", {"m-Q8_0.gguf": b"eight", "mmproj-F16.gguf": b"sees"})
    assert removed("org/repo:Q8_0") == (["org/repo:Q8_0"], 9)
    assert not repo.directory.exists()


def test_what_is_no_model_stays_when_a_quant_goes(cache: Path) -> None:
    files = {"m-Q8_0.gguf": b"x", "m-Q4_0.gguf": b"xx", "model.safetensors": bytes(WEIGHTS_BYTES)}
    repo = put_in_cache(cache, "org/repo", files)
    (repo.blobs / "abc.incomplete").write_bytes(b"so far")
    assert removed("org/repo:Q8_0")[1] == 1
    assert removed("org/repo") == (["org/repo:Q4_0"], 8)
    assert [blob.stat().st_size for blob in repo.blobs.iterdir()] == [WEIGHTS_BYTES]
    with pytest.raises(ModelNotFound, match="there is no org/repo here"):
        removed("org/repo")


def test_an_unfinished_pull_of_another_quant_stays(cache: Path) -> None:
    repo = put_in_cache(cache, "org/repo", {"m-Q8_0.gguf": b"x", "README.md": b"# m"})
    (repo.blobs / "abc.incomplete").write_bytes(b"so far")
    assert removed("org/repo:Q8_0")[1] == 1
    assert unfinished() == [Unfinished("org/repo", 6)]
    assert removed("org/repo") == ([], 9)
    assert not repo.directory.exists()


def test_without_a_quant_everything_goes(cache: Path) -> None:
    repo = put_in_cache(cache, "org/repo", FILES | {"README.md": b"# m"})
    (repo.blobs / "abc.incomplete").write_bytes(b"so far")
    assert removed("org/repo") == (["org/repo:Q4_K_M", "org/repo:Q8_0"], 18)
    assert not repo.directory.exists()


def test_every_revision_of_a_model_goes(cache: Path) -> None:
    put_in_cache(cache, "org/repo", FILES, commit="a")
    repo = put_in_cache(cache, "org/repo", FILES | {"m-Q8_0.gguf": b"newer"}, commit="b")
    assert removed("org/repo:Q8_0") == (["org/repo:Q8_0"], 10)
    assert [blob.read_bytes() for blob in repo.blobs.iterdir()] == [b"four"]


def test_bytes_that_another_file_has_too_stay(cache: Path) -> None:
    put_in_cache(cache, "org/repo", {"a-Q8_0.gguf": b"same", "b-Q4_0.gguf": b"same"})
    assert removed("org/repo:Q8_0") == (["org/repo:Q8_0"], 0)
    assert locate("org/repo:Q4_0").read_bytes() == b"same"


def test_a_cache_without_links_gives_back_the_files_themselves(cache: Path) -> None:
    repo = put_in_cache(cache, "org/repo", FILES)
    for path in repo.snapshots()[0].iterdir():
        path.resolve().rename(path)
    assert removed("org/repo:Q8_0") == (["org/repo:Q8_0"], 5)
    assert names() == ["org/repo:Q4_K_M"]


def test_bytes_that_repositories_share_stay_until_the_last_has_gone(cache: Path) -> None:
    store = pytest.importorskip("huggingface_hub.utils._shared_blobs")
    shared = "a" * 64
    for name in ("org/one", "org/two"):
        repo = put_in_cache(cache, name, {"m-Q8_0.gguf": b"shared", "m-Q4_0.gguf": b"four"})
        (blob,) = (path for path in repo.blobs.iterdir() if path.read_bytes() == b"shared")
        if not store.try_link_from_shared_store(
            blob_path=blob, xet_hash=shared, cache_dir=cache, expected_size=6
        ):
            assert store.publish_blob_to_shared_store(
                blob_path=blob, xet_hash=shared, cache_dir=cache, expected_size=6,
                replace_existing=False,
            )  # fmt: skip
        assert blob.is_symlink()
    assert removed("org/one:Q8_0") == (["org/one:Q8_0"], 0)
    assert locate("org/two:Q8_0").read_bytes() == b"shared"
    assert removed("org/two") == (["org/two:Q4_0", "org/two:Q8_0"], 10)
    assert not store.shared_blob_path(cache, shared).exists()


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("org/repo:Q8_1", "there is no org/repo:Q8_1 here. Did you mean org/repo:Q8_0"),
        ("org/rep", "Did you mean org/repo"),
        ("other/name", "`llmd list` tells what is here."),
    ],
)
def test_what_is_not_here_is_refused_with_the_nearest(source: str, words: str, cache: Path) -> None:
    put_in_cache(cache, "org/repo", FILES)
    with pytest.raises(ModelNotFound) as caught:
        removed(source)
    assert words in caught.value.message


def test_a_quant_of_two_models_is_not_removed_by_guessing(cache: Path) -> None:
    put_in_cache(cache, "org/repo", {"a-Q8_0.gguf": b"a", "b-Q8_0.gguf": b"b"})
    with pytest.raises(ModelNotFound, match="Name one: org/repo:a-Q8_0, org/repo:b-Q8_0"):
        removed("org/repo:Q8_0")
    assert removed("org/repo:a-Q8_0") == (["org/repo:a-Q8_0"], 1)


def test_what_is_being_pulled_is_not_removed(cache: Path) -> None:
    repo = put_in_cache(cache, "org/repo", FILES)
    repo.locks.mkdir(parents=True)
    with (repo.locks / "abc.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(InvalidRequest, match="is being pulled"):
            removed("org/repo:Q8_0")
    assert removed("org/repo:Q8_0")[1] == 5

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from llmd.store.hub_cache import CachedRepo, cached_repos, files_in, find_repo, hub_cache


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"XDG_CACHE_HOME": "/xdg"},
        {"HF_HOME": "~/hf"},
        {"HF_HOME": "/hf", "HF_HUB_CACHE": "$HOME/models"},
        {"HUGGINGFACE_HUB_CACHE": "/old", "HF_HOME": "/hf"},
    ],
)
def test_the_cache_is_where_the_library_has_it(environ: dict[str, str]) -> None:
    code = (
        "from huggingface_hub.constants import HF_HUB_CACHE\n"
        "from llmd.store.hub_cache import hub_cache\n"
        "assert str(hub_cache()) == HF_HUB_CACHE, (hub_cache(), HF_HUB_CACHE)\n"
    )
    whole = {"PATH": os.environ["PATH"], "HOME": "/home/somebody"} | environ
    subprocess.run([sys.executable, "-c", code], env=whole, check=True)


def test_repositories_are_found_by_any_spelling(tmp_path: Path) -> None:
    for name in ("models--Org--Repo", "models--gpt2", "datasets--org--data", ".locks", "version"):
        (tmp_path / name).mkdir()
    assert [repo.repo for repo in cached_repos(tmp_path)] == ["Org/Repo"]
    assert find_repo(tmp_path, "org/REPO").repo == "Org/Repo"
    assert not find_repo(tmp_path, "org/other").directory.exists()


def test_a_cache_that_is_not_there_is_empty(tmp_path: Path) -> None:
    assert cached_repos(tmp_path / "absent") == []
    assert CachedRepo(tmp_path, "org", "repo").snapshots() == []


def test_the_snapshot_of_the_last_pull_comes_first_then_the_newest(tmp_path: Path) -> None:
    repo = CachedRepo(tmp_path, "org", "repo")
    for age, commit in enumerate("abc"):
        repo.snapshot(commit).mkdir(parents=True)
        os.utime(repo.snapshot(commit), (1000 - age, 1000 - age))
    assert [path.name for path in repo.snapshots()] == ["a", "b", "c"]
    repo.main.parent.mkdir()
    repo.main.write_text("c")
    assert [path.name for path in repo.snapshots()] == ["c", "a", "b"]
    repo.main.write_bytes(b"\xff\xfe")
    assert [path.name for path in repo.snapshots()] == ["a", "b", "c"]


def test_files_are_told_by_their_path_in_the_repository(tmp_path: Path) -> None:
    (tmp_path / "Q4").mkdir()
    (tmp_path / "Q4" / "m.GGUF").touch()
    (tmp_path / "README.md").touch()
    (tmp_path / "lost.gguf").symlink_to("nowhere")
    assert list(files_in(tmp_path)) == ["Q4/m.GGUF", "lost.gguf"]


def test_a_home_that_is_given_is_used_without_the_library() -> None:
    code = (
        "import sys\n"
        "from llmd.store.locate import locate\n"
        "locate('tiny')\n"
        "assert 'huggingface_hub' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert hub_cache({"HF_HOME": "/hf"}) == Path("/hf/hub")

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cached_models import put_in_cache
from click.testing import CliRunner, Result
from zoo.llama import write_llama

from llmd.cli import main


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


@pytest.fixture
def model(tmp_path: Path) -> bytes:
    return write_llama(tmp_path / "m.gguf").read_bytes()


def llmd(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments))


def test_nothing_yet_says_how_to_begin(cache: Path) -> None:
    assert llmd("list").output == "No models are here. Get one: llmd pull org/repo\n"


def test_the_list_is_a_table(cache: Path, model: bytes) -> None:
    put_in_cache(cache, "org/repo", {"m-F32.gguf": model, "m-Q8_0.gguf": b"PK"})
    head, first, second, fault = llmd("list").output.splitlines()
    assert head.split() == ["MODEL", "QUANT", "SIZE", "CONTEXT", "LICENCE", "MODIFIED"]
    assert first.split()[:6] == ["org/repo:F32", "F32", "739", "KiB", "2048", "-"]
    assert second.split()[:6] == ["org/repo:Q8_0", "Q8_0", "2", "bytes", "-", "-"]
    assert first.index("F32 ", 10) == head.index("QUANT")
    assert fault.endswith("Run: llmd pull org/repo:Q8_0 --verify")


def test_json_holds_the_same_and_more(cache: Path, model: bytes) -> None:
    repo = put_in_cache(cache, "org/repo", {"m-F32.gguf": model, "mmproj-F16.gguf": b"x"})
    (repo.blobs / "abc.incomplete").write_bytes(b"so far")
    listed = json.loads(llmd("list", "--json").output)
    (entry,) = listed["models"]
    assert (entry["reference"], entry["context_length"]) == ("org/repo:F32", 2048)
    assert entry["num_bytes"] == len(model) + 1
    assert entry["projector"].endswith("mmproj-F16.gguf") and entry["fault"] is None
    assert listed["unfinished"] == [{"repo": "org/repo", "num_bytes": 6}]


def test_a_listed_name_can_be_shown(cache: Path, model: bytes) -> None:
    put_in_cache(cache, "org/repo", {"m-F32.gguf": model})
    result = llmd("show", "org/repo:F32", "--json")
    assert json.loads(result.output)["path"].endswith("/m-F32.gguf")
    assert llmd("show", "org/repo:Q8_0").stderr.endswith("Run: llmd pull org/repo:Q8_0\n")


def test_removing_tells_the_bytes(cache: Path, model: bytes) -> None:
    put_in_cache(cache, "org/repo", {"m-F32.gguf": model, "m-Q8_0.gguf": b"PK"})
    result = llmd("rm", "org/repo:Q8_0")
    assert (result.exit_code, result.output) == (
        0,
        "removed org/repo:Q8_0: 2 bytes given back\n",
    )
    assert llmd("rm", "org/repo:F32").output.endswith(": 739 KiB given back\n")


@pytest.mark.parametrize("source", ["tiny", "./m.gguf", "/models/m.gguf"])
def test_what_was_not_pulled_is_not_removed(source: str, cache: Path) -> None:
    result = llmd("rm", source)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"llmd: {source} names no pulled model.")

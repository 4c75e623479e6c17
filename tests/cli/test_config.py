from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from llmd.cli import main


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.delenv("LLMD_CONFIG", raising=False)


def config(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["config", *arguments], catch_exceptions=False)


def rows(text: str) -> list[list[str]]:
    return [line.split(maxsplit=2) for line in text.splitlines()]


def test_show_tells_every_value_with_its_origin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "llmd.toml").write_text(
        "[server]\nport = 1\nidle_unload = '90m'\n[model.sampling]\ntop_k = 3\n"
        "[models.'qwen2.5']\ncache_ram = '1 GiB'\n[models.b]\n"
    )
    monkeypatch.setenv("LLMD_SERVER__LOG_JSON", "true")
    shown = config("show").output
    file = f"{tmp_path}/llmd.toml"
    assert rows(shown)[0] == ["file", file]
    for row in (
        ["port", "1", f"{file} line 2"],
        ["idle_unload", "1h30m", f"{file} line 3"],
        ["log_json", "true", "LLMD_SERVER__LOG_JSON"],
        ["cache_ram", "1GiB", f"{file} line 7"],
        ["sampling.top_k", "3", f"{file} line 5"],
        ["host", "127.0.0.1", "default"],
    ):
        assert row in rows(shown)
    assert '[models."qwen2.5"]' in shown and "[models.b]" in shown
    assert "alias" not in shown, "a key without a value"


def test_show_is_aligned() -> None:
    lines = [line for line in config("show").output.splitlines() if line.endswith(" default")]
    server = lines[: lines.index(next(line for line in lines if line.startswith("source")))]
    assert len({line.index(" default") for line in server}) == 1


def test_show_tells_the_models_that_are_named() -> None:
    shown = config("show", "x.gguf", "tiny").output
    assert "[models.x]" in shown and "[models.tiny]" in shown
    assert ["source", "x.gguf", "MODEL"] in rows(shown)


def test_show_prints_json() -> None:
    told = json.loads(config("show", "--json").output)
    assert told["file"] is None
    assert told["server"]["port"] == {"value": 8080, "origin": "default"}
    assert told["server"]["memory_budget"]["value"] == "0"
    assert told["models"]["tiny"]["sampling.top_k"]["value"] is None


def test_check_names_every_fault_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "other.toml"
    path.write_text("[server]\nprot = 1\n[model]\nctx_size = -1\n")
    result = config("check", "other.toml")
    assert result.exit_code == 1
    assert result.output.splitlines() == [
        f"{path} line 2: unknown key server.prot. Did you mean server.port?",
        f"{path} line 4: model.ctx_size cannot be -1. Set it to a whole number from 0 to "
        f"2147483647.",
    ]


def test_check_says_ok(tmp_path: Path) -> None:
    (tmp_path / "llmd.toml").write_text("[server]\nport = 1\n")
    result = config("check")
    assert (result.exit_code, result.output) == (0, f"{tmp_path}/llmd.toml: ok\n")
    (tmp_path / "llmd.toml").unlink()
    assert config("check").output.startswith("ok; ")


def test_check_of_a_file_that_is_not_there_is_one_line() -> None:
    result = config("check", "missing.toml")
    assert result.exit_code == 1
    assert len(result.output.splitlines()) == 1 and "missing.toml" in result.output


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_show_tells_that_there_are_keys_and_not_which(
    options: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLMD_API_KEY", "very-secret")
    shown = config("show", *options).stdout
    assert "secret" not in shown
    assert "LLMD_API_KEY" in shown and "***" in shown

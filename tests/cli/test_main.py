from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = (
    "pydantic",
    "llama_cpp",
    "starlette",
    "uvicorn",
    "numpy",
    "jinja2",
    "llmd.daemon",
    "huggingface_hub",
    "rich",
)


def llmd(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "llmd", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=60)


def loaded_by(arguments: list[str]) -> list[str]:
    code = (
        "import json, sys\n"
        "from llmd.cli import main\n"
        f"main({arguments!r}, standalone_mode=False)\n"
        "print(json.dumps(sorted(sys.modules)))\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules = json.loads(run.stdout.splitlines()[-1])
    return [name for name in HEAVY if name in modules]


def test_the_help_loads_nothing_heavy() -> None:
    assert loaded_by(["--help"]) == []


def test_the_help_of_serve_loads_neither_the_native_library_nor_the_web_stack() -> None:
    assert loaded_by(["serve", "--help"]) == ["pydantic"]


def test_the_help_lists_the_commands() -> None:
    run = llmd("--help")
    assert run.returncode == 0
    for words in ("serve     Serve a model over HTTP.", "show      Show", "template  See"):
        assert words in run.stdout


def test_the_version_is_the_packages() -> None:
    from llmd import __version__

    assert llmd("--version").stdout == f"llmd {__version__}\n"


@pytest.mark.parametrize(
    "arguments", [["absent"], ["serve", "--absent"], ["serve", "--port", "x"], ["--absent"]]
)
def test_wrong_usage_exits_with_2(arguments: list[str]) -> None:
    run = llmd(*arguments)
    assert run.returncode == 2
    assert "Traceback" not in run.stderr


def test_a_failure_is_one_line_with_its_cure_and_exits_with_1(tmp_path: Path) -> None:
    (tmp_path / "llmd.toml").write_text("[server]\nprot = 1\n")
    run = llmd("serve", cwd=tmp_path)
    assert run.returncode == 1
    assert run.stdout == ""
    assert run.stderr == (
        f"llmd: {tmp_path}/llmd.toml line 2: unknown key server.prot. Did you mean server.port?\n"
    )


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    (tmp_path / "llmd.toml").write_text("[server]\nprot = 1\n")
    run = llmd("--debug", "serve", cwd=tmp_path)
    assert run.returncode == 1
    assert "Traceback" in run.stderr
    assert "ConfigError" in run.stderr

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from zoo.bert import RANK, write_bert
from zoo.broken import BrokenKind, write_broken
from zoo.llama import write_llama
from zoo.template import BAD_SYNTAX, CHATML_TOOLS

from llmd.cli import main


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.delenv("LLMD_CONFIG", raising=False)
    return tmp_path


def show(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["show", *arguments])


def shown(*arguments: str) -> dict[str, str]:
    result = show(*arguments)
    assert result.exit_code == 0, result.output
    return {
        row[0]: row[1].strip()
        for row in (line.split("  ", 1) for line in result.output.splitlines())
    }


def as_json(*arguments: str) -> dict[str, Any]:
    result = show(*arguments, "--json")
    assert result.exit_code == 0, result.output
    described: dict[str, Any] = json.loads(result.output)
    return described


def test_a_model_is_described(directory: Path) -> None:
    write_llama(directory / "m.gguf", sampling={"temp": 0.5, "top_k": 20}, name="A name")
    rows = shown("m.gguf")
    expected = {
        "name": "A name",
        "file": "m.gguf",
        "architecture": "llama",
        "quantization": "F32",
        "context": "2048 tokens",
        "layers": "2, 64 wide",
        "end tokens": "</s> <|im_end|>",
        "sampling": "temp 0.5, top_k 20",
        "template": "the model's",
    }
    assert {label: rows[label] for label in expected} == expected
    assert rows["parameters"].endswith("K")
    assert rows["size"].endswith("KiB")
    assert rows["vocabulary"].endswith("tokens, llama")


def test_what_the_file_does_not_say_is_left_out(directory: Path) -> None:
    write_llama(directory / "m.gguf")
    assert {"licence", "sampling"} & shown("m.gguf").keys() == set()


def test_the_abilities_of_the_template_are_told(directory: Path) -> None:
    write_llama(directory / "m.gguf", chat_template=CHATML_TOOLS)
    rows = shown("m.gguf")
    assert "tools" in rows["accepts"].split(", ")
    assert "parallel calls" in rows["accepts"].split(", ")
    assert "developer" in rows["repaired"].split(", ")


def test_json_holds_the_same(directory: Path) -> None:
    path = write_llama(directory / "m.gguf", chat_template=CHATML_TOOLS)
    described = as_json("m.gguf")
    assert (described["architecture"], described["context_length"]) == ("llama", 2048)
    assert described["num_bytes"] == path.stat().st_size
    assert described["tensor_types"] == {"F32": described["num_parameters"]}
    assert described["special_tokens"]["bos"] == "<s>"
    assert described["chat"]["abilities"]["tools"] is True
    assert described["chat"]["abilities"]["call_shape"]["id_form"] == "any"
    assert described["chat"]["format"]


def test_the_bundled_model_can_be_shown() -> None:
    assert shown("tiny")["architecture"] == "llama"


def test_a_section_of_the_configuration_can_be_shown(directory: Path) -> None:
    write_llama(directory / "m.gguf")
    (directory / "own.jinja").write_text("{{ messages[0].content }}")
    (directory / "llmd.toml").write_text(
        '[models.small]\nsource = "./m.gguf"\nchat_template = "own.jinja"\n'
    )
    assert shown("small")["template"].endswith("own.jinja")


def test_a_model_without_a_template_speaks_chatml(directory: Path) -> None:
    write_llama(directory / "m.gguf", chat_template=None)
    assert shown("m.gguf")["template"] == "none in the file, so ChatML"


def test_a_template_that_does_not_compile_is_a_row_of_its_own(directory: Path) -> None:
    write_llama(directory / "m.gguf", chat_template=BAD_SYNTAX)
    assert "not valid Jinja" in shown("m.gguf")["fault"]
    assert "not valid Jinja" in as_json("m.gguf")["chat"]["fault"]


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (BrokenKind.EMPTY, "Give the path of a .gguf file."),
        (BrokenKind.TRUNCATED, "Download it again."),
        (BrokenKind.HUGE_TENSOR, "Download it again."),
    ],
)
def test_a_broken_file_is_one_line_with_its_cure(
    kind: BrokenKind, words: str, directory: Path
) -> None:
    write_broken(kind, directory / "m.gguf")
    result = show("m.gguf")
    assert result.exit_code == 1
    assert result.stderr.endswith(f"{words}\n")
    assert result.stderr.count("\n") == 1


def test_a_missing_file_is_named() -> None:
    result = show("absent.gguf")
    assert result.exit_code == 1
    assert "there is no model file absent.gguf" in result.stderr


def test_the_native_library_is_not_loaded(directory: Path) -> None:
    write_llama(directory / "m.gguf")
    code = (
        "import sys\n"
        "from llmd.cli import main\n"
        "main(['show', 'm.gguf'], standalone_mode=False)\n"
        "heavy = {'llama_cpp', 'numpy', 'starlette', 'uvicorn'} & sys.modules.keys()\n"
        "assert not heavy, heavy\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


def test_a_model_that_embeds_has_no_chat_to_describe(directory: Path) -> None:
    write_bert(directory / "m.gguf")
    rows = shown("m.gguf")
    assert rows["pooling"] == "mean: it embeds texts and writes none"
    assert {"template", "accepts"}.isdisjoint(rows)
    assert as_json("m.gguf")["pooling"] == "mean"
    write_bert(directory / "m.gguf", pooling=RANK, with_head=True)
    assert shown("m.gguf")["pooling"].startswith("rank: it ranks")


def test_the_memory_of_some_context_lengths_is_told(directory: Path) -> None:
    write_llama(directory / "m.gguf", context_length=10_000)
    described = as_json("m.gguf")["memory"]
    assert [each["context"] for each in described] == [4096, 8192, 10_000]
    sizes = [each["num_bytes"] for each in described]
    assert sizes == sorted(sizes)
    # A token takes 256 bytes of cache and, in a step of 512 tokens, 1 KiB of mask.
    assert sizes[1] - sizes[0] == 4096 * (256 + 1024)
    told = shown("m.gguf")["memory"]
    assert told.count(" at ") == 3
    assert told.endswith(" at 10000")


def test_an_encoder_takes_memory_for_a_whole_text(directory: Path) -> None:
    write_bert(directory / "m.gguf", context_length=512)
    (described,) = as_json("m.gguf")["memory"]
    assert described["context"] == 512

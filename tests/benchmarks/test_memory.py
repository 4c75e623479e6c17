from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import memory
import pytest
from zoo.bert import write_bert
from zoo.gemma3 import write_gemma3
from zoo.lfm2 import write_lfm2
from zoo.llama import write_llama
from zoo.mamba import write_mamba
from zoo.qwen35 import write_qwen35

pytestmark = [
    pytest.mark.gguf,
    pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="read from Linux's /proc"),
]

# Wide enough that what the interpreter does by the way is next to nothing beside it.
WRITERS: dict[str, Callable[[Path], Path]] = {
    "llama": lambda path: write_llama(path, embedding=768),
    "gemma3": lambda path: write_gemma3(path, width=768),
    "mamba": lambda path: write_mamba(path, width=1024),
    "lfm2": lambda path: write_lfm2(path, width=768),
    "qwen35": lambda path: write_qwen35(path, width=768),
    "bert": lambda path: write_bert(path, context_length=4096),
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_process_takes_what_was_estimated(name: str, tmp_path: Path) -> None:
    path = WRITERS[name](tmp_path / f"{name}.gguf")
    measured = memory.measure(path, {"kv_tokens": 1024, "threads": 1})
    assert measured.taken > 30 * 2**20
    assert abs(measured.error) < 0.15, measured


def test_the_table_names_the_error(
    llama_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["memory.py", str(llama_path), "--set", "kv_tokens=256", "--set", "ctx_size=256"]
    monkeypatch.setattr(sys, "argv", arguments)
    assert memory.main() == 0
    output = capsys.readouterr().out
    assert "num_cells  256\n" in output
    assert "the estimate is" in output

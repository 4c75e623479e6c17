"""The first of the two commands, as a new user types it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

ROOT = Path(__file__).parents[1]

pytestmark = [
    pytest.mark.gguf,
    pytest.mark.slow,
    pytest.mark.skipif(
        Path(sys.prefix) != ROOT / ".venv", reason="make would install into another environment"
    ),
]


def test_make_serve_answers_with_the_bundled_model_until_ctrl_c() -> None:
    process = subprocess.Popen(
        ["make", "serve", "PORT=0"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    try:
        lines = []
        for line in process.stdout:
            lines.append(line)
            found = re.search(r"ready at (http://127\.0\.0\.1:\d+)", line)
            if found:
                break
        else:
            raise AssertionError("".join(lines))
        body = {"messages": [{"role": "user", "content": "Hello!"}], "temperature": 0}
        answer = httpx.post(
            f"{found[1]}/v1/chat/completions", json=body, timeout=60, trust_env=False
        ).json()
        assert answer["model"] == "tiny"
        assert answer["choices"][0]["message"]["content"]
    finally:
        os.killpg(process.pid, signal.SIGINT)
        rest = process.stdout.read()
        process.stdout.close()
        process.wait(30)
    assert "Traceback" not in rest

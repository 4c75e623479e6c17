"""A daemon whose engine never comes back from a step, as a process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from daemon.test_serve import QUICK, Daemon, environment
from live import PATIENCE

pytestmark = pytest.mark.gguf

SCRIPT = """
import sys, time
from llmd.engine.runner import ModelRunner
def hang(self, batch):
    time.sleep(3600)
ModelRunner.forward = hang
from llmd.cli import main
sys.exit(main(sys.argv[1:]))
"""


def test_it_fails_its_requests_tells_where_it_hangs_and_ends_with_1(
    tmp_path: Path, llama_path: Path
) -> None:
    command = [sys.executable, "-c", SCRIPT, "serve", str(llama_path), "--port", "0", *QUICK]
    with subprocess.Popen(
        [*command, "--exit-when-stuck", "--stuck-after", "1"],
        stderr=subprocess.PIPE,
        text=True,
        env=environment(tmp_path),
        cwd=tmp_path,
    ) as process:
        try:
            running = Daemon(process)
            url = running.url()
            answer = httpx.post(
                f"{url}/v1/completions",
                json={"prompt": "hello"},
                timeout=PATIENCE,
                trust_env=False,
            )
            assert answer.status_code == 500
            assert "llmd starts again" in answer.json()["error"]["message"]
            assert process.wait(PATIENCE) == 1
            assert process.stderr is not None
            rest = process.stderr.read()
            log = "\n".join(running.lines) + "\n" + rest
        finally:
            process.kill()
    assert "has been at one step" in log
    assert any(line.endswith(" in hang") for line in log.splitlines())

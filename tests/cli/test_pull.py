"""The command as a process of its own, over the real client, against a hub on this machine."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest
from hub import LocalHub, hub_serving, sha256

DATA = Random(1).randbytes(3_000_000)
HALF = 1_500_000
PATIENCE = 30.0


@dataclass
class Machine:
    """A hub, and an empty cache to pull into."""

    hub: LocalHub
    directory: Path

    @property
    def environ(self) -> dict[str, str]:
        inherited = {name: at for name, at in os.environ.items() if not name.startswith("HF_")}
        return inherited | {
            "HF_HOME": str(self.directory),
            "HF_ENDPOINT": self.hub.endpoint,
            "TERM": "xterm",
            "COLUMNS": "100",
        }

    @property
    def blobs(self) -> Path:
        return self.directory / "hub" / "models--org--repo" / "blobs"

    @property
    def partial(self) -> Path:
        return self.blobs / f"{sha256(DATA)}.incomplete"

    def start(self, *arguments: str, **environ: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "llmd", *arguments],
            env=self.environ | environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, **environ: str) -> tuple[int, str, str]:
        with self.start(*arguments, **environ) as process:
            out, err = process.communicate(timeout=PATIENCE)
        return process.returncode, out, err

    def pull_half(self) -> subprocess.Popen[str]:
        """A pull that has come to the middle of the file, and is on the disk so far."""
        self.hub.pause_at = HALF
        process = self.start("pull", "org/repo")
        assert self.hub.paused.wait(PATIENCE)
        until(lambda: self.partial.stat().st_size == HALF)
        return process


def until(condition: Callable[[], bool]) -> None:
    """Wait for what another process is about to do."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    with hub_serving() as hub:
        hub.add("org/repo", {"m-Q4_K_M.gguf": DATA})
        yield Machine(hub, tmp_path)


def test_a_pull_ends_with_how_to_serve_the_model(machine: Machine) -> None:
    code, out, err = machine.run("pull", "hf.co/org/repo")
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "org/repo:Q4_K_M: 1 file, 2.9 MiB, licence apache-2.0",
        "m-Q4_K_M.gguf: here and checked",
        "org/repo:Q4_K_M is here. Serve it: llmd serve org/repo:Q4_K_M",
    ]
    assert (machine.blobs / sha256(DATA)).read_bytes() == DATA


def test_a_token_from_the_environment_opens_private_models(machine: Machine) -> None:
    machine.hub.repos["org/repo"].token = "secret"
    code, _, err = machine.run("pull", "org/repo")
    assert code == 1
    assert err.startswith("llmd: there is no org/repo on ") and err.count("\n") == 1
    assert machine.run("pull", "org/repo", HF_TOKEN="secret")[0] == 0


def test_offline_mode_pulls_nothing_and_serves_what_is_here(machine: Machine) -> None:
    code, _, err = machine.run("pull", "org/repo", HF_HUB_OFFLINE="1")
    assert (code, machine.hub.requests) == (1, [])
    assert err.endswith("Unset HF_HUB_OFFLINE to allow it.\n")


def test_what_is_no_reference_is_said() -> None:
    command = [sys.executable, "-m", "llmd", "pull", "model.gguf"]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 1
    assert run.stderr.endswith("Give it as org/repo or org/repo:QUANT.\n")


def test_ctrl_c_ends_with_one_line_and_loses_nothing(machine: Machine) -> None:
    process = machine.pull_half()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert err == "llmd: stopped at 50% of 2.9 MiB. Run it again to go on from there.\n"
    machine.hub.go.set()
    code, out, _ = machine.run("pull", "org/repo")
    assert code == 0 and "1.4 MiB here already" in out
    assert machine.hub.asked_for("/cdn/")[-1].headers["range"] == f"bytes={HALF}-"
    assert machine.hub.num_sent == len(DATA)
    assert (machine.blobs / sha256(DATA)).read_bytes() == DATA


def test_a_killed_pull_loses_nothing(machine: Machine) -> None:
    process = machine.pull_half()
    process.kill()
    process.communicate(timeout=PATIENCE)
    machine.hub.go.set()
    assert machine.run("pull", "org/repo")[0] == 0
    assert machine.hub.asked_for("/cdn/")[-1].headers["range"] == f"bytes={HALF}-"
    assert machine.hub.num_sent == len(DATA)
    assert (machine.blobs / sha256(DATA)).read_bytes() == DATA


def test_two_pulls_of_one_model_get_each_byte_once(machine: Machine) -> None:
    first = machine.pull_half()
    second = machine.start("pull", "org/repo")
    assert second.stdout
    told = [second.stdout.readline() for _ in range(2)]
    assert told[1] == "m-Q4_K_M.gguf: another process is getting it; waiting for that\n"
    machine.hub.go.set()
    for process in (first, second):
        process.communicate(timeout=PATIENCE)
        assert process.returncode == 0
    assert machine.hub.num_sent == len(DATA)


def test_who_waits_goes_on_where_the_other_was_killed(machine: Machine) -> None:
    first = machine.pull_half()
    second = machine.start("pull", "org/repo")
    assert second.stdout
    assert "another process" in [second.stdout.readline() for _ in range(2)][1]
    first.kill()
    first.communicate(timeout=PATIENCE)
    machine.hub.go.set()
    second.communicate(timeout=PATIENCE)
    assert second.returncode == 0
    assert machine.hub.asked_for("/cdn/")[-1].headers["range"] == f"bytes={HALF}-"
    assert machine.hub.num_sent == len(DATA)
    assert (machine.blobs / sha256(DATA)).read_bytes() == DATA


def test_a_model_that_is_pulled_or_half_pulled_is_not_removed_under_its_pull(
    machine: Machine,
) -> None:
    process = machine.pull_half()
    code, _, err = machine.run("rm", "org/repo")
    assert (code, "is being pulled. Stop that first" in err) == (1, True)
    process.kill()
    process.communicate(timeout=PATIENCE)
    assert "1.4 MiB of an unfinished pull" in machine.run("list")[1]
    assert machine.run("rm", "org/repo")[1] == "removed org/repo: 1.4 MiB given back\n"
    assert not machine.blobs.parent.exists()


def test_a_terminal_sees_a_bar_that_never_runs_backwards(machine: Machine) -> None:
    machine.partial.parent.mkdir(parents=True)
    machine.partial.write_bytes(DATA[:HALF])
    machine.hub.lengths = [300_000]
    here, there = pty.openpty()
    command = [sys.executable, "-m", "llmd", "pull", "org/repo"]
    with subprocess.Popen(command, env=machine.environ, stdout=there, stderr=there):
        os.close(there)
        output = b"".join(iter(lambda: read(here), b""))
    os.close(here)
    text = output.decode()
    shares = [int(share) for share in re.findall(r"(\d+)%", text)]
    assert shares[0] == 50 and shares[-1] == 100 and shares == sorted(shares)
    assert "broke off" in text or "Goes on in 1 s" in text
    assert text.endswith("Serve it: llmd serve org/repo:Q4_K_M\r\n")
    # The cursor that the bar hid is shown again.
    assert text.rfind("\x1b[?25h") > text.rfind("\x1b[?25l")


def read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:
        # How Linux tells that nobody has the other end any more.
        return b""

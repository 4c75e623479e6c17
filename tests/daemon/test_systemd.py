"""The daemon under a supervisor, and the units in configs/."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from daemon.test_serve import QUICK, Daemon, environment
from supervisor import supervising

CONFIGS = Path(__file__).parents[2] / "configs"
SERVICE = CONFIGS / "llmd.service"
SOCKET = CONFIGS / "llmd.socket"

MOST_EXPOSED = 2.0
"""Of the 10 of `systemd-analyze security`."""

needs_analyze = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed"
)


def analyze(*arguments: str | Path) -> str:
    done = subprocess.run(
        ["systemd-analyze", *map(str, arguments)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    said = done.stdout + done.stderr
    if "Unknown command" in said or "unrecognized option" in said:
        pytest.skip("systemd-analyze is too old")
    assert done.returncode == 0, said
    return said


def test_a_supervisor_is_told_of_start_reload_and_end(tmp_path: Path, llama_path: Path) -> None:
    config = tmp_path / "llmd.toml"
    config.write_text("[server]\nport = 0\nstate_dir = 'none'\n")
    arguments = [llama_path, "--config", config, *QUICK]
    with supervising(tmp_path) as supervisor:
        process = subprocess.Popen(
            [sys.executable, "-m", "llmd", "serve", *map(str, arguments)],
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
            env={
                **environment(tmp_path),
                "NOTIFY_SOCKET": supervisor.address,
                "WATCHDOG_USEC": "1000000",
            },
        )
        try:
            notice = supervisor.wait_for("READY")
            assert notice["STATUS"] == "serving llama, 0 running, 0 waiting"
            url = Daemon(process).url()
            assert httpx.get(f"{url}/readyz", trust_env=False).status_code == 200
            supervisor.wait_for("WATCHDOG")
            supervisor.wait_for("WATCHDOG")

            process.send_signal(signal.SIGHUP)
            assert int(supervisor.wait_for("RELOADING")["MONOTONIC_USEC"]) > 0
            supervisor.wait_for("READY")
            config.write_text("[server]\nprot = 0\n")
            process.send_signal(signal.SIGHUP)
            supervisor.wait_for("RELOADING")
            assert "line 2: unknown key" in supervisor.wait_for("READY")["STATUS"]

            process.send_signal(signal.SIGTERM)
            notice = supervisor.wait_for("STOPPING")
            assert int(notice["EXTEND_TIMEOUT_USEC"]) >= 10_000_000
            assert process.wait(30) == 0
        finally:
            process.kill()
            process.communicate()


def installed(directory: Path) -> Path:
    """The unit, with a command that is on this machine."""
    text = SERVICE.read_text("utf-8")
    changed = re.sub(r"^ExecStart=\S+", f"ExecStart={sys.executable}", text, flags=re.MULTILINE)
    assert changed != text
    path = directory / SERVICE.name
    path.write_text(changed)
    shutil.copy(SOCKET, directory)
    return path


@needs_analyze
def test_the_units_hold_no_fault(tmp_path: Path) -> None:
    service = installed(tmp_path)
    said = analyze("verify", "--man=no", service, tmp_path / SOCKET.name)
    assert "llmd" not in said, said


@needs_analyze
def test_the_service_is_shut_off_from_what_it_has_no_use_for(tmp_path: Path) -> None:
    said = analyze("security", "--offline=yes", "--no-pager", installed(tmp_path))
    (exposure,) = re.findall(r"Overall exposure level for \S+: ([\d.]+)", said)
    assert float(exposure) <= MOST_EXPOSED, said


def test_the_service_takes_a_user_and_directories_of_its_own_and_stops_within_its_time() -> None:
    settings = [
        line for line in SERVICE.read_text("utf-8").splitlines() if line and line[0] not in "#["
    ]
    for needed in ("Type=notify", "DynamicUser=yes", "StateDirectory=llmd", "CacheDirectory=llmd",
                   "ConfigurationDirectory=llmd", "ProtectSystem=strict", "NoNewPrivileges=yes",
                   "Environment=HF_HOME=%C/llmd/huggingface"):  # fmt: skip
        assert needed in settings
    names = {line.partition("=")[0] for line in settings}
    assert {"WatchdogSec", "TimeoutStartSec", "TimeoutStopSec", "ExecReload"} <= names
